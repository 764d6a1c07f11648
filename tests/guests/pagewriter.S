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
        .code16
        .globl _start
_start:
        cli
        inb     $0x92, %al              /* A20 */
        orb     $2, %al
        outb    %al, $0x92
        lgdtl   %cs:gdt_desc
        movl    $1, %eax
        movl    %eax, %cr0
        ljmpl   $8, $start32

        .code32
start32:
        movw    $16, %ax
        movw    %ax, %ds
        movw    %ax, %es
        cld
        movl    $0x100000, %edi         /* level 4, then 3, then 256 of 2 */
        xorl    %eax, %eax
        movl    $(2 * 1024), %ecx
        rep     stosl
        movl    $0x101003, 0x100000
        movl    $0x101000, %edi
        movl    $0x102003, %eax
        movl    $256, %ecx
1:      movl    %eax, (%edi)
        addl    $8, %edi
        addl    $0x1000, %eax
        loop    1b
        movl    $0x102000, %edi
        movl    $0x83, %eax
        xorl    %edx, %edx
        movl    $(256 * 512), %ecx
1:      movl    %eax, (%edi)
        movl    %edx, 4(%edi)
        addl    $8, %edi
        addl    $0x200000, %eax
        adcl    $0, %edx
        loop    1b
        movl    $0x100000, %eax
        movl    %eax, %cr3
        movl    $0x20, %eax             /* PAE */
        movl    %eax, %cr4
        movl    $0xc0000080, %ecx       /* EFER.LME */
        rdmsr
        orl     $0x100, %eax
        wrmsr
        movl    $0x80000001, %eax
        movl    %eax, %cr0
        ljmpl   $24, $start64

        .code64
start64:
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
gdt:
        .quad   0
        .quad   0x00cf9a000000ffff
        .quad   0x00cf92000000ffff
        .quad   0x00af9a000000ffff
gdt_desc:
        .word   gdt_desc - gdt - 1
        .long   gdt

        .org    494
base:   .quad   0                       /* where the stretch begins */
mask:   .long   0                       /* its pages, a power of two, less 1 */
count:  .long   0                       /* pages in a turn */
        .org    510
        .word   0xaa55
