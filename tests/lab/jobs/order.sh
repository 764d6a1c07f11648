#!/bin/sh
# A register that is written through KVM's ring of writes, and then by a run
# lab: guests=order.bios knows=exit-clustering
# shellcheck shell=dash
# SPDX-License-Identifier: GPL-2.0-or-later

# shellcheck source=tests/lab/lib.sh
. /job/lib.sh

MEM=16
# So that each turn is worth a run
cost=,exit-clustering-exit-cost=20000
[ "$VARIANTS" != raw ] || cost=
for variant in $VARIANTS; do
    variant=$variant$cost
    run order "$variant" 20 port 'order: the end' -bios /g/order.bios -device pc-testdev
    check "order $variant: the second write is the last" \
        grep -a -q -E '^\.{1000}order: the end' "$D/port"
done
finished
