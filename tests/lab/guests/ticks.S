/*
 * Interrupts of PIT, RTC, HPET and a line of QEMU's pc-testdev, by the 8259s and
 * by the IOAPIC, while devices are polled.  For each says how many were late:
 * a device was seen to interrupt, or had been made to, and the next instruction
 * was run before the handler; and how many were odd: without the device's
 * saying that it's it, before its time, or not at a multiple of its period.  The
 * serial port has the time that each has taken, in HPET's ticks.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "modes.inc"
#include "micro.inc"

        .set    IDT, 0x9000
        .set    CAME, 0xa000
        .set    LATE, 0xa004
        .set    ODD, 0xa008
        .set    BEGAN, 0xa00c           /* HPET's counter */
        .set    HAS_APIC, 0xa010
        .set    APIC, 0xfee00000
        .set    IOAPIC, 0xfec00000
        .set    HPET, 0xfed00000
        .set    STATUS, HPET + 0x20
        .set    COUNTER, HPET + 0xf0
        .set    TIMER0, HPET + 0x100
        .set    TIMER2, HPET + 0x140
        .set    LINE, 0x200a            /* IRQ 10 */
        .set    TICKS, 16
        .set    PERIOD, 100000          /* 1 ms, of HPET */

        .macro  out port, value
        movb    $\value, %al
        outb    %al, $\port
        .endm

        .macro  line value
        movw    $LINE, %dx
        movb    $\value, %al
        outb    %al, %dx
        .endm

        .macro  gate vector, handler
        movl    $\handler, %eax
        movl    $(IDT + 8 * \vector), %edi
        call    set_gate
        .endm

        /* Where a pin's interrupts go: 0x10000 is masked, 0x8000 is level */
        .macro  pin number, low
        movl    $(0x10 + 2 * \number), IOAPIC
        movl    $\low, IOAPIC + 0x10
        .endm

        .macro  say text
        call    say_text
        .asciz  "\text"
        .endm

        .macro  phase
        xorl    %eax, %eax
        movl    %eax, CAME
        movl    %eax, LATE
        movl    %eax, ODD
        movl    COUNTER, %eax
        movl    %eax, BEGAN
        .endm

        /*
         * Periodic, with HPET's timer \timer configured as \low, from now on.
         * The comparator's first write is the period, too, until the second:
         * if the time came in between, the next one would come later by all
         * that the counter has counted.  So it stands still.
         */
        .macro  hpet timer, low
        movl    HPET + 0x10, %ecx
        movl    %ecx, %eax
        andb    $~1, %al
        movl    %eax, HPET + 0x10
        phase
        movl    $(\low | 0x14c), \timer         /* 32 bits, set, periodic, on */
        movl    BEGAN, %eax
        addl    $PERIOD, %eax
        movl    %eax, \timer + 8
        movl    $PERIOD, \timer + 8
        movl    %ecx, HPET + 0x10
        .endm

        /* The end of that: all its times are whole periods from its beginning. */
        .macro  hpet_off timer
        movl    \timer + 8, %eax
        movl    $0, \timer
        call    whole
        .endm

        .macro  handler name, eoi
\name:  pushal
        call    \name\()_came
        \eoi
        popal
        iret
        .endm

        .macro  eoi_master
        out     0x20, 0x20
        .endm

        .macro  eoi_slave
        out     0xa0, 0x20
        out     0x20, 0x20
        .endm

        .macro  eoi_apic
        movl    $0, APIC + 0xb0
        .endm

        begin
        protected_mode gdt_desc-_start
        movw    %ax, %ss
        movl    $0x8000, %esp
        movl    $unexpected, %eax
        movl    $IDT, %edi
        movl    $256, %ecx
1:      call    set_gate
        addl    $8, %edi
        loop    1b
        lidt    idt_desc
        gate    0x27, nothing           /* spurious ones */
        gate    0x2f, nothing
        gate    0xff, nothing
        movl    $1, HPET + 0x10
        movl    $1, %eax
        cpuid
        andl    $0x200, %edx
        movl    %edx, HAS_APIC
        jz      1f
        movl    $0x1ff, APIC + 0xf0
        movl    $0x700, APIC + 0x350

        /* By the 8259s */
