/*
 * REP MOVSB and REP STOSB of 64 KiB each, of which a plugin counts the accesses,
 * and which say how much time they take: with -icount shift=0, in instructions
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <stdint.h>
#include <minilib.h>

#define SIZE    65536

/* Each of four of the plugin's regions */
static uint8_t from[SIZE] __attribute__((aligned(SIZE)));
static uint8_t to[SIZE] __attribute__((aligned(SIZE)));

static uint64_t read_tsc(void)
{
    uint32_t low, high;

    asm volatile("rdtsc" : "=a"(low), "=d"(high));
    return (uint64_t)high << 32 | low;
}

int main(void)
{
    uint64_t start = read_tsc(), moved, stored, count = SIZE;
    void *si = from, *di = to;

    asm volatile("rep movsb" : "+S"(si), "+D"(di), "+c"(count) : : "memory");
    moved = read_tsc();
    di = to;
    count = SIZE;
    asm volatile("rep stosb" : "+D"(di), "+c"(count) : "a"(0) : "memory");
    stored = read_tsc();
    ml_printf("%ld %ld\n", moved - start, stored - moved);
    ml_printf("0x%lx 0x%lx\n", (uintptr_t)from, (uintptr_t)to);
    return 0;
}
