#!/bin/sh
# A guest that writes memory, saved and loaded, with dirty log and ring
# lab: quick long guests=dirty.bios programs=qemu-img knows=exit-clustering
# shellcheck shell=dash
# SPDX-License-Identifier: GPL-2.0-or-later

# shellcheck source=tests/lab/lib.sh
. /job/lib.sh

saved() {
    last=$(tail -c 1 "$D/port")
    passes=$(wc -c <"$D/port")
}

meanwhile() { await port "[a-p]{$((passes + 3))}" 20; }

loaded() { passes=$(wc -c <"$D/port"); }

MEM=16 TRACE=''
for variant in $VARIANTS "${VARIANTS##* },dirty-ring-size=4096"; do
    rm -f /t/disk
    qemu-img create -q -f qcow2 /t/disk 64M
    start save "$variant" -bios /g/dirty.bios -device pc-testdev \
        -drive file=/t/disk,format=qcow2,if=virtio
    check "save $variant: runs" await port '[a-p]{3}' 20
    snapshot "save $variant"
    check "save $variant: goes on" await port "[a-pB]{$((passes + 4))}" 20
    next=$(tail -c +$((passes + 1)) "$D/port" | head -c 1)
    check "save $variant: goes on from where it was saved ($last to $next)" \
        [ "$(echo "$last" | tr a-p b-pa)" = "$next" ]
    check "save $variant: no write is lost" [ "$(tr -d a-p <"$D/port" | wc -c)" = 0 ]
    finish
done
finished