1:
        out     0x20, 0x11
        out     0x21, 0x20
        out     0x21, 4
        out     0x21, 1
        out     0xa0, 0x11
        out     0xa1, 0x28
        out     0xa1, 2
        out     0xa1, 1
        out     0xa1, 0xff
        gate    0x20, pic_tick
        gate    0x28, pic_rtc
        gate    0x2a, pic_edge
        out     0x21, 0xfe
        phase
        call    pit_on
        call    poll
        call    pit_off
        say     "PIT by 8259"
        out     0x21, 0xfb
        out     0xa1, 0xfe
        phase
        call    rtc_on
        call    poll
        call    rtc_off
        say     "RTC by 8259"
        out     0xa1, 0xff
        movl    $3, HPET + 0x10                 /* in the PIT's place */
        gate    0x20, pic_early
        out     0x21, 0xfe
        hpet    TIMER0, 0
        call    poll
        hpet_off TIMER0
        movl    $1, HPET + 0x10
        say     "HPET by 8259"
        /* 400 edges, one interrupt each */
        out     0x21, 0xfb
        out     0xa1, 0xfb
        movl    $400, %ebp
        movl    $1, %esi
        phase
        call    raise
        say     "edges by 8259"
        call    counted
        out     0x21, 0xff
        out     0xa1, 0xff
        cmpl    $0, HAS_APIC
        je      end

        /* By the IOAPIC */
        movl    $0x10000, APIC + 0x350
        gate    0x32, apic_tick
        gate    0x38, apic_rtc
        gate    0x44, apic_hpet
        gate    0x45, apic_early
        gate    0x3a, apic_edge
        gate    0x3b, apic_level
        pin     2, 0x32
        phase
        call    pit_on
        call    poll
        call    pit_off
        say     "PIT by IOAPIC"
        movl    $3, HPET + 0x10
        gate    0x32, apic_early
        hpet    TIMER0, 0
        call    poll
        hpet_off TIMER0
        movl    $1, HPET + 0x10
        say     "HPET as PIT"
        pin     2, 0x10000
        pin     8, 0x38
        phase
        call    rtc_on
        call    poll
        call    rtc_off
        say     "RTC by IOAPIC"
        pin     8, 0x10000
        pin     20, 0x8044
        hpet    TIMER2, (20 << 9 | 2)
        call    poll
        hpet_off TIMER2
        say     "HPET by IOAPIC"
        pin     20, 0x10000
        movl    $0x45, TIMER2 + 0x10
        movl    $APIC, TIMER2 + 0x14
        hpet    TIMER2, 0x4000
        call    poll
        hpet_off TIMER2
        say     "HPET by MSI"

        pin     10, 0x3a
        movl    $400, %ebp
        movl    $1, %esi
        phase
        call    raise
        say     "edges by IOAPIC"
        call    counted
        /* 100 levels, which the handler lowers at the fourth */
        pin     10, 0x803b
        movl    $100, %ebp
        movl    $4, %esi
        phase
        call    raise
        say     "levels by IOAPIC"
        call    counted
        /* Raised while it's masked */
        pin     10, 0x1803b
        phase
        line    1
        sti
        movl    $100, %ecx
1:      inb     $0xe0, %al
        loop    1b
        movl    CAME, %eax
        movl    %eax, ODD
        pin     10, 0x803b
        cmpl    $4, CAME
        je      1f
        incl    LATE
1:      cli
        say     "masked"
        call    counted
        movl    $0x24, IOAPIC
        movl    IOAPIC + 0x10, %ebx
        call    text
        .asciz  "entry "
        call    hex8
        call    text
        .asciz  "\n"
end:    call    text
        .asciz  "ticks: the end\n"
1:      hlt
        jmp     1b

/* EAX at EDI; keeps both */
set_gate:
        movw    %ax, (%edi)
        movw    $8, 2(%edi)
        movw    $0x8e00, 4(%edi)
        rorl    $16, %eax
        movw    %ax, 6(%edi)
        rorl    $16, %eax
        ret

/* What polls devices, with interrupts, until there were TICKS of them */
poll:   sti
1:      movl    CAME, %ebx
        movl    STATUS, %eax
        testb   $4, %al
        jz      2f
        cmpl    %ebx, CAME
        jne     2f
        incl    LATE
2:      inb     $0xe0, %al
        out     0x70, 0x0a
        inb     $0x71, %al
        out     0x43, 0
        inb     $0x40, %al
        inb     $0x40, %al
        movl    COUNTER, %eax
        cmpl    $TICKS, CAME
        jb      1b
        cli
        ret

