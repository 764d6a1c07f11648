#!/usr/bin/python3
"""What QEMU does with KVM's dirty logs, dirty rings and memory slots.

A shim between QEMU and KVM (kvmshim.c) checks that KVM_CLEAR_DIRTY_LOG only
names pages that KVM_GET_DIRTY_LOG has reported since logging began, also where
logging has begun before and was stopped by a cancelled migration or at the
end of a measurement of the dirty rate, or where the dirty rate is measured at
the same time, and also on a KVM without KVM_DIRTY_LOG_INITIALLY_SET, as it is
on x86 before Linux 5.7 and elsewhere.
A guest (slowwriter.S) dirties a page each millisecond meanwhile, and its RAM
has to be the same on both sides of the migration.

It checks, too, that the log is cleared before PAGEMAP_SCAN looks for memory
that nobody has touched.

The same with KVM's dirty ring: no log is read or cleared then, and what a ring
has of a slot must not be lost when the slot goes.

Between the last look at the log of a slot and its removal the shim waits, for
the guest to store to it; and it has KVM reset nothing of a ring where a signal
or task work of io_uring could be pending, or one entry too few.  Packets come
while rings are reset, as such work; and a guest (fastwriter) stores so fast
that a ring may overflow.

With few memory slots, a DIMM is refused or accepted; QEMU must not end.
Output is TAP.

Exit status: 0 all right, 1 something was not, 2 wrong use.
"""
import contextlib
import fcntl
import functools
import itertools
import pathlib
import re
import socket
import struct
import sys
import tempfile
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "ci"))
# pylint: disable=wrong-import-position
from lib.series import BUILD  # noqa: E402
from lib.tool import (  # noqa: E402
    PATIENCE, RING, Parser, Skip, Wrong, binary, comment, machine,
    no_address_bits, no_dirty_ring, no_guest, no_kvm, no_qemu, run_main,
    small_pages, tap, wait_until)

EXAMPLES = """examples:
  tests/guests/kvmlog.py                      the patched build
  tests/guests/kvmlog.py --variant pristine   stock QEMU
  tests/guests/kvmlog.py --only cancel
"""
MIB = 1 << 20
GIB = 1 << 30
# x-clear-bitmap-shift: chunks of 64 pages, so that many are cleared
CHUNK_SHIFT = 6
RAM = 96
# RAM below 4 GiB: the rest's slot begins with no chunk, but a page behind
ODD_LOW = 32 * MIB + 4096
# What a relay lets through at a time: less than 256 pages
STEP = 64 << 10
# With 38, QEMU refuses 256 GiB beside what else there is.
ADDRESS_BITS = 39
# A migration takes five when nothing is dirty for ever
MOST_ROUNDS = 20
# Memory that a guest doesn't have: many times what it has
UNPLUGGED = 1 * GIB
# Entries of a ring that is full before somebody comes by
SMALL_RING = 1024


class Shimmed:
    """A QEMU with the shim below it, and what the shim reports."""

    def __init__(self, stack, variant, tmp, name, args, accel="kvm", **env):
        # pylint: disable=too-many-arguments
        self.out = pathlib.Path(tmp, f"{name}.shim")
        # What another case left there
        self.out.unlink(missing_ok=True)
        self.serial = pathlib.Path(tmp, f"{name}.serial")
        wrapper = ["env", f"LD_PRELOAD={BUILD / 'guests/kvmshim.so'}",
                   f"KVMSHIM_OUT={self.out}",
                   *(f"{key}={value}" for key, value in env.items())]
        self.vm = machine(binary(variant), [
            "-accel", accel, "-cpu", "qemu64,kvmclock=off", "-nodefaults",
            "-display", "none", *args], base_temp_dir=tmp, wrapper=wrapper)
        self.vm.launch()
        stack.callback(functools.partial(self.vm.shutdown, hard=True))

    def report(self, pattern):
        """What the shim reported so far."""
        return re.findall(pattern, self.out.read_text(encoding="utf-8"), re.M)

    def status(self, query="query-migrate"):
        """The status of a migration, or of what is asked for."""
        return self.vm.cmd(query).get("status")

    def wait_status(self, wanted, query="query-migrate"):
        """Until it is that."""
        wait_until(lambda: self.status(query) == wanted, PATIENCE,
                   lambda: f"{query}: {self.vm.cmd(query)}")


