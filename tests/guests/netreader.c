/*
 * A guest program that takes in frames and knows what they have to be.
 *
 * netreader INTERFACE EVERY: frame N has an EtherType of its own, N at byte 16,
 * and a length and contents that follow from N (see frames.py, which sends
 * them).  They have to come in order; after one of EVERY, a reply goes back with
 * the number of the next and the bytes of all that came before it.  Replies are
 * numbered as well, at byte 32, and have lengths and contents of their own in the
 * same way.  What comes again or too early is checked and dropped.
 *
 * Prints 'netreader: ready' and 'netreader: frames N bytes B' now and then, or
 * 'netreader: BAD frame N' and stops.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <arpa/inet.h>
#include <inttypes.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "mix.h"

#define TYPE_DATA 0x88b5
#define TYPE_REPLY 0x88b6
#define HEADER 24
#define REPLY_HEADER 40
#define SHORTEST 60
#define LONGEST 1514
#define REPORT 10000

static uint64_t contents[8192];

struct reply {
    unsigned char to[6], from[6];
    uint16_t type, pad;
    uint64_t next, bytes, number;
    unsigned char fill[LONGEST - REPLY_HEADER];
} __attribute__((packed));

static ssize_t length_of(uint64_t number)
{
    return SHORTEST + mix(number) % (LONGEST - SHORTEST + 1);
}

static char *contents_of(uint64_t number)
{
    return (char *)contents + (mix(number) >> 32) % 32768;
}

static int answer(int fd, struct reply *reply)
{
    ssize_t length = length_of(reply->number);

    memcpy(reply->fill, contents_of(reply->number), length - REPLY_HEADER);
    if (send(fd, reply, length, 0) != length) {
        return 0;
    }
    reply->number++;
    return 1;
}

static void bad(const char *what, uint64_t number)
{
    printf("netreader: BAD %s %" PRIu64 "\n", what, number);
    exit(1);
}

int main(int argc, char **argv)
{
    int fd = socket(AF_PACKET, SOCK_RAW, htons(TYPE_DATA));
    struct sockaddr_ll link = {
        .sll_family = AF_PACKET,
        .sll_protocol = htons(TYPE_DATA),
        .sll_ifindex = argc > 1 ? if_nametoindex(argv[1]) : 0,
    };
    struct reply reply = {
        .to = { 0x52, 0x54, 0, 0, 0, 1 }, .from = { 0x52, 0x54, 0, 0, 0, 2 },
        .type = htons(TYPE_REPLY),
    };
    unsigned char frame[2048];
    unsigned every = argc > 2 ? strtoul(argv[2], NULL, 10) : 1;

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (fd < 0 || !link.sll_ifindex || !every ||
        bind(fd, (struct sockaddr *)&link, sizeof(link))) {
        bad("interface", 0);
    }
    for (unsigned i = 0; i < sizeof(contents) / sizeof(*contents); i++) {
        contents[i] = mix(i);
    }
    printf("netreader: ready\n");
    for (;;) {
        ssize_t got = recv(fd, frame, sizeof(frame), 0);
        uint64_t number;
        ssize_t length;

        if (got < SHORTEST) {
            bad("length", got);
        }
        memcpy(&number, frame + 16, sizeof(number));
        length = length_of(number);
        if (got != length ||
            memcmp(frame + HEADER, contents_of(number), length - HEADER)) {
            bad("frame", number);
        }
        if (number == reply.next) {
            reply.next++;
            reply.bytes += length;
            if (reply.next % REPORT == 0) {
                printf("netreader: frames %" PRIu64 " bytes %" PRIu64 "\n",
                       reply.next, reply.bytes);
            }
        }
        if (reply.next % every == 0 && !answer(fd, &reply)) {
            bad("reply", number);
        }
    }
}
