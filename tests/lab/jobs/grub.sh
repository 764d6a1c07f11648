#!/bin/sh
# GRUB's rescue CD, to its menu
# lab: quick long guests=grub.iso knows=exit-clustering
# shellcheck shell=dash
# SPDX-License-Identifier: GPL-2.0-or-later

# shellcheck source=tests/lab/lib.sh
. /job/lib.sh

judge() { clustered 4500; }

POLL=200000
variants 'screen status' grub 60 screen 'will be executed automatically' -vga std -cdrom /g/grub.iso
finished