class Relay:
    """Between a source and a target, or nobody: no byte of a migration goes on
    but those that it is told to let through.

    So a source that has more to send than a socket takes stays in its round,
    however slow or fast the host is, and whether its guest runs or not.
    """

    def __init__(self, stack, source, path, target=None):
        self.source, self.path, self.target = source, f"{path}.relay", target
        self.allowed, self.changed = 0, threading.Condition()
        self.listener = socket.socket(socket.AF_UNIX)
        pathlib.Path(self.path).unlink(missing_ok=True)
        self.listener.bind(self.path)
        self.listener.listen(1)
        threading.Thread(target=self.run, daemon=True).start()
        stack.callback(self.listener.close)

    def start(self):
        """The migration begins."""
        self.source.vm.cmd("migrate-set-parameters", max_bandwidth=15000000,
                           downtime_limit=1)
        self.source.vm.cmd("migrate", uri=f"unix:{self.path}")

    def let(self, octets):
        """So many more go on."""
        with self.changed:
            self.allowed += octets
            self.changed.notify()

    def next_round(self):
        """The next round begins, of 256 pages or more, and stays."""
        wanted = syncs(self.source) + 1
        # Longer than that, as it may have been in a round's sync
        for _ in range(2):
            wait_writes(self.source, 1)

        def begun():
            if syncs(self.source) >= wanted:
                return True
            with self.changed:
                gone = self.changed.wait_for(lambda: not self.allowed, 0.05)
            if gone:
                self.let(STEP)
            return False

        wait_until(begun, PATIENCE, lambda: f"round {wanted} does not begin: "
                   f"{self.source.vm.cmd('query-migrate')}", 0)

    def run(self):
        """The thread."""
        with contextlib.suppress(OSError), self.listener.accept()[0] as source:
            target = socket.socket(socket.AF_UNIX)
            if self.target:
                target.connect(self.target)
            while True:
                with self.changed:
                    self.changed.wait_for(lambda: self.allowed)
                    most = min(self.allowed, STEP)
                data = source.recv(most)
                if not data:
                    break
                if self.target:
                    target.sendall(data)
                with self.changed:
                    self.allowed -= len(data)
                    self.changed.notify()
            target.close()


def writer(stack, variant, tmp, name, *args, guest="slowwriter", **env):
    """A QEMU with slowwriter, or fastwriter."""
    qemu = Shimmed(stack, variant, tmp, name, [
        "-machine", "pc-i440fx-10.2", "-m", f"{RAM}M",
        "-global", f"migration.x-clear-bitmap-shift={CHUNK_SHIFT}",
        "-chardev", f"file,id=serial,path={tmp}/{name}.serial",
        "-serial", "chardev:serial", "-snapshot", "-drive",
        f"file={BUILD / 'guests' / guest},if=ide,format=raw", *args],
                   **env)
    return qemu


def monitor(qemu, line):
    """A command of the human monitor.  Returns: the number that it says"""
    said = qemu.vm.cmd("human-monitor-command", command_line=line)
    value = re.search(r"= (0x[0-9a-f]+)\s*$", said)
    if said and not value:
        raise Wrong(f"{line}: {said}")
    return int(value.group(1), 16) if value else None


def wait_writes(qemu, turns, most=PATIENCE):
    """Until it has stored so often (times 256)."""
    want = len(qemu.serial.read_bytes()) + turns
    wait_until(lambda: len(qemu.serial.read_bytes()) >= want, most,
               "the guest does not store")


def cancel(source):
    """A migration that had some rounds, cancelled."""
    with contextlib.ExitStack() as stack:
        relay = Relay(stack, source, source.serial)
        relay.start()
        wait_first(source)
        relay.next_round()
        source.vm.cmd("migrate_cancel")
        source.wait_status("cancelled")


def dirty_rate(source):
    """A measurement of the dirty rate by bitmap."""
    for _ in range(20):
        stores = -256 * len(source.serial.read_bytes())
        source.vm.cmd("calc-dirty-rate", calc_time=1, mode="dirty-bitmap")
        source.wait_status("measured", "query-dirty-rate")
        answer = source.vm.cmd("query-dirty-rate")
        stores += 256 * len(source.serial.read_bytes())
        if answer["dirty-rate"]:
            return
        # It's in whole MiB/s, and a busy host may not let the guest store as
        # many pages.  If it did, they have to be found.
        if stores >= 1024:
            raise Wrong(f"{stores} stores, and a dirty rate of 0: {answer}")
    raise Wrong(f"the guest hardly stores: {answer}")


def measure(source):
    """A measurement that goes on for longer than a migration, mostly."""
    source.vm.cmd("calc-dirty-rate", calc_time=60, mode="dirty-bitmap")
    wait_until(lambda: source.status("query-dirty-rate") == "measuring",
               PATIENCE, "no measurement begins")


