#!/usr/bin/python3
"""Time loops that do nothing but exit, without and with exit clusters.

The guest (tests/guests/exitloops.S) runs each loop in ring 0 or ring 3, some
nested KVM being far slower in ring 0.  Exits are counted by the trace event
kvm_run_exit in a run of their own, and an empty run's are taken off.  In all
other runs the time is taken from the guest's first word to its last one.

What clusters cost on this host is worked out from the medians: an exit from
"never", which has nothing else in it; the start of a run, from two exits with
nothing in between; a call that completes an exit, from two reads; and an
instruction in userspace from how the time grows with --gaps.

At the end the guest polls a register for ever and is stopped and continued
again and again: clusters must not make it wait.

Variants alternate, each run is a QEMU of its own.  Times of two machines do
not compare; the columns of one run do.

Exit status: 0 measured, 1 a guest failed, 2 wrong use.
"""
import contextlib
import pathlib
import socket
import statistics
import struct
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "ci"))
# pylint: disable=wrong-import-position
from exits import EXIT, VARIANTS  # noqa: E402
from lib.series import BUILD  # noqa: E402
from lib.tool import (  # noqa: E402
    Parser, Wrong, binary, machine, no_guest, no_kvm, no_qemu, progress,
    run_main, spread, within, write_csv)

EXAMPLES = """examples:
  tests/bench/exit_loops.py                      all of them
  tests/bench/exit_loops.py --loop serial --ring 3 --runs 9
  tests/bench/exit_loops.py --loop gap --gaps 0 32 128 240 --csv out.csv
"""
FIRMWARE = BUILD / "guests/exitloops"
# As in the guest's table, and how many turns take some tenths of a second; of
# those that get much faster it's QUICK times as many with clusters.
LOOPS = {"never": 20000, "far": 4000, "gap": 10000, "in_pair": 10000,
         "pci": 250, "cmos": 250, "serial": 120, "palette": 20, "ide": 60,
         "mmio_write": 250, "mmio_read": 250}
QUICK = 20
GAPS = [0, 16, 64, 128, 180]
FAR = 1000
STOPS = 100


class Case:
    """A loop in a ring, and how long it is to go on between exits."""
    def __init__(self, loop, ring, length):
        self.loop, self.ring, self.length = loop, ring, length

    def __str__(self):
        length = f" {2 * self.length + 2}" if self.loop == "gap" else ""
        return f"{self.loop}{length}"

    def firmware(self, turns):
        """What the guest is to run."""
        code = bytearray(FIRMWARE.read_bytes())
        struct.pack_into("<IIII", code, 0, list(LOOPS).index(self.loop),
                         turns, self.length, self.ring)
        return code


def wait_for(port, word):
    """When the guest has said it."""
    try:
        if port.recv(1) != word:
            raise Wrong("the guest says something else")
    except TimeoutError as err:
        raise Wrong(f"the guest doesn't say {word}") from err
    return time.monotonic()


@contextlib.contextmanager
def guest(case, variant, turns, log=None):
    """One that is about to run, and its debug port."""
    build, accel = VARIANTS[variant]
    with tempfile.TemporaryDirectory() as tmp:
        firmware = pathlib.Path(tmp, "firmware")
        firmware.write_bytes(case.firmware(turns))
        args = ["-accel", f"kvm{accel}", "-machine", "pc", "-m", "64", "-S",
                "-display", "none", "-nodefaults", "-vga", "std",
                "-bios", str(firmware), "-serial", "null",
                "-drive", "driver=null-co,size=1M,if=none,id=disk",
                "-device", "ide-hd,drive=disk,bus=ide.0,unit=0",
                "-chardev", f"socket,id=port,path={tmp}/port,server=on,"
                            "wait=off",
                "-device", "isa-debugcon,chardev=port"]
        if log:
            args += ["-trace", "kvm_run_exit", "-D", log]
        vm = machine(binary(build), args, base_temp_dir=tmp)
        vm.launch()
        try:
            with socket.socket(socket.AF_UNIX) as port:
                port.connect(f"{tmp}/port")
                yield vm, port
        finally:
            vm.shutdown(hard=True)


