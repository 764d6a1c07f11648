/*
 * Firmware whose CPUs, all that there are, run in circles in ring 3 and touch
 * no memory.  An 'r' to the debug port 0xe9 says that they do, one for each.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "modes.inc"

#define APIC_ID     0xfee00020
#define APIC_ICR    0xfee00300
#define OTHER_CPU   0xf8000

        .globl  _start
_start:
        .code16
first_cpu:
        cli
        protected_mode gdt_desc-_start
        movw    %ax, %ss
        /* Pages of 2 MiB for ring 3; RAM is 0 */
        movl    $0x101007, 0x100000
        movl    $0x102007, 0x101000
        movl    $0x105007, 0x101018
        movl    $0x0000e7, 0x102000
        movl    $0x2000e7, 0x102008
        movl    $0xfee000e7, 0x105fb8   /* APIC */
        use_page_tables
        movl    $APIC_ICR, %edi
        movl    $0xc4500, (%rdi)        /* INIT to all others, then SIPI */
        rdtsc
        movl    %eax, %ecx
1:      pause
        rdtsc
        subl    %ecx, %eax
        shrl    $25, %eax               /* 10 ms and more */
        jz      1b
        movl    $(0xc4600 + OTHER_CPU / 4096), (%rdi)
        jmp     ring_3

        .org    OTHER_CPU - 0xf0000
other_cpu:
        .code16
        cli
        protected_mode gdt_desc-other_cpu
        movw    %ax, %ss
        use_page_tables

ring_3:
        movb    $'r', %al
        outb    %al, $0xe9
        movl    $APIC_ID, %edi
        movl    (%rdi), %ecx
        shrl    $16, %ecx               /* which CPU it is, times 256 */
        leal    0x200100(%ecx), %esp
        pushq   $0x2b                   /* SS, RSP, RFLAGS, CS, RIP */
        pushq   $0x200000
        pushq   $0x3002
        pushq   $0x33
        pushq   $circle
        iretq
circle:
        jmp     circle

        .align  8
        descriptor_table 0, 0x00cff3000000ffff, 0x00affb000000ffff

        .org    0xfff0
        .code16
        jmp     first_cpu
        .org    0x10000
