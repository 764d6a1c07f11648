#!/usr/bin/python3
"""Look at the patched QEMU from outside: what its monitors offer and answer.

The queue's commands are asked for with QEMU's own qmp-shell, and everything
that QEMU tells of its interfaces (QMP's schema, properties of devices and of
other QOM types, HMP's help, command line options) is compared with that of
stock QEMU: the difference has to be tests/monitor/expected, line by line, so
that nothing else changes unnoticed.  Prints TAP.

Exit status: 0 nothing failed, 1 something did, 2 wrong use.
"""
import contextlib
import difflib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "ci"))
# pylint: disable=wrong-import-position
from lib.series import BUILD  # noqa: E402
from lib.tool import (  # noqa: E402
    PATIENCE, Parser, Skip, Wrong, binary, kvm_usable, machine, no_qemu,
    run_main, tap, test_methods)

EXPECTED = pathlib.Path(__file__).with_name("expected")
EXAMPLES = """examples:
  tests/monitor/check.py
  tests/monitor/check.py --update     write tests/monitor/expected anew
"""
NEW_COMMANDS = ("x-query-dirty-memory", "x-query-exit-clusters")
# qom-list-properties makes an object of the type.  With these that takes stock
# QEMU down, or its standard input away, at once or some types later.
UNSAFE = ("chardev-parallel", "colo-compare", "cryptodev-backend-lkcf",
          "filter-dump", "filter-rewriter", "memory-region-portio-list",
          "qemu-fixed-text-console", "qemu-graphic-console",
          "qemu-text-console", "qio-net-listener", "x-remote-object")


def run(args, **kwargs):
    """A program, to its end.  Returns: exit status, stdout, stderr"""
    done = subprocess.run([str(arg) for arg in args], check=False, text=True,
                          errors="replace", timeout=PATIENCE,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          **kwargs)
    return done.returncode, done.stdout, done.stderr


def qemu_machine(variant, *args):
    """A QEMU without devices."""
    return machine(binary(variant),
                   ["-display", "none", "-nodefaults", *args])


def ask(tmp, program, args, lines):
    """Type lines to qmp-shell.  Returns: what it says, answers by line"""
    # It keeps a history at home, qmp-shell-wrap has its socket here.
    status, said, errors = run(
        ["/usr/bin/python3", BUILD / "src/scripts/qmp" / program, *args],
        input="\n".join(lines) + "\n", cwd=tmp,
        env=dict(os.environ, HOME=str(tmp)))
    # QEMU can be gone after "quit" before the shell is done with the answer.
    raced = lines[-1] == "quit" and errors.rstrip().endswith("EOFError")
    if status and not raced:
        raise Wrong(f"{program} ends with {status}: {errors.strip()[-300:]}")
    found = re.findall(r"^\(QEMU\) (\{.*\})$", said, re.M)
    if len(found) != len(lines):
        raise Wrong(f"{program} answers {len(found)} of {len(lines)} lines: "
                    f"{said[-300:]!r}")
    return said, dict(zip(lines, map(json.loads, found)))


def same(what, found, wanted):
    """They have to be."""
    if found != wanted:
        raise Wrong(f"{what} is {found!r}, not {wanted!r}")


def check_answers(answers, accel):
    """What QEMU has to say to the lines of test_shell()."""
    for line in list(answers):
        if "return" not in answers[line]:
            raise Wrong(f"{line}: {answers[line]}")
        answers[line] = answers[line]["return"]
    same("query-status", answers["query-status"],
         {"status": "prelaunch", "running": False})
    version = answers["query-version"]
    same("query-version", version["qemu"],
         {"major": 10, "minor": 2, "micro": 2})
    if "qemu-thrift, queue " not in version["package"]:
        raise Wrong(f"query-version names no queue: {version['package']}")
    memory = {entry.pop("client"): entry
              for entry in answers["x-query-dirty-memory"]
              if entry["block"] == "pc.ram"}
    same("clients", sorted(memory), ["code", "migration", "vga"])
    pages = (64 << 20) >> 12
    # Nobody has looked at them yet; only TCG's is dirty for who doesn't log it
    for client in ("vga", "migration"):
        dirty = accel == "tcg" or client == "migration"
        same(f"pc.ram of {client}", memory[client],
             {"block": "pc.ram", "logged": False, "pages": pages,
              "dirty-pages": dirty * pages, "runs": int(dirty),
              "longest-run": dirty * pages})
    same("logged for code", memory["code"]["logged"], accel == "tcg")
    clusters = answers["x-query-exit-clusters"]
    same("clusters", clusters["clusters"], [])
    same("exits", clusters["exits"], 0)
    if accel == "tcg":
        same("reason", clusters.get("reason"), "KVM is not in use")
    same("enabled", clusters["enabled"], "reason" not in clusters)
    same("with max=1", answers["x-query-exit-clusters max=1"], clusters)


