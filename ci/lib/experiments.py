"""What ci/bench measures: the commands, and what their output means.

Each experiment turns what its bench prints into rows of case, variant, value
and unit, and rows into lines of the table.  There is a row for each value that
the bench prints; some print medians only, or median, lowest and highest.  A
case that could not be measured has one row without a value: its variant is
"skipped", its unit the reason.
"""
import collections
import csv
import os
import re
import statistics

from lib.series import BUILD, ROOT
from lib.tool import binary, no_dirty_ring, no_kvm, peers

PATCHED = BUILD / "patched"
QEMU = {name: str(binary(name)) for name in ("pristine", "patched")}

# What is drawn over something that grows: its name, a unit, and for each panel
# a dictionary of variants with a list of lines, each of pairs of how much of
# it and (median, least, most).  The names are those of a variant's lines.
Curves = collections.namedtuple("Curves", "what unit panels names log")

# Units of which more is better; of all others less is
RATES = ("pages/s", "Mbit/s")


def median(rows, case, variant):
    """(median, least, most) of one case, or None."""
    values = [row["value"] for row in rows
              if row["case"] == case and row["variant"] == variant]
    if not values:
        return None
    return statistics.median(values), min(values), max(values)


def cases(rows):
    """In the order they were measured."""
    return list(dict.fromkeys(row["case"] for row in rows))


def skipped(rows, case):
    """Why it was not measured, or None."""
    return next((row["unit"] for row in rows if row["case"] == case
                 and row["variant"] == "skipped"), None)


def number(value):
    """Three digits that matter."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


PEER = re.compile(r"(.*), (peer-[a-z0-9.-]+)$")


def peers_in(rows):
    """QEMUs of Debian's that were measured, too: see ci/peer.sh."""
    return sorted({row["variant"] for row in rows
                   if row["variant"].startswith("peer-")})


def peer_skipped(rows, case, peer):
    """Why a peer was not measured with this case, or None."""
    return next((row["unit"] for row in rows if row["variant"] == "skipped"
                 and (match := PEER.match(row["case"])) and match[2] == peer
                 and case.startswith(match[1])), None)


def times(stock, ours, unit):
    """How many times better ours is, by the medians."""
    more, less = (ours, stock) if unit in RATES else (stock, ours)
    return f"{number(more[0] / less[0])}x" if less[0] > 0 else ""


def cell(found, unit):
    """'median (least-most) unit'"""
    middle, least, most = map(number, found)
    spread = "" if least == most else f" ({least}-{most})"
    return f"{middle}{spread} {unit}".strip()


class Experiment:
    """One of them; two variants are compared."""
    name = title = ""
    minutes = (0, 0)            # quick, full: of the two
    with_peers = False          # are Debian's QEMUs measured, too?
    targets = ()                # of ninja, in build/patched
    variants = ("pristine", "patched")

    def estimate(self, full):
        """Minutes that it takes."""
        two = self.minutes[full]
        return round(two * (2 + len(peers())) / 2) if self.with_peers else two

    def missing(self):
        """Why it can't be done here, or None."""

    def commands(self, full):
        """Programs to run, with arguments."""
        raise NotImplementedError

    def parse(self, text):
        """Rows of what they have printed."""
        raise NotImplementedError

    def label(self, case):
        """What the table calls a case."""
        return f"{self.title}: {case}"

    def in_table(self, case):
        """Does the table have it?"""
        # pylint: disable=unused-argument
        return True

    def drawn(self, case):
        """Has the plot a bar for it?"""
        return self.in_table(case)

    def curves(self, rows):
        """What is drawn over something that grows: a list of Curves."""
        # pylint: disable=unused-argument
        return []

    def summary(self, rows):
        """(what, stock, ours, ratio) for the table."""
        stock, ours = self.variants
        for case in cases(rows):
            if PEER.match(case):
                continue
            if skipped(rows, case) and self.in_table(case):
                yield (self.label(case), f"skipped: {skipped(rows, case)}",
                       "", "")
            a, b = median(rows, case, stock), median(rows, case, ours)
            if not (a and b and self.in_table(case)):
                continue
            unit = next(row["unit"] for row in rows if row["case"] == case)
            yield (self.label(case), cell(a, unit), cell(b, unit),
                   times(a, b, unit))

    def beside(self, rows, names):
        """(what, *each of the peers, stock, ours) for the table of peers."""
        for case in cases(rows):
            found = [median(rows, case, name) for name in names]
            if not any(found) or not self.in_table(case):
                continue
            unit = next(row["unit"] for row in rows if row["case"] == case)
            cells = [cell(value, unit) if value else
                     f"skipped: {why}" if (why := peer_skipped(
                         rows, case, name)) else ""
                     for value, name in zip(found, names)]
            both = [median(rows, case, name) for name in self.variants]
            yield (self.label(case), *cells,
                   *(cell(value, unit) if value else "" for value in both))


