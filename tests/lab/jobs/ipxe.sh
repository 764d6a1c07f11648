#!/bin/sh
# iPXE, by its own loader, until it has found no network to boot from
# lab: guests=ipxe.lkrn knows=exit-clustering timeout=3600
# shellcheck shell=dash
# SPDX-License-Identifier: GPL-2.0-or-later

# shellcheck source=tests/lab/lib.sh
. /job/lib.sh

POLL=200000
variants 'screen status' ipxe 120 screen 'No more network devices' -vga std -kernel /g/ipxe.lkrn
finished