def limit(source):
    """A limit that the guest doesn't reach, for which rings are emptied."""
    source.vm.cmd("set-vcpu-dirty-limit", dirty_rate=1000)


def measured_amid(source, relay):
    """A measurement that begins and ends while a migration logs, and syncs and
    clears the same logs.
    """
    # All was sent once, and this round stays
    relay.next_round()
    relay.next_round()
    dirty_rate(source)
    relay.next_round()


def nothing(*_):
    """Nothing comes before the migration, or in the middle of it."""


def rounds(source):
    """How many a migration has had, or has begun."""
    return source.vm.cmd("query-migrate").get("ram", {}).get(
        "dirty-sync-count", 0)


def syncs(source):
    """The same of a migration that goes on."""
    if source.status() in ("completed", "failed"):
        raise Wrong("the migration ended before its middle was over: "
                    f"{source.vm.cmd('query-migrate')}")
    return rounds(source)


def wait_first(source):
    """Until a migration has begun."""
    wait_until(lambda: syncs(source) >= 1, PATIENCE, "no first round")


def set_shadow(source, value):
    """RAM from 768 KiB to 1 MiB becomes RAM like that next to it, or not.

    Slots are made anew for that, the large one, too.
    """
    for register in range(0x59, 0x60):
        for command in (
                f"o /w 0xcf8 {0x80000000 | register & ~3:#x}",
                f"o /b {0xcfc + (register & 3):#x} {value:#x}"):
            monitor(source, command)


def shadow(source, relay):
    """Slots are made anew while they log."""
    # All was sent once, and what was written meanwhile is sent
    relay.next_round()
    relay.next_round()
    for value in (0x33, 0x11, 0x33):
        set_shadow(source, value)
        relay.next_round()


def removed(source, relay, still):
    """The large slot goes with what the guest wrote since the last sync.

    Of a guest that stands still from then on no page is sent because it was
    written once more.
    """
    # All was sent once, and this round stays
    relay.next_round()
    relay.next_round()
    before = syncs(source)
    wait_writes(source, 4)
    if still:
        source.vm.cmd("stop")
    gone = removals(source)
    for value in (0x33, 0x11):
        set_shadow(source, value)
    if removals(source) == gone:
        raise Wrong("no large slot was removed")
    if syncs(source) != before:
        raise Wrong("there was a sync before the slot was removed")


def bar_off(source, relay):
    """The frame buffer goes from the guest's memory, while it is stored to.

    What was stored to it last is shown for good.  The shim waits before it
    lets the slot go, and nothing may be stored meanwhile: it would be in no
    log.
    """
    relay.next_round()
    relay.next_round()
    before = len(source.report(r"^late (\d+) of (\d+)"))
    monitor(source, f"o /w 0xcf8 {0x80001004:#x}")
    monitor(source, "o /h 0xcfc 1")
    late = [(int(changed), int(pages)) for changed, pages
            in source.report(r"^late (\d+) of (\d+)")[before:]]
    if not any(pages >= 256 for _, pages in late):
        raise Wrong(f"the frame buffer's slot was not removed: {late}")
    if any(changed for changed, _ in late):
        raise Wrong(f"{late}: pages were stored to behind the last look at "
                    "their log")


def not_restarted(source):
    """The slots whose logs have not begun anew behind a short reset."""
    on, restarted = {}, {}
    is_short = False
    for slot, pages, log in source.report(
            r"^(?:region (\w+) pages (\d+) log (\d)|short)$"):
        if not slot:
            is_short = True
        elif not is_short:
            on[slot] = log == "1" and pages != "0"
        else:
            restarted.setdefault(slot, []).append(log)
    if not any(on.values()):
        raise Wrong("nothing was logged")
    return [slot for slot in on if on[slot]
            and restarted.get(slot, [])[:2] != ["0", "1"]]


def short_reset(source, relay):
    """KVM resets less of a ring than was collected.

    It doesn't say of which pages it will not notice stores then.  So each log
    begins anew, and all is sent once more.
    """
    # All was sent once, and this round stays
    relay.next_round()
    relay.next_round()
    pathlib.Path(f"{source.serial}.short").touch()
    wait_until(lambda: source.report(r"^short$"), PATIENCE, "no short reset")
    wait_until(lambda: not not_restarted(source), PATIENCE / 5,
               lambda: f"logs of slots {not_restarted(source)} go on")
    ram = source.vm.cmd("query-migrate")["ram"]
    before = ram["normal"] + ram["duplicate"]
    relay.let(1 << 40)
    pages = RAM * MIB // 4096

    def sent_again():
        answer = source.vm.cmd("query-migrate")
        sent = answer["ram"]["normal"] + answer["ram"]["duplicate"]
        if sent < before + pages and answer["status"] == "completed":
            raise Wrong(f"{sent - before} pages were sent behind the reset")
        return sent >= before + pages

    wait_until(sent_again, PATIENCE / 5, "not all is sent once more")


