#!/bin/sh
# QEMU's qtest of virtio-net with the kernel's vhost-net
# lab: programs=tests/qtest/virtio-net-vhost-test
# shellcheck shell=dash
# SPDX-License-Identifier: GPL-2.0-or-later

# shellcheck source=tests/lab/lib.sh
. /job/lib.sh

# A host has loaded them, or not.
if [ -f /mod/net ]; then
    while read -r module; do
        insmod "/mod/$module.ko" || say "# module $module wasn't loaded"
    done </mod/net
fi
qtest virtio-net-vhost-test
finished
