#!/usr/bin/python3
"""Let libvirt run the patched QEMU: what virsh users do, and a migration.

Two daemons of the test's own, each in its own mount and UTS namespace with
nothing of the system's configuration or state, manage a Linux guest under TCG
that writes and checks its memory all the time (tests/guests/memwriter.c).
Prints TAP.

Exit status: 0 nothing failed, 1 something did, 2 wrong use.
"""
import argparse
import contextlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import uuid

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
EXAMPLES = """examples:
  tests/libvirt/check.py
  tests/libvirt/check.py --emulator /usr/bin/qemu-system-x86_64
"""
# What would be the system's is the daemon's own
FOLDERS = ("/etc/libvirt", "/var/lib/libvirt", "/run", "/var/cache/libvirt",
           "/var/log/libvirt")
QEMU_CONF = """user = "root"
group = "root"
dynamic_ownership = 0
security_driver = "none"
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
"""
DOMAIN = """<domain type='qemu'>
  <name>thrift</name>
  <memory unit='MiB'>256</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='pc-q35-10.2'>hvm</type>
    <kernel>{guests}/vmlinuz</kernel>
    <initrd>{guests}/initramfs.gz</initrd>
    <cmdline>console=ttyS0 quiet panic=-1 thrift=memwriter:16</cmdline>
  </os>
  <features><acpi/></features>
  <cpu mode='custom'><model>qemu64</model></cpu>
  <devices>
    <emulator>{emulator}</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source file='{tmp}/disk.qcow2'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <controller type='pci' model='pcie-root'/>
    <controller type='pci' model='pcie-root-port'/>
    <controller type='pci' model='pcie-root-port'/>
    <controller type='pci' model='pcie-root-port'/>
    <controller type='pci' model='pcie-root-port'/>
    <serial type='file'>
      <source path='{tmp}/serial' append='on'/>
    </serial>
    <video><model type='vga'/></video>
    <memballoon model='none'/>
  </devices>
</domain>
"""
HOT = {"disk": """<disk type='file' device='disk'>
  <driver name='qemu' type='raw'/>
  <source file='{tmp}/hot.raw'/>
  <target dev='vdb' bus='virtio'/>
</disk>
""", "interface": """<interface type='user'>
  <mac address='52:54:00:12:34:57'/>
  <model type='virtio'/>
</interface>
"""}


class Wrong(Exception):
    """Something that must not be."""


class Skip(Exception):
    """This can't be had here."""


def run(args, **kwargs):
    """A program that has to work.  Returns: what it prints"""
    done = subprocess.run([str(arg) for arg in args], check=False, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=300, **kwargs)
    if done.returncode:
        raise Wrong(f"{args[0]} {args[1]}...: {done.stdout.strip()[-400:]}")
    return done.stdout


class Daemon:
    """A libvirtd, and virsh that talks to it."""

    def __init__(self, tmp, name, emulator):
        self.dir = tmp / name
        (self.dir / "bin").mkdir(parents=True)
        # Where none is installed: virt-install wants to find a QEMU at all.
        (self.dir / "bin/qemu-system-x86_64").symlink_to(emulator)
        conf, qemu = self.dir / "libvirtd.conf", self.dir / "qemu.conf"
        conf.write_text(f'unix_sock_dir = "{self.dir}"\n'
                        'auth_unix_rw = "none"\n'
                        f'host_uuid = "{uuid.uuid4()}"\n'
                        f'log_outputs = "2:file:{self.dir}/log"\n')
        qemu.write_text(QEMU_CONF)
        script = "".join(f"mkdir -p {d}; mount -t tmpfs none {d}; "
                         for d in FOLDERS)
        # A user that libvirt's package for whole systems would have made
        script += ("for f in passwd group; do "
                   "{ grep -v ^libvirt-qemu: /etc/$f; "
                   "echo libvirt-qemu:x:64055:$([ $f = group ] || "
                   "echo 64055::/:/bin/false); } "
                   ">/run/$f; mount --bind /run/$f /etc/$f; done; ")
        script += (f"mkdir -p /run/libvirt /etc/libvirt/qemu; "
                   f"cp {qemu} /etc/libvirt/qemu.conf; hostname {name}; "
                   f"PATH=$PATH:{self.dir}/bin "
                   f"exec libvirtd -f {conf} -p {self.dir}/pid")
        self.process = subprocess.Popen(  # pylint: disable=consider-using-with
            ["unshare", "-m", "-u", "sh", "-ec", script],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=(self.dir / "err").open("w"))
        self.uri = f"qemu+unix:///system?socket={self.dir}/libvirt-sock"
        end = time.monotonic() + 60
        while not (self.dir / "libvirt-sock").exists():
            if self.process.poll() is not None or time.monotonic() > end:
                said = [path.read_text() for path in (self.dir / "err",
                                                      self.dir / "log")
                        if path.exists()]
                raise Wrong(f"libvirtd does not start: {said}")
            time.sleep(0.1)

    def virsh(self, *args):
        """One command."""
        return run(["virsh", "-q", "-c", self.uri, *args])

    def close(self):
        """Its domains, and itself."""
        with contextlib.suppress(Wrong, subprocess.TimeoutExpired):
            for name in self.virsh("list", "--name").split():
                self.virsh("destroy", name)
        self.process.terminate()
        self.process.wait(30)


