/* WATCH_TEST runs its body with both backends, on ext4 and on tmpfs. */
#pragma once

#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include "tests/lib/watch_record.h"

#define WATCH_SECONDS 240

static inline void watch_case_failed(const char *message)
{
        cr_assert_fail("%s", message);
}

static const struct watch_case watch_cases[] __attribute__((unused)) = {
        {.backend = WATCH_FANOTIFY, .backing = ON_EXT4},
        {.backend = WATCH_FANOTIFY, .backing = ON_TMPFS},
        {.backend = WATCH_INOTIFY, .backing = ON_EXT4},
        {.backend = WATCH_INOTIFY, .backing = ON_TMPFS},
};

#define WATCH_TEST_WITH(suite, name, cases, count)                                                                                         \
        static void suite##_##name##_body(struct place *p);                                                                                \
        ParameterizedTestParameters(suite, name)                                                                                           \
        {                                                                                                                                  \
                return cr_make_param_array(struct watch_case, (void *)(cases), count);                                                     \
        }                                                                                                                                  \
        ParameterizedTest(struct watch_case *how, suite, name, .timeout = WATCH_SECONDS)                                                   \
        {                                                                                                                                  \
                static struct place p;                                                                                                     \
                                                                                                                                           \
                test_on_fail(watch_case_failed);                                                                                           \
                place_init(&p, how);                                                                                                       \
                suite##_##name##_body(&p);                                                                                                 \
                place_release(&p);                                                                                                         \
        }                                                                                                                                  \
        static void suite##_##name##_body(struct place *p)

#define WATCH_TEST(suite, name) WATCH_TEST_WITH(suite, name, watch_cases, 4)
#define INOTIFY_TEST(suite, name) WATCH_TEST_WITH(suite, name, watch_cases + 2, 2)
