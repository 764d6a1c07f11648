#!/usr/bin/python3
"""Run apt with a private state that reaches one more suite.

The deb or deb-src entry is derived from the host's own apt sources: the
stanza whose suite equals the release's code name gives the address and the
key, only the suite is replaced.  Lists and caches live under build/apt, so
the system's configuration is neither read again nor changed.  Two that want
the same suite take turns.

Exit status: that of the command; 77 if the archive isn't reached, or doesn't
have what is to be fetched; 1 if it can't be prepared, 2 for wrong use.
"""
import argparse
import os
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib.tool import Parser, Wrong, run_main, turn  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = """examples:
  ci/helpers/apt_private.py deb-src sid apt-get source --download-only qemu
  ci/helpers/apt_private.py deb bookworm-backports apt-get install -y meson
  ci/helpers/apt_private.py deb trixie sources    # the entry that it makes
"""


# What apt says if something could not be fetched ...
UNREACHED = re.compile(r"^(?:Err:|[EW]: (?:Failed to fetch|Unable to fetch))",
                       re.M)
# ... and if neither the network nor the archive is at fault, but this host:
# its disk, the rights of a folder, a key that it doesn't have
AT_FAULT = re.compile(
    r"No space left|Disk quota|Read-only file system|Permission denied|"
    r"Input/output error|GPG error|NO_PUBKEY|EXPKEYSIG|public key|"
    r"couldn't be verified|not signed|signatures? w(?:as|ere) invalid")
NOT_REACHED = 77


def code_name(os_release="/etc/os-release"):
    """The release's code name, 'bookworm' for Debian 12."""
    text = pathlib.Path(os_release).read_text(encoding="utf-8")
    found = re.search(r'^VERSION_CODENAME="?([a-z]+)"?$', text, re.M)
    if not found:
        raise Wrong(f"{os_release} names no release: this needs Debian")
    return found.group(1)


def deb822_entries(text):
    """(uris, suites, signed_by) of each stanza of a .sources file."""
    for stanza in re.split(r"\n\s*\n", text):
        fields = {}
        last = None
        for line in stanza.splitlines():
            if line.startswith("#"):
                continue
            if line[:1].isspace() and last:
                fields[last] += "\n" + line
            elif ":" in line:
                last, value = line.split(":", 1)
                last = last.strip().lower()
                fields[last] = value.strip()
        if (fields.get("enabled", "yes").lower() not in ("no", "false")
                and "deb" in fields.get("types", "").split()):
            yield (fields.get("uris", "").split(),
                   fields.get("suites", "").split(),
                   fields.get("signed-by"))


def one_line_entries(text):
    """The same of a sources.list file."""
    for line in text.splitlines():
        found = re.match(r"deb\s+(?:\[([^]]*)\]\s+)?(\S+)\s+(\S+)", line)
        if found:
            options, uri, suite = found.groups()
            key = re.search(r"signed-by=(\S+)", options or "")
            yield [uri], [suite], key.group(1) if key else None


def host_entry(etc="/etc/apt"):
    """Address and key of the archive this host was installed from."""
    release = code_name()
    files = [pathlib.Path(etc, "sources.list"),
             *sorted(pathlib.Path(etc, "sources.list.d").glob("*"))]
    for path in files:
        if not path.is_file():
            continue
        text = path.read_text(encoding="utf-8")
        parse = (deb822_entries if path.suffix == ".sources"
                 else one_line_entries)
        for uris, suites, key in parse(text):
            if release in suites and uris:
                return uris[0], key
    raise Wrong(f"no source for '{release}' in {etc}: "
                "add Debian's archive to the host's apt sources")


def run(args):
    """Run apt, and keep what it says.  Returns: its exit status, and that"""
    # What the network is at fault for is known by its English words
    done = subprocess.run(args, text=True, errors="replace", check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env=dict(os.environ, LC_ALL="C",
                                   DEBIAN_FRONTEND="noninteractive"))
    return done.returncode, done.stdout, done.stderr


def unreached(said):
    """Whether the network or the archive is at fault."""
    return UNREACHED.search(said) and not AT_FAULT.search(said)


def prepare(state, kind, suite):
    """Make the private state and return the options that select it."""
    for sub in ("lists/partial", "cache/archives/partial"):
        (state / sub).mkdir(parents=True, exist_ok=True)
    uri, key = host_entry()
    signed = f"Signed-By: {key}\n" if key else ""
    (state / "thrift.sources").write_text(
        f"Types: {kind}\nURIs: {uri}\nSuites: {suite}\n"
        f"Components: main\n{signed}", encoding="utf-8")
    return ["-o", f"Dir::Etc::sourcelist={state}/thrift.sources",
            "-o", "Dir::Etc::sourceparts=-",
            "-o", f"Dir::State::lists={state}/lists",
            "-o", f"Dir::Cache={state}/cache",
            "-o", "APT::Sandbox::User=root"]


def main():
    """Parse the command line and run."""
    parser = Parser(EXAMPLES, __doc__)
    parser.add_argument("kind", choices=("deb", "deb-src"))
    parser.add_argument("suite", help="a Debian suite: sid, trixie, ...")
    parser.add_argument("command", choices=("apt-get", "apt-cache", "sources"))
    parser.add_argument("args", nargs=argparse.REMAINDER)
    opts = parser.parse_args()
    state = ROOT / "build" / "apt" / f"{opts.kind}-{opts.suite}"
    state.mkdir(parents=True, exist_ok=True)
    with turn(state / "lock", f"another run of apt with {opts.suite}"):
        return with_lock(state, opts)


def with_lock(state, opts):
    """Update the lists and run the command.  Returns: the exit status"""
    select = prepare(state, opts.kind, opts.suite)
    if opts.command == "sources":
        print((state / "thrift.sources").read_text(encoding="utf-8"), end="")
        return 0
    status, out, err = run(["apt-get", *select, "-q", "update"])
    if status or re.search(r"^(Err:|E:)", out + err, re.M):
        reason = [line for line in (out + err).splitlines()
                  if re.match(r"[EW]:|Err:", line)] or ["apt-get failed"]
        if not unreached(out + err):
            raise Wrong(f"apt's lists of {opts.suite} cannot be read: "
                        + reason[0])
        print(f"apt_private.py: error: suite {opts.suite} is not reached "
              f"({reason[0]}): check the network", file=sys.stderr)
        return NOT_REACHED
    status, out, err = run([opts.command, *select, *opts.args])
    print(out, end="")
    print(err, end="", file=sys.stderr)
    return NOT_REACHED if status and unreached(out + err) else status


if __name__ == "__main__":
    run_main(main)
