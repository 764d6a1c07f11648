#!/usr/bin/python3
"""Check the queue without QEMU's sources: one small rule per function.

Exit status: 0 clean, 1 something was found, 2 wrong use.
"""
import email.header
import fnmatch
import os
import pathlib
import re
import shutil
import subprocess
import sys

from lib.series import ROOT, header, pins, series, topics
from lib.tool import Parser, run_main

EXAMPLES = """examples:
  ci/lint.py                 every rule
  ci/lint.py --list          their names
  ci/lint.py --rule subject --rule body_width
"""
# "dear" for expensive, "what becomes of", "who clears" for whatever clears,
# and programs that are persons
WORDS = re.compile(
    r"\b(dear(er|est)?|becomes of|by who|his|hers|(?<!somebody )(?<!those )"
    r"who (asks|clears|frees|has|reads|sets|takes|wants|writes))\b", re.I)
NEEDS_SPDX = (".c", ".h", ".py", ".sh", ".inc", ".rs")
# QEMU's qtests that are not called ...-test or test-..., as meson has them
ODD_QTESTS = {"arm-cpu-features", "netdev-socket", "virtio-net-failover"}


class Patch:
    """One patch file, split where git format-patch splits it."""

    def __init__(self, root, name):
        self.name = name
        self.topic = name.split("/", 1)[0]
        path = root / "patches" / name
        self.raw = path.read_bytes() if path.is_file() else b""
        self.text = self.raw.decode("utf-8", errors="replace")
        head, _, rest = self.text.partition("\n\n")
        # unfold
        self.headers = re.sub(r"\n[ \t]+", " ", head)
        # Without a body the --- comes at once.
        self.body, _, self.diff = ("\n" + rest).partition("\n---\n")
        found = re.search(r"^Subject: (.*)$", self.headers, re.M)
        self.subject = str(email.header.make_header(
            email.header.decode_header(found.group(1)))) if found else ""

    def files(self):
        """(path, is new, added lines) of each file."""
        for part in re.split(r"^(?=diff --git )", self.diff, flags=re.M)[1:]:
            found = re.search(r"^\+\+\+ b/(.*)$", part, re.M)
            path = (found.group(1) if found else
                    part.split("\n", 1)[0].rsplit(" b/", 1)[-1])
            added = re.findall(r"^\+(?!\+\+ )(.*)$", part, re.M)
            yield path, "\nnew file mode " in part, added

    def removed(self):
        """All lines that it takes away."""
        return re.findall(r"^-(?!-- )(.*)$", self.diff, re.M)


class Queue:
    """What the rules look at."""

    def __init__(self, root):
        self.root = root
        self.pins = pins(root)
        self.series = series(root)
        self.header = header(root)
        self.topics = topics(root)
        self.patches = [Patch(root, name) for name in self.series]
        self.on_disk = sorted(
            str(p.relative_to(root / "patches"))
            for p in (root / "patches").rglob("*.patch"))
        path = root / "ci/lint.allow"
        lines = (path.read_text(encoding="utf-8").splitlines()
                 if path.is_file() else [])
        # 'rule | what | reason', and those of them that were wanted
        self.allowed = [[p.strip() for p in line.split("|")]
                        for line in lines
                        if line.strip() and not line.startswith("#")]
        self.used = []

    def allows(self, rule, what):
        """Whether ci/lint.allow lets it pass, which takes a reason."""
        found = [entry for entry in self.allowed
                 if entry[0] == rule and fnmatch.fnmatch(what, entry[1])]
        self.used += found
        return any(len(entry) == 3 and entry[2] for entry in found)

    def listed(self, *args):
        """What git knows of, one a line; nothing in a tree without git."""
        if not shutil.which("git"):
            return []
        return subprocess.run(
            ["git", "-C", str(self.root), "ls-files", *args], text=True,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            check=False).stdout.splitlines()

    def files(self):
        """The project's files: git's, or all of a tree that has no git."""
        if self.listed():
            return self.listed()
        found = []
        for folder, folders, names in os.walk(self.root):
            where = pathlib.Path(folder).relative_to(self.root)
            if where == pathlib.Path():
                # What is generated, and what has a git of its own
                folders[:] = [name for name in folders
                              if name not in ("build", "upstream", ".git")]
            found += [str(where / name) for name in names
                      if "__pycache__" not in where.parts]
        if (self.root / "upstream").is_dir():
            found.append("upstream")
        return sorted(found)


