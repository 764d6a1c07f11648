# For jobs: starts guests, waits for what they say, compares, says it in TAP.
# Sourced, by busybox's shell in L1.
#
# A variant is what stands behind "-accel kvm": off, on and auto are values of
# exit-clustering, "raw" is nothing, more properties come behind a comma:
# "on,kernel-irqchip=split".
# shellcheck shell=dash disable=SC3043,SC2034 # busybox has local; jobs use them
# SPDX-License-Identifier: GPL-2.0-or-later

# shellcheck source=/dev/null
. /job/env
QEMU=/qemu/bin/qemu-system-x86_64
ESC=$(printf '\033')
# Jobs change these: guest's machine and memory (MiB), microseconds between two
# looks, whether exits are counted (costs instructions); how variants are run.
MACHINE=pc MEM=256 POLL=50000 TRACE=1 PASSES='traced plain'
# L1's time doesn't pass while it waits for L0, a host's does.  Guests have their
# seconds ten times, too, where that's the time of an emulator.
PATIENCE=${METAL:+10} STRETCH=1
[ -z "$HOSTS_TIME" ] || PATIENCE=10 STRETCH=10
PATIENCE=${PATIENCE:-1}

# What is a case counts, in subshells, too.
: >/t/cases
say() {
    case $* in
    'ok '* | 'not ok '*) echo >>/t/cases ;;
    esac
    echo "LAB: $*"
}

# finished: the last line of each job, without which it fails
finished() { say "1..$(wc -l </t/cases)"; }

# possible VARIANT: whether this KVM is one for it
possible() {
    echo quit | timeout $((20 * PATIENCE)) "$QEMU" -accel "kvm,exit-clustering=$1" \
        -machine none -display none -nodefaults -monitor stdio >/t/possible 2>&1
}

# What a job compares, the first one with the others
case " $KNOWS " in
*' exit-clustering '*) VARIANTS='off on auto' ;;
*) VARIANTS=raw ;;
esac
# Each takes minutes in Bochs.
if [ "$VMX" ]; then
    VARIANTS=${VARIANTS% auto} PASSES=traced
fi
# Where guests come to the same with "auto" as without, and "on" is refused
if [ "$VARIANTS" != raw ] && [ "$NPT$METAL" != 1 ] && ! possible on; then
    VARIANTS='off auto'
    say "# $(grep -o 'exit-clustering=on is not possible.*' /t/possible)"
fi

ok() { say "ok $*"; }

not_ok() { say "not ok $*"; }

# Lines that explain a failure, from stdin
quote() {
    tr -d '\r' | while read -r line; do
        say "# $line"
    done
}

# check TITLE COMMAND...
check() {
    local title=$1
    shift
    if "$@"; then
        ok "$title"
    else
        not_ok "$title"
    fi
}

now() { cut -d' ' -f1 /proc/uptime; }

is_running() { kill -0 "$PID" 2>/dev/null; }

# The monitor

mon() { echo "$*" >&3; }

# ask FILE COMMAND: what the monitor answers
ask() {
    local out=$1 had
    shift
    had=$(wc -c </t/mon.log)
    mon "$*"
    mon "print 4711+1"
    for _ in $(seq $((200 * PATIENCE))); do
        if tail -c +$((had + 1)) /t/mon.log | grep -q '^0x1268'; then
            break
        fi
        is_running || break
        usleep 20000
    done
    tail -c +$((had + 1)) /t/mon.log | tr -d '\r' |
        grep -v -e "$ESC" -e '^0x1268' -e '^QEMU ' -e '^(qemu) *$' >"$out"
}

# screen FILE: the text on it
screen() {
    rm -f /t/text
    ask /dev/null 'pmemsave 0xb8000 4000 "/t/text"'
    hexdump -v -e '1/1 "%c" 1/1 ""' /t/text 2>/dev/null | fold -w 80 |
        tr -d '\0' >"$1"
}

