#!/bin/sh
# A guest that writes memory, migrated with the dirty log and the dirty ring
# lab: quick long guests=dirty.bios knows=exit-clustering second=pristine
# shellcheck shell=dash
# SPDX-License-Identifier: GPL-2.0-or-later

# shellcheck source=tests/lab/lib.sh
. /job/lib.sh

# dirty GUEST VARIANT ARGS...
dirty() {
    local guest=$1 variant=$2
    shift 2
    start "$guest" "$variant" -bios /g/dirty.bios -device pc-testdev "$@"
}

# move TITLE QEMU VARIANT QEMU VARIANT: there, and four passes more
move() {
    local title=$1 from=$2 to=$4 source=$3 target=$5
    n=$((n + 1)) QEMU=$from
    dirty "mig$n-source" "$source"
    await port '[a-p]{3}' 20
    check "$title: it is migrated in 3 rounds or more" migrate 8M
    cp "$D/port" /t/before
    finish
    QEMU=$to
    dirty "mig$n-target" "$target" -incoming 'exec:cat /t/state'
    check "$title: the guest goes on" await port '[a-p]{4}' 20
    check "$title: no write is lost" [ "$(cat /t/before "$D/port" | tr -d a-p | wc -c)" = 0 ]
    finish
    rm -f /t/state
}

MEM=16 TRACE='' n=0
one=$QEMU two=/qemu/bin/qemu-second
# auto is the same as on here.
for variant in ${VARIANTS% auto}; do
    move "log, $variant" "$one" "$variant" "$one" "$variant"
    ring=$variant,dirty-ring-size=4096
    move "ring, $variant" "$one" "$ring" "$one" "$ring"
done
if [ -x "$two" ]; then
    move "from another QEMU to $variant" "$two" raw "$one" "$variant"
    move "from $variant to another QEMU" "$one" "$variant" "$two" raw
    move "ring, from another QEMU to $variant" "$two" raw,dirty-ring-size=4096 "$one" "$ring"
else
    say 'ok from and to another QEMU # SKIP there is no build/pristine'
fi
finished
