#!/usr/bin/env bats
# ci/mutants: on a tiny queue, with a ninja that "builds" scripts as tests.

load helper

setup() {
    tiny applied
    fake_ninja
    mutant one/count-all 'n += ctpopl(map.BIT_WORD(i).)' 'n += 1'
}

# A unit test that is red if ram.c counts all, as it was when it was "built".
fake_ninja() {
    stub ninja <<'END'
#!/bin/sh
# ninja -C OBJ TARGETS
cd "$2" || exit 1
shift 2
printf '%s\n' "$@" >>targets
if grep -q '^#error' ../src/migration/ram.c; then
    printf 'FAILED: ram.c.o\nram.c:1: error: #error\n'
    exit 1
fi
for target; do
mkdir -p "$(dirname "$target")"
cat >"$target" <<'EOT'
#!/bin/sh
echo run >>"$0.runs"
case $* in *absent*) echo 1..0; exit 0 ;; *early*) echo 1..2; echo ok 1; exit 0 ;; esac
echo 1..1
if [ -n "$SKIPS" ]; then echo 'ok 1 # SKIP no such machine'; exit 0; fi
runs=$(wc -l <"$0.runs")
EOT
if grep -q 'n += 1;' ../src/migration/ram.c; then
    printf 'echo "# ERROR: it counts all"\necho not ok 1\nexit 1\n' >>"$target"
elif grep -q 'skips' ../src/migration/ram.c; then
    echo 'echo "ok 1 # SKIP does not count"; exit 77' >>"$target"
elif grep -q 'crashes' ../src/migration/ram.c; then
    echo 'echo "ok 1 # SKIP does not count"; kill -SEGV $$' >>"$target"
elif grep -q 'races' ../src/migration/ram.c; then
    # Without the mutant it ran once.
    printf '[ "$runs" -lt "$FINDS" ] || { echo "# ERROR: lost"; echo not ok 1; exit 1; }; echo ok 1\n' >>"$target"
elif grep -q 'begins a QEMU' ../src/migration/ram.c; then
    printf 'trap "kill \\$!; exit 1" TERM\nsetsid sleep 1000 & echo $! >"$0.pid"\nwait\n' >>"$target"
elif grep -q 'full disk' ../src/migration/ram.c; then
    printf 'echo "# ERROR: write: No space left on device"; echo not ok 1; exit 1\n' >>"$target"
elif grep -q 'no word' ../src/migration/ram.c; then
    printf 'echo down >host; exit 1\n' >>"$target"
elif grep -q 'is killed' ../src/migration/ram.c; then
    printf 'kill -9 $$\n' >>"$target"
elif grep -q 'sleeps' ../src/migration/ram.c; then
    printf 'sleep 1000\n' >>"$target"
else
    printf '[ ! -e "$HOST" ] || exit 1; echo ok 1\n' >>"$target"
fi
chmod +x "$target"
done
END
}

