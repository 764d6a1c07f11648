"""What ci/lab boots: packages unpacked, a kernel, archives for initramfs.

All comes from Debian's packages; nothing is installed.  What is there is made
again only if what it's made from has changed.
"""
import gzip
import hashlib
import lzma
import os
import pathlib
import re
import shutil
import stat
import subprocess
import tempfile
import threading

from lib.series import BUILD, ROOT
from lib.tool import Skip, Wrong, command, note

LAB = BUILD / "lab"
SOURCE = ROOT / "tests/lab"
# Of guests and firmware, whatever the kernel of L1 is.
SUITE = "bookworm"
KERNELS = ("bookworm", "trixie")
CLOUD = "linux-image-cloud-amd64"
FULL = "linux-image-amd64"
# Two jobs may want the same.
MAKING = threading.Lock()
# In the order to load them; what a kernel doesn't have as module it has built
# in, or it does without.
VHOST_MODULES = "tun tap vhost_iotlb vhost vhost_net".split()
L1_MODULES = {
    "kvm-amd": {
        "kvm": "irqbypass kvm ccp kvm-amd".split(),
        "disk": """virtio_ring virtio virtio_pci_legacy_dev
            virtio_pci_modern_dev virtio_pci virtio_blk""".split(),
        "net": VHOST_MODULES},
    "kvm-intel": {
        "kvm": "irqbypass kvm kvm-intel".split(),
        "net": VHOST_MODULES,
        "disk": "scsi_common scsi_mod libata ata_piix sd_mod".split()}}
L2_MODULES = """virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev
    virtio_pci virtio_blk scsi_common scsi_mod libata ata_piix crct10dif_common
    crc-t10dif crc64 crc64-rocksoft crc64_rocksoft_generic t10-pi sd_mod
    failover net_failover virtio_net e1000""".split()
FIRMWARE = """bios-256k.bin vgabios-stdvga.bin kvmvapic.bin linuxboot.bin
    linuxboot_dma.bin multiboot.bin multiboot_dma.bin pvh.bin efi-e1000.rom
    efi-virtio.rom""".split()
BOCHS = """bochs bochsbios vgabios libltdl7 libsamplerate0 isolinux
    syslinux-common genisoimage""".split()
FIRMWARE_FROM = {"seabios": "usr/share/seabios",
                 "qemu-system-data": "usr/share/qemu",
                 "ipxe-qemu": "usr/lib/ipxe/qemu"}


def digest(*parts):
    """A short name for what something is made from."""
    whole = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        whole.update(b"%d:" % len(data) + data)
    return whole.hexdigest()[:16]


def written(path, data):
    """A file that is whole whenever it's there.  Returns: its path"""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.write_bytes(data)
    temporary.replace(path)
    return path


# Packages

def real_name(suite, name):
    """linux-image-cloud-amd64 stands for a package with a version in it."""
    if name not in (CLOUD, FULL):
        return name
    said = apt(suite, "apt-cache", "depends", name)
    found = re.search(r"Depends: (linux-image-[0-9]\S+)", said)
    if not found:
        raise Skip(f"{suite} has no {name}: {said.strip()[-200:]}")
    return found.group(1)


def apt(suite, *args, cwd=ROOT):
    """apt-get or apt-cache for that suite.  Returns: what it prints"""
    done = subprocess.run(
        [ROOT / "ci/helpers/apt_private.py", "deb", suite, *args], cwd=cwd,
        text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        check=False)
    if done.returncode:
        # 77: the network or the archive is at fault
        raise (Skip if done.returncode == 77 else Wrong)(
            f"Debian's packages of {suite} are not available: "
            f"{done.stdout.strip()[-200:]}")
    return done.stdout


def package(name, suite=SUITE):
    """The folder in which a package is unpacked."""
    root = LAB / "packages" / suite / name
    if root.is_dir():
        return root
    root.parent.mkdir(parents=True, exist_ok=True)
    # Several jobs may want it at once
    work = pathlib.Path(tempfile.mkdtemp(prefix=f"{name}.", dir=root.parent))
    (work / "root").mkdir()
    try:
        real = real_name(suite, name)
        note(f"fetching {real} of {suite}")
        apt(suite, "apt-get", "-q", "download", real, cwd=work)
        for deb in work.glob("*.deb"):
            command(["dpkg-deb", "-x", deb, work / "root"])
        try:
            (work / "root").rename(root)
        except OSError:
            # Another lab was faster.
            if not root.is_dir():
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return root


