#!/usr/bin/python3
"""Count the exits of real guests, without and with exit clustering.

Each guest runs to a point that it reaches by itself: SeaBIOS finds nothing to
boot from, GRUB shows its menu, ISOLINUX, iPXE and memtest86+ say who they are.
A guest is skipped where KVM gives up on it ("internal error") with the first
variant already.  Exits for I/O and device memory are counted by the trace
event kvm_run_exit, so any QEMU can be counted, and what the guest says is
compared: its debug port's output and its text screen have to be the same in
all runs, but for numbers that count.
SeaBIOS prints in threads, whose lines may change places from run to run, or
run into one another, so the port's characters are compared in any order.
Debian's QEMUs of other suites, which ci/peer.sh puts in build/peer-SUITE, are
counted in the same runs where they are there.  Each has firmware of its own,
so what a guest says is compared among the runs of a peer, and among those of
pristine and patched, not between the two.

Variants alternate, each run is a QEMU of its own.  Times of two machines do
not compare; the columns of one run do.

Exit status: 0 counted, 1 what a guest said differs, 2 wrong use.
"""
import difflib
import os
import pathlib
import re
import statistics
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "ci"))
# pylint: disable=wrong-import-position
from lib.tool import (  # noqa: E402
    Parser, Skip, Wrong, binary, machine, no_kvm, no_qemu, peers, progress,
    run_main, spread, within, write_csv)

COLUMNS, ROWS = 80, 25
EXAMPLES = """examples:
  tests/bench/exits.py                       all guests that are installed
  tests/bench/exits.py --guest post --runs 5
  tests/bench/exits.py --variant off --variant on --csv out.csv
  tests/bench/exits.py --variant peer-trixie --variant on
"""
# What is run: build, and what is added to -accel kvm.  On hosts with shadow
# page tables clusters are refused; these guests change none, so they are
# counted there, too.
VARIANTS = {"pristine": ("pristine", ""),
            "off": ("patched", ",exit-clustering=off"),
            "on": ("patched",
                   ",exit-clustering=on,x-exit-clustering-tdp=on")}
OURS = frozenset(VARIANTS)
VARIANTS.update((name, (name, "")) for name in peers())
EXIT = re.compile(rb"^kvm_run_exit .*, reason (\d+)$|"
                  rb"kvm_run_exit cpu_index \d+, reason (\d+)", re.M)
KVM_EXIT_IO, KVM_EXIT_MMIO = b"2", b"6"


class Kind:
    """A guest: how to start it, when it is where it is to come."""
    # pylint: disable=too-few-public-methods
    def __init__(self, args, done, needs=(), package="", port=False,
                 moves=False):
        self.args, self.needs, self.package = args, needs, package
        self.done, self.port = re.compile(done), port
        self.moves = moves      # its screen has a clock and the like


GUESTS = {
    # With the end of its line: the screen gets each character a little later
    "post": Kind([], r"No bootable device\.\r?\n", port=True),
    "grub": Kind(["-cdrom", "/usr/lib/grub-rescue/grub-rescue-cdrom.iso"],
                 r"will be executed automatically in \d+s\.",
                 ["/usr/lib/grub-rescue/grub-rescue-cdrom.iso"],
                 "grub-rescue-pc"),
    "isolinux": Kind(["-cdrom", "/usr/lib/ipxe/ipxe.iso"], r"ISOLINUX .* ETCD",
                     ["/usr/lib/ipxe/ipxe.iso"], "ipxe"),
    "ipxe": Kind(["-cdrom", "/usr/lib/ipxe/ipxe.iso"], r"Features: .*",
                 ["/usr/lib/ipxe/ipxe.iso"], "ipxe", moves=True),
    "memtest86+": Kind(["-kernel", "/boot/memtest86+x64.bin"],
                       r"Memtest86\+ v\S+", ["/boot/memtest86+x64.bin"],
                       "memtest86+", moves=True),
}


class Run:
    """One QEMU, from its start to where its guest is to come."""

    def __init__(self, variant, kind, tmp, timeout):
        build, accel = VARIANTS[variant]
        self.port = pathlib.Path(tmp, "port")
        self.trace = pathlib.Path(tmp, "trace")
        self.tmp = tmp
        self.machine = machine(
            binary(build), base_temp_dir=tmp,
            args=["-accel", f"kvm{accel}", "-machine", "pc", "-m", "256",
                  "-display", "none", "-nodefaults", "-vga", "std",
                  "-chardev", f"file,id=port,path={self.port}",
                  "-device", "isa-debugcon,iobase=0x402,chardev=port",
                  "-trace", "kvm_run_exit", "-D", str(self.trace),
                  *kind.args])
        start = time.monotonic()
        self.machine.launch()
        try:
            found = self.wait(kind, start + timeout)
            self.seconds = time.monotonic() - start
            self.machine.cmd("stop")
            self.clusters = self.machine.cmd(
                "x-query-exit-clusters")["clusters"] if build == "patched" \
                else []
            self.said = self.port.read_bytes()
            self.screen = found if kind.moves else self.text()
        finally:
            self.machine.shutdown(hard=True)
        reasons = [a or b for a, b in EXIT.findall(self.trace.read_bytes())]
        self.ports = reasons.count(KVM_EXIT_IO)
        self.mmio = reasons.count(KVM_EXIT_MMIO)

    def text(self):
        """The text screen, a string of lines."""
        path = pathlib.Path(self.tmp, "text")
        self.machine.cmd("pmemsave", val=0xb8000, size=2 * COLUMNS * ROWS,
                         filename=str(path))
        chars = path.read_bytes()[::2].decode("cp437")
        return "\n".join(chars[i:i + COLUMNS].rstrip()
                         for i in range(0, len(chars), COLUMNS))

    def wait(self, kind, end):
        """Until the guest is where it is to come.  Returns: what said so"""
        while True:
            said = self.port.read_text(errors="replace") if kind.port \
                else self.text()
            if found := kind.done.search(said):
                return found.group()
            if self.machine.cmd("query-status")["status"] == "internal-error":
                raise Skip("KVM ends this guest with an internal error")
            if time.monotonic() > end:
                raise Wrong(f"the guest doesn't say {kind.done.pattern!r}, "
                            f"but {said.strip()[-300:]!r}")
            time.sleep(0.02 if kind.port else 0.2)

    def words(self):
        """What is to be the same in all runs."""
        said = self.said.decode(errors="replace")
        return "".join(sorted(said)), re.sub(r"\d+", "#", self.screen)

    def lines(self):
        """The same, for people."""
        said = self.said.decode(errors="replace")
        return sorted(said.splitlines()) + self.words()[1].splitlines()


