/*
 * Another KVM, for LD_PRELOAD: one without KVM_DIRTY_LOG_INITIALLY_SET or with
 * few memory slots.  And a look at what KVM is asked to clear of its logs, how
 * many pages of its dirty rings were taken, and whether page tables were looked
 * at before the log was cleared.
 *
 *   KVMSHIM_HIDE    not empty: KVM_DIRTY_LOG_INITIALLY_SET is not offered
 *   KVMSHIM_SLOTS   what KVM_CAP_NR_MEMSLOTS is said to be
 *   KVMSHIM_EARLY   not empty: KVM_RESET_DIRTY_RINGS resets nothing if a signal or
 *                   task work of io_uring could be pending for its thread, as if
 *                   one were (since Linux 6.17)
 *   KVMSHIM_SHORT   a file: once it is there that call counts one entry less,
 *                   and one more the next time; the file goes
 *   KVMSHIM_LATE    microseconds from when a slot that logs is to be removed
 *                   until it is; pages that changed meanwhile are reported
 *   KVMSHIM_OUT     a file to report to
 *
 * KVM_CLEAR_DIRTY_LOG may only name pages that a KVM_GET_DIRTY_LOG reported
 * since logging began or since they were last cleared: KVM forgets of others that
 * they were written.  With KVM_DIRTY_LOG_INITIALLY_SET all pages are in the log
 * when it begins, which needs no report.
 *
 * PAGEMAP_SCAN finds what nobody has touched, which is sent as zero.  Pages
 * that are known to be dirty have to be cleared before that, as before they are
 * read: a store between the two would be forgotten.  While the guest stands
 * still there is none, so whoever reads the report has to judge.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <linux/kvm.h>

#define PAGE        4096
#define SPACES      2
#define SLOTS       1024
/* In headers since Linux 6.8; it begins like KVM_SET_USER_MEMORY_REGION's */
#define SET_REGION2 0x40a0ae49u
/* Since Linux 6.7: _IOWR('f', 16, struct pm_scan_arg) */
#define SCAN        0xc0606610u

/* How pm_scan_arg begins */
typedef struct ScanArg {
    uint64_t size;
    uint64_t flags;
    uint64_t start;
    uint64_t end;
} ScanArg;

typedef struct Slot {
    uint64_t host;
    uint64_t npages;
    uint32_t flags;
    uint8_t *reported;
} Slot;

static Slot slots[SPACES][SLOTS];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static uint64_t gets, clears, cleared, reset, scanned;
static bool initially_set;
static int (*real_ioctl)(int fd, unsigned long request, ...);
static FILE *out;

static void __attribute__((constructor)) start(void)
{
    const char *path = getenv("KVMSHIM_OUT");

    real_ioctl = (int (*)(int, unsigned long, ...))dlsym(RTLD_NEXT, "ioctl");
    out = path ? fopen(path, "a") : NULL;
    if (out) {
        setvbuf(out, NULL, _IOLBF, 0);
    }
}

static void __attribute__((destructor)) finish(void)
{
    if (out) {
        fprintf(out, "sum gets %llu clears %llu cleared %llu reset %llu "
                "scanned %llu\n",
                (unsigned long long)gets, (unsigned long long)clears,
                (unsigned long long)cleared, (unsigned long long)reset,
                (unsigned long long)scanned);
    }
}

static bool bit(const void *bitmap, uint64_t i)
{
    return ((const uint8_t *)bitmap)[i / 8] >> i % 8 & 1;
}

static Slot *find(uint32_t id)
{
    uint32_t space = id >> 16, slot = id & 0xffff;

    if (space >= SPACES || slot >= SLOTS) {
        fprintf(stderr, "kvmshim: slot %u of space %u\n", slot, space);
        abort();
    }
    return &slots[space][slot];
}