def only(folder, pattern):
    """The one file of that name below a folder."""
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise Wrong(f"{folder} has {len(found)} files {pattern}")
    return found[0]


# Kernels

def unpackers(image):
    """(place, function) of all that may be a packed kernel in a bzImage."""
    def tool(*args):
        def unpack(data):
            # What is behind the data makes it fail in the end; a file, as it
            # doesn't read all of a pipe then.
            with tempfile.TemporaryFile() as packed:
                packed.write(data)
                packed.seek(0)
                return subprocess.run(
                    args, stdin=packed, stdout=subprocess.PIPE, check=False,
                    stderr=subprocess.DEVNULL).stdout
        return unpack

    def xz(data):
        return lzma.LZMADecompressor().decompress(data)

    for magic, unpack in ((b"\xfd7zXZ\0", xz),
                          (b"\x28\xb5\x2f\xfd", tool("zstd", "-dc")),
                          (b"\x02\x21\x4c\x18", tool("lz4", "-dc"))):
        place = image.find(magic)
        while place >= 0:
            yield place, unpack
            place = image.find(magic, place + 1)


def vmlinux(suite, name=CLOUD):
    """A kernel's ELF file, for PVH: to unpack it takes a guest minutes."""
    out = LAB / "kernels" / f"{suite}-{name}"
    if out.is_file():
        return out
    image = only(package(name, suite), "boot/vmlinuz-*").read_bytes()
    for place, unpack in unpackers(image):
        try:
            data = unpack(image[place:])
        except (lzma.LZMAError, FileNotFoundError):
            continue
        if data.startswith(b"\x7fELF"):
            written(out, data)
            # Symbols would only fill up the guest's memory.
            subprocess.run(["strip", out], check=False)
            return out
    raise Wrong(f"no kernel found in {name} of {suite}")


def vmlinuz(suite, name=CLOUD):
    """A kernel as boot loaders want it."""
    return only(package(name, suite), "boot/vmlinuz-*")


def modules(suite, name, wanted):
    """(name, data) of a kernel's modules, in that order."""
    folder = package(name, suite)
    for module in wanted:
        for path in folder.rglob(f"{module}.ko*"):
            data = path.read_bytes()
            yield module, (lzma.decompress(data) if path.suffix == ".xz"
                           else data)


# Archives as the kernel unpacks them (cpio, "newc")

class Archive:
    """Files for an initramfs; the same bytes whenever it's made."""

    def __init__(self):
        self.entries = {}

    def folder(self, name):
        """A folder, and those that it is in."""
        path = pathlib.PurePosixPath(name)
        for parent in [*reversed(path.parents), path]:
            if str(parent) != ".":
                self.entries.setdefault(str(parent),
                                        (stat.S_IFDIR | 0o755, b""))

    def add(self, name, data, mode=0o644):
        """A file; data can be a path, whose mode it gets."""
        if isinstance(data, pathlib.Path):
            mode = stat.S_IMODE(data.stat().st_mode)
            data = data.read_bytes()
        elif isinstance(data, str):
            data = data.encode()
        self.folder(str(pathlib.PurePosixPath(name).parent))
        self.entries[name] = (stat.S_IFREG | mode, data)

    def link(self, name, target):
        """A symbolic link."""
        self.folder(str(pathlib.PurePosixPath(name).parent))
        self.entries[name] = (stat.S_IFLNK | 0o777, target.encode())

    def modules(self, purpose, found):
        """A kernel's modules, and their order in a file named by what for."""
        order = []
        for name, data in found:
            self.add(f"mod/{name}.ko", data)
            order.append(name)
        self.add(f"mod/{purpose}", "".join(f"{name}\n" for name in order))

    def pack(self):
        """The archive's bytes."""
        out = []

        def entry(number, name, mode, data):
            raw = name.encode() + b"\0"
            fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0,
                      len(raw), 0)
            head = b"070701" + b"".join(b"%08X" % field for field in fields)
            out.append(head + raw + bytes(-(len(head) + len(raw)) % 4))
            out.append(data + bytes(-len(data) % 4))

        # A folder comes before what is in it.
        for number, name in enumerate(sorted(self.entries), 1):
            entry(number, name, *self.entries[name])
        entry(0, "TRAILER!!!", 0, b"")
        return b"".join(out)