def unplugged(variant, tmp):
    """Memory of virtio-mem that the guest doesn't have is not migrated.

    A reset that ends early doesn't make it dirty, but all that there is.
    """
    def amid(source, relay):
        short_reset(source, relay)
        # All that was dirty was sent then, or is if there are no more rounds
        now = rounds(source)
        wait_until(lambda: rounds(source) > now + 1
                   or source.status() == "completed", PATIENCE,
                   "no next round")
        ram = source.vm.cmd("query-migrate")["ram"]
        sent = ram["normal"] + ram["duplicate"]
        comment(f"{sent} pages were sent")
        if sent >= UNPLUGGED // 4096:
            raise Wrong(f"{sent} pages were sent of {RAM} MiB")
        return True

    migrate_after(variant, tmp, nothing, ring=RING, amid=amid, devices=[
        "-m", "maxmem=4G", "-object",
        f"memory-backend-ram,id=unplugged,size={UNPLUGGED}", "-device",
        "virtio-mem-pci,memdev=unplugged,requested-size=0"])


def free_port():
    """A port for datagrams that nobody has."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_port:
        any_port.bind(("127.0.0.1", 0))
        return any_port.getsockname()[1]


def flood(stack, port):
    """Packets to a local port, some thousand a second."""
    sender = stack.enter_context(socket.socket(socket.AF_INET,
                                               socket.SOCK_DGRAM))
    end = threading.Event()

    def run():
        while not end.wait(0.0002):
            with contextlib.suppress(OSError):
                sender.sendto(bytes(60), ("127.0.0.1", port))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    stack.callback(thread.join)
    stack.callback(end.set)


def busy_ring(variant, tmp):
    """Rings are reset in the main thread, for a display, while packets come.

    By Linux 6.17 and later that's when KVM may end a reset early.
    """
    if no_dirty_ring():
        raise Skip(no_dirty_ring())
    with contextlib.ExitStack() as stack:
        port = free_port()
        qemu = writer(
            stack, variant, tmp, "source", "-vga", "std", "-netdev",
            "dgram,id=n,local.type=inet,local.host=127.0.0.1,"
            f"local.port={port},remote.type=inet,remote.host=127.0.0.1,"
            f"remote.port={port}", guest="fastwriter",
            accel=f"kvm,dirty-ring-size={RING}")
        wait_writes(qemu, 2)
        flood(stack, port)
        for _ in range(500):
            picture(qemu, tmp)


def full_ring(variant, tmp, guest):
    """A guest that stores to many pages before it leaves the guest.

    Where KVM emulates it, a small ring is full to its last entry at times.
    """
    if no_dirty_ring():
        raise Skip(no_dirty_ring())
    with contextlib.ExitStack() as stack:
        source, target = (
            writer(stack, variant, tmp, name, "-vga", "std", *args,
                   guest=guest,
                   accel=f"kvm,dirty-ring-size={SMALL_RING}")
            for name, args in (("source", ()), ("target", (
                "-S", "-incoming", f"unix:{tmp}/migrate"))))
        wait_writes(source, 2)
        # So slow that it has no end; behind an overflow, too, the guest runs.
        source.vm.cmd("migrate-set-parameters", max_bandwidth=4000000,
                      downtime_limit=1)
        source.vm.cmd("migrate", uri=f"unix:{tmp}/migrate")
        wait_first(source)
        wait_writes(source, 2, PATIENCE / 5)
        # Some rounds, which have an end if the guest is slow
        source.vm.cmd("migrate-set-parameters", max_bandwidth=60000000)
        wait_until(lambda: rounds(source) >= 3
                   or source.status() == "completed", PATIENCE / 5,
                   "no third round")
        source.vm.cmd("stop")
        source.vm.cmd("migrate-set-parameters", max_bandwidth=1 << 30,
                      downtime_limit=2000)
        source.wait_status("completed")
        target.wait_status("completed")
        wrong = different(memory(source, tmp, RAM * MIB),
                          memory(target, tmp, RAM * MIB))
        screens = picture(source, tmp) == picture(target, tmp)
        source.vm.shutdown()
        if wrong or not screens:
            raise Wrong(f"{len(wrong)} pages differ on the target, screens "
                        f"are {'' if screens else 'not '}the same")
        if "may have lost" not in (source.vm.get_log() or ""):
            raise Skip("no ring overflowed, as on most KVMs")


def removals(source):
    """How often a slot of half of the guest's RAM or more was removed."""
    pages = {}
    count = 0
    for slot, size in source.report(r"^region (\w+) pages (\d+) "):
        count += int(size) == 0 and pages.get(slot, 0) >= RAM * MIB // 8192
        pages[slot] = int(size)
    return count


