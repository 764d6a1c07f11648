"""Where ci/lab's jobs run: in a guest with a KVM of its own, or on this host.
"""
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tarfile
import threading
import time
from itertools import zip_longest

from lib.lab_images import (CLOUD, FIRMWARE_FROM, LAB, SOURCE, Archive,
                            bochs_cd, bochs_plugins, extract, guest, l1_root,
                            metal_root, package, qemu_root, vmlinux, vmlinuz)
from lib.tool import Skip, Wrong, binary, no_kvm, note, turn

RESULTS = LAB / "results"
# The console's lines that are of the job
MARK = "LAB: "
# KVM's, as jobs have them that want nothing else
DEFAULT_PARAMETERS = {"npt": "1", "nested": "0"}
# An emulator gets its seconds of CPU time however many others want the
# processor; one that waits for something gets so many times as much.
PATIENCE = 8


def cpu_time(pid):
    """Seconds that a process has used, with those of what it waited for."""
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii",
                                                           errors="replace")
    except OSError:
        return 0.0              # It has ended.
    ticks = map(int, stat.rpartition(")")[2].split()[11:15])
    return sum(ticks) / os.sysconf("SC_CLK_TCK")


class Processes:
    """What runs, so that all of it can be ended."""

    def __init__(self):
        self.running, self.lock, self.over = set(), threading.Lock(), False

    def run(self, args, log, limits, env):
        """Run a program; limits are (seconds of CPU time, by the clock).

        Returns: (its status, or None if it took too long, seconds of CPU time)
        """
        with self.lock:
            if self.over:
                raise Wrong("interrupted")
            # A signal for the lab is not one for what it runs.
            # pylint: disable-next=consider-using-with
            process = subprocess.Popen(
                [str(arg) for arg in args], stdin=subprocess.DEVNULL,
                stdout=log, stderr=subprocess.STDOUT, env=env,
                start_new_session=True)
            self.running.add(process)
        late, ended = threading.Event(), threading.Event()

        def watch():
            end = time.monotonic() + limits[1]
            while not ended.wait(0.5):
                if cpu_time(process.pid) >= limits[0] or \
                        time.monotonic() >= end:
                    late.set()
                    self.kill(process)
                    return

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            # Popen.wait() doesn't say what it has used.
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        finally:
            ended.set()
            watcher.join()
            # What it has left behind
            self.kill(process)
            with self.lock:
                self.running.discard(process)
        return (None if late.is_set() else process.returncode,
                used.ru_utime + used.ru_stime)

    @staticmethod
    def kill(process):
        """End it with all that it has started."""
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def end(self):
        """Nothing is started any more, and what runs is ended."""
        with self.lock:
            self.over = True
            for process in self.running:
                self.kill(process)


def different(one, other):
    """Files below two folders that aren't the same."""
    names = {path.relative_to(root) for root in (one, other)
             for path in root.rglob("*") if not path.is_dir()}
    return [name for name in sorted(names)
            if not ((one / name).is_file() and (other / name).is_file() and
                    (one / name).read_bytes() == (other / name).read_bytes())]


