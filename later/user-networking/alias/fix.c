/* gcc -O1 -static: one physical page, two virtual addresses */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <stdint.h>
#include <signal.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <unistd.h>
#define P 4096
#define MIN(a,b) ((a)<(b)?(a):(b))
static void __attribute__((noinline)) rep_bulk_copy(uint8_t *to, const uint8_t *from, unsigned bytes)
{
    /* offsets in the page, not pointers: one page may be mapped twice */
    unsigned gap = ((uintptr_t)to - (uintptr_t)from) & (P - 1);
    if (!gap) { memmove(to, from, bytes); return; }
    if ((uintptr_t)to - (uintptr_t)from < bytes) { /* really overlap: doubling */
        while (bytes) { unsigned n = MIN(bytes, to - from); memcpy(to, from, n); to += n; bytes -= n; }
        return;
    }
    while (bytes) { unsigned n = MIN(bytes, gap); memmove(to, from, n); to += n; from += n; bytes -= n; }
}
/* helper_rep_movs() of a byte under user-mode emulation; rest: by elements */
static void movsb(void *d, const void *s, size_t n)
{
    uint8_t *to = d; const uint8_t *from = s;
    while (n >= 1) {
        size_t b = MIN(n, MIN(P - ((uintptr_t)to & (P-1)), P - ((uintptr_t)from & (P-1))));
        rep_bulk_copy(to, from, b);
        to += b; from += b; n -= b;
    }
}
static void movsq(void *d, const void *s, size_t n)
{ asm volatile("rep movsq" : "+D"(d), "+S"(s), "+c"(n) :: "memory"); }
static sigjmp_buf jb; static void *volatile fa;
static void bus(int s, siginfo_t *i, void *u) { fa = i->si_addr; siglongjmp(jb, s); }
int main(void)
{
    int fd = memfd_create("x", 0), bad = 0;
    ftruncate(fd, 2 * P);
    /* the "magic" ring buffer: the same pages twice, one behind the other */
    uint8_t *r = mmap(0, 4 * P, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mmap(r, 2 * P, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
    mmap(r + 2 * P, 2 * P, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
    for (int dist = 1; dist <= 200; dist++) {
        for (int n = 64; n < 1500; n += 61) {
            uint8_t m[2 * P]; int pos = 0;
            for (int i = 0; i < 2 * P; i++) r[i] = m[i] = i * 7 + (i >> 8);
            /* LZ77 match at pos with distance dist, wraps backwards */
            movsb(r + pos, r + pos - dist + 2 * P, n);
            for (int i = 0; i < n; i++) m[pos + i] = m[(pos + i - dist + 2 * P) % (2 * P)];
            if (memcmp(r, m, 2 * P)) { if (!bad++) { int i; for (i = 0; r[i] == m[i]; i++); printf("movsb alias: dist %d n %d first wrong at %d\n", dist, n, i); } }
        }
    }
    printf("movsb alias bad cases: %d\n", bad);
    bad = 0;
    for (int dist = 8; dist <= 200; dist += 8) {
        int n = 100; uint64_t *m = (uint64_t *)(uint8_t[2 * P]){0};
        for (int i = 0; i < 2 * P; i++) r[i] = ((uint8_t*)m)[i] = i * 7 + (i >> 8);
        movsq(r, r - dist + 2 * P, n);
        for (int i = 0; i < n; i++) m[i] = m[(i - dist / 8 + P / 4) % (P / 4)];
        bad += !!memcmp(r, m, 2 * P);
    }
    printf("movsq alias bad cases: %d\n", bad);
    /* SIGBUS: address */
    struct sigaction sa = { .sa_sigaction = bus, .sa_flags = SA_SIGINFO };
    sigaction(SIGBUS, &sa, 0); sigaction(SIGSEGV, &sa, 0);
    int f2 = memfd_create("y", 0); ftruncate(f2, P);
    uint8_t *q = mmap(0, 2 * P, PROT_READ | PROT_WRITE, MAP_SHARED, f2, 0);
    static uint8_t buf[2 * P];
    for (int n = 100; n < 4000; n += 600) {
        if (!sigsetjmp(jb, 1)) movsb(buf, q + P - 10, n);
        printf("SIGBUS src n %d si_addr page+%ld\n", n, (long)((uint8_t*)fa - (q + P)));
        if (!sigsetjmp(jb, 1)) movsb(q + P - 10, buf, n);
        printf("SIGBUS dst n %d si_addr page+%ld\n", n, (long)((uint8_t*)fa - (q + P)));
    }
    return 0;
}
