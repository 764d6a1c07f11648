#!/usr/bin/python3
"""Live-migrate a guest while it writes its memory, between builds.

Each hop starts the next QEMU paused, migrates while the guest writes, and
then compares all guest RAM of the two, byte for byte, before it lets the
guest run on.  The guest checks every page it wrote, as it goes and after the
hop (memwriter.c).  Where no stock kernel boots under KVM, a boot sector
that writes random words and the text screen stands in (ramwriter.S).  All of
the display's memory is compared as well, and what a display would show.

--network has a NIC that takes in frames all the time, also around the hop: the
guest checks each (netreader.c), and has to get all of them, in order.
--display has the guest draw in a mode in which QEMU keeps a picture of its
own, and looks at it while it migrates: before and after the hop the pictures
are equal only if all that was drawn was found dirty.

Debian's QEMUs, which ci/peer.sh puts in build/peer-SUITE, can be on the path
like builds; --machine has to name a machine type that all of them know.
Screens are compared within a release only: 11.1 draws text with less colours
than 10.2 does, of the same memory.
Output is TAP.

Exit status: 0 all hops right, 1 one was not, 2 wrong use.
"""
import contextlib
import hashlib
import itertools
import pathlib
import re
import shutil
import sys
import tempfile

import frames

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "ci"))
# pylint: disable=wrong-import-position
from lib.series import BUILD  # noqa: E402
from lib.tool import (  # noqa: E402
    FAILURES, PATIENCE, RING, Parser, Wrong, binary, command, comment, machine,
    no_guest, no_qemu, run_main, verdict, wait_until, within)

RAM_MIB = 192
PAGE = 4096
SHOWN = 20
EXAMPLES = """examples:
  tests/guests/migrate_guest.py                    patched to patched
  tests/guests/migrate_guest.py --path patched,pristine,patched
  tests/guests/migrate_guest.py --mem 65528K --path patched,patched
  tests/guests/migrate_guest.py --guest ramwriter --accel kvm-ring
  tests/guests/migrate_guest.py --path patched,pristine --hops 10 \
      --network --display
  tests/guests/migrate_guest.py --path patched,peer-trixie,patched \
      --machine pc-q35-10.0 --network --device virtio-balloon-pci
"""
MACHINES = {"linux": "pc-q35-10.2", "ramwriter": "pc-i440fx-10.2"}
ACCELS = {"tcg": "tcg", "kvm": "kvm",
          "kvm-ring": f"kvm,dirty-ring-size={RING}"}


