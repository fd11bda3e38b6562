#include "sync/settle.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/gitdir.h"
#include "sync/journal.h"

#define LOG "logs/HEAD"
#define STASH_LOG "logs/refs/stash"
/* Of a log that grew by more only the end is read. */
#define LOG_MAX ((size_t)64 << 10)
#define REF "ref: "
#define BRANCHES "refs/heads/"

/* What there is while git works, and what there is beside it once that waits for its user. */
static const struct {
        const char *name, *stopped;
} signs[SETTLE_SIGNS] = {
        {"index.lock", NULL},   {"HEAD.lock", NULL}, {"rebase-merge", "rebase-merge/stopped-sha"},
        {"rebase-apply", NULL}, {"sequencer", NULL},
};

static struct settle_mark mark_of(const struct stat *st)
{
        return (struct settle_mark){.there = true, .dev = st->st_dev, .ino = st->st_ino, .size = st->st_size, .changed = st->st_ctim};
}

static struct settle_mark mark_at(int at, const char *path)
{
        struct stat st;

        if (fstatat(at, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return (struct settle_mark){0};
        return mark_of(&st);
}

static bool is_same_file(const struct settle_mark *a, const struct settle_mark *b)
{
        return a->there && b->there && a->dev == b->dev && a->ino == b->ino;
}

static bool is_unchanged(const struct settle_mark *a, const struct settle_mark *b)
{
        if (!a->there || !b->there)
                return a->there == b->there;
        return is_same_file(a, b) && a->size == b->size && a->changed.tv_sec == b->changed.tv_sec &&
               a->changed.tv_nsec == b->changed.tv_nsec;
}

bool settle_git_is_busy(struct settle *s, uint64_t quiet_ms)
{
        CLEANUP_FD int git = gitdir_open(s->root);
        bool busy = false;

        for (size_t i = 0; i < SETTLE_SIGNS && git >= 0; i++) {
                struct settle_mark now = mark_at(git, signs[i].name);

                if (!now.there || is_unchanged(&now, &s->stale[i]) || (signs[i].stopped && mark_at(git, signs[i].stopped).there))
                        continue;
                if (quiet_ms >= SETTLE_STALE_MS)
                        s->stale[i] = now;
                else
                        busy = true;
        }
        return busy;
}

/*
 * What it did
 */

/* The lines that `log` has beyond what was read of it. */
static void read_lines(struct settle *s, int fd, off_t from, off_t to, bool only_last)
{
        CLEANUP_FREE char *text = NULL;
        size_t len = (size_t)(to - from);
        char *at, *end;
        ssize_t n;

        if (len > LOG_MAX)
                len = LOG_MAX;
        text = malloc(len + 1);
        n = text ? pread(fd, text, len, to - (off_t)len) : -1;
        if (n <= 0)
                return;
        /* What isn't whole yet is read when it is. */
        end = memrchr(text, '\n', (size_t)n);
        if (!end)
                return;
        s->log.size = to - (off_t)len + (end + 1 - text);
        at = text;
        if (only_last && end > text) {
                const char *before = memrchr(text, '\n', (size_t)(end - text));

                at = before ? text + (before + 1 - text) : text;
        }
        while (at <= end) {
                char *stop = memchr(at, '\n', (size_t)(end + 1 - at));

                (void)reflog_take(&s->move, at, (size_t)(stop - at));
                at = stop + 1;
        }
}

/* False: it was written anew (when git tidies up), and says nothing. */
static bool follow_log(struct settle *s, int git)
{
        CLEANUP_FD int fd = gitdir_open_file(git, LOG);
        struct settle_mark was = s->log;
        struct stat st;

        s->log.there = false;
        if (fd < 0 || fstat(fd, &st) < 0)
                return true;
        s->log = mark_of(&st);
        if (!was.there) {
                s->log.size = 0;
                read_lines(s, fd, 0, st.st_size, true);
                return true;
        }
        if (!is_same_file(&was, &s->log) || st.st_size < was.size)
                return false;
        s->log.size = was.size;
        if (st.st_size > was.size)
                read_lines(s, fd, was.size, st.st_size, false);
        return true;
}

/* What HEAD says: a branch's name, or a commit's id. */
static void read_head(int git, char ret[REFLOG_TEXT])
{
        CLEANUP_FD int fd = gitdir_open_file(git, "HEAD");
        char text[REFLOG_TEXT + sizeof(REF BRANCHES)];
        const char *name = text;
        ssize_t n = fd < 0 ? -1 : fd_read_full(fd, text, sizeof(text) - 1);

        *ret = '\0';
        if (n < 0)
                return;
        text[n] = '\0';
        text[strcspn(text, "\n")] = '\0';
        if (strncmp(name, REF, strlen(REF)) == 0)
                name += strlen(REF);
        if (strncmp(name, BRANCHES, strlen(BRANCHES)) == 0)
                name += strlen(BRANCHES);
        if (strlen(name) < REFLOG_TEXT)
                memcpy(ret, name, strlen(name) + 1);
}

/* Where it is; and so what is touched there. */
static void find_path(struct settle *s, int git)
{
        CLEANUP_FD int common = git < 0 ? git : gitdir_open_common(git);
        ssize_t n = common < 0 ? -1 : readlink(fd_proc_path(common).text, s->path, sizeof(s->path) - 1);

        s->path[n < 0 ? 0 : n] = '\0';
}

static struct settle_mark mark_stash(int git)
{
        CLEANUP_FD int common = gitdir_open_common(git);

        return common < 0 ? (struct settle_mark){0} : mark_at(common, STASH_LOG);
}

static void set_operation(struct reflog_move *m, const char *operation)
{
        memcpy(m->operation, operation, strlen(operation) + 1);
}

bool settle_git_did(struct settle *s, struct settled *ret)
{
        CLEANUP_FD int git = gitdir_open(s->root);
        struct reflog_move *m = &s->move;
        struct settle_mark stash = {0};
        char head[REFLOG_TEXT] = "";
        bool tidied = false;

        *m = (struct reflog_move){0};
        if (git >= 0) {
                tidied = !follow_log(s, git);
                stash = mark_stash(git);
                read_head(git, head);
        } else {
                s->log.there = false;
        }
        find_path(s, git);
        /* A stash resets what it has put away; that HEAD stays is how it differs from a reset that was asked for. */
        if (!tidied && !is_unchanged(&stash, &s->stash) && (!*m->operation || (strcmp(m->operation, "reset") == 0 && !m->moved)))
                set_operation(m, "stash");
        /* Without a log. */
        if (!tidied && !*m->operation && git >= 0 && *s->head && *head && strcmp(head, s->head) != 0) {
                set_operation(m, "checkout");
                memcpy(m->was, s->head, sizeof(m->was));
                memcpy(m->is, head, sizeof(m->is));
                m->moved = true;
        }
        s->stash = stash;
        memcpy(s->head, head, sizeof(s->head));
        ret->operation = *m->operation ? m->operation : NULL;
        ret->head_was = m->moved && *m->was ? m->was : NULL;
        ret->head_is = m->moved && *m->is ? m->is : NULL;
        return ret->operation;
}

void settle_init(struct settle *s, int root)
{
        CLEANUP_FD int git = gitdir_open(root);

        memset(s, 0, sizeof(*s));
        s->root = root;
        if (git < 0)
                return;
        s->log = mark_at(git, LOG);
        s->stash = mark_stash(git);
        read_head(git, s->head);
        find_path(s, git);
}
