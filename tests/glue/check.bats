#!/usr/bin/env bats
# ci/check: the order of stages, what it counts, and its end.  What the stages
# run is replaced by programs of a line or two.

load helper

setup() {
    tiny applied
    mkdir -p tests/queue tests/glue
    export STEPS=$BATS_TEST_TMPDIR/steps
    : >"$STEPS"
}

# becomes FILE LINE...: a shell script in FILE's place
becomes() {
    printf '#!/bin/bash\n' >"$1"
    printf '%s\n' "${@:2}" >>"$1"
    chmod +x "$1"
}

# waits_for WHAT: a line of shell that returns once another stage has done WHAT,
# or after five minutes
waits_for() {
    echo "for _ in {1..6000}; do ! grep -q '$1' $STEPS || break; sleep 0.05; done"
}

# noted N: that many processes have noted themselves in $STEPS
noted() {
    [ "$(wc -l <"$STEPS")" -ge "$1" ]
}

# interrupted ARGS...: ci/check with these, which is interrupted once two
# processes, or as many as $N says, have noted themselves in $STEPS
interrupted() {
    ci/check "$@" 2>"$BATS_TEST_TMPDIR/err" 3>&- &
    local check=$! status=0
    eventually noted "${N:-2}"
    kill -TERM $check
    ends $check
    wait $check || status=$?
    same "$status" 1
    grep -q 'check: error: interrupted' "$BATS_TEST_TMPDIR/err"
}

# ends PID: gone, or not yet reaped by whoever inherited it
ends() {
    for _ in {1..6000}; do
        [ -e "/proc/$1/stat" ] && ! grep -q ') Z' "/proc/$1/stat" || return 0
        sleep 0.05
    done
    echo "process $1 goes on"
    kill -KILL "$1"
    false
}

# all_end: all processes that were noted
all_end() {
    while read -r pid; do
        ends "$pid"
    done <"$STEPS"
}

@test "each stage says how it went, how long it took and how many cores it used" {
    becomes ci/checkpatch.py
    run -0 --separate-stderr ci/check --only lint --only checkpatch
    same "$output" '2 passed, 0 failed, 0 skipped'
    [[ $stderr =~ 'lint: 1 passed, 0 failed, 0 skipped, '[0-9]+' s (log: build/check/lint.log)' ]]
    [[ $stderr =~ $'\n'checkpatch' '+[0-9]+' s '+[0-9]+' s '+[0-9]\.[0-9] ]]
    grep -q '^\[exit 0, [0-9.]* s\]$' build/check/checkpatch.log
}

# Not by how many cores it used: on a busy host that's none.
@test "a stage's CPU time is that of what it ran, and of what that waited for" {
    run -0 /usr/bin/python3 - <<'END'
import sys
from importlib import machinery, util
from types import SimpleNamespace

sys.path.insert(0, "ci")
loader = machinery.SourceFileLoader("check", "ci/check")
check = util.module_from_spec(util.spec_from_loader("check", loader))
loader.exec_module(check)
check.LOGS.mkdir(parents=True, exist_ok=True)
busy = "import time\nwhile time.process_time() < 0.3: pass"
for command, least, most in (
        (["sh", "-c", f"/usr/bin/python3 -c '{busy}'; :"], 0.29, 1e9),
        (["sleep", "1"], 0, 0.29)):
    run = check.Run("lint", SimpleNamespace(only=["lint"]), check.Processes())
    run.command(command)
    assert least <= run.cpu <= most, f"{command} took {run.cpu}"
END
}

@test "a stage that fails, and what it said" {
    becomes ci/checkpatch.py 'echo "error: it is wrong"' 'exit 1'
    run -1 --separate-stderr ci/check --only lint --only checkpatch
    says 'failed: checkpatch: ci/checkpatch.py: error: it is wrong'
    says '1 passed, 1 failed, 0 skipped'
    # not how far it came, whatever the patch is called
    becomes ci/checkpatch.py 'echo "error: it is wrong"' \
        'echo "checkpatch.py: [2/3] topic/0002-test-failures.patch"' 'exit 1'
    run -1 ci/check --only checkpatch
    says 'failed: checkpatch: ci/checkpatch.py: error: it is wrong'
}

