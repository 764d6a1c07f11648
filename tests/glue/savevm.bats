#!/usr/bin/env bats
# tests/guests/savevm_leak.py with the QEMU that ci/mutants names; the stage
# guest has it with that of build/patched.

setup() {
    [ -n "${THRIFT_QEMU:-}" ] || skip "the stage guest runs it"
    cd "$(dirname "$BATS_TEST_FILENAME")/../.." || return 1
}

@test "savevm leaves nothing behind" {
    tests/guests/savevm_leak.py --variant "$THRIFT_QEMU" --only savevm
}

@test "loadvm leaves nothing behind" {
    tests/guests/savevm_leak.py --variant "$THRIFT_QEMU" --only loadvm
}