def extract(data, folder):
    """Unpack what Archive.pack() has made."""
    place = 0
    while True:
        fields = [int(data[place + i:place + i + 8], 16)
                  for i in range(6, 110, 8)]
        mode, size, length = fields[1], fields[6], fields[11]
        name = data[place + 110:place + 109 + length].decode()
        place += 110 + length
        place += -place % 4
        if name == "TRAILER!!!":
            return
        path, inside = folder / name, data[place:place + size]
        if stat.S_ISDIR(mode):
            path.mkdir(exist_ok=True)
        elif stat.S_ISLNK(mode):
            path.symlink_to(inside.decode())
        else:
            path.write_bytes(inside)
            path.chmod(stat.S_IMODE(mode))
        place += size + -size % 4


def cached(kind, key, make):
    """The file of that kind and key; make() says what is in it."""
    path = LAB / "images" / f"{kind}-{key}"
    with MAKING:
        if not path.is_file():
            written(path, make())
        path.touch()
    return path


def prune(keep=8):
    """Drop all images of a kind but those that were used last."""
    kinds = {}
    for path in (LAB / "images").glob("*-????????????????"):
        kinds.setdefault(path.name.rsplit("-", 1)[0], []).append(path)
    for paths in kinds.values():
        paths.sort(key=lambda path: path.stat().st_mtime_ns)
        for path in paths[:-keep]:
            path.unlink()


def busybox_root(init):
    """Busybox, an init and folders to mount on."""
    archive = Archive()
    archive.add("bin/busybox", only(package("busybox-static"), "bin/busybox"))
    archive.link("bin/sh", "busybox")
    archive.add("init", init.read_bytes(), 0o755)
    for name in ("proc", "sys", "dev", "tmp", "mod"):
        archive.folder(name)
    return archive


def l1_root(suite, kvm):
    """L1's files but for the QEMU and the job."""
    init = SOURCE / "init"
    version = only(package(CLOUD, suite), "boot/vmlinuz-*").name
    key = digest(version, init.read_bytes(), L1_MODULES[kvm])

    def make():
        archive = busybox_root(init)
        for purpose, wanted in L1_MODULES[kvm].items():
            archive.modules(purpose, modules(suite, CLOUD, wanted))
        return archive.pack()

    return cached("l1", key, make)


def metal_root():
    """What a host needs of L1's files."""
    init = SOURCE / "metal"
    return cached("metal", digest(init.read_bytes()),
                  lambda: busybox_root(init).pack())


def firmware():
    """(name, path) of what QEMU needs for the guests of jobs."""
    folders = [package(name) / path for name, path in FIRMWARE_FROM.items()]
    for name in FIRMWARE:
        for folder in folders:
            if (folder / name).is_file():
                yield name, folder / name
                break
        else:
            raise Wrong(f"no firmware {name} in {', '.join(FIRMWARE_FROM)}")
    for path in sorted((folders[1] / "keymaps").glob("*")):
        yield f"keymaps/{path.name}", path


def libraries(program, root=None):
    """Paths of the libraries that a program is linked with.

    A QEMU that ci/peer.sh got has its own below root.
    """
    if root:
        loader = only(root, "**/lib/*/ld-linux-x86-64.so.2")
        where = ":".join(str(root / sub / loader.parent.name)
                         for sub in ("lib", "usr/lib"))
    else:
        loader, where = pathlib.Path("/lib64/ld-linux-x86-64.so.2"), ""
    said = command([loader, *(["--library-path", where] if where else []),
                    "--list", program])
    return [loader, *map(pathlib.Path, re.findall(r"=> (/\S+) \(", said))]