def rule_series_is_disk(queue):
    """series and patches/ name the same files, each once."""
    for name in sorted(set(queue.series) - set(queue.on_disk)):
        yield f"{name}: in series, not in patches/"
    for name in sorted(set(queue.on_disk) - set(queue.series)):
        yield f"{name}: in patches/, not in series"
    for name in sorted({n for n in queue.series
                        if queue.series.count(n) > 1}):
        yield f"{name}: more than once in series"


def rule_numbering(queue):
    """Each topic counts 0001, 0002, ... and is not torn apart."""
    seen, last = [], None
    for name in queue.series:
        found = re.fullmatch(r"([a-z0-9-]+)/(\d{4})-\S+\.patch", name)
        if not found:
            yield f"{name}: not topic/NNNN-subject.patch"
            continue
        topic, number = found.group(1), int(found.group(2))
        if topic != last:
            if topic in seen:
                yield f"{name}: topic {topic} is torn apart in series"
            seen.append(topic)
            last, expected = topic, 1
        if number != expected:
            yield f"{name}: expected number {expected:04}"
        expected = number + 1
    if seen != queue.topics:
        yield f"series: '# topic:' lines say {queue.topics}, patches {seen}"


def rule_cover(queue):
    """Each topic has a cover letter with a subject and a text."""
    for topic in queue.topics:
        path = queue.root / "patches" / topic / "cover.txt"
        if not path.is_file():
            yield f"patches/{topic}/cover.txt: missing"
            continue
        lines = path.read_text(encoding="utf-8").splitlines()
        if len(lines) < 3 or not lines[0].strip() or lines[1].strip():
            yield (f"patches/{topic}/cover.txt: wants a subject line, an "
                   "empty line, a text")


def rule_cover_numbers(queue):
    """A cover letter that numbers patches names each of its topic once."""
    for topic in queue.topics:
        path = queue.root / "patches" / topic / "cover.txt"
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        have = sum(patch.topic == topic for patch in queue.patches)
        said = []
        for line in text.splitlines():
            number = re.match(r"(\d+)(?:-(\d+))? +", line)
            # What is said of them begins in this column
            if number and number.end() == 6:
                first, last = number.groups()
                said += range(int(first), int(last or first) + 1)
        if said and said != list(range(1, have + 1)):
            yield (f"patches/{topic}/cover.txt: of {have} patches it names "
                   + ", ".join(map(str, said)))


def rule_private(queue):
    """patches/TOPIC/private is one address."""
    for topic in queue.topics:
        path = queue.root / "patches" / topic / "private"
        if path.is_file() and not re.fullmatch(
                r"[\w.+-]+@[\w.-]+\.\w+\n", path.read_text("utf-8")):
            yield f"patches/{topic}/private: wants one line with one address"


def rule_needs(queue):
    """A topic needs topics before it, and series says which."""
    lines = (queue.root / "series").read_text(encoding="utf-8").splitlines()
    for number, topic in enumerate(queue.topics):
        path = queue.root / "patches" / topic / "needs"
        at = lines.index(f"# topic: {topic}")
        said = (lines[at + 1:at + 2] or [""])[0]
        said = said[9:].split() if said.startswith("# needs: ") else None
        wanted = None
        if path.is_file():
            text = re.sub(r"#.*", "", path.read_text(encoding="utf-8"))
            wanted = text.split()
            for name in sorted(set(wanted) - set(queue.topics[:number])):
                yield (f"patches/{topic}/needs: '{name}' is no topic in front "
                       "of it")
        if said != (["none"] if wanted == [] else wanted):
            yield f"series: '# needs:' of {topic} is not patches/{topic}/needs"


def rule_from_zero(queue):
    """Exported with --zero-commit."""
    for patch in queue.patches:
        if not re.match(r"From 0{40} ", patch.text):
            yield f"{patch.name}: first line is not 'From 000...'"


def rule_no_footer(queue):
    """No git version at the end: it would change with the exporter."""
    for patch in queue.patches:
        if re.search(r"^-- ?\n\d+\.\d+[^\n]*\n+\Z", patch.text, re.M):
            yield f"{patch.name}: ends with a git version"


def rule_full_index(queue):
    """index lines carry whole object names."""
    for patch in queue.patches:
        if re.search(r"^index [0-9a-f]{1,39}\.\.", patch.diff, re.M):
            yield f"{patch.name}: short index line"


def rule_subject(queue):
    """[PATCH] prefix: summary, at most 76 columns, no final dot."""
    for patch in queue.patches:
        found = re.fullmatch(r"\[PATCH\] (.*)", patch.subject)
        if not found:
            yield f"{patch.name}: subject does not start with '[PATCH] '"
            continue
        text = found.group(1)
        if len(text) > 76:
            yield f"{patch.name}: subject has {len(text)} columns"
        if not re.match(r"[A-Za-z0-9_./{},*-]+: \S", text):
            yield f"{patch.name}: subject has no 'subsystem: '"
        if text.endswith("."):
            yield f"{patch.name}: subject ends with a dot"


