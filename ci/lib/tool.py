"""What the command line tools share: options, errors, progress, TAP, CSV."""
import argparse
import contextlib
import csv
import ctypes
import errno
import fcntl
import functools
import math
import os
import pathlib
import re
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time

from lib.series import BUILD


class Wrong(Exception):
    """Something that must not be."""


class Skip(Exception):
    """This host or this build lacks something for it."""


# What a tool says in one line
FAILURES = (Wrong, OSError, subprocess.SubprocessError)
# Seconds for a program to end what it has started
GRACE = 10
# Seconds after which it's said what is waited for
SILENCE = 5
# Entries of a dirty ring, the most that KVM has.  A ring that never gets full:
# some nested KVM (kvm_pvm) loses entries when it does, with any QEMU.
RING = 65536
# Seconds in which a guest comes to whatever it comes to, on any host that
# isn't broken: busy with more than this, slow, or itself a guest.
PATIENCE = 600


def die(message, status=1):
    """One line that says what is wrong and what to do, and the end."""
    name = pathlib.Path(sys.argv[0]).name
    print(f"{name}: error: {message}", file=sys.stderr)
    sys.exit(status)


def note(message):
    """Progress, on stderr."""
    print(f"{pathlib.Path(sys.argv[0]).name}: {message}", file=sys.stderr,
          flush=True)


def run_main(main):
    """A tool's main(), which returns the exit status, and the end.

    SIGTERM and SIGHUP end it like Ctrl-C, so what it started ends, too.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        sys.exit(main())
    except FAILURES as err:
        die(err)
    except KeyboardInterrupt:
        die("interrupted")
    except Exception as err:  # pylint: disable=broad-except
        # Others are this program's own faults.
        if not of_qemu(err):
            raise
        die(last_said(err))


@contextlib.contextmanager
def sole_writer():
    """As lock_build() of env.sh: one writer at a time in build/."""
    if "THRIFT_LOCKED" in os.environ:
        yield
        return
    BUILD.mkdir(exist_ok=True)
    with (BUILD / ".lock").open("w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Wrong("another run works in build/: wait for it to end"
                        ) from None
        os.environ["THRIFT_LOCKED"] = "1"
        yield


@contextlib.contextmanager
def turn(path, what):
    """With a lock, which is waited for; who waits long says for what."""
    with path.open("w", encoding="utf-8") as file:
        said = threading.Timer(SILENCE, note, [f"waiting for {what}"])
        said.start()
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        finally:
            said.cancel()
        yield


# The command line

class Parser(argparse.ArgumentParser):
    """--help shows the examples first; what is wrong is said in one line."""

    def __init__(self, examples, doc):
        super().__init__(description=doc.split("\n", maxsplit=1)[0],
                         epilog=doc.strip().rsplit("\n\n", 1)[-1])
        self.examples = examples
        self.compares = False

    def format_help(self):
        return self.examples + "\n" + super().format_help()

    def error(self, message):
        die(message, 2)

    def refuse(self, *reasons):
        """The first reason that there is ends it; no_kvm() and so on."""
        for reason in filter(None, reasons):
            self.error(reason)

    def add_variants(self):
        """QEMUs side by side: opts.qemu has their names and paths."""
        self.compares = True
        self.add_argument("--variant", action="append", metavar="NAME",
                          help="a folder below build with a QEMU, or a path "
                               "of one; can be repeated (default: pristine, "
                               "patched and what ci/peer.sh got)")

    def parse_args(self, *args, **kwargs):
        opts = super().parse_args(*args, **kwargs)
        if self.compares:
            opts.qemu = {name: binary(name) for name in opts.variant
                         or ["pristine", "patched", *peers()]}
        return opts

    def add_runs(self, default=3, row="run"):
        """What every bench has; row is what the CSV has one for."""
        self.add_argument("--runs", type=within(1), default=default,
                          help=f"runs of each case (default: {default})")
        self.add_argument("--csv", type=pathlib.Path,
                          help=f"write each {row} here")


def within(low, high=math.inf, kind=int):
    """The type of an option: a number from low to high."""
    wanted = f"{low} or more" if high == math.inf else f"{low} to {high}"

    def number(text):
        value = kind(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not {wanted}")
        return value

    return number


# What has to be there: each says what is missing, or None

def no_qemu(path):
    """A QEMU that can be run."""
    folder = pathlib.Path(path).absolute().parent
    if os.path.isfile(path) and os.access(path, os.X_OK):
        return None
    reason = f"{path} is not there or can't be run"
    if folder.parent != BUILD:
        return reason
    variant = folder.name
    if variant.startswith("peer-"):
        how = f"get it with ci/peer.sh {variant.removeprefix('peer-')}"
    elif variant == "patched":
        how = "build it with ./configure-wrapper.sh"
    elif variant == "pristine":
        how = "build it with ./configure-wrapper.sh --pristine"
    else:
        how = "build it with ci/build.sh"
    return f"{reason}: {how}"


def no_guest(name):
    """A file or folder that tests/guests/make.sh makes."""
    return None if (BUILD / "guests" / name).exists() else \
        "no guest: run tests/guests/make.sh"


@functools.cache
def kvm_trouble(path="/dev/kvm"):
    """Why it makes no machines, or None: a file that can be opened, such as a
    container's, may be no KVM, or one that refuses."""
    try:
        with open(path, "r+b", buffering=0) as kvm:
            if fcntl.ioctl(kvm, 0xae00) != 12:          # KVM_GET_API_VERSION
                return f"{path} is no KVM"
            os.close(fcntl.ioctl(kvm, 0xae01))          # KVM_CREATE_VM
    except OSError as err:
        if err.errno == errno.ENOTTY:
            return f"{path} is no KVM"
        return f"{path}: {err.strerror}"
    return None