def qemu_files(qemu, extra=(), second=None):
    """({name in L1: path}, libraries) of a QEMU and programs beside it."""
    root = qemu.parent / "root"
    if qemu.parent.name.startswith("peer-") and root.is_dir():
        if extra:
            raise Skip(f"there is no {extra[0]} beside {qemu}")
        # Its libraries are not those that others here are linked with.
        program = root / "usr/bin/qemu-system-x86_64"
        return ({"qemu/bin/qemu-system-x86_64": program},
                libraries(program, root))
    programs = {"qemu/bin/qemu-system-x86_64": qemu}
    if second:
        programs["qemu/bin/qemu-second"] = second
    for name in extra:
        path = qemu.parent / name
        if not path.is_file():
            raise Skip(f"there is no {name} beside {qemu}")
        programs[f"qemu/bin/{path.name}"] = path
    linked = {path.name: path for program in programs.values()
              for path in libraries(program)}
    return programs, list(linked.values())


def stripped(path):
    """A program's bytes without what only debuggers want."""
    temporary = LAB / "images" / f"strip.{os.getpid()}.{path.name}"
    temporary.parent.mkdir(parents=True, exist_ok=True)
    try:
        subprocess.run(["strip", "-o", temporary, path], check=True,
                       stderr=subprocess.DEVNULL)
        return temporary.read_bytes()
    except (OSError, subprocess.CalledProcessError):
        return path.read_bytes()
    finally:
        temporary.unlink(missing_ok=True)


def qemu_root(qemu, extra=(), second=None):
    """The QEMU under test with libraries and firmware, in an archive."""
    programs, linked = qemu_files(qemu, extra, second)
    files = dict(firmware())
    stats = [(str(path), path.stat().st_mtime_ns, path.stat().st_size)
             for path in [*programs.values(), *linked, *files.values()]]
    key = digest(sorted(programs), stats)

    def make():
        archive = Archive()
        for name, path in programs.items():
            archive.add(name, stripped(path), 0o755)
        for path in linked:
            folder = "lib64" if path.name.startswith("ld-linux") \
                else "lib/x86_64-linux-gnu"
            archive.add(f"{folder}/{path.name}", path.read_bytes(), 0o755)
        for name, path in files.items():
            archive.add(f"qemu/fw/{name}", path.read_bytes())
        return archive.pack()

    return cached("qemu", key, make)


# Bochs

def bochs_plugins():
    """A folder with all that Debian's Bochs loads, made once.

    It's linked with GTK, and wants it for questions only, which it doesn't ask
    here: functions that do nothing stand for it.
    """
    out = LAB / "bochs"
    with MAKING:
        if out.is_dir():
            return out
        root = package("bochs")
        wanted = command(["nm", "-D", "--undefined-only",
                          root / "usr/bin/bochs-bin"])
        names = sorted(set(re.findall(r" U (g[dt]k_\w+)", wanted)))
        work = out.with_name(f"bochs.{os.getpid()}")
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        (work / "stubs.c").write_text("".join(
            f"void *{name}(void) {{ return 0; }}\n" for name in names),
            encoding="ascii")
        for library in ("libgtk-3.so.0", "libgdk-3.so.0"):
            command(["cc", "-shared", "-fPIC", "-w",
                     f"-Wl,-soname,{library}", "-o", work / library,
                     work / "stubs.c"])
        for path in sorted(root.rglob("libbx_*.so*")):
            shutil.copy(path, work / path.name)
        work.rename(out)
    return out


def bochs_cd(out, kernel, initrd, append):
    """A CD that boots a kernel by ISOLINUX."""
    work = out.with_suffix(".d")
    (work / "isolinux").mkdir(parents=True)
    (work / "vmlinuz").symlink_to(kernel)
    (work / "initrd").symlink_to(initrd)
    for name, path in (("isolinux", "usr/lib/ISOLINUX/isolinux.bin"),
                       ("syslinux-common",
                        "usr/lib/syslinux/modules/bios/ldlinux.c32")):
        shutil.copy(package(name) / path, work / "isolinux")
    (work / "isolinux/isolinux.cfg").write_text(
        "DEFAULT l1\nPROMPT 0\nLABEL l1\nKERNEL /vmlinuz\n"
        f"APPEND initrd=/initrd {append}\n", encoding="ascii")
    command([package("genisoimage") / "usr/bin/genisoimage", "-quiet", "-f",
             "-o", out, "-b", "isolinux/isolinux.bin", "-c",
             "isolinux/boot.cat", "-no-emul-boot", "-boot-load-size", "4",
             "-boot-info-table", "-J", "-R", work])
    shutil.rmtree(work)


