#!/bin/sh
# A guest that changes its own code between exits
# lab: quick guests=code.bios knows=exit-clustering
# shellcheck shell=dash
# SPDX-License-Identifier: GPL-2.0-or-later

# shellcheck source=tests/lab/lib.sh
. /job/lib.sh

MEM=16
for variant in $VARIANTS; do
    run code "$variant" 20 port 'code: the end' -bios /g/code.bios -device pc-testdev
    check "code $variant: all that is run is new" \
        grep -a -q -E '^\.{4000}code: the end$' "$D/port"
    clustered 2000
done
finished