class Boot:
    """One job, and what the three ways to run it have in common."""

    # What L1 finds in lab.kvm, and what it calls the two kinds of paging
    module, paging = "kvm-amd", "npt"
    # Words of /job/env
    env = ""
    # Of its name, where a job is run in more than one way
    suffix = ""
    # L0's exit status when L1 switches off
    off = 0
    # Of a job's seconds of CPU time, how many it may take by the clock
    patience = PATIENCE

    def __init__(self, job, opts, processes):
        self.job, self.opts, self.processes = job, opts, processes
        self.name = job.name + self.suffix
        self.dir = RESULTS / self.name
        self.took, self.used, self.packed = 0.0, 0.0, None

    def wanted(self, what):
        """An option that was given is stronger than what the job says."""
        given = getattr(self.opts, what)
        return self.job.wants[what] if given is None else str(given)

    @property
    def counts(self):
        """Whether a nanosecond of L1 is one instruction."""
        return self.opts.icount and self.job.wants["shift"] == "0"

    def has(self, word):
        """Whether the QEMU under test has a word in it."""
        path = self.opts.qemu
        root = path.parent / "root/usr/bin/qemu-system-x86_64"
        return word.encode() in (root if root.is_file() else
                                 path).read_bytes()

    def environment(self):
        """What the job finds in /job/env."""
        knows = [word for word in self.job.list_of("knows") if self.has(word)]
        return (f"KNOWS='{' '.join(knows)}'\n"
                f"NPT={self.wanted('npt')}\nNESTED={self.wanted('nested')}\n"
                f"ICOUNT={int(self.counts)}\n{self.env}")

    def base(self):
        """L1's files but for those of the QEMU and the job, packed."""
        return l1_root(self.opts.kernel, self.module)

    def archives(self):
        """Packed: the base, the QEMU under test, and the job.

        Packed once: for a second run that compares nothing may change.
        """
        if self.packed is None:
            self.packed = self.pack()
        return self.packed

    def pack(self):
        """What archives() returns."""
        if self.job.refuses(self.opts):
            raise Skip(self.job.refuses(self.opts))
        for word in self.job.list_of("needs"):
            if not self.has(word):
                raise Skip(f"{self.opts.qemu} knows no {word}")
        archive = Archive()
        archive.add("job/run.sh", self.job.path.read_bytes())
        archive.add("job/lib.sh", (SOURCE / "lib.sh").read_bytes())
        archive.add("job/env", self.environment())
        for name in self.job.list_of("guests"):
            archive.add(f"g/{name}", guest(name).read_bytes())
        second = binary(self.job.wants["second"] or "/none")
        paths = [self.base(),
                 qemu_root(self.opts.qemu, self.job.list_of("programs"),
                           second if second.is_file() else None)]
        return [*(path.read_bytes() for path in paths), archive.pack()]

    def prepare(self):
        """All that command() names.  What can't be run raises Skip."""
        with (self.dir / "initrd").open("wb") as out:
            for data in self.archives():
                out.write(data)
        with (self.dir / "disk").open("wb") as disk:
            disk.truncate(256 << 20)

    def append(self):
        """L1's command line."""
        return ("console=ttyS0 mitigations=off nokaslr norandmaps panic=-1 "
                f"lab.kvm={self.module} lab.{self.paging}="
                f"{self.wanted('npt')} lab.nested={self.wanted('nested')}")

    def command(self):
        """What runs the job."""
        raise NotImplementedError

    def run(self):
        """run_alone(), when no other lab runs the same job here."""
        RESULTS.mkdir(parents=True, exist_ok=True)
        with turn(RESULTS / f"{self.name}.lock",
                  f"another lab's {self.name}"):
            lines, why = self.run_alone()
            if self.job.twice and not why and self.opts.icount:
                lines, why = self.run_again(lines)
            return lines, why

    def run_again(self, before):
        """A second run, which is to be the same."""
        first = self.dir.with_name(f"{self.name}.first")
        shutil.rmtree(first, ignore_errors=True)
        self.dir.rename(first)
        lines, why = self.run_alone()
        if why:
            return lines, why
        wrong = [f"# {path} differs"
                 for path in different(first / "out", self.dir / "out")]
        wrong += [f"# it said before: {was}"
                  for was, line in zip_longest(before, lines)
                  if was != line]
        title = "a second run is the same, to the instruction"
        if wrong:
            return [*lines, f"not ok {title}", *wrong[:8]], None
        shutil.rmtree(first)
        return [*lines, f"ok {title}"], None

    def run_alone(self):
        """Run it and wait for its end.  Returns: (lines, why there's no end)
        """
        shutil.rmtree(self.dir, ignore_errors=True)
        self.dir.mkdir(parents=True)
        self.prepare()
        command = self.command()
        (self.dir / "command").write_text(
            "\n".join(map(str, command)) + "\n", encoding="utf-8")
        timeout = int(self.wanted("timeout"))
        began = time.monotonic()
        with (self.dir / "l0.log").open("wb") as log:
            status, used = self.processes.run(
                command, log, (timeout, timeout * self.patience),
                dict(os.environ))
        self.took += time.monotonic() - began
        self.used += used
        lines, plan, ended = self.console()
        cases = sum(line.startswith(("ok ", "not ok ")) for line in lines)
        why = None
        if status is None:
            why = (f"not done in {timeout} s of CPU time"
                   if used >= timeout else
                   f"not done in {timeout * self.patience} s")
        elif status != self.off:
            said = (self.dir / "l0.log").read_text(errors="replace").strip()
            why = f"L0 ended with {status}: {said[-200:]}"
        elif not ended:
            why = "L1 ended before the job had"
        elif plan is None:
            why = "it ended before its last line, 'finished'"
        elif plan != cases:
            why = f"of its {plan} cases {cases} are on the console"
        self.results()
        return lines, why

    def console(self):
        """What the job has said on L1's console.

        Returns: (lines, the number of cases that its last line has or None,
        whether L1 came to its end)
        """
        path = self.dir / "console"
        text = path.read_text(errors="replace") if path.is_file() else ""
        lines = [line.removeprefix(MARK).rstrip()
                 for line in text.splitlines() if line.startswith(MARK)]
        said = [line for line in lines if not re.fullmatch(
            r"end|1\.\.\d+", line)]
        plans = [int(line[3:]) for line in lines
                 if re.fullmatch(r"1\.\.\d+", line)]
        return said, plans[0] if len(plans) == 1 else None, \
            "end" in lines

    def results(self):
        """Unpack what the job has left."""
        try:
            with tarfile.open(self.dir / "disk", "r:") as tar:
                tar.extractall(self.dir / "out")
        except (tarfile.TarError, OSError) as err:
            note(f"{self.name}: left nothing: {err}")
        if not self.opts.keep:
            for name in ("initrd", "disk"):
                (self.dir / name).unlink()


