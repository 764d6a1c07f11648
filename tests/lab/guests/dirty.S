/*
 * Counts in 512 pages from 8 MiB on, pass by pass for ever, with an exit in
 * front of each write and two behind it.  RDTSC is no instruction for exit
 * clusters, so each write is in a run of its own, and the processor does next to
 * none: it would say that a page is dirty if the run doesn't.  After each pass it says a letter, the next
 * one of a to p, and 'B' for a page that isn't as the last pass had left it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "modes.inc"
#include "micro.inc"

        .set    FIRST, 0x800000
        .set    LAST, FIRST + 512 * 4096

        begin
        protected_mode gdt_desc-_start
        movw    %ax, %ss
        movl    $0x8000, %esp
        xorl    %ebx, %ebx
pass:   movl    $FIRST, %edi
next:   cmpl    %ebx, (%edi)
        je      1f
        movb    $'B', %al
        movw    $0x402, %dx
        outb    %al, %dx
1:      leal    1(%ebx), %ecx
        inb     $0xe0, %al
        movl    %ecx, (%edi)
        inb     $0xe0, %al
        inb     $0xe0, %al
        rdtsc
        addl    $4096, %edi
        cmpl    $LAST, %edi
        jb      next
        movb    %bl, %al
        incl    %ebx
        andb    $15, %al
        addb    $'a', %al
        movw    $0x402, %dx
        outb    %al, %dx
        jmp     pass

        descriptor_table
        reset_vector
