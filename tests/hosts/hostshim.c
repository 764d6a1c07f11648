/*
 * What glib.h beside this declares, and of QEMU the threads, for other hosts
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/thread.h"
#include <pthread.h>

/* Memory */

gpointer g_realloc(gpointer old, gsize size)
{
    gpointer p = realloc(old, size);

    if (!p && size) {
        abort();
    }
    return p;
}

gpointer g_malloc0(gsize size)
{
    gpointer p = calloc(1, size);

    if (!p && size) {
        abort();
    }
    return p;
}

char *g_strdup_printf(const char *format, ...)
{
    char text[256];
    va_list ap;

    va_start(ap, format);
    vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    return strdup(text);
}

void g_string_truncate(GString *s, gsize len)
{
    if (len < s->len) {
        s->len = len;
        s->str[len] = 0;
    }
}

void g_string_append_c(GString *s, char c)
{
    g_string_append_printf(s, "%c", c);
}

void g_string_append_printf(GString *s, const char *format, ...)
{
    va_list ap;
    int n;

    va_start(ap, format);
    n = vsnprintf(s->str + s->len, sizeof(s->str) - s->len, format, ap);
    va_end(ap);
    g_assert(n >= 0 && n < sizeof(s->str) - s->len);
    s->len += n;
}

/* Tests */

static struct {
    char *path;
    GTestFunc func;
    GTestDataFunc data_func;
    gconstpointer data;
} tests[128];
static int ntests, running;
static const char *wanted;
static uint64_t random_state = 0x9e3779b97f4a7c15ull;

void g_test_init(int *argc, char ***argv, ...)
{
    for (int i = 1; i + 1 < *argc; i++) {
        if (!strcmp((*argv)[i], "-p")) {
            wanted = (*argv)[i + 1];
        }
    }
    setvbuf(stdout, NULL, _IONBF, 0);
}

void g_test_add_data_func(const char *path, gconstpointer data,
                          GTestDataFunc func)
{
    if (ntests == ARRAY_SIZE(tests)) {
        abort();
    }
    if (!wanted || !strncmp(path, wanted, strlen(wanted))) {
        tests[ntests].path = strdup(path);
        tests[ntests].data = data;
        tests[ntests++].data_func = func;
    }
}

void g_test_add_func(const char *path, GTestFunc func)
{
    int before = ntests;

    g_test_add_data_func(path, NULL, NULL);
    if (ntests > before) {
        tests[before].func = func;
    }
}

void g_test_message(const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    printf("# ");
    vprintf(format, ap);
    printf("\n");
    va_end(ap);
}

void thrift_failed(const char *file, int line, const char *what,
                   long double a, long double b)
{
    printf("# %s:%d: %s (%.0f, %.0f)\nnot ok %d - %s\n", file, line, what,
           (double)a, (double)b, running + 1, tests[running].path);
    fflush(stdout);
    _exit(1);
}

int g_test_run(void)
{
    printf("1..%d\n", ntests);
    for (running = 0; running < ntests; running++) {
        if (tests[running].func) {
            tests[running].func();
        } else {
            tests[running].data_func(tests[running].data);
        }
        printf("ok %d - %s\n", running + 1, tests[running].path);
    }
    return 0;
}

gint g_test_rand_int(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state >> 33;
}

gint g_test_rand_int_range(gint begin, gint end)
{
    return begin + (uint32_t)g_test_rand_int() % (uint32_t)(end - begin);
}

int64_t g_get_monotonic_time(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * (int64_t)G_USEC_PER_SEC + now.tv_nsec / 1000;
}

static int64_t timer_start;

void g_test_timer_start(void)
{
    timer_start = g_get_monotonic_time();
}

double g_test_timer_elapsed(void)
{
    return (g_get_monotonic_time() - timer_start) / (double)G_USEC_PER_SEC;
}

guint g_get_num_processors(void)
{
#ifdef _WIN32
    SYSTEM_INFO info;

    GetSystemInfo(&info);
    return info.dwNumberOfProcessors;
#else
    return sysconf(_SC_NPROCESSORS_ONLN);
#endif
}

/* Threads; a test has few, and joins all of them */

static pthread_t threads[256];
static unsigned nthreads;
/* Linked by their number, as QemuThread differs between hosts */
static QemuThread *owners[256];

void qemu_thread_create(QemuThread *thread, const char *name,
                        void *(*start_routine)(void *), void *arg, int mode)
{
    if (nthreads == ARRAY_SIZE(threads) ||
        pthread_create(&threads[nthreads], NULL, start_routine, arg)) {
        abort();
    }
    owners[nthreads++] = thread;
}

void *qemu_thread_join(QemuThread *thread)
{
    void *result = NULL;

    for (unsigned i = 0; i < nthreads; i++) {
        if (owners[i] == thread) {
            pthread_join(threads[i], &result);
            owners[i] = NULL;
            return result;
        }
    }
    abort();
}
