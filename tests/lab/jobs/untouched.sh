#!/bin/sh
# What a migration costs whose memory is touched, in part or not at all
# lab: long timeout=2400 second=pristine needs=untouched-pages
# shellcheck shell=dash
# SPDX-License-Identifier: GPL-2.0-or-later

# shellcheck source=tests/lab/lib.sh
. /job/lib.sh

MEM=512 TRACE='' STRIPE=64 MACHINE=pc,memory-backend=m
HUGE=/sys/kernel/mm/transparent_hugepage/enabled
one=$QEMU two=/qemu/bin/qemu-second

# write_memory SHARE BYTE: of each stripe the first part, but for the MiB of ROMs
write_memory() {
    local at=0 from length answer
    while [ $at -lt $MEM ] && [ "$1" != 0 ]; do
        from=$at length=$((STRIPE * $1 / 100))
        [ $at != 0 ] || from=1 length=$((length - 1))
        echo "memset $((from << 20)) $((length << 20)) $2" >&4
        read -r answer <&5
        [ "${answer#OK}" != "$answer" ] || return 1
        at=$((at + STRIPE))
    done
}

# until_idle: no thread of QEMU's does anything any more, or 60 s are over
until_idle() {
    local before='' after
    for _ in $(seq 200); do
        usleep 300000
        after=$(cpu_time)
        [ "$after" != "$before" ] || return 0
        before=$after
    done
    return 1
}

# cost NAME SHARE BYTE [record]: of all that QEMU does to send the memory, in
# instructions of L1's (its kernel's included), as COST
cost() {
    local before
    COST=
    rm -f /t/qtest.in /t/qtest.out
    mkfifo /t/qtest.in /t/qtest.out
    exec 4<>/t/qtest.in 5<>/t/qtest.out
    launch "$1" raw \
        -object memory-backend-ram,id=m,size="${MEM}M",reserve=off -qtest pipe:/t/qtest -qtest-log none 4>&- 5>&-
    check "$1: memory is written" write_memory "$2" "$3"
    # The thread, and with it what it has used, is there until the switchover.
    mon 'migrate_set_capability pause-before-switchover on'
    mon 'migrate_set_parameter max-bandwidth 1000G'
    [ -z "$4" ] || mon 'migrate_set_capability untouched-pages on'
    ask /dev/null 'info status'
    until_idle
    before=$(cpu_time)
    mon 'migrate -d "exec:cat >/dev/null"'
    check "$1: comes to rest" until_idle
    COST=$(echo "$(cpu_time) $before" | awk '{ printf "%.0f", $1 - $2 }')
    ask /t/migration 'info migrate'
    check "$1: all memory is sent" grep -q pre-switchover /t/migration
    finish
    exec 4>&- 5>&-
}

# Linux before 6.5 can't say what is untouched, so everything is read.
knows=
case $(uname -r) in
[1-5].* | 6.[0-4].* | 6.[0-4]-*) say '# this kernel does not tell what is untouched' ;;
*) knows=yes ;;
esac

# compare SHARE BYTE LIMIT: ours, and with records, to stock, in percent
compare() {
    local name="$pages-$MEM-$1-$2" limit=$3 stock ours way
    [ "$knows" ] || limit=110
    QEMU=$two
    cost "$name-stock" "$1" "$2"
    stock=$COST
    QEMU=$one
    for way in '' record; do
        cost "$name-ours${way:+-$way}" "$1" "$2" $way
        ours=$COST
        say "# figure guest=untouched-$name variant=${way:-ours} stock=$stock ours=$ours"
        [ "$ICOUNT" = 1 ] || continue
        check "$name: takes at most $limit % of stock's instructions${way:+, with records} ($ours of $stock)" \
            [ $((ours * 100)) -le $((stock * limit)) ]
    done
}

if [ ! -x "$two" ]; then
    ok 'what memory costs # SKIP there is no build/pristine'
    finished
    exit 0
fi
# Idle guests whose size is felt; only ours with the larger one
pages=huge MEM=16384
echo madvise >$HUGE
compare 0 0 5
MEM=262144
for way in '' record; do
    cost "$pages-$MEM-ours${way:+-$way}" 0 0 $way
    say "# figure guest=untouched-$pages-$MEM-0-0 variant=${way:-ours} ours=$COST"
done
for pages in huge small; do
    MEM=512
    [ $pages = huge ] || echo never >$HUGE
    compare 0 0 15
    compare 50 0 70
    # The worst case: nothing to be left out, and least to do for a page
    compare 100 0 110
    compare 50 85 101
    compare 100 85 101
done
finished
