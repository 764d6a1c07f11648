/*
 * Writes an entry of its page table between two exits, 2000 times, has INVLPG
 * and a load of CR3 done by ring 0, and reads through the page: '.' says that it
 * was the new one, 'B' that it was the old one.  In ring 3, as a processor may
 * have to emulate ring 0.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "modes.inc"
#include "micro.inc"

        .set    TSS, 0x9000             /* as the descriptor says */
        .set    PTE, 0xb000
        .set    IDT, 0xd000
        .set    PAGES, 0x30000          /* two of them */
        .set    WINDOW, 0x200000        /* where one of them is seen */
        .set    INVALID_OPCODE, 6

        begin
        protected_mode gdt_desc-_start
        movw    %ax, %ss
        movl    $0x7000, %esp
        long_mode 4, 0x60               /* accessed, dirty */
        movl    $0x100000, %edi         /* all three levels for user mode */
1:      orb     $4, (%rdi)
        addl    $8, %edi
        cmpl    $0x106000, %edi
        jb      1b
        movq    $(PTE | 0x67), 0x102008
        movq    $(PAGES | 0x67), PTE
        movq    %cr3, %rax
        movq    %rax, %cr3
        movq    $0x7000, TSS + 4        /* stack of ring 0 */
        movw    $0x68, TSS + 0x66
        movw    $0x38, %ax
        ltr     %ax
        movl    $handler, %eax
        movw    %ax, IDT + 16 * INVALID_OPCODE
        movl    $0xee000018, IDT + 16 * INVALID_OPCODE + 2
        shrl    $16, %eax
        movl    %eax, IDT + 16 * INVALID_OPCODE + 6
        movl    $0, IDT + 16 * INVALID_OPCODE + 8
        lidt    idt_desc
        movl    $0x2b, %eax
        movl    %eax, %ds
        movl    %eax, %es
        pushq   $0x2b                   /* SS, RSP, RFLAGS, CS, RIP */
        pushq   $0x8000
        pushq   $0x3002
        pushq   $0x33
        pushq   $user
        iretq

user:   xorl    %ebx, %ebx
        movw    $0x402, %dx
next:   incl    %ebx
        movl    %ebx, %esi
        andl    $1, %esi
        shll    $12, %esi
        movl    %ebx, PAGES(%rsi)
        inb     $0xe0, %al
        inb     $0xe0, %al
        inb     $0xe0, %al
        addl    $(PAGES | 0x67), %esi
        movq    %rsi, PTE
        inb     $0xe0, %al
        ud2
        movl    WINDOW, %ecx
        movb    $'.', %al
        cmpl    %ebx, %ecx
        je      1f
        movb    $'B', %al
1:      outb    %al, %dx
        cmpl    $2000, %ebx
        jb      next
        movl    $text, %esi
1:      lodsb
        outb    %al, %dx
        cmpb    $'\n', %al
        jne     1b
1:      pause
        jmp     1b

/* Behind the UD2 */
handler:
        addq    $2, (%rsp)
        invlpg  WINDOW
        pushq   %rax
        movq    %cr3, %rax
        movq    %rax, %cr3
        popq    %rax
        iretq

text:   .ascii  "shadow: the end\n"
        .align  8
idt_desc:
        .word   16 * (INVALID_OPCODE + 1) - 1
        .quad   IDT

        /* For ring 3: none, data, 64-bit code.  Then the TSS at 0x9000. */
        descriptor_table 0, 0x00cff3000000ffff, 0x00affb000000ffff, 0x0000890090000067, 0
        reset_vector
