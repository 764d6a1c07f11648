#!/usr/bin/python3
"""Time one dirty sync of an idle guest, several QEMUs side by side.

The guest is paused and nothing of it is dirty, so what is timed is what a
sync costs for the mere existence of RAM: from migration_bitmap_sync_start to
migration_bitmap_sync_end, with the big lock held.  The first sync of a
migration is listed apart, with what comes before it in the same hold of the
lock: "init", until the migration's bitmaps are made, and "log", until the logs
are started; "held" is all three.  An even-sized guest
is compared with one 8 KiB smaller, whose RAMBlock ends within a word of the
dirty bitmap.

With --dirty, a guest (pagewriter.S) dirties so much between two syncs, each
page once and at random places of at least half of its RAM; it is stopped while
the sync is timed, as the end of a migration is.

With --running, the guest (idler.S) is not paused: it has two CPUs, which run
in circles and dirty nothing. They need the host's CPUs as QEMU does. Only the
first sync and the one after it are timed, as the last one finds the guest
stopped.

With --unplugged, all RAM but 1 GiB is virtio-mem's and not plugged.  A sync is
the same, but a migration skips it, so a guest of 4 TiB takes seconds instead
of minutes.

With KVM the kernel's copy of its log is most of the time of a big guest.  A
library that is preloaded into both variants times the ioctls, and the column
"QEMU's" is what is left; "bitmap" is the last stage alone, from QEMU's dirty
maps to the migration's bitmap.

Debian's QEMUs of other suites, which ci/peer.sh puts in build/peer-SUITE, are
timed in the same runs where they are there.

What the first variant can't do is this machine's limit: the accelerator is
listed as skipped, with the reason.  What a peer can't do is its own.

Variants alternate, each run is a QEMU of its own.  Times of two machines do
not compare; the columns of one run do.

Exit status: 0 measured, 1 a migration failed, 2 wrong use.
"""
import pathlib
import platform
import re
import socket
import statistics
import struct
import sys
import tempfile
import time
from datetime import datetime

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "ci"))
# pylint: disable=wrong-import-position
from lib.series import BUILD, ROOT  # noqa: E402
from lib.tool import (  # noqa: E402
    Parser, Wrong, command, kvm_usable, machine, no_guest, no_qemu, note,
    one_line, progress, run_main, spread, wait_until, within, write_csv)

EXAMPLES = """examples:
  tests/bench/sync_cost.py                        16 GiB, TCG and KVM
  tests/bench/sync_cost.py --size 64 --runs 5     64 GiB, 5 runs
  tests/bench/sync_cost.py --size 1024 --shape even --accel kvm-ring
  tests/bench/sync_cost.py --size 4096 --unplugged --accel kvm
  tests/bench/sync_cost.py --size 1024 --unplugged --running --accel kvm
  tests/bench/sync_cost.py --accel kvm --csv out.csv
  tests/bench/sync_cost.py --size 64 --dirty 1024 --accel kvm
  tests/bench/sync_cost.py --variant peer-trixie --variant patched
  tests/bench/sync_cost.py --variant /usr/bin/qemu-system-x86_64 \
      --variant patched
"""
# With a date, or, up to 10.0, as 'pid@seconds:'
EVENT = re.compile(r"^(?:(\S+)Z |\d+@([\d.]+):)(?:migration_bitmap_sync_|"
                   r"memory_region_sync_|savevm_state_|global_dirty_)"
                   r"(start|dirty|end|setup|changed)"
                   r"(?: dirty_pages (\d+))?", re.M)
# What a row of results has of each sync: a name and the CSV's column
SHARES = {"all": "us", "QEMU's": "qemu_us", "bitmap": "bitmap_us",
          "init": "init_us", "log": "log_us", "held": "held_us"}
# What a migration may send in a second: while the guest is at it, and then
SLOW, FAST = 32 << 10, 200 << 20
ACCELS = {"tcg": "tcg", "kvm": "kvm", "kvm-ring": "kvm,dirty-ring-size=4096"}


