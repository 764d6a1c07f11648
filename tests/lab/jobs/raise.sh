#!/bin/sh
# A device that interrupts at each access, with KVM's irqchip and QEMU's
# lab: quick guests=raise.bios knows=exit-clustering
# shellcheck shell=dash
# SPDX-License-Identifier: GPL-2.0-or-later

# shellcheck source=tests/lab/lib.sh
. /job/lib.sh

for irqchip in on split; do
    for variant in $VARIANTS; do
        run raise "$variant,kernel-irqchip=$irqchip" 10 port 'raise: the end' \
            -bios /g/raise.bios -device pc-testdev
        check "raise $VARIANT: each access interrupts, and at once" \
            grep -a -q 'raise: came 03e8 late 0000' "$D/port"
        clustered 20
        say "# raise $VARIANT: $(grep -a 'raise: came' "$D/port")"
    done
done
finished