# launch GUEST VARIANT ARGS...: in the background, stopped
launch() {
    local accel=kvm
    GUEST=$1 VARIANT=$2
    D=/out/$1-$(echo "$2" | tr ',=' '--')
    shift 2
    [ -n "$TRACE" ] || D=$D-untraced
    rm -rf "$D"
    mkdir -p "$D"
    case $VARIANT in
    raw*) accel=kvm${VARIANT#raw} ;;
    *) accel=kvm,exit-clustering=$VARIANT ;;
    esac
    if [ -n "$TRACE" ]; then
        set -- -trace kvm_run_exit -D "$D/trace" "$@"
        [ "${VARIANT#raw}" != "$VARIANT" ] ||
            set -- -trace kvm_exit_cluster -trace kvm_exit_clusters_init "$@"
    fi
    rm -f /t/mon.in /t/mon.out
    mkfifo /t/mon.in /t/mon.out
    # Open for reading, too: a QEMU that has ended isn't waited for.
    exec 3<>/t/mon.in
    $QEMU -accel "$accel" -machine "$MACHINE" -m "$MEM" -display none \
        -nodefaults -no-shutdown -S -L /qemu/fw -rtc base=2026-01-01T00:00:00,clock=vm \
        -chardev pipe,id=mon,path=/t/mon -mon chardev=mon,mode=readline \
        -chardev "file,id=port,path=$D/port" \
        -device isa-debugcon,iobase=0x402,chardev=port \
        -chardev "file,id=ser,path=$D/serial" -device isa-serial,chardev=ser \
        "$@" >"$D/stdout" 2>"$D/stderr" </dev/null 3>&- &
    PID=$!
    : >/t/mon.log
    cat /t/mon.out >/t/mon.log 3>&- &
    CAT=$!
    # What QEMU needs to get ready is not the guest's.
    ask /dev/null 'info status'
    READY=$(cpu_time)
    BEGAN=$(now)
}

# start GUEST VARIANT ARGS...: in the background, running
start() {
    launch "$@"
    mon cont
}

# Of all threads, in ns: with -icount, instructions
cpu_time() {
    awk '{ sum += $1 } END { printf "%.0f", sum }' /proc/"$PID"/task/*/schedstat
}

# await WHERE PATTERN SECONDS: until it's in the serial output, in that of the
# debug port or on the screen.  SECONDS are L1's.
await() {
    local where=$1 pattern=$2 limit=$(($3 * STRETCH))
    while is_running; do
        SECS=$(echo "$BEGAN $(now)" | awk '{printf "%.2f", $2 - $1}')
        [ "$where" != screen ] || screen "$D/screen"
        ! grep -a -q -E "$pattern" "$D/$where" 2>/dev/null || return 0
        [ "${SECS%.*}" -lt "$limit" ] || return 1
        [ ! -s "$D/stderr" ] || ! grep -q 'KVM internal error' "$D/stderr" || return 1
        usleep "$POLL"
    done
    return 1
}

# What was counted in the run, from the trace and by the kernel
count() {
    local stats
    CPU=$(echo "$(cpu_time) $READY" | awk '{ printf "%.0f", $1 - $2 }')
    EXITS=
    for stats in /sys/kernel/debug/kvm/"$PID"-*/exits; do
        [ ! -f "$stats" ] || EXITS=$(cat "$stats")
    done
}

# finish: the guest's state at its end, and the end
finish() {
    local runs='' status=0
    count
    screen "$D/screen"
    ask "$D/status" "info status"
    ask "$D/registers" "info registers"
    RUNS='' COMPLETED='' SAVED=''
    case $VARIANT in
    on* | auto*)
        ask "$D/clusters" "info exit-clusters 1000"
        runs=$(sed -n 's/.* exits, \([0-9]*\) runs, \([0-9]*\) completed, \([0-9]*\) exits saved.*/\1 \2 \3/p' "$D/clusters")
        read -r RUNS COMPLETED SAVED <<END
$runs
END
        ;;
    esac
    mon quit
    for _ in $(seq $((100 * PATIENCE))); do
        is_running || break
        usleep 50000
    done
    if is_running; then
        kill -9 "$PID"
        not_ok "$GUEST $VARIANT: quit ends QEMU"
    fi
    wait "$PID" || status=$?
    echo "exit status $status" >>"$D/status"
    [ $status = 0 ] || {
        not_ok "$GUEST $VARIANT: QEMU ends well (it has status $status)"
        tail -n 3 "$D/stderr" | quote
    }
    kill "$CAT" 2>/dev/null
    wait "$CAT" 2>/dev/null
    exec 3>&-
    IO='' MMIO=''
    if [ -f "$D/trace" ]; then
        awk '/kvm_run_exit / { reason[$NF]++ }
            /kvm_exit_cluster / { sub(/.* end /, ""); end[$0]++ }
            /kvm_exit_clusters_init/ { sub(/.*init /, ""); print "init", $0 }
            END { for (i in reason) print "exit", i, reason[i]
                  for (i in end) print "end", i, end[i] }' "$D/trace" |
            sort >"$D/counts"
        IO=$(sed -n 's/^exit 2 //p' "$D/counts")
        MMIO=$(sed -n 's/^exit 6 //p' "$D/counts")
        [ -n "$KEEP_TRACE" ] || rm -f "$D/trace"
    fi
}

