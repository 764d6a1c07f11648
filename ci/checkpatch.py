#!/usr/bin/python3
"""Run QEMU's scripts/checkpatch.pl over each patch of the queue.

Findings that ci/checkpatch.allow lists, with a reason, are let pass; an
entry there that no longer matches anything is reported, so that the list does
not outlive what it excuses.

Exit status: 0 clean, 1 something was found, 2 wrong use.
"""
import re
import subprocess

from lib.series import ROOT, SRC, series, topics
from lib.tool import Parser, die, note, run_main

ALLOW = ROOT / "ci/checkpatch.allow"
EXAMPLES = """examples:
  ci/checkpatch.py
  ci/checkpatch.py --topic dirty-map

ci/checkpatch.allow, one per line: patch regex | message regex | reason
"""


def read_allow():
    """[(patch, message, reason)] of the waiver list."""
    entries = []
    if not ALLOW.is_file():
        return entries
    lines = ALLOW.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        parts = [part.strip() for part in line.split("|")]
        if len(parts) != 3 or not all(parts):
            die(f"ci/checkpatch.allow:{number}: wants 'patch regex | "
                "message regex | reason'")
        try:
            entries.append((re.compile(parts[0]), re.compile(parts[1]),
                            parts[2]))
        except re.error as err:
            die(f"ci/checkpatch.allow:{number}: {err}")
    return entries


def findings(name):
    """'WARNING: ...' and 'ERROR: ...' lines for one patch."""
    run = subprocess.run(
        ["perl", "scripts/checkpatch.pl", "--terse", "--no-summary",
         "--no-signoff", str(ROOT / "patches" / name)],
        cwd=SRC, text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    found = [re.sub(r"^.*?\.patch:\d+: ", "", line)
             for line in run.stdout.splitlines()
             if re.search(r": (ERROR|WARNING): ", line)]
    if run.returncode not in (0, 1) or (run.returncode and not found):
        die(f"checkpatch.pl did not run on {name}: {run.stdout.strip()[:200]}")
    return found


def main():
    """Check each patch and print what is left."""
    parser = Parser(EXAMPLES, __doc__)
    parser.add_argument("--topic", choices=topics(), help="only this topic")
    opts = parser.parse_args()
    if not (SRC / "scripts/checkpatch.pl").is_file():
        die("there is no build/src: run ./configure-wrapper.sh first")
    names = [n for n in series()
             if not opts.topic or n.startswith(opts.topic + "/")]
    allow, used, left = read_allow(), set(), 0
    for i, name in enumerate(names, 1):
        for line in findings(name):
            excuse = [n for n, (patch, message, _) in enumerate(allow)
                      if patch.search(name) and message.search(line)]
            used.update(excuse)
            if not excuse:
                print(f"{name}: {line}")
                left += 1
        note(f"[{i}/{len(names)}] {name}")
    if not opts.topic:
        for number, (patch, message, _) in enumerate(allow):
            if number not in used:
                print(f"ci/checkpatch.allow: '{patch.pattern} | "
                      f"{message.pattern}' matches nothing any more")
                left += 1
    return 1 if left else 0


if __name__ == "__main__":
    run_main(main)