def timed_run(case, variant, turns, timeout):
    """Seconds of so many turns."""
    with guest(case, variant, turns) as (vm, port):
        port.settimeout(timeout)
        vm.cmd("cont")
        start = wait_for(port, b"B")
        return wait_for(port, b"E") - start


def counted_run(case, variant, turns, timeout):
    """(exits, completing calls) of so many turns, and of what is around."""
    with tempfile.NamedTemporaryFile() as log:
        with guest(case, variant, turns, log.name) as (vm, port):
            port.settimeout(timeout)
            vm.cmd("cont")
            wait_for(port, b"B")
            wait_for(port, b"E")
            calls = 0
            if variant == "on":
                calls = vm.cmd("x-query-exit-clusters", max=1)["completions"]
        return len(EXIT.findall(pathlib.Path(log.name).read_bytes())), calls


def stop_times(variant, ring, timeout):
    """Seconds that it takes to stop a guest that polls."""
    case = Case("mmio_read", ring, 0)
    times = []
    with guest(case, variant, 0xffffffff) as (vm, port):
        port.settimeout(timeout)
        vm.cmd("cont")
        wait_for(port, b"B")
        for _ in range(STOPS):
            time.sleep(0.005)
            start = time.monotonic()
            vm.cmd("stop")
            times.append(time.monotonic() - start)
            vm.cmd("cont")
    return times


def parse_args():
    """The command line."""
    parser = Parser(EXAMPLES, __doc__)
    parser.add_argument("--loop", action="append", choices=LOOPS,
                        help="only this one, can be repeated")
    parser.add_argument("--ring", action="append", type=int, choices=(0, 3),
                        help="only this ring (default: both)")
    parser.add_argument("--variant", action="append", choices=VARIANTS,
                        help="can be repeated (default: off and on, which are "
                             "the patched build's)")
    parser.add_argument("--gaps", type=within(0, 1 << 20), nargs="+",
                        default=GAPS, metavar="N", help="turns of the loop "
                        f"between the two exits of 'gap' (default: {GAPS})")
    parser.add_argument("--turns", type=within(0.01, 1000, float), default=1,
                        metavar="FACTOR",
                        help="make runs so much longer (default: 1)")
    parser.add_argument("--timeout", type=within(1), default=120, metavar="S",
                        help="for one run (default: 120)")
    parser.add_runs(5)
    opts = parser.parse_args()
    opts.variant = opts.variant or ["off", "on"]
    parser.refuse(no_kvm(), no_guest(FIRMWARE.name),
                  *(no_qemu(binary(VARIANTS[variant][0]))
                    for variant in opts.variant))
    return opts


def cases(opts):
    """What is to be measured."""
    for ring in opts.ring or (3, 0):
        for loop in opts.loop or LOOPS:
            lengths = {"gap": opts.gaps, "far": [FAR]}.get(loop, [0])
            for length in lengths:
                yield Case(loop, ring, length)


def measure(case, opts):
    """{variant: (exits per turn, calls per turn, [seconds per turn])}"""
    few = max(1, round(LOOPS[case.loop] * opts.turns))
    many = few if LOOPS[case.loop] > 1000 else few * QUICK
    turns = {variant: many if variant == "on" else few
             for variant in opts.variant}
    found = {}
    for variant, n in turns.items():
        none = counted_run(case, variant, 0, opts.timeout)
        some = counted_run(case, variant, n, opts.timeout)
        found[variant] = ((some[0] - none[0]) / n, (some[1] - none[1]) / n, [])
    for _ in range(opts.runs):
        for variant, n in turns.items():
            seconds = timed_run(case, variant, n, opts.timeout)
            found[variant][2].append(seconds / n)
    return found


