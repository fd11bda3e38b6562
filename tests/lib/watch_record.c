#include "tests/lib/watch_record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/lib/mount.h"

static void pass(struct record *r) REQUIRES(r->lock)
{
        while (r->hold) {
                r->held = true;
                cond_broadcast(&r->changed);
                cond_wait(&r->changed, &r->lock);
        }
        r->held = false;
}

static void note(struct record *r, enum told_kind kind, const void *origin, const struct ident *id, const char *name, size_t len)
{
        mutex_lock(&r->lock);
        pass(r);
        if (r->count == r->room) {
                r->room = r->room ? r->room * 2 : 1024;
                r->notes = realloc(r->notes, r->room * sizeof(*r->notes));
                must(r->notes, "out of memory");
        }
        r->notes[r->count++] = (struct told_note){.kind = kind, .id = *id, .name = name ? strndup(name, len) : NULL, .origin = origin};
        mutex_unlock(&r->lock);
}

static void on_entry(void *arg, const void *origin, const struct watch_name *at, const struct ident *object, unsigned how)
{
        (void)object, (void)how;
        note(arg, TOLD_ENTRY, origin, at->dir, at->name, at->len);
}

static void on_content(void *arg, const void *origin, const struct ident *file, const struct watch_name *name, unsigned how)
{
        (void)name, (void)how;
        note(arg, TOLD_CONTENT, origin, file, NULL, 0);
}

static void on_attr(void *arg, const void *origin, const struct ident *object, const struct watch_name *name, unsigned how)
{
        (void)name, (void)how;
        note(arg, TOLD_ATTR, origin, object, NULL, 0);
}

static void on_lost(void *arg, enum watch_loss why, const char *detail)
{
        struct record *r = arg;

        mutex_lock(&r->lock);
        r->lost[why]++;
        snprintf(r->detail, sizeof(r->detail), "%s", detail);
        cond_broadcast(&r->changed);
        mutex_unlock(&r->lock);
}

static void on_idle(void *arg)
{
        (void)arg;
}

static const void *whose(void *arg, pid_t tid, unsigned long long before_ns, bool *alone, enum watch_by *by)
{
        struct record *r = arg;
        bool ours;

        mutex_lock(&r->lock);
        ours = tid == r->tid && r->since_ns < before_ns;
        *alone = ours && r->alone;
        *by = ours ? WATCH_BY_OURS : *by;
        mutex_unlock(&r->lock);
        return ours ? r : NULL;
}

static const struct watch_sink sink = {
        .entry = on_entry, .content = on_content, .attr = on_attr, .lost = on_lost, .idle = on_idle, .whose = whose};

void record_own(struct record *r, bool alone)
{
        mutex_lock(&r->lock);
        r->tid = gettid();
        r->since_ns = clock_now_ns();
        r->alone = alone;
        mutex_unlock(&r->lock);
}

bool record_has_own(struct record *r)
{
        bool found = false;

        mutex_lock(&r->lock);
        for (size_t i = 0; i < r->count && !found; i++)
                found = r->notes[i].origin == r;
        mutex_unlock(&r->lock);
        return found;
}

void record_clear(struct record *r)
{
        mutex_lock(&r->lock);
        for (size_t i = 0; i < r->count; i++)
                free(r->notes[i].name);
        r->count = 0;
        memset(r->lost, 0, sizeof(r->lost));
        mutex_unlock(&r->lock);
}

size_t record_count(struct record *r)
{
        size_t n;

        mutex_lock(&r->lock);
        n = r->count;
        mutex_unlock(&r->lock);
        return n;
}

bool record_note(struct record *r, size_t i, struct told_note *ret)
{
        bool there;

        mutex_lock(&r->lock);
        there = i < r->count;
        if (there)
                *ret = r->notes[i];
        mutex_unlock(&r->lock);
        return there;
}

unsigned record_lost(struct record *r, enum watch_loss why)
{
        unsigned n;

        mutex_lock(&r->lock);
        n = r->lost[why];
        mutex_unlock(&r->lock);
        return n;
}