def csv_lines(text, first):
    """Dictionaries of what benches wrote, behind other output, with
    --csv /dev/stdout; first is how their header begins."""
    header = []
    for values in csv.reader(text.splitlines()):
        if ",".join(values).startswith(first):
            header = values
        elif header and len(values) == len(header):
            yield dict(zip(header, values))


def sync_cost(*args):
    """Its command, with all accelerators there are."""
    kvm = [] if no_kvm() else ["--accel", "kvm"]
    if not no_dirty_ring():
        kvm += ["--accel", "kvm-ring"]
    return [str(ROOT / "tests/bench/sync_cost.py"), *args, "--accel", "tcg",
            *kvm, "--csv", "/dev/stdout"]


def skipped_row(case, row):
    """The row of what a bench could not measure: the case, or a peer's."""
    peer = f", {row['variant']}" if row["variant"] in peers() else ""
    return {"case": case + peer, "variant": "skipped", "value": None,
            "unit": row["skipped"]}


class Sync(Experiment):
    """A dirty sync of an idle guest."""
    name, title = "sync", "Dirty sync of an idle guest"
    minutes = (2, 8)
    with_peers = True

    def commands(self, full):
        runs = ["--runs", "5" if full else "4"]
        for size in ["16", "64"] if full else ["64"]:
            # A sync of pristine's takes seconds with an odd size of 64 GiB
            odd = ["--shape", "odd"] if full and size == "16" else []
            yield sync_cost("--size", size, *runs, "--shape", "even", *odd)

    def parse(self, text):
        rows = []
        for row in csv_lines(text, "variant,accel,"):
            size = int(row["size_kib"]) >> 20
            if row["guest"] == "odd":
                size = f"{size + 1} GiB - 8 KiB"
            else:
                size = f"{size} GiB"
            case = f"{size}, {row['accel']}"
            if row["skipped"]:
                rows.append(skipped_row(case, row))
                continue
            if row["sync"] == "0":
                continue
            rows.append({"case": case, "variant": row["variant"],
                         "value": float(row["us"]) / 1000, "unit": "ms"})
            if row["accel"] == "kvm":
                rows.append({"case": case + ", without the kernel's part",
                             "variant": row["variant"],
                             "value": float(row["qemu_us"]) / 1000,
                             "unit": "ms"})
        return rows


