#!/usr/bin/python3
"""Let a Linux guest receive from iperf3, pristine and patched side by side.

The guest (Debian's cloud kernel and iperf3) runs under TCG with one vCPU and
virtio-net on a tap device or, the variants user-*, on -netdev user, all in a
network namespace of their own.  The host sends as fast as the guest takes it:
TCP, whose frames have up to 64 KiB, or UDP datagrams of one size.  Printed are
what the guest has received, and the CPU time of QEMU's main thread, which
receives the packets: TCG has a thread of its own, which is never idle here.
With TCP, that of all threads is printed as well: it has what the guest does.

Variants alternate, each run is a QEMU of its own.  Times of two machines do
not compare; the columns of one run do.

Exit status: 0 measured, 1 a guest failed, 2 wrong use.
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "ci"))
# pylint: disable=wrong-import-position
from lib.series import BUILD, ROOT  # noqa: E402
from lib.tool import (  # noqa: E402
    Parser, Wrong, binary, command, machine, no_guest, no_program, no_qemu,
    progress, run_main, spread, wait_until, within, write_csv)

EXAMPLES = """examples:
  tests/bench/guest_net.py
  tests/bench/guest_net.py --load udp --size 1400 --runs 9 --csv out.csv
  tests/bench/guest_net.py --variant pristine --variant direct --load tcp
  tests/bench/guest_net.py --load tcp --variant user-pristine \\
      --variant user-patched --variant user-65520 --count
"""
# Build, the device's properties, user networking's options if it's not a tap.
VARIANTS = {"pristine": ("pristine", "", None),
            "patched": ("patched", "", None),
            "copied": ("patched", ",rx-direct=off", None),
            "direct": ("patched", ",rx-direct=on", None),
            "user-pristine": ("pristine", "", ""),
            "user-patched": ("patched", "", ""),
            "user-65520": ("patched", "", ",mtu=65520"),
            "user-65520-sums": ("patched", ",guest_csum=off", ",mtu=65520")}
TAP = "tap,id=n,ifname=thrift0,script=no,downscript=no,vhost=off"
USER = ("user,id=n,ipv6=off,net=10.77.0.0/24,host=10.77.0.1,"
        "hostfwd=tcp:127.0.0.1:5201-10.77.0.2:5201,"
        "hostfwd=udp:127.0.0.1:5201-10.77.0.2:5201")
HOST, GUEST, MAC = "10.77.0.1", "10.77.0.2", "52:54:00:12:34:56"
INSIDE = "THRIFT_GUEST_NET_INSIDE"


def parse_args():
    """The command line."""
    parser = Parser(EXAMPLES, __doc__)
    parser.add_argument("--load", action="append", choices=("tcp", "udp"),
                        help="only this one (default: both)")
    parser.add_argument("--size", type=within(16, 1472), default=64,
                        help="of UDP datagrams, bytes (default: 64)")
    parser.add_argument("--variant", action="append", choices=VARIANTS,
                        metavar="VARIANT",
                        help="can be repeated (default: pristine and patched; "
                             "copied and direct: patched, rx-direct=off, on; "
                             "user-pristine, user-patched, and user-65520: "
                             "patched, mtu=65520; user-65520-sums: the guest "
                             "verifies checksums)")
    parser.add_argument("--seconds", type=within(1), default=5,
                        help="of each run (default: 5)")
    parser.add_argument("--count", action="store_true",
                        help="count how often the guest is notified; it "
                             "makes each notification slower")
    parser.add_runs()
    opts = parser.parse_args()
    opts.load = opts.load or ["tcp", "udp"]
    opts.variant = opts.variant or ["pristine", "patched"]
    parser.refuse(no_program("iperf3"), no_program("ip", "iproute2"),
                  no_program("cpio"))
    if os.geteuid() or not os.path.exists("/dev/net/tun"):
        parser.error("it takes root, and /dev/net/tun")
    parser.refuse(no_guest("vmlinuz"), *(no_qemu(binary(VARIANTS[variant][0]))
                                         for variant in opts.variant))
    return opts


def enter_namespace():
    """Start again where there is no other network."""
    if INSIDE not in os.environ:
        os.environ[INSIDE] = "1"
        os.execvp("unshare", ["unshare", "-n", sys.executable, *sys.argv])
    for line in ("link set lo up",
                 "tuntap add dev thrift0 mode tap vnet_hdr",
                 f"addr add {HOST}/24 dev thrift0", "link set thrift0 up"):
        command(["ip", *line.split()])


def make_initramfs(tmp):
    """The guest's, with iperf3 and what that is linked with."""
    root = pathlib.Path(tmp, "root")
    shutil.copytree(BUILD / "guests/root", root, symlinks=True)
    program = shutil.which("iperf3")
    libraries = [word for word in command(["ldd", program]).split()
                 if word.startswith("/")]
    for name in [program, *libraries]:
        target = root / name.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(name, target)
    shutil.copy(ROOT / "tests/guests/init-net", root)
    path = pathlib.Path(tmp, "initramfs")
    with path.open("wb") as out:
        subprocess.run("find . | cpio -o -H newc --quiet", shell=True,
                       check=True, cwd=root, stdout=out)
    return path


