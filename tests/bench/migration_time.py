#!/usr/bin/python3
"""Time live migrations of a Linux guest that writes its memory.

The guest writes random pages of a stretch of its RAM, so many in a second, and
checks all of what it wrote (memwriter.c).  It is migrated on this machine, by
a Unix socket, at a limited bandwidth, between two QEMUs of the same build.
What the migration itself says is kept: time until it is complete, time for
which the guest stood still, rounds (dirty syncs), and the setup's time; and
how long the source's main threads held the big lock for dirty syncs, by trace
events.

Debian's QEMUs of other suites, which ci/peer.sh puts in build/peer-SUITE, are
timed in the same runs where they are there, each with the newest q35 that it
knows.  One whose guest does not survive is skipped, with the reason.

QEMU's own scripts/guestperf wants KVM and -cpu host, with which some nested
KVM boots no stock kernel; under TCG its guest reports no timings.

Variants alternate, each run is a pair of QEMUs of its own.  Times of two
machines do not compare; the columns of one run do.

Exit status: 0 measured, 1 a migration failed, 2 wrong use.
"""
import contextlib
import pathlib
import sys
import tempfile

for folder in ("ci", "tests/guests"):
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]
                           / folder))
# pylint: disable=wrong-import-position
from exercise import Options  # noqa: E402
from migrate_guest import Guest, wait_incoming  # noqa: E402
from sync_cost import read_times  # noqa: E402
from lib.tool import (  # noqa: E402
    Parser, Wrong, no_guest, no_qemu, note, progress, run_main, spread,
    wait_until, within, write_csv)

EXAMPLES = """examples:
  tests/bench/migration_time.py
  tests/bench/migration_time.py --mem 16G --rate 1 --rate 5000 --runs 5
  tests/bench/migration_time.py --variant patched --csv out.csv
  tests/bench/migration_time.py --variant peer-sid --variant patched
"""
FIELDS = ("total ms", "downtime ms", "rounds", "setup ms", "sync ms",
          "transferred MiB")


def parse_args():
    """The command line."""
    parser = Parser(EXAMPLES, __doc__)
    parser.add_argument("--mem", default="8G",
                        help="guest RAM (default: %(default)s)")
    parser.add_argument("--rate", action="append", metavar="PAGES",
                        type=within(1, 1000000),
                        help="pages that the guest writes in a second, can be "
                             "repeated (default: 100, 5000 and 20000)")
    parser.add_argument("--working-set", type=within(1), default=256,
                        metavar="MIB",
                        help="where it writes them (default: 256)")
    parser.add_argument("--bandwidth", type=within(1), default=200,
                        metavar="MIB/S", help="(default: 200)")
    parser.add_argument("--downtime", type=within(1), default=100,
                        metavar="MS",
                        help="the longest that is allowed (default: 100)")
    parser.add_variants()
    parser.add_runs()
    opts = parser.parse_args()
    opts.rate = opts.rate or [100, 5000, 20000]
    parser.refuse(*map(no_qemu, opts.qemu.values()),
                  no_guest("vmlinuz"))
    return opts


def sync_ms(log):
    """How long all dirty syncs took."""
    return sum(us for us, *_ in read_times(
        log.read_text(encoding="utf-8"), [])) / 1000


def one_run(variant, rate, opts):
    """Migrate once.  Returns values for FIELDS."""
    with contextlib.ExitStack() as stack:
        tmp = stack.enter_context(tempfile.TemporaryDirectory())
        log = pathlib.Path(tmp, "trace.log")
        traced = Options("-trace", "migration_bitmap_sync_start",
                         "-trace", "migration_bitmap_sync_end",
                         "-D", str(log), "-msg", "timestamp=on")
        plain = Options()
        for guest_opts in (traced, plain):
            guest_opts.mem = opts.mem
            guest_opts.machine = "q35"
            guest_opts.working_set = f"{opts.working_set}:{rate}"
        source = stack.enter_context(Guest(variant, tmp, traced, 0))
        source.wait_passes(2, 300)
        target = stack.enter_context(Guest(variant, tmp, plain, 1,
                                           running=True))
        source.vm.cmd("migrate-set-parameters",
                      max_bandwidth=opts.bandwidth << 20,
                      downtime_limit=opts.downtime)
        source.vm.cmd("migrate", uri=f"unix:{target.socket}")
        info = wait_until(source.migrated, 300,
                          "the migration does not end: the guest writes more "
                          "than --bandwidth lets through")
        wait_incoming(target)
        target.wait_passes(1, 120)
        return (info["total-time"], info["downtime"],
                info["ram"]["dirty-sync-count"], info["setup-time"],
                round(sync_ms(log), 3), info["ram"]["transferred"] >> 20)


def measure(opts):
    """Rows of (rate, variant, run, *FIELDS), and why peers were skipped."""
    cases = [(rate, run, variant) for rate in opts.rate
             for run in range(opts.runs) for variant in opts.qemu]
    rows, skipped = [], {}
    for rate, run, variant in progress(
            cases, lambda case: f"{case[0]} pages/s, {case[2]}"):
        if (rate, variant) in skipped:
            continue
        try:
            rows.append((rate, variant, run, *one_run(variant, rate, opts)))
        except Wrong as err:
            if not variant.startswith("peer-"):
                raise
            note(f"{variant}: {err}")
            skipped[rate, variant] = "its guest does not survive this"
    return [row for row in rows if row[:2] not in skipped], skipped


def report(rows, skipped, opts):
    """Print the table."""
    print(f"Live migration, Linux under TCG, {opts.mem}, {opts.runs} runs: "
          "median (min-max)")
    print(f"{'pages/s':>8} {'variant':13}"
          + "".join(f"{name:>20}" for name in FIELDS))
    for rate in opts.rate:
        for variant in opts.qemu:
            columns = zip(*(row[3:] for row in rows
                            if row[:2] == (rate, variant)))
            print(f"{rate:8} {variant:13}" + "".join(
                f"{spread(column, 'g'):>20}" for column in columns)
                + skipped.get((rate, variant), ""))


def main():
    """Measure, report, write the CSV."""
    opts = parse_args()
    rows, skipped = measure(opts)
    report(rows, skipped, opts)
    rows = [(*row, "") for row in rows]
    rows += [(*case, *[""] * (len(FIELDS) + 1), why)
             for case, why in skipped.items()]
    write_csv(opts.csv, ("rate", "variant", "run", *FIELDS, "skipped"), rows)
    return 0


if __name__ == "__main__":
    run_main(main)
