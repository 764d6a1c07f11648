#!/bin/sh
# Linux, booted 30 times: it hung in a third while VMRUN injected twice
# lab: guests=linux,initrd knows=exit-clustering timeout=7200
# shellcheck shell=dash
# SPDX-License-Identifier: GPL-2.0-or-later

# shellcheck source=tests/lab/lib.sh
. /job/lib.sh

# Each begins at another moment of L1's, so that no two are alike.
POLL=200000 OFF=1 TRACE='' booted=0
for n in $(seq 10); do
    for variant in $(echo "$VARIANTS" | sed 's/^raw$/raw raw raw/; s/^off auto$/off auto off/'); do
        usleep $((n * 1717))
        run boot "$variant" 40 serial 'L2: the end' -kernel /g/linux -initrd /g/initrd \
            -append 'console=ttyS0 printk.time=0 mitigations=off nokaslr panic=-1'
        [ -z "$RIGHT" ] || booted=$((booted + 1))
    done
done
check "boots: all 30 come to their end ($booted)" [ $booted = 30 ]
finished
