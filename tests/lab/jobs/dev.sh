#!/bin/sh
# Linux with IDE, virtio-blk, and e1000 and virtio-net by slirp
# lab: guests=linux-full,initrd-full knows=exit-clustering timeout=5400
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

POLL=200000 OFF=1 PASSES=traced
variants 'lines status' dev 60 serial 'L2: the end' \
    -kernel /g/linux-full -initrd /g/initrd-full \
    -append 'console=ttyS0 printk.time=0 mitigations=off nokaslr panic=-1 audit=0 l2=net' \
    -drive if=ide,format=raw,file=/t/ide -drive if=virtio,format=raw,file=/t/virtio \
    -nic user,model=e1000,tftp=/t/tftp -nic user,model=virtio-net-pci,tftp=/t/tftp
finished