class Guest:
    """One QEMU of the chain, and what its guest printed.

    As a context it ends without ceremony; it may have been shut down by then.
    """

    def __init__(self, variant, tmp, opts, number, running=False):
        self.variant = variant
        self.serial = pathlib.Path(tmp, f"serial-{number}")
        self.socket = pathlib.Path(tmp, f"migrate-{number}")
        self.uri = f"unix:{self.socket}"
        self.trace = pathlib.Path(tmp, f"trace-{number}")
        self.guest = opts.guest
        programs = ["modules"] if opts.feeder or opts.modules else []
        programs += [f"netreader:{opts.feeder.replies}"] if opts.feeder else []
        programs += ["screenwriter"] if opts.display else []
        programs += [f"memwriter:{opts.working_set}"]
        # KVM writes the clock that SeaBIOS asks for when a VM goes on.
        cpu = opts.cpu + ",kvmclock=off" * ("kvm" in opts.accel)
        args = ["-accel", ACCELS[opts.accel], "-m", opts.mem, "-cpu", cpu,
                "-machine", opts.machine or MACHINES[self.guest],
                "-display", "none", "-nodefaults",
                "-vga", "std",
                "-chardev", f"file,id=serial,path={self.serial}",
                "-serial", "chardev:serial"]
        if self.guest == "linux":
            args += ["-kernel", str(BUILD / "guests/vmlinuz"),
                     "-initrd", str(BUILD / "guests/initramfs.gz"),
                     "-append", "console=tty0 console=ttyS0 quiet panic=-1 "
                                "vt.global_cursor_default=0 net.ifnames=0 "
                                "ipv6.disable=1 no_timer_check "
                     + " ".join(f"thrift={name}" for name in programs)]
        else:
            args += ["-snapshot", "-drive",
                     f"file={BUILD / 'guests/ramwriter'},if=ide,format=raw"]
        if number:
            args += [] if running else ["-S"]
            args += ["-incoming", self.uri]
        if opts.feeder:
            args += opts.feeder.arguments(number, binary(variant))
        if opts.accel == "kvm":
            args += ["-trace", "kvm_clear_dirty_log", "-D", str(self.trace)]
        args += opts.extra
        self.vm = machine(binary(variant), args, base_temp_dir=tmp)
        self.vm.launch()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.vm.shutdown(hard=True)

    def output(self):
        """What the guest printed to this QEMU so far."""
        return self.serial.read_text(encoding="utf-8", errors="replace")

    def passes(self):
        """How many full checks it reported."""
        if self.guest == "ramwriter":
            return self.output().count(".")
        return len(re.findall(r"^memwriter: pass \d+ sum \w{16}",
                              self.output(), re.M))

    def wait_passes(self, count, timeout=PATIENCE):
        """Wait until the guest has checked all its memory that often."""
        def checked():
            if self.passes() >= count:
                return True
            text = self.output()
            if "BAD" in text or "Kernel panic" in text:
                raise Wrong(f"the guest says: {text[-300:]!r}")
            if not self.vm.is_running():
                raise Wrong(f"{self.variant}: QEMU ended "
                            f"({self.vm.exitcode()}): {self.vm.get_log()}")
            return False

        wait_until(checked, timeout, lambda: f"{self.variant}: no {count} "
                   f"passes in {timeout} s, last output "
                   f"{self.output()[-200:]!r}", 0.1)

    def status(self):
        """query-migrate."""
        return self.vm.cmd("query-migrate")

    def migrated(self):
        """The same, if it's completed; Wrong if that won't be."""
        info = self.status()
        if info["status"] in ("failed", "cancelled"):
            raise Wrong(f"migration {info['status']}: "
                        f"{info.get('error-desc', 'no reason given')}")
        return info if info["status"] == "completed" else None

    def syncs(self):
        """How many dirty syncs the migration had so far."""
        return self.status().get("ram", {}).get("dirty-sync-count", 0)

    def limit(self, bandwidth, downtime):
        """What a migration may take: MiB a second, and milliseconds."""
        self.vm.cmd("migrate-set-parameters", max_bandwidth=bandwidth << 20,
                    downtime_limit=downtime)

    def save_ram(self, path):
        """Guest RAM and then video RAM, to a file, and what lies where, as
        (address, size) pairs; the guest is stopped."""
        ram = self.vm.cmd("query-memory-size-summary")["base-memory"]
        parts = [(0, ram), self.video_memory()]
        with path.open("wb") as saved:
            for start, size in parts:
                part = path.with_suffix(".part")
                self.vm.cmd("pmemsave", val=start, size=size,
                            filename=str(part))
                with part.open("rb") as memory:
                    shutil.copyfileobj(memory, saved, 1 << 20)
                part.unlink()
        return parts

    def video_memory(self):
        """Where the frame buffer lies: (address, size)."""
        for bus in self.vm.cmd("query-pci"):
            for device in bus["devices"]:
                if device["class_info"]["class"] == 0x300:
                    region = device["regions"][0]
                    return region["address"], region["size"]
        raise Wrong("no VGA device")

    def monitor(self, line):
        """What the human monitor answers."""
        return self.vm.cmd("human-monitor-command", command_line=line)

    def screen(self, tmp):
        """What a display would show, as a picture."""
        path = pathlib.Path(tmp, "screen.ppm")
        self.vm.cmd("screendump", filename=str(path))
        return path.read_bytes()


