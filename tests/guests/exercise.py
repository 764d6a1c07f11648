#!/usr/bin/python3
"""Exercise what uses dirty memory besides a plain migration.

Snapshots (savevm and background), postcopy, dirty rate, memory hotplug,
virtio-mem, a balloon and huge pages, each with the Linux guest that checks all
memory that it wrote (memwriter.c).  Output is TAP.

Exit status: 0 all went right, 1 something did not, 2 wrong use.
"""
import contextlib
import functools
import pathlib
import re
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "ci"))
# pylint: disable=wrong-import-position
from migrate_guest import (  # noqa: E402
    Guest, compare_ram, migrate, wait_incoming)
from lib.series import BUILD  # noqa: E402
from lib.tool import (  # noqa: E402
    PATIENCE, Parser, Skip, Wrong, binary, command, comment, kvm_usable,
    machine, no_guest, no_qemu, run_main, small_pages, tap, wait_until)

EXAMPLES = """examples:
  tests/guests/exercise.py                      the patched build
  tests/guests/exercise.py --variant pristine   the same with stock QEMU
  tests/guests/exercise.py --only postcopy
"""


class Options:
    """What Guest and migrate() want to know."""
    # pylint: disable=too-few-public-methods
    guest, accel, mem, working_set, bandwidth = "linux", "tcg", "192M", 32, 200
    feeder, display, modules, machine, cpu = None, False, False, None, "max"
    downtime = 100

    def __init__(self, *extra):
        self.extra = list(extra)


def capability(guest, name):
    """Switch a migration capability on, or raise Skip.

    That is for what this QEMU or this kernel can't do; a QEMU that ends, or
    refuses for another reason, is a failure.
    """
    try:
        guest.vm.cmd("migrate-set-capabilities",
                     capabilities=[{"capability": name, "state": True}])
    except Exception as err:
        if not re.search("not supported|does not accept value", str(err)):
            raise
        raise Skip(f"{name}: {err}") from err


def wait_status(vm, query, wanted, timeout=PATIENCE):
    """Until a query's status is that.  Returns: its answer"""
    def answer():
        info = vm.cmd(query)
        if info.get("status") == "failed":
            raise Wrong(f"{query}: {info}")
        return info if info.get("status") == wanted else None

    return wait_until(answer, timeout, lambda: f"{query}: {vm.cmd(query)}")


def qcow2(variant, path):
    """Make an image.  Returns: what -drive wants to know"""
    command([BUILD / variant / "qemu-img", "create", "-q", "-f", "qcow2",
             path, "1G"])
    return f"file={path},if=none,id=disk,format=qcow2"


def savevm(variant, tmp):
    """savevm, let the guest go on, loadvm"""
    opts = Options("-drive", qcow2(variant, f"{tmp}/disk.qcow2"))
    with Guest(variant, tmp, opts, 0) as guest:
        guest.wait_passes(2)
        said = guest.monitor("savevm one")
        guest.wait_passes(guest.passes() + 2)
        said += guest.monitor("loadvm one")
        if said.strip():
            raise Wrong(said.strip())
        guest.wait_passes(guest.passes() + 3)


def heap_kib(vm):
    """How much of QEMU's heap is there."""
    path = pathlib.Path("/proc", str(vm.get_pid()), "smaps")
    text = path.read_text(encoding="utf-8")
    part = text[text.index("[heap]"):]
    return int(re.search(r"^Rss: +(\d+)", part, re.M)[1])


def snapshots_leak(variant, tmp):
    """QEMU's heap does not grow by 100 snapshots"""
    drive = qcow2(variant, f"{tmp}/disk.qcow2")
    with machine(binary(variant), [
            "-display", "none", "-nodefaults", "-machine", "q35", "-accel",
            "tcg", "-m", "64", "-S", "-drive", drive, "-device",
            "virtio-blk,drive=disk"], base_temp_dir=tmp) as vm:
        with small_pages():
            vm.launch()
        heap = []
        for _ in range(3):
            for command_line in ["savevm one", "delvm one"] * 50:
                said = vm.cmd("human-monitor-command",
                              **{"command-line": command_line})
                if said.strip():
                    raise Wrong(said.strip())
            heap.append(heap_kib(vm))
    # Stock QEMU's grows by 64 KiB with each; the first 50 warm up.
    if heap[2] > heap[0] + 100 * 8:
        raise Wrong(f"it grew from {heap[0]} to {heap[2]} KiB")