class Tcg(Boot):
    """In QEMU's TCG, which emulates SVM."""

    @property
    def env(self):
        """L1's clock stands still while the host is busy, or not."""
        return "" if self.opts.icount else "HOSTS_TIME=1\n"

    def command(self):
        firmware = [arg for name, path in FIRMWARE_FROM.items()
                    for arg in ("-L", package(name) / path)]
        # RDRAND is part of what repeats.
        icount = (["-icount", f"shift={self.job.wants['shift']},sleep=off",
                   "-seed", "1"] if self.opts.icount else [])
        return [self.opts.l0, "-accel", "tcg", *icount, "-cpu", "max",
                "-machine", "q35", "-smp", self.wanted("smp"),
                "-m", self.job.wants["memory"],
                *firmware, "-display", "none", "-nodefaults", "-no-reboot",
                "-rtc", "base=2026-01-01T00:00:00,clock=vm",
                "-serial", f"file:{self.dir}/console",
                "-drive", f"if=none,id=out,file={self.dir}/disk,format=raw",
                "-device", "virtio-blk-pci,drive=out",
                "-kernel", vmlinux(self.opts.kernel, CLOUD),
                "-initrd", self.dir / "initrd", "-append", self.append()]


class Bochs(Boot):
    """In Bochs, which emulates VMX: a hundred times slower than a processor.
    """

    module, paging, env = "kvm-intel", "ept", "VMX=1\n"
    suffix, off = "-vmx", 1
    # Of 512 bytes, 63 sectors, 16 heads
    CYLINDERS = 256

    def prepare(self):
        super().prepare()
        os.truncate(self.dir / "disk", self.CYLINDERS * 16 * 63 * 512)
        bochs_cd(self.dir / "cd.iso", vmlinuz(self.opts.kernel),
                 self.dir / "initrd", self.append())
        rom = package("bochsbios") / "usr/share/bochs/BIOS-bochs-latest"
        vga = package("vgabios") / "usr/share/vgabios/vgabios.bin"
        # Debian's has its debugger, which waits to be told to go on.
        (self.dir / "rc").write_text("c\n", encoding="ascii")
        (self.dir / "bochsrc").write_text(f"""\
config_interface: textconfig
display_library: rfb, options="timeout=0"
romimage: file={rom}
vgaromimage: file={vga}
megs: 1024
cpu: model=corei7_skylake_x, count=1, ips=50000000, reset_on_triple_fault=0
clock: sync=none, time0=1767225600
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=disk, mode=flat, path={self.dir}/disk, \
cylinders={self.CYLINDERS}, heads=16, spt=63
ata0-slave: type=cdrom, path={self.dir}/cd.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev={self.dir}/console
log: {self.dir}/bochs.log
panic: action=fatal
error: action=report
info: action=report
""", encoding="utf-8")

    def command(self):
        plugins = bochs_plugins()
        libraries = ":".join(str(package(name) / "usr/lib/x86_64-linux-gnu")
                             for name in ("libltdl7", "libsamplerate0"))
        return ["env", f"LD_LIBRARY_PATH={plugins}:{libraries}",
                f"LTDL_LIBRARY_PATH={plugins}",
                f"BXSHARE={package('bochsbios') / 'usr/share/bochs'}",
                package("bochs") / "usr/bin/bochs-bin",
                "-q", "-f", self.dir / "bochsrc", "-rc", self.dir / "rc"]


