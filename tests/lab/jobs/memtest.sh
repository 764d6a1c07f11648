#!/bin/sh
# memtest86+, to its first test
# lab: guests=memtest.bin timeout=2400 knows=exit-clustering
# shellcheck shell=dash
# SPDX-License-Identifier: GPL-2.0-or-later

# shellcheck source=tests/lab/lib.sh
. /job/lib.sh

POLL=200000
variants 'screen status' memtest 60 screen 'Memtest86.*v' -vga std -kernel /g/memtest.bin
