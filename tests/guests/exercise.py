#!/usr/bin/python3
"""Exercise what uses dirty memory besides a plain migration.

Snapshots (savevm and background), postcopy, dirty rate, memory hotplug and
virtio-mem, each with the Linux guest that checks all memory that it wrote
(memwriter.c).  Output is TAP.

Exit status: 0 all went right, 1 something did not, 2 wrong use.
"""
import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from migrate_guest import BUILD, Guest, Wrong, migrate, wait_incoming

EXAMPLES = """examples:
  tests/guests/exercise.py                      the patched build
  tests/guests/exercise.py --variant pristine   the same with stock QEMU
  tests/guests/exercise.py --only postcopy
"""


class Skip(Exception):
    """This can't be had here."""


class Options:
    """What Guest and migrate() want to know."""
    # pylint: disable=too-few-public-methods
    guest, accel, mem, working_set, bandwidth = "linux", "tcg", "192M", 32, 200

    def __init__(self, *extra):
        self.extra = list(extra)


def capability(vm, name):
    """Switch a migration capability on."""
    vm.cmd("migrate-set-capabilities",
           capabilities=[{"capability": name, "state": True}])


def wait_status(vm, command, wanted, timeout=120):
    """Until a query's status is one of those wanted."""
    end = time.monotonic() + timeout
    while True:
        info = vm.cmd(command)
        if info.get("status") in wanted:
            return info
        if info.get("status") == "failed" or time.monotonic() > end:
            raise Wrong(f"{command}: {info}")
        time.sleep(0.05)


def savevm(variant, tmp):
    """savevm, let the guest go on, loadvm"""
    disk = pathlib.Path(tmp, "disk.qcow2")
    subprocess.run([BUILD / variant / "qemu-img", "create", "-q", "-f",
                    "qcow2", disk, "1G"], check=True)
    guest = Guest(variant, tmp, Options(
        "-drive", f"file={disk},if=none,id=disk,format=qcow2"), 0)
    try:
        guest.wait_passes(2, 120)
        said = guest.monitor("savevm one")
        guest.wait_passes(guest.passes() + 2, 120)
        said += guest.monitor("loadvm one")
        if said.strip():
            raise Wrong(said.strip())
        guest.wait_passes(guest.passes() + 3, 120)
    finally:
        guest.vm.shutdown(hard=True)


def background_snapshot(variant, tmp):
    """a background snapshot, and the guest that comes out of it"""
    image = pathlib.Path(tmp, "snapshot")
    guest = Guest(variant, tmp, Options(), 0)
    try:
        guest.wait_passes(2, 120)
        try:
            capability(guest.vm, "background-snapshot")
        except Exception as err:  # pylint: disable=broad-except
            raise Skip(f"background-snapshot: {err}") from err
        guest.vm.cmd("migrate", uri=f"file:{image}")
        wait_status(guest.vm, "query-migrate", ("completed",))
        guest.wait_passes(guest.passes() + 2, 120)
    finally:
        guest.vm.shutdown(hard=True)
    target = Guest(variant, tmp, Options("-incoming", "defer"), 1)
    try:
        target.vm.cmd("migrate-incoming", uri=f"file:{image}")
        wait_incoming(target)
        target.vm.cmd("cont")
        target.wait_passes(3, 120)
    finally:
        target.vm.shutdown(hard=True)


def postcopy(variant, tmp):
    """postcopy after a round of precopy"""
    source = Guest(variant, tmp, Options(), 0)
    target = None
    try:
        source.wait_passes(2, 120)
        target = Guest(variant, tmp, Options(), 1, running=True)
        for guest in (source, target):
            try:
                capability(guest.vm, "postcopy-ram")
            except Exception as err:  # pylint: disable=broad-except
                raise Skip(f"postcopy-ram: {err}") from err
        source.vm.cmd("migrate-set-parameters", max_bandwidth=30 << 20,
                      downtime_limit=1)
        source.vm.cmd("migrate", uri=f"unix:{target.socket}")
        end = time.monotonic() + 60
        while source.status().get("ram", {}).get("dirty-sync-count", 0) < 2:
            if time.monotonic() > end:
                raise Wrong("no second round")
            time.sleep(0.05)
        source.vm.cmd("migrate-start-postcopy")
        info = wait_status(source.vm, "query-migrate", ("completed",))
        if not info.get("postcopy-time") and "ram" in info and \
                not info["ram"].get("postcopy-bytes"):
            raise Wrong("it completed without postcopy")
        target.wait_passes(3, 120)
    finally:
        source.vm.shutdown(hard=True)
        if target:
            target.vm.shutdown(hard=True)