class SyncSize(Experiment):
    """A dirty sync over RAM size and over dirty share, stage by stage."""
    name, title = "sync-size", "Dirty sync over RAM size"
    minutes = (2, 21)
    # What is timed of a sync: column, what the case's name has, and the plot's
    STAGES = (("us", "", "all"),
              ("qemu_us", ", without the kernel's part",
               "without the kernel's part"),
              ("bitmap_us", ", migration's bitmap",
               "into migration's bitmap"))
    CASE = re.compile(r"^(\d+) GiB(?:, (\d+) MiB dirty)?, ([^,]+)$")
    RUNNING = re.compile(r", 2 CPUs run(, without the kernel's part)?$")

    def commands(self, full):
        sizes, runs = ((4, 16, 64, 256, 1024, 4096), "5") if full else (
            (4, 64, 1024), "3")
        two = [arg for name in self.variants for arg in ("--variant", name)]
        for size in sizes:
            yield sync_cost(*two, "--size", str(size), "--unplugged",
                            "--runs", runs)
        if not no_kvm():
            # One sync of each run counts
            yield [str(ROOT / "tests/bench/sync_cost.py"), *two, "--size",
                   "1024", "--unplugged", "--running", "--accel", "kvm",
                   "--accel", "kvm-ring", "--runs", "15" if full else "5",
                   "--csv", "/dev/stdout"]
        for dirty in (16, 64, 512, 4096) if full else ():
            yield sync_cost(*two, "--size", "16", "--dirty", str(dirty),
                            "--shape", "even", "--runs", "2", "--syncs", "4")

    def parse(self, text):
        rows = []
        for row in csv_lines(text, "variant,accel,"):
            dirty = row["dirty_mib"]
            dirty = f", {dirty} MiB dirty" if dirty != "0" else ""
            case = (f"{int(row['size_kib']) >> 20} GiB{dirty}, {row['accel']}"
                    + ", 2 CPUs run" * (row["running"] == "1"))
            if row["skipped"]:
                rows.append(skipped_row(case, row))
                continue
            # TCG has no log, and the kernel has no part in filling a ring
            stages = [stage for stage in self.STAGES if not stage[1]
                      or row["accel"] == "kvm"
                      or (stage[0] == "bitmap_us" and row["accel"] != "tcg")]
            if row["sync"] == "0":
                stages = (("us", ", first", ""),
                          ("held_us", ", setup with the big lock held", ""))
            rows += [{"case": case + name, "variant": row["variant"],
                      "value": float(row[column]) / 1000, "unit": "ms"}
                     for column, name, _ in stages]
        return rows

    def matches(self, rows):
        """(accelerator, size, dirty, case) of each that's no stage."""
        found = map(self.CASE.match, cases(rows))
        return [(m[3], int(m[1]), int(m[2] or 0), m[0]) for m in found if m]

    def summary(self, rows):
        """Of each accelerator, the largest size, with and without the kernel's
        part, and one that runs; and what was skipped.
        """
        idle = [m for m in self.matches(rows) if not m[2]]
        largest = {accel: case for accel, _, _, case in
                   sorted(idle, key=lambda m: m[1]) if not skipped(rows, case)}
        shown = {case + part for case in largest.values()
                 for part in ("", self.STAGES[1][1])}
        return super().summary([
            row for row in rows if row["variant"] == "skipped"
            or row["case"] in shown or self.RUNNING.search(row["case"])])

    def drawn(self, case):
        return False

    def curves(self, rows):
        sizes = sorted({m[1] for m in self.matches(rows) if m[2]})
        return [
            self.over(rows, "RAM, GiB", lambda size, dirty:
                      None if dirty else size),
            *(self.over(rows, f"dirty, % of {size} GiB", lambda other, dirty:
                        dirty / other / 10.24 if dirty and other == size
                        else None) for size in sizes)]

    def over(self, rows, what, place):
        """Curves of all that have a place."""
        panels = {}
        for accel, size, dirty, case in sorted(self.matches(rows),
                                               key=lambda m: m[1:3]):
            where = place(size, dirty)
            if where is None or skipped(rows, case):
                continue
            panel = panels.setdefault(accel, {
                variant: [[] for _ in self.STAGES]
                for variant in self.variants})
            for variant in self.variants:
                for line, (_, name, _) in zip(panel[variant], self.STAGES):
                    found = median(rows, case + name, variant)
                    line += [(where, found)] if found else []
        return Curves(what, "ms", panels,
                      [name for _, _, name in self.STAGES], True)


