#!/usr/bin/python3
"""Run apt with a private state that reaches one more suite.

The deb or deb-src entry is derived from the host's own apt sources: the
stanza whose suite equals the release's code name gives the address and the
key, only the suite is replaced.  Lists and caches live under build/apt, so
the system's configuration is neither read again nor changed.

Exit status: that of the command, 1 if it can't be prepared, 2 for wrong use.
"""
import argparse
import os
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib.tool import Parser, Wrong, run_main  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = """examples:
  ci/helpers/apt_private.py deb-src sid apt-get source --download-only qemu
  ci/helpers/apt_private.py deb bookworm-backports apt-get install -y meson
  ci/helpers/apt_private.py deb trixie sources    # the entry that it makes
"""


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


def prepare(kind, suite):
    """Make the private state and return the options that select it."""
    state = ROOT / "build" / "apt" / f"{kind}-{suite}"
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
    select = prepare(opts.kind, opts.suite)
    if opts.command == "sources":
        state = ROOT / "build" / "apt" / f"{opts.kind}-{opts.suite}"
        print((state / "thrift.sources").read_text(encoding="utf-8"), end="")
        return 0
    update = subprocess.run(["apt-get", *select, "-q", "update"], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            check=False)
    if update.returncode or re.search(r"^(Err:|E:)", update.stdout, re.M):
        reason = [line for line in update.stdout.splitlines()
                  if re.match(r"[EW]:|Err:", line)] or ["apt-get failed"]
        print(f"apt_private.py: error: suite {opts.suite} is not reached "
              f"({reason[0]}): check the network", file=sys.stderr)
        return 1
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    return subprocess.run([opts.command, *select, *opts.args], env=env,
                          check=False).returncode


if __name__ == "__main__":
    run_main(main)
