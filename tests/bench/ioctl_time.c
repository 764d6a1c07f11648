/*
 * Preloaded into QEMU: writes down how long the kernel takes for the ioctls of
 * dirty logging, one line "seconds-since-1970 nanoseconds get|clear|reset
 * CPU-nanoseconds pages" each, to the file that IOCTL_TIME names.  CPU time is
 * that of the thread: the rest is waiting, for locks or for a CPU.  Pages are
 * those to be cleared, or that were reset.  With NO_THP set, the kernel gives
 * QEMU no huge pages.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>

static double seconds(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return ts.tv_sec + ts.tv_nsec / 1e9;
}

/* Set bits of what is to be cleared */
static unsigned long pages_of(const struct kvm_clear_dirty_log *log)
{
    const unsigned char *byte = log->dirty_bitmap;
    unsigned long n = 0;
    unsigned i;

    for (i = 0; i < log->num_pages / 8; i++) {
        n += __builtin_popcount(byte[i]);
    }
    for (i *= 8; i < log->num_pages; i++) {
        n += byte[i / 8] >> (i % 8) & 1;
    }
    return n;
}

__attribute__((constructor)) static void no_huge_pages(void)
{
    if (getenv("NO_THP")) {
        prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    }
}

int ioctl(int fd, unsigned long request, ...)
{
    static int (*real)(int, unsigned long, void *);
    static FILE *out;
    double began, took, cpu;
    unsigned long pages = 0;
    va_list args;
    void *arg;
    int ret;

    va_start(args, request);
    arg = va_arg(args, void *);
    va_end(args);
    if (!real) {
        real = dlsym(RTLD_NEXT, "ioctl");
    }
    if (request != KVM_GET_DIRTY_LOG && request != KVM_CLEAR_DIRTY_LOG &&
        request != KVM_RESET_DIRTY_RINGS) {
        return real(fd, request, arg);
    }
    if (request == KVM_CLEAR_DIRTY_LOG) {
        pages = pages_of(arg);
    }
    cpu = seconds(CLOCK_THREAD_CPUTIME_ID);
    began = seconds(CLOCK_MONOTONIC);
    ret = real(fd, request, arg);
    took = seconds(CLOCK_MONOTONIC) - began;
    cpu = seconds(CLOCK_THREAD_CPUTIME_ID) - cpu;
    if (request == KVM_RESET_DIRTY_RINGS && ret > 0) {
        pages = ret;
    }
    if (!out) {
        out = fopen(getenv("IOCTL_TIME"), "a");
    }
    if (out) {
        fprintf(out, "%.9f %.0f %s %.0f %lu\n", seconds(CLOCK_REALTIME),
                took * 1e9, request == KVM_GET_DIRTY_LOG ? "get" :
                request == KVM_CLEAR_DIRTY_LOG ? "clear" : "reset",
                cpu * 1e9, pages);
        fflush(out);
    }
    return ret;
}
