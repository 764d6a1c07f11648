#!/bin/sh
# memtest86+, to its first test
# lab: guests=memtest.bin knows=exit-clustering
# shellcheck shell=dash
# SPDX-License-Identifier: GPL-2.0-or-later

# shellcheck source=tests/lab/lib.sh
. /job/lib.sh

# It shows what it has measured, and how far it is.
judge() { tr -d '0-9#%.:|/\\-' <"$D/screen" | tr -s ' ' >"$D/words"; }

POLL=200000
variants 'words status' memtest 60 screen 'Memtest86.*v' -vga std -kernel /g/memtest.bin
finished
