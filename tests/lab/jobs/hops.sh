#!/bin/sh
# Linux that writes memory: migrated with dirty log and ring, saved, loaded
# lab: guests=linux,initrd programs=qemu-img knows=exit-clustering timeout=3600
# lab: second=pristine
# shellcheck shell=dash
# SPDX-License-Identifier: GPL-2.0-or-later

# shellcheck source=tests/lab/lib.sh
. /job/lib.sh

# linux NAME QEMU VARIANT ARGS...: what it says is added to /t/all by said()
linux() {
    local name=$1 variant=$3
    QEMU=$2
    shift 3
    start "$name" "$variant" -kernel /g/linux -initrd /g/initrd \
        -drive file=/t/disk,format=qcow2,if=virtio \
        -append 'console=ttyS0 printk.time=0 mitigations=off nokaslr panic=-1 l2=turns' "$@"
    from=0
}

# More of it than the last time
said() {
    tail -c +$((from + 1)) "$D/serial" >>/t/all
    from=$(wc -c <"$D/serial")
}

# turns N: N more of them, whatever was said before said() came
turns() {
    local last
    said
    last=$(grep -a -o 'L2: turn [0-9]*' /t/all | tail -n 1)
    for _ in $(seq $((600 * PATIENCE))); do
        ! tail -c +$((from + 1)) "$D/serial" |
            grep -a -q "L2: turn $((${last##* } + $1))[^0-9]" || return 0
        usleep 100000
    done
    return 1
}

# hop TITLE QEMU VARIANT: to another one
hop() {
    hops=$((hops + 1))
    check "$1: it is migrated in 3 rounds or more" migrate 64M
    said
    finish
    linux hop$hops "$2" "$3" -incoming 'exec:cat /t/state'
    check "$1: it goes on" turns 2
    rm -f /t/state
}

saved() { said; }

# What it said after it was saved, it says again.
loaded() { from=$(wc -c <"$D/serial"); }

# turn_back TITLE
turn_back() {
    snapshot "$1"
    check "$1: it goes on" turns 2
}

POLL=200000 MEM=128 TRACE='' hops=0
one=$QEMU two=/qemu/bin/qemu-second
off=${VARIANTS%% *} ring=dirty-ring-size=4096
on=$(echo "$VARIANTS" | awk '{ print (NF > 1 ? $2 : $1) }')
: >/t/all
qemu-img create -q -f qcow2 /t/disk 1G
linux hop0 "$one" "$on"
check "it runs" await serial 'L2: turn 1[^0-9]' 40
said
hop "$on, from log to ring" "$one" "$on,$ring"
turn_back "$on, ring"
hop "from $on to $off, ring" "$one" "$off,$ring"
if [ -x "$two" ]; then
    hop "to another QEMU, log" "$two" raw
    hop "to another QEMU, ring" "$two" "raw,$ring"
else
    say 'ok from and to another QEMU # SKIP there is no build/pristine'
fi
hop "to $on, log" "$one" "$on"
turn_back "$on, log"
said
finish
tr -d '\r' </t/all >/out/all
say "# $(grep -c 'L2: turn' /out/all) turns"
check "no write is lost" [ "$(grep -c BAD /out/all)" = 0 ]
check "no turn is missing or twice" \
    [ -z "$(grep '^L2: turn' /out/all | awk '$3 != NR')" ]
finished