static size_t times(struct record *r, enum told_kind kind, const struct ident *id, const char *name)
{
        size_t found = 0;

        mutex_lock(&r->lock);
        for (size_t i = 0; i < r->count; i++) {
                const struct told_note *n = &r->notes[i];

                found += n->kind == kind && ident_equal(&n->id, id) && (!name || strcmp(n->name, name) == 0);
        }
        mutex_unlock(&r->lock);
        return found;
}

bool record_has_ident(struct record *r, enum told_kind kind, const struct ident *id, const char *name)
{
        return times(r, kind, id, name) > 0;
}

static void ident_at(struct place *p, const char *path, struct ident *ret)
{
        must(ident_of(AT_FDCWD, strcmp(path, ".") == 0 ? p->src : at(p->src, "%s", path), ret) == 0, "identity of %s", path);
}

bool record_has_entry(struct place *p, const char *dir, const char *name)
{
        struct ident id;

        ident_at(p, dir, &id);
        return record_has_ident(&p->record, TOLD_ENTRY, &id, name);
}

size_t record_times(struct place *p, enum told_kind kind, const char *path)
{
        struct ident id;

        ident_at(p, path, &id);
        return times(&p->record, kind, &id, NULL);
}

bool record_has(struct place *p, enum told_kind kind, const char *path)
{
        return record_times(p, kind, path) > 0;
}

bool record_has_foreign(struct place *p, enum told_kind kind, const char *path)
{
        struct record *r = &p->record;
        struct ident id;
        bool found = false;

        ident_at(p, path, &id);
        mutex_lock(&r->lock);
        for (size_t i = 0; i < r->count && !found; i++)
                found = r->notes[i].kind == kind && ident_equal(&r->notes[i].id, &id) && r->notes[i].origin != r;
        mutex_unlock(&r->lock);
        return found;
}

void record_hold(struct record *r)
{
        mutex_lock(&r->lock);
        r->hold = true;
        mutex_unlock(&r->lock);
}

void record_wait_held(struct record *r)
{
        unsigned long long deadline = clock_now_ns() + PATIENCE_MS * 1000000ULL;
        int rc = 0;

        mutex_lock(&r->lock);
        while (!r->held && rc == 0)
                rc = cond_wait_until(&r->changed, &r->lock, deadline);
        mutex_unlock(&r->lock);
        must(rc == 0, "nothing was told");
}

void record_let_go(struct record *r)
{
        mutex_lock(&r->lock);
        r->hold = false;
        cond_broadcast(&r->changed);
        mutex_unlock(&r->lock);
}

/* The commands: a name, a path, perhaps another. */

static int put(const char *path, const char *text, int flags)
{
        CLEANUP_FD int fd = open(path, O_WRONLY | O_CLOEXEC | flags, 0644);

        if (fd < 0)
                return -1;
        return *text ? (int)write(fd, text, strlen(text)) : 0;
}

