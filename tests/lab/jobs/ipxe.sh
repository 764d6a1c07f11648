#!/bin/sh
# iPXE, loaded as a Linux kernel
# lab: guests=ipxe.lkrn timeout=2400 knows=exit-clustering
# shellcheck shell=dash
# SPDX-License-Identifier: GPL-2.0-or-later

# shellcheck source=tests/lab/lib.sh
. /job/lib.sh

POLL=200000
variants 'screen status' ipxe 100 screen 'Features: .*' -vga std -kernel /g/ipxe.lkrn