# mutant NAME OLD NEW [HEADER LINE...]: one for ram.c, as a file
mutant() {
    local name=$1 old=$2 new=$3
    shift 3
    [ $# -gt 0 ] || set -- 'Killed-by: unit test-ram -p /count'
    mkdir -p "tests/mutants/${name%/*}"
    sed -i "s/$old/$new/" build/src/migration/ram.c
    {
        printf '%s\n' 'Breaks: what is counted' "$@" ''
        git -C build/src diff
    } >"tests/mutants/$name.patch"
    git -C build/src checkout -q -- .
}

clean() {
    [ -z "$(git -C build/mutants.d/src status --porcelain)" ]
}

@test "mutants: one that a test finds is killed, and the sources are clean" {
    run -0 ci/mutants one/count-all
    says 'ok 1 - one/count-all: killed by unit test-ram -p /count'
    says '# ERROR: it counts all'
    clean
    # only the test is built
    [ "$(sort -u build/mutants.d/obj/targets)" = tests/unit/test-ram ]
    # and its file is a name, too
    run -0 ci/mutants tests/mutants/one/count-all.patch
}

@test "mutants: a run that was killed while it made its work tree is no obstacle" {
    git -C build/src worktree add -q --detach --lock --reason initializing "$PWD/build/mutants.d/src" queue
    rm -rf build/mutants.d
    run -0 ci/mutants one/count-all
    says 'ok 1 - one/count-all: killed by'
}

@test "mutants: one that no test finds is a failure, and the end" {
    mutant one/first-bit 'int count_dirty' 'int  count_dirty'
    run -1 ci/mutants one/first-bit one/count-all
    says 'not ok 1 - one/first-bit: survived'
    says '# it breaks: what is counted'
    [[ $output != *'ok 2'* ]]
    run -1 ci/mutants --keep-going one/first-bit one/count-all
    says 'not ok 1 - one/first-bit: survived'
    says 'ok 2 - one/count-all: killed'
    clean
}

@test "mutants: one that survives is tried twice more, and it's said" {
    local runs=build/mutants.d/obj/tests/unit/test-ram.runs
    mutant one/races 'int i, n = 0;' 'int i, n = 0; \/* races *\/'
    FINDS=4 run -0 ci/mutants one/races
    says 'ok 1 - one/races: killed by unit test-ram -p /count'
    says $'\n# killed at try 3 of 3\n# ERROR: lost'
    [ "$(wc -l <$runs)" = 4 ]
    # Chance may have done it: it isn't taken for killed next time.
    rm tests/mutants/one/count-all.patch
    [ ! -e build/mutants.results ] || ! grep -q one/races build/mutants.results
    rm $runs
    FINDS=3 run -0 ci/mutants --all
    says 'ok 1 - one/races: killed by'
    says '# killed at try 3 of 3'
    # At the first try there is nothing to say.
    rm $runs
    FINDS=2 run -0 ci/mutants one/races
    never_says '# killed at'
    rm $runs
    FINDS=9 run -1 ci/mutants one/races
    says 'not ok 1 - one/races: survived 3 tries'
    [ "$(wc -l <$runs)" = 4 ]
}

@test "mutants: a test that skips all is not judged here, unless the mutant makes it" {
    # Judged on another host, as its results say
    run -0 ci/mutants one/count-all
    mutant one/first-bit 'int count_dirty' 'int  count_dirty'
    SKIPS=1 run -0 ci/mutants --all
    says '- one/first-bit # SKIP not judged on this host: no such machine'
    never_says survived
    mutant one/skips 'int i, n = 0;' 'int i, n = 0; \/* skips *\/'
    run -1 ci/mutants one/skips
    says 'not ok 1 - one/skips: survived: with it the test is skipped: does not count'
    # One that crashes behind cases that are skipped has found it.
    mutant one/crashes 'int i, n = 0;' 'int i, n = 0; \/* crashes *\/'
    run -0 ci/mutants one/crashes
    says 'ok 1 - one/crashes: killed by'
}

@test "mutants: one that does not compile isn't killed" {
    mutant one/broken '#include "qemu\/osdep.h"' '#error'
    run -1 ci/mutants one/broken
    says 'not ok 1 - one/broken: does not compile: ram.c:1: error: #error'
    clean
}

@test "mutants: one that no longer applies is named, also if it's not chosen" {
    sed -i 's/n += ctpopl/m += ctpopl/' tests/mutants/one/count-all.patch
    run -1 ci/mutants --all
    says 'not ok 1 - one/count-all: no longer applies: error: migration/ram.c: patch does not apply'
    mutant two/count-all 'n += ctpopl(map.BIT_WORD(i).)' 'n += 1' \
        'Killed-by: glue absent'
    run -1 ci/mutants --keep-going --seed 1
    says '- all 2 mutants apply'
}

@test "mutants: a case that the built test doesn't have is named" {
    host_lacks ''
    mutant two/renamed 'n += ctpopl(map.BIT_WORD(i).)' 'n += 2' \
        'Killed-by: unit test-ram --full -p /renamed'
    mkdir -p build/patched/tests/unit
    cat >build/patched/tests/unit/test-ram <<'END'
#!/bin/sh
# test-ram -l [--full]
echo /count/all
[ "$2" != --full ] || echo /large
END
    chmod +x build/patched/tests/unit/test-ram
    run -1 ci/mutants --keep-going
    says '# two/renamed: test-ram has no case /renamed'
    says '- the cases that mutants name exist'
    sed -i 's/renamed$/large/' tests/mutants/two/renamed.patch
    run ci/mutants --keep-going
    never_says 'has no case'
    [[ ${lines[-1]} == 'ok '*' - the cases that mutants name exist' ]]
    # One that names a folder doesn't stand for the others.
    sed -i '2a case $* in *-r*) exit ;; esac' build/patched/tests/unit/test-ram
    mutant one/a-folder 'n += ctpopl(map.BIT_WORD(i).)' 'n += 1' \
        'Killed-by: unit test-ram -r /count'
    run ci/mutants --keep-going
    never_says 'has no case'
    rm tests/mutants/one/a-folder.patch
    # A case is named in full, or a folder of cases.
    sed -i 's/large$/lar/' tests/mutants/two/renamed.patch
    run -1 ci/mutants --keep-going
    says '# two/renamed: test-ram has no case /lar'
    sed -i 's/lar$/count/' tests/mutants/two/renamed.patch
    run ci/mutants --keep-going
    never_says 'has no case'
}

# host_lacks WHAT...: of what tests have cases for
host_lacks() {
    local list
    list=$(printf "'%s', " "$@")
    sed -i "/^def lacking/,/^\$/s/^    return .*/    return [${list#"'', "}]/" ci/mutants
    grep -qF "return [${list#"'', "}]" ci/mutants
}

@test "mutants: a case that this host doesn't have is not judged, but for a wrong name" {
    mutant one/absent 'n += ctpopl(map.BIT_WORD(i).)' 'n += 1' \
        'Killed-by: unit test-ram -p /absent/1'
    mutant one/typo 'n += ctpopl(map.BIT_WORD(i).)' 'n += 1' \
        'Killed-by: unit test-ram -p /absent/tpyo'
    host_lacks 'no KVM' 'no tap device'
    run -1 ci/mutants --keep-going one/absent one/typo
    says 'ok 1 - one/absent # SKIP not judged on this host: no case /absent/1 here: no KVM, no tap device'
    says 'not ok 2 - one/typo: the test has no such case'
    # Where nothing is missing it's a wrong name
    host_lacks ''
    run -1 ci/mutants one/absent
    says 'not ok 1 - one/absent: the test has no such case'
}

@test "mutants: names of cases are looked at also where some are not there" {
    mkdir -p build/patched/tests/qtest
    printf '#!/bin/sh\n# /count/all /kvm/ring\necho /count/all\n' >build/patched/tests/qtest/ram-test
    chmod +x build/patched/tests/qtest/ram-test
    mutant two/here 'n += ctpopl(map.BIT_WORD(i).)' 'n += 1' \
        'Killed-by: qtest ram-test -p /count/all'
    mutant two/elsewhere 'n += ctpopl(map.BIT_WORD(i).)' 'n += 1' \
        'Killed-by: qtest ram-test -p /kvm/ring'
    host_lacks 'no KVM'
    run ci/mutants --keep-going
    says "# two/elsewhere: ram-test has no case /kvm/ring here: no KVM"
    [[ ${lines[-1]} == 'ok '*' - the cases that mutants name exist' ]]
    mutant two/typo 'n += ctpopl(map.BIT_WORD(i).)' 'n += 1' \
        'Killed-by: qtest ram-test -p /kvm/rign'
    run -1 ci/mutants --keep-going
    says '# two/typo: ram-test has no case /kvm/rign'
    [[ ${lines[-1]} == 'not ok '*' - the cases that mutants name exist' ]]
    # A test all of whose cases need what isn't there
    printf '#!/bin/sh\n# /count/all /kvm/ring\n' >build/patched/tests/qtest/ram-test
    run -1 ci/mutants --keep-going
    says "# two/here: ram-test has no case /count/all here: no KVM"
    says '# two/typo: ram-test has no case /kvm/rign'
    host_lacks ''
    run -1 ci/mutants --keep-going
    [[ $output == *$'# two/here: ram-test has no case /count/all\n'* ]]
}

@test "mutants: a test that is red, absent or skipped without the mutant" {
    mutant one/absent 'n += ctpopl(map.BIT_WORD(i).)' 'n += 1' \
        'Killed-by: unit test-ram -p /absent'
    host_lacks ''
    run -1 ci/mutants one/absent
    says 'not ok 1 - one/absent: the test has no such case'
    # One that ends amid its cases would end there with any mutant.
    mutant one/early 'n += ctpopl(map.BIT_WORD(i).)' 'n += 1' \
        'Killed-by: unit test-ram -p /early'
    run -1 ci/mutants one/early
    says 'not ok 1 - one/early: without the mutant, too: 1 of 2 cases were not run'
    SKIPS=1 run -0 ci/mutants one/count-all
    says 'ok 1 - one/count-all # SKIP not judged on this host: no such machine'
    sed -i 's/n += ctpopl(map.BIT_WORD(i).)/n += 1/' build/src/migration/ram.c
    git -C build/src commit -qam x
    mutant one/other 'int bits' 'int  bits'
    run -1 ci/mutants one/other
    says 'not ok 1 - one/other: red without the mutant, too'
}

@test "mutants: a qtest gets a QEMU, a lab job and a glue test know where it is" {
    mutant one/qtest 'n += ctpopl(map.BIT_WORD(i).)' 'n += 1' \
        'Killed-by: qtest ram-test -p /x'
    run -0 ci/mutants one/qtest
    says 'ok 1 - one/qtest: killed by qtest ram-test -p /x'
    [ "$(sort -u build/mutants.d/obj/targets | paste -sd' ')" = \
        'qemu-system-x86_64 tests/qtest/ram-test' ]

    printf '#!/bin/sh\necho "lab $*"\necho 1..1\necho "ok 1"\n' >ci/lab
    chmod +x ci/lab
    mutant one/lab 'n += ctpopl(map.BIT_WORD(i).)' 'n += 1' 'Killed-by: lab post'
    run -1 ci/mutants one/lab
    says 'not ok 1 - one/lab: survived'
    grep -q "^lab --qemu $REPO/build/mutants.d/obj/qemu-system-x86_64 post\$" build/mutants.log

    # What the job takes beside it is built, too.
    mkdir -p tests/lab/jobs
    echo '# lab: smp=2 programs=tests/qtest/of-lab,qemu-img needs=x' \
        >tests/lab/jobs/post.sh
    run -1 ci/mutants one/lab
    grep -qx tests/qtest/of-lab build/mutants.d/obj/targets
    grep -qx qemu-img build/mutants.d/obj/targets

    stub bats <<<'#!/bin/sh
echo "bats $*, $THRIFT_QEMU"; echo "perturb $MALLOC_PERTURB_."; echo 1..1; echo "ok 1"'
    mutant one/glue 'n += ctpopl(map.BIT_WORD(i).)' 'n += 1' 'Killed-by: glue use'
    run -1 ci/mutants one/glue
    grep -q "^bats --tap tests/glue/use.bats, $REPO/build/mutants.d/obj/qemu-system-x86_64\$" \
        build/mutants.log
    # It touches all that is allocated, and such tests look at that.
    grep -q '^perturb \.$' build/mutants.log
}

@test "mutants: before a glue test the guests are brought up to date" {
    mutant one/glue 'n += ctpopl(map.BIT_WORD(i).)' 'n += 1' 'Killed-by: glue use'
    stub bats <<<'#!/bin/sh
echo 1..1
echo "ok 1"'
    # Though there is one, of other sources
    mkdir -p tests/guests build/guests
    : >build/guests/kvmshim.so
    printf '#!/bin/sh\necho "no network"\nexit 1\n' >tests/guests/make.sh
    chmod +x tests/guests/make.sh
    run -1 ci/mutants one/glue
    says 'not ok 1 - one/glue: without the mutant: no network'
}

@test "mutants: one whose test hangs is killed only if it says so" {
    grep -q 'least + 10' ci/mutants
    sed -i 's/least + 10 \* green/1/' ci/mutants
    mutant one/hangs 'int i, n = 0;' 'int i, n = 0; \/* sleeps *\/'
    run -1 ci/mutants one/hangs
    says 'not ok 1 - one/hangs: out of time, which kills only if the mutant says so'
    mutant one/hangs 'int i, n = 0;' 'int i, n = 0; \/* sleeps *\/' \
        'Killed-by: unit test-ram' 'Timeout: kills'
    run -0 ci/mutants one/hangs
    says 'ok 1 - one/hangs: killed by unit test-ram'
    # and nothing goes on running
    ! pgrep -f "$REPO/build/mutants.d/obj/tests/unit/test-ram"
}

@test "mutants: a test that hangs can end what it has started" {
    sed -i 's/least + 10 \* green/15/' ci/mutants
    mutant one/hangs 'int i, n = 0;' 'int i, n = 0; \/* begins a QEMU *\/'
    run -1 ci/mutants one/hangs
    says 'out of time'
    pid=$(cat build/mutants.d/obj/tests/unit/test-ram.pid)
    eventually is_gone "$pid"
}

is_gone() { # PID, or it waits for its parent
    [ ! -e "/proc/$1/stat" ] || grep -q ') Z' "/proc/$1/stat"
}

@test "mutants: an equivalent one is only looked at" {
    mutant one/same 'int count_dirty' 'int  count_dirty' \
        'Equivalent: a blank more'
    run -0 ci/mutants one/same
    says 'ok 1 - one/same: equivalent: a blank more'
    [ ! -e build/mutants.d/obj/targets ]
}

@test "mutants: a handful is the same for the same seed, and says it" {
    for i in 1 2 3 4 5 6 7 8 9; do
        mutant "two/n$i" 'n += ctpopl(map.BIT_WORD(i).)' "n += 1; \/* $i *\/"
    done
    run -0 ci/mutants --seed monday
    says '# seed monday: ci/mutants --seed monday'
    says '1..6'
    says 'ok 5 - all 10 mutants apply'
    says 'ok 6 - the cases that mutants name exist # SKIP build/patched has none of their tests'
    first=$(grep '^ok' <<<"$output")
    run -0 ci/mutants --seed monday
    [ "$first" = "$(grep '^ok' <<<"$output")" ]
    run -0 ci/mutants --seed tuesday
    [ "$first" != "$(grep '^ok' <<<"$output")" ]
    run -0 ci/mutants
    says "seed $(git -C build/src rev-parse 'queue^{tree}')"
}

@test "mutants: after --minutes none is begun, and those that are left are named" {
    # an hour has none
    cp ci/mutants hours
    sed -i 's/opts\.minutes \* 60/opts.minutes * 0/' ci/mutants
    run -0 ci/mutants --all --minutes 1
    says 'ok 1 - one/count-all # SKIP 1 minutes are over; ci/mutants NAME tries it'
    # it's no result
    cp hours ci/mutants
    run -0 ci/mutants --all --minutes 1
    says 'ok 1 - one/count-all: killed by'
}

@test "mutants: what the host has done to a test kills none" {
    mutant one/full 'int i, n = 0;' 'int i, n = 0; \/* full disk *\/'
    mutant one/ended 'int i, n = 0;' 'int i, n = 0; \/* is killed *\/'
    mutant one/silent 'int i, n = 0;' 'int i, n = 0; \/* no word *\/'
    run -1 ci/mutants --keep-going one/full one/ended
    says "not ok 1 - one/full: not judged, for it is the host's: No space left on device"
    says "not ok 2 - one/ended: not judged, for it is the host's: Killed"
    # One that says nothing has found it if it's green without, on this host.
    run -0 ci/mutants one/silent
    says 'ok 1 - one/silent: killed by'
    rm build/mutants.d/obj/host
    HOST=host run -1 ci/mutants one/silent
    says "not ok 1 - one/silent: not judged (1..1): red without the mutant, too"
    run ! grep -q -e one/full -e one/ended build/mutants.results
}

@test "mutants: a job of the lab that is out of time kills only if the mutant says so" {
    printf '#!/bin/sh\necho 1..1\n[ ! -e late ] || { echo "not ok 1 post: not done in 900 s of CPU time"; exit 1; }\n' >ci/lab
    echo '[ ! -e wrong ] || { echo "not ok 1 post: guest runs"; exit 1; }; echo "ok 1"' >>ci/lab
    # It's late, or wrong, with the mutant only.
    sed -i '2i rm -f late wrong; grep -q "n += 1; . late" build/mutants.d/src/migration/ram.c && : >late; grep -q "n += 1; . wrong" build/mutants.d/src/migration/ram.c && : >wrong' ci/lab
    chmod +x ci/lab
    mutant one/late 'n += ctpopl(map.BIT_WORD(i).)' 'n += 1; \/ late' 'Killed-by: lab post'
    run -1 ci/mutants one/late
    says 'not ok 1 - one/late: out of time, which kills only if the mutant says so'
    mutant one/late 'n += ctpopl(map.BIT_WORD(i).)' 'n += 1; \/ late' 'Killed-by: lab post' 'Timeout: kills'
    run -0 ci/mutants one/late
    says 'ok 1 - one/late: killed by lab post'
    mutant one/wrong 'n += ctpopl(map.BIT_WORD(i).)' 'n += 1; \/ wrong' 'Killed-by: lab post'
    run -0 ci/mutants one/wrong
    says 'ok 1 - one/wrong: killed by lab post'
}

@test "mutants: a result is of all that its test is made of" {
    mkdir -p tests/guests
    local part
    printf '#!/bin/sh\n! grep -q "n += 1" build/mutants.d/src/migration/ram.c || { echo "not ok 1"; exit 1; }; echo 1..1; echo "ok 1"\n' >ci/lab
    chmod +x ci/lab
    mutant one/count-all 'n += ctpopl(map.BIT_WORD(i).)' 'n += 1' 'Killed-by: lab post'
    run -0 ci/mutants --all
    for part in tests/guests/modes.inc ci/lib/tool.py ci/lib/series.py ci/build.sh; do
        run -0 ci/mutants --all
        says 'ok 1 - one/count-all: was killed'
        echo '# changed' >>"$part"
        run -0 ci/mutants --all
        says 'ok 1 - one/count-all: killed by'
    done
}

@test "mutants: an interrupted run leaves nothing behind" {
    mutant one/sleeps 'int i, n = 0;' 'int i, n = 0; \/* sleeps *\/'
    ci/mutants one/sleeps 3>&- &
    pid=$!
    # Without the mutant the test has run once.
    eventually grep -qs 'sleep 1000' build/mutants.d/obj/tests/unit/test-ram
    kill -TERM $pid
    status=0
    wait $pid || status=$?
    [ "$status" = 1 ]
    clean
}

@test "mutants: what was killed is not tried again, until something changes" {
    local runs=build/mutants.d/obj/tests/unit/test-ram.runs
    mutant one/first-bit 'int count_dirty' 'int  count_dirty'
    run -1 ci/mutants --all --keep-going
    says 'ok 1 - one/count-all: killed by unit test-ram -p /count'
    says 'not ok 2 - one/first-bit: survived'
    # once without the mutant, one that kills, three tries
    [ "$(wc -l <$runs)" = 5 ]
    # survivors are, but not once more without the mutant
    run -1 ci/mutants --all
    says 'ok 1 - one/count-all: was killed by unit test-ram -p /count'
    says 'not ok 2 - one/first-bit: survived'
    [ "$(wc -l <$runs)" = 8 ]
    # named ones are, and handfuls
    run -0 ci/mutants one/count-all
    says 'ok 1 - one/count-all: killed by'
    # and those that are others now, or of another tree
    mutant one/count-all 'n += ctpopl(map.BIT_WORD(i).)' 'n += 1; \/* all *\/'
    run -1 ci/mutants --all --keep-going
    says 'ok 1 - one/count-all: killed by'
    run -1 ci/mutants --all --keep-going --forget
    says 'ok 1 - one/count-all: killed by'
    run -1 ci/mutants --all --keep-going
    says 'ok 1 - one/count-all: was killed by'
    git -C build/src commit -q --allow-empty -m x
    run -1 ci/mutants --all --keep-going
    says 'ok 1 - one/count-all: was killed by'
    echo '/* x */' >>build/src/migration/ram.c
    git -C build/src commit -qam y
    run -1 ci/mutants --all --keep-going
    says 'ok 1 - one/count-all: killed by'
}

@test "mutants: those of unit tests come first, those of the lab last" {
    for kind in lab glue qtest unit; do
        mutant "one/a$kind" 'n += ctpopl(map.BIT_WORD(i).)' 'n += 1' \
            "Killed-by: $kind ram"
    done
    stub bats <<<'#!/bin/sh
exit 1'
    printf '#!/bin/sh\nexit 1\n' >ci/lab
    chmod +x ci/lab
    run -1 ci/mutants --all --keep-going
    [ "$(grep -oE 'ok . - one/a[a-z]+' <<<"$output" | sed 's,.*/a,,' | paste -sd' ')" = \
        'unit qtest glue lab' ]
}

@test "mutants: wrong use is said in one line" {
    run -2 ci/mutants one/nothing
    says "mutants: error: no mutant 'one/nothing': see ci/mutants --list"
    run -2 ci/mutants --topic three
    says "no mutants of topic 'three'; there are those of one"
    run -2 ci/mutants --all --topic one
    run -2 ci/mutants --all one/count-all
    says 'but not two of them'
    # A reader that has enough is no error.
    run -0 --separate-stderr bash -c '{ sleep 0.5; ci/mutants --list; } | true'
    same "$stderr" ''
    run -0 ci/mutants --help
    says 'ci/mutants --all'
}

@test "mutants: a file that is out of order is named" {
    printf 'Breaks: a\nKilled-by: hope\n\n+++ b/x\n' >tests/mutants/one/bad.patch
    run -1 ci/mutants --list
    says "one/bad: Killed-by is one of unit, qtest, glue, lab, and a name"
    printf 'Braeks: a\n\n+++ b/x\n' >tests/mutants/one/bad.patch
    run -1 ci/mutants --list
    says "one/bad: 'Braeks: a' is no header line"
    printf 'Breaks: a\nKilled-by: unit x\n\n+++ b/tests/x\n' >tests/mutants/one/bad.patch
    run -1 ci/mutants --list
    says 'one/bad: has to be a diff, and not of a test'
}
