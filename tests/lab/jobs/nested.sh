#!/bin/sh
# A hypervisor with a guest of its own, whose ports it doesn't intercept
# lab: quick nested=1 fixed=nested,npt guests=nested.elf knows=exit-clustering
# shellcheck shell=dash
# SPDX-License-Identifier: GPL-2.0-or-later

# shellcheck source=tests/lab/lib.sh
. /job/lib.sh

# The guest counts its turns in its own memory; what it has at that address in
# the hypervisor's is not to change, nor is the code there to run.
for variant in $VARIANTS; do
    if [ "$variant" = on ]; then
        refused nested on 'may run guests of its own' -cpu host
        continue
    fi
    run nested "$variant" 10 port 'nested: the end' -cpu host -kernel /g/nested.elf
    [ -n "$RIGHT" ] || continue
    check "nested $variant: its guest ran in its own memory" \
        grep -a -q 'real 0000012c decoy 00000000' "$D/port"
    check "nested $variant: its guest ran its own code" \
        grep -a -q -E '^(Aa){300}$' "$D/port"
    say "# nested $variant: $(grep -a 'nested: exit' "$D/port")"
done
finished
