#!/usr/bin/env bats
# tests/guests/quit_migrating.py with the QEMU that ci/mutants names; the stage
# guest has it with that of build/patched.

setup() {
    [ -n "${THRIFT_QEMU:-}" ] || skip "the stage guest runs it"
    cd "$(dirname "$BATS_TEST_FILENAME")/../.." || return 1
    [ -f build/guests/exitshim.so ] || tests/guests/make.sh
}

@test "a VM that quits amid a migration stays stopped" {
    tests/guests/quit_migrating.py --variant "$THRIFT_QEMU" --only stopped
}

@test "query-migrate has an answer when QEMU ends" {
    tests/guests/quit_migrating.py --variant "$THRIFT_QEMU" --only answered
}
