#!/usr/bin/env bats
# Of the build without exit clusters (ci/build.sh --variant without): what it
# says to those who ask for them, and that guests come from and go to the build
# with them.  The qtests are those of build/patched.

setup_file() {
    cd "$(dirname "$BATS_TEST_FILENAME")/../.." || return 1
    export WITHOUT=$PWD/build/without/qemu-system-x86_64
    export WITH=$PWD/build/patched/qemu-system-x86_64
    export QTESTS=$PWD/build/patched/tests/qtest SRC=$PWD/build/src
    [ -x "$WITHOUT" ] || {
        echo "no $WITHOUT: run ci/build.sh --variant without" >&2
        return 1
    }
    export FIRMWARE=$BATS_FILE_TMPDIR/firmware
    make_firmware
    export PROPERTIES="exit-clustering exit-clustering-max-us
        exit-clustering-exit-cost x-exit-clustering-tdp emulate-failures"
}

# A guest that counts, and writes the number to a port each time: at the reset
# vector are inc bx; mov al, bl; out 0xe9, al; jmp
make_firmware() {
    head -c $((65536 - 16)) /dev/zero >"$FIRMWARE"
    printf '\x43\x88\xd8\xe6\xe9\xeb\xf9' >>"$FIRMWARE"
    truncate -s 65536 "$FIRMWARE"
}

setup() {
    options=(-display none -nodefaults -serial none)
    # There is no KVM on every host; its accelerator's properties are there.
    kvm=1
    [ -w /dev/kvm ] || kvm=
}

need_kvm() {
    [ -n "$kvm" ] || skip "no usable /dev/kvm"
}

# qmp QEMU-ARGUMENTS...: what is answered to the lines of standard input
qmp() {
    {
        echo '{"execute": "qmp_capabilities"}'
        cat
        echo '{"execute": "quit"}'
    } | timeout 60 "$WITHOUT" "${options[@]}" -S -qmp stdio "$@"
}

@test "each property of exit clusters is refused by one line that names it" {
    for property in $PROPERTIES; do
        for value in on off 1; do
            run timeout 60 "$WITHOUT" "${options[@]}" -S -accel "kvm,$property=$value"
            [ "$status" = 1 ]
            [ "${#lines[@]}" = 1 ]
            [[ ${lines[0]} == *"$property"*"not found" ]]
        done
    done
}

@test "-help offers none of them, and the other build all but the test's" {
    for property in $PROPERTIES; do
        run "$WITHOUT" -help
        [ "$status" = 0 ]
        [[ $output != *"$property"* ]]
        run "$WITH" -help
        [[ $property == x-* || $output == *"$property="* ]]
    done
}

@test "QMP has neither their command nor types, and answers what else is asked" {
    # With TCG, as on a host without KVM
    run qmp -machine none -accel tcg <<'EOF'
{"execute": "x-query-exit-clusters"}
{"execute": "query-qmp-schema"}
{"execute": "query-stats-schemas", "arguments": {"provider": "exit-clusters"}}
{"execute": "query-stats-schemas"}
{"execute": "human-monitor-command", "arguments": {"command-line": "info exit-clusters"}}
EOF
    [ "$status" = 0 ]
    [[ $output == *'"CommandNotFound", "desc": "The command x-query-exit-clusters'* ]]
    [[ $output == *"does not accept value 'exit-clusters'"* ]]
    [[ $output == *"unknown command: 'info exit-clusters'"* ]]
    # Nothing but these three answers has the name.
    [ "$(grep -c 'exit-clusters' <<<"$output")" = 3 ]
    [ "$(grep -c '"return"' <<<"$output")" = 5 ]
}

@test "with KVM, there are no statistics of them, and nothing to switch" {
    need_kvm
    run qmp -machine pc -accel kvm <<'EOF'
{"execute": "query-stats", "arguments": {"target": "vcpu"}}
{"execute": "qom-list", "arguments": {"path": "/machine/accelerator"}}
{"execute": "qom-set", "arguments": {"path": "/machine/accelerator", "property": "exit-clustering", "value": "on"}}
EOF
    [ "$status" = 0 ]
    [[ $output == *'"provider": "kvm"'* ]]
    # The accelerator is published to switch clusters, and not without them.
    [ "$(grep -c "Device '/machine/accelerator' not found" <<<"$output")" = 2 ]
    [ "$(grep -c 'exit-cluster' <<<"$output")" = 0 ]
}

