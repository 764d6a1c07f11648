#!/bin/sh
# Linux, booted by PVH, with a serial console
# lab: guests=linux,initrd knows=exit-clustering
# shellcheck shell=dash
# SPDX-License-Identifier: GPL-2.0-or-later

# shellcheck source=tests/lab/lib.sh
. /job/lib.sh

# What Linux says is the same but for what it measures.
judge() {
    [ -z "$RIGHT" ] || check "linux $VARIANT: switches off" grep -q shutdown "$D/status"
    tr -d '\r' <"$D/serial" |
        sed -E '/tsc:|sched|clocksource|BogoMIPS|usecs|MHz|rtc_cmos/s/-?[0-9][0-9a-fx]*/#/g' >"$D/lines"
}

POLL=200000 OFF=1
variants 'lines status' linux 40 serial 'L2: the end' -kernel /g/linux -initrd /g/initrd \
    -append 'console=ttyS0 printk.time=0 mitigations=off nokaslr panic=-1 audit=0'
finished