def show(source, is_on):
    """VMware's SVGA logs its memory for a display, or ends to."""
    monitor(source, f"o /w 0xcf8 {0x80001010:#x}")
    port = monitor(source, "i /w 0xcfc") & ~15
    # SVGA_REG_ENABLE 0 begins, SVGA_REG_CONFIG_DONE 1 ends it
    monitor(source, f"o /w {port:#x} {1 if is_on else 20}")
    monitor(source, f"o /w {port + 1:#x} {0 if is_on else 1}")


def logs(source):
    """How often a slot's log has begun or ended."""
    states = {}
    changes = 0
    for slot, on in source.report(r"^region (\w+) pages [1-9]\d* log (\d)"):
        changes += states.get(slot, on) != on
        states[slot] = on
    return changes


def on_and_off(source):
    """A display is switched off and on, and looked at in between."""
    before = logs(source)
    # The device counts how often it was told to begin, also by the BIOS
    for _ in range(64):
        if logs(source) > before:
            break
        show(source, False)
    show(source, True)
    before = logs(source)
    with tempfile.TemporaryDirectory() as tmp:
        for _ in range(5):
            picture(source, tmp)
            show(source, False)
            wait_writes(source, 1)
            show(source, True)
            wait_writes(source, 1)
    if logs(source) < before + 10:
        raise Wrong(f"the display's log did not end: {logs(source) - before} "
                    "times did a log begin or end")
    cancel(source)
    show(source, False)
    show(source, True)


def on_and_off_amid(source, _):
    """Likewise while a migration logs, in its first round."""
    with tempfile.TemporaryDirectory() as tmp:
        for _ in range(3):
            picture(source, tmp)
            show(source, False)
            wait_writes(source, 1)
            show(source, True)
            wait_writes(source, 1)


def picture(qemu, tmp):
    """What a display shows; looking clears the frame buffer's log."""
    path = pathlib.Path(tmp, "screen.ppm")
    qemu.vm.cmd("screendump", filename=str(path))
    return path.read_bytes()


def memory(qemu, tmp, size):
    """RAM, without the first MiB, in which firmware and devices write."""
    path = pathlib.Path(tmp, "ram")
    qemu.vm.cmd("pmemsave", val=MIB, size=size - MIB, filename=str(path))
    return path.read_bytes()


def different(one, other):
    """Pages that are not the same."""
    return [i for i in range(0, len(one), 4096)
            if one[i:i + 4096] != other[i:i + 4096]]


def check_calls(source, ring):
    """What the shim has counted: logs, or a ring, were used, and not amiss."""
    sums = source.report(
        r"^sum gets (\d+) clears (\d+) cleared (\d+) reset (\d+)")
    if not sums:
        raise Wrong("the shim did not report")
    gets, clears, cleared, reset = map(int, sums[-1])
    comment(f"{gets} gets, {clears} clears, {cleared} pages cleared, {reset} "
            "taken from rings")
    if ring and (not reset or gets or clears):
        raise Wrong("it was not only rings that pages were taken from")
    if not ring and (not clears or reset):
        raise Wrong("no log was cleared")


