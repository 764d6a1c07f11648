/*
 * Changes its own code between exits, 2000 times: the next instruction but one,
 * which the processor sees at once, and code on another page, by another
 * segment.  '.' says that what was run was new, 'B' that it was old.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "micro.inc"

        .set    OTHER, 0x9100           /* where a far routine is copied to */

        begin
        movw    $0x1000, %ax
        movw    %ax, %ds
        movw    $routine-_start, %si
        movw    $OTHER, %di
        movw    $(routine_end - routine), %cx
        rep     movsb
        xorw    %bx, %bx
        movw    $0x402, %dx
next:   incw    %bx
        inb     $0xe0, %al
        movw    %bx, here-_start + 1
        inb     $0xe0, %al
here:   movw    $0, %cx
        inb     $0xe0, %al
        movb    $'.', %al
        cmpw    %bx, %cx
        je      1f
        movb    $'B', %al
1:      outb    %al, %dx
        /* ES is 0, and so is the CS of the copy. */
        inb     $0xe0, %al
        movw    %bx, %es:OTHER + 1
        inb     $0xe0, %al
        lcall   $0, $OTHER
        movb    $'.', %al
        cmpw    %bx, %cx
        je      1f
        movb    $'B', %al
1:      outb    %al, %dx
        cmpw    $2000, %bx
        jb      next
        print   "code: the end\n"
1:      hlt
        jmp     1b

routine:
        movw    $0, %cx
        inb     $0xe0, %al
        lret
routine_end:

        routines
        reset_vector
