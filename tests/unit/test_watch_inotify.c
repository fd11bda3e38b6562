/* What only the inotify backend has to do: follow directories, mind limits. And both backends in changes at random. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/lib/mount.h"
#include "tests/unit/watch_case.h"

INOTIFY_TEST(watch_inotify, a_limit_is_told_with_the_setting_to_raise)
{
        struct watch_stats stats;

        place_do(p, "mkdir a;mkdir b;mkdir c;mkdir d");
        place_watch(p, &(struct watch_options){.max_watches = 3});
        place_settle(p);
        watch_stats(p->watch, &stats);
        cr_assert_eq(stats.watches, 3);
        cr_assert(stats.degraded);
        cr_assert_eq(record_lost(&p->record, WATCH_LIMIT), 1);
        cr_assert(strstr(p->record.detail, "fs.inotify.max_user_watches"), "%s", p->record.detail);
        place_do(p, "create f");
        place_settle(p);
        must(record_has_entry(p, ".", "f"), "what is watched is still told");
}

INOTIFY_TEST(watch_inotify, a_limit_reached_later_is_told)
{
        struct watch_stats stats;

        place_watch(p, &(struct watch_options){.max_watches = 3});
        place_do(p, "mkdir a;mkdir b");
        place_settle(p);
        cr_assert_eq(record_lost(&p->record, WATCH_LIMIT), 0);
        place_do(p, "mkdir c;mkdir d");
        place_settle(p);
        cr_assert_eq(record_lost(&p->record, WATCH_LIMIT), 1);
        watch_stats(p->watch, &stats);
        cr_assert(stats.degraded);
}

INOTIFY_TEST(watch_inotify, looking_is_no_access)
{
        const struct timespec times[2] = {{.tv_sec = 1000}, {.tv_sec = 2000}};
        struct stat st;

        place_do(p, "mkdir a;create a/f");
        must(utimensat(AT_FDCWD, at(p->src, "a"), times, 0) == 0, "utimensat");
        place_watch(p, NULL);
        place_do(p, "mv a b");
        place_settle(p);
        must(stat(at(p->src, "b"), &st) == 0, "stat");
        cr_assert_eq(st.st_atim.tv_sec, 1000);
}

INOTIFY_TEST(watch_inotify, watches_go_with_their_directories)
{
        struct watch_stats stats;

        place_do(p, "mkdir a;mkdir a/b;mkdir a/b/c;mkdir d;mkdir d/e");
        place_watch(p, NULL);
        watch_stats(p->watch, &stats);
        cr_assert_eq(stats.watches, 6);
        place_do(p, "mv a ../out/a");
        place_settle(p);
        watch_stats(p->watch, &stats);
        cr_assert_eq(stats.watches, 3);
        record_clear(&p->record);
        place_do(p, "create ../out/a/b/c/f");
        place_settle(p);
        cr_assert_eq(record_count(&p->record), 0);
        place_do(p, "rmdir d/e;rmdir d");
        place_settle(p);
        watch_stats(p->watch, &stats);
        cr_assert_eq(stats.watches, 1);
        place_do(p, "mv ../out/a a");
        place_settle(p);
        watch_stats(p->watch, &stats);
        cr_assert_eq(stats.watches, 4);
}

INOTIFY_TEST(watch_inotify, symlinks_are_not_followed)
{
        place_do(p, "mkdir ../out/d;symlink before ../out/d");
        place_watch(p, NULL);
        place_do(p, "symlink after ../out/d");
        place_settle(p);
        record_clear(&p->record);
        place_do(p, "create ../out/d/f");
        place_settle(p);
        cr_assert_eq(record_count(&p->record), 0);
}

/* Deeper than a path can be: 60 names of 100 bytes. */
static int make_abyss(void *arg)
{
        struct place *p = arg;
        char name[101];

        memset(name, 'x', 100);
        name[100] = '\0';
        if (chdir(p->src) < 0)
                return 1;
        for (int i = 0; i < 60; i++)
                if ((mkdir(name, 0755) < 0 && errno != EEXIST) || chdir(name) < 0)
                        return 1;
        return put_file("bottom", "x", 1), 0;
}