def dirty_rate(variant, tmp):
    """calc-dirty-rate by samples with TCG, by the dirty bitmap with KVM"""
    measured = {}
    cases = {"page-sampling": Options()}
    if os.access("/dev/kvm", os.R_OK | os.W_OK):
        # The bitmap's rate counts what comes from logs; TCG has none.
        cases["dirty-bitmap"] = kvm = Options()
        kvm.guest, kvm.accel, kvm.mem = "ramwriter", "kvm", "96M"
    for mode, opts in cases.items():
        guest = Guest(variant, tmp, opts, 0)
        try:
            guest.wait_passes(2, 120)
            guest.vm.cmd("calc-dirty-rate", calc_time=1, mode=mode)
            info = wait_status(guest.vm, "query-dirty-rate", ("measured",))
            measured[mode] = info["dirty-rate"]
            guest.wait_passes(guest.passes() + 1, 120)
        finally:
            guest.vm.shutdown(hard=True)
    if not all(measured.values()):
        raise Wrong(f"the guests write, but {measured} MiB/s")
    print(f"# {measured} MiB/s")
    if "dirty-bitmap" not in measured:
        raise Skip("dirty-bitmap: no usable /dev/kvm")


def hop(variant, tmp, extra, prepare):
    """One migration with more devices."""
    source = Guest(variant, tmp, Options(*extra), 0)
    target = None
    try:
        source.wait_passes(2, 120)
        prepare(source.vm)
        target = Guest(variant, tmp, Options(*extra), 1)
        prepare(target.vm)
        migrate(source, target, Options())
        wait_incoming(target)
        if source.ram_digest(tmp) != target.ram_digest(tmp):
            raise Wrong("guest RAM differs")
        target.vm.cmd("cont")
        target.wait_passes(3, 120)
    finally:
        source.vm.shutdown(hard=True)
        if target:
            target.vm.shutdown(hard=True)


def hotplug(variant, tmp):
    """a DIMM that comes while the guest runs, and a migration"""
    def plug(vm):
        vm.cmd("object-add", qom_type="memory-backend-ram", id="more",
               size=128 << 20)
        vm.cmd("device_add", driver="pc-dimm", id="dimm", memdev="more")

    hop(variant, tmp, ["-m", "192M,slots=2,maxmem=1G"], plug)


def virtio_mem(variant, tmp):
    """virtio-mem, all of it discarded, and a migration"""
    hop(variant, tmp, ["-m", "192M,slots=2,maxmem=1G", "-object",
                       "memory-backend-ram,id=vmem,size=256M", "-device",
                       "virtio-mem-pci,id=vm0,memdev=vmem"], lambda vm: None)


CASES = {func.__name__.replace("_", "-"): func for func in
         (savevm, background_snapshot, postcopy, dirty_rate, hotplug,
          virtio_mem)}


def main():
    """Run the cases."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n", maxsplit=1)[0], epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", default="patched",
                        help="the build (default: patched)")
    parser.add_argument("--only", action="append", choices=CASES,
                        help="only this case, can be repeated")
    opts = parser.parse_args()
    if not os.access(BUILD / opts.variant / "qemu-system-x86_64", os.X_OK):
        parser.error(f"build/{opts.variant} has no QEMU: build it with "
                     "./configure-wrapper.sh")
    if not (BUILD / "guests/ramwriter").is_file():
        parser.error("no guest: run tests/guests/make.sh")
    cases = opts.only or list(CASES)
    print(f"1..{len(cases)}", flush=True)
    failed = 0
    for number, name in enumerate(cases, 1):
        with tempfile.TemporaryDirectory() as tmp:
            title = f"{name}: {CASES[name].__doc__}"
            try:
                CASES[name](opts.variant, tmp)
                print(f"ok {number} {title}", flush=True)
            except Skip as err:
                print(f"ok {number} {title} # SKIP {err}", flush=True)
            except Wrong as err:
                print(f"# {err}\nnot ok {number} {title}", flush=True)
                failed += 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
