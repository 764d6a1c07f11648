#!/usr/bin/python3
"""Record which pages a Linux guest dirties while it reads or writes a file.

The guest has 512 MiB and reads, or writes, a file of 1 GiB over and over, on
ext4 on a virtio-blk disk, under TCG.  It runs for a second at a time, as
between two dirty syncs of a migration.  Each time it is stopped, each page of
its RAM, a file shared with QEMU, is compared with what it was at the last
stop: those that differ are a dirty map.  QEMU's own dirty bitmaps take no
part, so any build will do.  A page written with what it held already is not
seen; filerw.c writes no two pages alike to make that rare.

The maps kept are those that follow the first whole pass over the file,
without a gap.  The guest does no more than 50 MiB/s by its own clock, about
what a disk of 2010 did: the disk is a file in the host's page cache, and the
maps of a fast and of a slow host would not be alike.

It takes 1.5 GiB of memory and as much of disk while it runs.

A file of maps is text.  Lines that begin with '#' say what made it.  Then
comes 'pages N', the number of pages in each map, and one line for each map,
oldest first: pairs 'clean,dirty' of run lengths in pages, separated by spaces,
from guest page 0 on.  The runs of a line sum to N; only the first clean and
the last dirty run can be 0.

Exit status: 0 recorded, 1 it could not be, 2 wrong use.
"""
import gzip
import mmap
import os
import pathlib
import re
import shutil
import signal
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "ci"))
# pylint: disable=wrong-import-position
from lib.series import BUILD, ROOT  # noqa: E402
from lib.tool import (  # noqa: E402
    Parser, Wrong, binary, command, machine, no_guest, no_program, no_qemu,
    no_source, note, qemu_package, run_main, wait_until, within)

PAGE = mmap.PAGESIZE
GUESTS = ROOT / "tests/guests"
EXAMPLES = """examples:
  tests/bench/record_dirty_maps.py               read and write, 8 maps each
  tests/bench/record_dirty_maps.py --only write --maps 4 --out /tmp/maps
  tests/bench/record_dirty_maps.py --rate 0      as fast as the guest can
  tests/bench/record_dirty_maps.py --qemu build/patched/qemu-system-x86_64
"""


def parse_args():
    """The command line."""
    parser = Parser(EXAMPLES, __doc__)
    parser.add_argument("--only", choices=("read", "write"),
                        help="only this condition (default: both)")
    parser.add_argument("--maps", type=within(1, 1000), default=8,
                        metavar="N",
                        help="maps of each condition (default: 8)")
    parser.add_argument("--interval", type=within(0.01, 60, float), default=1,
                        metavar="S",
                        help="time the guest runs for a map (default: 1)")
    parser.add_argument("--rate", type=within(0, 1 << 20), default=50,
                        metavar="MIB/S",
                        help="read or written, 0: no limit (default: 50)")
    parser.add_argument("--mem", type=within(128, 2048), default=512,
                        metavar="MIB", help="guest RAM (default: 512)")
    parser.add_argument("--file", type=within(1, 16384), default=1024,
                        metavar="MIB", help="size of the file (default: 1024)")
    parser.add_argument("--qemu", type=pathlib.Path, metavar="BINARY",
                        default=binary("pristine"),
                        help="(default: build/pristine's)")
    parser.add_argument("--out", type=pathlib.Path, metavar="DIR",
                        default=ROOT / "tests/bench/maps",
                        help="where the maps go (default: tests/bench/maps)")
    opts = parser.parse_args()
    if opts.file <= opts.mem:
        parser.error("the file has to be larger than the guest's RAM")
    parser.refuse(no_qemu(opts.qemu), no_source(), *map(no_guest, (
        "vmlinuz", "initramfs.gz", "kernel", "modules/order")))
    parser.refuse(no_program("cc", "gcc"), no_program("cpio"),
                  no_program("mke2fs", "e2fsprogs"))
    try:
        opts.out.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        parser.error(f"--out {opts.out}: {err.strerror}")
    return opts


