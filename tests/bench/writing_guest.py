#!/usr/bin/python3
"""Time dirty syncs of a guest that writes, and how long its CPUs stand still.

The guest (stallwriter.S) has two CPUs.  One stores to pages at a given rate;
between two stores it reads the TSC all the time, as the other CPU always does.
Gaps between two readings are how long a CPU stood still: for a dirty fault, a
kick, a lock, or because the host had no CPU for it.  What comes without a
migration is shown beside it, and the host's part is measured apart.

A guest that users report on has 256 GiB and 64 vCPUs, and writes 10 GB in a
second, of which a sync takes 73 ms.  This one is as it would be for so many
CPUs as there are here: the rate is what they bear, and the pages of a second
are one of 32 of a stretch of RAM, as there, 2.4 million of 67 million.  RAM
behind the stretch is what a guest of its size has in addition.  Only what is
written takes memory: all but 1 GiB is virtio-mem's, in which the guest
writes without having it plugged, so that a migration does not read the rest;
with TCG it has 8 GiB in one RAMBlock.

The migration, to nowhere, gets such a bandwidth in each round that the round
takes a second.  It's cancelled after some syncs.

Stages of a sync, with the big lock held all the time: "log ioctls" is the time
of the kernel for its log or ring, "logs" the rest of what it takes to have the
logs of KVM and vhost in QEMU's dirty maps, "bitmap" from there to the
migration's bitmap.  "clears" is the time of the kernel to clear its log, or to
reset its ring, until the next sync; its CPU time is without what it waits for
locks, or for a CPU.

--with display has the display looked at 30 times a second; --with vhost a
vhost-user device that dirties as many pages as the guest, of the same stretch.

Variants alternate, each run is a QEMU of its own.  Times of two machines do
not compare; the columns of one run do.

A run that goes wrong is left out, which the end of the table says.

Exit status: 0 measured, 1 no run went right, 2 wrong use.
"""
import contextlib
import pathlib
import re
import struct
import sys
import tempfile
import time
from datetime import datetime

for folder in ("ci", "tests/guests"):
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]
                           / folder))
# pylint: disable=wrong-import-position
from sync_cost import EVENT, preload_library  # noqa: E402
from vhost_user import VhostUser  # noqa: E402
from lib.series import BUILD  # noqa: E402
from lib.tool import (  # noqa: E402
    FAILURES, Parser, Wrong, kvm_usable, machine, no_guest, no_qemu, note,
    one_line, progress, run_main, spread, wait_until, within, write_csv)

EXAMPLES = """examples:
  tests/bench/writing_guest.py                    TCG and KVM, 64 GiB
  tests/bench/writing_guest.py --size 248 --rate 400 --accel kvm
  tests/bench/writing_guest.py --with display --with vhost --accel kvm-ring
  tests/bench/writing_guest.py --csv out.csv --runs 5
"""
ACCELS = {"tcg": "tcg", "kvm": "kvm",
          # A ring that never gets full: see sync_cost.py
          "kvm-ring": "kvm,dirty-ring-size=65536"}
GIB = 1 << 30
PAGE = 4096
# 10.2.2 aborts if TCG's guest writes in a second RAMBlock amid a migration, so
# all is in one, which the migration reads; and there's no display.
TCG_SIZE = 8
CPUS = 2
# Pages of RAM for each that's written in a second
SHARE = 32
# Where a CPU of the guest's has its records: see stallwriter.S
RECORDS, RECORD, RING = 0x400000, 0x100000, 0x8000
# Gaps that are counted, and those of which it's noted when, in seconds
LONG, RARE = 2e-6, 30e-6
# How well the guest's TSC and the host's clock are known to agree
FUZZ = 0.3e-3
# Where a device is, what it has, and virtio's status register in it
SLOT, PORTS, SCREEN = 9, 0xc000, 0xe0000000
STATUS, DRIVER_OK = 18, 7


