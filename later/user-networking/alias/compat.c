#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#define W(a) ((volatile uint8_t *)(uintptr_t)(a))
static uint64_t C, S, D; uint64_t saved;
static void run(uint8_t *code, uint8_t op)
{
    /* f3 op ; ljmp 0x33:code+32 ; at +32: 64-bit ret */
    uint32_t back = (uint32_t)(uintptr_t)code + 32;
    code[0] = 0xf3; code[1] = op; code[2] = 0xea; memcpy(code + 3, &back, 4); code[7] = 0x33; code[8] = 0;
    code[32] = 0xc3;
    asm volatile("movq %%rsp,saved(%%rip); movq $0x30ff0,%%rsp; leaq 1f(%%rip),%%r8; pushq %%r8; pushq $0x23; pushq %3; movabs $0x5a5a5a5a5a5a5a5a,%%rax; "
      "xchgq %%rax,%%rax; pushq $0; addq $8,%%rsp;"
      "movq (%%rsp),%%r9; movq 8(%%rsp),%%r10; .byte 0x48,0xcb\n1: movq saved(%%rip),%%rsp"
      : "+c"(C), "+S"(S), "+D"(D) : "b"(code) : "rax","r8","r9","r10","memory","cc");
}
int main(void)
{
    uint8_t *code = mmap((void *)0x10000, 4096, 7, MAP_PRIVATE|MAP_ANONYMOUS|MAP_FIXED, -1, 0);
    void *hi = mmap((void *)0xffffe000, 8192, 3, MAP_PRIVATE|MAP_ANONYMOUS|MAP_FIXED, -1, 0);
    void *lo = mmap((void *)0, 4096, 3, MAP_PRIVATE|MAP_ANONYMOUS|MAP_FIXED, -1, 0);
    void *ov = mmap((void *)0x100000000, 8192, 3, MAP_PRIVATE|MAP_ANONYMOUS|MAP_FIXED, -1, 0);
    uint8_t *src = mmap((void *)0x200000, 8192, 3, MAP_PRIVATE|MAP_ANONYMOUS|MAP_FIXED, -1, 0);
    mmap((void *)0x30000, 4096, 3, MAP_PRIVATE|MAP_ANONYMOUS|MAP_FIXED, -1, 0);
    printf("code %p hi %p lo %p\n", code, hi, lo); fflush(stdout);
    for (int i = 0; i < 8192; i++) src[i] = i * 5 + 1;
    for (int off = 100; off <= 116; off += 4) for (int t = 0; t < 4; t++) {
        uint8_t op = (uint8_t[]){0xa4, 0xa5, 0xaa, 0xab}[t]; int sh = (t & 1) * 2;
        for (int i = 0; i < 4096; i++) *W(0xfffff000 + i) = 0, *W(i) = 0, ((volatile uint8_t*)ov)[i] = 0;
        int n = 512 >> sh, bad = 0, d = off + (sh ? t : 0) % 4;
        C = 0x77700000000ull + n; S = 0xabc00000000ull + 0x200000; D = 0xdef00000000ull + (uint32_t)-d;
        run(code, op);
        for (int i = 0; i < 512; i++) if (*W((uint32_t)(i - d)) != (t < 2 ? src[i] : 0x5a)) bad++;
        if (((uint32_t)C) || (uint32_t)D != 512 - d || (t < 2 && (uint32_t)S != 0x200000 + 512)) bad += 10000;
        for (int i = 0; i < 4096; i++) if (((uint8_t*)ov)[i]) bad += 100000;
        printf("compat op %x off %d bad %d\n", op, d, bad); if (bad) puts("FAILED");
    }
    /* source that wraps */
    for (int i = 0; i < 300; i++) *W((uint32_t)(i - 100)) = i * 3;
    C = 300; S = (uint32_t)-100; D = 0x200000; run(code, 0xa4);
    int bad = 0; for (int i = 0; i < 300; i++) bad += src[i] != (uint8_t)(i * 3);
    printf("wrap src bad %d\n", bad);
    /* gs base */
    syscall(SYS_arch_prctl, 0x1001, 0x200123ul);
    memset(ov, 0, 8192); C = 6000; S = 5; D = (uint64_t)ov + 7;
    asm volatile("rep movsb %%gs:(%%rsi), (%%rdi)" : "+c"(C), "+S"(S), "+D"(D) :: "memory");
    printf("gs bad %d rcx %lx rsi %lx\n", !!memcmp(ov + 7, (void *)0x200128, 6000), C, S);
    return 0;
}