static int store_through_mapping(const char *path)
{
        CLEANUP_FD int fd = open(path, O_RDWR | O_CLOEXEC);
        char *m = fd < 0 ? MAP_FAILED : mmap(NULL, 1, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

        if (m == MAP_FAILED)
                return -1;
        *m = '!';
        return munmap(m, 1);
}

static int command(const char *what, const char *a, const char *b)
{
        if (strcmp(what, "create") == 0)
                return put(a, "", O_CREAT | O_EXCL);
        if (strcmp(what, "write") == 0)
                return put(a, b, O_CREAT | O_TRUNC);
        if (strcmp(what, "poke") == 0) /* no truncation, no creation */
                return put(a, b, 0);
        if (strcmp(what, "append") == 0)
                return put(a, b, O_APPEND);
        if (strcmp(what, "truncate") == 0)
                return truncate(a, atol(b));
        if (strcmp(what, "map") == 0)
                return store_through_mapping(a);
        if (strcmp(what, "mkdir") == 0)
                return mkdir(a, 0755);
        if (strcmp(what, "rm") == 0)
                return unlink(a);
        if (strcmp(what, "rmdir") == 0)
                return rmdir(a);
        if (strcmp(what, "mv") == 0)
                return rename(a, b);
        if (strcmp(what, "xchg") == 0)
                return renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE);
        if (strcmp(what, "ln") == 0)
                return link(a, b);
        if (strcmp(what, "symlink") == 0)
                return symlink(b, a);
        if (strcmp(what, "chmod") == 0)
                return chmod(a, (mode_t)strtol(b, NULL, 8));
        if (strcmp(what, "chown") == 0)
                return lchown(a, (uid_t)atol(b), (gid_t)-1);
        if (strcmp(what, "xattr") == 0)
                return setxattr(a, "user.test", b, strlen(b), 0);
        if (strcmp(what, "utimes") == 0)
                return utimensat(AT_FDCWD, a, (struct timespec[]){{.tv_sec = 1}, {.tv_sec = 2}}, AT_SYMLINK_NOFOLLOW);
        errno = ENOSYS;
        return -1;
}

int place_perform(const char *dir, const char *script)
{
        CLEANUP_FREE char *copy = strdup(script);
        char *line;
        char *save = NULL;

        if (!copy || chdir(dir) < 0)
                return errno;
        for (line = strtok_r(copy, ";\n", &save); line; line = strtok_r(NULL, ";\n", &save)) {
                char what[16] = "", a[256] = "", b[256] = "";

                if (sscanf(line, " %15s %255s %255s", what, a, b) < 1)
                        continue;
                if (command(what, a, b) < 0) {
                        int error = errno;

                        fprintf(stderr, "%s %s %s: %s\n", what, a, b, strerror(error));
                        return error;
                }
        }
        return 0;
}

struct job {
        const char *dir;
        const char *script;
};

static int do_job(void *arg)
{
        struct job *j = arg;

        return place_perform(j->dir, j->script);
}

void place_do(struct place *p, const char *script)
{
        struct job j = {.dir = p->src, .script = script};

        must(child_run(NULL, do_job, &j) == 0, "failed: %s", script);
}

void place_settle(struct place *p)
{
        int rc = watch_barrier(p->watch, PATIENCE_MS);

        must(rc == 0, "watch_barrier: %s", strerror(-rc));
}

void place_init(struct place *p, const struct watch_case *how)
{
        memset(p, 0, sizeof(*p));
        p->how = *how;
        mutex_init(&p->record.lock);
        cond_init(&p->record.changed);
        area_new_base(p->base, sizeof(p->base));
        p->area_fd = area_new(p->base, how->backing, false, p->area, sizeof(p->area));
        must(p->area_fd >= 0, "area");
        snprintf(p->src, sizeof(p->src), "%s/src", p->area);
        must(mkdir(p->src, 0755) == 0 && mkdir(at(p->area, "out"), 0755) == 0, "mkdir");
}

int place_try_watch(struct place *p, const struct watch_options *options, const char **why)
{
        return watch_new_with(p->src, p->how.backend, options ? options : &(struct watch_options){0}, &sink, &p->record, &p->watch, why);
}

void place_watch(struct place *p, const struct watch_options *options)
{
        const char *why = "";
        struct watch_stats stats;
        int rc = place_try_watch(p, options, &why);

        must(rc == 0, "watch_new: %s (%s)", why, strerror(-rc));
        watch_stats(p->watch, &stats);
        must(stats.backend == p->how.backend && stats.watches > 0, "another backend");
}

void place_release(struct place *p)
{
        watch_free(p->watch);
        record_clear(&p->record);
        free(p->record.notes);
        cond_release(&p->record.changed);
        mutex_release(&p->record.lock);
        fd_close(&p->area_fd);
        must(area_remove(p->base, p->area), "something stays of %s", p->area);
}