def no_metal():
    """A host whose KVM makes machines, and namespaces to run jobs in."""
    if no_kvm():
        return f"--metal: {no_kvm()}"
    done = subprocess.run([*NAMESPACE, "true"], capture_output=True,
                          text=True, check=False)
    if done.returncode:
        return f"--metal: namespaces are not available: {done.stderr.strip()}"
    return None


NAMESPACE = ["unshare", "--mount"]
if os.geteuid():
    NAMESPACE += ["--user", "--map-root-user"]


def host_parameter(name):
    """A parameter of this host's kvm_amd or kvm_intel, as 0 or 1, or None."""
    for path in pathlib.Path("/sys/module").glob(f"kvm_*/parameters/{name}"):
        return int(path.read_text(encoding="ascii").strip() in "Y1")
    return None


class Metal(Boot):
    """On this host's KVM."""

    env = "METAL=1\n"
    # What it waits for are guests, whose CPU time is not its own.
    patience = 1

    def prepare(self):
        paging = [value for value in map(host_parameter, ("npt", "ept"))
                  if value is not None]
        for name, values in (("npt", paging),
                             ("nested", [host_parameter("nested")])):
            if self.job.wants[name] != DEFAULT_PARAMETERS[name] and \
                    int(self.job.wants[name]) not in values:
                raise Skip(f"it wants {name}={self.job.wants[name]} of KVM, "
                           f"which this host doesn't have")
        root = self.dir / "root"
        root.mkdir()
        for data in self.archives():
            extract(data, root)
        for name in ("out", "t", "root", "var/tmp"):
            (root / name).mkdir(parents=True)

    def base(self):
        return metal_root()

    def command(self):
        return [*NAMESPACE, "sh", "-c", 'exec sh "$0" "$1" >"$2"',
                SOURCE / "metal", self.dir / "root", self.dir / "console"]

    def results(self):
        (self.dir / "root/out").rename(self.dir / "out")
        if not self.opts.keep:
            shutil.rmtree(self.dir / "root")


def boot(job, opts, processes):
    """What runs a job as the options want it."""
    kind = Metal if opts.metal else Bochs if opts.vmx else Tcg
    return kind(job, opts, processes)