def parse_args():
    """The command line."""
    parser = Parser(EXAMPLES, __doc__)
    parser.add_argument("--size", type=within(1, 4096), default=16,
                        metavar="GIB", help="guest size (default: 16)")
    parser.add_argument("--dirty", type=int, default=0, metavar="MIB",
                        help="what the guest dirties between two syncs "
                             "(default: nothing)")
    parser.add_argument("--running", action="store_true",
                        help="the guest has two CPUs, which run")
    parser.add_argument("--unplugged", action="store_true",
                        help="all RAM but 1 GiB is virtio-mem's, not plugged")
    parser.add_argument("--syncs", type=within(1), default=5,
                        help="with --dirty: syncs of each run (default: 5)")
    parser.add_argument("--shape", action="append", choices=("even", "odd"),
                        help="only guests of this size, can be repeated")
    parser.add_argument("--accel", action="append", choices=ACCELS,
                        help="only this accelerator, can be repeated")
    parser.add_variants()
    parser.add_runs(row="sync")
    opts = parser.parse_args()
    if opts.unplugged:
        if opts.dirty or "odd" in (opts.shape or []) or opts.size < 2:
            parser.error("--unplugged goes with 2 GiB and more, and neither "
                         "with --dirty nor with --shape odd")
        opts.shape = ["even"]
    if opts.running:
        if opts.dirty:
            parser.error("--running does not go with --dirty")
        parser.refuse(no_guest("idler"))
    if opts.dirty:
        if not 16 <= opts.dirty <= stretch(opts.size)[1] >> 8:
            parser.error("--dirty is 16 MiB at least, and at most "
                         f"{stretch(opts.size)[1] >> 8} with --size "
                         f"{opts.size}")
        if opts.size > 128:
            parser.error("--dirty wants a --size of up to 128")
        parser.refuse(no_guest("pagewriter"))
    parser.refuse(*map(no_qemu, opts.qemu.values()))
    opts.shape = opts.shape or ["even", "odd"]
    if not opts.accel:
        opts.accel = ["tcg"]
        if kvm_usable():
            opts.accel += ["kvm"]
        else:
            note("no /dev/kvm: TCG only")
    return opts


def stretch(gib):
    """Where the guest writes, how many pages, a power of two, and what RAM
    comes behind them, in bytes.

    pc has 3 GiB of RAM below 4 GiB if it has more than that.
    """
    base, room = ((4 << 30, (gib - 3) << 30) if gib >= 4 else
                  (gib << 29, gib << 29))
    size = 1 << ((room - 1).bit_length() - 1)
    return base, size >> 12, room - size


def preload_library():
    """Build what times the ioctls."""
    source = ROOT / "tests/bench/ioctl_time.c"
    library = BUILD / "bench/ioctl_time.so"
    library.parent.mkdir(parents=True, exist_ok=True)
    command(["cc", "-shared", "-fPIC", "-O2", "-o", library, source, "-ldl"])
    return library


def kernel_times(path):
    """(end, microseconds) of each ioctl."""
    if not path.exists():
        return []
    return [(float(end), int(ns) / 1000) for end, ns in
            (line.split()[:2] for line in path.read_text().splitlines())]


def wait_migration(vm, syncs=None, remaining=1 << 64):
    """Until there were so many syncs and no more is left, or until it ends."""
    while True:
        info = vm.cmd("query-migrate")
        if info["status"] == "failed":
            raise Wrong(f"the migration failed: {info}")
        if info["status"] == "completed":
            if syncs:
                raise Wrong("the migration ended too early")
            return
        ram = info.get("ram", {"dirty-sync-count": 0, "remaining": 0})
        if (syncs and ram["dirty-sync-count"] >= syncs
                and ram["remaining"] <= remaining):
            return
        time.sleep(0.01 if syncs else 0.2)


def boot_sector(opts, tmp):
    """The guest that dirties memory: what it has to know is filled in."""
    code = bytearray((BUILD / "guests/pagewriter").read_bytes())
    base, pages, _ = stretch(opts.size)
    struct.pack_into("<QII", code, 494, base, pages - 1, opts.dirty << 8)
    path = pathlib.Path(tmp, "pagewriter")
    path.write_bytes(code)
    return ["-drive", f"file={path},if=ide,format=raw,snapshot=on",
            "-chardev", f"socket,id=serial,path={tmp}/serial,server=on,"
                        "wait=off", "-serial", "chardev:serial"]


def idler(tmp):
    """The guest that runs in circles."""
    return ["-bios", str(BUILD / "guests/idler"), "-smp", "2", "-chardev",
            f"file,id=out,path={tmp}/out", "-device",
            "isa-debugcon,chardev=out"]


def run_idler(vm, tmp):
    """Until both of its CPUs run."""
    vm.cmd("cont")
    wait_until(lambda: pathlib.Path(tmp, "out").read_bytes() == b"rr", 60,
               "the guest does not begin")