# figures: what was counted, for the table.  A trace costs instructions, so those
# are only told without.
figures() {
    local text
    if [ -n "$TRACE" ]; then
        text="io=$IO mmio=$MMIO runs=$RUNS completed=$COMPLETED saved=$SAVED"
    else
        text="kvm_exits=$EXITS seconds=$SECS"
        [ "$ICOUNT" = 0 ] || text="$text l1_insns=$CPU"
    fi
    say "# figure guest=$GUEST variant=$VARIANT $text"
}

# run GUEST VARIANT SECONDS WHERE PATTERN ARGS...: to where it says PATTERN
run() {
    local guest=$1 variant=$2 limit=$3 where=$4 pattern=$5 right=yes lives=yes
    shift 5
    start "$guest" "$variant" "$@"
    await "$where" "$pattern" "$limit" || right=
    # A guest that switches itself off is waited for, others are stopped.
    if [ -n "$OFF" ]; then
        for _ in $(seq 20); do
            ask "$D/status" "info status"
            ! grep -q shutdown "$D/status" || break
            usleep 50000
        done
    else
        mon stop
    fi
    RIGHT=$right
    if [ -z "$right" ]; then
        is_running || {
            lives=
            say "# $guest $variant: QEMU has ended by itself"
        }
    fi
    finish
    # A host's own KVM may not be one for the guest, with any QEMU.
    if [ -z "$right" ] && [ "$METAL$lives" = 1yes ] && [ "$variant" = "${VARIANTS%% *}" ] &&
        grep -q 'KVM internal error' "$D/stderr"; then
        ok "$guest comes to '$pattern' # SKIP it doesn't on this host's KVM, without clusters ($SECS s): $(grep -m1 'KVM internal error' "$D/stderr")"
        finished
        exit 0
    fi
    if [ -n "$right" ]; then
        ok "$guest $variant${TRACE:+ traced}: comes to '$pattern'"
        figures
    else
        not_ok "$guest $variant${TRACE:+ traced}: comes to '$pattern' ($SECS s)"
        tail -n 3 "$D/stderr" | quote
        grep -a -v '^ *$' "$D/$where" | tail -n 3 | quote
    fi
    grep -i -q 'internal error' "$D/stderr" || return
    if [ "$METAL" ]; then
        say "# $guest $variant: this host's KVM has an internal error behind that"
    else
        not_ok "$guest $variant: no internal error of KVM"
    fi
}

# clustered N: the run that was before saved N exits, if it was to save any.  In
# time of another kind an exit may cost too little for that.
clustered() {
    case "$VARIANT $ICOUNT" in
    on*' 1') check "$GUEST $VARIANT${TRACE:+ traced}: at least $1 exits are saved (${SAVED:-none})" [ "${SAVED:-0}" -ge "$1" ] ;;
    esac
}

# refused GUEST VARIANT WHY ARGS...: QEMU ends at once, and says WHY
refused() {
    local guest=$1 variant=$2 why=$3
    shift 3
    timeout $((20 * PATIENCE)) "$QEMU" -accel "kvm,exit-clustering=$variant" \
        -machine "$MACHINE" -m "$MEM" -display none -nodefaults -S -L /qemu/fw \
        "$@" >/t/refused 2>&1 </dev/null
    check "$guest $variant: is refused, as $why" \
        grep -q "exit-clustering=$variant is not possible: .*$why" /t/refused
    tail -n 3 /t/refused | quote
}

# equal GUEST VARIANT VARIANT FILES...: of two runs
equal() {
    local guest=$1 a b file end=
    [ -n "$TRACE" ] || end=-untraced
    a=$(echo "$2" | tr ',=' '--')$end
    b=$(echo "$3" | tr ',=' '--')$end
    shift 3
    for file; do
        if [ ! -s "/out/$guest-$a/$file" ]; then
            not_ok "$guest: $file of $a and $b is the same (there is none)"
        elif cmp -s "/out/$guest-$a/$file" "/out/$guest-$b/$file"; then
            ok "$guest: $file of $a and $b is the same"
        else
            not_ok "$guest: $file of $a and $b is the same"
            diff "/out/$guest-$a/$file" "/out/$guest-$b/$file" | head -n 8 | quote
        fi
    done
}

# What a job redefines: done before each run of variants, and behind it
prepare() { :; }
judge() { :; }