def migrate_after(variant, tmp, before, hide=False, display=False,
                  low=RAM * MIB, amid=nothing, vga="std", ring=0, devices=(),
                  guest="slowwriter", **env):
    """Something that starts and stops logging, then a migration."""
    # pylint: disable=too-many-arguments
    if ring and no_dirty_ring():
        raise Skip(no_dirty_ring())
    odd = ["-machine", f"max-ram-below-4g={low}"] if low < RAM * MIB else []
    odd += ["-vga", vga, *devices]
    with contextlib.ExitStack() as stack:
        source = writer(stack, variant, tmp, "source", *odd, guest=guest,
                        accel=f"kvm,dirty-ring-size={ring}" if ring else "kvm",
                        KVMSHIM_HIDE="1" if hide else "",
                        KVMSHIM_SHORT=f"{tmp}/source.serial.short", **env)
        wait_writes(source, 2)
        before(source)
        target = writer(stack, variant, tmp, "target", *odd, "-S",
                        "-incoming", f"unix:{tmp}/migrate")
        relay = Relay(stack, source, f"{tmp}/migrate", f"{tmp}/migrate")
        relay.start()
        wait_first(source)
        # True: the migration may have ended in it
        may_have_ended = amid(source, relay)
        most = (rounds if may_have_ended else syncs)(source) + MOST_ROUNDS
        source.vm.cmd("migrate-set-parameters", downtime_limit=20)
        relay.let(1 << 40)
        shots = itertools.count()

        def ended():
            if display:
                picture(source, tmp)
                next(shots)
            if source.status() in ("completed", "failed"):
                return True
            # Pages whose log is never cleared are dirty for ever
            if rounds(source) > most:
                raise Wrong(f"no end after {MOST_ROUNDS} rounds")
            return False

        wait_until(ended, PATIENCE, "the migration does not end", 0.01)
        source.wait_status("completed")
        target.wait_status("completed")
        wrong = different(memory(source, tmp, low), memory(target, tmp, low))
        screens = picture(source, tmp) == picture(target, tmp)
        source.vm.shutdown()
        bad = source.report(r"^BAD .*")
        comment(f"{next(shots)} screendumps")
        if bad:
            comment("\n".join(bad[-3:]))
            raise Wrong(f"{len(bad)} times was a page cleared that no GET had "
                        f"reported; {len(wrong)} pages differ on the target")
        if wrong or not screens:
            raise Wrong(f"{len(wrong)} pages differ on the target, screens "
                        f"are {'' if screens else 'not '}the same")
        check_calls(source, ring)


def first_round(variant, tmp):
    """No log is read before all was sent once: nothing is to be learned."""
    with contextlib.ExitStack() as stack:
        source = writer(stack, variant, tmp, "source", KVMSHIM_HIDE="")
        wait_writes(source, 2)
        Relay(stack, source, f"{tmp}/migrate").start()
        wait_until(lambda: source.vm.cmd("query-migrate").get("ram", {})
                   .get("normal"), PATIENCE, "no page is sent")
        source.vm.cmd("stop")
        begun = syncs(source)
        source.vm.cmd("migrate_cancel")
        source.wait_status("cancelled")
        source.vm.shutdown()
        sums = source.report(r"^sum gets (\d+) clears (\d+)")
        if not any(int(clears) for _, clears in sums):
            raise Wrong(f"the shim did not report: {sums}")
        gets = sum(int(of_one) for of_one, _ in sums)
        comment(f"{begun} syncs, logs were read {gets} times")
        if begun != 1:
            raise Wrong("all was sent already")
        if gets:
            raise Wrong("logs were read for the first sync")


def need_scan():
    """For a look that the shim sees, and a log that begins with all pages, or
    raises Skip."""
    with open("/dev/kvm", "r+b", buffering=0) as kvm:
        # KVM_CHECK_EXTENSION of KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2
        if not fcntl.ioctl(kvm, 0xae03, 168) & 2:
            raise Skip("this KVM has no KVM_DIRTY_LOG_INITIALLY_SET")
    try:
        with open("/proc/self/pagemap", "rb", buffering=0) as pagemap:
            # PAGEMAP_SCAN of no page
            fcntl.ioctl(pagemap, 0xc0606610, struct.pack("12Q", 96, *[0] * 11))
    except OSError as err:
        raise Skip(f"no PAGEMAP_SCAN: {err.strerror}") from err


def untouched_memory(variant, tmp):
    """A log is cleared before the look for what nobody has touched.

    The order is the same whether the guest runs or not.  One that was never
    started has nothing to be sent in the last stage, in which no log is
    cleared.
    """
    need_scan()
    with contextlib.ExitStack() as stack:
        source = writer(stack, variant, tmp, "source", "-S", KVMSHIM_HIDE="")
        # So the last stage waits until all was sent, however slow this host is
        source.vm.cmd("migrate-set-parameters", downtime_limit=0)
        source.vm.cmd("migrate", uri=f"file:{tmp}/untouched")
        source.wait_status("completed")
        source.vm.shutdown()
        sums = source.report(r"^sum .* clears (\d+) .* scanned (\d+)")
        early = source.report(r"^EARLY .*")
        if not sums:
            raise Wrong("the shim did not report")
        clears, scanned = map(int, sums[-1])
        comment(f"{clears} clears, {scanned} pages scanned that are logged")
        if early:
            comment("\n".join(early[-3:]))
            raise Wrong(f"{len(early)} times was memory scanned whose log was "
                        "cleared later or never")
        # The first window has 64 MiB
        if not clears or scanned < RAM * MIB // 8192:
            raise Wrong("nothing was cleared, or little was scanned")


def need_bits():
    """For guests of 256 GiB, or raises Skip."""
    if no_address_bits(ADDRESS_BITS):
        raise Skip(no_address_bits(ADDRESS_BITS))


