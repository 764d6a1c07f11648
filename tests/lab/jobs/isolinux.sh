#!/bin/sh
# ISOLINUX, of iPXE's CD
# lab: quick guests=ipxe.iso knows=exit-clustering
# shellcheck shell=dash
# SPDX-License-Identifier: GPL-2.0-or-later

# shellcheck source=tests/lab/lib.sh
. /job/lib.sh

POLL=200000
variants 'screen status' isolinux 60 screen 'ISOLINUX .* ETCD' -vga std -cdrom /g/ipxe.iso
finished
