#!/bin/sh
# A guest that writes memory, saved and loaded, with dirty log and ring
# lab: quick long guests=dirty.bios programs=qemu-img knows=exit-clustering
# shellcheck shell=dash
# SPDX-License-Identifier: GPL-2.0-or-later

# shellcheck source=tests/lab/lib.sh
. /job/lib.sh

MEM=16 TRACE=''
for variant in $VARIANTS "${VARIANTS##* },dirty-ring-size=4096"; do
    rm -f /t/disk
    qemu-img create -q -f qcow2 /t/disk 64M
    start save "$variant" -bios /g/dirty.bios -device pc-testdev \
        -drive file=/t/disk,format=qcow2,if=virtio
    check "save $variant: runs" await port '[a-p]{3}' 20
    # Stopped, so that what it had said last is known.
    mon stop
    ask /t/save 'savevm one'
    saved=$(tail -c 1 "$D/port")
    passes=$(wc -c <"$D/port")
    mon cont
    await port "[a-p]{$((passes + 3))}" 20
    mon stop
    ask /t/load 'loadvm one'
    passes=$(wc -c <"$D/port")
    mon cont
    cat /t/load >>/t/save
    check "save $variant: savevm and loadvm say nothing" [ ! -s /t/save ]
    quote </t/save
    check "save $variant: goes on" await port "[a-pB]{$((passes + 4))}" 20
    next=$(tail -c +$((passes + 1)) "$D/port" | head -c 1)
    check "save $variant: goes on from where it was saved ($saved to $next)" \
        [ "$(echo "$saved" | tr a-p b-pa)" = "$next" ]
    check "save $variant: no write is lost" [ "$(tr -d a-p <"$D/port" | wc -c)" = 0 ]
    finish
done