def of_size(stack, variant, tmp, size, **env):
    """A QEMU of so many GiB of which nothing was ever touched."""
    need_bits()
    with small_pages():
        return Shimmed(stack, variant, tmp, f"size-{size}", [
            "-machine", "pc-i440fx-10.2,memory-backend=m", "-m", f"{size}G",
            # Not anonymous: what firmware touches is not counted
            "-object", f"memory-backend-memfd,id=m,size={size}G,reserve=off",
            "-cpu", "qemu64,kvmclock=off,host-phys-bits=on", "-vga", "none",
            "-S"], **env)


def anonymous(qemu):
    """Its anonymous memory that is there, in bytes."""
    path = pathlib.Path(f"/proc/{qemu.vm.get_pid()}/smaps_rollup")
    return int(re.search(r"^Anonymous: +(\d+)",
                         path.read_text(encoding="ascii"),
                         re.M).group(1)) * 1024


def logging_memory(variant, tmp):
    """Anonymous memory that is left of a log of a large guest."""
    size = 256
    with contextlib.ExitStack() as stack:
        # What is large goes back to the system when it's freed
        source = of_size(stack, variant, tmp, size,
                         MALLOC_MMAP_THRESHOLD_=1048576)
        before = anonymous(source)
        source.vm.cmd("calc-dirty-rate", calc_time=1, mode="dirty-bitmap")
        source.wait_status("measured", "query-dirty-rate")
        # Only when the VM goes on does the log end
        source.vm.cmd("cont")
        source.vm.cmd("stop")
        left = anonymous(source) - before
        comment(f"{left / MIB:.1f} MiB more after a log of {size} GiB, whose "
                f"bitmap has {size // 32} MiB")
        if left > size * MIB // 64:
            raise Wrong("a slot's bitmap is kept when its log ends")


def map_memory(variant, tmp):
    """Anonymous memory that a guest takes for being large."""
    size = 256
    with contextlib.ExitStack() as stack:
        small, large = (anonymous(of_size(stack, variant, tmp, gib))
                        for gib in (1, 1 + size))
        comment(f"{(large - small) / MIB:.1f} MiB more for {size} GiB more, a "
                f"bitmap of which has {size // 32} MiB")
        if large - small > size * MIB // 16:
            raise Wrong("there are dirty maps of clients that don't log")


def dimm(variant, tmp, slots):
    """Plug a DIMM of 256 GiB.  Returns: whether it was refused"""
    need_bits()
    with contextlib.ExitStack() as stack:
        qemu = Shimmed(stack, variant, tmp, f"dimm-{slots}", [
            "-machine", "pc-i440fx-10.2", "-m", "1G,slots=4,maxmem=300G",
            "-cpu", "qemu64,kvmclock=off,host-phys-bits=on", "-S"],
                       KVMSHIM_SLOTS=slots)
        qemu.vm.cmd("object-add", qom_type="memory-backend-ram", id="m",
                    size=256 * GIB, reserve=False)
        answer = qemu.vm.qmp("device_add", driver="pc-dimm", id="d",
                             memdev="m")
        # It may end a little later
        qemu.vm.cmd("query-status")
        used = len(set(qemu.report(r"^region (\w+) pages [1-9]")))
        comment(f"{slots} slots, {used} used: {answer}")
        return "error" in answer


def few_slots(variant, tmp):
    """A DIMM takes one slot: there is a number of them with which it just is
    not refused any more, and QEMU ends with none."""
    refused = []
    for slots in range(5, 13):
        try:
            refused.append(dimm(variant, tmp, slots))
        except Skip:
            raise
        except Exception as err:  # pylint: disable=broad-except
            raise Wrong(f"with {slots} slots: {err}") from err
    if refused != sorted(refused, reverse=True) or len(set(refused)) != 2:
        raise Wrong(f"refused: {refused}")