static void region(const struct kvm_userspace_memory_region *r)
{
    Slot *slot = find(r->slot);
    uint64_t npages = r->memory_size / PAGE;
    bool logs = r->flags & KVM_MEM_LOG_DIRTY_PAGES;

    if (!logs || npages != slot->npages ||
        !(slot->flags & KVM_MEM_LOG_DIRTY_PAGES)) {
        free(slot->reported);
        slot->reported = logs ? calloc(1, npages / 8 + 8) : NULL;
        /*
         * A log that begins says that all is dirty; who logs knows that without
         * asking.  Of a slot that is made anew, while a log is on, that isn't
         * known: it may have been sent already.
         */
        if (logs && initially_set && npages == slot->npages) {
            memset(slot->reported, 0xff, npages / 8 + 8);
        }
    }
    slot->host = r->userspace_addr;
    slot->npages = npages;
    slot->flags = r->flags;
    if (out) {
        fprintf(out, "region %#x pages %llu log %d\n", r->slot,
                (unsigned long long)npages, logs);
    }
}

static void got(const struct kvm_dirty_log *log)
{
    Slot *slot = find(log->slot);

    gets++;
    for (uint64_t i = 0; slot->reported && i < (slot->npages + 7) / 8; i++) {
        slot->reported[i] |= ((const uint8_t *)log->dirty_bitmap)[i];
    }
}

static void clear(int fd, const struct kvm_clear_dirty_log *c)
{
    Slot *slot = find(c->slot);
    uint8_t *now = calloc(1, slot->npages / 8 + 8);
    struct kvm_dirty_log log = { .slot = c->slot, .dirty_bitmap = now };
    uint64_t unknown = 0, lost = 0;
    /* It changes nothing where logs are cleared by hand */
    bool known = !real_ioctl(fd, KVM_GET_DIRTY_LOG, &log);

    clears++;
    for (uint32_t i = 0; i < c->num_pages; i++) {
        uint64_t page = c->first_page + i;

        if (!bit(c->dirty_bitmap, i)) {
            continue;
        }
        cleared++;
        if (!slot->reported || page >= slot->npages ||
            !bit(slot->reported, page)) {
            unknown++;
            lost += known && page < slot->npages && bit(now, page);
        } else {
            slot->reported[page / 8] &= ~(1 << page % 8);
        }
    }
    free(now);
    if (unknown && out) {
        fprintf(out, "BAD slot %#x pages from %llu: %llu that no GET "
                "reported, %llu of them dirty\n", c->slot,
                (unsigned long long)c->first_page,
                (unsigned long long)unknown, (unsigned long long)lost);
    }
}

/* Of each address space: they may have logs of the same memory */
static void scan(const ScanArg *arg)
{
    for (uint32_t id = 0; id < SPACES * SLOTS; id++) {
        Slot *slot = &slots[id / SLOTS][id % SLOTS];
        uint64_t first = 0, npages = 0, early = 0;

        for (uint64_t i = 0; slot->reported && i < slot->npages; i++) {
            uint64_t host = slot->host + i * PAGE;

            if (host < arg->start || host >= arg->end) {
                continue;
            }
            npages++;
            if (bit(slot->reported, i)) {
                first = early ? first : i;
                early++;
            }
        }
        scanned += id < SLOTS ? npages : 0;
        if (early && out) {
            fprintf(out, "EARLY slot %#x pages from %llu: %llu of %llu scanned "
                    "before they were cleared\n",
                    id / SLOTS << 16 | id % SLOTS, (unsigned long long)first,
                    (unsigned long long)early, (unsigned long long)npages);
        }
    }
}

static int extension(int fd, unsigned long request, long which)
{
    const char *limit = getenv("KVMSHIM_SLOTS"), *hide = getenv("KVMSHIM_HIDE");
    int r = real_ioctl(fd, request, which);

    if (which == KVM_CAP_NR_MEMSLOTS && limit) {
        return atoi(limit);
    }
    if (which == KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 && r > 0) {
        r &= hide && *hide ? ~KVM_DIRTY_LOG_INITIALLY_SET : ~0;
        initially_set = r & KVM_DIRTY_LOG_INITIALLY_SET;
        if (out) {
            fprintf(out, "protect %#x\n", r);
        }
    }
    return r;
}

