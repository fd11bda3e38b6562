/*
 * Criterion tests on mounts: CASE runs its body on a mount of each of the four variants {ext4, tmpfs} x {io_uring, /dev/fuse};
 * SCRIPT compares a script in the mount with the same in a plain directory; CASE_WITH names its own variants; CASE_UNMOUNTED leaves it to
 * the body to mount, once it has filled the source.
 */
#pragma once

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <stdio.h>

#include "tests/lib/mount.h"
#include "tests/lib/oracle.h"

#define CASE_SECONDS 240

static inline void case_failed(const char *message)
{
        cr_assert_fail("%s", message);
}

static inline struct fixture *case_prepare(const struct variant *v)
{
        test_on_fail(case_failed);
        return fixture_prepare(v);
}

static inline struct fixture *case_start(const struct variant *v)
{
        struct fixture *f = case_prepare(v);

        fixture_mount(f);
        return f;
}

/* Both watches are had by every theme: one on each filesystem of each transport. */
static const struct variant case_variants[] __attribute__((unused)) = {
        {.backing = ON_EXT4, .transport = BY_URING, .watch = WATCH_BY_FANOTIFY},
        {.backing = ON_EXT4, .transport = BY_DEV, .watch = WATCH_BY_INOTIFY},
        {.backing = ON_TMPFS, .transport = BY_URING, .watch = WATCH_BY_INOTIFY},
        {.backing = ON_TMPFS, .transport = BY_DEV, .watch = WATCH_BY_FANOTIFY},
};

#define CASE_BEGUN(suite, name, variants, begin)                                                                                           \
        static void suite##_##name##_body(struct fixture *f);                                                                              \
        ParameterizedTestParameters(suite, name)                                                                                           \
        {                                                                                                                                  \
                return cr_make_param_array(struct variant, (void *)(variants), sizeof(variants) / sizeof((variants)[0]));                  \
        }                                                                                                                                  \
        ParameterizedTest(struct variant *v, suite, name, .timeout = CASE_SECONDS)                                                         \
        {                                                                                                                                  \
                struct fixture *f = begin(v);                                                                                              \
                                                                                                                                           \
                suite##_##name##_body(f);                                                                                                  \
                fixture_free(f);                                                                                                           \
        }                                                                                                                                  \
        static void suite##_##name##_body(struct fixture *f)

#define CASE_WITH(suite, name, variants) CASE_BEGUN(suite, name, variants, case_start)

#define CASE_UNMOUNTED(suite, name, variants) CASE_BEGUN(suite, name, variants, case_prepare)

#define CASE(suite, name) CASE_WITH(suite, name, case_variants)

#define SCRIPT(suite, name)                                                                                                                \
        static void suite##_##name##_script(struct script *s);                                                                             \
        CASE(suite, name)                                                                                                                  \
        {                                                                                                                                  \
                oracle_compare(f, suite##_##name##_script);                                                                                \
        }                                                                                                                                  \
        static void suite##_##name##_script(struct script *s)
