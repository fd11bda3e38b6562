/*
 * Both backends of the watch see the same tree change at random, on each filesystem. After every round of changes, which another process
 * makes, all differences between two looks at the tree have been told by both, and of the directories that were there all the time they
 * have told the same entries.
 *
 *   watch_same [ROUNDS [SEED]]
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/cache.h"
#include "tests/lib/mount.h"
#include "tests/lib/watch_record.h"

#define ROUNDS 300
#define STEPS 24U
#define SCRIPT_MAX 4096

/*
 * What there is
 */

struct object {
        struct ident id, dir; /* dir: in which it is called `name` */
        char *name, *path;    /* owned */
        struct stat st;
        struct content content;
};

struct look {
        struct object *list; /* owned */
        size_t count, room;
};

static void add(struct look *l, const char *path, const struct ident *dir, const char *name)
{
        struct object *o;

        if (l->count == l->room) {
                l->room = l->room ? 2 * l->room : 64;
                l->list = realloc(l->list, l->room * sizeof(*l->list));
                must(l->list, "memory");
        }
        o = &l->list[l->count++];
        *o = (struct object){.dir = *dir, .name = strdup(name), .path = strdup(path)};
        must(o->name && o->path && ident_of(AT_FDCWD, path, &o->id) == 0 && lstat(path, &o->st) == 0, "%s", path);
        must(S_ISDIR(o->st.st_mode) || content_of_file(AT_FDCWD, path, &o->content) >= 0, "content of %s", path);
}

static void look_below(struct look *l, const char *path, const struct ident *dir)
{
        const struct dirent *e;
        DIR *d = opendir(path);

        must(d, "%s", path);
        while ((e = readdir(d))) {
                CLEANUP_FREE char *below = strdup(at(path, "%s", e->d_name));
                struct ident id;

                if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
                        continue;
                add(l, below, dir, e->d_name);
                id = l->list[l->count - 1].id;
                if (S_ISDIR(l->list[l->count - 1].st.st_mode))
                        look_below(l, below, &id);
        }
        closedir(d);
}

static void look_at(const char *src, struct look *ret)
{
        struct ident root;

        *ret = (struct look){0};
        must(ident_of(AT_FDCWD, src, &root) == 0, "%s", src);
        add(ret, src, &(struct ident){0}, "");
        look_below(ret, src, &root);
}

static void look_release(struct look *l)
{
        for (size_t i = 0; i < l->count; i++) {
                free(l->list[i].name);
                free(l->list[i].path);
        }
        free(l->list);
        *l = (struct look){0};
}

/* By identity, and by where it is; NULL: nowhere. */
static const struct object *find(const struct look *l, const struct ident *id)
{
        for (size_t i = 0; i < l->count; i++) {
                if (ident_equal(&l->list[i].id, id))
                        return &l->list[i];
        }
        return NULL;
}

static const struct object *find_entry(const struct look *l, const struct ident *dir, const char *name)
{
        for (size_t i = 0; i < l->count; i++) {
                if (ident_equal(&l->list[i].dir, dir) && strcmp(l->list[i].name, name) == 0)
                        return &l->list[i];
        }
        return NULL;
}

/*
 * What changes
 */

static const char *any_path(struct dice *d)
{
        static const char *const dirs[] = {"", "d/", "e/", "d/d/", "d/e/", "e/d/", "e/e/"};
        static char ring[4][32];
        static unsigned next;
        char *text = ring[next++ % 4];
        unsigned name = dice_roll(d, 8);

        snprintf(text, 32, "%s%c", dirs[dice_roll(d, ARRAY_LEN(dirs))], name < 2 ? "de"[name] : "fghijk"[name - 2]);
        return text;
}

