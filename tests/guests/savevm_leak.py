#!/usr/bin/python3
"""Snapshots that are taken and gone back to do not make QEMU grow.

A machine without guest, RAM and devices, so that a snapshot is quick and what
it leaves behind is nearly all that changes; the heap is what the kernel counts
of QEMU's memory.  Output is TAP.

Exit status: 0 it does not grow, 1 it does, 2 wrong use.
"""
import pathlib
import re
import sys
import statistics
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "ci"))
# pylint: disable=wrong-import-position
from lib.tool import (  # noqa: E402
    PATIENCE, Parser, Wrong, binary, machine, run_main, small_pages, tap,
    wait_until)

EXAMPLES = """examples:
  tests/guests/savevm_leak.py                      the patched build
  tests/guests/savevm_leak.py --variant pristine   stock QEMU: it grows
"""
WARM_UP = 200
BATCHES = 4
ROUNDS = 2000
# Bytes a round.  loadvm once left 112 of them, and savevm 1500.
MAY_GROW = {"savevm": 500, "loadvm": 56}
# A heap that is fragmented by savevm's writing grows for some time, and then
# less and less; one that loses memory grows by as much each time.
TIMES = 3


class Snapshots:
    """A QEMU with an image that can have snapshots."""

    def __init__(self, qemu, folder):
        self.image = pathlib.Path(folder) / "image.qcow2"
        self.image.touch()
        self.machine = machine(qemu, ["-machine", "none", "-accel", "qtest",
                                      "-nodefaults", "-display", "none"])

    def __enter__(self):
        with small_pages():
            self.machine.launch()
        self.create_image()
        self.hmp("savevm it")
        return self

    def __exit__(self, *_):
        self.machine.shutdown(hard=True)

    def create_image(self):
        """An empty image, as a node with snapshots."""
        cmd = self.machine.cmd
        cache = {"no-flush": True}
        cmd("blockdev-add", driver="file", node_name="file", cache=cache,
            filename=str(self.image))
        cmd("blockdev-create", job_id="create", options={
            "driver": "qcow2", "file": "file", "size": 16 << 20})
        wait_until(lambda: cmd("query-jobs")[0]["status"] == "concluded",
                   PATIENCE, "blockdev-create does not end")
        cmd("job-dismiss", id="create")
        cmd("blockdev-add", driver="qcow2", node_name="image", file="file",
            cache=cache)

    def hmp(self, line):
        """A command of the human monitor, which says nothing if it works."""
        said = self.machine.cmd("human-monitor-command", command_line=line)
        if said.strip():
            raise Wrong(f"{line}: {said.strip()}")

    def heap(self):
        """Bytes of QEMU's heap and of its other memory without a file."""
        text = pathlib.Path(f"/proc/{self.machine.get_pid()}/smaps_rollup") \
            .read_text(encoding="utf-8")
        return int(re.search(r"^Anonymous: +(\d+) kB", text, re.M)[1]) << 10

    def growth(self, line):
        """Bytes that QEMU grows by when a command is run ROUNDS times.

        What is there for good once, such as another arena of malloc() or a
        huge page, is not left behind each time: the middle batch counts.
        """
        grown = []
        for _ in range(BATCHES):
            before = self.heap()
            for _ in range(ROUNDS // BATCHES):
                self.hmp(line)
            grown.append(self.heap() - before)
        return statistics.median_low(grown) * BATCHES


def check(qemu, name):
    """Whether a command leaves something behind."""
    with tempfile.TemporaryDirectory() as folder, \
            Snapshots(qemu, folder) as snapshots:
        for _ in range(WARM_UP):
            snapshots.hmp(f"{name} it")
        for _ in range(TIMES):
            grown = snapshots.growth(f"{name} it")
            print(f"# {name}: {grown} bytes more after {ROUNDS} times",
                  flush=True)
            if grown <= MAY_GROW[name] * ROUNDS:
                return
    raise Wrong(f"QEMU has grown by {grown / ROUNDS:.0f} bytes each time")


def main():
    """Take a snapshot again and again, and go back to it."""
    parser = Parser(EXAMPLES, __doc__)
    parser.add_argument("--variant", default="patched", metavar="NAME",
                        help="a folder below build with a QEMU, or a path of "
                             "one (default: patched)")
    parser.add_argument("--only", choices=MAY_GROW,
                        help="only this command")
    opts = parser.parse_args()
    qemu = binary(opts.variant)
    return tap([(lambda name=name: check(qemu, name),
                 f"{name} leaves nothing behind")
                for name in MAY_GROW if opts.only in (None, name)])


if __name__ == "__main__":
    run_main(main)
