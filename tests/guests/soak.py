#!/usr/bin/python3
"""Soak a build: everything happens to one Linux guest, over and over.

All the time the guest writes its memory and checks it (memwriter.c), takes in
numbered frames and answers with numbered frames (netreader.c), and draws
(screenwriter.c).  For two thirds of the time each round takes a snapshot, lets
the guest go on and puts it back, plugs in a device, migrates to a new QEMU,
through a socket or a file, compares all RAM and the screens, ends the old QEMU
and unplugs the device.  Then the last QEMU stays, and the same happens to it
but for migrations.  Where there is KVM, which the Linux guest does without, a
second guest resets and writes its memory and screen under it (ramwriter.S),
and migrates in each round as well.

What a QEMU has for itself must not grow: its anonymous memory, where guest RAM
is not part of it because it is shared, without the buffer of translated code.
It is taken at the same point of each round.  The medians of the first and of
the last third are compared, of the QEMUs that were migrated to, and again of
the one that stays.  The first fifth of each is for warming up.  An assertion,
an error or a sanitizer's report in what a QEMU says, or an exit status that
is not zero, ends the soak.  Output is TAP, the plan comes last.

Exit status: 0 all went right, 1 something did not, 2 wrong use.
"""
import contextlib
import copy
import os
import pathlib
import random
import re
import signal
import statistics
import sys
import tempfile
import time

import frames

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "ci"))
# pylint: disable=wrong-import-position
from exercise import Options, finish, qcow2  # noqa: E402
from migrate_guest import Guest, hop  # noqa: E402
from lib.tool import (  # noqa: E402
    Parser, Wrong, binary, comment, kvm_usable, no_guest, no_qemu, run_main,
    verdict, wait_until, within)

EXAMPLES = """examples:
  tests/guests/soak.py                    the patched build, an hour
  tests/guests/soak.py --quick            ten minutes
  tests/guests/soak.py --quick --variant pristine
  ci/build.sh --variant asan && tests/guests/soak.py --quick --variant asan
"""
TROUBLE = re.compile(r"[Aa]ssert|ERROR:|Sanitizer|runtime error")
MOVING = 2 / 3          # of the time; then one QEMU stays
WARM_UP = 1 / 5         # of what was measured
ROUNDS = 5              # at least, of each kind
GROWTH = 2              # per cent that are none
RAM = "192M"
MACHINE = ["-object", f"memory-backend-memfd,id=ram,size={RAM},share=on",
           "-machine", "memory-backend=ram",
           # An id that is a property of the device would abort QEMU.
           "-device", "pcie-root-port,id=root0,chassis=1",
           "-netdev", "hubport,id=spare,hubid=0"]
PLUGGED = [{"driver": "virtio-net-pci", "netdev": "spare", "romfile": ""},
           {"driver": "virtio-balloon-pci"}]
# What is freed is kept for a while, which must be full before it's measured.
# GLib's frames take the slow way to unwind.
SANITIZERS = {"ASAN_OPTIONS": "quarantine_size_mb=16:malloc_context_size=12:"
                              "fast_unwind_on_malloc=0",
              "UBSAN_OPTIONS": "print_stacktrace=1"}


def own_memory(guest):
    """KiB of anonymous memory without translated code."""
    path = pathlib.Path("/proc", str(guest.vm.get_pid()), "smaps")
    total, counts = 0, False
    for line in path.read_text(encoding="utf-8").splitlines():
        words = line.split()
        if not words[0].endswith(":"):      # a mapping begins
            counts = "x" not in words[1]
        elif counts and words[0] == "Anonymous:":
            total += int(words[1])
    return total


def flat(what, samples):
    """Compare thirds.  Returns: (whether it is flat, how to say it)"""
    samples = samples[int(len(samples) * WARM_UP):]
    third = len(samples) // 3
    title = f"memory of {what} is flat"
    first, last = (statistics.median(part) / 1024
                   for part in (samples[:third], samples[-third:]))
    growth = 100 * (last - first) / first
    return growth <= GROWTH, (
        f"{title}: {first:.2f} -> {last:.2f} MiB, {growth:+.2f} %, measured "
        f"{len(samples)} times")


def end(guest):
    """A QEMU quits, and must have had nothing to complain about."""
    guest.vm.shutdown(timeout=120)
    status, said = guest.vm.exitcode(), guest.vm.get_log() or ""
    if status or TROUBLE.search(said):
        raise Wrong(f"a QEMU ended with {status} and said what is below")


def plug(guest, device):
    """A device comes."""
    guest.vm.cmd("device_add", id="guest", bus="root0", **device)


