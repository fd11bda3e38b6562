/*
 * A watch that is behind, for things change faster than they are told: who waits for it, and what is said meanwhile.
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
#include "sync/hashing.h"
#include "sync/journal.h"
#include "tests/lib/area.h"
#include "tests/lib/mount.h"

#define SLOW_MS 30
#define PACE_MS 10
#define PATIENCE_MS 20000
#define NS_PER_MS 1000000L
#define DELETED 60U

static char base[64], area[96], src[128];
static int area_fd;

static void failed(const char *message)
{
        cr_assert_fail("%s", message);
}

static void spend(long ms)
{
        struct timespec t = {.tv_nsec = ms * NS_PER_MS};

        nanosleep(&t, NULL);
}

/* On a filesystem of its own: fanotify hears of everybody's. */
static void prepare(void)
{
        test_on_fail(failed);
        area_new_base(base, sizeof(base));
        area_fd = area_new(base, ON_TMPFS, false, area, sizeof(area));
        must(area_fd >= 0, "area");
        snprintf(src, sizeof(src), "%s/src", area);
        must(mkdir(src, 0755) == 0, "mkdir");
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

        prepare();
        must(engine_new(src, ENGINE_COHERENCE_EVENTS, backend, NULL, &e, &why) == 0, "engine_new: %s", why ? why : "");
        engine_on_touch(e, &slow);
        storm = child_start(NULL, create_for_ever, NULL);
        must(wait_until(is_behind, &told, 60), "nothing is told");
        cr_expect_eq(engine_barrier(e, PATIENCE_MS), 0);
        kill(storm, SIGKILL);
        child_wait(storm);
        engine_on_touch(e, NULL);
        engine_free(e);
        fd_close(&area_fd);
        must(area_remove(base, area), "something stays of %s", area);
}

Test(engine, a_barrier_ends_though_fanotify_is_behind, .timeout = 120)
{
        a_barrier_ends_though_the_watch_is_behind(WATCH_FANOTIFY);
}

Test(engine, a_barrier_ends_though_inotify_is_behind, .timeout = 120)
{
        a_barrier_ends_though_the_watch_is_behind(WATCH_INOTIFY);
}

static int remove_it(void *arg)
{
        (void)arg;
        for (unsigned i = 0; i < DELETED; i++)
                must(unlink(at(src, "d/f%u", i)) == 0, "unlink");
        must(rmdir(at(src, "d")) == 0, "rmdir");
        return 0;
}

static void ignore(void *arg, const struct journal_record *r)
{
        (void)arg;
        (void)r;
}

static bool is_in_journal(void *arg)
{
        return journal_next(arg, 0, ignore, NULL) == 0;
}

/* The hash finds at once that a directory is gone, though its mounts have been told of one file. */
static void what_the_journal_says_is_told(enum watch_backend backend)
{
        atomic_uint told = 0;
        const struct engine_touch slow = {.touched = tell_slowly, .arg = &told};
        struct hashing *h;
        struct journal *j;
        struct engine *e;
        char *why = NULL;

        prepare();
        must(mkdir(at(src, "d"), 0755) == 0, "mkdir");
        for (unsigned i = 0; i < DELETED; i++)
                put_text(at(src, "d/f%u", i), "x");
        must(journal_new(0, &j) == 0 && hashing_new(src, at(base, "memory"), &h) == 0, "new");
        hashing_tell(h, j);
        must(engine_new(src, ENGINE_COHERENCE_EVENTS, backend, h, &e, &why) == 0, "engine_new: %s", why ? why : "");
        must(hashing_wait(h, PATIENCE_MS) == 0, "hashing_wait");
        engine_on_touch(e, &slow);
        must(child_run(NULL, remove_it, NULL) == 0, "remove");
        must(wait_until(is_in_journal, j, 60), "nothing is in the journal");
        cr_expect_geq(atomic_load(&told), DELETED);
        engine_on_touch(e, NULL);
        engine_shutdown(e);
        hashing_shutdown(h);
        engine_free(e);
        hashing_free(h);
        journal_free(j);
        fd_close(&area_fd);
        must(area_remove(base, area), "something stays of %s", area);
}

Test(engine, what_the_journal_says_is_told_by_fanotify, .timeout = 120)
{
        what_the_journal_says_is_told(WATCH_FANOTIFY);
}

Test(engine, what_the_journal_says_is_told_by_inotify, .timeout = 120)
{
        what_the_journal_says_is_told(WATCH_INOTIFY);
}
