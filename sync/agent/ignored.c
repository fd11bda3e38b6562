/*
 * Each directory is looked at with the lists that count there, one rule set a list, the nearest first; what they ignore is not gone into,
 * as git does it. All patterns go, anchored, into one list as well: nearer lists come later in it, so that the last match is git's.
 */
#include "sync/agent/ignored.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/log.h"
#include "sync/agent/git.h"
#include "sync/agent/ignore_file.h"
#include "sync/agent/ignored_tracked.h"
#include "sync/serve/why.h"

#define LIST ".gitignore"
/* As deep as the descriptors of one walk may be; also how many lists may count in one directory. */
#define DEPTH_MAX 200
/* The user's and the repository's. */
#define LISTS_MAX (DEPTH_MAX + 2)

/* A list that counts, and where in it the directory is. */
struct frame {
        const struct rules *rules;
        const struct pattern_place *place;
};

struct walk {
        struct ignored *out;
        const struct git_place *git;
        char path[PATH_MAX]; /* relative to the working tree */
        size_t len;
        size_t depth;
        char **why;
};

static int no_memory(char **why)
{
        return why_set(why, -ENOMEM, "out of memory");
}

/* Append a text (taken) to a growing list. */
static int add_text(char ***list, size_t *count, char *text)
{
        char **more = text ? realloc(*list, (*count + 1) * sizeof(*more)) : NULL;

        if (!more) {
                free(text);
                return -ENOMEM;
        }
        *list = more;
        more[(*count)++] = text;
        return 0;
}

static void free_texts(char **list, size_t count)
{
        for (size_t i = 0; i < count; i++)
                free(list[i]);
        free(list);
}

void ignored_release(struct ignored *i)
{
        rule_list_release(&i->rules);
        free(i->prefix);
        free_texts(i->found, i->found_count);
        free_texts(i->lists, i->list_count);
        free(i->git_dir);
        free(i->note);
        memset(i, 0, sizeof(*i));
}

/* Add the list that `at`/`name` is to those that count in the directory at w->path. 0 if there is none, too. */
static int push_list(struct walk *w, int at, const char *name, bool follow, const char *origin, struct frame *frames, size_t *count)
{
        struct rule_list own = {0};
        const struct rule_list *lists[] = {&own};
        struct rules *rules = NULL;
        int rc = ignore_read(at, name, follow, w->path, origin, &own, &w->out->rules);

        if (rc == 0)
                rc = rule_list_compile(lists, 1, &rules);
        rule_list_release(&own);
        if (rc == -ENOENT)
                return 0;
        if (rc == -EFBIG)
                return why_set(w->why, rc, "%s is too large; %d bytes are what it may have", origin, IGNORE_BYTES_MAX);
        if (rc)
                return why_set(w->why, rc, "%s can't be read: %s", origin, strerror(-rc));
        if (w->out->rules.count > IGNORED_RULES_MAX)
                rc = why_set(w->why, -E2BIG, "git ignores by more than %d patterns; set gitignored: off, and name artifacts",
                             IGNORED_RULES_MAX);
        if (rc == 0 &&
            add_text(&w->out->lists, &w->out->list_count, at == AT_FDCWD ? strdup(name) : text_new("%s/%s", w->git->top, origin)))
                rc = no_memory(w->why);
        if (rc) {
                rules_free(rules);
                return rc;
        }
        frames[*count].rules = rules;
        frames[(*count)++].place = rules_root(rules);
        return 0;
}

/* Does git ignore the entry of the directory where the frames are? */
static bool is_ignored(const struct frame *frames, size_t count, const char *name, bool is_dir)
{
        while (count-- > 0) {
                const struct rule *r = rules_find(frames[count].rules, frames[count].place, name, strlen(name), is_dir);

                if (r)
                        return r->route == RULE_ARTIFACT;
        }
        return false;
}

/* Into a directory. False without memory. */
static bool enter(const struct frame *frames, size_t count, const char *name, struct frame *ret)
{
        for (size_t i = 0; i < count; i++) {
                ret[i].rules = frames[i].rules;
                ret[i].place = rules_enter(frames[i].rules, frames[i].place, name, strlen(name));
                if (!ret[i].place)
                        return false;
        }
        return true;
}