def migrate(source, target, opts, watch=None, amid=None):
    """Live-migrate; returns the number of dirty syncs it took.

    watch is called again and again while it does.  amid is called once, when
    it has begun: until that is done it's so slow that the first round alone
    takes a minute, as a guest that has checked its memory has more than 64 MiB
    that aren't zero, and then the guest has written all of it again.
    """
    source.limit(1 if amid else opts.bandwidth, 1 if amid else opts.downtime)
    source.vm.cmd("migrate", uri=target.uri)
    if amid:
        amid()
        source.limit(opts.bandwidth, opts.downtime)
    opened = False

    def completed():
        nonlocal opened
        if watch:
            watch()
        # Let it send some rounds of what the guest wrote before it may end.
        if not opened and source.syncs() > 3:
            source.limit(0, 5000)
            opened = True
        return source.migrated()

    info = wait_until(completed, PATIENCE, "the migration does not end")
    return info["ram"]["dirty-sync-count"]


def wait_incoming(guest):
    """Until the target took everything."""
    wait_until(lambda: guest.status().get("status") == "completed",
               PATIENCE, "the target does not finish")


def differences(sent, got, parts):
    """Of two files as save_ram() makes them: where each page is that isn't the
    same, and what they have there, as text."""
    with sent.open("rb") as one, got.open("rb") as other:
        for start, size in parts:
            for address in range(start, start + size, PAGE):
                length = min(PAGE, start + size - address)
                was, now = one.read(length), other.read(length)
                if was == now:
                    continue
                places = [i for i in range(length) if was[i] != now[i]]
                at = places[0]
                yield (f"{address + at:#x}: {len(places)} bytes of the page "
                       f"differ, {was[at:at + 16].hex()} was sent, "
                       f"{now[at:at + 16].hex()} arrived"
                       + (", all zero" if not any(now) else ""))


def compare_ram(source, target, tmp):
    """SHA-256 of what both have, or Wrong and where it isn't the same; the
    guests are stopped."""
    sent, got = pathlib.Path(tmp, "ram-sent"), pathlib.Path(tmp, "ram-arrived")
    parts = source.save_ram(sent)
    if target.save_ram(got) != parts:
        raise Wrong("the sizes of their memory, or where it is, differ")
    digests = []
    for path in sent, got:
        with path.open("rb") as memory:
            digests.append(hashlib.file_digest(memory, "sha256").hexdigest())
    if digests[0] != digests[1]:
        pages = list(differences(sent, got, parts))
        for page in pages[:SHOWN]:
            comment(page)
        raise Wrong(f"guest RAM differs in {len(pages)} pages: {pages[0]}")
    sent.unlink()
    got.unlink()
    return digests[0]


def release(guest):
    """The release of its QEMU: what a screen looks like is not its guest's
    alone."""
    version = guest.vm.cmd("query-version")["qemu"]
    return version["major"], version["minor"]


def hop(source, target, tmp, opts):
    """One migration; the target runs the guest after it."""
    had = opts.feeder.acked if opts.feeder else 0
    before = source.screen(tmp)

    # Something has to be drawn while it migrates.
    def drawn():
        wait_until(lambda: source.screen(tmp) != before, PATIENCE,
                   "the guest does not draw")

    syncs = migrate(source, target, opts,
                    lambda: source.screen(tmp) if opts.display else None,
                    drawn if opts.display else None)
    if target.uri.startswith("file:"):
        target.vm.cmd("migrate-incoming", uri=target.uri)
    wait_incoming(target)
    # A page whose log is never cleared is dirty for ever.
    if opts.accel == "kvm" and not source.trace.stat().st_size:
        raise Wrong("KVM's dirty log was never cleared")
    digest = compare_ram(source, target, tmp)
    screen = source.screen(tmp)
    if release(source) != release(target):
        comment("two releases may draw differently: screens not compared")
    elif screen != target.screen(tmp):
        raise Wrong("the screens differ")
    target.vm.cmd("cont")
    target.wait_passes(opts.passes)
    comment(f"{syncs} dirty syncs, RAM sha256 {digest[:16]} on both sides")
    if opts.feeder:
        problem = opts.feeder.check(had, PATIENCE)
        if problem:
            raise Wrong(problem)
        comment(f"{opts.feeder.acked} frames, {opts.feeder.octets} bytes, "
                f"{opts.feeder.heard} replies, {opts.feeder.missing} missing")


