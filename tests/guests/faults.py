#!/usr/bin/python3
"""What goes wrong during a migration, and the guest that is unharmed by it.

In each case a Linux guest that checks all memory that it wrote (memwriter.c)
is migrated, something is broken on the way, and then the guest has to go on at
the source, and a second migration has to bring it to another QEMU with all of
its RAM.  Output is TAP.

Exit status: 0 all went right, 1 something did not, 2 wrong use.
"""
import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "ci"))
# pylint: disable=wrong-import-position
from exercise import Options, finish, main, qcow2  # noqa: E402
from migrate_guest import Guest  # noqa: E402
from lib.tool import (  # noqa: E402
    PATIENCE, Skip, Wrong, command, run_main, wait_until)

EXAMPLES = """examples:
  tests/guests/faults.py                      the patched build
  tests/guests/faults.py --variant pristine   the same with stock QEMU
  tests/guests/faults.py --only channel-cut
"""
# A guest has more than 64 MiB to send that aren't zero.
SLOW = 4 << 20


def start_migration(source, uri):
    """Slowly, so that there is time to break it; it's under way then."""
    source.vm.cmd("migrate-set-parameters", max_bandwidth=SLOW,
                  downtime_limit=1)
    source.vm.cmd("migrate", uri=uri)
    wait_until(lambda: source.status().get("ram", {}).get("transferred", 0)
               >= 2 * SLOW, PATIENCE, "the migration does not begin")


def wait_broken(source, wanted="failed", timeout=PATIENCE):
    """Until the source knows, and its guest runs."""
    def status():
        return source.status()["status"]

    wait_until(lambda: status() == wanted, timeout,
               lambda: f"the migration is {status()}, not {wanted}")
    if not source.vm.cmd("query-status")["running"]:
        raise Wrong("the guest does not run any more")


def migrate_again(variant, tmp, source, *extra):
    """To a QEMU that works."""
    source.wait_passes(source.passes() + 2)
    opts = Options(*extra)
    with Guest(variant, tmp, opts, 2) as target:
        finish(source, target, tmp, opts)


def target_killed(variant, tmp):
    """the target is killed"""
    with Guest(variant, tmp, Options(), 0) as source:
        source.wait_passes(2)
        with Guest(variant, tmp, Options(), 1) as target:
            start_migration(source, f"unix:{target.socket}")
            os.kill(target.vm.get_pid(), signal.SIGKILL)
            wait_broken(source)
        migrate_again(variant, tmp, source)


class Relay:
    """Between source and target: what it is given, until it's cut."""

    def __init__(self, path, target):
        # pylint: disable=consider-using-with
        self.process = subprocess.Popen(
            ["socat", f"UNIX-LISTEN:{path}", f"UNIX-CONNECT:{target}"])
        wait_until(lambda: os.path.exists(path), PATIENCE,
                   "socat does not listen")

    def cut(self):
        """The connection breaks."""
        self.process.kill()
        self.process.wait()


def channel_cut(variant, tmp):
    """the connection breaks"""
    with Guest(variant, tmp, Options(), 0) as source:
        source.wait_passes(2)
        with Guest(variant, tmp, Options(), 1) as target:
            relay = Relay(f"{tmp}/relay", target.socket)
            try:
                start_migration(source, f"unix:{tmp}/relay")
            finally:
                relay.cut()
            wait_broken(source)
        migrate_again(variant, tmp, source)


def cancelled(variant, tmp):
    """the migration is cancelled, several times"""
    with Guest(variant, tmp, Options(), 0) as source:
        source.wait_passes(2)
        for _ in range(5):
            start_migration(source, "exec:cat >/dev/null")
            source.vm.cmd("migrate_cancel")
            wait_broken(source, "cancelled")
            source.wait_passes(source.passes() + 1)
        migrate_again(variant, tmp, source)


def wants(*args):
    """A program that root may use, but not in each container."""
    try:
        command(args)
    except Wrong as err:
        raise Skip(str(err)) from err


@contextlib.contextmanager
def small_disk(tmp, size):
    """A file system that is soon full."""
    path = pathlib.Path(tmp, "small")
    path.mkdir()
    wants("mount", "-t", "tmpfs", "-o", f"size={size}", "thrift", path)
    try:
        yield path
    finally:
        command(["umount", path])


def disk_full(variant, tmp):
    """the disk is full, for a migration to a file and for savevm"""
    if os.geteuid():
        raise Skip("it takes root")
    with small_disk(tmp, "24m") as small:
        drive = qcow2(variant, small / "disk.qcow2")
        with Guest(variant, tmp, Options("-drive", drive), 0) as source:
            source.wait_passes(2)
            source.vm.cmd("migrate", uri=f"file:{small}/snapshot")
            wait_broken(source)
            (small / "snapshot").unlink()
            said = source.monitor("savevm one")
            if "rror" not in said:
                raise Wrong(f"savevm to a full disk says {said!r}")
            if not source.vm.cmd("query-status")["running"]:
                raise Wrong("the guest does not run after savevm")
            # The same machine at the other end; nothing is written there.
            migrate_again(variant, tmp, source, "-drive",
                          f"{drive},file.locking=off")


def tap_removed(variant, tmp):
    """a tap device that the guest uses is deleted"""
    if os.geteuid() or not os.path.exists("/dev/net/tun"):
        raise Skip("it takes root and /dev/net/tun")
    name = f"thrift{os.getpid()}"
    wants("ip", "tuntap", "add", name, "mode", "tap")
    device = ["-device", "virtio-net-pci,netdev=net,romfile="]
    with contextlib.ExitStack() as stack:
        stack.callback(subprocess.run, ["ip", "link", "delete", name],
                       check=False, stderr=subprocess.DEVNULL)
        command(["ip", "link", "set", name, "up"])
        source = stack.enter_context(Guest(variant, tmp, Options(
            "-netdev", f"tap,id=net,ifname={name},vnet_hdr=off,script=no,"
            "downscript=no",
            *device), 0))
        source.wait_passes(2)
        command(["ip", "link", "delete", name])
        migrate_again(variant, tmp, source, "-netdev", "user,id=net", *device)


def stopped(variant, tmp):
    """both QEMUs are stopped and continued by signals, again and again"""
    with Guest(variant, tmp, Options(), 0) as source, \
            Guest(variant, tmp, Options(), 1) as target:
        source.wait_passes(2)
        pids = [guest.vm.get_pid() for guest in (source, target)]
        done = threading.Event()

        def signals():
            while not done.wait(0.1):
                for pid in pids:
                    os.kill(pid, signal.SIGSTOP)
                    time.sleep(0.15)
                    os.kill(pid, signal.SIGCONT)

        thread = threading.Thread(target=signals)
        thread.start()
        try:
            finish(source, target, tmp, Options())
        finally:
            done.set()
            thread.join()


CASES = {func.__name__.replace("_", "-"): func for func in
         (target_killed, channel_cut, cancelled, disk_full, tap_removed,
         stopped)}


if __name__ == "__main__":
    run_main(lambda: main(CASES, __doc__, EXAMPLES))