def kvm_usable():
    """Whether QEMU can run guests with KVM."""
    return not kvm_trouble()


def no_kvm():
    """A KVM that can be used."""
    return f"no /dev/kvm that can be used ({kvm_trouble()})" \
        if kvm_trouble() else None


@functools.cache
def no_dirty_ring(entries=RING):
    """A KVM with dirty rings of so many entries."""
    if kvm_trouble():
        return no_kvm()
    with open("/dev/kvm", "r+b", buffering=0) as kvm:
        # KVM_CHECK_EXTENSION of KVM_CAP_DIRTY_LOG_RING: its bytes
        most = fcntl.ioctl(kvm, 0xae03, 192) // 16
    return None if most >= entries else \
        f"KVM's dirty rings have {most} entries at most, not {entries}" \
        if most else "this KVM has no dirty ring"


def no_address_bits(wanted):
    """A host with so many bits of physical addresses, as a guest gets them."""
    text = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8")
    found = re.search(r"^address sizes\s*: (\d+) bits physical", text, re.M)
    bits = int(found[1]) if found else math.inf
    return None if bits >= wanted else \
        f"{bits} bits of physical addresses, not {wanted}"


@functools.cache
def no_tap():
    """Tap devices in a network namespace of its own, with root or without."""
    as_user = ["-r"] if os.geteuid() else []
    done = subprocess.run(
        ["unshare", *as_user, "-n", "sh", "-c",
         "[ -c /dev/net/tun ] && : <>/dev/net/tun"],
        check=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL)
    return "no tap device" if done.returncode else None


@functools.cache
def no_userfaultfd():
    """What postcopy and background snapshots wait for pages with."""
    # As QEMU does it: by the device, or, if it can't be opened, by the call
    try:
        with open("/dev/userfaultfd", "r+b", buffering=0) as device:
            try:
                # USERFAULTFD_IOC_NEW
                os.close(fcntl.ioctl(device, 0xaa00, os.O_CLOEXEC))
            except OSError as err:
                return f"no userfaultfd: {err.strerror}"
    except OSError:
        libc = ctypes.CDLL(None, use_errno=True)
        file = libc.syscall(323, os.O_CLOEXEC)
        if file < 0:
            return f"no userfaultfd: {os.strerror(ctypes.get_errno())}"
        os.close(file)
    return None


