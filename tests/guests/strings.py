#!/usr/bin/python3
"""REP MOVS and REP STOS in a Linux guest under TCG.

The guest's only program is tests/tcg/x86_64/rep-string.c of QEMU's tree, which
compares them with loops, lets them fault, and lets them copy over code.  It is
run here first, as this CPU knows best.  With several vCPUs QEMU does fewer
elements at once.  Output is TAP.

Exit status: 0 all went right, 1 something did not, 2 wrong use.
"""
import functools
import pathlib
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "ci"))
# pylint: disable=wrong-import-position
from lib.series import BUILD  # noqa: E402
from lib.tool import (  # noqa: E402
    PATIENCE, Parser, Skip, Wrong, binary, command, machine, no_guest,
    no_program, no_qemu, run_main, tap, wait_until)

EXAMPLES = """examples:
  tests/guests/strings.py                      the patched build
  tests/guests/strings.py --variant pristine   the same with stock QEMU
"""
SOURCE = BUILD / "src/tests/tcg/x86_64/rep-string.c"


def boot(variant, tmp, *args):
    """Run it as the guest's first process, which says ok at its end."""
    serial = pathlib.Path(tmp, "serial")
    serial.unlink(missing_ok=True)

    def said():
        return serial.read_text(errors="replace") if serial.exists() else ""

    vm = machine(binary(variant), base_temp_dir=tmp,
                 args=["-accel", "tcg", "-m", "256", "-nodefaults",
                       "-display", "none", *args,
                       "-chardev", f"file,id=serial,path={serial}",
                       "-serial", "chardev:serial",
                       "-kernel", str(BUILD / "guests/vmlinuz"),
                       "-initrd", str(pathlib.Path(tmp, "initramfs")),
                       "-append", "console=ttyS0 quiet no_timer_check"])
    vm.launch()
    try:
        # The kernel panics without its first process.
        wait_until(lambda: "panic" in said() or not vm.is_running(), PATIENCE,
                   lambda: f"the guest says {said()[-300:]!r}")
    finally:
        vm.shutdown(hard=True)
    if "\nok" not in said().replace("\r", ""):
        raise Wrong(f"the guest says {said()[:400]!r}")


def here(tmp):
    """Run it on this CPU."""
    if command([pathlib.Path(tmp, "root/init")]).strip() != "ok":
        raise Wrong("it doesn't say ok")


def make(tmp):
    """The program and the initramfs."""
    root = pathlib.Path(tmp, "root")
    root.mkdir()
    command(["cc", "-O1", "-static", "-o", root / "init", SOURCE])
    with pathlib.Path(tmp, "initramfs").open("wb") as out:
        subprocess.run("find . | cpio -o -H newc --quiet", shell=True,
                       check=True, cwd=root, stdout=out)


def main():
    """Parse the command line, run the cases."""
    parser = Parser(EXAMPLES, __doc__)
    parser.add_argument("--variant", default="patched",
                        help="build to run (default: patched)")
    opts = parser.parse_args()
    parser.refuse(no_guest("vmlinuz"), no_qemu(binary(opts.variant)),
                  no_program("cpio"))
    if not SOURCE.exists() or not shutil.which("cc"):
        raise Skip("no program to run")
    with tempfile.TemporaryDirectory() as tmp:
        make(tmp)
        run = functools.partial(boot, opts.variant, tmp)
        return tap([
            (lambda: here(tmp), "on this CPU"),
            (lambda: run("-cpu", "max"), "-cpu max"),
            (lambda: run("-cpu", "qemu64"), "-cpu qemu64, without ERMS"),
            (lambda: run("-cpu", "max", "-smp", "2"), "two vCPUs")])


if __name__ == "__main__":
    run_main(main)
