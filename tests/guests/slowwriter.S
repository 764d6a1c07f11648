/*
 * A boot sector that dirties few pages: each 2^SLOWWRITER_TICKS ticks of the TSC
 * it stores a counter to a random page of SLOWWRITER_PAGES from 16 MiB on, all of
 * which it has touched before, and to a pixel of a linear frame buffer, if
 * there is a VGA with Bochs's extensions or VMware's SVGA at 00:02.0.  It sends a '.' to the
 * serial port before it begins, and after each 256 stores.  With SLOWWRITER_PAIR
 * a second CPU does the same at the same time.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "modes.inc"

#define TRAMPOLINE      0x7000
#define FRAME_BUFFER    0x7008

        .macro  vbe index, value
        movw    $0x1ce, %dx
        movw    $\index, %ax
        outw    %ax, %dx
        incl    %edx
        movw    $\value, %ax
        outw    %ax, %dx
        .endm

        boot_sector
        movl    $0x80001010, %ebx       /* 00:02.0, BAR 0, or 1 if that's I/O */
1:      movl    %ebx, %eax
        movw    $0xcf8, %dx
        outl    %eax, %dx
        movw    $0xcfc, %dx
        inl     %dx, %eax
        addb    $4, %bl
        cmpb    $0x18, %bl
        jae     2f
        testb   $1, %al
        jnz     1b
2:
        andl    $~15, %eax
        movl    %eax, %edi
        incl    %eax
        testl   $~15, %eax
        jz      touch                   /* no device: all ones */
        vbe     4, 0                    /* 640 x 480 x 32 */
        vbe     1, 640
        vbe     2, 480
        vbe     3, 32
        vbe     4, 0x41
touch:
        movl    $0x1000000, %ebx
1:      movl    %ebx, (%ebx)
        addl    $4096, %ebx
        cmpl    $(0x1000000 + SLOWWRITER_PAGES * 4096), %ebx
        jb      1b
        movl    $12345, %esi            /* the state of the generator */
#ifdef SLOWWRITER_PAIR
        movb    $0xea, TRAMPOLINE       /* ljmp $0, $second_cpu */
        movl    $second_cpu, TRAMPOLINE + 1
        movl    $0xfee00300, %ebx       /* INIT to the other, then SIPI */
        movl    $0xc4500, (%ebx)
        rdtsc
        movl    %eax, %ecx
1:      pause
        rdtsc
        subl    %ecx, %eax
        shrl    $25, %eax               /* 10 ms and more */
        jz      1b
        movl    %edi, FRAME_BUFFER
        movl    $(0xc4600 + TRAMPOLINE / 4096), (%ebx)
#endif
begin:
        xorl    %ebp, %ebp              /* stores so far */
loop:
        testl   $0xff, %ebp
        jnz     2f
        movw    $0x3f8, %dx
        movb    $'.', %al
        outb    %al, %dx
2:
        imull   $1664525, %esi, %esi
        addl    $1013904223, %esi
        movl    %esi, %ebx
        shrl    $8, %ebx
        movl    %ebx, %ecx
        andl    $(SLOWWRITER_PAGES - 1), %ebx
        shll    $12, %ebx
        incl    %ebp
        movl    %ebp, 0x1000004(%ebx)
        testl   %edi, %edi
        jz      3f
        andl    $0xffffc, %ecx          /* the first MiB of the picture */
        movl    %esi, (%edi, %ecx)
3:
#ifdef SLOWWRITER_REP
        /* Each byte is one store, for KVM's emulator */
        movl    %edi, %edx
        movl    $0x5000000, %edi
        movl    $SLOWWRITER_REP, %ecx
        movl    %ebp, %eax
        rep stosb
        movl    %edx, %edi
#endif
        rdtsc
        movl    %eax, %ecx
4:      pause
        rdtsc
        subl    %ecx, %eax
        shrl    $SLOWWRITER_TICKS, %eax
        jz      4b
        jmp     loop

#ifdef SLOWWRITER_PAIR
        .code16
second_cpu:
        cli
        protected_mode gdt_desc
        movl    FRAME_BUFFER, %edi
        movl    $54321, %esi
        jmp     begin
#endif

        .align 8
        descriptor_table

        .org    510
        .word   0xaa55
