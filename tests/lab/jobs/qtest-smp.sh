#!/bin/sh
# QEMU's qtest of exit clusters and a second processor
# lab: smp=2 programs=tests/qtest/exit-cluster-smp-test,qemu-img needs=exit-clustering
# shellcheck shell=dash
# SPDX-License-Identifier: GPL-2.0-or-later

# shellcheck source=tests/lab/lib.sh
. /job/lib.sh

qtest exit-cluster-smp-test
finished