def rule_author(queue):
    """From: has a name and an address that can be answered."""
    for patch in queue.patches:
        found = re.search(r"^From: (.*)$", patch.headers, re.M)
        if not found or not re.fullmatch(r".*\S <[^<>@\s]+@[^<>@\s]+>",
                                         found.group(1)):
            yield f"{patch.name}: author without a name or an address"
        elif re.search(r"localhost|\bvia\b|\(none\)", found.group(1)):
            yield f"{patch.name}: author '{found.group(1)}'"


def rule_body(queue):
    """A message that says why."""
    for patch in queue.patches:
        if len(patch.body.split()) < 8:
            yield f"{patch.name}: the message has no text"


def rule_body_width(queue):
    """Message lines of at most 76 columns, but for quotes and Fixes:."""
    for patch in queue.patches:
        for line in patch.body.splitlines():
            if len(line) > 76 and not line.startswith(("  ", "Fixes: ")):
                yield f"{patch.name}: {len(line)} columns: {line[:40]}..."


def rule_qtests(queue):
    """A topic's tests name each qtest that it adds or changes."""
    # Some have other names, which meson.build has; a bench is no test.
    registered = ODD_QTESTS | {
        name for patch in queue.patches for path, _, added in patch.files()
        if path == "tests/qtest/meson.build"
        for name in re.findall(r"(?<!executable\()'([\w-]+)'",
                               "\n".join(added))}
    for topic in queue.topics:
        path = queue.root / "patches" / topic / "tests"
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        named = {line.split()[0] for line in
                 re.sub(r"#.*", "", text).splitlines() if line.strip()}
        wanted = {}
        for patch in queue.patches:
            for path, _, _ in patch.files():
                found = re.fullmatch(r"tests/qtest/(.+)\.c", path)
                if patch.topic != topic or not found:
                    continue
                test = found.group(1)
                if test.startswith("migration/"):
                    test = "migration-test"
                if test in registered or re.fullmatch(
                        r"[^/]+-test|test-[^/]+", test):
                    wanted.setdefault(test, patch.name)
        for test in sorted(set(wanted) - named):
            if not queue.allows("qtests", test):
                yield f"{wanted[test]}: {test} is not in patches/{topic}/tests"


def rule_words(queue):
    """Words that reviewers have stumbled over; see WORDS."""
    for topic in queue.topics:
        path = queue.root / "patches" / topic / "cover.txt"
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        for line in text.splitlines():
            found = WORDS.search(line)
            if found:
                yield (f"patches/{topic}/cover.txt: '{found.group()}': "
                       f"{line.strip()[:50]}")
    for patch in queue.patches:
        lines = [*patch.subject.splitlines(), *patch.body.splitlines()]
        for _, _, added in patch.files():
            lines += added
        for line in lines:
            found = WORDS.search(line)
            if found:
                yield f"{patch.name}: '{found.group()}': {line.strip()[:50]}"


def rule_no_signoff(queue):
    """The sender adds the Signed-off-by, nobody else."""
    for patch in queue.patches:
        if re.search(r"^\s*Signed-off-by:", patch.body, re.M | re.I):
            yield f"{patch.name}: carries a Signed-off-by"


def rule_no_changelog(queue):
    """What changed between versions goes to the cover letter."""
    for patch in queue.patches:
        if re.search(r"^(v\d+:|Changes (since|in|from)|Change-Id:)",
                     patch.body, re.M | re.I):
            yield f"{patch.name}: a changelog or Change-Id in the message"


def rule_no_placeholder(queue):
    """Nothing left to be written."""
    word = re.compile(r"PLACEHOLDER|\bFIXUP\b|^(fixup|squash)!", re.M)
    for patch in queue.patches:
        if word.search(patch.body) or word.search(patch.subject):
            yield f"{patch.name}: the message is not finished"


def rule_git_diff(queue):
    """Plain a/ b/ git diffs, and something in them."""
    for patch in queue.patches:
        heads = re.findall(r"^diff --git (.*)$", patch.diff, re.M)
        if not heads:
            yield f"{patch.name}: no diff in it"
        for head in heads:
            if not re.fullmatch(r"a/(\S+) b/\1", head):
                yield f"{patch.name}: diff of '{head}'"