def no_program(program, package=None):
    """A program of Debian's, by default of a package of its name."""
    return None if shutil.which(program) else \
        f"no {program}: apt-get install {package or program}"


def no_source():
    """QEMU's own Python package."""
    return None if (BUILD / "src/python/qemu/machine").is_dir() else \
        "build/src is not there: run ci/base.sh"


# QEMU and other programs

def binary(variant):
    """Where the QEMU of a build or a peer is; a path is one already."""
    if "/" in variant:
        return pathlib.Path(variant)
    return BUILD / variant / "qemu-system-x86_64"


def peers():
    """Debian's QEMUs that ci/peer.sh got: folders below build."""
    return sorted(path.parent.name
                  for path in BUILD.glob("peer-*/qemu-system-x86_64"))


def qtest_env(**more):
    """The environment that meson test gives to a qtest."""
    return {"QTEST_QEMU_BINARY": "./qemu-system-x86_64",
            "QTEST_QEMU_IMG": "./qemu-img",
            "QTEST_QEMU_STORAGE_DAEMON_BINARY":
                "./storage-daemon/qemu-storage-daemon",
            "PYTHON": "/usr/bin/python3",
            # What is allocated or freed has these bytes: who uses it crashes
            "MALLOC_PERTURB_": "165", **more}


def of_qemu(err):
    """Whether it's an error of QEMU's own package, which may not be loaded."""
    return type(err).__module__.startswith("qemu.")


def last_said(err):
    """What an error of QEMU's package says in one line: what QEMU said last.
    """
    said = (getattr(err, "output", None) or "").strip().split("\n")[-1] or \
        str(err).strip().split("\n")[0] or type(err).__name__
    return re.sub(r"^\S*qemu-system-\S+: ", "", said)


@contextlib.contextmanager
def one_line():
    """Whatever goes wrong with a QEMU is Wrong, with what it said last."""
    try:
        yield
    except FAILURES:
        raise
    except Exception as err:
        raise Wrong(last_said(err)) from err


def qemu_package():
    """QEMU's own Python package, with qemu.machine and qemu.qmp."""
    path = str(BUILD / "src/python")
    if path not in sys.path:
        sys.path.insert(0, path)
    if no_source():
        raise Wrong(no_source())
    # pylint: disable=import-outside-toplevel,import-error
    import qemu.machine
    import qemu.qmp
    return qemu


def machine(qemu, args, **options):
    """A QEMU to launch, with a QMP monitor."""
    # Without a slash it would be looked for in PATH.
    path = str(pathlib.Path(qemu).absolute())
    return qemu_package().machine.QEMUMachine(path, args=args, **options)


def command(args, what=None, **kwargs):
    """Run a program that has to work.  Returns: what it prints

    What fails is called by its name, or as what says.
    """
    args = [str(arg) for arg in args]
    done = subprocess.run(args, check=False, text=True, errors="replace",
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          **kwargs)
    if done.returncode:
        said = done.stdout.strip()[-400:] or f"exit status {done.returncode}"
        raise Wrong(f"{what or ' '.join(args[:2])}: {said}")
    return done.stdout


def members(groups):
    """Processes of these groups that run."""
    found = []
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue            # It has ended.
        state, _, group = text.rpartition(")")[2].split()[:3]
        if state != "Z" and int(group) in groups:
            found.append(int(stat.parent.name))
    return found


def end_groups(leaders):
    """End groups of processes, whose leaders must not be waited for yet.

    SIGTERM, so that each can end what it has started in groups of their own,
    and SIGKILL for what is still there after GRACE seconds.
    """
    def send(number):
        for leader in leaders:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(leader, number)

    try:
        send(signal.SIGTERM)
        end = time.monotonic() + GRACE
        while members(leaders) and time.monotonic() < end:
            time.sleep(0.05)
    finally:
        send(signal.SIGKILL)


