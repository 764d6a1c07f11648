#!/usr/bin/python3
"""A QEMU that ends in the midst of a migration, or while it's asked for it.

The VM must not run again.  The destination takes what it is sent, and never
answers: so the source stays in the status "device", with its VM stopped.  When
it is told to quit it cancels the migration, whose thread comes to its end when
all that the VM needs is gone.  A shim (exitshim.c) keeps the process for as
long.

And a query-migrate that QEMU runs on its way out, after a migration, must have
its answer.  A command, pmemsave, keeps the main loop from its next turn until
there's all that this has to do: another monitor is told to quit, and the
command behind pmemsave is taken from its queue, to be run by the turn after
it, which doesn't come.  Output is TAP.

Exit status: 0 all right, 1 something was not, 2 wrong use.
"""
import contextlib
import json
import os
import pathlib
import socket
import sys
import tempfile
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "ci"))
# pylint: disable=wrong-import-position
from lib.series import BUILD  # noqa: E402
from lib.tool import (  # noqa: E402
    PATIENCE, Parser, Skip, Wrong, binary, machine, run_main, tap, wait_until)

EXAMPLES = """examples:
  tests/guests/quit_migrating.py                      the patched build
  tests/guests/quit_migrating.py --variant pristine   stock QEMU: both fail
"""
SHIM = BUILD / "guests/exitshim.so"


def swallow(listener):
    """The destination: a thread."""
    with contextlib.suppress(OSError), listener.accept()[0] as source:
        while source.recv(1 << 16):
            pass


def arguments():
    """A VM without a guest."""
    return ["-machine", "pc", "-accel", "qtest", "-m", "16", "-nodefaults",
            "-display", "none"]


def check_stopped(qemu):
    """Quit in the status "device"."""
    if not SHIM.is_file():
        raise Skip("no build/guests/exitshim.so: run tests/guests/make.sh")
    with tempfile.TemporaryDirectory() as tmp, \
            socket.socket(socket.AF_UNIX) as listener:
        trace = pathlib.Path(tmp, "trace")
        listener.bind(f"{tmp}/migrate")
        listener.listen(1)
        threading.Thread(target=swallow, args=(listener,), daemon=True).start()
        vm = machine(qemu, [
            *arguments(), "-name", "debug-threads=on",
            "-trace", "runstate_set", "-D", str(trace)], base_temp_dir=tmp,
                     wrapper=["env", f"LD_PRELOAD={SHIM}"])
        vm.launch()
        try:
            vm.cmd("migrate-set-capabilities", capabilities=[
                {"capability": "return-path", "state": True}])
            vm.cmd("migrate", uri=f"unix:{tmp}/migrate")
            wait_until(
                lambda: vm.cmd("query-migrate").get("status") == "device",
                PATIENCE, lambda: f"query-migrate: {vm.cmd('query-migrate')}")
            vm.cmd("quit")
            # AbnormalShutdown, which names the signal, if it crashes
            vm.wait(PATIENCE)
        finally:
            vm.shutdown(hard=True)
        said = trace.read_text(encoding="utf-8")
    stopped = said.partition("(finish-migrate)\n")
    if not stopped[1]:
        raise Wrong(f"the VM was not stopped: {said!r}")
    if "(running)\n" in stopped[2]:
        raise Wrong("the VM runs again when QEMU has ended: "
                    f"{stopped[2].strip()}")


def send(monitor, name, how="execute", **args):
    """A command whose answer isn't waited for.

    monitor is a socket, and a file of what comes from there.
    """
    monitor[0].sendall(json.dumps({how: name, "arguments": args,
                                   "id": name}).encode() + b"\n")


def answer(monitor):
    """The next answer, or None at the end; events are passed over."""
    for line in monitor[1]:
        said = json.loads(line)
        if "event" not in said and "QMP" not in said:
            return said
    return None


def type_quit(sock):
    """All but the end of the line, of which a turn of the main loop takes one
    character.  It's echoed, with what moves the cursor.
    """
    for char in b"quit":
        sock.sendall(bytes([char]))
        while sock.recv(1)[0] != char:
            pass


def check_answered(qemu):
    """Quit with a query-migrate that waits for its turn."""
    with tempfile.TemporaryDirectory() as tmp, \
            socket.socket(socket.AF_UNIX) as sock, \
            socket.socket(socket.AF_UNIX) as human:
        fifo = f"{tmp}/fifo"
        os.mkfifo(fifo)
        # Its own monitor, as commands are sent ahead
        vm = machine(qemu, [
            *arguments(), "-qmp", f"unix:{tmp}/qmp,server=on,wait=off",
            "-monitor", f"unix:{tmp}/hmp,server=on,wait=off"],
                     base_temp_dir=tmp)
        vm.launch()
        try:
            vm.cmd("migrate", uri="exec:cat >/dev/null")
            wait_until(
                lambda: vm.cmd("query-migrate").get("status") == "completed",
                PATIENCE, lambda: f"query-migrate: {vm.cmd('query-migrate')}")
            human.connect(f"{tmp}/hmp")
            while not human.recv(1 << 16).endswith(b"(qemu) "):
                pass
            type_quit(human)
            sock.connect(f"{tmp}/qmp")
            monitor = sock, sock.makefile(encoding="utf-8")
            send(monitor, "qmp_capabilities", enable=["oob"])
            answer(monitor)
            # More than a FIFO takes
            send(monitor, "pmemsave", val=0, size=1 << 20, filename=fifo)
            send(monitor, "query-migrate")
            # Executed at once; when it has an answer the others are in line
            send(monitor, "yank", "exec-oob", instances=[])
            said = answer(monitor)
            if said["id"] != "yank":
                raise Wrong(f"pmemsave does not wait: {said}")
            with open(fifo, "rb", buffering=0) as reader:
                # So the main loop is in pmemsave
                reader.read(1)
                human.sendall(b"\n")
            said = answer(monitor)
            if not said or said["id"] != "pmemsave":
                raise Wrong(f"no answer to pmemsave but {said}")
            said = answer(monitor)
            vm.wait(PATIENCE)
            if not said or said.get("return", {}).get("status") != "completed":
                raise Wrong(f"no answer to query-migrate but {said}")
        finally:
            vm.shutdown(hard=True)


CASES = {
    "stopped": (check_stopped,
                "a VM that quits in the status device stays stopped"),
    "answered": (check_answered,
                 "query-migrate has an answer when QEMU ends")}


def main():
    """End a QEMU that migrates."""
    parser = Parser(EXAMPLES, __doc__)
    parser.add_argument("--variant", default="patched", metavar="NAME",
                        help="a folder below build with a QEMU, or a path of "
                             "one (default: patched)")
    parser.add_argument("--only", choices=CASES, help="only this one")
    opts = parser.parse_args()
    qemu = binary(opts.variant)
    return tap([((lambda func=func: func(qemu)), title)
                for name, (func, title) in CASES.items()
                if opts.only in (None, name)])


if __name__ == "__main__":
    run_main(main)