INOTIFY_TEST(watch_inotify, paths_longer_than_path_max_are_watched)
{
        struct watch_stats stats;

        must(child_run(NULL, make_abyss, p) == 0, "abyss");
        place_watch(p, NULL);
        watch_stats(p->watch, &stats);
        cr_assert_eq(stats.watches, 61);
        must(child_run(NULL, make_abyss, p) == 0, "abyss");
        place_settle(p);
        cr_assert_gt(record_count(&p->record), 0);
        cr_assert(!stats.degraded);
}

/* Both backends: changes at random by another process; after the barrier, whatever differs between two looks has been told. */

#define SEEN_MAX 4096

struct seen {
        struct ident dir, id;
        char name[16];
        bool is_file;
        bool inside;    /* of the source; else in "out" */
        long long size; /* stands for the bytes: they are only ever added to */
};

struct look {
        size_t count;
        struct seen seen[SEEN_MAX];
};

static void look_below(struct look *l, int dirfd, const char *name, bool inside)
{
        int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *dir = fdopendir(fd);
        struct dirent *e;

        must(dir, "%s", name);
        while ((e = readdir(dir))) {
                struct seen *s = &l->seen[l->count];
                struct stat st;

                if (e->d_name[0] == '.')
                        continue;
                must(l->count < SEEN_MAX, "too many");
                must(fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0, "%s", e->d_name);
                must(ident_of(fd, "", &s->dir) == 0 && ident_of(fd, e->d_name, &s->id) == 0, "%s", e->d_name);
                snprintf(s->name, sizeof(s->name), "%.15s", e->d_name);
                s->is_file = S_ISREG(st.st_mode);
                s->inside = inside;
                s->size = st.st_size;
                l->count++;
                if (S_ISDIR(st.st_mode))
                        look_below(l, fd, e->d_name, inside);
        }
        closedir(dir);
}

static const struct seen *find(const struct look *l, const struct seen *like)
{
        for (size_t i = 0; i < l->count; i++)
                if (ident_equal(&l->seen[i].dir, &like->dir) && strcmp(l->seen[i].name, like->name) == 0)
                        return &l->seen[i];
        return NULL;
}

static const struct seen *find_object(const struct look *l, const struct seen *like)
{
        for (size_t i = 0; i < l->count; i++)
                if (ident_equal(&l->seen[i].id, &like->id))
                        return &l->seen[i];
        return NULL;
}

/* Some path below the current directory. */
static void pick(struct dice *dice, char *ret, size_t size)
{
        size_t len = 0;

        for (unsigned depth = dice_roll(dice, 4) + 1; depth; depth--)
                len += (size_t)snprintf(ret + len, size - len, "%s%c", len ? "/" : "", 'a' + (int)dice_roll(dice, 4));
}

static void change(struct dice *dice)
{
        char a[32], b[32];
        CLEANUP_FD int fd = -1;

        pick(dice, a, sizeof(a));
        pick(dice, b, sizeof(b));
        switch (dice_roll(dice, 12)) {
        case 0:
        case 1:
        case 2:
                (void)!mkdir(a, 0755);
                break;
        case 3:
        case 4:
                fd = open(a, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
                (void)!write(fd, "12345678", 1 + dice_roll(dice, 8));
                break;
        case 5:
        case 6:
                fd = open(a, O_WRONLY | O_APPEND | O_CLOEXEC);
                (void)!write(fd, "12345678", 1 + dice_roll(dice, 8));
                break;
        case 7:
                if (unlink(a) < 0)
                        (void)!rmdir(a);
                break;
        case 8:
        case 9:
                (void)!rename(a, b);
                break;
        case 10:
                (void)!renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE);
                break;
        default:
                (void)!rename(a, "../out/moved");
                (void)!rename("../out/moved", b);
                break;
        }
}