def make_initramfs(tmp):
    """The tests' initramfs and, in a second archive, what this needs."""
    root, initramfs = tmp / "root", tmp / "initramfs.gz"
    (root / "bin").mkdir(parents=True)
    shutil.copy(GUESTS / "init-file", root)
    command(["cc", "-O2", "-Wall", "-Werror", "-static",
             "-o", root / "bin/filerw", GUESTS / "filerw.c"],
            "building filerw.c")
    names = sorted(str(p.relative_to(root)) for p in root.rglob("*"))
    archive = tmp / "archive"
    command(["cpio", "-o", "-H", "newc", "-R", "0:0", "--quiet",
             "-F", archive],
            "packing the initramfs", cwd=root, input="\n".join(names) + "\n")
    initramfs.write_bytes((BUILD / "guests/initramfs.gz").read_bytes()
                          + gzip.compress(archive.read_bytes(), 1, mtime=0))
    return initramfs


def make_disk(tmp, file_mib):
    """A disk with an empty ext4; nothing of it is left to do in the guest."""
    disk, size = tmp / "disk", file_mib * 9 // 8 + 128
    disk.unlink(missing_ok=True)
    free = shutil.disk_usage(tmp).free >> 20
    if free < size:
        raise Wrong(f"build/bench has {free} MiB free and {size} are "
                    "needed: make room and run again")
    disk.touch()
    os.truncate(disk, size << 20)
    command(["mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096",
             "-E", "lazy_itable_init=0,lazy_journal_init=0", disk],
            "making the disk")
    return disk


class Guest:
    """A guest at work, and its RAM."""

    def __init__(self, opts, condition, tmp, ram_dir, initramfs):
        self.serial = tmp / f"serial-{condition}"
        self.ram_file = ram_dir / f"ram-{condition}"
        disk = make_disk(tmp, opts.file)
        self.vm = machine(
            opts.qemu, base_temp_dir=str(tmp), qmp_timer=60,
            args=[
                "-machine", "q35,memory-backend=ram", "-accel", "tcg",
                "-cpu", "max", "-smp", "1", "-m", f"{opts.mem}M",
                "-object", "memory-backend-file,id=ram,share=on,"
                           f"size={opts.mem}M,mem-path={self.ram_file}",
                "-display", "none", "-nodefaults",
                "-drive", f"file={disk},if=none,id=disk,format=raw,"
                          "cache=unsafe",
                "-device", "virtio-blk-pci,drive=disk",
                "-chardev", f"file,id=serial,path={self.serial}",
                "-serial", "chardev:serial",
                "-kernel", str(BUILD / "guests/vmlinuz"),
                "-initrd", str(initramfs),
                "-append", "console=ttyS0 quiet panic=-1 rdinit=/init-file "
                           f"thrift=filerw:{condition},{opts.file},"
                           f"{opts.rate}"])
        self.pages = []
        try:
            self.vm.launch()
        except qemu_package().machine.machine.QEMUMachineError as err:
            raise Wrong(f"{opts.qemu} does not start: "
                        f"{self.last_words()}") from err

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.vm.shutdown(hard=True)
        self.ram_file.unlink(missing_ok=True)

    def last_words(self):
        """What a QEMU that ended said last."""
        said = (self.vm.get_log() or "").strip().splitlines()
        return (said or [f"exit status {self.vm.exitcode()}"])[-1]

    def command(self, name):
        """Stop it or let it go on."""
        try:
            self.vm.cmd(name)
        except qemu_package().qmp.QMPError as err:
            self.check()
            raise Wrong(f"QEMU does not {name}: {err}") from err

    def check(self):
        """Raise if it is no longer at work; returns what it printed."""
        text = self.serial.read_text(encoding="utf-8", errors="replace")
        wrong = re.search(r"filerw: BAD.*|Kernel panic.*|.*Out of memory.*",
                          text)
        if wrong:
            raise Wrong(f"the guest says: {wrong.group().strip()}")
        if not self.vm.is_running():
            raise Wrong(f"QEMU ended: {self.last_words()}")
        return text

    def wait_pass(self, timeout):
        """Wait until it has done the whole file once."""
        wait_until(lambda: "filerw: pass 1" in self.check(), timeout,
                   f"the guest does not finish the file in {timeout} s", 0.1)

    def compare(self):
        """The stopped guest's map as run lengths: clean, dirty, clean, ..."""
        runs, old, last = [0], self.pages, False
        with self.ram_file.open("rb") as file, \
                mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as ram:
            if not old:
                old.extend(ram[i:i + PAGE] for i in range(0, len(ram), PAGE))
                return [len(old), 0]
            for i, was in enumerate(old):
                now = ram[i * PAGE:(i + 1) * PAGE]
                dirty = now != was
                if dirty:
                    old[i] = now
                if dirty != last:
                    runs.append(0)
                    last = dirty
                runs[-1] += 1
        return runs + [0] * (len(runs) % 2)

    def record(self, count, interval):
        """So many maps, one after the other; yields each."""
        self.command("stop")
        self.compare()
        for _ in range(count):
            self.command("cont")
            time.sleep(interval)
            self.command("stop")
            self.check()
            yield self.compare()


