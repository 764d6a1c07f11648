#!/usr/bin/python3
"""Compile the C files that each patch touches, as they are with that patch.

Only their syntax is checked, with the headers of that commit and the options
of build/patched, so that the whole queue takes some minutes; ci/every-patch.sh
builds and tests one commit at a time.  Files that the build generates are
those of the queue's tip.

Exit status: 0 all of them compile, 1 one does not, 2 wrong use.
"""
import json
import os
import re
import shlex
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

from lib.series import BUILD, SRC, series, topics
from lib.tool import (Parser, Wrong, command, note, progress, run_main,
                      sole_writer)

EXAMPLES = """examples:
  ci/syntax.py                      each patch, in the order of series
  ci/syntax.py --topic dirty-map    those of one topic
"""
PLACE = BUILD / "syntax.d"
OBJ = BUILD / "patched"
# Options that name what is written, with their values
WRITES = {"-o", "-MF", "-MQ"}
# What else isn't wanted where nothing is written
DROPPED = {"-c", "-MD", "ccache"}


def git(*args, where=SRC):
    """What git prints, as lines."""
    return command(["git", *args], f"git {args[0]}", cwd=where).splitlines()


def compilers():
    """Each C file of the queue's tip, and the words that compile it."""
    path = OBJ / "compile_commands.json"
    if not path.is_file():
        raise Wrong(f"no {path.name} in build/patched: run "
                    "./configure-wrapper.sh first")
    found = {}
    for entry in json.loads(path.read_text(encoding="utf-8")):
        file = os.path.relpath(OBJ / entry["file"], SRC)
        if file.endswith(".c") and not file.startswith(".."):
            found.setdefault(file, entry["command"])
    return found


def in_place(line):
    """The words of a command, for the sources of PLACE, writing nothing."""
    line = line.replace(str(SRC), str(PLACE))
    line = re.sub(r"(?<![\w/.])\.\./src(?=[/ ]|$)", str(PLACE), line)
    line = re.sub(r"(?<=-I)\.\./src(?=[/ ]|$)", str(PLACE), line)
    words, left = shlex.split(line), []
    while words:
        word = words.pop(0)
        if word in WRITES:
            words.pop(0)
        elif word not in DROPPED:
            left.append(word)
    return [*left, "-fsyntax-only"]


def compile_one(line):
    """What the compiler has against a file; None if nothing."""
    done = subprocess.run(in_place(line), cwd=OBJ, check=False, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode == 0:
        return None
    found = re.findall(r"^.*error: .*$", done.stdout, re.M)
    return (found or done.stdout.splitlines() or ["no reason given"])[0]


def touched(commit):
    """C files that a commit adds or changes"""
    return [name for name in git("diff", "--name-only", "--diff-filter=AMR",
                                 f"{commit}~", commit) if name.endswith(".c")]


def check(patches, commits, known):
    """Each of the patches.  Returns: how many files didn't compile"""
    wrong = tried = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for patch in progress(patches, str):
            git("checkout", "-q", "--detach", commits[patch], where=PLACE)
            files = [f for f in touched(commits[patch]) if f in known]
            tried += len(files)
            for file, said in zip(files, pool.map(
                    compile_one, [known[f] for f in files])):
                if said:
                    print(f"{patch}: {said.replace(f'{PLACE}/', '') or file}",
                          flush=True)
                    wrong += 1
    note(f"{tried} files of {len(patches)} patches")
    if not tried and len(patches) > 16:
        raise Wrong("nothing was compiled: build/patched knows none of the "
                    "files that these patches touch")
    return wrong


def main():
    """Check the patches that are asked for."""
    parser = Parser(EXAMPLES, __doc__)
    parser.add_argument("--topic", choices=topics(), help="only this topic")
    opts = parser.parse_args()
    names = series()
    known = compilers()
    with sole_writer():
        hashes = git("rev-list", "--reverse", "refs/thrift/base..queue")
        if len(hashes) != len(names):
            raise Wrong(f"build/src has {len(hashes)} commits and series "
                        f"{len(names)} patches: run ci/apply.sh or "
                        "ci/export.sh")
        shutil.rmtree(PLACE, ignore_errors=True)
        git("worktree", "prune")
        git("worktree", "add", "-q", "--detach", str(PLACE), "queue")
        wrong = check([n for n in names
                       if not opts.topic or n.startswith(opts.topic + "/")],
                      dict(zip(names, hashes)), known)
        git("worktree", "remove", "--force", str(PLACE))
    return 1 if wrong else 0


if __name__ == "__main__":
    run_main(main)