def dirty_rounds(vm, opts, tmp):
    """A migration with a turn of the guest's in each round."""
    with socket.socket(socket.AF_UNIX) as serial:
        serial.settimeout(60)
        serial.connect(f"{tmp}/serial")
        vm.cmd("cont")
        while serial.recv(1) != b"r":
            pass
        vm.cmd("migrate-set-parameters", max_bandwidth=FAST, downtime_limit=1)
        vm.cmd("migrate", uri="exec:cat >/dev/null")
        # KVM takes a page for dirty until it is sent for the first time.
        wait_migration(vm, 1, stretch(opts.size)[2])
        vm.cmd("migrate-set-parameters", max_bandwidth=SLOW)
        for done in range(opts.syncs):
            serial.send(b"x")
            # Some nested KVM stops for good when the dirty ring is full.
            try:
                serial.recv(1)
            except TimeoutError as err:
                raise Wrong("the guest does not answer") from err
            vm.cmd("stop")
            vm.cmd("migrate-set-parameters", max_bandwidth=FAST)
            wait_migration(vm, done + 2)
            vm.cmd("migrate-set-parameters", max_bandwidth=SLOW)
            if done + 1 < opts.syncs:
                vm.cmd("cont")


def ram_args(size_kib, unplugged):
    """QEMU's arguments for so much RAM."""
    plugged = 1 << 20 if unplugged else size_kib
    args = ["-object", f"memory-backend-ram,id=m,size={plugged}K,reserve=off"]
    if not unplugged:
        return [*args, "-m", f"{size_kib}K"]
    return [*args, "-m", f"{plugged}K,maxmem={size_kib}K", "-object",
            f"memory-backend-ram,id=v,size={size_kib - plugged}K,reserve=off",
            "-device", "virtio-mem-pci,memdev=v,requested-size=0"]


def sync_times(qemu, accel, size_kib, library, opts):
    """Microseconds of each sync of a migration to nowhere: see SHARES."""
    with tempfile.TemporaryDirectory() as tmp:
        log = pathlib.Path(tmp, "trace.log")
        ioctls = pathlib.Path(tmp, "ioctls")
        wrapper = ["env", f"LD_PRELOAD={library}", f"IOCTL_TIME={ioctls}"]
        # A page that is written is to take a page, not 2 MiB
        wrapper += ["NO_THP=1"] if opts.dirty else []
        kind = "pc" if opts.dirty else "q35"
        vm = machine(
            qemu, base_temp_dir=tmp, qmp_timer=None, wrapper=wrapper,
            args=[
                "-machine", f"{kind},memory-backend=m",
                "-accel", ACCELS[accel],
                # Some hosts' KVM refuses the MSR as QEMU up to 10.0 sets it
                "-cpu", "max,host-phys-bits=off,phys-bits=46,"
                        "arch-capabilities=off",
                *ram_args(size_kib, opts.unplugged),
                "-S", "-nodefaults", "-display", "none",
                "-trace", "memory_region_sync_dirty",
                "-trace", "migration_bitmap_sync_start",
                "-trace", "migration_bitmap_sync_end",
                "-trace", "savevm_state_setup",
                "-trace", "global_dirty_changed",
                "-D", str(log), "-msg", "timestamp=on",
                *(boot_sector(opts, tmp) if opts.dirty else []),
                *(idler(tmp) if opts.running else [])])
        vm.launch()
        try:
            if opts.dirty:
                dirty_rounds(vm, opts, tmp)
            if opts.running:
                run_idler(vm, tmp)
            vm.cmd("migrate-set-parameters", max_bandwidth=1 << 40,
                   downtime_limit=2000)
            if not opts.dirty:
                vm.cmd("migrate", uri="exec:cat >/dev/null")
            wait_migration(vm)
        finally:
            vm.shutdown()
        times = read_times(log.read_text(encoding="utf-8"),
                           kernel_times(ioctls))
    if opts.dirty:
        times = times[:opts.syncs + 1]
        if min(time[-1] for time in times[1:]) < (opts.dirty << 8) * 0.9:
            raise Wrong(f"{qemu}: not as many pages became dirty as the "
                        f"guest wrote: {times}")
    if len(times) < 2:
        raise Wrong(f"{qemu}: only {len(times)} syncs were traced")
    if opts.running:
        del times[2:]
    return [time[:-1] for time in times]


def read_times(trace, kernel):
    """Microseconds, as in SHARES, and dirty pages of each sync."""
    times, start, collected, setup, log = [], None, None, None, None
    for date, seconds, what, pages in EVENT.findall(trace):
        when = (float(seconds) if seconds else
                datetime.fromisoformat(date + "+00:00").timestamp())
        if what == "setup":
            setup = log = when
        elif what == "changed":
            # Once more when logging ends, which counts no more
            log = when
        elif what == "start":
            start = collected = when
            if setup is None:
                setup = log = start
        elif what == "dirty":
            collected = when
        else:
            took = (when - start) * 1e6
            before = (log - setup) * 1e6, (start - log) * 1e6
            times.append((took, took - sum(us for end, us in kernel
                                           if start <= end <= when),
                          (when - collected) * 1e6, *before,
                          took + sum(before), int(pages)))
            setup = None
    return times