def cases():
    """Name: (function of variant and tmp, title)."""
    table = {}
    for name, before, display in (("nothing", nothing, False),
                                  ("cancel", cancel, False),
                                  ("rate", dirty_rate, False),
                                  ("display", cancel, True)):
        for hide in (True, False):
            title = f"migrate after {name}, " \
                f"{'no ' if hide else ''}INITIALLY_SET"
            table[name + ("-hidden" if hide else "")] = (
                functools.partial(migrate_after, before=before, hide=hide,
                                  display=display), title)
    for hide in (True, False):
        table["shadow" + ("-hidden" if hide else "")] = (
            functools.partial(migrate_after, before=nothing, hide=hide,
                              amid=shadow),
            "migrate while slots are made anew, "
            f"{'no ' if hide else ''}INITIALLY_SET")
    for name, before, amid, title in (
            ("measured", nothing, measured_amid,
             "amid which a dirty rate is measured"),
            ("measuring", measure, nothing,
             "while a dirty rate is being measured")):
        for hide in (True, False):
            table[name + ("-hidden" if hide else "")] = (
                functools.partial(migrate_after, before=before, hide=hide,
                                  amid=amid),
                f"migrate {title}, {'no ' if hide else ''}INITIALLY_SET")
    for hide in (True, False):
        table["switched" + ("-hidden" if hide else "")] = (
            functools.partial(migrate_after, before=on_and_off, hide=hide,
                              amid=on_and_off_amid, vga="vmware"),
            "migrate with a display that is switched off and on, "
            f"{'no ' if hide else ''}INITIALLY_SET")
    # With INITIALLY_SET, all of the slot that takes its place is sent
    gone = functools.partial(removed, still=True)
    table["removed-hidden"] = (
        functools.partial(migrate_after, before=nothing, hide=True, amid=gone),
        "migrate while a slot goes, no INITIALLY_SET")
    for name, title, before, amid, vga in (
            ("cancel", "after cancel", cancel, nothing, "std"),
            ("removed", "while a slot goes", nothing, gone, "std"),
            ("shadow", "while slots are made anew", nothing,
             functools.partial(removed, still=False), "std"),
            ("switched", "with a display that is switched off and on",
             on_and_off, on_and_off_amid, "vmware"),
            ("limited", "while a dirty rate is limited", limit, nothing,
             "std")):
        table[f"{name}-ring"] = (
            functools.partial(migrate_after, before=before, amid=amid, vga=vga,
                              ring=RING), f"migrate {title}, dirty ring")
    table["early-ring"] = (
        functools.partial(migrate_after, before=nothing, ring=SMALL_RING,
                          KVMSHIM_EARLY="1"),
        "migrate where signals and io_uring end a reset, dirty ring")
    table["short-ring"] = (
        functools.partial(migrate_after, before=nothing, ring=RING,
                          amid=short_reset),
        "migrate while a reset ends early, dirty ring")
    table["unplugged-ring"] = (
        unplugged,
        "migrate with unplugged memory while a reset ends early, dirty ring")
    table["busy-ring"] = (busy_ring,
                          "screendumps while packets come, dirty ring")
    for name, guest in (("full", "fastwriter"), ("very-full", "repwriter")):
        table[f"{name}-ring"] = (
            functools.partial(full_ring, guest=guest),
            f"migrate a guest that fills a small dirty ring, {guest}")
    for name, guest, title, devices in (
            ("bar", "slowwriter", "the guest stores", ()),
            ("bar-pair", "pairwriter", "two vCPUs store", ("-smp", "2"))):
        for ring in (0, RING):
            table[name + ("-ring" if ring else "")] = (
                functools.partial(migrate_after, before=nothing, amid=bar_off,
                                  ring=ring, guest=guest, devices=devices,
                                  KVMSHIM_LATE="50000"),
                f"migrate while a slot goes that {title} to"
                + (", dirty ring" if ring else ""))
    table["first"] = first_round, "no log is read for the first round"
    table["untouched"] = (untouched_memory,
                          "a log is cleared before untouched memory is looked "
                          "for")
    table["odd-slot"] = (
        functools.partial(migrate_after, before=nothing, hide=False,
                          low=ODD_LOW),
        "migrate with a slot that begins a page behind a chunk")
    table["memory"] = logging_memory, "a slot's bitmap goes with its log"
    table["maps"] = map_memory, "no dirty map for who doesn't log"
    table["slots"] = few_slots, "a DIMM and few slots"
    return table


def main():
    """Some or all of them."""
    table = cases()
    parser = Parser(EXAMPLES, __doc__)
    parser.add_argument("--variant", default="patched",
                        help="(default: patched)")
    parser.add_argument("--only", action="append", choices=table,
                        help="only this case, can be repeated")
    opts = parser.parse_args()
    parser.refuse(no_kvm(), no_qemu(binary(opts.variant)),
                  no_guest("kvmshim.so"), no_guest("slowwriter"),
                  no_guest("fastwriter"), no_guest("repwriter"),
                  no_guest("pairwriter"))
    with tempfile.TemporaryDirectory() as tmp:
        return tap([(functools.partial(table[name][0], opts.variant, tmp),
                     f"{table[name][1]}, {opts.variant}")
                    for name in opts.only or table])


if __name__ == "__main__":
    run_main(main)
