#!/bin/sh
# SeaBIOS to its end, twice, to the instruction
# lab: quick twice knows=exit-clustering
# shellcheck shell=dash
# SPDX-License-Identifier: GPL-2.0-or-later

# shellcheck source=tests/lab/lib.sh
. /job/lib.sh

POLL=20000 TRACE=''
run same "${VARIANTS##* }" 20 port 'No bootable device' -vga std
finished