def cpu_seconds(pid):
    """Of the process's main thread, and of the process, so far."""
    stats = (pathlib.Path(f"/proc/{path}/stat").read_text(encoding="ascii")
             for path in (f"{pid}/task/{pid}", pid))
    times = (stat.rsplit(")", 1)[1].split()[11:13] for stat in stats)
    return [(int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
            for user, system in times]


def lines(path):
    """Of a file, which may not be there."""
    if not path.exists():
        return 0
    with path.open("rb") as file:
        return sum(1 for _ in file)


def wait_ready(vm, serial, timeout=120):
    """Until the guest's iperf3 listens."""
    def said():
        return serial.read_text(errors="replace") if serial.exists() else ""

    def ready():
        text = said()
        if "BAD" in text or "panic" in text or not vm.is_running():
            raise Wrong(f"the guest says {text[-300:]!r}")
        return "Server listening" in text

    wait_until(ready, timeout, lambda: "the guest isn't ready, but says "
               f"{said()[-300:]!r}", 0.1)


def measure(load, variant, initramfs, opts):
    """(bytes, packets, lost packets, CPU seconds of the main thread, seconds,
    CPU seconds of all threads, notifications)
    """
    build, properties, user = VARIANTS[variant]
    netdev = TAP if user is None else USER + user
    with tempfile.TemporaryDirectory() as tmp:
        serial = pathlib.Path(tmp, "serial")
        log = pathlib.Path(tmp, "log")
        vm = machine(
            binary(build), base_temp_dir=tmp,
            args=["-machine", "q35", "-accel", "tcg", "-cpu", "max",
                  "-m", "512", "-display", "none", "-nodefaults",
                  *(["-trace", "virtio_notify", "-D", str(log)]
                    if opts.count else []),
                  "-netdev", netdev,
                  "-device", f"virtio-net-pci,netdev=n,mac={MAC}"
                             f"{properties}",
                  "-chardev", f"file,id=serial,path={serial}",
                  "-serial", "chardev:serial",
                  "-kernel", str(BUILD / "guests/vmlinuz"),
                  "-initrd", str(initramfs),
                  "-append", "console=ttyS0 quiet panic=-1 net.ifnames=0 "
                             "no_timer_check ipv6.disable=1 "
                             "rdinit=/init-net"])
        vm.launch()
        try:
            wait_ready(vm, serial)
            # What was asked while the last guest went away is unanswered.
            command(["ip", "neigh", "replace", GUEST, "lladdr", MAC, "dev",
                     "thrift0", "nud", "permanent"])
            extra = ["-u", "-b", "0", "-l", opts.size] \
                if load == "udp" else []
            address = GUEST if user is None else "127.0.0.1"
            notified = lines(log)
            before = cpu_seconds(vm.get_pid())
            out = command(["iperf3", "-c", address, "-t", opts.seconds,
                           "--json", *extra])
            main_cpu, cpu = (after - then for after, then in
                             zip(cpu_seconds(vm.get_pid()), before))
            notified = lines(log) - notified
        finally:
            vm.shutdown(hard=True)
    result = json.loads(out)
    got = result["end"].get("sum_received" if load == "tcp" else "sum")
    if "error" in result or not got:
        raise Wrong(f"iperf3: {result.get('error', 'nothing was received')}")
    lost = got.get("lost_packets", 0)
    packets = got.get("packets", 0) - lost
    size = got["bytes"] if load == "tcp" else packets * opts.size
    if not size:
        raise Wrong("the guest has received nothing")
    return size, packets, lost, main_cpu, got["seconds"], cpu, notified


def report(load, variant, runs, opts):
    """A line: what was received, and what that took."""
    mbit = [run[0] * 8 / 1e6 / run[4] for run in runs]
    share = [100 * run[3] / run[4] for run in runs]
    units = 0 if load == "tcp" else 1
    what, unit = [run[3] * 1e9 / run[units] for run in runs], \
        ("ns/byte", "ns/packet")[units]
    name = load if load == "tcp" else f"udp {opts.size}"
    print(f"{name:8} {variant:13} {spread(mbit, '.1f'):>26} Mbit/s "
          f"{spread(what, '.3f' if load == 'tcp' else '.0f'):>24} {unit:9} "
          f"{spread(share, '.0f'):>14} % of a CPU", end="")
    if load == "tcp":
        all_threads = [run[5] * 1e9 / run[0] for run in runs]
        print(f" {spread(all_threads, '.2f'):>20} ns/byte of all threads",
              end="")
    if opts.count:
        per_mb = [run[6] * 1e6 / run[0] for run in runs]
        print(f" {spread(per_mb, '.1f'):>20} notifications/MB", end="")
    print(flush=True)


def main():
    """Measure, report, write the CSV."""
    opts = parse_args()
    enter_namespace()
    todo = [(load, variant) for load in opts.load
            for _ in range(opts.runs) for variant in opts.variant]
    with tempfile.TemporaryDirectory() as tmp:
        initramfs = make_initramfs(tmp)
        rows = [(*case, *measure(*case, initramfs, opts))
                for case in progress(todo, " ".join)]
    for load in opts.load:
        for variant in opts.variant:
            report(load, variant, [row[2:] for row in rows
                                   if row[:2] == (load, variant)], opts)
    write_csv(opts.csv, ("load", "variant", "bytes", "packets", "lost",
                         "cpu seconds of the main thread", "seconds",
                         "cpu seconds of all threads", "notifications"), rows)
    return 0


if __name__ == "__main__":
    run_main(main)