@test "where a command's last words name a log, what it said of the cause is reported" {
    becomes ci/checkpatch.py 'echo "tool: [1/9] beta/0001-no-error: it.patch"' 'echo fine' \
        'echo "FAILED: ram.o"' 'echo "cc -o ram.o"' 'echo "ram.c:1:2: error: no such thing"' \
        'echo "ram.c:1:2: note: look there"' 'echo "tool: error: it does not build (log: build/x.log)"' 'exit 1'
    run -1 --separate-stderr ci/check --only checkpatch
    same "${output%$'\n'*}" "failed: checkpatch: ci/checkpatch.py: tool: error: it does not build (log: build/x.log)
    FAILED: ram.o
    ram.c:1:2: error: no such thing"
    # None says so: the last ones, and those behind the last words, too
    becomes ci/checkpatch.py 'seq 20' 'echo "tool: error: it failed"' 'echo bye' 'exit 1'
    run -1 --separate-stderr ci/check --only checkpatch
    same "${output%$'\n'*}" "failed: checkpatch: ci/checkpatch.py: tool: error: it failed
    14
    15
    16
    17
    18
    19
    20
    bye"
    becomes ci/hosts.sh 'echo 1..2' 'echo ok 1 - a' 'echo "E: no room"' 'echo "hosts.sh: error: no guest"' 'exit 1'
    run -1 --separate-stderr ci/check --only hosts
    says $'failed: hosts: hosts: hosts.sh: error: no guest\n    E: no room\n'
}

@test "what every-patch said of a commit that failed is reported with it" {
    becomes ci/every-patch.sh \
        'echo "every-patch.sh: [1/3] FAIL: a: b (log: build/every-patch.log)"' \
        'echo "    FAILED: ram.o"' 'echo "    ram.c:1: error: no"' 'echo "every-patch.sh: [2/3] pass: c (1 s)"' \
        'echo "every-patch.sh: [3/3] FAIL: d (log: build/every-patch.log)"' \
        'echo "every-patch.sh: error: 2 of 3 commits do not build"' 'exit 1'
    run -1 --separate-stderr ci/check --only every-patch
    same "$output" "failed: every-patch: a: b (log: build/every-patch.log)
    FAILED: ram.o
    ram.c:1: error: no
failed: every-patch: d (log: build/every-patch.log)
1 passed, 2 failed, 0 skipped"
}

@test "what a case that failed has said is reported with it" {
    becomes ci/hosts.sh 'echo 1..4' 'echo "# fine"' 'echo ok 1 - a' 'echo "# it is 5"' \
        'echo "qemu: no room"' 'echo not ok 2 - b' 'echo not ok 3 - c' \
        'echo "not ok 4 - d"' 'echo "# (in test file d.bats, line 3)"' 'echo "#   false"' 'exit 1'
    run -1 --separate-stderr ci/check --only hosts
    same "${output%$'\n'*}" "failed: hosts: hosts: b
    # it is 5
    qemu: no room
failed: hosts: hosts: c
failed: hosts: hosts: d
    # (in test file d.bats, line 3)
    #   false"
}

@test "cases skipped for the same reason are one line" {
    becomes ci/hosts.sh 'echo 1..3' 'echo "ok 1 - a # SKIP no wine"' \
        'echo "ok 2 - b # SKIP no wine"' 'echo "ok 3 - c # SKIP no beer"'
    run -0 --separate-stderr ci/check --only hosts
    same "$output" "skipped: a and 1 more: no wine
skipped: c: no beer
0 passed, 0 failed, 3 skipped"
}

@test "a unit test that skips itself says why" {
    mkdir -p build/patched/pyvenv/bin
    becomes build/patched/pyvenv/bin/meson 'mkdir -p meson-logs' \
        'cat >meson-logs/testlog.json <<EOT' \
        '{"name": "qemu:unit / test-a", "stdout": "1..2\nok 1 a\nok 2 b # SKIP no such disk\n"}' \
        '{"name": "qemu:unit / test-b", "stdout": "1..0 # SKIP no root\n"}' \
        '{"name": "qemu:unit / test-c", "stdout": null}' EOT \
        'echo " 1/4 qemu:unit / test-a    SKIP    0.1s"' \
        'echo " 2/4 qemu:unit / test-b    SKIP    0.1s"' \
        'echo " 3/4 qemu:unit / test-c    SKIP    0.1s"' \
        'echo " 4/4 qemu:unit / test-d    OK      0.1s"' 'echo "Ok:       1"' 'echo "Skipped:  3"'
    run -0 --separate-stderr ci/check --only unit
    same "$output" 'skipped: unit test qemu:unit / test-a: no such disk
skipped: unit test qemu:unit / test-b: no root
skipped: unit test qemu:unit / test-c: no reason given
1 passed, 0 failed, 3 skipped'
}

