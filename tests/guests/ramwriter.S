/*
 * A boot sector that writes memory, for accelerators that no stock kernel
 * boots under: stores to random words of random pages from 1 MiB to 1 MiB +
 * RAMWRITER_PAGES pages, now and then to the text screen, and a '.' to the
 * serial port for every 65536 stores.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "modes.inc"

        boot_sector
        movw    $0x3d4, %dx             /* no cursor, which would blink */
        movw    $0x200a, %ax
        outw    %ax, %dx
        movl    $0x12345678, %eax       /* the state of the generator */
        xorl    %ecx, %ecx              /* stores so far */
loop:
        imull   $1664525, %eax, %eax
        addl    $1013904223, %eax
        movl    %eax, %ebx
        shrl    $8, %ebx                /* the low bits are less random */
        movl    %ebx, %edx
        andl    $0xffc, %edx            /* the word */
        shrl    $8, %ebx
        andl    $(RAMWRITER_PAGES - 1), %ebx
        shll    $12, %ebx
        addl    %eax, 0x100000(%ebx, %edx)
        incl    %ecx
        testl   $0xfff, %ecx
        jnz     loop
        movl    %ecx, %ebx
        shrl    $12, %ebx
        andl    $0x3ff, %ebx
        movw    %ax, 0xb8000(, %ebx, 2)
        testl   $0xffff, %ecx
        jnz     loop
        movl    %eax, %ebx
        movw    $0x3f8, %dx
        movb    $'.', %al
        outb    %al, %dx
        movl    %ebx, %eax
        jmp     loop

        .align 8
        descriptor_table

        .org    510
        .word   0xaa55
