#!/bin/sh
# A guest that changes its page table between exits, with shadow page tables
# lab: quick npt=0 fixed=npt guests=shadow.bios knows=exit-clustering
# shellcheck shell=dash
# SPDX-License-Identifier: GPL-2.0-or-later

# shellcheck source=tests/lab/lib.sh
. /job/lib.sh

if [ "$VARIANTS" != raw ]; then
    refused shadow on 'page in two dimensions' -bios /g/shadow.bios
    VARIANTS='off auto'
fi
for variant in $VARIANTS; do
    run shadow "$variant" 20 port 'shadow: the end' \
        -bios /g/shadow.bios -device pc-testdev
    check "shadow $variant: 2000 reads are of the new page" \
        grep -a -q -E '^\.{2000}shadow: the end$' "$D/port"
    say "# shadow $variant: $(tr -cd B <"$D/port" | wc -c) of the old one"
done
finished