@test "what a unit test that failed has said is reported with it" {
    mkdir -p build/patched/pyvenv/bin
    becomes build/patched/pyvenv/bin/meson 'mkdir -p meson-logs' \
        'cat >meson-logs/testlog.json <<EOT' \
        '{"name": "qemu:unit / test-a", "stdout": "1..2\nok 1 a\nnot ok 2 b\n# ERROR:a.c:5: 1 is not 2\n", "stderr": "+ a\n"}' \
        '{"name": "qemu:unit / test-b", "stdout": "1..2\nok 1 a\n"}' EOT \
        'echo " 1/3 qemu:unit / test-a    FAIL    0.1s"' \
        'echo " 2/3 qemu:unit / test-b    TIMEOUT 0.1s"' 'echo " 3/3 qemu:unit / test-c    ERROR   0.1s"' \
        'echo "Ok:       1"' 'echo "Fail:     2"' 'echo "Timeout:  1"' 'exit 3'
    run -1 --separate-stderr ci/check --only unit
    same "$output" 'failed: unit: qemu:unit / test-a
    not ok 2 b
    # ERROR:a.c:5: 1 is not 2
failed: unit: qemu:unit / test-b
    1..2
    ok 1 a
failed: unit: qemu:unit / test-c
1 passed, 3 failed, 0 skipped'
}

@test "a program that isn't there is a failure, and the next stage comes" {
    rm ci/package.sh
    becomes ci/docs.sh
    run -1 ci/check --one-by-one --only package --only docs --only lint
    says 'failed: package: ci/package.sh: No such file or directory'
    says '2 passed, 1 failed, 0 skipped'
    # nor the folder in which one is to run
    run -1 ci/check --only unit
    says "failed: unit: $REPO/build/patched: No such file or directory"
}

@test "an exception in a stage is its failure, and all others are reported" {
    # In either lane; docs is behind apply.  A log can't be written.
    mkdir -p build/check/docs.log build/check/apply.log
    run -1 --separate-stderr timeout 600 ci/check --only lint --only apply --only docs
    says 'failed: apply: IsADirectoryError: '
    says 'failed: docs: IsADirectoryError: '
    same "${lines[-1]}" '1 passed, 2 failed, 0 skipped'
    [[ $stderr == *$'\napply '*$'\ndocs '* ]] || [[ $stderr == *$'\ndocs '*$'\napply '* ]]
}

@test "a program that says ok and has not run all its cases has failed" {
    becomes ci/hosts.sh 'echo 1..2' 'echo ok 1 - a' 'echo ok 2 - b'
    run -0 ci/check --only hosts
    says '2 passed, 0 failed'
    becomes ci/hosts.sh 'echo ok 1 - a' 'echo "ok 2 - b # SKIP none"' 'echo 1..2'
    run -0 ci/check --only hosts
    says '1 passed, 0 failed, 1 skipped'
    becomes ci/hosts.sh 'echo 1..3' 'echo ok 1 - a' 'echo ok 2 - b'
    run -1 ci/check --only hosts
    says 'failed: hosts: hosts: 1 of 3 cases were not run, 3 is the first'
    says '2 passed, 1 failed'
    # With -p GLib has its plan at the end
    becomes ci/hosts.sh 'echo ok 1 - a'
    run -1 ci/check --only hosts
    says 'failed: hosts: hosts: it has no plan'
    # Half a line of QEMU's before its own
    becomes ci/hosts.sh 'echo 1..2' 'echo "qemu: ok 1 - a"' 'echo ok 2 - b'
    run -0 ci/check --only hosts
    becomes ci/hosts.sh 'echo "qemu: 1..2"' 'echo ok 1 - a' 'echo ok 2 - b'
    run -0 ci/check --only hosts
    # Numbers of QEMU's are neither a plan nor a case.
    becomes ci/hosts.sh 'echo "1..1 of 2 bytes"' 'echo "pages 1..1 lost"' 'echo 1..2' \
        'echo ok 1 - a' 'echo "that is ok 2."'
    run -1 ci/check --only hosts
    says 'failed: hosts: hosts: 1 of 2 cases were not run, 2 is the first'
    becomes ci/hosts.sh 'echo "1..0 # SKIP no wine"'
    run -0 ci/check --only hosts
    says '0 passed, 0 failed, 1 skipped'
}

