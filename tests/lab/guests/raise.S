/*
 * 1000 OUTs to QEMU's pc-testdev, each of which raises IRQ 5, whose handler
 * lowers it again.  Says how many interrupts came, and how many of them after
 * an instruction behind the OUT had been run.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "micro.inc"

        .set    CAME, 0x9000
        .set    LATE, 0x9002

        .macro  write_msr number, value
        movl    $\number, %ecx
        movl    $\value, %eax
        xorl    %edx, %edx
        wrmsr
        .endm

        .macro  pic port, value
        movb    $\value, %al
        outb    %al, $\port
        .endm

        begin
        movw    $handler-_start, 4 * 13
        movw    $0x1000, 4 * 13 + 2
        movw    $0, CAME
        movw    $0, LATE
        /* The local APIC lets the 8259 through at LINT0. */
        movl    $0x1b, %ecx
        rdmsr
        orl     $0xc00, %eax
        wrmsr
        write_msr 0x80f, 0x1ff
        write_msr 0x835, 0x700
        pic     0x20, 0x11
        pic     0x21, 8
        pic     0x21, 4
        pic     0x21, 1
        pic     0x21, 0xdf
        xorw    %bx, %bx                /* OUTs */
        xorw    %cx, %cx                /* what was run behind them */
        movw    $0x2005, %dx
        sti
loop:   incw    %bx
        movb    $1, %al
        outb    %al, %dx
        incw    %cx
        inb     $0xe0, %al
        cmpw    $1000, %cx
        jb      loop
        cli
        print   "raise: came "
        movw    CAME, %bx
        call    hex
        print   " late "
        movw    LATE, %bx
        call    hex
        print   "\nraise: the end\n"
1:      hlt
        jmp     1b

handler:
        pushw   %ax
        movw    %cx, %ax
        incw    %ax
        cmpw    %bx, %ax
        je      1f
        incw    LATE
1:      incw    CAME
        movb    $0, %al
        outb    %al, %dx
        movb    $0x20, %al
        outb    %al, $0x20
        popw    %ax
        iret

        routines
        reset_vector
