#!/usr/bin/python3
"""Time what memory that a guest never touched costs a migration.

The guest is paused.  Of each 64 MiB of its RAM the first part is written, as
much as --touched says, and the rest is not.  Then all of it goes to a program
that throws it away (null), to a file of mapped-ram, or into an internal
snapshot.  Timed is from the command to the end; the CPU time is that of the
process, which other load changes less.  How much its resident memory and its
page tables grow, and what went over the wire, doesn't depend on load at all.

The patched QEMU is measured without and, as variant 'record', with the
capability untouched-pages.

With --pages small there are no huge pages, so that a page that is read to find
that it's zero takes an entry of a page table.

Stock reads all memory, so what exceeds --stock-limit is not measured but
extrapolated along the line through the two largest sizes that were; such rows
say so.  Where the kernel has no zero page, and so allocates what stock reads,
that is also what exceeds three quarters of the free memory.  A share that is
touched has to fit --room.

Variants alternate, each run is a QEMU of its own.  Times of two machines do
not compare; those of one run do.

Exit status: 0 measured, 1 a migration failed, 2 wrong use.
"""
import contextlib
import ctypes
import itertools
import mmap
import os
import pathlib
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "ci"))
# pylint: disable=wrong-import-position
from lib.series import BUILD  # noqa: E402
from lib.tool import (  # noqa: E402
    Parser, Wrong, kvm_usable, machine, no_qemu, note, progress, run_main,
    spread, wait_until, within, write_csv)

EXAMPLES = """examples:
  tests/bench/untouched_memory.py                       1 to 1024 GiB, idle
  tests/bench/untouched_memory.py --size 4 --touched 0 --touched 50
  tests/bench/untouched_memory.py --way file --way snapshot --runs 5
  tests/bench/untouched_memory.py --pages small --stock-limit 4
"""
WAYS = ("null", "file", "snapshot")
ACCELS = {"tcg": "tcg", "kvm": "kvm"}
STRIPE = 64 << 20
GIB = 1 << 30
PR_SET_THP_DISABLE = 41
# Of each run; "extrapolated" is 1 for a line that was not measured.
COLUMNS = ("variant", "accel", "gib", "touched", "pages", "way", "run",
           "ms", "cpu ms", "wire bytes", "rss KiB", "tables KiB", "untouched",
           "extrapolated")
MEASURED = COLUMNS[7:12]


def parse_args():
    """The command line."""
    parser = Parser(EXAMPLES, __doc__)
    parser.add_argument("--size", type=within(1, 4096), action="append",
                        metavar="GIB", help="guest size, can be repeated "
                        "(default: 1, 4, 16, 64, 1024)")
    parser.add_argument("--touched", type=within(0, 100, float),
                        action="append", metavar="PERCENT",
                        help="share that was written, can be repeated "
                             "(default: 0)")
    parser.add_argument("--way", action="append", choices=WAYS,
                        help="only this way, can be repeated")
    parser.add_argument("--accel", choices=ACCELS, default="tcg")
    parser.add_argument("--pages", choices=("huge", "small"), default="huge",
                        help="may there be transparent huge pages?")
    parser.add_argument("--stock-limit", type=within(1), default=64,
                        metavar="GIB", help="the largest guest that stock "
                        "is measured with (default: 64)")
    parser.add_argument("--room", type=within(1), default=4, metavar="GIB",
                        help="the most that is written (default: 4)")
    parser.add_variants()
    parser.add_runs()
    opts = parser.parse_args()
    opts.size = sorted(set(opts.size or (1, 4, 16, 64, 1024)))
    opts.touched = opts.touched or [0]
    opts.way = opts.way or list(WAYS)
    # Debian's own have nothing to say here.
    opts.qemu = {name: path for name, path in opts.qemu.items()
                 if opts.variant or not name.startswith("peer-")}
    parser.refuse(*map(no_qemu, opts.qemu.values()))
    if opts.accel == "kvm" and not kvm_usable():
        parser.error("no /dev/kvm that can be used")
    room = available_gib() * 3 // 4
    if opts.stock_limit > room and not has_zero_page():
        opts.stock_limit = room
        note(f"this kernel allocates what is only read: stock is measured up "
             f"to {room} GiB")
    return opts


def available_gib():
    """Memory that is free, or can be."""
    text = pathlib.Path("/proc/meminfo").read_text(encoding="ascii")
    return int(re.search(r"^MemAvailable:\s+(\d+) kB", text, re.M)[1]) >> 20