def rule_no_blobs(queue):
    """No binary hunks, nothing in the folders that the tarball lacks."""
    for patch in queue.patches:
        if re.search(r"^(GIT binary patch|Binary files )", patch.diff, re.M):
            yield f"{patch.name}: binary hunk"
        for path, _, _ in patch.files():
            if re.match(r"(roms|pc-bios|subprojects)/", path):
                yield f"{patch.name}: touches {path}"


def rule_spdx(queue):
    """New source files say their licence, or lint.allow why another one."""
    for patch in queue.patches:
        for path, new, added in patch.files():
            if new and path.endswith(NEEDS_SPDX) and not any(
                    "SPDX-License-Identifier: GPL-2.0-or-later" in line
                    for line in added[:20]) and not queue.allows("spdx", path):
                yield f"{patch.name}: {path} has no SPDX line"


def rule_whitespace(queue):
    """No trailing blanks in what is added."""
    for patch in queue.patches:
        for path, _, added in patch.files():
            if path.endswith(".out"):
                continue
            for line in added:
                if line != line.rstrip():
                    yield f"{patch.name}: {path}: trailing blank: {line[:40]}"


def rule_trace_events(queue):
    """A new trace event has a call, in the queue, and no final newline."""
    calls = "\n".join(line for p in queue.patches
                      for path, _, added in p.files()
                      for line in added if path.endswith((".c", ".inc")))
    for patch in queue.patches:
        for path, _, added in patch.files():
            if not path.endswith("trace-events"):
                continue
            for line in added:
                found = re.match(r"([a-z_0-9]+)\(", line)
                if (found and f"trace_{found.group(1)}(" not in calls
                        and not any(old.startswith(found.group(0))
                                    for old in patch.removed())):
                    yield f"{patch.name}: nothing calls trace_{found.group(1)}"
                if found and line.rstrip().endswith('\\n"'):
                    yield f"{patch.name}: {found.group(1)} ends with a newline"


def rule_qapi_since(queue):
    """A new QAPI definition says since when."""
    for patch in queue.patches:
        for path, _, added in patch.files():
            if not re.match(r"qapi/.*\.json$", path):
                continue
            since = False
            for line in added:
                since = since or line.startswith("# Since: ")
                if re.match(r"\{ '(command|struct|enum|event|union)'", line):
                    if not since:
                        yield (f"{patch.name}: {path}: new definition "
                               "without Since:")
                    since = False


def rule_maintainers(queue):
    """A new file has an F: line in the queue, or a reason in lint.allow."""
    globs = [line[2:].strip() for p in queue.patches
             for path, _, added in p.files() if path == "MAINTAINERS"
             for line in added if line.startswith("F:")]
    for patch in queue.patches:
        for path, new, _ in patch.files():
            if new and not any(
                    path.startswith(glob) if glob.endswith("/")
                    else fnmatch.fnmatch(path, glob) for glob in globs) \
                    and not queue.allows("maintainers", path):
                yield f"{patch.name}: {path} has no F: line in MAINTAINERS"


def rule_option_text(queue):
    """A new property is described in qemu-options.hx or in docs/."""
    text = "\n".join(line for p in queue.patches
                     for path, _, added in p.files()
                     if path == "qemu-options.hx" or path.startswith("docs/")
                     for line in added)
    define = re.compile(r'DEFINE_PROP\w*\("([^"]+)"|'
                        r'object_class_property_add\w*\(\w+, "([^"]+)"')
    for patch in queue.patches:
        for path, _, added in patch.files():
            if path.endswith((".c", ".h")):
                for groups in define.findall("\n".join(added)):
                    name = groups[0] or groups[1]
                    word = rf"(?<![\w-]){re.escape(name)}(?![\w-])"
                    if (not re.search(word, text)
                            and f'"{name}"' not in "\n".join(patch.removed())
                            and not queue.allows("option_text", name)):
                        yield (f"{patch.name}: {path}: property '{name}' is "
                               "described nowhere")


def rule_utf8(queue):
    """Everything is UTF-8."""
    for patch in queue.patches:
        try:
            patch.raw.decode("utf-8")
        except UnicodeDecodeError:
            yield f"{patch.name}: not UTF-8"


