/* What both backends of the watch tell, and what its barrier promises. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/lib/mount.h"
#include "tests/unit/watch_case.h"

/* `expect`: "e DIR NAME" (entry), "c PATH" (content), "a PATH" (attributes, which content() says too); a capital: from fanotify only,
 * inotify can't know. Paths are looked up after the operation. */
static const struct {
        const char *given;
        const char *done;
        const char *expect;
} operations[] = {
        {"", "create f", "e . f"},
        {"write f x", "rm f", "e . f"},
        {"", "mkdir d", "e . d"},
        {"mkdir d", "rmdir d", "e . d"},
        {"write f x", "mv f g", "e . f;e . g;a g"},
        {"write f x;mkdir d", "mv f d/g", "e . f;e d g"},
        {"mkdir d;write d/f x", "mv d e", "e . d;e . e;a e"},
        {"mkdir d;write d/f x", "mv d e;poke e/f y", "c e/f"},
        {"mkdir d;mkdir d/e;write d/e/f x", "mv d g;poke g/e/f y;create g/e/h", "c g/e/f;e g/e h"},
        {"write f x", "mv f ../out/f", "e . f"},
        {"write ../out/f x", "mv ../out/f f", "e . f"},
        {"mkdir d;mkdir d/e", "mv d ../out/d;create ../out/d/e/f;mv ../out/d d;create d/e/g", "e . d;e d/e g"},
        {"mkdir ../out/d;mkdir ../out/d/e;write ../out/d/e/f x", "mv ../out/d d;poke d/e/f y", "e . d;c d/e/f"},
        {"write f x;write g y", "mv g f", "e . f;e . g"},
        {"write f x;ln f h;write g y", "mv g f", "e . f;A h"},
        {"write f x;write g y", "xchg f g", "e . f;e . g"},
        {"mkdir d;write d/f x;mkdir e;write e/f y", "xchg d e;poke d/f 1;poke e/f 2", "e . d;e . e;c d/f;c e/f"},
        {"mkdir d;write f x", "xchg d f;create f/g", "e . d;e . f;e f g"},
        {"mkdir a;mkdir a/b;write a/f x;write a/b/f y", "mv a/b b;mv a b/a;poke b/f 1;poke b/a/f 2", "e b/a b;e . b;e b a;c b/f;c b/a/f"},
        {"mkdir a;mkdir a/b", "mv a t;mkdir a;mkdir a/b;create a/b/f;create t/b/g", "e a/b f;e t/b g"},
        {"mkdir a;mkdir b;mkdir b/x", "rmdir a;mv b a;create a/x/f;mkdir b;create b/f", "e a/x f;e b f"},
        {"", "symlink s nowhere", "e . s"},
        {"mkdir d", "symlink s d", "e . s"},
        {"symlink s nowhere", "chown s 1", "a s"},
        {"write f x", "ln f g", "e . g;a f"},
        {"write f x;ln f g", "rm g", "e . g;A f"},
        {"write f x;ln f g", "poke g y", "c f"},
        {"write f x", "poke f y", "c f"},
        {"write f x", "append f y", "c f"},
        {"write f x", "write f y", "c f"},
        {"write f x", "truncate f 0", "c f"},
        {"write f x", "truncate f 100", "c f"},
        {"write f x", "map f", "c f"},
        {"write f x", "chmod f 600", "a f"},
        {"write f x", "chown f 1", "a f"},
        {"write f x", "xattr f y", "a f"},
        {"write f x", "utimes f", "a f"},
        {"mkdir d", "chmod d 700", "a d"},
        {"mkdir d", "xattr d y", "a d"},
        {"", "chmod . 700", "a ."},
        {"", "xattr . y", "a ."},
        {"", "mkdir d;mkdir d/e;mkdir d/e/f;write d/e/f/g x", "e . d;e d e;e d/e f;e d/e/f g;c d/e/f/g"},
        {"write f.tmp x", "poke f.tmp y;mv f.tmp f", "e . f;c f"},
        {"write f x", "poke f y;mv f g;mv g h", "c h"},
        {"mkdir d;write d/f x", "poke d/f y;mv d e;mkdir d;create d/f", "c e/f;e d f"},
};