def background_snapshot(variant, tmp):
    """a background snapshot, and the guest that comes out of it"""
    image = pathlib.Path(tmp, "snapshot")
    with Guest(variant, tmp, Options(), 0) as guest:
        guest.wait_passes(2)
        capability(guest, "background-snapshot")
        guest.vm.cmd("migrate", uri=f"file:{image}")
        wait_status(guest.vm, "query-migrate", "completed")
        guest.wait_passes(guest.passes() + 2)
    with Guest(variant, tmp, Options("-incoming", "defer"), 1) as target:
        target.vm.cmd("migrate-incoming", uri=f"file:{image}")
        wait_incoming(target)
        target.vm.cmd("cont")
        target.wait_passes(3)


def second_round(source):
    """A migration, which is slow, goes to its second round, and stays there.

    In the first one the guest writes all of its working set again, so there is
    too much to send for a round to be over before anybody looks.
    """
    source.wait_passes(source.passes() + 2)
    source.limit(8, 1)
    wait_until(lambda: source.syncs() >= 2, PATIENCE, "no second round")
    source.limit(1, 1)


def change_over(source, target):
    """Migrate, and go on with postcopy after a round of precopy."""
    for guest in (source, target):
        capability(guest, "postcopy-ram")
    source.limit(1, 1)
    source.vm.cmd("migrate", uri=f"unix:{target.socket}")
    second_round(source)
    source.vm.cmd("migrate-start-postcopy")
    info = wait_status(source.vm, "query-migrate", "completed")
    if not info.get("postcopy-time") and "ram" in info and \
            not info["ram"].get("postcopy-bytes"):
        raise Wrong("it completed without postcopy")
    target.wait_passes(3)


def postcopy(variant, tmp):
    """postcopy after a round of precopy"""
    with Guest(variant, tmp, Options(), 0) as source, \
            Guest(variant, tmp, Options(), 1, running=True) as target:
        source.wait_passes(2)
        change_over(source, target)


def dirty_rate(variant, tmp):
    """calc-dirty-rate by samples with TCG, by the dirty bitmap with KVM"""
    measured = {}
    cases = {"page-sampling": Options()}
    if kvm_usable():
        # The bitmap's rate counts what comes from logs; TCG has none.
        cases["dirty-bitmap"] = kvm = Options()
        kvm.guest, kvm.accel, kvm.mem = "ramwriter", "kvm", "96M"
    for mode, opts in cases.items():
        with Guest(variant, tmp, opts, 0) as guest:
            guest.wait_passes(2)
            # It's in whole MiB/s, and of samples: where the guest is slow it
            # takes some time until it has written to one of them.
            for seconds in (1, 5, 30):
                guest.vm.cmd("calc-dirty-rate", calc_time=seconds, mode=mode)
                info = wait_status(guest.vm, "query-dirty-rate", "measured")
                measured[mode] = info["dirty-rate"]
                if measured[mode]:
                    break
            guest.wait_passes(guest.passes() + 1)
    if not all(measured.values()):
        raise Wrong(f"the guests write, but {measured} MiB/s")
    comment(f"{measured} MiB/s")
    if "dirty-bitmap" not in measured:
        raise Skip("dirty-bitmap: no usable /dev/kvm")


def finish(source, target, tmp, opts):
    """Migrate, compare all of the RAM, and let the guest go on."""
    migrate(source, target, opts)
    wait_incoming(target)
    compare_ram(source, target, tmp)
    target.vm.cmd("cont")
    target.wait_passes(3)


def hop(variant, tmp, extra, prepare):
    """One migration with more devices."""
    opts = Options(*extra)
    with Guest(variant, tmp, opts, 0) as source, \
            Guest(variant, tmp, opts, 1) as target:
        source.wait_passes(2)
        prepare(source.vm)
        prepare(target.vm)
        finish(source, target, tmp, opts)


def hotplug(variant, tmp):
    """a DIMM that comes while the guest runs, and a migration"""
    def plug(vm):
        vm.cmd("object-add", qom_type="memory-backend-ram", id="more",
               size=128 << 20)
        vm.cmd("device_add", driver="pc-dimm", id="dimm", memdev="more")

    hop(variant, tmp, ["-m", "192M,slots=2,maxmem=1G"], plug)


def virtio_mem(variant, tmp):
    """virtio-mem, all of it discarded, and a migration"""
    hop(variant, tmp, ["-m", "192M,slots=2,maxmem=1G", "-object",
                       "memory-backend-ram,id=vmem,size=256M", "-device",
                       "virtio-mem-pci,id=vm0,memdev=vmem"], lambda vm: None)


