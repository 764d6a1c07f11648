#!/usr/bin/python3
"""Let libvirt run the patched QEMU: what virsh users do, and a migration.

Two daemons of the test's own, each in its own mount and UTS namespace with
nothing of the system's configuration or state, manage a Linux guest under TCG
that writes and checks its memory all the time (tests/guests/memwriter.c).
Prints TAP.

Exit status: 0 nothing failed, 1 something did, 2 wrong use.
"""
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

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "ci"))
# pylint: disable=wrong-import-position
from lib.series import BUILD  # noqa: E402
from lib.tool import (  # noqa: E402
    PATIENCE, Parser, Skip, Wrong, binary, command, kvm_usable, no_guest,
    no_program, no_qemu, run_main, tap, test_methods, wait_until)

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
        socket = self.dir / "libvirt-sock"
        wait_until(lambda: socket.exists() or self.process.poll() is not None,
                   PATIENCE, self.last_words, 0.1)
        if not socket.exists():
            raise Wrong(self.last_words())

    def last_words(self):
        """Why it does not start."""
        said = [path.read_text() for path in (self.dir / "err",
                                              self.dir / "log")
                if path.exists()]
        return f"libvirtd does not start: {said}"

    def virsh(self, *args):
        """One command."""
        return command(["virsh", "-q", "-c", self.uri, *args],
                       f"virsh {args[0]}", timeout=PATIENCE)

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

    def goes_on(self):
        """It checks its memory twice more."""
        wanted = self.passes() + 2
        wait_until(lambda: self.passes() >= wanted, PATIENCE,
                   lambda: f"no pass for {PATIENCE} s: "
                   f"{self.serial.read_text()[-200:]!r}", 0.1)

    def waits(self):
        """It does nothing now."""
        time.sleep(0.5)
        before = self.passes()
        time.sleep(2)
        if self.passes() != before:
            raise Wrong("the guest goes on")


def kinds():
    """The kinds of domains that there can be here."""
    return ["qemu"] + (["kvm"] if kvm_usable() else [])


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
            self.wait_gone(kind, listing, before)

    def wait_gone(self, kind, listing, before):
        """Until that is listed again what was before."""
        wait_until(lambda: self.here.virsh(listing, "thrift") == before,
                   PATIENCE, f"the {kind} does not go away", 0.2)

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
            # The disk is in one place, but not one that libvirt knows.  The
            # guest writes faster than a slow host sends if it isn't slowed.
            source.virsh("migrate", "--live", "--auto-converge", "--unsafe",
                         "--persistent", "--undefinesource", "thrift",
                         target.uri, "tcp://127.0.0.1")
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
        command(
            ["virt-install", "--connect", self.here.uri, "--name", "thrift",
             "--import", "--virt-type", kind, "--machine", "pc-q35-10.2",
             "--memory", "256", "--vcpus", "1", "--osinfo", "generic",
             "--disk", f"path={self.tmp}/disk.qcow2", "--network", "none",
             "--graphics", "none", "--serial", f"file,path={self.tmp}/serial",
             "--noautoconsole",
             "--boot", f"emulator={self.emulator},kernel={guests}/vmlinuz,"
             f"initrd={guests}/initramfs.gz,"
             "kernel_args='console=ttyS0 quiet panic=-1 thrift=memwriter:16'"],
            timeout=PATIENCE,
            env=dict(os.environ, XDG_CACHE_HOME=str(self.tmp)))

    def test_virt_install(self):
        """virt-install --import with the emulator, destroy, undefine"""
        reason = no_program("virt-install", "virtinst")
        if reason:
            raise Skip(reason)
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


def missing():
    """Why it can't be done here, or None."""
    return (no_program("libvirtd", "libvirt-daemon")
            or no_program("virsh", "libvirt-clients")
            or no_program("unshare", "util-linux")
            or ("it takes root" if os.geteuid() else None)
            or no_guest("initramfs.gz"))


def main():
    """Two daemons, all tests; after the first failure nothing makes sense."""
    parser = Parser(EXAMPLES, __doc__)
    parser.add_argument("--emulator", type=pathlib.Path,
                        default=binary("patched"))
    opts = parser.parse_args()
    parser.refuse(no_qemu(opts.emulator))
    reason = missing()
    if reason:
        print(f"1..0 # SKIP {reason}")
        return 0
    with contextlib.ExitStack() as stack:
        tmp = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        command(["qemu-img" if shutil.which("qemu-img") else
                 BUILD / "patched/qemu-img", "create", "-q", "-f", "qcow2",
                 tmp / "disk.qcow2", "64M"])
        (tmp / "hot.raw").write_bytes(bytes(1 << 20))
        daemons = []
        for name in ("here", "there"):
            daemons.append(Daemon(tmp, name, opts.emulator.resolve()))
            stack.callback(daemons[-1].close)
        return tap(test_methods(Checks(*daemons, tmp,
                                       opts.emulator.resolve())), go_on=False)


if __name__ == "__main__":
    run_main(main)
