#!/bin/sh
# QEMU's qtest of migration and dirty pages
# lab: programs=tests/qtest/migration-dirty-test,qemu-img timeout=1800
# shellcheck shell=dash
# SPDX-License-Identifier: GPL-2.0-or-later

# shellcheck source=tests/lab/lib.sh
. /job/lib.sh

qtest migration-dirty-test