def parse_args():
    """The command line."""
    parser = Parser(EXAMPLES, __doc__)
    parser.add_argument("--guest", action="append", choices=GUESTS,
                        help="only this guest, can be repeated")
    parser.add_argument("--variant", action="append", choices=VARIANTS,
                        help="only this one, can be repeated; off and on are "
                             "the patched build's, ci/peer.sh gets peers")
    parser.add_argument("--hottest", type=within(0), default=3, metavar="N",
                        help="clusters that saved most to be shown, of the "
                             "last run (default: 3)")
    parser.add_argument("--timeout", type=within(1), default=120, metavar="S",
                        help="for one run (default: 120)")
    parser.add_runs()
    opts = parser.parse_args()
    opts.variant = opts.variant or list(VARIANTS)
    parser.refuse(no_kvm(), *(no_qemu(binary(VARIANTS[variant][0]))
                              for variant in opts.variant))
    return opts


def chosen_guests(opts):
    """Those that are wanted; why not, if one is not installed."""
    for name in opts.guest or GUESTS:
        kind = GUESTS[name]
        if all(os.path.exists(path) for path in kind.needs):
            yield name, kind
        else:
            yield name, f"apt-get install {kind.package} brings it"


def measure(name, kind, opts):
    """All runs of a guest, by variant."""
    runs = {variant: [] for variant in opts.variant}
    for variant in progress(list(runs) * opts.runs,
                            lambda variant: f"{name}, {variant}"):
        with tempfile.TemporaryDirectory() as tmp:
            try:
                runs[variant].append(Run(variant, kind, tmp, opts.timeout))
            except Skip as why:
                # Is it this host's KVM, or one of these QEMUs?
                if any(runs.values()):
                    raise Wrong(f"{variant}: {why}") from why
                raise Skip(f"{why} ({variant})") from why
    return runs


def report(name, runs):
    """A line per variant."""
    base = None
    for variant, list_ in runs.items():
        exits = [run.ports + run.mmio for run in list_]
        median = statistics.median(exits)
        base = base or median
        print(f"{name:8} {variant:13} {spread(exits, '.0f'):>24} "
              f"{100 * (median / base - 1):+5.0f} % "
              f"{spread([run.seconds for run in list_], '.1f'):>18} s",
              flush=True)


def hottest(run, most):
    """Where most exits were saved."""
    for place in run.clusters[:most]:
        if place["saved"]:
            ends = max(place["ends"], key=lambda end: end["count"])
            print(f"{'':8} {place['kind']} {place['address']:#x} at "
                  f"{place['rip']:#x}: {place['saved']} exits saved by "
                  f"{place['runs']} runs of {place['instructions']} "
                  f"instructions, most ended by {ends['reason']}", flush=True)


def same_words(name, runs):
    """Did the guest say the same in all runs with the same firmware?"""
    families = {}
    for variant, list_ in runs.items():
        family = "" if variant in OURS else variant
        families.setdefault(family, {})[variant] = list_
    fine = True
    for family in families.values():
        fine &= same_in(name, family)
    return fine


def same_in(name, runs):
    """The same of these variants; a difference is shown."""
    words = {run.words(): (variant, run) for variant, list_ in runs.items()
             for run in list_}
    if len(words) == 1:
        return True
    (one, first), *others = words.values()
    for other, run in others:
        print(f"{name}: what the guest says differs between {one} and "
              f"{other}:", file=sys.stderr)
        sys.stderr.writelines(line + "\n" for line in difflib.unified_diff(
            first.lines(), run.lines(), one, other, n=0, lineterm=""))
    return False


def main():
    """Run, count, compare."""
    opts = parse_args()
    fine = True
    rows = []
    print(f"{'guest':8} {'variant':13} {'exits':>24} {'':>7} {'time':>18}")
    for name, kind in chosen_guests(opts):
        try:
            if isinstance(kind, str):
                raise Skip(kind)
            runs = measure(name, kind, opts)
        except Skip as why:
            print(f"{name}: skipped: {why}", flush=True)
            rows.append((name, "", "", "", "", str(why)))
            continue
        except Wrong as wrong:
            print(f"{name}: {wrong}", file=sys.stderr)
            fine = False
            continue
        report(name, runs)
        for list_ in runs.values():
            hottest(list_[-1], opts.hottest)
        fine &= same_words(name, runs)
        rows += [(name, variant, run.ports, run.mmio, f"{run.seconds:.3f}", "")
                 for variant, list_ in runs.items() for run in list_]
    write_csv(opts.csv, ("guest", "variant", "port exits", "mmio exits",
                         "seconds", "skipped"), rows)
    return 0 if fine else 1


if __name__ == "__main__":
    run_main(main)
