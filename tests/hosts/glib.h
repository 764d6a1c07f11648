/*
 * As much of GLib as QEMU's headers and its unit tests of dirty maps need, for
 * hosts that Debian has no GLib for.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef THRIFT_GLIB_H
#define THRIFT_GLIB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef char gchar;
typedef int gint;
typedef unsigned guint;
typedef bool gboolean;
typedef size_t gsize;
typedef void *gpointer;
typedef const void *gconstpointer;
typedef void (*GTestFunc)(void);
typedef void (*GTestDataFunc)(gconstpointer data);
typedef void (*GDestroyNotify)(gpointer data);
typedef struct GString GString;
typedef struct GSource GSource;
typedef struct GArray GArray;
typedef struct GHashTable GHashTable;

#define GLIB_CHECK_VERSION(major, minor, micro) 1
#define G_USEC_PER_SEC 1000000
#define G_N_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))
#define THRIFT_TEXT(x) #x
#define THRIFT_LINE(x) THRIFT_TEXT(x)
#define G_STRLOC __FILE__ ":" THRIFT_LINE(__LINE__)
#define G_NORETURN __attribute__((noreturn))
#define G_GNUC_PRINTF(a, b) __attribute__((format(gnu_printf, a, b)))
#define G_GNUC_UNUSED __attribute__((unused))
#define G_GNUC_WARN_UNUSED_RESULT __attribute__((warn_unused_result))
#define G_LIKELY(condition) __builtin_expect(!!(condition), 1)
#define G_UNLIKELY(condition) __builtin_expect(!!(condition), 0)
#define G_STATIC_ASSERT(condition) _Static_assert(condition, #condition)
#define G_DEFINE_AUTOPTR_CLEANUP_FUNC(type, func)                           \
    typedef type *thrift_autoptr_##type;                                    \
    static inline G_GNUC_UNUSED void thrift_cleanup_##type(type **p)        \
    {                                                                       \
        if (*p) {                                                           \
            func(*p);                                                       \
        }                                                                   \
    }
#define g_autoptr(type)                                                     \
    __attribute__((cleanup(thrift_cleanup_##type))) thrift_autoptr_##type

#ifdef __clang__
#undef G_GNUC_PRINTF
#define G_GNUC_PRINTF(a, b) __attribute__((format(printf, a, b)))
#endif

static inline void thrift_autofree(void *p)
{
    free(*(void **)p);
}
#define g_autofree __attribute__((cleanup(thrift_autofree)))

/* Memory; who gets none ends the program */
gpointer g_realloc(gpointer old, gsize size);
gpointer g_malloc0(gsize size);
static inline gpointer g_malloc(gsize size) { return g_realloc(NULL, size); }
static inline void g_free(gpointer p) { free(p); }
#define g_clear_pointer(p, destroy)                                         \
    do {                                                                    \
        destroy(*(p));                                                      \
        *(p) = NULL;                                                        \
    } while (0)
static inline gpointer g_memdup2(gconstpointer from, gsize size)
{
    return memcpy(g_malloc(size), from, size);
}
#define g_new(type, n) ((type *)g_malloc(sizeof(type) * (n)))
#define g_new0(type, n) ((type *)g_malloc0(sizeof(type) * (n)))
#define g_try_new0(type, n) ((type *)calloc(n, sizeof(type)))
#define g_renew(type, p, n) ((type *)g_realloc(p, sizeof(type) * (n)))
char *g_strdup_printf(const char *format, ...) G_GNUC_PRINTF(1, 2);

/* Text that grows; what doesn't fit ends the program */
typedef struct GString {
    char str[4096];
    gsize len;
} GString;
static inline GString *g_string_new(const char *none)
{
    return g_malloc0(sizeof(GString));
}
static inline char *g_string_free(GString *s, gboolean text_too)
{
    free(s);
    return NULL;
}
void g_string_truncate(GString *s, gsize len);
void g_string_append_c(GString *s, char c);
void g_string_append_printf(GString *s, const char *format, ...)
    G_GNUC_PRINTF(2, 3);

/* Tests; they print TAP, and the first assertion that fails ends them */
G_NORETURN void thrift_failed(const char *file, int line, const char *what,
                              long double a, long double b);
#define g_assert(condition)                                                 \
    do {                                                                    \
        if (!(condition)) {                                                 \
            thrift_failed(__FILE__, __LINE__, #condition, 0, 0);            \
        }                                                                   \
    } while (0)
#ifndef CLAMP
#define CLAMP(x, low, high) \
    ((x) > (high) ? (high) : (x) < (low) ? (low) : (x))
#endif

#define g_assert_cmpuint(a, op, b)                                          \
    do {                                                                    \
        uint64_t thrift_a = (a), thrift_b = (b);                            \
        if (!(thrift_a op thrift_b)) {                                      \
            thrift_failed(__FILE__, __LINE__, #a " " #op " " #b, thrift_a,  \
                          thrift_b);                                        \
        }                                                                   \
    } while (0)
#define g_assert_cmpint(a, op, b)                                           \
    do {                                                                    \
        int64_t thrift_a = (a), thrift_b = (b);                             \
        if (!(thrift_a op thrift_b)) {                                      \
            thrift_failed(__FILE__, __LINE__, #a " " #op " " #b, thrift_a,  \
                          thrift_b);                                        \
        }                                                                   \
    } while (0)
#define g_assert_cmphex g_assert_cmpuint
#define g_assert_cmpmem(a, alen, b, blen)                                   \
    do {                                                                    \
        g_assert_cmpuint(alen, ==, blen);                                   \
        g_assert(!memcmp(a, b, alen));                                      \
    } while (0)
#define g_assert_cmpstr(a, op, b)                                           \
    do {                                                                    \
        if (!(strcmp(a, b) op 0)) {                                         \
            thrift_failed(__FILE__, __LINE__, #a " " #op " " #b, 0, 0);     \
        }                                                                   \
    } while (0)
#define g_assert_nonnull(p) g_assert((p) != NULL)
#define g_assert_null(p) g_assert((p) == NULL)
#define g_assert_true g_assert
#define g_assert_false(condition) g_assert(!(condition))
#define g_assert_not_reached()                                              \
    thrift_failed(__FILE__, __LINE__, "must not be reached", 0, 0)
#define g_error(...)                                                        \
    do {                                                                    \
        g_test_message(__VA_ARGS__);                                        \
        thrift_failed(__FILE__, __LINE__, "g_error()", 0, 0);               \
    } while (0)
void g_test_init(int *argc, char ***argv, ...);
void g_test_add_data_func(const char *path, gconstpointer data,
                          GTestDataFunc func);
void g_test_add_func(const char *path, GTestFunc func);
void g_test_message(const char *format, ...) G_GNUC_PRINTF(1, 2);
/* What has been tested until then stands. */
static inline void g_test_skip(const char *why)
{
    g_test_message("skipped: %s", why);
}
int g_test_run(void);
gint g_test_rand_int(void);
gint g_test_rand_int_range(gint begin, gint end);
static inline gboolean g_test_rand_bit(void) { return g_test_rand_int() & 1; }
static inline gboolean g_test_slow(void) { return false; }
guint g_get_num_processors(void);
int64_t g_get_monotonic_time(void);
void g_test_timer_start(void);
double g_test_timer_elapsed(void);

#endif