@test "two stages at a time, each behind the one that it needs" {
    # Each waits for the other one.
    becomes ci/mail.py "echo mail >>$STEPS"
    becomes ci/package.sh "$(waits_for docs)" "echo package >>$STEPS" 'exit 1'
    becomes ci/docs.sh "echo docs >>$STEPS" "$(waits_for package)"
    run -1 timeout 600 ci/check --only package --only docs
    says 'failed: package:'
    says '1 passed, 1 failed'
    becomes ci/base.sh 'sleep 1' "echo base >>$STEPS" 'exit 1'
    becomes ci/docs.sh "grep -q base $STEPS"
    run -1 timeout 600 ci/check --only docs --only apply
    says '1 passed, 1 failed'
}

@test "--one-by-one is one stage at a time" {
    becomes ci/package.sh "echo begin >>$STEPS" 'sleep 1' "echo end >>$STEPS" 'exit 1'
    becomes ci/docs.sh "[ \"\$(grep -c begin $STEPS)\" = \"\$(grep -c end $STEPS)\" ]"
    run -1 ci/check --one-by-one --only docs --only package
    says '1 passed, 1 failed'
}

@test "every-patch is the last of those that run beside others" {
    becomes configure-wrapper.sh
    becomes ci/mutants "echo mutants >>$STEPS" 'exit 1'
    becomes ci/syntax.py "echo syntax >>$STEPS"
    becomes ci/every-patch.sh "echo every-patch >>$STEPS"
    for how in '' --one-by-one; do
        : >"$STEPS"
        # shellcheck disable=SC2086 # none, or one
        run -1 timeout 600 ci/check $how --only build --only every-patch --only mutants --only syntax
        same "$(tail -n 1 "$STEPS")" every-patch
        same "$(sort "$STEPS" | paste -sd' ')" 'every-patch mutants syntax'
    done
}

@test "every-patch has what is left of the hour" {
    becomes ci/every-patch.sh "echo \"\$@\" >>$STEPS"
    run -1 ci/check --only every-patch
    same "$(cat "$STEPS")" '--keep-going --minutes 25'
}

@test "a run that takes long leaves out mutants, commits and Debian 13, and says so" {
    for name in mutants every-patch.sh suite.sh; do
        becomes "ci/$name" "echo $name \"\$@\" >>$STEPS" 'exit 1'
    done
    run -1 ci/check --only mutants --only debian13 --only every-patch
    same "$(sed 's/39$/40/' "$STEPS" | sort)" 'every-patch.sh --keep-going --minutes 25
mutants --keep-going --minutes 40
suite.sh trixie'
    : >"$STEPS"
    sed -i 's/^BEGIN_MINUTES, END_MINUTES = 40,/BEGIN_MINUTES, END_MINUTES = 0,/' ci/check
    run -0 ci/check --only mutants --only debian13 --only every-patch
    same "$(cat "$STEPS")" ''
    says 'skipped: stage mutants: the run has taken 0 minutes; ci/mutants does it'
    says 'skipped: stage debian13: the run has taken 0 minutes; ci/suite.sh trixie does it'
    says 'skipped: stage every-patch: the run has taken 0 minutes; ci/every-patch.sh does it'
    says '0 passed, 0 failed, 3 skipped'
}

