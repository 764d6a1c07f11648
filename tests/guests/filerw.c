/*
 * A guest program that reads or writes a file over and over, through the page
 * cache and 64 KiB at a time, as dd and cp do.
 *
 * filerw read|write MIB FILE: each page of the file begins with a number of its
 * own, so no two pages of it have the same contents, and a page that is read
 * or written again over another one shows.  read writes the file once, before
 * it starts, and checks the numbers; write begins each pass with an empty file.
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
#include <unistd.h>

#define PAGE 4096
#define PAGES 16

static unsigned char buf[PAGES][PAGE] __attribute__((aligned(PAGE)));

static int bad(const char *what)
{
    printf("filerw: BAD %s\n", what);
    exit(1);
}

static int open_file(const char *path, int flags)
{
    int fd = open(path, flags, 0600);

    return fd >= 0 ? fd : bad(path);
}

static void write_pass(const char *path, uint64_t pages, uint64_t pass,
                       int sync)
{
    int fd = open_file(path, O_WRONLY | O_CREAT | O_TRUNC);

    for (uint64_t page = 0; page < pages; page += PAGES) {
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

static void read_pass(const char *path, uint64_t pages)
{
    int fd = open_file(path, O_RDONLY);

    for (uint64_t page = 0; page < pages; page += PAGES) {
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
    int reads = argc == 4 && !strcmp(argv[1], "read");
    uint64_t pages = argc == 4 ? strtoull(argv[2], NULL, 10) * 256 : 0;

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (!pages) {
        bad("arguments");
    }
    memset(buf, 'x', sizeof(buf));
    if (reads) {
        write_pass(argv[3], pages, 0, 1);
    }
    for (uint64_t pass = 1;; pass++) {
        if (reads) {
            read_pass(argv[3], pages);
        } else {
            write_pass(argv[3], pages, pass, 0);
        }
        printf("filerw: pass %" PRIu64 "\n", pass);
    }
}