def size_name(mib):
    """1g, 1536m"""
    return f"{mib >> 10}g" if mib % 1024 == 0 else f"{mib}m"


def write_maps(path, maps, opts, condition, package):
    """The file that the description above is of."""
    name = f"{opts.file >> 10} GiB" if opts.file % 1024 == 0 \
        else f"{opts.file} MiB"
    rate = f"at most {opts.rate} MiB/s" if opts.rate else "no limit of rate"
    kernel = package.removeprefix("linux-image-")
    pages = sum(maps[0])
    lines = [
        f"# Dirty maps of a Linux guest that {condition}s a file of {name}",
        f"# guest: {opts.mem} MiB RAM, 1 CPU, q35, TCG; Linux {kernel}",
        f"# file: on ext4 on virtio-blk, {rate}",
        f"# maps: {len(maps)}, one after the other, each of {opts.interval:g} "
        "s of the guest's time,",
        "#     after the first whole pass over the file",
        "# command: tests/bench/record_dirty_maps.py "
        f"--only {condition} --maps {opts.maps} --interval {opts.interval:g} "
        f"--rate {opts.rate} --mem {opts.mem} --file {opts.file}",
        f"# format: {pages} pages of {PAGE} bytes from page 0 on; a line is a "
        "map: pairs",
        "#     clean,dirty of run lengths in pages",
        f"pages {pages}"]
    lines += [" ".join(f"{clean},{dirty}" for clean, dirty
                       in zip(runs[::2], runs[1::2])) for runs in maps]
    new = path.with_name(path.name + ".tmp")
    new.write_text("\n".join(lines) + "\n", encoding="utf-8")
    new.rename(path)


def ram_folder(tmp, mib):
    """Where a guest's RAM is not written to a disk, if there is room."""
    shm = pathlib.Path("/dev/shm")
    if os.access(shm, os.W_OK) and \
            shutil.disk_usage(shm).free > (mib + 16) << 20:
        return tempfile.TemporaryDirectory(dir=shm)
    note("no room in /dev/shm: the guest's RAM is a file in build/bench")
    return tempfile.TemporaryDirectory(dir=tmp)


def record(condition, opts, folders, initramfs, steps):
    """The maps of a condition; each is shown when it's there."""
    maps = []
    note(f"{next(steps)} {condition}: the first pass")
    with Guest(opts, condition, *folders, initramfs) as guest:
        # As slow as it may be where there is no limit of rate
        guest.wait_pass(300 + 4 * opts.file // (opts.rate or 10))
        for runs in guest.record(opts.maps, opts.interval):
            maps.append(runs)
            note(f"{next(steps)} {condition}: map {len(maps)}")
            dirty = [length for length in runs[1::2] if length]
            print(f"{condition:9} {len(maps):>4} {sum(dirty):>11} "
                  f"{sum(dirty) / sum(runs):>6.1%} {len(dirty):>10} "
                  f"{max(dirty, default=0):>8}", flush=True)
    return maps


def main():
    """Record each condition."""
    opts = parse_args()
    package = (BUILD / "guests/kernel").read_text(encoding="utf-8").strip()
    conditions = [opts.only] if opts.only else ["read", "write"]
    # Else QEMU would be left behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    bench = BUILD / "bench"
    bench.mkdir(parents=True, exist_ok=True)
    count = len(conditions) * (opts.maps + 1)
    steps = (f"[{step}/{count}]" for step in range(1, count + 1))
    with tempfile.TemporaryDirectory(dir=bench) as folder, \
            ram_folder(folder, opts.mem) as ram_dir:
        folders = pathlib.Path(folder), pathlib.Path(ram_dir)
        initramfs = make_initramfs(folders[0])
        print(f"{'condition':9} {'map':>4} {'dirty pages':>11} {'':>6} "
              f"{'dirty runs':>10} {'longest':>8}")
        for condition in conditions:
            maps = record(condition, opts, folders, initramfs, steps)
            write_maps(opts.out / f"{condition}-{size_name(opts.file)}.txt",
                       maps, opts, condition, package)
    return 0


if __name__ == "__main__":
    run_main(main)