class Guest:
    """What the guest says."""

    def __init__(self, tmp):
        self.serial = tmp / "serial"

    def passes(self):
        """How often it has checked all of its memory."""
        text = self.serial.read_text(errors="replace") \
            if self.serial.exists() else ""
        if "BAD" in text or "panic" in text:
            raise Wrong(f"the guest says {text[-300:]!r}")
        return len(re.findall(r"^memwriter: pass \d+", text, re.M))

    def goes_on(self, timeout=120):
        """It checks its memory twice more."""
        wanted, end = self.passes() + 2, time.monotonic() + timeout
        while self.passes() < wanted:
            if time.monotonic() > end:
                raise Wrong(f"no pass for {timeout} s: "
                            f"{self.serial.read_text()[-200:]!r}")
            time.sleep(0.1)

    def waits(self):
        """It does nothing now."""
        time.sleep(0.5)
        before = self.passes()
        time.sleep(2)
        if self.passes() != before:
            raise Wrong("the guest goes on")


def kinds():
    """The kinds of domains that there can be here."""
    return ["qemu"] + (["kvm"] if os.access("/dev/kvm", os.W_OK) else [])


class Checks:
    """The tests, in order; each is what a user does."""

    def __init__(self, here, there, tmp, emulator):
        self.here, self.there, self.tmp = here, there, tmp
        self.emulator, self.guest = emulator, Guest(tmp)

    def state(self, wanted, daemon=None):
        """Is the domain in that state?"""
        found = (daemon or self.here).virsh("domstate", "thrift").strip()
        if found != wanted:
            raise Wrong(f"the domain is '{found}', not '{wanted}'")

    def test_capabilities(self):
        """libvirt finds out what the emulator can do"""
        for kind in kinds():
            text = self.here.virsh("domcapabilities", "--emulatorbin",
                                   self.emulator, "--virttype", kind,
                                   "--machine", "pc-q35-10.2")
            for wanted in ("<machine>pc-q35-10.2</machine>",
                           f"<domain>{kind}</domain>",
                           f"<path>{self.emulator}</path>"):
                if wanted not in text:
                    raise Wrong(f"domcapabilities of {kind} lacks {wanted}")

    def test_start(self):
        """define, start"""
        xml = self.tmp / "domain.xml"
        xml.write_text(DOMAIN.format(guests=BUILD / "guests", tmp=self.tmp,
                                     emulator=self.emulator))
        self.here.virsh("define", xml, "--validate")
        self.here.virsh("start", "thrift")
        self.state("running")
        self.guest.goes_on()

    def test_suspend(self):
        """suspend, resume"""
        self.here.virsh("suspend", "thrift")
        self.state("paused")
        self.guest.waits()
        self.here.virsh("resume", "thrift")
        self.guest.goes_on()

    def test_save(self):
        """save, restore"""
        self.here.virsh("save", "thrift", self.tmp / "saved")
        self.state("shut off")
        self.here.virsh("restore", self.tmp / "saved")
        self.state("running")
        self.guest.goes_on()

    def test_managed_save(self):
        """managedsave, start"""
        self.here.virsh("managedsave", "thrift")
        self.here.virsh("start", "thrift")
        self.guest.goes_on()

    def test_snapshot(self):
        """snapshot-create-as, snapshot-revert, snapshot-delete"""
        self.here.virsh("snapshot-create-as", "thrift", "one")
        self.guest.goes_on()
        self.here.virsh("snapshot-revert", "thrift", "one", "--running")
        self.guest.goes_on()
        self.here.virsh("snapshot-delete", "thrift", "one")

    def test_hotplug(self):
        """attach-device and detach-device of a disk and an interface"""
        for kind, listing in (("disk", "domblklist"),
                              ("interface", "domiflist")):
            xml = self.tmp / f"{kind}.xml"
            xml.write_text(HOT[kind].format(tmp=self.tmp))
            before = self.here.virsh(listing, "thrift")
            self.here.virsh("attach-device", "thrift", xml)
            if self.here.virsh(listing, "thrift") == before:
                raise Wrong(f"the {kind} is not there")
            self.guest.goes_on()
            self.here.virsh("detach-device", "thrift", xml)
            end = time.monotonic() + 60
            while self.here.virsh(listing, "thrift") != before:
                if time.monotonic() > end:
                    raise Wrong(f"the {kind} does not go away")
                time.sleep(0.2)

    def test_dump_screen(self):
        """screenshot, domstats, qemu-monitor-command"""
        self.here.virsh("screenshot", "thrift", self.tmp / "screen")
        if "balloon.current" not in self.here.virsh("domstats", "thrift"):
            raise Wrong("domstats lacks balloon.current")
        text = self.here.virsh("qemu-monitor-command", "thrift", "--hmp",
                               "info dirty-memory")
        if "pc.ram" not in text:
            raise Wrong(f"info dirty-memory says {text!r}")

    def test_migrate(self):
        """migrate --live to another daemon, and back"""
        for source, target in ((self.here, self.there),
                               (self.there, self.here)):
            # The disk is in one place, but not one that libvirt knows.
            source.virsh("migrate", "--live", "--unsafe", "--persistent",
                         "--undefinesource", "thrift", target.uri,
                         "tcp://127.0.0.1")
            self.state("running", target)
            if source.virsh("list", "--all", "--name").strip():
                raise Wrong("the domain is still at the source")
            self.guest.goes_on()

    def test_destroy(self):
        """destroy, undefine"""
        self.here.virsh("destroy", "thrift")
        self.state("shut off")
        self.here.virsh("undefine", "thrift")

    def install(self, kind):
        """virt-install a domain that boots the guest."""
        guests = BUILD / "guests"
        run(["virt-install", "--connect", self.here.uri, "--name", "thrift",
             "--import", "--virt-type", kind, "--machine", "pc-q35-10.2",
             "--memory", "256", "--vcpus", "1", "--osinfo", "generic",
             "--disk", f"path={self.tmp}/disk.qcow2", "--network", "none",
             "--graphics", "none", "--serial", f"file,path={self.tmp}/serial",
             "--noautoconsole",
             "--boot", f"emulator={self.emulator},kernel={guests}/vmlinuz,"
             f"initrd={guests}/initramfs.gz,"
             "kernel_args='console=ttyS0 quiet panic=-1 thrift=memwriter:16'"],
            env=dict(os.environ, XDG_CACHE_HOME=str(self.tmp)))

    def test_virt_install(self):
        """virt-install --import with the emulator, destroy, undefine"""
        if not shutil.which("virt-install"):
            raise Skip("no virt-install: apt-get install virtinst")
        for kind in kinds():
            self.install(kind)
            self.state("running")
            text = self.here.virsh("dumpxml", "thrift")
            for wanted in (f"<domain type='{kind}' ",
                           f"<emulator>{self.emulator}</emulator>"):
                if wanted not in text:
                    raise Wrong(f"dumpxml of {kind} lacks {wanted}")
            if kind == "qemu":
                self.guest.goes_on()
            self.here.virsh("destroy", "thrift")
            self.state("shut off")
            self.here.virsh("undefine", "thrift")
            if self.here.virsh("list", "--all", "--name").strip():
                raise Wrong("the domain is still there")

    def all(self):
        """(function, what it does) in the order they are written."""
        return [(func.__get__(self), func.__doc__)
                for name, func in vars(Checks).items()
                if name.startswith("test_")]