def wait_balloon(guest, wanted):
    """Until the guest's RAM without the balloon is that large, in MiB."""
    def left():
        return guest.vm.cmd("query-balloon")["actual"] >> 20

    wait_until(lambda: left() == wanted, PATIENCE, lambda: "the balloon "
               f"leaves {left()} MiB, not {wanted}")


def balloon(variant, tmp):
    """a balloon that is inflated during a migration"""
    opts = Options("-device", "virtio-balloon-pci")
    opts.modules, opts.downtime = True, 1
    whole, little = int(opts.mem[:-1]), int(opts.mem[:-1]) - 32
    with Guest(variant, tmp, opts, 0) as source, \
            Guest(variant, tmp, opts, 1) as target:
        source.wait_passes(2)
        wait_balloon(source, whole)

        # It must not end before the balloon is there, however few pages the
        # guest has written in the first round.
        def inflate():
            second_round(source)
            source.vm.cmd("balloon", value=little << 20)
            wait_balloon(source, little)

        # What the guest gave away need not be the same on both sides.
        migrate(source, target, opts, amid=inflate)
        wait_incoming(target)
        target.vm.cmd("cont")
        target.wait_passes(3)
        wait_balloon(target, little)
        target.vm.cmd("balloon", value=whole << 20)
        wait_balloon(target, whole)
        target.wait_passes(target.passes() + 3)


def free_page_hints(variant, tmp):
    """a balloon's hints at free pages, which are not sent"""
    opts = Options("-object", "iothread,id=hints", "-device",
                   "virtio-balloon-pci,free-page-hint=on,iothread=hints")
    opts.modules = True
    with Guest(variant, tmp, opts, 0) as source, \
            Guest(variant, tmp, opts, 1) as target:
        source.wait_passes(2)
        migrate(source, target, opts)
        wait_incoming(target)
        target.vm.cmd("cont")
        target.wait_passes(5)


@contextlib.contextmanager
def reserved(pages):
    """Have that many more huge pages of 2 MiB, and give them back.

    Those that were free before may be for somebody else's test.
    """
    folder = pathlib.Path("/sys/kernel/mm/hugepages/hugepages-2048kB")

    def count(name):
        return int((folder / name).read_text(encoding="ascii"))

    def reserve(number):
        (folder / "nr_hugepages").write_text(str(number), encoding="ascii")

    try:
        before = count("nr_hugepages")
        reserve(before + pages)
    except OSError as err:
        raise Skip(f"huge pages: {err.strerror}") from err
    got = count("nr_hugepages") - before
    try:
        if got < pages:
            raise Skip(f"{got} of {pages} huge pages of 2 MiB are available")
        yield
    finally:
        # Others may have taken some, or given some back, meanwhile
        reserve(max(count("nr_hugepages") - got, 0))


def huge_pages(variant, tmp):
    """memory of 2 MiB pages, a migration and postcopy"""
    opts = Options("-object", "memory-backend-memfd,id=huge,hugetlb=on,"
                   "hugetlbsize=2M,size=192M",
                   "-machine", "memory-backend=huge")
    # Postcopy receives each page in another one.
    with reserved(2 * 192 // 2 + 8):
        with Guest(variant, tmp, opts, 0) as source, \
                Guest(variant, tmp, opts, 1) as target:
            source.wait_passes(2)
            finish(source, target, tmp, opts)
        with Guest(variant, tmp, opts, 0) as source, \
                Guest(variant, tmp, opts, 1, running=True) as target:
            source.wait_passes(2)
            change_over(source, target)


CASES = {func.__name__.replace("_", "-"): func for func in
         (savevm, snapshots_leak, background_snapshot, postcopy, dirty_rate,
          hotplug, virtio_mem, balloon, free_page_hints, huge_pages)}


def in_folder(case, variant):
    """Run a case with a folder of its own."""
    with tempfile.TemporaryDirectory() as tmp:
        case(variant, tmp)


def main(all_cases, doc, examples):
    """Run the cases.  Returns: the exit status"""
    parser = Parser(examples, doc)
    parser.add_argument("--variant", default="patched",
                        help="the build (default: patched)")
    parser.add_argument("--only", action="append", choices=all_cases,
                        help="only this case, can be repeated")
    opts = parser.parse_args()
    parser.refuse(no_qemu(binary(opts.variant)), no_guest("modules"))
    return tap([(functools.partial(in_folder, all_cases[name], opts.variant),
                 f"{name}: {all_cases[name].__doc__}")
                for name in opts.only or all_cases])


if __name__ == "__main__":
    run_main(lambda: main(CASES, __doc__, EXAMPLES))
