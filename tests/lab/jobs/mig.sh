#!/bin/sh
# A guest that writes memory, migrated with the dirty log and the dirty ring
# lab: quick guests=dirty.bios knows=exit-clustering second=pristine
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

syncs() {
    ask /t/migration 'info migrate'
    sed -n -E 's/.*(dirty_syncs=|dirty sync count: )([0-9]+).*/\2/p' /t/migration
}

# Three rounds of dirty pages, and then as many as are left
migrate() {
    local n=0
    mon 'migrate_set_parameter max-bandwidth 8M'
    mon 'migrate_set_parameter downtime-limit 1'
    ask /t/answer 'migrate -d "exec:cat >/t/state"'
    if [ -s /t/answer ]; then
        quote </t/answer
        return 1
    fi
    for _ in $(seq $((200 * PATIENCE))); do
        n=$(syncs)
        ! grep -q -E 'completed|failed' /t/migration || break
        [ "${n:-0}" -lt 3 ] || mon 'migrate_set_parameter downtime-limit 2000'
        usleep 50000
    done
    say "# $GUEST $VARIANT: $(grep -i -E '^(migration )?status|dirty.sync' /t/migration | tr -s '\r\n\t ' ' ')"
    grep -q completed /t/migration && [ "${n:-0}" -ge 3 ]
}

# move TITLE QEMU VARIANT QEMU VARIANT: there, and four passes more
move() {
    local title=$1 from=$2 to=$4 source=$3 target=$5
    n=$((n + 1)) QEMU=$from
    dirty "mig$n-source" "$source"
    await port '[a-p]{3}' 20
    check "$title: it is migrated in 3 rounds or more" migrate
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
