/*
 * Firmware that does nothing but exit: one of the loops below, so many times
 * as the numbers at its beginning say, with a 'B' to the debug port 0xe9 in
 * front and an 'E' behind.  tests/bench/exit_loops.py fills in the numbers.
 *
 * All loops run in 64-bit mode, with pages of 2 MiB that map the first 4 GiB
 * and tables from 1 MiB on; in ring 0, or in ring 3 with all ports open, as some
 * nested KVM runs ring 0 one emulated instruction by the other.  RDTSC is no
 * instruction for exit clusters, so it ends one.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "modes.inc"

        .set    HPET, 0xfed00000
        .set    COM1, 0x3f8
        .set    IDE, 0x1f0
        .set    BUFFER, 0x8000

        .code64
        .globl _start
_start:
kind:   .long   0                       /* index in table */
count:  .long   0                       /* how many times */
length: .long   0                       /* for the loop to use */
ring:   .long   0                       /* 0 or 3 */

        .code16
start16:
        cli
        protected_mode gdt_desc-_start
        movw    %ax, %ss
        movl    $0x7000, %esp
        long_mode 4, 0x60               /* accessed, dirty */
        cmpl    $0, ring
        je      loops
        movl    $0x100000, %edi         /* all three levels for user mode */
1:      orb     $4, (%rdi)
        addl    $8, %edi
        cmpl    $0x106000, %edi
        jb      1b
        movq    %cr3, %rax
        movq    %rax, %cr3
        pushq   $0x2b                   /* SS, RSP, RFLAGS, CS, RIP */
        pushq   $0x7000
        pushq   $0x3002
        pushq   $0x33
        pushq   $loops
        iretq
loops:
        movb    $'B', %al
        outb    %al, $0xe9
        movl    count, %r15d
        movl    kind, %eax
        movl    table(, %rax, 4), %ebx
        testl   %r15d, %r15d
        jz      2f
1:      call    *%rbx
        rdtsc
        decl    %r15d
        jnz     1b
2:      movb    $'E', %al
        outb    %al, $0xe9
3:      pause
        jmp     3b

/* Nothing behind the exit that clusters could go on with. */
never:
        outb    %al, $0x80
        rdtsc
        ret

/* A long way to go, and no exit at its end. */
far:
        outb    %al, $0x80
        movl    length, %ecx
1:      decl    %ecx
        jnz     1b
        ret

/* Two exits with 2 * length + 2 instructions between them. */
gap:
        outb    %al, $0x80
        movl    length, %ecx
        jecxz   2f
1:      decl    %ecx
        jnz     1b
2:      outb    %al, $0x84
        ret

/* Two exits that have to be completed. */
in_pair:
        inb     $0x84, %al
        movb    %al, %cl
        inb     $0x85, %al
        ret

/* 64 registers of the first PCI device. */
pci:
        movl    $0x80000000, %ecx
1:      movl    %ecx, %eax
        movw    $0xcf8, %dx
        outl    %eax, %dx
        movw    $0xcfc, %dx
        inl     %dx, %eax
        addl    $4, %ecx
        testb   %cl, %cl
        jnz     1b
        ret

/* 64 registers of the clock's. */
cmos:
        movl    $0, %ecx
1:      movb    %cl, %al
        outb    %al, $0x70
        inb     $0x71, %al
        incl    %ecx
        cmpl    $64, %ecx
        jb      1b
        ret

putc:
        movl    %eax, %esi
        movw    $(COM1 + 5), %dx
1:      inb     %dx, %al
        testb   $0x20, %al
        jz      1b
        movl    %esi, %eax
        movw    $COM1, %dx
        outb    %al, %dx
        ret

/* A line of 64 characters, each when the transmitter is empty. */
serial:
        movl    $64, %ecx
1:      movb    $'.', %al
        call    putc
        decl    %ecx
        jnz     1b
        ret

/* 256 colours. */
palette:
        movw    $0x3c8, %dx
        xorl    %eax, %eax
        outb    %al, %dx
        movw    $0x3c9, %dx
        movl    $BUFFER, %esi
        movl    $768, %ecx
1:      lodsb
        outb    %al, %dx
        loop    1b
        ret

/* IDENTIFY DEVICE, a word at a time. */
ide:
        movw    $(IDE + 6), %dx
        movb    $0xa0, %al
        outb    %al, %dx
        incl    %edx
        movb    $0xec, %al
        outb    %al, %dx
1:      inb     %dx, %al
        testb   $0x80, %al
        jnz     1b
        testb   $8, %al
        jz      1b
        movl    $BUFFER, %edi
        movw    $IDE, %dx
        movl    $256, %ecx
1:      inw     %dx, %ax
        stosw
        loop    1b
        ret

/* 64 writes of the registers of the event timer's third comparator. */
mmio_write:
        movl    $HPET, %esi
        movl    $32, %ecx
1:      movl    $0, 0x148(%rsi)
        movl    $0, 0x14c(%rsi)
        decl    %ecx
        jnz     1b
        ret

/* 64 reads of a register that doesn't become what it is waited for. */
mmio_read:
        movl    $HPET, %esi
        movl    $64, %ecx
1:      movl    0x10(%rsi), %eax
        testl   $0x80000000, %eax
        jnz     2f
        decl    %ecx
        jnz     1b
2:      ret

        .align 8
table:
        .long   never, far, gap, in_pair, pci, cmos, serial, palette, ide
        .long   mmio_write, mmio_read

        /* For ring 3: none, data, 64-bit code. */
        descriptor_table 0, 0x00cff3000000ffff, 0x00affb000000ffff

        .org    0xfff0
        .code16
        jmp     start16
        .org    0x10000
