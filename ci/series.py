"""What the Python stages share: where things are, pins, series, patches."""
import argparse
import os
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
SRC = BUILD / "src"

# As in env.sh: a hook's or a shell's variables are no business of ours.
for _name in [name for name in os.environ if name.startswith("GIT_")]:
    del os.environ[_name]


class Parser(argparse.ArgumentParser):
    """The command line; --help shows the examples first."""

    def __init__(self, examples, doc):
        super().__init__(description=doc.split("\n", maxsplit=1)[0],
                         epilog=doc.strip().rsplit("\n\n", 1)[-1])
        self.examples = examples

    def format_help(self):
        return self.examples + "\n" + super().format_help()


def pins(root=ROOT):
    """ci/pins as a dictionary."""
    text = (root / "ci/pins").read_text(encoding="utf-8")
    return dict(re.findall(r"^([A-Z0-9_]+)=(.*)$", text, re.M))


def series(root=ROOT):
    """The patches of series in order, as 'topic/NNNN-subject.patch'."""
    lines = (root / "series").read_text(encoding="utf-8").splitlines()
    names = [line.split("#", 1)[0].strip() for line in lines]
    return [name for name in names if name]


def header(root=ROOT):
    """The '# key: value' lines of series, a list of values by key."""
    found = {}
    text = (root / "series").read_text(encoding="utf-8")
    for key, value in re.findall(r"^# ([a-z-]+): (.+)$", text, re.M):
        found.setdefault(key, []).append(value)
    return found


def topics(root=ROOT):
    """The topics in order."""
    return header(root).get("topic", [])


def die(message, status=1):
    """One line that says what is wrong and what to do, and the end."""
    name = pathlib.Path(sys.argv[0]).name
    print(f"{name}: error: {message}", file=sys.stderr)
    sys.exit(status)


def note(message):
    """Progress, on stderr."""
    print(f"{pathlib.Path(sys.argv[0]).name}: {message}", file=sys.stderr,
          flush=True)