static void expect(struct place *p, size_t i, const char *line)
{
        char what, path[128], name[128] = "";
        bool told;

        must(sscanf(line, " %c %127s %127s", &what, path, name) >= 2, "%s", line);
        if ((what == 'A' || what == 'C') && p->how.backend == WATCH_INOTIFY)
                return;
        if (what == 'e')
                told = record_has_entry(p, path, name);
        else
                told = record_has(p, TOLD_CONTENT, path) || ((what == 'a' || what == 'A') && record_has(p, TOLD_ATTR, path));
        must(told, "not told: \"%s\" after \"%s\"", line, operations[i].done);
}

WATCH_TEST(watch, tells_every_operation)
{
        for (size_t i = 0; i < ARRAY_LEN(operations); i++) {
                CLEANUP_FREE char *lines = strdup(operations[i].expect);
                char *save = NULL;

                place_do(p, operations[i].given);
                place_watch(p, NULL);
                place_do(p, operations[i].done);
                place_settle(p);
                for (char *line = strtok_r(lines, ";", &save); line; line = strtok_r(NULL, ";", &save))
                        expect(p, i, line);
                for (int why = 0; why < 3; why++)
                        must(record_lost(&p->record, why) == 0, "lost after \"%s\"", operations[i].done);
                watch_free(p->watch);
                p->watch = NULL;
                record_clear(&p->record);
                remove_tree(p->src);
                remove_tree(at(p->area, "out"));
                must(mkdir(p->src, 0755) == 0 && mkdir(at(p->area, "out"), 0755) == 0, "mkdir");
        }
}

WATCH_TEST(watch, own_changes_are_told_by_inotify_only)
{
        struct watch_stats stats;
        bool told;

        record_own(&p->record, true);
        place_watch(p, NULL);
        place_settle(p);
        must(place_perform(p->src, "write f x;chmod f 600;mkdir d;mv f d/f") == 0, "own");
        place_do(p, "create after");
        place_settle(p);
        watch_stats(p->watch, &stats);
        must(record_has_entry(p, ".", "after"), "nothing told at all");
        told = record_has_entry(p, ".", "f") || record_has_entry(p, "d", "f") || record_has(p, TOLD_CONTENT, "d/f");
        cr_assert_eq(told, p->how.backend == WATCH_INOTIFY);
        cr_assert_eq(stats.own > 0, p->how.backend == WATCH_FANOTIFY);
}

WATCH_TEST(watch, own_changes_are_told_with_their_origin)
{
        record_own(&p->record, false);
        place_watch(p, NULL);
        place_settle(p);
        must(place_perform(p->src, "write f x") == 0, "own");
        place_settle(p);
        must(record_has_entry(p, ".", "f") && record_has(p, TOLD_CONTENT, "f"), "not told");
        cr_assert_eq(record_has_own(&p->record), p->how.backend == WATCH_FANOTIFY);
        record_clear(&p->record);
        place_do(p, "write f y");
        place_settle(p);
        must(record_has(p, TOLD_CONTENT, "f"), "not told");
        cr_assert_not(record_has_own(&p->record));
}

/* One file written by two: who did so last must not be spared the news of the other's. */
WATCH_TEST(watch, writes_from_two_sides_are_told_to_both)
{
        place_do(p, "write f x;create g");
        record_own(&p->record, false);
        place_watch(p, NULL);
        place_settle(p);
        record_hold(&p->record);
        place_do(p, "chmod g 600");
        record_wait_held(&p->record);
        must(place_perform(p->src, "write f own") == 0, "own");
        place_do(p, "write f other");
        record_let_go(&p->record);
        place_settle(p);
        cr_assert(record_has(p, TOLD_CONTENT, "f"));
        cr_assert_eq(record_has_own(&p->record), p->how.backend == WATCH_FANOTIFY);
        cr_assert(record_has_foreign(p, TOLD_CONTENT, "f"), "what the other wrote was told to nobody but him");
}

