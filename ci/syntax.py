#!/usr/bin/python3
"""Compile the C files that each patch touches, as they are with that patch.

Each is compiled alone, with the headers of that commit and the options of
build/patched but for optimization, and nothing is linked or run, so the whole
queue takes some minutes; ci/every-patch.sh builds and tests one commit at a
time.  Files that the build generates are those of the queue's tip.  Files that
build/patched doesn't have, as they are for other hosts or targets, are named.

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
# What else isn't wanted where nothing is kept, nor optimized
DROPPED = {"-c", "-MD", "ccache", "-O2", "-D_FORTIFY_SOURCE=2"}
# Not -fsyntax-only, which doesn't see that a static function isn't used
COMPILES = ["-O0", "-S", "-o", os.devnull]
# C files that are for other hosts and targets, or other choices of configure
ELSEWHERE = {
    "net/af-xdp.c", "net/netmap.c",
    "target/i386/kvm/exit-cluster-stub.c", "util/untouched-stub.c",
    # aarch64's
    "tests/qtest/acpi-pcihp-dma-test.c",
}
# Guests, which tests/glue/tcg.bats builds
GUESTS = "tests/tcg/"


def git(*args, where=SRC):
    """What git prints, as lines; whatever its user has configured."""
    return command(["git", "-c", "core.hooksPath=/dev/null", "-c",
                    "core.autocrlf=false", "-c", "diff.renames=false", *args],
                   f"git {args[0]}", cwd=where).splitlines()


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
    return [*left, *COMPILES]


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
    others = set()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for patch in progress(patches, str):
            git("checkout", "-q", "--detach", commits[patch], where=PLACE)
            names = touched(commits[patch])
            files = [name for name in names if name in known]
            others.update(set(names) - set(files))
            tried += len(files)
            for file, said in zip(files, pool.map(
                    compile_one, [known[f] for f in files])):
                if said:
                    print(f"{patch}: {said.replace(f'{PLACE}/', '') or file}",
                          flush=True)
                    wrong += 1
    note(f"{tried} files of {len(patches)} patches")
    missing = {name for name in others - ELSEWHERE
               if not name.startswith(GUESTS)}
    for name in sorted(missing):
        print(f"{name}: build/patched doesn't have it", flush=True)
    return wrong + len(missing)


def main():
    """Check the patches that are asked for."""
    parser = Parser(EXAMPLES, __doc__)
    parser.add_argument("--topic", choices=topics(), metavar="T",
                        help="only this topic")
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
        # Of a run that was killed here it may be locked still, which prune
        # leaves alone: two -f take it over.
        git("worktree", "add", "-q", "-f", "-f", "--detach", str(PLACE),
            "queue")
        try:
            wrong = check([n for n in names if not opts.topic
                           or n.startswith(opts.topic + "/")],
                          dict(zip(names, hashes)), known)
        finally:
            git("worktree", "remove", "--force", str(PLACE))
    return 1 if wrong else 0


if __name__ == "__main__":
    run_main(main)
