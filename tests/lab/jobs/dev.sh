#!/bin/sh
# Linux with two processors, IDE, virtio-blk, and e1000 and virtio-net by slirp
# lab: guests=linux-full,initrd-full knows=exit-clustering timeout=3000
# shellcheck shell=dash
# SPDX-License-Identifier: GPL-2.0-or-later

# shellcheck source=tests/lab/lib.sh
. /job/lib.sh

mkdir -p /t/tftp
dd if=/qemu/bin/qemu-system-x86_64 of=/t/tftp/file bs=1k count=100 2>/dev/null
file=$(md5sum </t/tftp/file | cut -c1-12)

prepare() {
    local disk
    for disk in ide virtio; do
        tr '\0' q </dev/zero | dd of=/t/$disk bs=64k count=32 iflag=fullblock 2>/dev/null
    done
}

judge() {
    grep -a -E '^L2: (BAD|sda|vda|eth|pci|ports|the end)' "$D/serial" | tr -d '\r' >"$D/lines"
    md5sum /t/ide /t/virtio >>"$D/lines"
    grep -q BAD "$D/lines" && not_ok "$GUEST $VARIANT: all devices work"
    check "$GUEST $VARIANT: both networks have got the file" \
        [ "$(grep -c "eth. got $file" "$D/lines")" = 2 ]
    check "$GUEST $VARIANT: switches off" grep -q shutdown "$D/status"
}

POLL=200000 OFF=1
for processors in 1 2; do
    variants 'lines status' "dev$processors" 60 serial 'L2: the end' -smp $processors \
        -kernel /g/linux-full -initrd /g/initrd-full \
        -append 'console=ttyS0 printk.time=0 mitigations=off nokaslr panic=-1 l2=net l2=clock' \
        -drive if=ide,format=raw,file=/t/ide -drive if=virtio,format=raw,file=/t/virtio \
        -nic user,model=e1000,tftp=/t/tftp -nic user,model=virtio-net-pci,tftp=/t/tftp
done
