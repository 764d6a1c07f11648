/*
 * A boot sector that makes a given number of pages dirty, each one once and at
 * random places of a stretch of RAM, whenever it gets a byte on the serial
 * port.  It sends an 'r' first, and a '.' when it is done.
 * tests/bench/sync_cost.py fills in the numbers at its end.
 *
 * Pages of 2 MiB map the first 256 GiB, with tables from 1 MiB on.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "modes.inc"

        boot_sector
        long_mode 256, 0
        xorl    %ebx, %ebx              /* pages so far */
        movw    $0x3f8, %dx
        movb    $'r', %al               /* ready */
        outb    %al, %dx
wait:
        movw    $0x3fd, %dx
        inb     %dx, %al
        testb   $1, %al
        jz      wait
        movw    $0x3f8, %dx
        inb     %dx, %al
        movl    count, %ecx
more:
        /* Steps that can be undone: no page comes twice in a turn. */
        movl    %ebx, %eax
        imull   $0x9e3779b1, %eax, %eax
        andl    mask, %eax
        movl    %eax, %esi
        shrl    $9, %esi
        xorl    %esi, %eax
        imull   $0x85ebca6b, %eax, %eax
        andl    mask, %eax
        shlq    $12, %rax
        addq    base, %rax
        incl    %ebx
        movl    %ebx, (%rax)
        decl    %ecx
        jnz     more
        movb    $'.', %al
        outb    %al, %dx
        jmp     wait

        .align 8
        descriptor_table

        .org    494
base:   .quad   0                       /* where the stretch begins */
mask:   .long   0                       /* its pages, a power of two, less 1 */
count:  .long   0                       /* pages in a turn */
        .org    510
        .word   0xaa55
