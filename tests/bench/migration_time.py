#!/usr/bin/python3
"""Time live migrations of a Linux guest that writes its memory.

The guest writes random pages of a stretch of its RAM, so many in a second, and
checks all of what it wrote (memwriter.c).  It is migrated on this machine, by
a Unix socket, at a limited bandwidth, between two QEMUs of the same build.
What the migration itself says is kept: time until it is complete, time for
which the guest stood still, rounds (dirty syncs), and the setup's time; and
how long the source's main threads held the big lock for dirty syncs, by trace
events.

Variants alternate, each run is a pair of QEMUs of its own.  Times of two
machines do not compare; the columns of one run do.

Exit status: 0 measured, 1 a migration failed, 2 wrong use.
"""
import argparse
import contextlib
import csv
import os
import pathlib
import re
import statistics
import sys
import tempfile
import time
from datetime import datetime

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/guests"))
# pylint: disable=wrong-import-position
from exercise import Options  # noqa: E402
from migrate_guest import BUILD, Guest, Wrong, wait_incoming  # noqa: E402

EXAMPLES = """examples:
  tests/bench/migration_time.py
  tests/bench/migration_time.py --mem 16G --rate 0 --rate 5000 --runs 5
  tests/bench/migration_time.py --variant patched --csv out.csv
"""
VARIANTS = ("pristine", "patched")
EVENT = re.compile(r"^(\S+)Z migration_bitmap_sync_(start|end)", re.M)
FIELDS = ("total ms", "downtime ms", "rounds", "setup ms", "sync ms",
          "transferred MiB")


def parse_args():
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n", maxsplit=1)[0], epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mem", default="8G",
                        help="guest RAM (default: %(default)s)")
    parser.add_argument("--rate", action="append", type=int, metavar="PAGES",
                        help="pages that the guest writes in a second, can be "
                             "repeated (default: 100, 5000 and 20000)")
    parser.add_argument("--working-set", type=int, default=256, metavar="MIB",
                        help="where it writes them (default: 256)")
    parser.add_argument("--bandwidth", type=int, default=200, metavar="MIB/S",
                        help="(default: 200)")
    parser.add_argument("--downtime", type=int, default=100, metavar="MS",
                        help="the longest that is allowed (default: 100)")
    parser.add_argument("--runs", type=int, default=3,
                        help="runs of each case (default: 3)")
    parser.add_argument("--variant", action="append", metavar="NAME",
                        help="a folder below build with a QEMU, can be "
                             "repeated (default: pristine and patched)")
    parser.add_argument("--csv", type=pathlib.Path,
                        help="write each run here")
    opts = parser.parse_args()
    opts.variant = opts.variant or list(VARIANTS)
    opts.rate = opts.rate or [100, 5000, 20000]
    if min(opts.runs, opts.working_set, opts.bandwidth, opts.downtime) < 1:
        parser.error("--runs, --working-set, --bandwidth and --downtime are "
                     "at least 1")
    if not 1 <= min(opts.rate) <= max(opts.rate) <= 1000000:
        parser.error("--rate is 1 to 1000000")
    for name in opts.variant:
        path = BUILD / name / "qemu-system-x86_64"
        if not os.access(path, os.X_OK):
            parser.error(f"{path} is not there: build it with "
                         "./configure-wrapper.sh and "
                         "./configure-wrapper.sh --pristine")
    if not (BUILD / "guests/vmlinuz").is_file():
        parser.error("no guest: run tests/guests/make.sh")
    return opts


def sync_ms(log):
    """How long all dirty syncs took."""
    total, start = 0.0, None
    for stamp, what in EVENT.findall(log.read_text(encoding="utf-8")):
        when = datetime.fromisoformat(stamp + "+00:00").timestamp()
        if what == "start":
            start = when
        else:
            total += when - start
    return 1000 * total


def wait_completed(source, timeout=300):
    """Until it has; returns what query-migrate says then."""
    end = time.monotonic() + timeout
    while True:
        info = source.status()
        if info["status"] == "completed":
            return info
        if info["status"] in ("failed", "cancelled"):
            raise Wrong(f"migration {info['status']}: "
                        f"{info.get('error-desc', 'no reason given')}")
        if time.monotonic() > end:
            raise Wrong("the migration does not end: the guest writes more "
                        "than --bandwidth lets through")
        time.sleep(0.05)


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
            guest_opts.working_set = f"{opts.working_set}:{rate}"
        source = stack.enter_context(Guest(variant, tmp, traced, 0))
        source.wait_passes(2, 300)
        target = stack.enter_context(Guest(variant, tmp, plain, 1,
                                           running=True))
        source.vm.cmd("migrate-set-parameters",
                      max_bandwidth=opts.bandwidth << 20,
                      downtime_limit=opts.downtime)
        source.vm.cmd("migrate", uri=f"unix:{target.socket}")
        info = wait_completed(source)
        wait_incoming(target)
        target.wait_passes(1, 120)
        return (info["total-time"], info["downtime"],
                info["ram"]["dirty-sync-count"], info["setup-time"],
                round(sync_ms(log), 3), info["ram"]["transferred"] >> 20)


def measure(opts):
    """Rows of (rate, variant, run, *FIELDS)."""
    cases = [(rate, run, variant) for rate in opts.rate
             for run in range(opts.runs) for variant in opts.variant]
    rows, began = [], time.monotonic()
    for i, (rate, run, variant) in enumerate(cases):
        left = (time.monotonic() - began) / i * (len(cases) - i) if i else 0
        print(f"[{i + 1}/{len(cases)}] {rate} pages/s, {variant}"
              + (f", {left:.0f} s left" if i else ""), file=sys.stderr)
        rows.append((rate, variant, run, *one_run(variant, rate, opts)))
    return rows


def report(rows, opts):
    """Print the table."""
    print(f"Live migration, Linux under TCG, {opts.mem}, {opts.runs} runs: "
          "median (min-max)")
    print(f"{'pages/s':>8} {'variant':9}"
          + "".join(f"{name:>20}" for name in FIELDS))
    for rate in opts.rate:
        for variant in opts.variant:
            columns = zip(*(row[3:] for row in rows
                            if row[:2] == (rate, variant)))
            print(f"{rate:8} {variant:9}" + "".join(
                f"{f'{statistics.median(c):g} ({min(c):g}-{max(c):g})':>20}"
                for c in columns))


def main():
    """Measure, report, write the CSV."""
    opts = parse_args()
    try:
        rows = measure(opts)
    except (Wrong, OSError) as err:
        print(f"migration_time.py: error: {err}", file=sys.stderr)
        return 1
    report(rows, opts)
    if opts.csv:
        with opts.csv.open("w", encoding="utf-8", newline="") as out:
            writer = csv.writer(out)
            writer.writerow(["rate", "variant", "run", *FIELDS])
            writer.writerows(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