class Writing(Experiment):
    """A guest that writes: stages of a sync, and how long its CPUs stand
    still."""
    name, title = "writing", "Guest that writes"
    minutes = (9, 45)
    # How long a CPU had no CPU of the host, how many pages were dirty, and so
    # on, is only in NAME.txt and NAME.csv
    TABLE = re.compile(r": (sync|first sync|clears|stores|(writer|spinner) "
                       r"stands still(?! at most, (no|first)))"
                       r"(?!.*(number|, pages$))")

    def commands(self, full):
        bench = [str(ROOT / "tests/bench/writing_guest.py"), "--csv",
                 "/dev/stdout", "--runs", "5" if full else "3"]
        for name in self.variants:
            bench += ["--variant", name]
        kvm = [] if no_kvm() else ["--accel", "kvm"]
        yield [*bench, "--accel", "tcg", *kvm,
               *([] if no_dirty_ring() else ["--accel", "kvm-ring"])]
        if kvm:
            yield [*bench, *kvm, "--with", "display", "--with", "vhost"]
        if full and not no_dirty_ring():
            yield [*bench, *kvm, "--accel", "kvm-ring", "--size", "248",
                   "--rate", "25", "--rate", "100", "--rate", "400"]

    def parse(self, text):
        rows = []
        for row in csv_lines(text, "accel,with,"):
            beside = "" if row["with"] == "nothing" else f", {row['with']}"
            rows.append({
                "case": f"{row['size_gib']} GiB, {row['rate_mib']} MiB/s, "
                        f"{row['accel']}{beside}: {row['what']}",
                "variant": row["variant"], "value": float(row["value"]),
                "unit": row["unit"]})
        return rows

    def in_table(self, case):
        return bool(self.TABLE.search(case))

    def drawn(self, case):
        return case.endswith((": sync", ": clears"))


class DirtyMaps(Experiment):
    """The four conditions of 2010."""
    name, title = "dirty-maps", "Sync of one client's map"
    minutes = (1, 12)
    # Yoshiaki Tamura, "[PATCH v5 0/4] Introduce bit-based phys_ram_dirty",
    # qemu-devel, 4 May 2010, against a byte per page
    REPORTED = {"cond1": "5-83x", "cond2": "5-52x", "'s read": "5-132x",
                "'s write": "5-57x"}
    targets = ("tests/bench/dirty-memory-bench",)
    variants = ("bytemap", "map")
    FILE = re.compile(r"^ok \d+ .*/(read|write)-1g.txt$", re.M)
    LINE = re.compile(r"^# sync +(\S+ \S+) (.{18}) +\d+ dirty +"
                      r"bytemap +([\d.]+) us +flat +([\d.]+) us"
                      r"(?: \([\d.]+-[\d.]+\))? +"
                      r"map +([\d.]+) us \(([\d.]+)-([\d.]+)\)", re.M)

    def commands(self, full):
        bench = str(PATCHED / "tests/bench/dirty-memory-bench")
        maps = [str(ROOT / f"tests/bench/maps/{name}-1g.txt")
                for name in ("read", "write")]
        yield [bench, "-p", "/dirty-memory/conditions",
               "-p", "/dirty-memory/recorded", *maps]
        if full:
            yield [bench, "-p", "/dirty-memory/sizes"]

    def parse(self, text):
        rows = []
        # The name of a file comes behind what was measured with it
        *parts, rest = self.FILE.split(text)
        for part, recorded in [*zip(parts[::2], parts[1::2]), (rest, None)]:
            for size, what, *times in self.LINE.findall(part):
                if what.startswith("recorded"):
                    what = f"recorded from a guest's {recorded} of 1 GiB"
                rows += self.one_line(f"{size}, {what.strip()}", times)
        return rows

    @staticmethod
    def one_line(case, times):
        """Rows of a line."""
        byte, flat, middle, least, most = map(float, times)
        return [{"case": case, "variant": variant, "value": value,
                 "unit": "us"}
                for variant, value in (("bytemap", byte), ("flat", flat),
                                       ("map", middle), ("map", least),
                                       ("map", most))]

    def in_table(self, case):
        return case.startswith("512 MiB")

    def label(self, case):
        return f"{self.title}, a byte per page and ours: {case}"

    def summary(self, rows):
        """The same again with the bitmap that 10.2.2 has."""
        of_2010 = {self.label(case): reported for case in cases(rows)
                   for what, reported in self.REPORTED.items() if what in case}
        for what, stock, ours, ratio in super().summary(rows):
            told = of_2010.get(what)
            yield (what, stock, ours,
                   f"{ratio} (2010: {told})" if told else ratio)
        for case in filter(self.in_table, cases(rows)):
            flat, ours = median(rows, case, "flat"), median(rows, case, "map")
            if flat and ours:
                yield (f"{self.title}, 10.2.2's bitmap and ours: {case}",
                       cell(flat, "us"), cell(ours, "us"),
                       times(flat, ours, "us"))


