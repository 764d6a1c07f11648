/*
 * A guest program that writes memory and knows what it wrote.
 *
 * memwriter MIB [PAGES]: every page's contents follow from its number and its
 * generation, and the generations are kept apart.  It takes pages at random,
 * checks one, gives it its next generation, and now and then checks all of
 * them.  A page that a migration left behind, old or half new, does not fit
 * its generation.  It writes PAGES a second if that is given, else as many as
 * it can, and checks all of them after each second or each full turn.
 *
 * Prints 'memwriter: pass N sum S' after each full check, S being a checksum of
 * all of the memory, or 'memwriter: BAD page P' and stops.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "mix.h"

#define PAGE_WORDS 512

static void fill(uint64_t *page, uint64_t number, uint32_t generation)
{
    uint64_t seed = mix(number << 32 | generation);

    for (int i = 0; i < PAGE_WORDS; i++) {
        page[i] = seed + i * 0x100000001b3;
    }
}

static void check(const uint64_t *page, uint64_t number, uint32_t generation)
{
    uint64_t seed = mix(number << 32 | generation);

    for (int i = 0; i < PAGE_WORDS; i++) {
        if (page[i] != seed + i * 0x100000001b3) {
            printf("memwriter: BAD page %" PRIu64 " word %d generation %u\n",
                   number, i, generation);
            exit(1);
        }
    }
}

/* Sleep until @count pages of @rate per second are due since @start */
static void keep_pace(const struct timespec *start, uint64_t count,
                      uint64_t rate)
{
    uint64_t ns = start->tv_nsec + count % rate * 1000000000ull / rate;
    struct timespec due = {
        .tv_sec = start->tv_sec + count / rate + ns / 1000000000,
        .tv_nsec = ns % 1000000000,
    };

    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
}

int main(int argc, char **argv)
{
    uint64_t rate = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
    struct timespec start;
    uint64_t pages = (argc > 1 ? strtoull(argv[1], NULL, 10) : 32) * 256;
    uint64_t (*memory)[PAGE_WORDS] = mmap(NULL, pages * sizeof(*memory),
                                          PROT_READ | PROT_WRITE,
                                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint32_t *generation = calloc(pages, sizeof(*generation));
    uint64_t random = 1;

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (memory == MAP_FAILED || !generation || !pages) {
        printf("memwriter: BAD no memory\n");
        return 1;
    }
    for (uint64_t i = 0; i < pages; i++) {
        fill(memory[i], i, 0);
    }
    for (uint64_t pass = 1;; pass++) {
        uint64_t sum = 0;

        clock_gettime(CLOCK_MONOTONIC, &start);
        for (uint64_t n = 0; n < (rate ? rate : pages); n++) {
            uint64_t i = mix(random++) % pages;

            /* A system call for every page would cost more than the page */
            if (rate && n % 32 == 0) {
                keep_pace(&start, n, rate);
            }
            check(memory[i], i, generation[i]);
            fill(memory[i], i, ++generation[i]);
        }
        for (uint64_t i = 0; i < pages; i++) {
            check(memory[i], i, generation[i]);
            sum = mix(sum ^ memory[i][0]);
        }
        printf("memwriter: pass %" PRIu64 " sum %016" PRIx64 "\n", pass, sum);
    }
}