def median_us(found, variant):
    """Of the time of a turn."""
    return statistics.median(found[variant][2]) * 1e6


def report(case, found):
    """A line per variant."""
    base = None
    for variant, (exits, calls, seconds) in found.items():
        us = median_us(found, variant)
        base = base or us
        print(f"{case!s:11} {case.ring:4} {variant:8} {exits:9.2f} "
              f"{calls:7.2f} {spread([s * 1e6 for s in seconds], '.2f'):>30} "
              f"{base / us:7.2f}x", flush=True)


def slope(points):
    """Of a straight line through (x, y), by least squares."""
    mean_x, mean_y = (statistics.mean(axis) for axis in zip(*points))
    return (sum((x - mean_x) * (y - mean_y) for x, y in points) /
            sum((x - mean_x) ** 2 for x, _ in points))


def report_costs(ring, table):
    """What things cost, and when a saved exit no longer pays."""
    by_name = {str(case): found for case, found in table
               if case.ring == ring and {"off", "on"} <= set(found)}
    if not {"never", "gap 2", "in_pair"} <= set(by_name):
        return
    exit_ = median_us(by_name["never"], "off")
    start = median_us(by_name["gap 2"], "on") - exit_
    complete = (median_us(by_name["in_pair"], "on") -
                median_us(by_name["gap 2"], "on"))
    print(f"ring {ring}: an exit {exit_:.2f} us; a run with one access "
          f"{start:.2f} us; a completing call {complete:.2f} us")
    gaps = {variant: [(2 * case.length + 2, median_us(found, variant))
                      for case, found in table
                      if case.ring == ring and case.loop == "gap"
                      and found["on"][0] < 1.5] for variant in ("off", "on")}
    if len(gaps["on"]) < 2:
        return
    grow = {variant: slope(points) for variant, points in gaps.items()}
    print(f"ring {ring}: an instruction {grow['on'] * 1e3:.1f} ns in "
          f"userspace, {grow['off'] * 1e3:.1f} ns in the guest", end="")
    if grow["on"] > grow["off"]:
        print("; an exit saved pays for "
              f"{(exit_ - start) / (grow['on'] - grow['off']):.0f} "
              "instructions")
    else:
        print("; so userspace always pays")


def report_stops(opts):
    """How long one waits for a guest that polls."""
    for ring in opts.ring or (3, 0):
        for variant in opts.variant:
            times = stop_times(variant, ring, opts.timeout)
            ms = spread([s * 1e3 for s in times], ".2f")
            print(f"ring {ring}: {variant}: a guest that polls stops within "
                  f"{ms} ms, {STOPS} times", flush=True)


def csv_rows(table):
    """A row for each run."""
    for case, found in table:
        for variant, (exits, calls, seconds) in found.items():
            for s in seconds:
                yield (case.loop, 2 * case.length + 2 if case.length else "",
                       case.ring, variant, f"{exits:.4f}", f"{calls:.4f}",
                       f"{s * 1e6:.3f}")


def main():
    """Measure, report, write the CSV."""
    opts = parse_args()
    print(f"{'loop':11} {'ring':4} {'':8} {'exits':>9} {'calls':>7} "
          f"{'us per turn, ' + str(opts.runs) + ' runs':>30}")
    table, fine = [], True
    for case in progress(cases(opts),
                         lambda case: f"{case}, ring {case.ring}"):
        try:
            table.append((case, measure(case, opts)))
        except Wrong as wrong:
            print(f"{case}, ring {case.ring}: {wrong}", file=sys.stderr)
            fine = False
            continue
        report(*table[-1])
    for ring in opts.ring or (3, 0):
        report_costs(ring, table)
    if not opts.loop:
        report_stops(opts)
    write_csv(opts.csv, ("loop", "instructions between", "ring", "variant",
                         "exits per turn", "completing calls per turn",
                         "us per turn"), csv_rows(table))
    return 0 if fine else 1


if __name__ == "__main__":
    run_main(main)