/* A repository of its own, as git sees it: what is in it is not this one's business. */
static bool is_repository(int fd)
{
        struct stat st;

        if (fstatat(fd, ".git", &st, AT_SYMLINK_NOFOLLOW) < 0)
                return false;
        if (!S_ISDIR(st.st_mode))
                return S_ISREG(st.st_mode);
        return faccessat(fd, ".git/HEAD", F_OK, AT_SYMLINK_NOFOLLOW) == 0 && faccessat(fd, ".git/objects", F_OK, 0) == 0 &&
               faccessat(fd, ".git/refs", F_OK, 0) == 0;
}

static int add_exception(struct ignored *i, const char *pattern, enum rule_route route, const char *origin)
{
        return rule_list_add(&i->rules, (struct rule){.pattern = pattern, .route = route, .origin = origin});
}

static int add_found(struct walk *w, const char *name, bool is_dir)
{
        size_t skip = *w->git->prefix ? strlen(w->git->prefix) + 1 : 0;
        const char *dir = w->len > skip ? w->path + skip : "";

        if (w->out->found_count == IGNORED_FOUND_MAX) {
                w->out->found_more++;
                return 0;
        }
        return add_text(&w->out->found, &w->out->found_count, text_new("%s%s%s%s", dir, *dir ? "/" : "", name, is_dir ? "/" : ""));
}

static int walk_directory(struct walk *w, int fd, struct frame *frames, size_t count);

/* The directory `name`, which isn't ignored. One that can't be read has nothing for us. */
static int walk_into(struct walk *w, int dir, const char *name, const struct frame *frames, size_t count)
{
        CLEANUP_FD int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        CLEANUP_FREE struct frame *inside = NULL;
        size_t len = strlen(name), before = w->len;
        int rc;

        if (fd < 0)
                return 0;
        if (w->depth == DEPTH_MAX || w->len + len + 2 > sizeof(w->path)) {
                log_warn("%s/%s/%s is too deep: what git ignores in it isn't known", w->git->top, w->path, name);
                return 0;
        }
        inside = malloc((count + 1) * sizeof(*inside));
        if (!inside || !enter(frames, count, name, inside))
                return -ENOMEM;
        if (w->len)
                w->path[w->len++] = '/';
        memcpy(w->path + w->len, name, len + 1);
        w->len += len;
        w->depth++;
        if (is_repository(fd))
                rc = add_exception(w->out, ignore_exactly(&w->out->rules, "!", w->path, "", 0, "/**"), RULE_SOURCE, "another repository");
        else
                rc = walk_directory(w, fd, inside, count);
        w->depth--;
        w->len = before;
        w->path[before] = '\0';
        return rc;
}

static bool entry_is_dir(int fd, const struct dirent *e)
{
        struct stat st;

        if (e->d_type != DT_UNKNOWN)
                return e->d_type == DT_DIR;
        return fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

static int walk_entries(struct walk *w, DIR *d, const struct frame *frames, size_t count)
{
        struct dirent *e;
        int rc = 0;

        while (rc == 0 && (e = readdir(d))) {
                bool is_dir;

                if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 || strcmp(e->d_name, ".git") == 0)
                        continue;
                is_dir = entry_is_dir(dirfd(d), e);
                if (is_ignored(frames, count, e->d_name, is_dir))
                        rc = add_found(w, e->d_name, is_dir);
                else if (is_dir)
                        rc = walk_into(w, dirfd(d), e->d_name, frames, count);
        }
        return rc;
}

/* `frames` has room for one more. */
static int walk_directory(struct walk *w, int fd, struct frame *frames, size_t count)
{
        CLEANUP_FREE char *origin = text_new("%s%s%s", w->path, w->len ? "/" : "", LIST);
        int own = dup(fd);
        DIR *d = own < 0 ? NULL : fdopendir(own);
        size_t lists = count;
        int rc = origin ? push_list(w, fd, LIST, false, origin, frames, &lists) : -ENOMEM;

        if (rc == 0 && d)
                rc = walk_entries(w, d, frames, lists);
        if (d)
                closedir(d);
        else
                fd_close(&own);
        if (lists > count)
                rules_free((struct rules *)frames[count].rules);
        return rc;
}

