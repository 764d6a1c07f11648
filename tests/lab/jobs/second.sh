#!/bin/sh
# KVM is refused as exit clusters aren't possible, and the next accelerator used
# lab: needs=exit-clustering
# shellcheck shell=dash
# SPDX-License-Identifier: GPL-2.0-or-later

# shellcheck source=tests/lab/lib.sh
. /job/lib.sh

for accel in kvm tcg; do
    echo quit | timeout $((20 * PATIENCE)) "$QEMU" \
        -accel kvm,exit-clustering=on,x-exit-clustering-tdp=off -accel $accel \
        -machine pc -m 16 -display none -nodefaults -S -L /qemu/fw \
        -monitor stdio >/t/second 2>&1
    status=$?
    check "second: KVM is refused before $accel" \
        grep -q 'exit-clustering=on is not possible' /t/second
    check "second: $accel comes up in its place" [ $status = 0 ]
    [ $status = 0 ] || {
        echo "status $status"
        tail -n 3 /t/second
    } | quote
done
finished