/* A thread may have the number of one that has ended, whose last changes are still in the queue. */
WATCH_TEST(watch, what_was_queued_before_a_thread_began_is_not_its_own)
{
        place_watch(p, NULL);
        place_settle(p);
        record_hold(&p->record);
        place_do(p, "create g");
        record_wait_held(&p->record);
        must(place_perform(p->src, "create f") == 0, "own");
        record_own(&p->record, true);
        record_let_go(&p->record);
        place_settle(p);
        cr_assert(record_has_entry(p, ".", "f"));
        cr_assert_not(record_has_own(&p->record));
}

WATCH_TEST(watch, repeated_writes_are_told_once)
{
        char script[100 * 16] = "";
        size_t times;

        place_do(p, "write f x;create g");
        place_watch(p, NULL);
        record_hold(&p->record);
        place_do(p, "poke g x");
        record_wait_held(&p->record);
        for (int i = 0; i < 100; i++)
                strcat(script, "poke f y;");
        place_do(p, script);
        record_let_go(&p->record);
        place_settle(p);
        /* The queue may have been read in the midst of them, not often. */
        times = record_times(p, TOLD_CONTENT, "f");
        cr_assert(times >= 1 && times <= 5, "told %zu times", times);
}

struct depths {
        struct place *p;
        int rounds;
};

static int make_deep(void *arg)
{
        struct depths *d = arg;
        char script[512];

        for (int i = 0; i < d->rounds; i++) {
                snprintf(script, sizeof(script),
                         "mkdir d%d;mkdir d%d/a;mkdir d%d/b;create d%d/f;mkdir d%d/a/c;create d%d/a/c/f;mkdir d%d/a/c/e;create d%d/a/c/e/f",
                         i, i, i, i, i, i, i, i);
                if (place_perform(d->p->src, script))
                        return 1;
        }
        return 0;
}

WATCH_TEST(watch, nothing_made_before_its_watch_is_missed)
{
        static const char *const dirs[] = {".", ".", "a", "a/c", "a/c", "."}, *const names[] = {"a", "b", "c", "f", "e", "f"};
        static const char *const files[] = {"f", "a/c/f", "a/c/e/f"};
        struct depths d = {.p = p, .rounds = 300};

        place_watch(p, NULL);
        must(child_run(NULL, make_deep, &d) == 0, "child");
        place_settle(p);
        for (int i = 0; i < d.rounds; i++) {
                char path[64];

                for (size_t k = 0; k < ARRAY_LEN(dirs); k++) {
                        snprintf(path, sizeof(path), "d%d/%s", i, dirs[k]);
                        must(record_has_entry(p, path, names[k]), "not told: %s/%s", path, names[k]);
                }
        }
        record_clear(&p->record);
        for (int i = 0; i < d.rounds; i += 10) {
                char path[64], script[80];

                for (size_t k = 0; k < ARRAY_LEN(files); k++) {
                        snprintf(path, sizeof(path), "d%d/%s", i, files[k]);
                        snprintf(script, sizeof(script), "poke %s x", path);
                        place_do(p, script);
                        place_settle(p);
                        must(record_has(p, TOLD_CONTENT, path), "not told: %s", path);
                }
        }
}

static int make_many(void *arg)
{
        struct place *p = arg;

        if (chdir(p->src) < 0 || mkdir("new", 0755) < 0)
                return 1;
        for (int i = 0; i < 24000; i++) {
                char name[32];

                snprintf(name, sizeof(name), "%s%d", i % 100 ? "f" : "new/d", i);
                if (i % 100 ? mknod(name, S_IFREG | 0644, 0) : mkdir(name, 0755))
                        return 1;
        }
        return mkdir("new/last", 0755);
}