@test "mutants, commits and Debian 13 that take too long are ended, which is no failure" {
    for name in mutants every-patch.sh suite.sh; do
        becomes "ci/$name" "echo \$\$ >>$STEPS" 'cat ci/said' 'exec sleep 600'
    done
    printf '%s\n' 1..2 'ok 1 - one/mutant' 'every-patch.sh: [1/9] pass: one' \
        'suite.sh: passed: root' >ci/said
    sed -i 's/^BEGIN_MINUTES, END_MINUTES = 40, 60/BEGIN_MINUTES, END_MINUTES = 40, 0.05/' ci/check
    run -0 ci/check --only mutants --only debian13 --only every-patch
    says 'skipped: the rest of mutants: the run has taken 0.05 minutes; ci/mutants does it'
    says 'skipped: the rest of debian13: the run has taken 0.05 minutes; ci/suite.sh trixie does it'
    says '0 failed, 3 skipped'
    all_end
    # What failed until then is one.
    : >"$STEPS"
    printf '%s\n' 1..2 'not ok 1 - one/mutant' >ci/said
    run -1 ci/check --only mutants
    says 'failed: mutants: mutants: one/mutant'
    says '0 passed, 1 failed, 1 skipped'
    never_says 'said nothing'
    all_end
    # It may be one that hangs.
    sed -i 's/^QUIET_MINUTES = 10/QUIET_MINUTES = 0.01/' ci/check
    run -1 ci/check --only mutants
    says '; it had said nothing for 0 minutes'
}

@test "a run that takes too long begins no stage, and ends those that run, but for --only" {
    becomes ci/deps.sh "echo deps >>$STEPS" 'exec sleep 600'
    sed -i 's/^LAST_BEGIN_MINUTES, LAST_END_MINUTES = 65, 80/LAST_BEGIN_MINUTES, LAST_END_MINUTES = 0, 80/' ci/check
    run -0 ci/check
    says 'skipped: stage deps: the run has taken 0 minutes; ci/check --only deps does it'
    says 'skipped: stage guest: the run has taken 0 minutes; ci/check --only guest does it'
    says '0 passed, 0 failed, 24 skipped'
    same "$(cat "$STEPS" 2>/dev/null)" ''
    sed -i 's/^LAST_BEGIN_MINUTES, LAST_END_MINUTES = 0, 80/LAST_BEGIN_MINUTES, LAST_END_MINUTES = 0.05, 0.05/' ci/check
    run -0 ci/check
    says 'skipped: stage deps: the run has taken 0.05 minutes; ci/check --only deps does it'
    same "$(cat "$STEPS")" deps
    becomes ci/deps.sh 'echo not ok 1 - a' 'exec sleep 600'
    run -1 ci/check
    says 'failed: deps: not ok 1 - a'
    becomes ci/deps.sh 'sleep 4'
    run -0 ci/check --only deps
    says '1 passed, 0 failed, 0 skipped'
}

@test "a stage that ends with the status of timeout(1) has not taken too long" {
    becomes ci/suite.sh 'echo "suite.sh: error: no packages"' 'exit 124'
    becomes ci/mutants 'echo 1..1' 'echo not ok 1 - a' 'exit 124'
    run -1 ci/check --only debian13 --only mutants
    says 'failed: debian13: suite.sh: error: no packages'
    says '0 passed, 2 failed, 0 skipped'
}

@test "what it runs ends with it" {
    becomes ci/docs.sh "sleep 600 & echo \$! >>$STEPS" 'wait'
    becomes ci/package.sh "sleep 600 & echo \$! >>$STEPS" 'wait'
    interrupted --only docs --only package
    all_end
}

@test "an interrupt: what has failed until then is reported, without a sum" {
    becomes ci/package.sh 'echo error: no space' 'exit 1'
    becomes ci/docs.sh "echo \$\$ >>$STEPS" "$(waits_for package)" 'exec sleep 600'
    becomes ci/mutants "echo package >>$STEPS" 'exec sleep 600'
    ci/check --only package --only docs --only mutants >"$BATS_TEST_TMPDIR/out" \
        2>"$BATS_TEST_TMPDIR/err" 3>&- &
    check=$!
    eventually grep -q ' package: 0 passed, 1 failed' "$BATS_TEST_TMPDIR/err"
    kill -TERM $check
    ends $check
    output=$(cat "$BATS_TEST_TMPDIR/out")
    says 'failed: package: error: no space'
    says 'not run: mutants'
    never_says 'failed: mutants'
    never_says ' passed, '
    grep -q '^package ' "$BATS_TEST_TMPDIR/err"
    grep -q 'error: interrupted' "$BATS_TEST_TMPDIR/err"
}