def walk(path, opts):
    """Boot, and hop from build to build; returns the exit status."""
    number, name = 1, f"boot of {path[0]}"
    with contextlib.ExitStack() as stack:
        tmp = stack.enter_context(tempfile.TemporaryDirectory())
        if opts.network:
            # When the VM stops, stock QEMU goes on with packets that wait,
            # and the RAM of the two is no longer the same.
            opts.feeder = stack.enter_context(frames.Feeder(
                tmp, frames.FEW if set(path) != {"patched"} else 1))
        try:
            guest = stack.enter_context(Guest(path[0], tmp, opts, 0))
            guest.wait_passes(2)
            for number, variant in enumerate(path[1:], 1):
                name = f"{path[number - 1]} to {variant}, {opts.accel}, " \
                       f"{opts.mem}"
                target = stack.enter_context(Guest(variant, tmp, opts, number))
                hop(guest, target, tmp, opts)
                guest.vm.shutdown()
                guest = target
                verdict(True, number, name)
        except FAILURES as err:
            comment(err)
            verdict(False, number, name)
            return 1
    return 0


def unknown(variant, kind):
    """What to do if that QEMU does not have this machine type, or None."""
    told = command([binary(variant), "-machine", "help"])
    return None if kind in re.findall(r"^(\S+) ", told, re.M) else \
        f"build/{variant} does not know {kind}: name an older machine type " \
        "with --machine"


def parse_args():
    """The command line."""
    parser = Parser(EXAMPLES, __doc__)
    parser.add_argument("--path", default="patched,patched",
                        help="builds to pass through (default: %(default)s)")
    parser.add_argument("--guest", choices=("linux", "ramwriter"),
                        default="linux", help="(default: linux)")
    parser.add_argument("--accel", choices=ACCELS, default="tcg",
                        help="(default: tcg)")
    parser.add_argument("--mem", default=f"{RAM_MIB}M",
                        help="guest RAM (default: %(default)s)")
    parser.add_argument("--working-set", type=int, default=32, metavar="MIB",
                        help="memory the guest writes (default: 32)")
    parser.add_argument("--bandwidth", type=int, default=200, metavar="MIB/S",
                        help="of the first rounds (default: 200)")
    parser.add_argument("--passes", type=int, default=2,
                        help="checks after each hop (default: 2)")
    parser.add_argument("--hops", type=within(1), metavar="N",
                        help="migrate that often, on the path over and over "
                             "(default: once through it)")
    parser.set_defaults(feeder=None, downtime=100)
    parser.add_argument("--machine", help="a machine type (default: "
                        f"{', '.join(MACHINES.values())} for ramwriter)")
    parser.add_argument("--cpu", default="max",
                        help="a CPU model (default: %(default)s); some hosts' "
                             "KVM refuses max with a machine type of 10.0")
    parser.add_argument("--device", action="append", default=[],
                        help="add this device, can be repeated")
    parser.add_argument("--network", action="store_true",
                        help="have the guest take in frames")
    parser.add_argument("--display", action="store_true",
                        help="have the guest draw")
    opts = parser.parse_args()
    opts.extra = [arg for device in opts.device for arg in ("-device", device)]
    opts.modules = bool(opts.device)
    opts.path = opts.path.split(",")
    for variant in opts.path:
        parser.refuse(no_qemu(binary(variant)))
        parser.refuse(unknown(variant, opts.machine or MACHINES[opts.guest]))
    if len(opts.path) < 2:
        parser.error("--path wants two builds or more")
    if opts.guest != "linux" and (opts.network or opts.display):
        parser.error("--network and --display want the Linux guest")
    parser.refuse(no_guest("modules"))
    return opts


def main():
    """The path, again and again if that is wanted."""
    opts = parse_args()
    path = list(itertools.islice(itertools.cycle(opts.path), opts.hops + 1)) \
        if opts.hops else opts.path
    print(f"1..{len(path) - 1}", flush=True)
    return walk(path, opts)


if __name__ == "__main__":
    run_main(main)