WATCH_TEST(watch, an_overflow_is_told_and_recovered_from)
{
        struct watch_stats stats;

        place_do(p, "create f;mkdir gone;mkdir gone/gone");
        place_watch(p, NULL);
        record_hold(&p->record);
        place_do(p, "poke f x");
        record_wait_held(&p->record);
        must(child_run(NULL, make_many, p) == 0, "child");
        place_do(p, "rmdir gone/gone;rmdir gone");
        record_let_go(&p->record);
        place_settle(p);
        watch_stats(p->watch, &stats);
        cr_assert(record_lost(&p->record, WATCH_OVERFLOW) > 0);
        cr_assert(stats.overflows > 0 && !stats.degraded);
        if (p->how.backend == WATCH_INOTIFY)
                cr_assert_eq(stats.watches, 1 + 1 + 240 + 1); /* the root, new, what is in it */
        record_clear(&p->record);
        place_do(p, "create new/last/f;create new/d12300/f;poke f y");
        place_settle(p);
        must(record_has_entry(p, "new/last", "f") && record_has_entry(p, "new/d12300", "f") && record_has(p, TOLD_CONTENT, "f"),
             "not told");
        cr_assert_eq(record_lost(&p->record, WATCH_OVERFLOW), 0);
}

/* A barrier that hasn't yet been told of the loss is asked again. */
static bool root_is_lost(void *arg)
{
        struct place *p = arg;

        place_settle(p);
        return record_lost(&p->record, WATCH_ROOT) > 0;
}

static void expect_root_lost(struct place *p)
{
        struct watch_stats stats;

        must(wait_until(root_is_lost, p, 60), "the loss of the root was not told");
        watch_stats(p->watch, &stats);
        cr_assert(stats.degraded);
        cr_assert_eq(record_lost(&p->record, WATCH_ROOT), 1);
}

WATCH_TEST(watch, a_deleted_root_is_lost)
{
        place_watch(p, NULL);
        place_do(p, "rmdir ../src");
        expect_root_lost(p);
}

WATCH_TEST(watch, a_root_moved_away_is_lost)
{
        place_watch(p, NULL);
        place_do(p, "create f;mkdir d;rmdir d");
        place_settle(p);
        cr_assert_eq(record_lost(&p->record, WATCH_ROOT), 0);
        place_do(p, "mv ../src ../elsewhere");
        expect_root_lost(p);
}

WATCH_TEST(watch, an_unmounted_root_is_lost)
{
        if (p->how.backing != ON_TMPFS)
                return;
        place_watch(p, NULL);
        must(umount2(p->area, MNT_DETACH) == 0, "umount");
        expect_root_lost(p);
}