@test "two programs of one stage end with it, and no third one is begun" {
    mkdir -p tests/guests
    becomes tests/guests/make.sh
    for name in migrate_guest exercise faults savevm_leak quit_migrating \
        kvmlog; do
        becomes "tests/guests/$name.py" "echo \$\$ >>$STEPS" 'exec sleep 600'
    done
    interrupted --only guest
    all_end
    same "$(wc -l <"$STEPS")" 2
}

# with_check: a program in Python, from stdin, that has ci/check as check
with_check() {
    /usr/bin/python3 <(
        cat <<'END'
import pathlib
import subprocess
import sys
from importlib import machinery, util

sys.path.insert(0, "ci")
loader = machinery.SourceFileLoader("check", "ci/check")
check = util.module_from_spec(util.spec_from_loader("check", loader))
loader.exec_module(check)
END
        cat
    ) "$@" 3>&-
}

@test "a program that takes too long behind a case that failed is told of, too" {
    run -0 with_check <<'END'
run = check.Run("hosts", None, check.Processes())
run.tap_result("a", check.TIMED_OUT, "1..2\nnot ok 1 - x\n\ntimed out after 5 s\n")
print(*run.tally.failures, sep="\n")
# What is red because of a case is told once
run = check.Run("hosts", None, check.Processes())
run.tap_result("a", 1, "1..2\nnot ok 1 - x\nok 2 - y\n")
print(run.tally.failures)
END
    same "$output" "hosts: a: x
hosts: a: timed out after 5 s
['hosts: a: x']"
}

@test "a stage that ends its thread, or all, is a failure, and all others are reported" {
    becomes ci/package.sh 'echo error: no space' 'exit 1'
    for how in docs package; do
        run -1 --separate-stderr with_check --only lint --only docs --only package <<END
check.STAGES["$how"] = lambda run: sys.exit(0)
check.run_main(check.main)
END
        says "failed: $how: SystemExit: 0"
        says 'failed'
        [[ ${lines[-1]} == *' passed, '*' failed, 0 skipped' ]]
        [[ $stderr == *$'\nlint '* ]]
    done
}

@test "an interrupt leaves no half of a package installed" {
    # As root, whoever this is
    sed -i '/^def stage_package/,/^def /s/os.geteuid()/0/' ci/check
    becomes ci/package.sh 'echo /none.deb'
    stub dpkg <<END
#!/bin/sh
case \$1 in
-s) exit 1 ;;
-i) echo \$\$ >>$STEPS; exec sleep 600 ;;
*) echo "\$@" >>$BATS_TEST_TMPDIR/dpkg ;;
esac
END
    N=1 interrupted --only package
    all_end
    same "$(cat "$BATS_TEST_TMPDIR/dpkg")" '--purge --force-remove-reinstreq qemu-thrift'
}

@test "huge pages are set aside for all tests that run at once, or for none" {
    run -0 with_check <<'END'
class Pages:
    def __init__(self, most):
        self.now, self.most = 5, most

    def read_text(self, **_):
        return str(self.now)

    def write_text(self, text, **_):
        self.now = min(int(text), self.most)

for most in 500, 100:
    check.HUGE_PAGES = pages = Pages(most)
    with check.huge_pages(384):
        print(pages.now)
    print(pages.now)
END
    same "$output" '389
5
check: 95 of 384 huge pages are available, so tests with such pages skip
5
5'
}

@test "KVM is one that makes machines, not a file that can be opened" {
    run -0 with_check <<'END'
from lib import tool
print(tool.kvm_trouble("/dev/null"))
print(tool.kvm_trouble("/none"))
END
    same "${lines[0]}" '/dev/null is no KVM'
    same "${lines[1]}" '/none: No such file or directory'
}

