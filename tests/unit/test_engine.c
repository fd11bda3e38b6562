/*
 * Who waits for a watch that is behind: told more slowly than things change.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/thread.h"
#include "sync/engine.h"
#include "tests/lib/area.h"
#include "tests/lib/mount.h"

#define SLOW_MS 30
#define PACE_MS 10
#define PATIENCE_MS 20000
#define NS_PER_MS 1000000L

static char base[64], src[96];

static void failed(const char *message)
{
        cr_assert_fail("%s", message);
}

static void spend(long ms)
{
        struct timespec t = {.tv_nsec = ms * NS_PER_MS};

        nanosleep(&t, NULL);
}

static int create_for_ever(void *arg)
{
        (void)arg;
        for (unsigned i = 0;; i++) {
                CLEANUP_FD int fd = open(at(src, "f%u", i), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

                if (fd < 0)
                        return 1;
                spend(PACE_MS);
        }
}

/* As slow as the replay of an edit into busy mounts can be. */
static void tell_slowly(void *arg, const struct ident *dir, const char *name, size_t len)
{
        atomic_uint *told = arg;

        (void)dir;
        (void)name;
        (void)len;
        spend(SLOW_MS);
        atomic_fetch_add(told, 1);
}

static bool is_behind(void *arg)
{
        atomic_uint *told = arg;

        return atomic_load(told) >= 8;
}

static void a_barrier_ends_though_the_watch_is_behind(enum watch_backend backend)
{
        atomic_uint told = 0;
        const struct engine_touch slow = {.touched = tell_slowly, .arg = &told};
        struct engine *e;
        char *why = NULL;
        pid_t storm;

        test_on_fail(failed);
        area_new_base(base, sizeof(base));
        snprintf(src, sizeof(src), "%s/src", base);
        must(mkdir(src, 0755) == 0, "mkdir");
        must(engine_new(src, ENGINE_COHERENCE_EVENTS, backend, NULL, &e, &why) == 0, "engine_new: %s", why ? why : "");
        engine_on_touch(e, &slow);
        storm = child_start(NULL, create_for_ever, NULL);
        must(wait_until(is_behind, &told, 60), "nothing is told");
        cr_expect_eq(engine_barrier(e, PATIENCE_MS), 0);
        kill(storm, SIGKILL);
        child_wait(storm);
        engine_on_touch(e, NULL);
        engine_free(e);
        remove_tree(base);
}

Test(engine, a_barrier_ends_though_fanotify_is_behind, .timeout = 120)
{
        a_barrier_ends_though_the_watch_is_behind(WATCH_FANOTIFY);
}

Test(engine, a_barrier_ends_though_inotify_is_behind, .timeout = 120)
{
        a_barrier_ends_though_the_watch_is_behind(WATCH_INOTIFY);
}