def measure(opts):
    """Rows of (variant, accel, shape, kib, run, index, and the SHARES), and
    why accelerators were skipped.
    """
    library = preload_library()
    shapes = {"even": opts.size << 20, "odd": (opts.size << 20) - 8}
    first = next(iter(opts.qemu))
    cases = [(accel, shape, run, variant)
             for accel in opts.accel for run in range(opts.runs)
             for shape in opts.shape for variant in opts.qemu]
    rows, skipped = [], {}
    for accel, shape, run, variant in progress(
            cases, lambda case: f"{case[0]} {case[1]} {case[3]}"):
        if {(accel, first), (accel, variant)} & skipped.keys():
            continue
        try:
            with one_line():
                times = sync_times(opts.qemu[variant], accel, shapes[shape],
                                   library, opts)
        except Wrong as err:
            if variant != first and not variant.startswith("peer-"):
                raise
            skipped[accel, variant] = str(err)
            continue
        rows += [(variant, accel, shape, shapes[shape], run, index,
                  *(round(us, 1) for us in sync))
                 for index, sync in enumerate(times)]
    return [row for row in rows if not {(row[1], first), (row[1], row[0])}
            & skipped.keys()], skipped


def report(rows, skipped, opts):
    """Print the table and what it amounts to."""
    def pick(variant, accel, shape, first, column=6):
        return [r[column] / 1000 for r in rows
                if r[:3] == (variant, accel, shape)
                and (r[5] == 0) == first]

    what = (f"a guest that dirtied {opts.dirty} MiB at random" if opts.dirty
            else "a guest that runs in circles" if opts.running
            else "an idle guest")
    print(f"Dirty sync of {what}, {opts.size} GiB and "
          f"{opts.size} GiB - 8 KiB, {opts.runs} runs, ms: median (min-max), "
          f"and how much faster than {next(iter(opts.qemu))}")
    print(f"{'accel':9} {'guest':5} {'sync':6} {'share':6} {'variant':13}")
    lines = [(a, s, f, c) for a in opts.accel for s in opts.shape
             for f in (True, False) for c, share in enumerate(SHARES, 6)
             if (f or c < 9) and (share not in ("QEMU's", "bitmap")
                                  or a != "tcg")]
    for accel, shape, first, column in lines:
        base = None
        for variant in opts.qemu:
            found = pick(variant, accel, shape, first, column)
            if not found:
                continue
            base = base or statistics.median(found)
            share = list(SHARES)[column - 6]
            print(f"{accel:9} {shape:5} {'first' if first else 'later':6} "
                  f"{share:6} {variant:13} {spread(found, '.3f'):>32} "
                  f"{base / statistics.median(found):>7.2f}x")
    for (accel, variant), reason in skipped.items():
        print(f"{accel}, {variant}: skipped: {reason}")
    for accel in opts.accel if len(opts.shape) == 2 else ():
        ratios = []
        for variant in opts.qemu:
            odd, even = (pick(variant, accel, s, False)
                         for s in ("odd", "even"))
            if odd:
                ratio = statistics.median(odd) / statistics.median(even)
                ratios.append(f"{variant} {ratio:.2f}x")
        if ratios:
            print(f"{accel}: an odd-sized guest's sync takes "
                  f"{', '.join(ratios)} of an even-sized one's")


def main():
    """Measure, report, write the CSV."""
    opts = parse_args()
    rows, skipped = measure(opts)
    report(rows, skipped, opts)
    if opts.csv:
        after = {variant: (opts.dirty, int(opts.running), platform.release(),
                           command([path, "--version"]).splitlines()[0])
                 for variant, path in opts.qemu.items()}
        rows = [(*row, *after[row[0]], "") for row in rows]
        rows += [(variant, accel, "", opts.size << 20,
                  *[""] * (2 + len(SHARES)), *after[variant], why)
                 for (accel, variant), why in skipped.items()]
        write_csv(opts.csv, ("variant", "accel", "guest", "size_kib", "run",
                             "sync", *SHARES.values(), "dirty_mib", "running",
                             "kernel", "version", "skipped"), rows)
    return 0


if __name__ == "__main__":
    run_main(main)