static size_t draw_step(struct dice *d, char *to, size_t size)
{
        static const char *const forms[] = {"create %s;",      "write %s x%u;", "write %s y%u;",   "poke %s z%u;",   "append %s a%u;",
                                            "truncate %s %u;", "mkdir %s;",     "mkdir %s;",       "mkdir %s;",      "rm %s;",
                                            "rm %s;",          "rmdir %s;",     "symlink %s t%u;", "chmod %s 7%u0;", "chown %s %u;",
                                            "xattr %s v%u;",   "utimes %s;"};
        static const char *const pairs[] = {"mv %s %s;", "mv %s %s;", "mv %s %s;", "xchg %s %s;", "ln %s %s;"};
        const char *path = any_path(d);

        switch (dice_roll(d, 16)) {
        case 0: /* only what has a page can be stored to */
                return (size_t)snprintf(to, size, "rm %s;write %s x;map %s;", path, path, path);
        case 1:
        case 2:
        case 3:
        case 4:
                return (size_t)snprintf(to, size, pairs[dice_roll(d, ARRAY_LEN(pairs))], path, any_path(d));
        default:
                return (size_t)snprintf(to, size, forms[dice_roll(d, ARRAY_LEN(forms))], path, dice_roll(d, 8));
        }
}

static void draw(struct dice *d, char script[SCRIPT_MAX])
{
        unsigned steps = 1 + dice_roll(d, STEPS);
        size_t len = 0;

        for (unsigned i = 0; i < steps; i++) {
                len += draw_step(d, script + len, SCRIPT_MAX - len);
                must(len < SCRIPT_MAX, "the script is too long");
        }
}

/* What got one more name in this round. */
static struct linked {
        struct ident list[STEPS];
        size_t count;
} * linked;

struct change {
        const char *src;
        const char *script;
};

static void note_link(const char *src, const char *line)
{
        char name[32];

        if (sscanf(line, "ln %*s %31s", name) == 1)
                must(ident_of(AT_FDCWD, at(src, "%s", name), &linked->list[linked->count++]) == 0, "%s", line);
}

/* What can't be done isn't. */
static int change(void *arg)
{
        const struct change *c = arg;
        CLEANUP_FREE char *copy = strdup(c->script);
        char *save = NULL;

        fd_close(&(int){STDERR_FILENO});
        linked->count = 0;
        for (char *line = strtok_r(copy, ";", &save); line; line = strtok_r(NULL, ";", &save)) {
                if (place_perform(c->src, line) == 0)
                        note_link(c->src, line);
        }
        return 0;
}

/*
 * What was told
 */

struct witness {
        const char *name;
        enum watch_backend backend;
        struct place *p;
        const char *script; /* for what is said of a failure */
};

static bool told(const struct witness *w, enum told_kind kind, const struct ident *id, const char *name)
{
        return record_has_ident(&w->p->record, kind, id, name);
}

/* Of a directory that it lost sight of, one tells that any entry may be another. */
static bool told_entry(const struct witness *w, const struct object *o)
{
        return told(w, TOLD_ENTRY, &o->dir, o->name) || told(w, TOLD_CONTENT, &o->dir, NULL);
}

static void check_entries(const struct witness *w, const struct look *before, const struct look *after)
{
        for (size_t i = 0; i < before->count; i++) {
                const struct object *o = &before->list[i], *now = find_entry(after, &o->dir, o->name);

                must((now && ident_equal(&now->id, &o->id)) || !find(after, &o->dir) || told_entry(w, o),
                     "%s does not tell that %s went, or became another: %s", w->name, o->path, w->script);
        }
        for (size_t i = 0; i < after->count; i++) {
                const struct object *o = &after->list[i];

                must(find_entry(before, &o->dir, o->name) || told_entry(w, o), "%s does not tell that %s came: %s", w->name, o->path,
                     w->script);
        }
}

static bool has_other_attributes(const struct stat *a, const struct stat *b)
{
        return a->st_mode != b->st_mode || a->st_uid != b->st_uid ||
               (!S_ISDIR(a->st_mode) && (a->st_mtim.tv_sec != b->st_mtim.tv_sec || a->st_mtim.tv_nsec != b->st_mtim.tv_nsec));
}

/* inotify says by which name a file was changed, not which file: one that has others can't be told when that name has gone meanwhile. */
static bool may_be_missed(const struct witness *w, const struct object *was)
{
        if (w->backend != WATCH_INOTIFY || S_ISDIR(was->st.st_mode))
                return false;
        for (size_t i = 0; i < linked->count; i++) {
                if (ident_equal(&linked->list[i], &was->id))
                        return true;
        }
        return was->st.st_nlink > 1;
}

