#!/bin/sh
# Linux with two processors, and QEMU's irqchip
# lab: smp=2 guests=linux,initrd knows=exit-clustering timeout=3600
# shellcheck shell=dash
# SPDX-License-Identifier: GPL-2.0-or-later

# shellcheck source=tests/lab/lib.sh
. /job/lib.sh

judge() {
    grep -a '^L2: ' "$D/serial" | tr -d '\r' >"$D/lines"
    check "$GUEST $VARIANT: has two processors" grep -q 'with 2 processors' "$D/lines"
}

MACHINE=pc,kernel-irqchip=split POLL=200000 OFF=1 PASSES=plain
variants 'lines status' smp 60 serial 'L2: the end' -smp 2 -kernel /g/linux -initrd /g/initrd \
    -append 'console=ttyS0 printk.time=0 mitigations=off nokaslr panic=-1 audit=0'
finished