@test "/dev/kvm is hidden with and without root, or the cases are skipped" {
    [ -w /dev/kvm ] || skip 'no usable /dev/kvm'
    run -0 with_check <<'END'
def number(args):
    done = subprocess.run([*args, "stat", "-c", "%t:%T", "/dev/kvm"], text=True,
                          check=False, stdout=subprocess.PIPE)
    return done.stdout.strip()

run = check.Run("migration", None, check.Processes())
for user in 0, 1000:
    check.os.geteuid = lambda: user
    check.hide_kvm.cache_clear()
    jobs = check.without_kvm(run, "x", [("a", [], {})])
    if not jobs:
        print("skip", *run.tally.skips)
        sys.exit()
    assert number(jobs[0][1]) == "1:3", jobs
check.hide_kvm.cache_clear()
check.HIDE_KVM[-2] = "exit 1"
assert check.without_kvm(run, "b", [("a", [], {})]) == []
assert list(run.tally.skips.values()) == [["b"]], run.tally.skips
END
    [[ $output != skip* ]] || skip "$output"
}

@test "migration: cases that this host doesn't have are skipped with a reason" {
    mkdir -p build/patched/tests/qtest
    becomes build/patched/tests/qtest/migration-test \
        'case "$*" in *" -l") echo /x86_64/migration/a; echo /x86_64/migration/untouched/sync/a; exit ;; esac' \
        'echo "$*" >>'"$STEPS" 'echo 1..1; echo ok 1 - a'
    cat >cut <<'END'
check.UNTOUCHED_FULL = ("way/postcopy/recover", "snapshot/background", "sync")
check.UNTOUCHED_KVM = ("guest/kvm-dirty-ring/small-pages",)
check.MIGRATION_FULL = ("background-snapshot/stopped",)
check.MIGRATION_KVM = ("postcopy/plain",)
check.hide_kvm = lambda: []
check.MIGRATION_NEEDS = [(pattern, lambda why=why: why) for (pattern, _), why in
                         zip(check.MIGRATION_NEEDS, (USERFAULTFD, "no dirty ring"))]
check.kvm_usable = lambda: True
check.huge_pages = check.swap_space = lambda size: check.contextlib.nullcontext()
check.run_main(check.main)
END
    run -0 --separate-stderr with_check --only migration <<<"USERFAULTFD = 'no userfaultfd'
$(cat cut)"
    says 'skipped: migration, background-snapshot/stopped and 3 more: no userfaultfd'
    says 'skipped: untouched memory, guest/kvm-dirty-ring/small-pages: no dirty ring'
    says '3 passed, 0 failed, 5 skipped'
    never_says 'ran no test'
    # But one that has been renamed is run, which fails.
    : >"$STEPS"
    run --separate-stderr with_check --only migration <<<"USERFAULTFD = None
$(cat cut)"
    grep -q way/postcopy/recover "$STEPS"
    says '7 passed, 0 failed, 1 skipped'
}

@test "a program that ends amid a case: the case before it is named" {
    becomes ci/lab 'echo 1..3' 'echo "ok 1 - /a"' 'echo "ok 2 - /b"' \
        'echo "Bail out! ERROR:x.c:5:wait: too late"' 'exit 134'
    run -1 ci/check --only lab
    says 'failed: lab: ci/lab: Bail out! ERROR:x.c:5:wait: too late'
    says '    in the case behind: /b'
    says '2 passed, 1 failed, 0 skipped'
}

@test "what doesn't end is killed" {
    sed -i 's/^GRACE = 10$/GRACE = 1/' ci/lib/tool.py
    becomes ci/docs.sh "trap '' TERM" "echo \$\$ >>$STEPS" 'while :; do sleep 0.2; done'
    N=1 interrupted --only docs
    all_end
}

@test "what takes too long can end what it has started" {
    sed -i 's/timeout=7200/timeout=15/' ci/check
    # As the lab's QEMUs: not of its group
    becomes ci/docs.sh "trap 'kill \$pid; exit 1' TERM" 'setsid sleep 600 &' \
        'pid=$!' "echo \$pid >>$STEPS" 'wait'
    run -1 ci/check --only docs
    says 'failed: docs: sphinx: timed out after 15 s'
    noted 1
    all_end
}

@test "one run at a time" {
    exec 7>build/.lock
    flock 7
    run -1 ci/check --only lint
    one_error 'another run works in build/'
}