/* A comparator in EAX */
whole:  subl    BEGAN, %eax
        xorl    %edx, %edx
        movl    $PERIOD, %ecx
        divl    %ecx
        testl   %edx, %edx
        jz      1f
        incl    ODD
1:      ret

/* Raises the line EBP times; each makes ESI interrupts. */
raise:  xorl    %ebx, %ebx
        sti
1:      addl    %esi, %ebx
        line    1
        cmpl    %ebx, CAME
        je      2f
        incl    LATE
2:      inb     $0xe0, %al
        decl    %ebp
        jnz     1b
        cli
        ret

/* 1 kHz, mode 2 */
pit_on: out     0x43, 0x34
        out     0x40, 0xa9
        out     0x40, 0x04
        ret

pit_off:
        out     0x43, 0x38              /* mode 4: once, after 55 ms */
        out     0x40, 0xff
        out     0x40, 0xff
        ret

/* 1024 Hz */
rtc_on: out     0x70, 0x0a
        out     0x71, 0x26
        out     0x70, 0x0c
        inb     $0x71, %al
        out     0x70, 0x0b
        out     0x71, 0x42
        ret

rtc_off:
        out     0x70, 0x0b
        out     0x71, 0x02
        out     0x70, 0x0c
        inb     $0x71, %al
        ret

/* Handlers */

pic_tick_came:
apic_tick_came:
        incl    CAME
        ret

pic_rtc_came:
apic_rtc_came:
        out     0x70, 0x0c
        inb     $0x71, %al
        testb   $0x40, %al
        jnz     1f
        incl    ODD
1:      out     0x70, 0x0a              /* as it may be in poll */
        incl    CAME
        ret

apic_hpet_came:
        movl    STATUS, %eax
        testb   $4, %al
        jnz     1f
        incl    ODD
1:      movl    $4, STATUS
pic_early_came:
apic_early_came:
        incl    CAME
        movl    COUNTER, %ebx
        subl    BEGAN, %ebx
        movl    $PERIOD, %eax
        mull    CAME
        cmpl    %eax, %ebx
        jae     1f
        incl    ODD
1:      ret

apic_level_came:
        incl    CAME
        testb   $3, CAME
        jnz     1f
        line    0
1:      ret

pic_edge_came:
apic_edge_came:
        incl    CAME
        line    0
        ret

        handler pic_tick, eoi_master
        handler pic_rtc, eoi_slave
        handler pic_early, eoi_master
        handler pic_edge, eoi_slave
        handler apic_tick, eoi_apic
        handler apic_rtc, eoi_apic
        handler apic_hpet, eoi_apic
        handler apic_early, eoi_apic
        handler apic_level, eoi_apic
        handler apic_edge, eoi_apic

nothing:
        iret

unexpected:
        call    text
        .asciz  "BAD interrupt\n"
1:      hlt
        jmp     1b

/* Output */

/* A text behind the call, LATE and ODD; and to the serial port, the time */
say_text:
        popl    %esi
        movw    $0x402, %dx
        call    puts32
        pushl   %esi
        call    text
        .asciz  ": late "
        movl    LATE, %ebx
        call    hex8
        call    text
        .asciz  " odd "
        movl    ODD, %ebx
        call    hex8
        call    text
        .asciz  "\n"
        movl    COUNTER, %ebx
        subl    BEGAN, %ebx
        movw    $0x3f8, %dx
        call    hex8_at
        movb    $'\n', %al
        outb    %al, %dx
        ret

counted:
        call    text
        .asciz  "came "
        movl    CAME, %ebx
        call    hex8
        call    text
        .asciz  "\n"
        ret

text:   popl    %esi
        movw    $0x402, %dx
        call    puts32
        jmp     *%esi

/* At ESI, which is behind the text then, to port DX */
puts32: lodsb
        testb   %al, %al
        jz      1f
        outb    %al, %dx
        jmp     puts32
1:      ret

hex8:   movw    $0x402, %dx
hex8_at:
        movl    $8, %ecx
1:      roll    $4, %ebx
        movb    %bl, %al
        andb    $15, %al
        addb    $'0', %al
        cmpb    $'9', %al
        jbe     2f
        addb    $('a' - '0' - 10), %al
2:      outb    %al, %dx
        loop    1b
        ret

idt_desc:
        .word   256 * 8 - 1
        .long   IDT

        descriptor_table
        reset_vector