def missing():
    """Why it can't be done here, or None."""
    for program, package in (("libvirtd", "libvirt-daemon"),
                             ("virsh", "libvirt-clients"),
                             ("unshare", "util-linux")):
        if not shutil.which(program):
            return f"no {program}: apt-get install {package}"
    if os.geteuid():
        return "it takes root"
    if not (BUILD / "guests/initramfs.gz").exists():
        return "no guest: run tests/guests/make.sh"
    return None


def main():
    """Two daemons, all tests; after the first failure nothing makes sense."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n", maxsplit=1)[0], epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--emulator", type=pathlib.Path,
                        default=BUILD / "patched/qemu-system-x86_64")
    opts = parser.parse_args()
    if not os.access(opts.emulator, os.X_OK):
        parser.error(f"{opts.emulator} can't be run: build it with "
                     "./configure-wrapper.sh")
    reason = missing()
    if reason:
        print(f"1..0 # SKIP {reason}")
        return 0
    with contextlib.ExitStack() as stack:
        tmp = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        run(["qemu-img" if shutil.which("qemu-img") else
             BUILD / "patched/qemu-img", "create", "-q", "-f", "qcow2",
             tmp / "disk.qcow2", "64M"])
        (tmp / "hot.raw").write_bytes(bytes(1 << 20))
        daemons = []
        for name in ("here", "there"):
            daemons.append(Daemon(tmp, name, opts.emulator.resolve()))
            stack.callback(daemons[-1].close)
        checks = Checks(*daemons, tmp, opts.emulator.resolve()).all()
        print(f"1..{len(checks)}", flush=True)
        for i, (test, what) in enumerate(checks):
            try:
                test()
            except Skip as why:
                what += f" # SKIP {why}"
            except (Wrong, subprocess.TimeoutExpired) as wrong:
                print(f"not ok {i + 1} {what}\n# {wrong}")
                return 1
            print(f"ok {i + 1} {what}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
