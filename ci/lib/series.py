"""What the Python stages share: where things are, pins, series, patches."""
import os
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
SRC = BUILD / "src"

# As in env.sh: a hook's or a shell's variables are no business of ours.
for _name in [name for name in os.environ if name.startswith("GIT_")]:
    del os.environ[_name]


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


def all_needs(root=ROOT):
    """The topics that each one needs; without a line all before it."""
    needs, before = {}, []
    text = (root / "series").read_text(encoding="utf-8")
    for key, value in re.findall(r"^# (topic|needs): (.+)$", text, re.M):
        if key == "topic":
            needs[value] = list(before)
            before.append(value)
        else:
            needs[before[-1]] = [name for name in value.split()
                                 if name in needs]
    return needs


def with_needs(topic, root=ROOT):
    """The topics that a topic needs, theirs too, and itself, in order."""
    needs, wanted = all_needs(root), {topic}
    for name in reversed(needs):
        if name in wanted:
            wanted.update(needs[name])
    return [name for name in needs if name in wanted]
