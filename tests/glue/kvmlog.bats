#!/usr/bin/env bats
# tests/guests/kvmlog.py with the QEMU that ci/mutants names; the stage guest
# has it with that of build/patched.

setup() {
    [ -n "${THRIFT_QEMU:-}" ] || skip "the stage guest runs it"
    [ -w /dev/kvm ] || skip "no usable /dev/kvm"
    cd "$(dirname "$BATS_TEST_FILENAME")/../.." || return 1
    [ -f build/guests/kvmshim.so ] || tests/guests/make.sh
}

kvmlog() {
    local said
    said=$(tests/guests/kvmlog.py --variant "$THRIFT_QEMU" --only "$1") || {
        echo "$said"
        return 1
    }
    # What this host lacks is no proof
    [[ $said != *'# SKIP '* ]] || skip "${said##*'# SKIP '}"
}

@test "logs are cleared, and no more than was reported" {
    kvmlog nothing
}

@test "a display and a migration clear no page twice" {
    kvmlog display
}

@test "no log is read for the first round" {
    kvmlog first
}

@test "a log is cleared before untouched memory is looked for" {
    kvmlog untouched
}

@test "a measurement amid a migration takes nothing from it" {
    kvmlog measured-hidden
}

@test "a migration that begins amid a measurement is complete" {
    kvmlog measuring
}

@test "slots that are made anew amid a migration begin with no page" {
    kvmlog shadow
}

@test "a bitmap goes with its log" {
    kvmlog memory
}

@test "no map for who does not log" {
    kvmlog maps
}

@test "a DIMM takes a slot" {
    kvmlog slots
}

@test "a clear stays within an odd slot" {
    kvmlog odd-slot
}

@test "the log of a cancelled migration is forgotten" {
    kvmlog cancel-hidden
}

@test "the log of a display that was switched off is forgotten" {
    kvmlog switched-hidden
}

@test "writes in a log are kept when their slot goes" {
    kvmlog removed-hidden
}

@test "writes in a dirty ring are kept when their slot goes" {
    kvmlog removed-ring
}

@test "a dirty ring names pages of a log that has ended" {
    kvmlog switched-ring
}

@test "stores to a slot while it goes are kept" {
    kvmlog bar
}

@test "no signal ends the reset of a dirty ring" {
    kvmlog early-ring
}

@test "what a reset of a dirty ring leaves is sent once more" {
    kvmlog short-ring
}

@test "unplugged memory is not sent because a dirty ring was reset in part" {
    kvmlog unplugged-ring
}

@test "packets do not end the reset of a dirty ring" {
    kvmlog busy-ring
}

@test "a dirty ring that overflows loses nothing" {
    kvmlog full-ring
}

@test "stores to a slot while it goes are kept in a dirty ring" {
    kvmlog bar-ring
}

@test "two vCPUs are kept from storing to a slot that goes" {
    kvmlog bar-pair
    kvmlog bar-pair-ring
}

@test "a guest goes on whose stores fill a dirty ring far beyond its size" {
    kvmlog very-full-ring
}
