#!/bin/sh
# A driver that polls a disk's status so many times and then gives up
# lab: quick guests=poll.bios knows=exit-clustering
# shellcheck shell=dash
# SPDX-License-Identifier: GPL-2.0-or-later

# shellcheck source=tests/lab/lib.sh
. /job/lib.sh

# 50 ms for a read: a poll of 1 us, as hardware has it, doesn't give up.
dd if=/dev/zero of=/t/disk bs=64k count=16 2>/dev/null
TRACE=
for variant in $VARIANTS; do
    run poll "$variant" 20 port 'poll: the end' -bios /g/poll.bios \
        -drive file=/t/disk,format=raw,if=ide,throttling.iops-total=20
    check "poll $variant: the disk is always in time" \
        grep -a -q -E '^\.{20}$' "$D/port"
    say "# poll $variant: $(tr -cd T <"$D/port" | wc -c) of 20 were late"
done
finished