static int write_for_ever(void *arg)
{
        struct place *p = arg;
        char text[16];

        for (unsigned i = 0;; i++) {
                CLEANUP_FD int fd = openat(AT_FDCWD, at(p->src, "storm%u", i % 512), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

                snprintf(text, sizeof(text), "%u", i);
                if (fd < 0 || write(fd, text, strlen(text)) < 0)
                        return 1;
        }
}

WATCH_TEST(watch, a_barrier_ends_in_a_storm)
{
        pid_t storm;

        place_watch(p, NULL);
        storm = child_start(NULL, write_for_ever, p);
        for (int i = 0; i < 50; i++) {
                char script[32], name[16];

                snprintf(name, sizeof(name), "mine%d", i);
                snprintf(script, sizeof(script), "create %s", name);
                place_do(p, script);
                place_settle(p);
                must(record_has_entry(p, ".", name) || record_lost(&p->record, WATCH_OVERFLOW), "not told: %s", name);
        }
        kill(storm, SIGKILL);
        child_wait(storm);
}

WATCH_TEST(watch, a_barrier_times_out_while_the_sink_is_busy)
{
        place_do(p, "create f");
        place_watch(p, NULL);
        record_hold(&p->record);
        place_do(p, "poke f x");
        record_wait_held(&p->record);
        cr_assert_eq(watch_barrier(p->watch, 20), -ETIMEDOUT);
        record_let_go(&p->record);
        place_settle(p);
        must(record_has(p, TOLD_CONTENT, "f"), "not told");
}

struct waiter {
        struct place *p;
        int rc;
};

static void *wait_at_barrier(void *arg)
{
        struct waiter *w = arg;

        w->rc = watch_barrier(w->p->watch, PATIENCE_MS);
        return NULL;
}

static void *stop_watch(void *arg)
{
        struct place *p = arg;

        watch_free(p->watch);
        return NULL;
}

WATCH_TEST(watch, stopping_releases_who_waits)
{
        struct waiter w = {.p = p, .rc = 1};
        pthread_t waiting, stopping;

        place_do(p, "create f");
        place_watch(p, NULL);
        record_hold(&p->record);
        place_do(p, "poke f x");
        record_wait_held(&p->record);
        must(thread_start(&waiting, "waiting", wait_at_barrier, &w) == 0, "thread");
        cr_assert_eq(watch_barrier(p->watch, 1), -ETIMEDOUT);
        must(thread_start(&stopping, "stopping", stop_watch, p) == 0, "thread");
        record_let_go(&p->record);
        pthread_join(waiting, NULL);
        pthread_join(stopping, NULL);
        p->watch = NULL;
        cr_assert(w.rc == 0 || w.rc == -ESHUTDOWN);
}

/* One of several threads, each with a process that makes its changes. */
struct pair {
        struct place *p;
        int number;
        int ask[2], answer[2];
        pid_t child;
        int missed;
};

#define PAIR_ROUNDS 150

static int change_when_asked(void *arg)
{
        struct pair *q = arg;
        char script[64];
        int i;

        while (read(q->ask[0], &i, sizeof(i)) == sizeof(i)) {
                snprintf(script, sizeof(script), "create p%d.%d;poke w%d %d", q->number, i, q->number, i);
                if (place_perform(q->p->src, script) || write(q->answer[1], &i, sizeof(i)) < 0)
                        return 1;
        }
        return 0;
}

static void *ask_and_wait(void *arg)
{
        struct pair *q = arg;
        struct ident dir, file;
        char name[160];

        ident_of(AT_FDCWD, q->p->src, &dir);
        snprintf(name, sizeof(name), "%s/w%d", q->p->src, q->number);
        ident_of(AT_FDCWD, name, &file);
        for (int i = 0; i < PAIR_ROUNDS; i++) {
                int done;

                snprintf(name, sizeof(name), "p%d.%d", q->number, i);
                if (write(q->ask[1], &i, sizeof(i)) < 0 || read(q->answer[0], &done, sizeof(done)) < 0 ||
                    watch_barrier(q->p->watch, PATIENCE_MS) || !record_has_ident(&q->p->record, TOLD_ENTRY, &dir, name) ||
                    !record_has_ident(&q->p->record, TOLD_CONTENT, &file, NULL))
                        q->missed++;
        }
        return NULL;
}

WATCH_TEST(watch, what_came_before_a_barrier_is_told_whoever_asks)
{
        static struct pair pairs[8];
        pthread_t threads[8];

        for (int i = 0; i < 8; i++) {
                struct pair *q = &pairs[i];
                char script[32];

                *q = (struct pair){.p = p, .number = i};
                snprintf(script, sizeof(script), "create w%d", i);
                place_do(p, script);
                must(pipe2(q->ask, O_CLOEXEC) == 0 && pipe2(q->answer, O_CLOEXEC) == 0, "pipe");
                q->child = child_start(NULL, change_when_asked, q);
        }
        place_watch(p, NULL);
        for (int i = 0; i < 8; i++)
                must(thread_start(&threads[i], "asks", ask_and_wait, &pairs[i]) == 0, "thread");
        for (int i = 0; i < 8; i++) {
                pthread_join(threads[i], NULL);
                kill(pairs[i].child, SIGKILL);
                child_wait(pairs[i].child);
                cr_assert_eq(pairs[i].missed, 0, "thread %d: %d missed", i, pairs[i].missed);
        }
}

Test(watch, a_missing_source_is_refused)
{
        struct watch *w = (void *)&w;
        struct watch_sink none = {0};
        const char *why = NULL;

        cr_assert_eq(watch_new("/nowhere/at/all", WATCH_AUTO, &none, NULL, &w, &why), -ENOENT);
        cr_assert(why != NULL && w == (void *)&w);
}