def wait_driver(guest, timeout=60):
    """Until the guest uses the device that came."""
    path = "/machine/peripheral/guest/virtio-backend"
    wait_until(lambda: "DRIVER_OK" in str(guest.vm.cmd(
        "x-query-virtio-status", path=path)["status"]), timeout,
               "the guest does not use the device that was plugged", 0.1)


def unplug(guest):
    """It goes, when the guest lets go of it."""
    guest.vm.cmd("device_del", id="guest")
    if not guest.vm.event_wait("DEVICE_DELETED", 60,
                               {"data": {"device": "guest"}}):
        raise Wrong("the guest does not let go of the device")


class Chain:
    """A guest, and the QEMU that it is in now."""

    def __init__(self, variant, tmp, opts):
        self.variant, self.tmp, self.opts = variant, tmp, opts
        self.number = 0
        self.guest, self.guests = None, []

    def start(self):
        """The first QEMU."""
        self.guest = self.add()
        self.guest.wait_passes(2, 300)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for guest in self.guests:
            guest.vm.shutdown(hard=True)

    def add(self, *extra):
        """The next QEMU."""
        opts = copy.copy(self.opts)
        opts.extra = [*opts.extra, *extra]
        guest = Guest(self.variant, self.tmp, opts, self.number)
        self.number += 1
        self.guests = [*self.guests, guest]
        return guest

    def move(self, target):
        """The guest is in that one; the other one is done with."""
        source, self.guest = self.guest, target
        end(source)
        self.guests.remove(source)

    def last_words(self):
        """What the QEMUs that there are said."""
        for guest in self.guests:
            running = guest.vm.is_running()
            guest.vm.shutdown(hard=True)
            yield (f"QEMU {guest.variant}, "
                   + ("running" if running else f"{guest.vm.exitcode()}")
                   + f": {guest.vm.get_log() or 'said nothing'}")


class LinuxChain(Chain):
    """The guest to which everything happens."""

    def __init__(self, variant, tmp, feeder, seed):
        self.random = random.Random(seed)
        opts = Options(*MACHINE, "-drive",
                       qcow2(variant, f"{tmp}/disk.qcow2"))
        opts.mem, opts.working_set, opts.passes = RAM, 16, 2
        opts.display, opts.feeder = True, feeder
        super().__init__(variant, tmp, opts)

    def pause(self):
        """Some time in which nothing else happens but what the guest does."""
        time.sleep(self.random.uniform(0, 1))

    def go_on(self):
        """The guest writes, receives, sends and draws."""
        feeder = self.opts.feeder
        screen = self.guest.screen(self.tmp)
        # Where the VM was stopped a reply may be missing, and not after that.
        problem = feeder.check(feeder.acked, 120)
        missing = feeder.missing
        self.guest.wait_passes(self.guest.passes() + 1, 120)
        problem = problem or feeder.check(feeder.acked, 120)
        if problem:
            raise Wrong(problem)
        if feeder.missing != missing:
            raise Wrong(f"{feeder.missing - missing} replies are missing")
        wait_until(lambda: self.guest.screen(self.tmp) != screen, 60,
                   "the guest does not draw", 0.1)

    def snapshot(self):
        """savevm, let the guest go on, put it back."""
        guest, feeder = self.guest, self.opts.feeder
        acked = feeder.acked
        said = guest.monitor("savevm soak")
        self.go_on()
        guest.vm.cmd("stop")
        said += guest.monitor("loadvm soak")
        feeder.rewind(acked)
        guest.vm.cmd("cont")
        self.go_on()
        said += guest.monitor("delvm soak")
        if said.strip():
            raise Wrong(said.strip())

    def hotplug(self, between):
        """A device comes and goes, from another QEMU if between moves it."""
        device = self.random.choice(PLUGGED)
        plug(self.guest, device)
        wait_driver(self.guest)
        between(device)
        self.pause()
        unplug(self.guest)

    def hop(self, device):
        """To a new QEMU, every second time through a file."""
        image = pathlib.Path(self.tmp, "image")
        by_file = self.number % 2
        target = self.add("-incoming", "defer") if by_file else self.add()
        plug(target, device)
        if by_file:
            target.uri = f"file:{image}"
        self.opts.bandwidth = self.random.randint(100, 400)
        hop(self.guest, target, self.tmp, self.opts)
        image.unlink(missing_ok=True)
        self.move(target)

    def round(self, moves):
        """All of it once.  Returns: what QEMU has for itself then"""
        self.pause()
        self.snapshot()
        self.hotplug(self.hop if moves else lambda device: self.pause())
        self.go_on()
        return own_memory(self.guest)


