#!/usr/bin/python3
"""Boot SeaBIOS to its end with the given qemu-system-x86_64.

Passes when SeaBIOS says on its debug port that there is nothing to boot from,
which is the last thing it does.  Uses KVM where /dev/kvm works, else TCG.

Exit status: 0 booted, 1 it did not, 2 wrong use.
"""
import pathlib
import subprocess
import tempfile
import time

from lib.tool import Parser, die, kvm_usable, no_qemu, note, run_main, within

LAST_WORDS = b"No bootable device."
EXAMPLES = """examples:
  ci/boot.py build/patched/qemu-system-x86_64
  ci/boot.py --accel tcg build/pristine/qemu-system-x86_64
"""


def boot(binary, accel, timeout):
    """None if SeaBIOS came to its end, else why not."""
    with tempfile.TemporaryDirectory() as tmp:
        log = pathlib.Path(tmp, "debugcon")
        log.touch()
        cmd = [binary, "-accel", accel, "-machine", "pc", "-m", "64",
               "-display", "none", "-nodefaults", "-vga", "std",
               "-chardev", f"file,id=dbg,path={log}",
               "-device", "isa-debugcon,iobase=0x402,chardev=dbg"]
        with subprocess.Popen(cmd, stderr=subprocess.PIPE,
                              stdin=subprocess.DEVNULL) as qemu:
            try:
                end = time.monotonic() + timeout
                while time.monotonic() < end:
                    if LAST_WORDS in log.read_bytes():
                        return None
                    if qemu.poll() is not None:
                        why = qemu.stderr.read().decode(errors="replace")
                        return f"QEMU ended: {why.strip() or qemu.returncode}"
                    time.sleep(0.05)
            finally:
                qemu.kill()
        tail = log.read_bytes()[-200:].decode(errors="replace")
        return f"no end of SeaBIOS in {timeout} s, its last output: {tail!r}"


def main():
    """Boot and say how it went."""
    parser = Parser(EXAMPLES, __doc__)
    parser.add_argument("qemu", help="the qemu-system-x86_64 to boot")
    parser.add_argument("--accel", choices=("kvm", "tcg"),
                        help="default: kvm where it works")
    parser.add_argument("--timeout", type=within(1), default=600, metavar="S",
                        help="seconds (default: 600)")
    opts = parser.parse_args()
    parser.refuse(no_qemu(opts.qemu))
    accel = opts.accel or ("kvm" if kvm_usable() else "tcg")
    began = time.monotonic()
    why = boot(opts.qemu, accel, opts.timeout)
    if why and not opts.accel and "KVM" in why:
        note(f"{why}; using TCG")
        accel = "tcg"
        why = boot(opts.qemu, accel, opts.timeout)
    if why:
        die(f"{opts.qemu} ({accel}): {why}")
    note(f"SeaBIOS came to its end in {time.monotonic() - began:.1f} s "
         f"({accel})")
    return 0


if __name__ == "__main__":
    run_main(main)
