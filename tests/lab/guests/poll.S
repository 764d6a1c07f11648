/*
 * Reads a sector of an IDE disk 20 times, and each time polls its status at
 * most LIMIT times: '.' says that it came in time, 'T' that it didn't.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "micro.inc"

        .set    LIMIT, 65535
        .set    IDE, 0x1f0

        .macro  out port, value
        movw    $\port, %dx
        movb    $\value, %al
        outb    %al, %dx
        .endm

        begin
        movw    $20, %bp
read:   out     0x3f6, 2                /* no interrupts */
        out     IDE + 6, 0xe0
        out     IDE + 2, 1
        out     IDE + 3, 0
        out     IDE + 4, 0
        out     IDE + 5, 0
        out     IDE + 7, 0x20
        movw    $LIMIT, %cx
1:      inb     %dx, %al
        testb   $0x80, %al
        jz      2f
        loop    1b
        out     0x402, 'T'
2:      movw    $(IDE + 7), %dx
        inb     %dx, %al
        testb   $0x80, %al
        jnz     2b
        movw    $IDE, %dx
        movw    $256, %cx
        movw    $0x9000, %di
        rep     insw
        out     0x402, '.'
        decw    %bp
        jnz     read
        print   "\npoll: the end\n"
1:      hlt
        jmp     1b

        routines
        reset_vector