def rule_pins(queue):
    """gitlink, ci/pins and the series header name the same commit."""
    commit = queue.pins.get("QEMU_COMMIT", "")
    want = f"v{queue.pins.get('QEMU_VERSION')} {commit}"
    said = queue.header.get("base", ["nothing"])[0]
    if said != want:
        yield f"series: '# base:' is '{said}', ci/pins say '{want}'"
    link = " ".join(queue.listed("-s", "upstream")).split()
    # Nothing in an archive has the gitlink.
    if queue.listed() and link[:2] != ["160000", commit]:
        yield (f"upstream: gitlink is {' '.join(link[:2]) or 'missing'}, "
               f"ci/pins say {commit}")
    modules = queue.root / ".gitmodules"
    if not modules.is_file() or "path = upstream" not in modules.read_text(
            encoding="utf-8"):
        yield ".gitmodules: does not name upstream"


def status_rows(text):
    """(section, first cell) of each row of patches/STATUS.rst's tables."""
    for part in re.split(r"\n(?=\S[^\n]*\n=+\n\n)", text)[1:]:
        rows = re.findall(r"^   \* - (.*(?:\n {7}\S.*)*)", part, re.M)
        for cell in rows[1:]:
            yield part.split("\n", 1)[0], " ".join(cell.split())


def rule_status(queue):
    """patches/STATUS.rst: a row for each patch, and one for each topic."""
    path = queue.root / "patches/STATUS.rst"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    have = {}
    for patch in queue.patches:
        have[patch.topic] = have.get(patch.topic, 0) + 1
    said, rebased = [], []
    for section, cell in status_rows(text):
        if section == "How a rebase goes":
            rebased.append(cell)
            continue
        found = re.fullmatch(r"([a-z0-9-]+)(?: (\d+(?:-\d+)?"
                             r"(?:, \d+(?:-\d+)?)*))?", cell)
        topic, numbers = found.groups() if found else (cell, None)
        if topic not in have:
            yield f"patches/STATUS.rst: '{cell}' is no topic with numbers"
            continue
        for part in (numbers or f"1-{have[topic]}").split(", "):
            first, _, last = part.partition("-")
            said += [(topic, number)
                     for number in range(int(first), int(last or first) + 1)]
    wanted = [(topic, number + 1) for topic, count in have.items()
              for number in range(count)]
    for topic, number in sorted(set(wanted + said)):
        times = said.count((topic, number))
        if times != ((topic, number) in wanted):
            yield (f"patches/STATUS.rst: {topic} {number} is named {times} "
                   "times")
    if rebased != list(have):
        yield "patches/STATUS.rst: the rebase's rows are not series' topics"


def rule_pages(queue):
    """The project's pages are reStructuredText that begins with a title."""
    for name in queue.files():
        path = queue.root / name
        if name.endswith(".rst") and path.is_file() and not re.match(
                r"(=+)\n.*\S.*\n\1\n", path.read_text(encoding="utf-8")):
            yield f"{name}: does not begin with a title between two lines of ="


def rule_top_level(queue):
    """The top level is exactly what README says, plus dotfiles."""
    wanted = {"README.rst", "series", "patches", "upstream", "ci", "tests",
              "configure-wrapper.sh", "COPYING"}
    have = {line.split("/", 1)[0] for line in queue.files()}
    for name in sorted(have - wanted):
        if not name.startswith("."):
            yield f"{name}: does not belong at the top level"
    for name in sorted(wanted - have):
        yield f"{name}: missing from the top level"


def rule_allow(queue):
    """Each entry of ci/lint.allow lets something pass that's there."""
    for rule in sorted({entry[0] for entry in queue.allowed} & set(RULES)):
        for _ in RULES[rule](queue):
            pass
    for entry in queue.allowed:
        if entry not in queue.used:
            yield f"ci/lint.allow: nothing needs '{' | '.join(entry)}'"


RULES = {name[len("rule_"):]: func for name, func in sorted(globals().items())
         if name.startswith("rule_")}


def main():
    """Run the rules and print what they find."""
    parser = Parser(EXAMPLES, __doc__)
    parser.add_argument("--rule", action="append", choices=RULES,
                        metavar="NAME", help="only this rule")
    parser.add_argument("--list", action="store_true", help="name the rules")
    parser.add_argument("--root", type=pathlib.Path, default=ROOT,
                        help="another checkout")
    opts = parser.parse_args()
    if opts.list:
        for name, func in RULES.items():
            print(f"{name:16} {func.__doc__}")
        return 0
    if not (opts.root / "series").is_file():
        parser.error(f"{opts.root} has no series: it is no checkout of "
                     "the queue")
    queue = Queue(opts.root)
    found = 0
    for name in opts.rule or RULES:
        for message in RULES[name](queue):
            print(f"{name}: {message}")
            found += 1
    print(f"lint.py: {len(opts.rule or RULES)} rules over "
          f"{len(queue.series)} patches, {found} found", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    run_main(main)
