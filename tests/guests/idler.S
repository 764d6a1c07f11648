/*
 * Firmware whose CPUs, all that there are, run in circles in ring 3 and touch
 * no memory.  An 'r' to the debug port 0xe9 says that they do, one for each.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "all_cpus.inc"

        .globl  _start
_start:
        first_cpu
        all_cpus
        movb    $'r', %al
        outb    %al, $0xe9
        movl    $APIC_ID, %edi
        movl    (%rdi), %ecx
        shrl    $16, %ecx               /* which CPU it is, times 256 */
        leal    0x200100(%ecx), %esp
        ring_3  circle, $0x200000
circle:
        jmp     circle

        firmware_end
