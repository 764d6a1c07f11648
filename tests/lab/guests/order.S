/*
 * Writes the number of a CMOS register to 0x70 as KVM lets it go on, which
 * collects such writes, makes KVM exit, writes another one, and reads the
 * register, 1000 times.  RDTSC is no instruction for exit clusters, so the first
 * write is the processor's, and what follows the exit is in a run.  Says '.' for
 * the second register, 'F' for the first one, and 'B' for anything else.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "modes.inc"
#include "micro.inc"

        .set    FIRST, 0x0b             /* 02, as it's reset */
        .set    SECOND, 0x0d            /* 80 */

        begin
        protected_mode gdt_desc-_start
        movw    %ax, %ss
        movl    $0x8000, %esp
        movl    $1000, %ebp
next:   rdtsc
        movb    $FIRST, %al
        outb    %al, $0x70
        inb     $0xe0, %al
        movb    $SECOND, %al
        outb    %al, $0x70
        inb     $0x71, %al
        movb    $'.', %bl
        cmpb    $0x80, %al
        je      3f
        movb    $'F', %bl
        cmpb    $2, %al
        je      3f
        movb    $'B', %bl
3:      rdtsc
        movb    %bl, %al
        movw    $0x402, %dx
        outb    %al, %dx
        decl    %ebp
        jnz     next
        movl    $end, %esi
4:      lodsb
        testb   %al, %al
        jz      5f
        outb    %al, %dx
        jmp     4b
5:      hlt
        jmp     5b

end:    .asciz  "order: the end\n"

        descriptor_table
        reset_vector
