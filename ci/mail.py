#!/usr/bin/python3
"""Write one topic as the mails of a series, check them, show how to send.

Nothing is sent and nothing is signed off: both are the sender's.  The queue's
own commits carry no Signed-off-by; to mail commits that you signed off, name
your repository and range.

Exit status: 0 the mails are there, 1 something is wrong, 2 wrong use.
"""
import email.header
import email.utils
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

from lib.series import (BUILD, ROOT, SRC, all_needs, pins, series, topics,
                        with_needs)
from lib.tool import Parser, die, note, run_main

LIST = "qemu-devel@nongnu.org"
PERSON = r"[^<>]+ <[^<>@\s]+@[^<>@\s]+\.[^<>@\s]+>"
# Addresses that stand for one, or take no mail
NO_ANSWER = re.compile(r"@(users\.noreply\.|noreply)|"
                       r"\.(example|invalid|test)>$")
EXAMPLES = """examples:
  ci/mail.py dirty-map                        v1, into build/mail/
  ci/mail.py dirty-map --version 2 --rfc
  ci/mail.py dirty-map --base v11.0.0         as ci/rebase.sh left it there
  ci/mail.py dirty-map --repo ~/qemu --range origin/master..my-branch
  ci/mail.py virtio-net-security              to QEMU's security list alone
"""


def git(repo, *args, env=None):
    """The output of a git command, which has to succeed."""
    run = subprocess.run(["git", "-C", str(repo), *args], text=True,
                         check=False, stdout=subprocess.PIPE, env=env,
                         stderr=subprocess.PIPE)
    if run.returncode:
        why = run.stderr.strip() or "failed"
        die(f"git {args[0]}: {why.splitlines()[0]}")
    return run.stdout.strip()


def named(option, given):
    """'Name <address>' as an option has it."""
    if not re.fullmatch(PERSON, given):
        die(f"{option} '{given}': wants 'Name <address>'", 2)
    return given


def sender(given):
    """'Name <address>' of whoever sends, never made up."""
    if given:
        return named("--from", given)
    name, mail = (subprocess.run(
        ["git", "config", "--global", "user." + key], text=True, check=False,
        stdout=subprocess.PIPE).stdout.strip() for key in ("name", "email"))
    if not name or not mail:
        die("who sends? set your own name with git config --global user.name "
            "and user.email, or pass --from 'Name <address>'")
    if not re.fullmatch(PERSON, f"{name} <{mail}>"):
        die(f"your git identity, {name} <{mail}>, is no address: pass --from")
    return f"{name} <{mail}>"


def topic_range(topic, base=None):
    """The commits of a topic in build/src, or on another base there."""
    before = topics()[:topics().index(topic)]
    if not base:
        start = "topic/" + before[-1] if before else "refs/thrift/base"
        return f"{start}..topic/{topic}"
    if not has_ref(f"refs/heads/rebase/{base}/queue"):
        die(f"there is no whole rebase onto {base}: ci/rebase.sh makes one")
    if not has_ref(f"refs/heads/rebase/{base}/{topic}"):
        die(f"the rebase onto {base} is without {topic}")
    # A rebase of one topic holds only what that needs.
    start = next((f"rebase/{base}/{name}" for name in reversed(before)
                  if has_ref(f"refs/heads/rebase/{base}/{name}")),
                 f"refs/thrift/rebase/{base}")
    return f"{start}..rebase/{base}/{topic}"


def has_ref(ref):
    """Whether build/src has a ref."""
    return subprocess.run(["git", "-C", SRC, "rev-parse", "-q", "--verify",
                           ref], check=False,
                          stdout=subprocess.DEVNULL).returncode == 0


def read_cover(topic, version):
    """Subject and text of cover.txt."""
    path = ROOT / "patches" / topic / "cover.txt"
    if not path.is_file():
        die(f"{path.relative_to(ROOT)} is not there: write the cover letter")
    subject, _, text = path.read_text(encoding="utf-8").partition("\n")
    if version > 1 and not re.search(rf"^Changes .*v{version - 1}\b|"
                                     rf"^v{version - 1} -> v{version}\b",
                                     text, re.M | re.I):
        die(f"{path.relative_to(ROOT)} says nothing of v{version - 1}: add "
            f"'Changes since v{version - 1}:'")
    return subject.strip(), text.strip()


