#!/bin/sh
# PIT, RTC, HPET and IOAPIC, with KVM's irqchip, QEMU's, and half of each
# lab: quick guests=ticks.bios knows=exit-clustering
# shellcheck shell=dash
# SPDX-License-Identifier: GPL-2.0-or-later

# shellcheck source=tests/lab/lib.sh
. /job/lib.sh

# wanted DEVICE...: what is to come, and nothing late nor odd
wanted() {
    local zero=00000000 device
    for device; do
        echo "$device: late $zero odd $zero"
        case $device in
        edges* | levels*) echo 'came 00000190' ;;
        masked)
            echo 'came 00000004'
            echo 'entry 0000803b'
            ;;
        esac
    done
    echo 'ticks: the end'
}

# ticks IRQCHIP ARGS...: with all variants
ticks() {
    local irqchip=$1 variant
    shift
    for variant in $VARIANTS; do
        run ticks "$variant,kernel-irqchip=$irqchip" 20 port 'ticks: the end' \
            -bios /g/ticks.bios -device pc-testdev "$@"
        check "ticks $VARIANT: all interrupts come, at once, and no others" \
            cmp -s "$D/port" /t/wanted
        cmp -s "$D/port" /t/wanted || diff /t/wanted "$D/port" | grep '^[-+]' | quote
        # HPET counts 10 ns.
        say "# ticks $VARIANT: took us" "$(while read -r n; do echo $((0x$n / 100)); done <"$D/serial" | tr '\n' ' ')"
    done
}

MACHINE=q35 MEM=16 TRACE=
# auto is the same as on here.
[ "$VARIANTS" = 'off auto' ] || VARIANTS=${VARIANTS% auto}
wanted 'PIT by 8259' 'RTC by 8259' 'HPET by 8259' 'edges by 8259' \
    'PIT by IOAPIC' 'HPET as PIT' 'RTC by IOAPIC' 'HPET by IOAPIC' 'HPET by MSI' \
    'edges by IOAPIC' 'levels by IOAPIC' masked >/t/wanted
ticks on
ticks split
# With KVM, QEMU has no local APIC of its own.
wanted 'PIT by 8259' 'RTC by 8259' 'HPET by 8259' 'edges by 8259' >/t/wanted
ticks off -cpu qemu64,apic=off
finished