def wait_until(done, timeout, why, pause=0.05):
    """Until done() says something that is true.  Returns: that

    After so many seconds it's Wrong, and why says why.
    """
    end = time.monotonic() + timeout
    while not (found := done()):
        if time.monotonic() > end:
            raise Wrong(why() if callable(why) else why)
        time.sleep(pause)
    return found


@contextlib.contextmanager
def small_pages():
    """What is started meanwhile gets no transparent huge pages.

    Where they are on for all programs, and whenever the kernel joins pages,
    memory is there that nobody has touched.
    """
    def disable(flag):
        # PR_SET_THP_DISABLE; what is started inherits it
        if ctypes.CDLL(None).prctl(41, *map(ctypes.c_ulong, (flag, 0, 0, 0))):
            raise Wrong("PR_SET_THP_DISABLE fails")

    disable(1)
    try:
        yield
    finally:
        disable(0)


# What a tool prints

def progress(cases, name):
    """Each of the cases, announced with its name() and the time left."""
    cases, began = list(cases), time.monotonic()
    for done, case in enumerate(cases):
        left = ""
        if done:
            seconds = (time.monotonic() - began) / done * (len(cases) - done)
            left = f", {seconds:.0f} s left"
        note(f"[{done + 1}/{len(cases)}] {name(case)}{left}")
        yield case


def spread(values, form):
    """'median (least-most)', each in that form."""
    return (f"{statistics.median(values):{form}} "
            f"({min(values):{form}}-{max(values):{form}})")


def write_csv(path, names, rows):
    """Names of columns and rows, if there is a path to write them to."""
    if path:
        with path.open("w", newline="", encoding="utf-8") as file:
            out = csv.writer(file)
            out.writerow(names)
            out.writerows(rows)


def comment(text):
    """Lines of TAP that are no result."""
    for line in str(text).splitlines():
        print(f"# {line}", flush=True)


def verdict(right, number, title):
    """The line of TAP that a case ends with."""
    print(f"{'ok' if right else 'not ok'} {number} {title}", flush=True)


def not_run(output):
    """What a TAP program that ended well has announced and not run, or None.

    One that ends amid its cases can do so with status 0.  Before a line of its
    own may be half of one of QEMU's, which may have any number, too: a plan
    has nothing behind it, and cases are numbered one after the other.
    """
    plan = re.search(r"^1\.\.(\d+) *(#.*)?$", output, re.M) or \
        re.search(r"\b1\.\.(\d+)$", output, re.M)
    if not plan:
        return "it has no plan: it ended too early"
    first = 1
    for number in re.findall(r"\bok (\d+)(?= |$)", output, re.M):
        first += int(number) == first
    left = int(plan[1]) + 1 - first
    return f"{left} of {plan[1]} cases were not run, {first} is the first" \
        if left > 0 else None


def tap_trouble(output):
    """Why a TAP program that ended with status 0 has not passed, or None."""
    if re.search(r"^1\.\.0 *# *SKIP", output, re.M | re.I):
        return None
    bad = re.search(r"^not ok .*", output, re.M)
    if bad:
        return bad.group()
    if not re.search(r"^ok \d", output, re.M):
        return "it ran no test"
    return not_run(output)


def tap(cases, go_on=True):
    """Run pairs of function and title, print TAP.  Returns: the exit status

    With go_on false nothing is run after a case that failed.
    """
    print(f"1..{len(cases)}", flush=True)
    status = 0
    for number, (func, title) in enumerate(cases, 1):
        try:
            func()
        except Skip as why:
            title += f" # SKIP {why}"
        except Exception as err:  # pylint: disable=broad-except
            if not isinstance(err, FAILURES) and not of_qemu(err):
                raise
            comment(err)
            verdict(False, number, title)
            status = 1
            if go_on:
                continue
            break
        verdict(True, number, title)
    return status


def test_methods(checks):
    """Cases for tap(): the methods test_..., as they are written."""
    return [(getattr(checks, name), func.__doc__)
            for name, func in vars(type(checks)).items()
            if name.startswith("test_")]