/* Time for a guest to store to what goes, and whether it does, without mutex */
static void wait_for_removal(const struct kvm_userspace_memory_region *r)
{
    const char *late = getenv("KVMSHIM_LATE");
    uint64_t changed = 0;
    uint8_t *before;
    Slot slot;

    pthread_mutex_lock(&mutex);
    slot = *find(r->slot);
    pthread_mutex_unlock(&mutex);
    if (!late || !*late || r->memory_size || !slot.npages ||
        !(slot.flags & KVM_MEM_LOG_DIRTY_PAGES)) {
        return;
    }
    before = malloc(slot.npages * PAGE);
    memcpy(before, (void *)slot.host, slot.npages * PAGE);
    usleep(atoi(late));
    for (uint64_t i = 0; i < slot.npages * PAGE; i += PAGE) {
        changed += !!memcmp(before + i, (uint8_t *)slot.host + i, PAGE);
    }
    free(before);
    if (out) {
        fprintf(out, "late %llu of %llu\n", (unsigned long long)changed,
                (unsigned long long)slot.npages);
    }
}

/* Has the thread run a guest? */
static __thread bool is_vcpu;

/*
 * As if a signal were pending where one can be: that ends the call.  The main
 * thread and vCPUs may have submitted to an io_uring as well.
 */
static bool is_early(void)
{
    static const int signals[] = {
        SIGHUP, SIGINT, SIGTERM, SIGALRM, SIGBUS, SIGUSR1, SIGUSR2, SIGCHLD,
    };
    const char *early = getenv("KVMSHIM_EARLY");
    sigset_t blocked;

    if (!early || !*early) {
        return false;
    }
    pthread_sigmask(SIG_BLOCK, NULL, &blocked);
    for (unsigned i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
        if (!sigismember(&blocked, signals[i])) {
            return true;
        }
    }
    return is_vcpu || getpid() == gettid();
}

/* What KVM is to have counted */
static int counted(int r)
{
    static bool owed;
    const char *path = getenv("KVMSHIM_SHORT");

    if (r >= 0 && owed) {
        owed = false;
        return r + 1;
    }
    if (r < 2 || !path || unlink(path)) {
        return r;
    }
    owed = true;
    if (out) {
        fprintf(out, "short\n");
    }
    return r - 1;
}

int ioctl(int fd, unsigned long request, ...)
{
    va_list ap;
    void *arg;
    int r;

    va_start(ap, request);
    arg = va_arg(ap, void *);
    va_end(ap);

    /* Some pass it as a signed int */
    switch ((uint32_t)request) {
    case (uint32_t)KVM_CHECK_EXTENSION:
        return extension(fd, request, (long)arg);
    case (uint32_t)KVM_SET_USER_MEMORY_REGION:
    case SET_REGION2:
        wait_for_removal(arg);
        pthread_mutex_lock(&mutex);
        region(arg);
        r = real_ioctl(fd, request, arg);
        break;
    case (uint32_t)KVM_GET_DIRTY_LOG:
        pthread_mutex_lock(&mutex);
        r = real_ioctl(fd, request, arg);
        if (!r) {
            got(arg);
        }
        break;
    case (uint32_t)KVM_CLEAR_DIRTY_LOG:
        pthread_mutex_lock(&mutex);
        clear(fd, arg);
        r = real_ioctl(fd, request, arg);
        break;
    case (uint32_t)KVM_RESET_DIRTY_RINGS:
        pthread_mutex_lock(&mutex);
        r = counted(is_early() ? 0 : real_ioctl(fd, request, arg));
        reset += r > 0 ? r : 0;
        break;
    case SCAN:
        pthread_mutex_lock(&mutex);
        scan(arg);
        r = real_ioctl(fd, request, arg);
        break;
    case (uint32_t)KVM_RUN:
        is_vcpu = true;
        return real_ioctl(fd, request, arg);
    default:
        return real_ioctl(fd, request, arg);
    }
    pthread_mutex_unlock(&mutex);
    return r;
}