class Untouched(Experiment):
    """Memory that the guest never touched, over RAM size and over share."""
    name, title = "untouched", "Memory that was never touched"
    minutes = (8, 40)
    WAYS = {"null": "to nowhere", "file": "to a file of mapped-ram",
            "snapshot": "savevm"}
    # What is measured: column, what the case's name has, factor, unit
    VALUES = (("ms", "", 1, "ms"), ("cpu ms", ", CPU time", 1, "ms"),
              ("wire bytes", ", sent", 1 / 1024, "KiB"),
              ("rss KiB", ", growth of RSS", 1, "KiB"),
              ("tables KiB", ", growth of page tables", 1, "KiB"))
    CASE = re.compile(r"^([^,]+), (\d+) GiB, ([\d.]+) % touched"
                      r"(, KVM)?(, small pages)?(, stock extrapolated)?"
                      r"(, with the capability)?$")

    def commands(self, full):
        bench = [str(ROOT / "tests/bench/untouched_memory.py"), "--csv",
                 "/dev/stdout"]
        for name in self.variants:
            bench += ["--variant", name]
        runs = ["--runs", "5" if full else "3"]
        sizes = (1, 4, 16, 64, 256, 1024) if full else (1, 16, 64, 1024)
        yield [*bench, *runs, *(arg for size in sizes
                                for arg in ("--size", str(size)))]
        shares = [arg for share in ("0", "1", "10", "50", "100")
                  for arg in ("--touched", share)]
        yield [*bench, *runs, "--size", "4", "--way", "null", *shares]
        # 4 of 64 GiB
        yield [*bench, "--runs", "3", "--size", "64", "--touched", "6.25",
               "--way", "null"]
        # Nothing to win: what the search costs is to be seen in spite of noise
        for pages in ("huge", "small"):
            yield [*bench, "--runs", "7", "--way", "null", "--size", "1",
                   "--touched", "100", "--pages", pages]
        if not no_kvm():
            yield [*bench, "--runs", "3", "--accel", "kvm", "--way", "null",
                   "--size", "16", "--size", "64", "--size", "1024"]
        # Without huge pages stock takes 15 times as long
        yield [*bench, "--runs", "3" if full else "2", "--pages", "small",
               "--way", "null", "--stock-limit", "4", "--size", "1",
               "--size", "4", "--size", "1024"]
        # What was touched costs a file and a snapshot a disk's time
        if full:
            yield [*bench, "--runs", "2", "--size", "1", "--way", "file",
                   "--way", "snapshot", *shares]

    def parse(self, text):
        rows = list(csv_lines(text, "variant,accel,gib,"))
        guessed = {self.place(row) for row in rows
                   if row["extrapolated"] == "1"}
        return [value for row in rows
                for value in self.values(row, self.place(row) in guessed)]

    @staticmethod
    def place(row):
        """What the QEMUs are compared with."""
        return (row["way"], row["gib"], row["touched"], row["accel"],
                row["pages"])

    def values(self, row, guessed):
        """Rows of a line; those of stock are compared with two of ours."""
        case = (f"{self.WAYS[row['way']]}, {row['gib']} GiB, "
                f"{row['touched']} % touched"
                + ", KVM" * (row["accel"] == "kvm")
                + ", small pages" * (row["pages"] == "small")
                + ", stock extrapolated" * guessed)
        capability = ", with the capability"
        names = {"pristine": ("", capability), "patched": ("",),
                 "record": (capability,)}[row["variant"]]
        for more in names:
            for column, what, factor, unit in self.VALUES:
                if row[column]:
                    yield {"case": case + more + what, "unit": unit,
                           "variant": row["variant"].replace("record",
                                                             "patched"),
                           "value": float(row[column]) * factor}

    def in_table(self, case):
        """The largest, what is half idle, and where nothing can be won: there
        CPU time, which other load of the machine changes less.
        """
        if re.search(r", 1 GiB, 100 %", case):
            return case.endswith("CPU time")
        return bool(re.search(r", (1024|64) GiB, [0.]+ %|6.25 %", case)
                    and not re.search("CPU time|RSS", case))

    def drawn(self, case):
        return False

    def curves(self, rows):
        return [self.over(rows, "RAM, GiB",
                          lambda gib, share: None if share else gib),
                self.over(rows, "touched, % of 4 GiB",
                          # A logarithmic scale has no zero
                          lambda gib, share: max(share, 0.1) if gib == 4
                          else None)]

    def over(self, rows, what, place):
        """Curves of all that have a place; ours without and with it."""
        panels = {}
        found = sorted(filter(None, map(self.CASE.match, cases(rows))),
                       key=lambda m: (int(m[2]), float(m[3])))
        for match in found:
            where = place(int(match[2]), float(match[3]))
            if where is None or match[4] or match[5]:
                continue
            panel = panels.setdefault(match[1], {
                variant: [[], []] for variant in self.variants})
            for variant in self.variants:
                line = panel[variant][bool(match[7])
                                      if variant == "patched" else 0]
                value = median(rows, match[0], variant)
                if value and (where, value) not in line:
                    line.append((where, value))
        return Curves(what, "ms", panels,
                      ["without the capability", "with it"], True)