# variants FILES GUEST SECONDS WHERE PATTERN ARGS...: runs each variant twice,
# to count exits and, without a trace, instructions; FILES are the same in all.
variants() {
    local files=$1 guest=$2 first=${VARIANTS%% *} variant pass
    shift 2
    for pass in $PASSES; do
        TRACE=${pass#plain}
        for variant in $VARIANTS; do
            prepare
            run "$guest" "$variant" "$@"
            judge
            # shellcheck disable=SC2086 # a list
            [ "$pass" != "${PASSES%% *}" ] || [ "$variant" = "$first" ] ||
                equal "$guest" "$first" "$variant" $files
        done
    done
}

# Snapshots

# What a job redefines: done while the guest is stopped, behind savevm and behind
# loadvm, and in between, while it runs
saved() { :; }
loaded() { :; }
meanwhile() { sleep 2; }

# snapshot TITLE: saves the guest, lets it go on, and takes that back
snapshot() {
    mon stop
    ask /t/save 'savevm one'
    saved
    mon cont
    meanwhile
    mon stop
    ask /t/load 'loadvm one'
    loaded
    mon cont
    cat /t/load >>/t/save
    check "$1: savevm and loadvm say nothing" [ ! -s /t/save ]
    quote </t/save
}

# Migration

syncs() {
    ask /t/migration 'info migrate'
    sed -n -E 's/.*(dirty_syncs=|dirty sync count: )([0-9]+).*/\2/p' /t/migration
}

# migrate BANDWIDTH: to /t/state, in three rounds of dirty pages, and then as
# many as are left
migrate() {
    local n=0
    mon "migrate_set_parameter max-bandwidth $1"
    mon 'migrate_set_parameter downtime-limit 1'
    ask /t/answer 'migrate -d "exec:cat >/t/state"'
    if [ -s /t/answer ]; then
        quote </t/answer
        return 1
    fi
    for _ in $(seq $((200 * PATIENCE))); do
        n=$(syncs)
        ! grep -q -E 'completed|failed' /t/migration || break
        [ "${n:-0}" -lt 3 ] || mon 'migrate_set_parameter downtime-limit 2000'
        usleep 50000
    done
    say "# $GUEST $VARIANT: $(grep -i -E '^(migration )?status|dirty.sync' /t/migration | tr -s '\r\n\t ' ' ')"
    grep -q completed /t/migration && [ "${n:-0}" -ge 3 ]
}

# all_cases NAME TAP ARGS...: all cases were run that it has announced, and some
# of each -p.  A host's KVM may have fewer.
all_cases() {
    local name=$1 tap=$2 plan cases
    shift 2
    plan=$(sed -n 's/^1\.\.\([0-9]*\).*/\1/p' "$tap" | tail -n 1)
    cases=$(grep -a -c -E '(^|[^[:alnum:]])ok [0-9]+( |$)' "$tap")
    if [ "${plan:-0}" = 0 ] || [ "$plan" != "$cases" ]; then
        not_ok "$name runs all its cases ($cases of ${plan:-no plan})"
    fi
    while [ $# -gt 1 ]; do
        if [ "$1" = -p ] && ! grep -a -q -E "(^|[^[:alnum:]])ok [0-9]+ (- )?$2(/| |\$)" "$tap"; then
            if [ "$METAL" ] && [ "${2#*/kvm}" != "$2" ]; then
                ok "$name runs $2 # SKIP it has no such case on this host"
            else
                not_ok "$name runs $2 (it has no such case)"
            fi
        fi
        shift
    done
}

# qtest NAME ARGS...: one of QEMU's own tests, which prints TAP
qtest() {
    local name=$1 line
    shift
    export QTEST_QEMU_BINARY=$QEMU QTEST_QEMU_IMG=/qemu/bin/qemu-img \
        G_TEST_SRCDIR=/tmp G_TEST_BUILDDIR=/tmp
    {
        "/qemu/bin/$name" --tap -k "$@" 2>"/out/$name.err"
        echo "status $?"
    } | tee "/out/$name.tap" | while read -r line; do
        case $line in
        'ok '* | 'not ok '*) say "$(echo "$line" | sed -E 's/ok [0-9]+ -? ?/ok /')" ;;
        'status 0') say "# $name took $(now) s of L1" ;;
        'status '*)
            not_ok "$name ends well (it has $line)"
            tail -n 4 "/out/$name.err" | quote
            ;;
        '# '*ERROR* | Bail*) say "# $line" ;;
        esac
    done
    all_cases "$name" "/out/$name.tap" "$@"
}
