#!/usr/bin/python3
"""Run QEMU's unit tests whose programs have not passed before.

A unit test is a program that needs no other; what passed is kept by the
SHA-256 of program and arguments, so that a commit that changes one of them
costs one test and not all.

Exit status: 0 all pass, 1 one does not, 2 wrong use.
"""
import hashlib
import json
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib.tool import Parser, note, run_main  # noqa: E402

EXAMPLES = """examples:
  ci/helpers/unit_tests.py build/every.d/obj build/every-unit.passed
"""


def key(test, obj):
    """What a test's result hangs on, or None if that is not known."""
    program = obj / test["cmd"][0]
    if not program.is_file() or program.read_bytes()[:4] != b"\x7fELF":
        return None
    digest = hashlib.sha256(program.read_bytes())
    digest.update("\0".join(test["cmd"][1:]).encode())
    return digest.hexdigest()


def main():
    """Choose, run, remember."""
    parser = Parser(EXAMPLES, __doc__)
    parser.add_argument("obj", type=pathlib.Path, help="a build of QEMU")
    parser.add_argument("passed", type=pathlib.Path, help="what passed so far")
    opts = parser.parse_args()
    meson = opts.obj / "pyvenv/bin/meson"
    if not meson.is_file():
        parser.error(f"{opts.obj} is no build of QEMU")
    known = set(opts.passed.read_text(encoding="utf-8").split()) \
        if opts.passed.exists() else set()
    tests = [test for test in json.loads(subprocess.run(
        [meson, "introspect", "--tests", opts.obj], check=True, text=True,
        stdout=subprocess.PIPE).stdout)
             if any(suite.split(":")[-1] == "unit" for suite in test["suite"])
             and not any(suite.split(":")[-1] in ("slow", "thorough")
                         for suite in test["suite"])]
    chosen = [(test["name"], key(test, opts.obj)) for test in tests]
    chosen = [(name, digest) for name, digest in chosen
              if digest is None or digest not in known]
    note(f"{len(chosen)} of {len(tests)} unit tests have not passed before")
    if not chosen:
        return 0
    run = subprocess.run(
        [meson, "test", "-C", opts.obj, "--no-rebuild", "--print-errorlogs",
         "-t", "10",
         *(name for name, _ in chosen)], check=False)
    if run.returncode:
        return 1
    with opts.passed.open("a", encoding="utf-8") as out:
        out.writelines(f"{digest}\n" for _, digest in chosen if digest)
    return 0


if __name__ == "__main__":
    run_main(main)
