#!/bin/sh
# QEMU's qtest of migration and dirty pages, with KVM's dirty log and ring
# lab: programs=tests/qtest/migration-dirty-test,qemu-img
# shellcheck shell=dash
# SPDX-License-Identifier: GPL-2.0-or-later

# shellcheck source=tests/lab/lib.sh
. /job/lib.sh

# Of the cases that differ only in the memory's size the one whose size is no
# multiple of what a word of the bitmap stands for.
log=/x86_64/migration-dirty/kvm ring=/x86_64/migration-dirty/kvm-dirty-ring
qtest migration-dirty-test \
    -p $log/odd-size -p $log/running -p $log/screen -p $log/new-ram \
    -p $log/sent-once -p $ring/odd-size -p $ring/screen -p $ring/new-ram \
    -p $ring/sent-once
finished