class Types:
    """QMP's schema, as lines that don't depend on the types' numbers."""

    def __init__(self, schema):
        self.types = {entity["name"]: entity for entity in schema}
        self.seen = {}

    def lines(self):
        """All that can be sent or comes."""
        for name, entity in sorted(self.types.items()):
            kind = entity["meta-type"]
            if kind not in ("command", "event"):
                continue
            oob = " oob" if entity.get("allow-oob") else ""
            yield f"{kind} {name}{oob}{features(entity)}"
            self.seen = {}
            yield from self.walk(f"{kind} {name}", entity["arg-type"])
            if "ret-type" in entity:
                yield from self.walk(f"{kind} {name} =>", entity["ret-type"])

    def walk(self, path, name):
        """A type and what it is made of, a type of types only once."""
        entity = self.types[name]
        kind = entity["meta-type"]
        if kind == "builtin":
            yield f"{path}: {entity['json-type']}"
        elif kind == "enum":
            for member in entity["members"]:
                yield f"{path}: '{member['name']}'{features(member)}"
        elif kind == "array":
            yield from self.walk(f"{path}[]", entity["element-type"])
        elif name in self.seen:
            yield f"{path}: as {self.seen[name]}"
        else:
            self.seen[name] = path
            yield f"{path}: {kind}{features(entity)}"
            for member in entity["members"]:
                # An alternate's are types only
                what = member.get("name", "|")
                optional = "?" if "default" in member else ""
                if member.get("features"):
                    yield f"{path} .{what}{features(member)}"
                yield from self.walk(f"{path} .{what}{optional}",
                                     member["type"])
            for case in entity.get("variants", []):
                where = f"{path} ({entity['tag']}={case['case']})"
                yield from self.walk(where, case["type"])


def features(entity):
    """Those of a part of the schema."""
    names = [f if isinstance(f, str) else f["name"]
             for f in entity.get("features", [])]
    return f" [{', '.join(sorted(names))}]" if names else ""


def property_line(prop):
    """As -device X,help shows it."""
    return (f"{prop['name']}=<{prop['type']}>"
            + (f" - {prop['description']}" if prop.get("description") else "")
            + (f" (default: {prop['default-value']!r})"
               if "default-value" in prop else ""))


def listed(qemu, command, name):
    """A type's properties, or one that says that QEMU does not tell."""
    try:
        answer = qemu.qmp(command, typename=name)
    except Exception as err:  # pylint: disable=broad-except
        raise Wrong(f"QEMU ends in {command} {name}, or before, because of "
                    f"another type: {err}") from err
    if "error" in answer:
        return [{"name": "", "type": answer["error"]["desc"]}]
    return answer["return"]


def qom_lines(qemu):
    """Each type, its parent, its properties."""
    types = {entry["name"]: entry for entry in
             qemu.cmd("qom-list-types", abstract=True)}
    devices = {entry["name"] for entry in
               qemu.cmd("qom-list-types", implements="device")}
    for name, entry in sorted(types.items()):
        abstract = " abstract" if entry.get("abstract") else ""
        yield f"type {name} of {entry.get('parent')}{abstract}"
        if name in devices:
            yield from (f"device {name} {property_line(prop)}" for prop in
                        listed(qemu, "device-list-properties", name))
        if name not in UNSAFE:
            yield from (f"qom {name} {prop['name']}=<{prop['type']}>"
                        for prop in
                        listed(qemu, "qom-list-properties", name))


def all_lines(variant):
    """All that QEMU tells of its interfaces."""
    lines = []
    qemu = qemu_machine(variant, "-machine", "none")
    qemu.launch()
    try:
        lines += Types(qemu.cmd("query-qmp-schema")).lines()
        for option in qemu.cmd("query-command-line-options"):
            lines += [f"option {option['option']} {param['name']}: "
                      f"{param['type']} {param.get('help', '')}".rstrip()
                      for param in option["parameters"]]
        for command in ("help", "help info"):
            text = qemu.cmd("human-monitor-command",
                            command_line=command)
            lines += [f"hmp {line}" for line in text.splitlines()]
        lines += qom_lines(qemu)
    finally:
        with contextlib.suppress(Exception):    # it may have ended
            qemu.shutdown(hard=True)
    _, text, _ = run([binary(variant), "--help"])
    # The first line is the version.
    return lines + [f"--help {line}" for line in text.splitlines()[1:]]


def difference():
    """What the queue adds (+) and takes away (-)."""
    old, new = (set(all_lines(variant)) for variant in ("pristine", "patched"))
    return [f"+ {line}" for line in sorted(new - old)] + \
        [f"- {line}" for line in sorted(old - new)]


