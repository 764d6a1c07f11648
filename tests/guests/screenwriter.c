/*
 * A guest program that draws.
 *
 * screenwriter: switches QEMU's -vga std to 800x600 with a palette, the mode in
 * which QEMU keeps a picture of its own and draws again only what is dirty, and
 * goes on filling short random lines.
 *
 * Prints 'screenwriter: ready', or 'screenwriter: BAD what' and stops.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mix.h"

#define WIDTH 800
#define HEIGHT 600
#define LONGEST 48
#define LINES 20

static void bad(const char *what)
{
    printf("screenwriter: BAD %s\n", what);
    exit(1);
}

/* The frame buffer of the first device whose class is VGA. */
static unsigned char *frame_buffer(void)
{
    glob_t found;

    if (glob("/sys/bus/pci/devices/*/class", 0, NULL, &found)) {
        bad("sysfs");
    }
    for (size_t i = 0; i < found.gl_pathc; i++) {
        char class[16] = "", path[256];
        int fd = open(found.gl_pathv[i], O_RDONLY);

        if (fd < 0 || read(fd, class, sizeof(class) - 1) < 0) {
            bad("class");
        }
        close(fd);
        if (!strncmp(class, "0x0300", 6)) {
            void *memory;

            snprintf(path, sizeof(path), "%.*sresource0",
                     (int)(strlen(found.gl_pathv[i]) - strlen("class")),
                     found.gl_pathv[i]);
            fd = open(path, O_RDWR);
            memory = mmap(NULL, WIDTH * HEIGHT, PROT_READ | PROT_WRITE,
                          MAP_SHARED, fd, 0);
            if (fd < 0 || memory == MAP_FAILED) {
                bad("frame buffer");
            }
            return memory;
        }
    }
    bad("device");
    return NULL;
}

static void set_mode(void)
{
    static const unsigned short registers[][2] = {
        { 4, 0 }, { 1, WIDTH }, { 2, HEIGHT }, { 3, 8 }, { 4, 0x41 },
    };

    for (size_t i = 0; i < sizeof(registers) / sizeof(*registers); i++) {
        outw(registers[i][0], 0x1ce);
        outw(registers[i][1], 0x1cf);
    }
    outb(0, 0x3c8);
    for (int i = 0; i < 3 * 256; i++) {
        outb(mix(i) & 63, 0x3c9);
    }
}

int main(void)
{
    unsigned char *pixels;

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (iopl(3)) {
        bad("iopl");
    }
    pixels = frame_buffer();
    set_mode();
    printf("screenwriter: ready\n");
    for (uint64_t i = 0;; i++) {
        uint64_t word = mix(i);

        memset(pixels + word % (WIDTH * HEIGHT - LONGEST), word >> 48,
               1 + (word >> 32) % LONGEST);
        if (i % LINES == 0) {
            usleep(5000);
        }
    }
}