def recipient(topic, public):
    """Where a topic goes, and whether that is all: patches/TOPIC/private."""
    path = ROOT / "patches" / topic / "private"
    if public:
        return LIST, False
    if path.is_file():
        return path.read_text(encoding="utf-8").strip(), True
    # Its tests may show what is wrong.
    secret = [name for name in with_needs(topic)[:-1]
              if (ROOT / "patches" / name / "private").is_file()]
    if secret:
        die(f"{topic} builds on {secret[0]}, which is not public yet (patches/"
            f"{secret[0]}/private): pass --public once it is")
    return LIST, False


def encoded(text):
    """Text for a header."""
    return text if text.isascii() else email.header.Header(
        text, "utf-8").encode()


def maintainers(repo, patch):
    """Whom get_maintainer.pl names for a patch, without the list itself."""
    run = subprocess.run(
        ["perl", "scripts/get_maintainer.pl", "--noroles", "--norolestats",
         "--nogit", "--nogit-fallback", str(patch)], cwd=repo, text=True,
        check=False, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if run.returncode:
        die(f"get_maintainer.pl: {run.stderr.strip()[:200]}")
    return [email.utils.formataddr(email.utils.parseaddr(line), "utf-8")
            for line in run.stdout.splitlines() if line and LIST not in line]


def put_header(path, name, values):
    """Add a header to a mail, behind its Subject."""
    if not values:
        return
    text = path.read_text(encoding="utf-8")
    head, sep, rest = text.partition("\n\n")
    folded = f"{name}: " + ",\n ".join(values)
    path.write_text(f"{head}\n{folded}{sep}{rest}", encoding="utf-8")


def base_lines(opts, rng):
    """What the series applies to, in the form that tools read."""
    if opts.repo != SRC:
        return ["base-commit: " + git(opts.repo, "merge-base",
                                      *rng.split("..", 1))]
    needed = with_needs(opts.topic)[:-1]
    if opts.base:
        lines = ["base-commit: " + git(SRC, "rev-parse",
                                       f"refs/thrift/rebase/{opts.base}")]
        for topic in needed:
            for commit in git(SRC, "rev-list", "--reverse", topic_range(
                    topic, opts.base)).split():
                lines.append(prerequisite(git(
                    SRC, "diff-tree", "-p", commit).encode()))
        return lines
    lines = [f"base-commit: {pins()['QEMU_COMMIT']}"]
    for name in series():
        if name.split("/", 1)[0] not in needed:
            continue
        lines.append(prerequisite((ROOT / "patches" / name).read_bytes()))
    return lines


def needs_lines(opts):
    """The series that it needs, by their subjects, for the cover letter."""
    needed = [] if opts.range else all_needs()[opts.topic]
    if not needed:
        return []
    return ["", "It applies on top of these series:", "",
            *("  " + read_cover(topic, 1)[0] for topic in needed)]


def prerequisite(diff):
    """The line of a patch that a series needs."""
    out = subprocess.run(["git", "patch-id", "--stable"], input=diff,
                         stdout=subprocess.PIPE, check=True).stdout
    return "prerequisite-patch-id: " + out.split()[0].decode()


def check_authors(opts, rng):
    """Whoever reviews a patch writes to its author, too."""
    people = git(opts.repo, "log", "--format=%an <%ae>", rng).splitlines()
    wrong = [person for person in people if NO_ANSWER.search(person)]
    if wrong:
        die(f"{wrong[0]}, author of {len(wrong)} of {len(people)} patches, "
            "can't be answered: name who is with --author 'Name <address>'")


def put_author(path, author, who):
    """Whose work a mail is: From, or the first line if somebody sends it."""
    head, sep, body = path.read_text(encoding="utf-8").partition("\n\n")
    body = re.sub(r"\AFrom: .*\n\n", "", body)
    if author != who:
        name, mail = re.fullmatch(r"(.*) <(.*)>", author).groups()
        body = f"From: {encoded(name)} <{mail}>\n\n{body}"
    path.write_text(head + sep + body, encoding="utf-8")


def write_mails(opts, out, who):
    """git format-patch, then the cover letter and the addresses."""
    rng = opts.rng
    name, mail = re.fullmatch(r"(.*) <(.*)>", who).groups()
    env = dict(os.environ, GIT_CONFIG_GLOBAL="/dev/null",
               GIT_CONFIG_NOSYSTEM="1", GIT_COMMITTER_NAME=name,
               GIT_COMMITTER_EMAIL=mail)
    subject, text = opts.cover
    args = ["format-patch", "-q", "-o", str(out), "--thread=shallow",
            f"--from={who}", "--no-signature", "--stat=72", "--numbered",
            "--no-base", "--no-renames", "--no-signoff", "--no-attach",
            "--no-notes", "--suffix=.patch", "-U3", "--src-prefix=a/",
            "--dst-prefix=b/", "--diff-algorithm=myers", "--no-add-header",
            "--no-to", "--no-cc", f"--to={opts.to}", "--cover-letter",
            "--cover-from-description=none", "--subject-prefix="
            + ("RFC PATCH" if opts.rfc else "PATCH")]
    if opts.version > 1:
        args.append(f"-v{opts.version}")
    git(opts.repo, *args, rng, env=env)
    mails = sorted(out.glob("*.patch"))
    for path in mails[1:] if opts.author else ():
        put_author(path, opts.author, who)
    people_of = {} if opts.private else {
        path: maintainers(opts.tree, path) for path in mails[1:]}
    everyone = list(dict.fromkeys(p for people in people_of.values()
                                  for p in people))
    for path, people in people_of.items():
        # What nobody maintains is for those who get the rest of the series
        put_header(path, "Cc", people or everyone)
    cover = mails[0]
    body = cover.read_text(encoding="utf-8")
    body = body.replace("*** SUBJECT HERE ***", encoded(subject))
    body = body.replace("*** BLURB HERE ***",
                        "\n".join([text, *needs_lines(opts)]))
    body = body.rstrip("\n") + "\n\n" + "\n".join(base_lines(opts, rng)) + "\n"
    cover.write_text(body, encoding="utf-8")
    if not body.isascii() and "\nMIME-Version: " not in body:
        put_header(cover, "MIME-Version", ["1.0"])
        put_header(cover, "Content-Type", ["text/plain; charset=UTF-8"])
        put_header(cover, "Content-Transfer-Encoding", ["8bit"])
    put_header(cover, "Cc", everyone)
    return mails


def check_mails(mails, opts):
    """What a maintainer would send back; a list of complaints."""
    total, bad = len(mails) - 1, []
    tag = "RFC PATCH" if opts.rfc else "PATCH"
    if opts.version > 1:
        tag += f" v{opts.version}"
    width = len(str(total))
    for number, path in enumerate(mails):
        text = path.read_text(encoding="utf-8")
        head, _, body = text.partition("\n\n")
        head = re.sub(r"\n[ \t]+", " ", head)
        want = f"Subject: [{tag} {number:0{width}}/{total}] "
        if want not in head:
            bad.append(f"{path.name}: no '{want.strip()}'")
        if f"To: {opts.to}" not in head:
            bad.append(f"{path.name}: not addressed to {opts.to}")
        if opts.private and (LIST in head or re.search("^Cc:", head, re.M)):
            bad.append(f"{path.name}: goes to others than {opts.to}")
        elif not opts.private and not re.search(r"^Cc: .*@", head, re.M):
            bad.append(f"{path.name}: get_maintainer.pl named nobody")
        if number and "In-Reply-To: " not in head:
            bad.append(f"{path.name}: does not reply to the cover letter")
        if not number and not re.search(r"^base-commit: [0-9a-f]{40}$", body,
                                        re.M):
            bad.append(f"{path.name}: no base-commit")
        if not number and " changed, " not in body:
            bad.append(f"{path.name}: no diffstat")
        if "*** " in head + body.split("\ndiff --git")[0]:
            bad.append(f"{path.name}: not filled in")
        if opts.repo == SRC and re.search("^Signed-off-by:", body, re.M):
            bad.append(f"{path.name}: the queue carries a Signed-off-by")
    return bad


def provenance(repo):
    """QEMU's rule, quoted from the tree that the commits are in."""
    path = repo / "docs/devel/code-provenance.rst"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    found = re.search(r"Use of AI-generated content\n~+\n\n(.*?)\n\nThe incr",
                      text, re.S)
    return found.group(1) if found else f"(read {path})"


def main():
    """Write, check, and say what is left to the sender."""
    parser = Parser(EXAMPLES, __doc__)
    parser.add_argument("topic", choices=topics() or None)
    parser.add_argument("--version", type=int, default=1, metavar="N",
                        help="the series is vN (default: 1)")
    parser.add_argument("--rfc", action="store_true",
                        help="tag it RFC; the cover letter says why")
    parser.add_argument("--from", dest="sender", metavar="'NAME <ADDRESS>'",
                        help="the sender (default: your git identity)")
    parser.add_argument("--author", metavar="'NAME <ADDRESS>'",
                        help="whose work the patches are, where the commits "
                             "don't say it (default: the commits' authors)")
    parser.add_argument("--repo", type=pathlib.Path, default=SRC,
                        help="take the commits from here (needs --range)")
    parser.add_argument("--range", metavar="A..B", help="these commits")
    parser.add_argument("--base", metavar="NAME",
                        help="the topic on the base that ci/rebase.sh put it")
    parser.add_argument("--public", action="store_true",
                        help="to the list, where patches/TOPIC/private names "
                             "another recipient")
    parser.add_argument("--out", type=pathlib.Path,
                        help="folder for the mails (default: build/mail/...)")
    opts = parser.parse_args()
    opts.repo = opts.repo.resolve()
    opts.out = opts.out and opts.out.resolve()
    if opts.version < 1:
        parser.error("--version starts at 1")
    if (opts.repo == SRC) != (opts.range is None):
        parser.error("--repo and --range go together")
    if opts.base and opts.range:
        parser.error("--base and --range don't go together")
    if opts.range and ".." not in opts.range:
        parser.error("--range wants A..B")
    if opts.base and not re.fullmatch(r"[A-Za-z0-9][\w.+-]*", opts.base):
        parser.error(f"--base '{opts.base}': not the name of a rebase")
    opts.tree = BUILD / f"rebase.d/{opts.base}/src" if opts.base else opts.repo
    if not (opts.tree / "scripts/get_maintainer.pl").is_file():
        die(f"there is no rebase onto {opts.base}: ci/rebase.sh makes one"
            if opts.base else
            f"{opts.repo} is not a QEMU tree" + (
                ": run ./configure-wrapper.sh first" if opts.repo == SRC
                else ""))
    who = sender(opts.sender)
    opts.rng = opts.range or topic_range(opts.topic, opts.base)
    if not int(git(opts.repo, "rev-list", "--count", opts.rng)):
        die(f"{opts.rng} holds no commits")
    if opts.author:
        named("--author", opts.author)
    else:
        check_authors(opts, opts.rng)
    opts.cover = read_cover(opts.topic, opts.version)
    opts.to, opts.private = recipient(opts.topic, opts.public)
    out = opts.out or BUILD / f"mail/{opts.topic}-v{opts.version}"
    if opts.out and out.exists() and any(out.iterdir()):
        die(f"{out} is not empty: name another folder")
    if not opts.out:
        shutil.rmtree(out, ignore_errors=True)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        die(f"{out} can't be made: {err.strerror}")
    mails = write_mails(opts, out, who)
    complaints = check_mails(mails, opts)
    for line in complaints:
        print(line)
    if complaints:
        return 1
    note(f"{len(mails)} mails in {out}, from {who}")
    if not opts.range:
        first = with_needs(opts.topic)[:-1]
        note("it builds on " + ", ".join(first) + ": send those first"
             if first else "it needs no other topic")
    if opts.private:
        note(f"vulnerabilities: to {opts.to} alone, see the cover letter; "
             "--public once they agree")
    if NO_ANSWER.search(who):
        note(f"warning: {who} can't be answered: pass --from")
    print("QEMU's docs/devel/code-provenance.rst on what it takes:\n\n"
          f"{provenance(opts.tree)}\n\nRead all of it first. QEMU takes no "
          "patch without the Signed-off-by of a person\nwho can certify it; "
          "none was added here.", file=sys.stderr)
    if opts.repo == SRC and not opts.base:
        print("These commits are based on a release; QEMU wants current "
              "master: ci/rebase.sh moves\nthem, your own branch carries "
              "your sign-off (--repo, --range).", file=sys.stderr)
    # Of a private one nobody learns by a Cc: in a message, or one's settings.
    alone = ("--suppress-cc=all --no-to --no-cc --no-bcc " if opts.private
             else "")
    print(f"git send-email --confirm=always --no-thread {alone}"
          f"--from={shlex.quote(who)} {shlex.quote(str(out))}/*.patch")
    return 0


if __name__ == "__main__":
    run_main(main)
