#!/bin/sh
# SeaBIOS to its end, with a VGA BIOS and nothing to boot from
# lab: quick vmx knows=exit-clustering
# shellcheck shell=dash
# SPDX-License-Identifier: GPL-2.0-or-later

# shellcheck source=tests/lab/lib.sh
. /job/lib.sh

judge() { clustered 650; }

POLL=20000
variants 'port screen status' post 20 port 'No bootable device' -vga std
finished
