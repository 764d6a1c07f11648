#!/bin/sh
# QEMU's qtest of snapshots while guests cut untouched memory up, with TCG and KVM
# lab: long timeout=1800 memory=8G programs=tests/qtest/migration-test,qemu-img
# shellcheck shell=dash
# SPDX-License-Identifier: GPL-2.0-or-later

# shellcheck source=tests/lab/lib.sh
. /job/lib.sh

# Where only the zero page is protected in vain, and not all hosts have it
guest=/x86_64/migration/untouched/guest
qtest migration-test --full -p $guest/tcg/scattered -p $guest/kvm/scattered
finished