# Guests: each function makes the file of its name

def assembled(name, bits, *link):
    """An assembled guest of tests/lab/guests."""
    source = SOURCE / "guests" / f"{name}.S"
    includes = [SOURCE / "guests", ROOT / "tests/guests"]
    key = digest(source.read_bytes(), bits, link,
                 *(path.read_bytes() for folder in includes
                   for path in sorted(folder.glob("*.inc"))))

    def make():
        work = LAB / "images" / f"as.{os.getpid()}.{name}"
        work.parent.mkdir(parents=True, exist_ok=True)
        try:
            command(["cc", f"-m{bits}", "-c", "-o", f"{work}.o", source,
                     *(f"-I{folder}" for folder in includes)])
            emulation = "elf_i386" if bits == 32 else "elf_x86_64"
            command(["ld", "-m", emulation, *link, "-o", work, f"{work}.o"])
            return work.read_bytes()
        finally:
            for path in work.parent.glob(f"{work.name}*"):
                path.unlink()

    return cached(f"guest-{name}", key, make)


def l2_initrd(full=False):
    """Linux in L2: busybox and an init that says what it sees."""
    init = SOURCE / "l2/init"
    # L2's kernel is always of the same suite, so that figures compare.
    version = only(package(FULL), "boot/vmlinuz-*").name if full else ""
    key = digest(init.read_bytes(), version, L2_MODULES if full else "")

    def make():
        archive = busybox_root(init)
        if full:
            archive.modules("order", modules(SUITE, FULL, L2_MODULES))
        return gzip.compress(archive.pack(), 9, mtime=0)

    return cached("l2-full" if full else "l2", key, make)


# Firmware, which copies itself to that address; a multiboot kernel
BIOS_IMAGE = (64, "--oformat", "binary", "-Ttext", "0x10000")
KERNEL_IMAGE = (32, "-Ttext", "0x100000", "-e", "start")
GUESTS = {
    "linux": lambda: vmlinux(SUITE),
    "initrd": l2_initrd,
    "linux-full": lambda: vmlinux(SUITE, FULL),
    "initrd-full": lambda: l2_initrd(full=True),
    "nested.elf": lambda: assembled("nested", *KERNEL_IMAGE),
    "grub.iso": lambda: only(package("grub-rescue-pc"),
                             "usr/lib/grub-rescue/grub-rescue-cdrom.iso"),
    "ipxe.iso": lambda: only(package("ipxe"), "usr/lib/ipxe/ipxe.iso"),
    "ipxe.lkrn": lambda: only(package("ipxe"), "boot/ipxe.lkrn"),
    "rombios.bin": lambda: only(package("bochsbios"),
                                "usr/share/bochs/BIOS-bochs-latest"),
    "memtest.bin": lambda: only(package("memtest86+"),
                                "boot/memtest86+x64.bin"),
    "OVMF_CODE.fd": lambda: only(package("ovmf"),
                                 "usr/share/OVMF/OVMF_CODE_4M.fd"),
    "OVMF_VARS.fd": lambda: only(package("ovmf"),
                                 "usr/share/OVMF/OVMF_VARS_4M.fd"),
}


def guest(name):
    """The file of a guest, by the name that jobs have for it."""
    if name in GUESTS:
        return GUESTS[name]()
    if name.endswith(".bios") and (
            SOURCE / "guests" / name).with_suffix(".S").is_file():
        return assembled(name.removesuffix(".bios"), *BIOS_IMAGE)
    raise Wrong(f"no guest '{name}': tests/lab/guests and "
                "ci/lib/lab_images.py have none of that name")
