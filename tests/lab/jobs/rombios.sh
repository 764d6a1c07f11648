#!/bin/sh
# Bochs' legacy BIOS, until it has made its tables
# lab: guests=rombios.bin knows=exit-clustering
# shellcheck shell=dash
# SPDX-License-Identifier: GPL-2.0-or-later

# shellcheck source=tests/lab/lib.sh
. /job/lib.sh

POLL=20000
variants 'port status' rombios 60 port bios_table_cur_addr -vga std -bios /g/rombios.bin
finished