@test "their qtests skip themselves and say why" {
    need_kvm
    tests=$(grep -l '"exit-cluster-guest.h"' "$SRC"/tests/qtest/*-test.c)
    [ -n "$tests" ]
    for test in $tests; do
        run env QTEST_QEMU_BINARY="$WITHOUT" timeout 300 "$QTESTS/$(basename "$test" .c)" --tap
        [ "$status" = 0 ]
        [ "$(grep -c '^ok .* # SKIP QEMU was built without exit clusters$' <<<"$output")" = 1 ]
        [ "$(grep -cE '^(not )?ok ' <<<"$output")" = 1 ]
    done
}

# hmp QEMU ARGUMENTS...: give it the lines of standard input, and put what it
# says into $output.  The line "until STATUS" waits for it, a pattern, and "until
# it counts" for what the guest writes, which is in the file port.
hmp() {
    local dir=$BATS_TEST_TMPDIR
    rm -f "$dir"/{port,never}
    : >"$dir/said"
    while IFS= read -r line; do
        if [[ $line != "until "* ]]; then
            echo "$line"
            continue
        fi
        for _ in {1..1500}; do
            ! has_come "${line#until }" || continue 2
            echo info status
            sleep 0.2
        done
        echo "never: $line" >"$dir/never"
    done | timeout 600 "$1" "${options[@]}" -machine pc -m 32 -cpu qemu64 -monitor stdio \
        -bios "$FIRMWARE" -chardev "file,id=port,path=$dir/port" \
        -device isa-debugcon,iobase=0xe9,chardev=port "${@:2}" >"$dir/said" 2>&1
    output=$(<"$dir/said")
    [ ! -e "$dir/never" ] || {
        cat "$dir/never" "$dir/said"
        return 1
    }
}

has_come() { # WHAT hmp waits for
    case $1 in
    'it counts') [ -s "$BATS_TEST_TMPDIR/port" ] ;;
    *) grep -q "VM status: $1" "$BATS_TEST_TMPDIR/said" ;;
    esac
}

# written COMMAND: a number that the guest has written, which head or tail names
written() {
    echo $(($("$1" -c 1 "$BATS_TEST_TMPDIR/port" | od -An -tu1)))
}

# where TEXT: the guest's registers, as "info registers" has them; some of them
where() {
    grep -oE '\b[RE](IP|SP|BX|SI)=[0-9a-f]+' <<<"$1"
}

# migrate FROM TO: QEMU and accelerator of either.  The guest counts on where it
# was.
migrate() {
    local file=$BATS_TEST_TMPDIR/vm from to before last
    read -ra from <<<"$1"
    read -ra to <<<"$2"
    rm -f "$file"
    hmp "${from[@]}" <<EOF
until it counts
stop
info registers
migrate file:$file
until paused (postmigrate)
quit
EOF
    before=$(where "$output")
    [ -n "$before" ]
    last=$(written tail)
    hmp "${to[@]}" -S -incoming "file:$file" <<'EOF'
until paused[[:space:]]*$
info registers
cont
until it counts
quit
EOF
    [ "$(where "$output")" = "$before" ]
    [ "$(written head)" = $(((last + 1) % 256)) ]
}

@test "guests come from and go to the build with exit clusters, TCG" {
    migrate "$WITH -accel tcg" "$WITHOUT -accel tcg"
    migrate "$WITHOUT -accel tcg" "$WITH -accel tcg"
}

@test "guests come from and go to the build with exit clusters, KVM" {
    need_kvm
    local on="-accel kvm,exit-clustering=on,x-exit-clustering-tdp=on,emulate-failures=on"
    migrate "$WITH $on" "$WITHOUT -accel kvm"
    migrate "$WITHOUT -accel kvm" "$WITH $on"
}
