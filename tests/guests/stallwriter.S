/*
 * Firmware that writes at a given rate and measures how long it stands still.
 *
 * The first CPU stores to a page each INTERVAL ticks of the TSC, in turns of
 * all pages of its stretch of RAM, in an order that looks random, and keeps to
 * the rate on average.  All others, and it between two stores, read the TSC
 * as fast as they can.  A gap of LONG ticks or more between two readings is
 * noted, in one histogram if a store was in between, in another one if not; of
 * RARE ticks or more also when and how long it was, in a ring.
 * tests/bench/writing_guest.py fills in the numbers at the beginning, and reads
 * what was noted.
 *
 * All run in ring 3, as some nested KVM runs ring 0 one emulated instruction by
 * the other.  A page of a stretch is one of each 2^SPREAD pages of RAM, at a place of these
 * that is always the same.  An 'r' to the debug port 0xe9 says that all was
 * written once, so that it's there.  With a SCREEN a word of it is drawn with
 * each store.
 *
 * Each CPU notes from RECORDS on, in RECORD bytes of its own:
 *
 *   0x000  TSC before the last store           0x008  stores so far
 *   0x010  gaps in the ring so far
 *   0x100  histogram of gaps between readings: [i] of 2^i to 2^(i+1)-1 ticks;
 *          [63] is their sum
 *   0x300  likewise of gaps with a store
 *   0x500  its stack
 *   0x1000 ring of pairs of TSC at the end of a gap, and its length
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "all_cpus.inc"

#define RECORDS     0x400000
#define RECORD      0x100000
#define RING        0x8000

        .macro  ticks                   /* in rax */
        rdtsc
        shlq    $32, %rdx
        orq     %rdx, %rax
        .endm

        .globl  _start
_start:
base:   .quad   0                       /* where the stretch begins */
interval: .quad 0                       /* ticks from store to store */
long:   .quad   0                       /* ticks of a gap that is noted */
rare:   .quad   0                       /* ticks of a gap for the ring */
mask:   .long   0                       /* its pages, a power of two, less 1 */
places: .long   0                       /* 2^SPREAD - 1 */
spread: .long   0
screen: .long   0                       /* a MiB to draw in, or 0 */

        first_cpu
        movl    $0x4000e7, 0x102010
        movl    $0xe00000e7, 0x105800   /* the screen */
        all_cpus
        movl    $APIC_ID, %ebp
        movl    (%rbp), %ebp
        shrl    $24, %ebp               /* which CPU it is */
        imull   $RECORD, %ebp, %r8d
        addl    $RECORDS, %r8d
        leaq    0x1000(%r8), %rsp
        movq    %rsp, %rax
        ring_3  measure, %rax

measure:
        movl    %r8d, %edi
        xorl    %eax, %eax
        movl    $(RECORD / 8), %ecx
        rep     stosq
        xorl    %r11d, %r11d            /* stores so far */
        movl    $-1, %r10d              /* when the next one is due */
        testl   %ebp, %ebp
        jnz     begin
        /* The rest: 4 GiB to 256 GiB */
        movl    $0x106000, %edi
        movabsq $0x1000000e7, %rax
1:      movq    %rax, (%rdi)
        addq    $0x200000, %rax
        addl    $8, %edi
        cmpl    $0x202000, %edi
        jb      1b
        movl    $0x101020, %edi
        movl    $0x106007, %eax
1:      movq    %rax, (%rdi)
        addl    $0x1000, %eax
        addl    $8, %edi
        cmpl    $0x101800, %edi
        jb      1b
touch:
        call    store
        movl    mask, %eax
        cmpl    %eax, %r11d
        jbe     touch
        movb    $'r', %al
        outb    %al, $0xe9
begin:
        ticks
        movq    %rax, %r9               /* the last reading */
        movq    $-1, %r10
        testl   %ebp, %ebp
        jnz     read
        movq    %rax, %r10
read:
        ticks
        movq    %rax, %rcx
        subq    %r9, %rcx
        movq    %rax, %r9
        cmpq    long, %rcx
        jb      1f
        movl    $0x100, %edi
        call    note
1:
        cmpq    %r10, %r9
        jb      read
        call    store
        movq    %r9, (%r8)
        movq    %r11, 8(%r8)
        addq    interval, %r10
        ticks
        movq    %rax, %rcx
        subq    %r9, %rcx
        movq    %rax, %r9
        cmpq    long, %rcx
        jb      read
        movl    $0x300, %edi
        call    note
        jmp     read

/* Gap rcx that ends at r9, for the histogram at edi. */
note:
        addq    %r8, %rdi
        bsrq    %rcx, %rax
        incq    (%rdi, %rax, 8)
        addq    %rcx, 63 * 8(%rdi)
        cmpq    rare, %rcx
        jb      1f
        movq    0x10(%r8), %rax
        movl    %eax, %edx
        incq    %rax
        andl    $(RING - 1), %edx
        shll    $4, %edx
        movq    %r9, 0x1000(%r8, %rdx)
        movq    %rcx, 0x1008(%r8, %rdx)
        movq    %rax, 0x10(%r8)
1:      ret

/* Store to the page that comes next. */
store:
        /* Steps that can be undone: no page comes twice in a turn. */
        imull   $0x9e3779b1, %r11d, %eax
        andl    mask, %eax
        movl    %eax, %esi
        shrl    $9, %esi
        xorl    %esi, %eax
        imull   $0x85ebca6b, %eax, %eax
        andl    mask, %eax
        imull   $0xc2b2ae35, %eax, %esi /* its place among 2^SPREAD */
        shrl    $11, %esi
        movb    spread, %cl
        shlq    %cl, %rax
        andl    places, %esi
        orq     %rsi, %rax
        shlq    $12, %rax
        addq    base, %rax
        incq    %r11
        movq    %r11, (%rax)
        movl    screen, %esi
        testl   %esi, %esi
        jz      1f
        imull   $0x9e3779b1, %r11d, %eax
        andl    $0xffffc, %eax
        movl    %r11d, (%rsi, %rax)
1:      ret

        firmware_end