/*
 * From the working tree's root to the source
 */

/* Whose lists count in the source though they aren't in it; *inside: git ignores none of the directories on the way. Their rules are the
 * frames' to free. */
static int descend(struct walk *w, int *fd, struct frame *frames, size_t *count, bool *inside)
{
        const char *rest = w->git->prefix;
        int rc = 0;

        *inside = true;
        while (rc == 0 && *rest && *inside) {
                size_t len = strcspn(rest, "/");
                CLEANUP_FREE char *name = strndup(rest, len);
                CLEANUP_FREE char *origin = text_new("%s%s%s", w->path, w->len ? "/" : "", LIST);
                int next;

                if (!name || !origin)
                        return -ENOMEM;
                rc = push_list(w, *fd, LIST, false, origin, frames, count);
                if (rc)
                        return rc;
                *inside = !is_ignored(frames, *count, name, true);
                next = openat(*fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                if (next < 0)
                        return why_set(w->why, -errno, "%s/%s%s%s can't be read: %s", w->git->top, w->path, w->len ? "/" : "", name,
                                       strerror(errno));
                fd_close(fd);
                *fd = next;
                if (!enter(frames, *count, name, frames))
                        return -ENOMEM;
                w->len += (size_t)snprintf(w->path + w->len, sizeof(w->path) - w->len, "%s%s", w->len ? "/" : "", name);
                rest += len + (rest[len] == '/');
        }
        return rc;
}

static int walk_all(struct walk *w)
{
        CLEANUP_FREE struct frame *frames = calloc(LISTS_MAX + 1, sizeof(*frames));
        CLEANUP_FD int fd = open(w->git->top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        size_t count = 0;
        bool inside = true;
        int rc = frames ? 0 : -ENOMEM;

        if (fd < 0)
                return why_set(w->why, -errno, "%s can't be read: %s", w->git->top, strerror(errno));
        if (rc == 0 && w->git->global)
                rc = push_list(w, AT_FDCWD, w->git->global, true, w->git->global, frames, &count);
        if (rc == 0 && w->git->exclude)
                rc = push_list(w, AT_FDCWD, w->git->exclude, true, w->git->exclude, frames, &count);
        if (rc == 0)
                rc = descend(w, &fd, frames, &count, &inside);
        if (rc == 0 && inside)
                rc = walk_directory(w, fd, frames, count);
        while (count-- > 0)
                rules_free((struct rules *)frames[count].rules);
        if (rc || inside)
                return rc;
        /* Its rules would have all of the source be an artifact. */
        rule_list_release(&w->out->rules);
        w->out->note = text_new("git ignores the source as a whole in %s, so that gitignored says nothing", w->git->top);
        return w->out->note ? 0 : -ENOMEM;
}

int ignored_find(const char *source, struct ignored *ret, char **why)
{
        struct git_place git CLEANUP(git_place_release) = {0};
        struct walk *w = NULL;
        int rc;

        memset(ret, 0, sizeof(*ret));
        rc = git_find(source, &git, why);
        if (rc)
                return rc;
        w = calloc(1, sizeof(*w));
        ret->prefix = strdup(git.prefix);
        ret->git_dir = steal_ptr(&git.dir);
        if (w && ret->prefix) {
                w->out = ret;
                w->git = &git;
                w->why = why;
                rc = walk_all(w);
        } else {
                rc = -ENOMEM;
        }
        free(w);
        if (rc == 0 && git.repository && !ret->note)
                rc = ignored_keep_tracked(ret, source, why);
        /* A list that ignores everything doesn't mean the repository itself. */
        if (rc == 0)
                rc = add_exception(ret, "!.git", RULE_SOURCE, "the repository");
        if (rc == 0)
                return 0;
        ignored_release(ret);
        return *why ? rc : no_memory(why);
}
