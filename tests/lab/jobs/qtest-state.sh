#!/bin/sh
# QEMU's qtests of exit clusters: the processor's state, and lost pages
# lab: nested=1 programs=tests/qtest/exit-cluster-state-test,tests/qtest/exit-cluster-host-test,qemu-img needs=exit-clustering
# shellcheck shell=dash
# SPDX-License-Identifier: GPL-2.0-or-later

# shellcheck source=tests/lab/lib.sh
. /job/lib.sh

qtest exit-cluster-state-test
qtest exit-cluster-host-test
finished