def has_zero_page():
    """Is private memory that is only read the kernel's zero page?"""
    pages = 4000
    with mmap.mmap(-1, pages * mmap.PAGESIZE, flags=mmap.MAP_PRIVATE |
                   mmap.MAP_ANONYMOUS) as memory:
        memory.madvise(mmap.MADV_NOHUGEPAGE)
        before = status_kib("self", "RssAnon")
        for page in range(pages):
            assert memory[page * mmap.PAGESIZE] == 0
        read = status_kib("self", "RssAnon") - before
    return read < pages * mmap.PAGESIZE // 2048


@contextlib.contextmanager
def page_size(pages):
    """What is started meanwhile has no huge pages, if they are to be small.
    """
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if pages == "small" and prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0):
        raise Wrong(f"prctl: {os.strerror(ctypes.get_errno())}")
    try:
        yield
    finally:
        prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0)


def write_memory(path, size, touched):
    """Write a share of the guest's RAM, through QEMU's own test protocol."""
    count = int(STRIPE * touched / 100) & ~0xfff
    if not count:
        return
    low = 2 * GIB if size > 2 * GIB else size
    with socket.socket(socket.AF_UNIX) as qtest:
        qtest.connect(path)
        answers = qtest.makefile()
        for at in range(0, size, STRIPE):
            where = at if at < low else at - low + 4 * GIB
            # Not over the ROMs below 1 MiB
            skip = 1 << 20 if not at else 0
            qtest.sendall(f"memset {where + skip:#x} "
                          f"{max(count - skip, 4096):#x} 0x55\n".encode())
            if not answers.readline().startswith("OK"):
                raise Wrong("the guest's memory can't be written")


def status_kib(pid, what):
    """A line of the kernel's about a process."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(re.search(rf"^{what}:\s+(\d+) kB", text, re.M)[1])


def cpu_ms(pid):
    """CPU time of all its threads, also of those that have ended.

    By the process's clock, as ticks of 10 ms are as much as all that a run of
    the patched QEMU takes: MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED).
    """
    return time.clock_gettime(~pid << 3 | 2) * 1000


def migrate(vm, way, tmp):
    """All memory goes that way.  Returns: query-migrate"""
    if way == "snapshot":
        said = vm.cmd("human-monitor-command", command_line="savevm s")
        if said:
            raise Wrong(f"savevm: {said}")
        return vm.cmd("query-migrate")
    if way == "file":
        vm.cmd("migrate-set-capabilities", capabilities=[
            {"capability": "mapped-ram", "state": True}])
    vm.cmd("migrate-set-parameters", max_bandwidth=1 << 40,
           downtime_limit=2000)
    vm.cmd("migrate", uri=f"file:{tmp}/ram" if way == "file" else
           "exec:cat >/dev/null")

    def ended():
        info = vm.cmd("query-migrate")
        if info["status"] == "failed":
            raise Wrong(f"the migration failed: {info}")
        return info if info["status"] == "completed" else None

    return wait_until(ended, 3600, "the migration doesn't end", 0.001)


def arguments(opts, size, way, tmp):
    """QEMU's arguments."""
    args = ["-machine", "q35,memory-backend=m", "-accel", ACCELS[opts.accel],
            "-cpu", "max,host-phys-bits=off,phys-bits=46,"
                    "arch-capabilities=off",
            "-object", f"memory-backend-ram,id=m,size={size},reserve=off",
            "-m", f"{size >> 20}M", "-S", "-nodefaults", "-display", "none",
            "-qtest", f"unix:{tmp}/qtest,server=on,wait=off",
            "-qtest-log", "/dev/null"]
    if way == "snapshot":
        args += ["-drive", f"if=none,format=qcow2,file={tmp}/image"]
    return args


def one_run(opts, qemu, record, case, run):
    """One guest.  Returns: values of MEASURED, and the counter's"""
    way, size, touched = case
    # Not in /tmp, which may be memory
    with tempfile.TemporaryDirectory(dir=BUILD) as tmp:
        if way == "snapshot":
            image = pathlib.Path(qemu).absolute().parent / "qemu-img"
            subprocess.run([image, "create", "-q", "-f", "qcow2",
                            f"{tmp}/image", "16M"], check=True)
        vm = machine(qemu, base_temp_dir=tmp, qmp_timer=None,
                     args=arguments(opts, size, way, tmp))
        with page_size(opts.pages):
            vm.launch()
        try:
            if record:
                vm.cmd("migrate-set-capabilities", capabilities=[
                    {"capability": "untouched-pages", "state": True}])
            write_memory(f"{tmp}/qtest", size, touched)
            pid = vm.get_pid()
            before = [cpu_ms(pid), status_kib(pid, "VmRSS"),
                      status_kib(pid, "VmPTE")]
            start = time.monotonic()
            info = migrate(vm, way, tmp)
            took = (time.monotonic() - start) * 1000
            cpu, rss, tables = (
                after - then for after, then in
                zip([cpu_ms(pid), status_kib(pid, "VmRSS"),
                     status_kib(pid, "VmPTE")], before))
        finally:
            vm.shutdown(hard=True)
    ram = info.get("ram", {})
    del run
    return (round(took, 2), round(cpu, 2), ram.get("transferred", ""), rss,
            tables, ram.get("untouched", ""))


