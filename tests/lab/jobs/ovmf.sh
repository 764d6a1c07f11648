#!/bin/sh
# OVMF, to where it has nothing to boot from
# lab: guests=OVMF_CODE.fd,OVMF_VARS.fd knows=exit-clustering timeout=2400
# shellcheck shell=dash
# SPDX-License-Identifier: GPL-2.0-or-later

# shellcheck source=tests/lab/lib.sh
. /job/lib.sh

prepare() { cp /g/OVMF_VARS.fd /t/vars; }

POLL=200000
variants 'serial status' ovmf 200 serial 'UEFI Interactive Shell|BdsDxe: .*|>>Start PXE' \
    -vga std -drive if=pflash,format=raw,readonly=on,file=/g/OVMF_CODE.fd \
    -drive if=pflash,format=raw,file=/t/vars
