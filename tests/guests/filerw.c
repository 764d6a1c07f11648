/*
 * A guest program that reads or writes a file over and over, through the page
 * cache and 64 KiB at a time, as dd and cp do.
 *
 * filerw read|write MIB RATE FILE: each page of the file begins with a number
 * of its own, so no two pages of it have the same contents, and a page that is
 * read or written over another one shows.  read writes the file once, before it
 * starts, and checks the numbers; write begins each pass with an empty file.
 * RATE is the most it does, in MiB/s; 0 is no limit.
 *
 * Prints 'filerw: pass N' after each pass, or 'filerw: BAD what' and stops.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096
#define PAGES 16
#define SECOND 1000000000ll

static unsigned char buf[PAGES][PAGE] __attribute__((aligned(PAGE)));

static int bad(const char *what)
{
    printf("filerw: BAD %s\n", what);
    exit(1);
}

/* Wait until the next buffer's turn; a tenth of a second is made up for. */
static void pace(uint64_t rate)
{
    static int64_t due;
    struct timespec ts;
    int64_t now;

    if (!rate) {
        return;
    }
    clock_gettime(CLOCK_MONOTONIC, &ts);
    now = ts.tv_sec * SECOND + ts.tv_nsec;
    if (due < now - SECOND / 10) {
        due = now - SECOND / 10;
    }
    due += SECOND * sizeof(buf) / (rate << 20);
    ts.tv_sec = due / SECOND;
    ts.tv_nsec = due % SECOND;
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
}

static int open_file(const char *path, int flags)
{
    int fd = open(path, flags, 0600);

    return fd >= 0 ? fd : bad(path);
}

static void write_pass(const char *path, uint64_t pages, uint64_t pass,
                       uint64_t rate, int sync)
{
    int fd = open_file(path, O_WRONLY | O_CREAT | O_TRUNC);

    for (uint64_t page = 0; page < pages; page += PAGES) {
        pace(rate);
        for (int i = 0; i < PAGES; i++) {
            uint64_t number = pass << 32 | (page + i);

            memcpy(buf[i], &number, sizeof(number));
        }
        if (write(fd, buf, sizeof(buf)) != sizeof(buf)) {
            bad("write");
        }
    }
    if ((sync && fsync(fd)) || close(fd)) {
        bad("write");
    }
}

static void read_pass(const char *path, uint64_t pages, uint64_t rate)
{
    int fd = open_file(path, O_RDONLY);

    for (uint64_t page = 0; page < pages; page += PAGES) {
        pace(rate);
        if (read(fd, buf, sizeof(buf)) != sizeof(buf)) {
            bad("read");
        }
        for (int i = 0; i < PAGES; i++) {
            uint64_t number;

            memcpy(&number, buf[i], sizeof(number));
            if (number != page + i) {
                bad("page");
            }
        }
    }
    close(fd);
}

int main(int argc, char **argv)
{
    int reads = argc == 5 && !strcmp(argv[1], "read");
    uint64_t pages = argc == 5 ? strtoull(argv[2], NULL, 10) * 256 : 0;
    uint64_t rate = argc == 5 ? strtoull(argv[3], NULL, 10) : 0;

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (!pages) {
        bad("arguments");
    }
    memset(buf, 'x', sizeof(buf));
    if (reads) {
        write_pass(argv[4], pages, 0, 0, 1);
    }
    for (uint64_t pass = 1;; pass++) {
        if (reads) {
            read_pass(argv[4], pages, rate);
        } else {
            write_pass(argv[4], pages, pass, rate, 0);
        }
        printf("filerw: pass %" PRIu64 "\n", pass);
    }
}