class Migration(Experiment):
    """Live migration of a Linux guest that writes."""
    name, title = "migration", "Live migration, Linux under TCG, 8 GiB"
    minutes = (2, 10)
    with_peers = True

    def commands(self, full):
        rates = [] if full else ["--rate", "5000"]
        yield [str(ROOT / "tests/bench/migration_time.py"), *rates,
               "--runs", "7" if full else "5", "--csv", "/dev/stdout"]

    def parse(self, text):
        rows = []
        for row in csv_lines(text, "rate,variant,"):
            case = f"{row['rate']} pages/s"
            if row["skipped"]:
                rows.append(skipped_row(case, row))
                continue
            rows += [{"case": f"{case}, {what}", "variant": row["variant"],
                      "value": float(row[field]), "unit": unit}
                     for what, field, unit in (
                         ("until it is complete", "total ms", "ms"),
                         ("guest stands still", "downtime ms", "ms"),
                         ("all dirty syncs", "sync ms", "ms"),
                         ("rounds", "rounds", "rounds"))]
        return rows


class Copies(Experiment):
    """The copy that stays."""
    name, title = "copies", "A copy of QEMU's, and memcpy() itself"
    minutes = (1, 2)
    targets = ("tests/bench/iov-copy-bench",)
    variants = ("memcpy", "iov_from_buf")

    def commands(self, full):
        yield [str(PATCHED / "tests/bench/iov-copy-bench"), "--csv",
               "--level", "L1,L2,L2:DRAM,DRAM", "--size",
               "64,1500,9000,65520" if full else "1500,65520", "--align",
               "misaligned", "--variant", "iov_from_buf", "--runs",
               "31" if full else "15"]

    def parse(self, text):
        rows = []
        for row in csv_lines(text, "source,destination,"):
            where = row["source"]
            if row["destination"] != where:
                where += f" to {row['destination']}"
            pieces = (f" in pieces of {row['segment_bytes']}"
                      if row["segments"] != "1" else "")
            rows += [{"case": f"{where}, {row['bytes']} bytes{pieces}",
                      "variant": row["variant"], "value": float(row[field]),
                      "unit": "ns"} for field in ("ns", "ns_min", "ns_max")]
        return rows