def accels():
    """What QEMU can use here."""
    return ["tcg"] + (["kvm"] if kvm_usable() else [])


class Checks:
    """The tests, in order."""

    def __init__(self, tmp):
        self.tmp = tmp

    def test_shell(self):
        """qmp-shell: QEMU's status and version, and the queue's commands"""
        for accel in accels():
            with qemu_machine("patched", "-accel", accel, "-m", "64", "-S",
                              "-machine", "pc", "-qmp",
                              f"unix:{self.tmp}/{accel},server=on,wait=off"
                              ) as qemu:
                qemu.launch()
                said, answers = ask(
                    self.tmp, "qmp-shell", [self.tmp / accel],
                    ["query-status", "x-query-dirty-memory",
                     "x-query-exit-clusters", "x-query-exit-clusters max=1",
                     "query-version"])
            if "Connected to QEMU 10.2.2" not in said:
                raise Wrong(f"qmp-shell says {said[:200]!r}")
            check_answers(answers, accel)

    def test_shell_errors(self):
        """qmp-shell: a command and an argument that are not there"""
        path = self.tmp / "errors"
        with qemu_machine("patched", "-machine", "none", "-qmp",
                          f"unix:{path},server=on,wait=off") as qemu:
            qemu.launch()
            _, answers = ask(
                self.tmp, "qmp-shell", [path],
                ["x-query-nothing", "x-query-dirty-memory max=1",
                 "x-query-exit-clusters max=-1"])
        same("errors", [answer.get("error", {}).get("class")
                        for answer in answers.values()],
             ["CommandNotFound", "GenericError", "GenericError"])

    def test_shell_wrap(self):
        """qmp-shell-wrap: starts QEMU, asks and ends it"""
        _, answers = ask(
            self.tmp, "qmp-shell-wrap",
            ["--", binary("patched"), "-display", "none", "-nodefaults",
             "-accel", "tcg", "-m", "64", "-S"],
            ["query-status", "x-query-dirty-memory", "x-query-exit-clusters",
             "quit"])
        for line, answer in answers.items():
            if "return" not in answer:
                raise Wrong(f"{line}: {answer}")

    def test_device_help(self):
        """-device virtio-net-pci,help shows rx-direct"""
        status, text, errors = run([binary("patched"), "-device",
                                    "virtio-net-pci,help"])
        if status or not re.search(r"^  rx-direct=<OnOffAuto> .*default: auto",
                                   text, re.M):
            raise Wrong(f"it says {(text + errors)[-300:]!r}")

    def test_unstable(self):
        """the queue's QMP commands are marked as unstable"""
        with qemu_machine("patched", "-machine", "none") as qemu:
            qemu.launch()
            found = {entity["name"]: entity.get("features")
                     for entity in qemu.cmd("query-qmp-schema")
                     if entity["name"] in NEW_COMMANDS}
        same("features", found, dict.fromkeys(NEW_COMMANDS, ["unstable"]))

    def test_unstable_input(self):
        """-compat unstable-input=reject rejects them"""
        with qemu_machine("patched", "-machine", "none", "-compat",
                          "unstable-input=reject") as qemu:
            qemu.launch()
            for name in NEW_COMMANDS:
                error = qemu.qmp(name).get("error", {})
                if "disabled by policy" not in error.get("desc", ""):
                    raise Wrong(f"{name}: {error or 'it is done'}")

    def test_difference(self):
        """all else is as with stock QEMU"""
        if no_qemu(binary("pristine")):
            raise Skip(no_qemu(binary("pristine")))
        wanted = EXPECTED.read_text(encoding="utf-8").splitlines()
        # The last word of a line can be a blank
        found = [line.rstrip() for line in difference()]
        if found != wanted:
            told = list(difflib.unified_diff(
                wanted, found, "tests/monitor/expected", "found", n=0,
                lineterm=""))
            raise Wrong("\n".join([f"{len(told)} lines differ", *told[:40]]))


def main():
    """All tests, or a new expected difference."""
    parser = Parser(EXAMPLES, __doc__)
    parser.add_argument("--update", action="store_true",
                        help="write what differs from stock QEMU to "
                             "tests/monitor/expected")
    opts = parser.parse_args()
    parser.refuse(no_qemu(binary("patched")))
    if opts.update:
        parser.refuse(no_qemu(binary("pristine")))
        EXPECTED.write_text("".join(f"{line.rstrip()}\n"
                                    for line in difference()),
                            encoding="utf-8")
        return 0
    with tempfile.TemporaryDirectory() as tmp:
        return tap(test_methods(Checks(pathlib.Path(tmp))))


if __name__ == "__main__":
    run_main(main)