def parse_args():
    """The command line."""
    parser = Parser(EXAMPLES, __doc__)
    parser.add_argument("--size", type=within(4, 250), default=64,
                        metavar="GIB", help="guest size (default: 64)")
    parser.add_argument("--rate", action="append", type=within(1, 4096),
                        metavar="MIB/S", help="what the guest writes in a "
                        "second, can be repeated (default: 100)")
    parser.add_argument("--accel", action="append", choices=ACCELS,
                        help="only this accelerator, can be repeated")
    parser.add_argument("--with", action="append", dest="loads",
                        choices=("nothing", "display", "vhost"),
                        help="what goes on beside it, can be repeated "
                             "(default: nothing)")
    parser.add_argument("--syncs", type=within(2), default=5,
                        help="syncs of each run (default: 5)")
    parser.add_argument("--idle", type=within(1), default=3, metavar="S",
                        help="time without a migration (default: 3)")
    parser.add_variants()
    parser.add_runs()
    opts = parser.parse_args()
    opts.rate = opts.rate or [100]
    opts.loads = opts.loads or ["nothing"]
    parser.refuse(no_guest("stallwriter"),
                  *map(no_qemu, opts.qemu.values()))
    if any(stretch(rate)[0] * PAGE * SHARE > (opts.size - 1) * GIB
           for rate in opts.rate):
        parser.error(f"--size is too small for --rate: it writes one of "
                     f"{SHARE} pages")
    if not opts.accel:
        opts.accel = ["tcg"]
        if kvm_usable():
            opts.accel += ["kvm", "kvm-ring"]
        else:
            note("no /dev/kvm: TCG only")
    return opts


def stretch(rate):
    """Pages that are written in about a second, a power of two, and in a
    second."""
    pages = rate << 8
    return 1 << (pages.bit_length() - 1), pages


def tsc_hertz():
    """Ticks in a second, as good as it gets in user space."""
    text = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8")
    return 1e6 * float(re.search(r"^cpu MHz\s*: ([\d.]+)", text, re.M)[1])


class Cpu:
    """What a CPU of the guest's has noted."""

    def __init__(self, data):
        self.tsc, self.stores, self.noted = struct.unpack_from("<QQQ", data)
        self.sums = [struct.unpack_from("<Q", data, at + 63 * 8)[0]
                     for at in (0x100, 0x300)]
        self.counts = [struct.unpack_from("<63Q", data, at)
                       for at in (0x100, 0x300)]
        self.ring = data[0x1000:]

    def gaps(self, since):
        """(TSC at its end, ticks) of gaps in the ring since another Cpu."""
        if self.noted - since.noted > RING - 1:
            note("gaps were lost: too many")
        first = max(since.noted, self.noted - RING + 1)
        for i in range(first, self.noted):
            yield struct.unpack_from("<QQ", self.ring, i % RING * 16)