class Receive(Experiment):
    """What a packet costs virtio-net."""
    name, title = "receive", "CPU time of a packet"
    minutes = (2, 10)
    targets = ("tests/qtest/virtio-net-rx-bench",)
    # The median; NAME.txt has the distance between the quartiles as well.
    LINE = re.compile(r"^(tap|dgram|stream) +(\S+) (pristine|patched) +(\d+) ",
                      re.M)

    def commands(self, full):
        sizes = "60,128,512,1500,9000,65520,imix" if full else "60,1500,65520"
        yield [str(PATCHED / "tests/qtest/virtio-net-rx-bench"),
               "--rounds", "25" if full else "15", "--sizes", sizes,
               *(f"{name}={path}" for name, path in QEMU.items())]

    def parse(self, text):
        rows = []
        for backend, size, variant, cpu in self.LINE.findall(text):
            unit = "" if size == "imix" else " bytes"
            rows.append({"case": f"{backend}, {size}{unit}",
                         "variant": variant, "value": int(cpu), "unit": "ns"})
        return rows


class Instructions(Receive):
    """The same, counted by single steps: the same in each run."""
    name, title = "instructions", "QEMU's main loop, a packet"
    minutes = (2, 6)
    # In the order of commands()
    LOADS = ("one by one", "burst of 50")

    def commands(self, full):
        sizes = "60,1500" if full else "1500"
        for args in (["--single", "--rounds", "21"], ["--rounds", "1"]):
            yield [str(PATCHED / "tests/qtest/virtio-net-rx-bench"), "--steps",
                   *args, "--sizes", sizes,
                   *(f"{name}={path}" for name, path in QEMU.items())]

    def parse(self, text):
        tables = re.split(r"^from +bytes .*$", text, flags=re.M)[1:]
        return [{"case": f"{backend}, {size} bytes, {load}",
                 "variant": variant, "value": int(insns),
                 "unit": "instructions"}
                for load, table in zip(self.LOADS, tables)
                for backend, size, variant, insns in self.LINE.findall(table)]


class GuestNet(Experiment):
    """A Linux guest that receives from iperf3."""
    name, title = "guest-net", "Linux guest under TCG, iperf3 over tap"
    minutes = (2, 6)

    def missing(self):
        if os.geteuid() or not os.path.exists("/dev/net/tun"):
            return "it takes root and /dev/net/tun"
        return None

    def commands(self, full):
        yield [str(ROOT / "tests/bench/guest_net.py"),
               "--runs", "9" if full else "4",
               "--csv", "/dev/stdout"]

    def parse(self, text):
        rows = []
        for row in csv_lines(text, "load,variant,"):
            load, size = row["load"], float(row["bytes"])
            cpu = 1e9 * float(row["cpu seconds of the main thread"])
            units = (size, "ns/byte") if load == "tcp" else \
                (float(row["packets"]), "ns/packet")
            rows += [
                {"case": f"{load}, main thread", "variant": row["variant"],
                 "value": cpu / units[0], "unit": units[1]},
                {"case": f"{load}, received", "variant": row["variant"],
                 "value": size * 8e-6 / float(row["seconds"]),
                 "unit": "Mbit/s"}]
        return rows