struct turmoil {
        struct place *p;
        struct dice *dice; /* shared */
        unsigned steps;
};

static int make_turmoil(void *arg)
{
        struct turmoil *t = arg;

        if (chdir(t->p->src) < 0)
                return 1;
        for (unsigned i = 0; i < t->steps; i++)
                change(t->dice);
        return 0;
}

static bool has_entry(struct place *p, const struct seen *s)
{
        return record_has_ident(&p->record, TOLD_ENTRY, &s->dir, s->name) || record_has_ident(&p->record, TOLD_CONTENT, &s->dir, NULL);
}

/* inotify owes nothing for directories that are outside now, or gone: what came before it saw them leave may be dropped with them. */
static bool is_due(struct place *p, const struct look *after, const struct seen *s)
{
        struct seen dir = {.id = s->dir};
        const struct seen *now = find_object(after, &dir);
        struct ident root;

        if (p->how.backend == WATCH_FANOTIFY)
                return true;
        must(ident_of(AT_FDCWD, p->src, &root) == 0, "root");
        return ident_equal(&s->dir, &root) || (now && now->inside);
}

/* An entry is another than before, or none, or new: told. A file that was there has more bytes, under whatever name: told, by inotify when
 * it is in the source (again). */
static void compare_looks(struct place *p, const struct look *before, const struct look *after, int round)
{
        for (size_t i = 0; i < before->count; i++) {
                const struct seen *s = &before->seen[i];
                const struct seen *now = find(after, s);
                const struct seen *object = find_object(after, s);

                if (is_due(p, after, s) && (!now || !ident_equal(&now->id, &s->id)))
                        must(has_entry(p, s), "round %d: %s changed, untold", round, s->name);
                if (s->is_file && object && object->size != s->size && (object->inside || p->how.backend == WATCH_FANOTIFY))
                        must(record_has_ident(&p->record, TOLD_CONTENT, &s->id, NULL), "round %d: bytes of %s, untold", round, s->name);
        }
        for (size_t i = 0; i < after->count; i++)
                if (is_due(p, after, &after->seen[i]) && !find(before, &after->seen[i]))
                        must(has_entry(p, &after->seen[i]), "round %d: %s is new, untold", round, after->seen[i].name);
}

static void random_rounds(struct place *p, int rounds, unsigned steps)
{
        static struct look looks[2];
        struct turmoil t = {.p = p, .dice = shared_new(sizeof(struct dice)), .steps = steps};

        t.dice->state = 20240229;
        place_watch(p, NULL);
        looks[1].count = 0;
        for (int round = 0; round < rounds; round++) {
                struct look *before = &looks[(round + 1) % 2], *after = &looks[round % 2];

                record_clear(&p->record);
                must(child_run(NULL, make_turmoil, &t) == 0, "turmoil");
                place_settle(p);
                after->count = 0;
                look_below(after, AT_FDCWD, p->src, true);
                if (access(at(p->area, "out/moved/."), F_OK) == 0)
                        look_below(after, AT_FDCWD, at(p->area, "out/moved"), false);
                must(record_lost(&p->record, WATCH_LIMIT) + record_lost(&p->record, WATCH_ROOT) == 0, "lost: %s", p->record.detail);
                if (!record_lost(&p->record, WATCH_OVERFLOW))
                        compare_looks(p, before, after, round);
        }
        cr_assert_gt(looks[0].count + looks[1].count, 0);
}

WATCH_TEST(watch_random, few_changes_at_a_time_are_all_told)
{
        random_rounds(p, 1500, 5);
}

WATCH_TEST(watch_random, many_changes_at_a_time_are_all_told)
{
        random_rounds(p, 60, 400);
}
