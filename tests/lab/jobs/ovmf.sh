#!/bin/sh
# OVMF, to the prompt of its shell
# lab: guests=OVMF_CODE.fd,OVMF_VARS.fd knows=exit-clustering shift=4 timeout=3600
# shellcheck shell=dash
# SPDX-License-Identifier: GPL-2.0-or-later

# shellcheck source=tests/lab/lib.sh
. /job/lib.sh

# It looks for a TPM that isn't there 50,000 times, and reads the ACPI timer in
# between until 30 us are over: often, where an instruction takes a nanosecond.
prepare() { cp /g/OVMF_VARS.fd /t/vars; }

POLL=200000 PASSES=traced
variants 'serial status' ovmf 200 serial 'Shell>' \
    -vga std -drive if=pflash,format=raw,readonly=on,file=/g/OVMF_CODE.fd \
    -drive if=pflash,format=raw,file=/t/vars
finished