class Exits(Experiment):
    """Exits of firmware and boot loaders."""
    # What others report of clusters of their own
    VMWARE, VBOX = "VMware, 2012, as reported", "VirtualBox, as reported"
    REPORTED = (
        # Agesen, Mattson, Rugina, Sheldon, "Software Techniques for Avoiding
        # Hardware Virtualization Exits", USENIX ATC 2012
        (f"Exits, {VMWARE}: PassMark 2D", "46 million", "12 million", "3.8x"),
        (f"Exits, {VMWARE}: netperf over e1000, a round trip", "2.6", "1.97",
         "1.32x"),
        (f"Time, {VMWARE}: Linux compiled in a nested guest", "", "",
         "1.19x to 1.52x"),
        # src/VBox/VMM/VMMR3/NEMR3Native-win.cpp, its figures of 2018
        (f"Time, {VBOX}: Windows 2000 boots and shuts down", "1,932 s",
         "58.7 s", "33x"))
    name, title = "exits", "Exits to userspace"
    minutes = (2, 6)
    with_peers = True
    variants = ("pristine", "on")

    def missing(self):
        return no_kvm()

    def commands(self, full):
        guests = [] if full else [
            arg for name in ("post", "isolinux", "ipxe", "memtest86+")
            for arg in ("--guest", name)]
        yield [str(ROOT / "tests/bench/exits.py"), *guests,
               "--runs", "5" if full else "3", "--csv", "/dev/stdout"]

    def summary(self, rows):
        return [*super().summary(rows), *self.REPORTED]

    def parse(self, text):
        rows = []
        for row in csv_lines(text, "guest,variant,"):
            if row["skipped"]:
                rows.append(skipped_row(row["guest"], row))
                continue
            rows += [
                {"case": row["guest"], "variant": row["variant"],
                 "value": int(row["port exits"]) + int(row["mmio exits"]),
                 "unit": "exits"},
                {"case": f"{row['guest']}, time", "variant": row["variant"],
                 "value": float(row["seconds"]), "unit": "s"}]
        return rows


class Loops(Experiment):
    """Loops that do nothing but exit."""
    name, title = "loops", "Time of a loop's turn"
    minutes = (2, 10)
    variants = ("off", "on")

    def missing(self):
        return no_kvm()

    def commands(self, full):
        yield [str(ROOT / "tests/bench/exit_loops.py"),
               "--runs", "7" if full else "5", *([] if full else
                                                 ["--ring", "3"]),
               "--csv", "/dev/stdout"]

    def parse(self, text):
        rows, seen = [], set()
        for row in csv_lines(text, "loop,instructions between,"):
            between = row["instructions between"]
            case = (f"{row['loop']}{' ' + between if between else ''}, "
                    f"ring {row['ring']}")
            rows.append({"case": case, "variant": row["variant"],
                         "value": float(row["us per turn"]), "unit": "us"})
            if (case, row["variant"]) not in seen:
                seen.add((case, row["variant"]))
                rows.append({"case": case + ", exits",
                             "variant": row["variant"],
                             "value": float(row["exits per turn"]),
                             "unit": "exits"})
        return rows

    def in_table(self, case):
        return not case.startswith("gap") or case.startswith("gap 34,")

    def curves(self, rows):
        gap = re.compile(r"^gap ?(\d*), ring 3$")
        found = [(int(match.group(1) or 0), match.group())
                 for match in map(gap.match, cases(rows)) if match]
        lines = {variant: [[(length, median(rows, case, variant))
                            for length, case in sorted(found)]]
                 for variant in self.variants}
        return [Curves("instructions between two OUTs, in ring 3", "us",
                       {"": lines}, [""], False)]


ALL = [Sync(), SyncSize(), Writing(), DirtyMaps(), Untouched(), Migration(),
       Receive(), Instructions(), Copies(), GuestNet(), Exits(), Loops()]