static void check_objects(const struct witness *w, const struct look *before, const struct look *after)
{
        for (size_t i = 0; i < after->count; i++) {
                const struct object *o = &after->list[i], *was = find(before, &o->id);
                bool content;

                if (!was || may_be_missed(w, was))
                        continue;
                content = told(w, TOLD_CONTENT, &o->id, NULL);
                must(memcmp(&was->content, &o->content, sizeof(o->content)) == 0 || content, "%s does not tell what %s holds: %s", w->name,
                     o->path, w->script);
                must(!has_other_attributes(&was->st, &o->st) || content || told(w, TOLD_ATTR, &o->id, NULL),
                     "%s does not tell of %s's attributes: %s", w->name, o->path, w->script);
        }
}

/* Was it there under one name all the time, with all directories above it? */
static bool has_stayed(const struct look *before, const struct look *after, const struct ident *dir)
{
        const struct object *was = find(before, dir), *now = find(after, dir);

        return was && now && strcmp(was->path, now->path) == 0 && (!*was->name || has_stayed(before, after, &was->dir));
}

/* All that one tells of, the other does too. */
static void check_same(const struct witness *one, const struct witness *other, const struct look *before, const struct look *after)
{
        struct told_note n;

        for (size_t i = 0; record_note(&one->p->record, i, &n); i++) {
                if (n.kind != TOLD_ENTRY || !has_stayed(before, after, &n.id))
                        continue;
                must(told(other, TOLD_ENTRY, &n.id, n.name), "%s tells of %s/%s, %s doesn't: %s", one->name, find(after, &n.id)->path,
                     n.name, other->name, one->script);
        }
}

/*
 * Rounds
 */

static void play(struct witness *list, size_t count, struct dice *d)
{
        struct look before, after;
        char script[SCRIPT_MAX];
        struct change c = {.src = list[0].p->src, .script = script};

        draw(d, script);
        look_at(c.src, &before);
        for (size_t i = 0; i < count; i++) {
                list[i].script = script;
                place_settle(list[i].p);
                record_clear(&list[i].p->record);
        }
        must(child_run(NULL, change, &c) == 0, "%s", script);
        for (size_t i = 0; i < count; i++)
                place_settle(list[i].p);
        look_at(c.src, &after);
        for (size_t i = 0; i < count; i++) {
                check_entries(&list[i], &before, &after);
                check_objects(&list[i], &before, &after);
                if (count > 1)
                        check_same(&list[i], &list[(i + 1) % count], &before, &after);
                for (int why = 0; why < 3; why++)
                        must(record_lost(&list[i].p->record, why) == 0, "%s lost something: %s", list[i].name, script);
        }
        look_release(&before);
        look_release(&after);
}

static void compare(enum backing backing, unsigned rounds, unsigned long long seed)
{
        static struct place p, q;
        struct witness list[] = {{.name = "inotify", .backend = WATCH_INOTIFY, .p = &p},
                                 {.name = "fanotify", .backend = WATCH_FANOTIFY, .p = &q}};
        struct dice d = {.state = seed};
        const char *why = NULL;
        size_t count;

        place_init(&p, &(struct watch_case){.backend = WATCH_INOTIFY, .backing = backing});
        memcpy(&q, &p, sizeof(q));
        q.how.backend = WATCH_FANOTIFY;
        place_watch(&p, NULL);
        /* Where there is none the engine takes inotify. */
        count = place_try_watch(&q, NULL, &why) == 0 ? 2 : 1;
        must(count == 2 || backing == ON_OVERLAY, "fanotify is refused on %s: %s", backing_name(backing), why);
        for (unsigned i = 0; i < rounds; i++)
                play(list, count, &d);
        printf("%-8s %u rounds, %s\n", backing_name(backing), rounds, count == 2 ? "both" : why);
        watch_free(q.watch);
        record_clear(&q.record);
        free(q.record.notes);
        q.watch = NULL;
        place_release(&p);
}

int main(int argc, char **argv)
{
        unsigned rounds = argc > 1 ? (unsigned)atoi(argv[1]) : ROUNDS;
        unsigned long long seed = argc > 2 ? strtoull(argv[2], NULL, 10) : (unsigned long long)time(NULL);

        printf("seed %llu\n", seed);
        linked = shared_new(sizeof(*linked));
        for (enum backing b = 0; b <= ON_OVERLAY; b++)
                compare(b, rounds, seed + b);
        return 0;
}