class Guest:
    """A QEMU with the guest in it."""

    def __init__(self, stack, qemu, accel, rate, load, opts):
        self.tmp = stack.enter_context(tempfile.TemporaryDirectory())
        self.log = pathlib.Path(self.tmp, "trace.log")
        self.ioctls = pathlib.Path(self.tmp, "ioctls")
        self.serial = pathlib.Path(self.tmp, "serial")
        self.hertz = tsc_hertz()
        pages, self.rate = stretch(rate)
        base = 4 * GIB
        vhost, shared = [], ""
        if load == "vhost":
            path = f"{self.tmp}/vhost"
            self.device = stack.enter_context(VhostUser(
                path, self.rate, base // PAGE, pages * SHARE))
            shared = ",share=on"
            vhost = ["-chardev", f"socket,id=vhost,path={path}", "-netdev",
                     "vhost-user,id=net,chardev=vhost", "-device",
                     f"virtio-net-pci,netdev=net,addr={SLOT:#x},romfile=,"
                     "disable-modern=on,mq=off,vectors=0"]
        self.load = load
        image = self.image(base, pages)
        kind = "memfd" if shared else "ram"
        small = min(opts.size, TCG_SIZE) if accel == "tcg" else 1
        memory = ["-m", f"{small}G,maxmem={opts.size}G", "-object",
                  f"memory-backend-{kind},id=m,size={small}G,reserve=off"
                  + shared]
        # One that lasts, so that pages are dirty at its end
        self.first_bandwidth = 2 << 20 if small == 1 else 32 << 20
        if small == 1:
            memory += ["-object", f"memory-backend-{kind},id=v,reserve=off,"
                                  f"size={opts.size - 1}G" + shared,
                       "-device", "virtio-mem-pci,id=vm,memdev=v,"
                                  f"requested-size=0,memaddr={base:#x}"]
        self.vm = machine(
            qemu, base_temp_dir=self.tmp, qmp_timer=None,
            wrapper=["env", f"LD_PRELOAD={preload_library()}", "NO_THP=1",
                     f"IOCTL_TIME={self.ioctls}"],
            args=[
                "-machine", "pc,memory-backend=m", "-accel", ACCELS[accel],
                "-cpu", "max,host-phys-bits=off,phys-bits=46,"
                        "arch-capabilities=off,kvmclock=off",
                "-smp", str(CPUS), *memory,
                "-nodefaults", "-display", "none", *vhost,
                *(["-device", f"VGA,addr={SLOT:#x}"] if load == "display"
                  else []),
                "-bios", str(image), "-chardev",
                f"file,id=out,path={self.serial}",
                "-device", "isa-debugcon,chardev=out",
                *(arg for name in ("memory_region_sync_dirty",
                                   "migration_bitmap_sync_start",
                                   "migration_bitmap_sync_end")
                  for arg in ("-trace", name)),
                "-D", str(self.log), "-msg", "timestamp=on"])
        self.vm.launch()
        stack.callback(self.vm.shutdown, hard=True)
        self.be_firmware()
        wait_until(lambda: b"r" in self.serial.read_bytes(), 300,
                   "the guest does not begin")

    def image(self, base, pages):
        """The guest, with what it has to know."""
        code = bytearray((BUILD / "guests/stallwriter").read_bytes())
        struct.pack_into(
            "<QQQQIIII", code, 0, base, int(self.hertz / self.rate),
            int(LONG * self.hertz), int(RARE * self.hertz), pages - 1,
            SHARE - 1, SHARE.bit_length() - 1,
            SCREEN if self.load == "display" else 0)
        path = pathlib.Path(self.tmp, "guest")
        path.write_bytes(code)
        return path

    def hmp(self, line):
        """A command of the human monitor that says nothing."""
        said = self.vm.cmd("human-monitor-command", command_line=line)
        if said:
            raise Wrong(f"{line}: {said}")

    def configure(self, register, value):
        """A register of the device in SLOT."""
        self.hmp(f"o /w 0xcf8 {0x80000000 | SLOT << 11 | register:#x}")
        self.hmp(f"o /w 0xcfc {value:#x}")

    def be_firmware(self):
        """Give the device its place, and have it do something."""
        if self.load == "vhost":
            # The driver is there: the device runs, without a ring
            self.configure(0x10, PORTS)
            self.configure(4, 5)
            self.hmp(f"o /b {PORTS + STATUS:#x} {DRIVER_OK}")
        if self.load == "display":
            self.configure(0x10, SCREEN)
            self.configure(4, 2)
            # 640 x 480 x 32, by Bochs's registers
            for index, value in ((4, 0), (1, 640), (2, 480), (3, 32),
                                 (4, 0x41)):
                self.hmp(f"o /h 0x1ce {index}")
                self.hmp(f"o /h 0x1cf {value:#x}")

    def cpus(self):
        """What they have noted so far."""
        path = pathlib.Path(self.tmp, "records")
        self.vm.cmd("pmemsave", val=RECORDS, size=CPUS * RECORD,
                    filename=str(path))
        data = path.read_bytes()
        return [Cpu(data[i * RECORD:(i + 1) * RECORD]) for i in range(CPUS)]

    def clock(self):
        """(the host's clock, the guest's TSC) at the same time."""
        path = pathlib.Path(self.tmp, "tsc")
        best = None
        for _ in range(30):
            before = time.time()
            self.vm.cmd("pmemsave", val=RECORDS, size=8, filename=str(path))
            took = time.time() - before
            if not best or took < best[0]:
                best = took, before + took / 2, struct.unpack(
                    "<Q", path.read_bytes())[0]
        return best[1:]

    def waited(self):
        """Seconds that each CPU waited for one of the host's."""
        pid = self.vm.get_pid()
        return [int(pathlib.Path(
            f"/proc/{pid}/task/{cpu['thread-id']}/schedstat").read_text(
                encoding="ascii").split()[1]) / 1e9
                for cpu in self.vm.cmd("query-cpus-fast")]

    def look(self, seconds, done=lambda: False):
        """Let time go by, with the display looked at if there is one."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not done():
            if self.load == "display":
                self.vm.cmd("screendump", filename="/dev/null")
            time.sleep(1 / 30)

    def synced(self):
        """How many syncs there were, and the bytes left to send."""
        info = self.vm.cmd("query-migrate")
        if info.get("status") in ("failed", "completed"):
            raise Wrong(f"the migration has ended: {info}")
        ram = info.get("ram", {})
        return ram.get("dirty-sync-count", 0), ram.get("remaining", 0)

    def first_round(self):
        """A migration to nowhere begins, and sends all once."""
        self.vm.cmd("migrate-set-parameters", downtime_limit=1,
                    max_bandwidth=self.first_bandwidth)
        self.vm.cmd("migrate", uri="exec:cat >/dev/null")
        self.look(120, lambda: self.synced()[0] > 1)
        if self.synced()[0] < 2:
            raise Wrong("the first round takes too long")

    def rounds(self, syncs):
        """It goes on until it has had so many syncs, and is cancelled.

        What is dirty when a round begins is sent in a second.
        """
        seen = 0

        def done():
            nonlocal seen
            count, left = self.synced()
            if seen < count:
                seen = count
                self.vm.cmd("migrate-set-parameters",
                            max_bandwidth=max(left, 1 << 20))
            return seen > syncs

        self.look(60 + syncs * 10, done)
        if not done():
            raise Wrong("rounds take too long")

    def cancel(self):
        """The migration ends."""
        self.vm.cmd("migrate_cancel")
        wait_until(lambda: self.vm.cmd("query-migrate")["status"] ==
                   "cancelled", 60, "the migration can't be cancelled")


def read_syncs(trace):
    """(start, logs are read, end, pages dirty) of each sync, in seconds."""
    syncs, start, collected = [], None, None
    for date, seconds, what, pages in EVENT.findall(trace):
        when = (float(seconds) if seconds else
                datetime.fromisoformat(date + "+00:00").timestamp())
        if what == "start":
            start = collected = when
        elif what == "dirty":
            collected = when
        elif what == "end" and start:
            syncs.append((start, collected, when, int(pages)))
            start = None
    return syncs


def read_ioctls(path):
    """(start, end, which, CPU time, pages) of each, in seconds."""
    lines = path.read_text(encoding="ascii") if path.exists() else ""
    return [(float(end) - int(ns) / 1e9, float(end), what, int(cpu) / 1e9,
             int(pages)) for end, ns, what, cpu, pages
            in map(str.split, lines.splitlines())]


def overlap(spans, others):
    """How much of spans lies within others, in seconds, and the longest."""
    pieces = [min(end, to) - max(start, begin)
              for begin, to in others for start, end in spans
              if start < to and end > begin]
    return sum(pieces), max(pieces, default=0)


class Result:
    """Values of a run: (what, value, unit)."""

    def __init__(self):
        self.values = []

    def add(self, what, value, unit):
        """One of them."""
        self.values.append((what, value, unit))

    def stages(self, syncs, ioctls):
        """Of each sync but the first, and of that alone."""
        for i, (start, collected, end, pages) in enumerate(syncs):
            first = "" if i else "first sync"
            kernel = sum(to - begin for begin, to, *_ in ioctls
                         if start <= to <= end)
            until = syncs[i + 1][0] if i + 1 < len(syncs) else 0
            clears = [(to - begin, cpu, n) for begin, to, what, cpu, n
                      in ioctls if what != "get" and end < to < until]
            self.add(first or "sync", (end - start) * 1e3, "ms")
            if first:
                continue
            self.add("sync, log ioctls", kernel * 1e3, "ms")
            self.add("sync, logs", (collected - start - kernel) * 1e3, "ms")
            self.add("sync, bitmap", (end - collected) * 1e3, "ms")
            self.add("pages dirty", pages, "pages")
            if until:
                self.add("round", (until - start) * 1e3, "ms")
                took, cpu, cleared = map(sum, zip(*clears or [(0, 0, 0)]))
                self.add("clears", took * 1e3, "ms")
                self.add("clears, CPU time", cpu * 1e3, "ms")
                self.add("clears, number", len(clears), "")
                self.add("clears, pages", cleared, "pages")

    def stands_still(self, when, before, after, waited, seconds, hertz):
        """Of all the time between two looks at the CPUs."""
        for i, name in enumerate(("writer", "spinner")):
            still = 1e3 / hertz / seconds * sum(
                b - a for a, b in zip(before[i].sums, after[i].sums))
            no_cpu = 1e3 * waited[i] / seconds
            self.add(f"{name} stands still, {when}", still - no_cpu, "ms/s")
            self.add(f"{name} has no CPU, {when}", no_cpu, "ms/s")
            self.add(f"{name} stands still at most, {when}",
                     max((length for _, length in
                          after[i].gaps(before[i])), default=0)
                     * 1e3 / hertz, "ms")
        self.add(f"stores, {when}",
                 (after[0].stores - before[0].stores) / seconds, "pages/s")


def one_run(qemu, accel, rate, load, opts):
    """Values of a run."""
    result = Result()
    with contextlib.ExitStack() as stack:
        guest = Guest(stack, qemu, accel, rate, load, opts)
        guest.look(1)
        seen, first = [], guest.clock()
        for when, what in (
                ("no migration", lambda: guest.look(opts.idle)),
                ("first round", guest.first_round),
                ("rounds", lambda: guest.rounds(opts.syncs))):
            cpus, waited = guest.cpus(), guest.waited()
            began = time.monotonic()
            what()
            seconds = time.monotonic() - began
            waited = [b - a for a, b in zip(waited, guest.waited())]
            seen.append((when, cpus, guest.cpus(), waited, seconds))
        last = guest.clock()
        guest.cancel()
        if load == "vhost":
            guest.device.check()
        guest.vm.shutdown(hard=True)
        syncs = read_syncs(guest.log.read_text(encoding="utf-8"))
        ioctls = read_ioctls(guest.ioctls)
    if len(syncs) <= opts.syncs:
        raise Wrong(f"only {len(syncs)} syncs were traced")
    syncs = syncs[:opts.syncs + 1]
    result.stages(syncs, ioctls)
    (time_0, tsc_0), (time_1, tsc_1) = first, last
    hertz = (tsc_1 - tsc_0) / (time_1 - time_0)
    for when, before, after, waited, seconds in seen:
        result.stands_still(when, before, after, waited, seconds, hertz)
    _, before, after, _, _ = seen[-1]
    clears = [(start, end) for start, end, what, *_ in ioctls
              if what != "get" and syncs[1][0] < end < syncs[-1][2]]
    for i, name in enumerate(("writer", "spinner")):
        gaps = [(time_0 + (at - length - tsc_0) / hertz,
                 time_0 + (at - tsc_0) / hertz)
                for at, length in after[i].gaps(before[i])]
        for sync in syncs[2:]:
            total, longest = overlap(gaps, [(sync[0] - FUZZ, sync[2] + FUZZ)])
            result.add(f"{name} stands still in a sync", total * 1e3, "ms")
            result.add(f"{name} stands still at most in a sync",
                       longest * 1e3, "ms")
        if clears:
            total, longest = overlap(gaps, clears)
            result.add(f"{name} stands still in clears of a round",
                       total * 1e3 / (opts.syncs - 1), "ms")
            result.add(f"{name} stands still at most in a clear",
                       longest * 1e3, "ms")
    return result.values


def measure(opts):
    """Rows of (accel, load, size, rate, variant, run, what, value, unit), and
    of each run that was left out a line.
    """
    cases = [(accel, load, rate, run, variant) for accel in opts.accel
             for load in opts.loads if (accel, load) != ("tcg", "display")
             for rate in opts.rate for run in range(opts.runs)
             for variant in opts.qemu]
    rows, left_out = [], []

    def name(case):
        return f"{case[0]} with {case[1]}, {case[2]} MiB/s, {case[4]}"

    for case in progress(cases, name):
        accel, load, rate, run, variant = case
        size = min(opts.size, TCG_SIZE) if accel == "tcg" else opts.size
        try:
            with one_line():
                values = one_run(opts.qemu[variant], accel, rate, load, opts)
        except FAILURES as err:
            # Some nested KVM stops for good when the dirty ring is full
            left_out.append(f"{name(case)}, run {run + 1}: {err}")
            note(f"left out: {left_out[-1]}")
            continue
        rows += [(accel, load, size, rate, variant, run, what,
                  round(value, 4), unit) for what, value, unit in values]
    if not rows:
        raise Wrong(f"none of {len(cases)} runs could be measured: see above")
    return rows, left_out


def report(rows, left_out, opts):
    """Print the table, and what it lacks."""
    print(f"Dirty syncs of a guest that writes, {opts.runs} runs: "
          "median (least-most)")
    for case in dict.fromkeys(row[:4] for row in rows):
        accel, load, size, rate = case
        print(f"\n{accel}, {size} GiB, {rate} MiB/s, with {load}\n{'':48}"
              + "".join(f"{name:>28}" for name in opts.qemu))
        for what in dict.fromkeys(row[6] for row in rows
                                  if row[:4] == case):
            cells = []
            for variant in opts.qemu:
                values = [row[7] for row in rows if row[:4] == case
                          and row[4] == variant and row[6] == what]
                cells.append(f"{spread(values, '.3f') if values else '':>28}")
            unit = next(row[8] for row in rows if row[6] == what)
            print(f"{what + (', ' + unit if unit else ''):48}"
                  + "".join(cells))
    if left_out:
        whole = len({row[:6] for row in rows}) + len(left_out)
        print(f"\n{len(left_out)} of {whole} runs were left out:")
        for line in left_out:
            print(f"  {line}")


def main():
    """Measure, report, write the CSV."""
    opts = parse_args()
    rows, left_out = measure(opts)
    report(rows, left_out, opts)
    write_csv(opts.csv, ("accel", "with", "size_gib", "rate_mib", "variant",
                         "run", "what", "value", "unit"), rows)
    return 0


if __name__ == "__main__":
    run_main(main)