def knows_record(qemu):
    """Has a QEMU the capability?"""
    with tempfile.TemporaryDirectory() as tmp:
        vm = machine(qemu, ["-machine", "none", "-display", "none"],
                     base_temp_dir=tmp)
        vm.launch()
        try:
            return any(item["capability"] == "untouched-pages"
                       for item in vm.cmd("query-migrate-capabilities"))
        finally:
            vm.shutdown()


def variants(opts):
    """(name, path, record) of each."""
    for name, path in opts.qemu.items():
        yield name, path, False
        if name == "patched" and knows_record(path):
            yield "record", path, True


def measured(opts, name, size):
    """Is it measured, and not extrapolated?"""
    return name != "pristine" or size <= opts.stock_limit * GIB


def measure(opts):
    """Rows of COLUMNS."""
    names = list(variants(opts))
    cases = [case for case in itertools.product(
        opts.way, [gib * GIB for gib in opts.size], opts.touched)
        if case[1] * case[2] / 100 <= opts.room * GIB]
    todo = [(case, run, *variant) for case in cases
            for run in range(opts.runs) for variant in names
            if measured(opts, variant[0], case[1])
            # mapped-ram has no record
            and not (variant[2] and case[0] == "file")]
    rows = []
    for case, run, name, path, record in progress(
            todo, lambda item: f"{item[0][0]}, {item[0][1] >> 30} GiB, "
                               f"{item[0][2]:g} % touched, {item[2]}"):
        way, size, touched = case
        rows.append((name, opts.accel, size >> 30, f"{touched:g}", opts.pages,
                     way, run, *one_run(opts, path, record, case, run), 0))
    return rows + extrapolate(opts, cases, rows)


def extrapolate(opts, cases, rows):
    """Rows of stock with sizes that it was not measured with."""
    more = []
    for way, size, touched in cases:
        if "pristine" not in opts.qemu or measured(opts, "pristine", size):
            continue
        found = {}
        for row in rows:
            if row[0] == "pristine" and row[5] == way and \
                    row[3] == f"{touched:g}":
                found.setdefault(row[2], []).append(row[7:12])
        if len(found) < 2:
            continue
        (x, low), (y, high) = ((gib, [
            statistics.median(float(v or 0) for v in column)
            for column in zip(*found[gib])]) for gib in sorted(found)[-2:])
        gib = size >> 30
        values = [round(b + (b - a) / (y - x) * (gib - y), 1)
                  for a, b in zip(low, high)]
        more.append(("pristine", opts.accel, gib, f"{touched:g}", opts.pages,
                     way, 0, *values, "", 1))
    return more


def report(rows):
    """Print the table."""
    print(f"{'way':9}{'GiB':>5}{'touched':>8} {'variant':10}"
          f"{'ms':>24}{'CPU ms':>18}{'wire KiB':>10}{'RSS KiB':>10}"
          f"{'tables KiB':>11}")
    keys = dict.fromkeys((row[5], row[2], row[3], row[0]) for row in rows)
    for way, gib, touched, name in sorted(
            keys, key=lambda key: (WAYS.index(key[0]), key[1],
                                   float(key[2]))):
        found = [row for row in rows
                 if (row[5], row[2], row[3], row[0]) == (way, gib, touched,
                                                         name)]
        ms, cpu, wire, rss, tables = (
            [float(row[7 + i] or 0) for row in found] for i in range(5))
        print(f"{way:9}{gib:5}{touched:>7}% {name:10}"
              f"{spread(ms, '.1f'):>24}{spread(cpu, '.0f'):>18}"
              f"{statistics.median(wire) / 1024:10.0f}"
              f"{statistics.median(rss):10.0f}"
              f"{statistics.median(tables):11.0f}"
              f"{'  extrapolated' if found[0][-1] else ''}")


def main():
    """Measure and say what was found."""
    opts = parse_args()
    rows = measure(opts)
    report(rows)
    write_csv(opts.csv, COLUMNS, rows)
    return 0


if __name__ == "__main__":
    run_main(main)