class KvmChain(Chain):
    """A guest that needs KVM's and the firmware's exits; it's paused between
    rounds, as it would take all that the other one leaves."""

    def __init__(self, variant, tmp):
        opts = Options()
        opts.guest, opts.accel, opts.mem = "ramwriter", "kvm", "96M"
        super().__init__(variant, tmp, opts)

    def start(self):
        """As it waits."""
        super().start()
        self.guest.vm.cmd("stop")

    def round(self, moves):
        """Firmware, a boot sector that writes, a hop."""
        self.guest.vm.cmd("system_reset")
        self.guest.vm.cmd("cont")
        self.guest.wait_passes(self.guest.passes() + 2, 120)
        if moves:
            target = self.add()
            finish(self.guest, target, self.tmp, self.opts)
            self.move(target)
        self.guest.vm.cmd("stop")


def folder(stack):
    """A temporary one."""
    return stack.enter_context(tempfile.TemporaryDirectory())


class Soak:
    """Rounds until the time is over; each is a case."""

    def __init__(self, opts):
        self.opts, self.chains = opts, []
        self.begun = time.monotonic()
        self.case = 0
        self.samples = {"QEMUs migrated to": [], "a QEMU that stays": []}

    def minutes(self):
        """How many of them are over."""
        return (time.monotonic() - self.begun) / 60

    def say(self, right, what):
        """A case."""
        self.case += 1
        verdict(right, self.case, what)
        return right

    def rounds(self, until, moves):
        """Rounds until that many minutes are over, some at least."""
        what = list(self.samples)[not moves]
        while True:
            linux, *others = self.chains
            memory = linux.round(moves)
            for chain in others:
                chain.round(moves)
            self.samples[what].append(memory)
            now = self.minutes()
            self.say(True, f"{'hop' if moves else 'stay'} "
                     f"{len(self.samples[what])}: {memory / 1024:.2f} MiB, "
                     f"{max(0, self.opts.minutes - now):.1f} of "
                     f"{self.opts.minutes:g} minutes left")
            if now >= until and len(self.samples[what]) >= ROUNDS:
                return

    def start(self, stack):
        """The guests, which are there before anything can go wrong."""
        opts = self.opts
        feeder = stack.enter_context(frames.Feeder(
            folder(stack), 1 if opts.variant in ("patched", "asan")
            else frames.FEW))
        self.chains.append(stack.enter_context(
            LinuxChain(opts.variant, feeder.tmp, feeder, opts.seed)))
        if kvm_usable():
            self.chains.append(stack.enter_context(
                KvmChain(opts.variant, folder(stack))))
        else:
            comment("no usable /dev/kvm: without the guest that needs it")
        for chain in self.chains:
            chain.start()

    def run(self, stack):
        """All of it.  Returns: the exit status"""
        try:
            self.start(stack)
            self.rounds(self.opts.minutes * MOVING, True)
            self.rounds(self.opts.minutes, False)
            for chain in self.chains:
                end(chain.guest)
            self.say(True, "every QEMU ended as it should")
            results = [self.say(*flat(what, samples))
                       for what, samples in self.samples.items()]
        except Exception as err:  # pylint: disable=broad-except
            words = [f"{type(err).__name__}: {err}"]
            words += [text for chain in self.chains
                      for text in chain.last_words()]
            comment("\n".join(words))
            results = [self.say(False, f"after {self.minutes():.1f} minutes, "
                                f"seed {self.opts.seed}")]
        print(f"1..{self.case}", flush=True)
        return 0 if all(results) else 1


def parse_args():
    """The command line."""
    parser = Parser(EXAMPLES, __doc__)
    parser.add_argument("--variant", default="patched",
                        help="the build (default: patched)")
    parser.add_argument("--minutes", type=within(1, 1000000, float),
                        default=60, metavar="M",
                        help="how long (default: 60)")
    parser.add_argument("--quick", dest="minutes", action="store_const",
                        const=10.0, help="ten minutes")
    parser.add_argument("--seed", type=int, metavar="N",
                        default=random.randrange(1 << 16),
                        help="of devices, pauses and bandwidths (default: "
                             "another one each time)")
    opts = parser.parse_args()
    parser.refuse(no_qemu(binary(opts.variant)), no_guest("modules"))
    return opts


def main():
    """Soak."""
    opts = parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    for name, value in SANITIZERS.items():
        os.environ.setdefault(name, value)
    comment(f"{opts.variant}, {opts.minutes:g} minutes, seed {opts.seed}")
    with contextlib.ExitStack() as stack:
        return Soak(opts).run(stack)


if __name__ == "__main__":
    run_main(main)
