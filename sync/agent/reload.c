#include "sync/agent/reload.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/ident.h"
#include "cache/base/log.h"
#include "cache/base/thread.h"
#include "sync/agent/config.h"
#include "sync/agent/rule_list.h"
#include "sync/agent/ruling.h"
#include "sync/engine.h"
#include "sync/serve/why.h"

#define NS_PER_MS 1000000ULL
/* Whoever edits writes more than once; and a look takes the processor for a tenth of the time at most. */
#define SETTLE_NS (100 * NS_PER_MS)
#define PACE 10
/* How often it is looked at whether lists have gone with their directories. */
#define STIR_NS (1000 * NS_PER_MS)
#define DIRECTORY_EVENTS (IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_CLOSE_WRITE | IN_DELETE_SELF | IN_MOVE_SELF)

struct reload {
        /* Set at init, read anywhere. */
        char *source, *command; /* owned */
        struct engine *engine;
        struct overlay *overlay; /* or NULL */
        int bell;                /* eventfd */
        pthread_t thread;
        bool started;
        atomic_bool stirred; /* something happened, of whatever kind */
        /* The thread's; before it starts, the caller's. */
        struct ruling ruling;
        int users;                             /* inotify: where files outside the source are, or could be */
        unsigned long long not_before, due_ns; /* 0: nothing is due */
        unsigned long long stir_ns;            /* the same of lists that have gone */

        struct mutex lock; /* innermost */
        struct cond done;
        unsigned long asked GUARDED_BY(lock), answered GUARDED_BY(lock);
        bool closing GUARDED_BY(lock);
        bool git GUARDED_BY(lock);           /* git's lists count */
        struct ident index GUARDED_BY(lock); /* of the directory that git's index is in */
        char *broken GUARDED_BY(lock);       /* what is wrong with the files; owned */
        bool homeless GUARDED_BY(lock);      /* there are rules, but no overlay */
};

/*
 * What has changed
 */

static void ring(const struct reload *r)
{
        uint64_t one = 1;

        /* It can't be full. */
        (void)!write(r->bell, &one, sizeof(one));
}

static void ask(struct reload *r)
{
        mutex_lock(&r->lock);
        r->asked++;
        mutex_unlock(&r->lock);
        ring(r);
}

static bool is_one_of(const char *name, size_t len, const char *const names[], size_t count)
{
        for (size_t i = 0; i < count; i++) {
                if (strlen(names[i]) == len && memcmp(names[i], name, len) == 0)
                        return true;
        }
        return false;
}

/* The watch's thread, of every change on the source's filesystem. */
static void touched(void *arg, const struct ident *dir, const char *name, size_t len)
{
        static const char *const config[] = {CONFIG_NAME_IN_SOURCE};
        static const char *const lists[] = {".gitignore", "exclude", ".git"};
        static const char *const index[] = {"index"};
        struct reload *r = arg;
        bool ours = is_one_of(name, len, config, ARRAY_LEN(config)), git = is_one_of(name, len, lists, ARRAY_LEN(lists));
        bool tracked = is_one_of(name, len, index, ARRAY_LEN(index));

        if (git || tracked) {
                mutex_lock(&r->lock);
                ours = r->git && (git || ident_equal(dir, &r->index));
                mutex_unlock(&r->lock);
        }
        if (ours)
                ask(r);
        else if (!atomic_exchange(&r->stirred, true))
                ring(r);
}

static void lost(void *arg)
{
        ask(arg);
}

/* Watch the nearest directory that there is on the way to a file outside the source. */
static void watch_directory_of(const struct reload *r, const char *file)
{
        CLEANUP_FREE char *dir = strdup(file);

        for (char *slash = dir ? strrchr(dir, '/') : NULL; slash; slash = strrchr(dir, '/')) {
                slash[slash == dir] = '\0';
                if (inotify_add_watch(r->users, dir, DIRECTORY_EVENTS | IN_ONLYDIR) >= 0 || slash == dir)
                        return;
        }
}

static void watch_files(struct reload *r, const struct config *c)
{
        for (size_t i = 0; i < c->file_count && r->users >= 0; i++) {
                if (!c->files[i].checkout)
                        watch_directory_of(r, c->files[i].path);
        }
        for (size_t i = 0; i < r->ruling.list_count && r->users >= 0; i++) {
                if (strncmp(r->ruling.lists[i], r->source, strlen(r->source)) != 0)
                        watch_directory_of(r, r->ruling.lists[i]);
        }
}

/* True if anything happened in one of those directories. */
static bool drain(int fd)
{
        char events[4096];
        bool any = false;

        while (read(fd, events, sizeof(events)) > 0)
                any = true;
        return any;
}

static bool lists_have_gone(const struct reload *r)
{
        for (size_t i = 0; i < r->ruling.list_count; i++) {
                if (access(r->ruling.lists[i], F_OK) < 0 && errno == ENOENT)
                        return true;
        }
        return false;
}

/*
 * A look
 */

static void note_git(struct reload *r, bool git)
{
        struct ident index = {0};

        if (git && r->ruling.git_dir)
                (void)ident_of(AT_FDCWD, r->ruling.git_dir, &index);
        mutex_lock(&r->lock);
        r->git = git;
        r->index = index;
        mutex_unlock(&r->lock);
}

static int read_all(struct reload *r, struct ruling *ruling, bool *git, char **why)
{
        struct config *c = NULL;
        int rc = config_load(r->source, r->command, &c, why);

        if (rc == 0) {
                *git = c->options.gitignored;
                rc = ruling_make(c, ruling, why);
        }
        if (rc == 0)
                watch_files(r, c);
        config_free(c);
        return rc;
}

static void say_broken(struct reload *r, const char *why)
{
        char *text = text_new("%s; the rules of before are kept", why_text(why));

        log_warn("%s", why_text(text));
        mutex_lock(&r->lock);
        free(r->broken);
        r->broken = text;
        mutex_unlock(&r->lock);
}

/* `ruling` is what the files say now. */
static void take(struct reload *r, struct ruling *ruling)
{
        const struct rules *old = r->overlay ? overlay_rules(r->overlay) : NULL;
        bool changed = !rules_same(old, ruling->rules);

        ruling_release(&r->ruling);
        r->ruling = *ruling;
        *ruling = (struct ruling){0};
        mutex_lock(&r->lock);
        free(steal_ptr(&r->broken));
        r->homeless = changed && !r->overlay;
        mutex_unlock(&r->lock);
        if (!changed || !r->overlay)
                return;
        if (!r->ruling.rules && rules_new(NULL, 0, &r->ruling.rules)) {
                say_broken(r, "out of memory");
                return;
        }
        log_info("the rules have changed: there are %zu", rules_count(r->ruling.rules));
        overlay_set_rules(r->overlay, steal_ptr(&r->ruling.rules));
        engine_tell_all(r->engine);
        /* What is a key now may differ from what was looked at. */
        generations_touched_all(r->overlay);
}

static void look(struct reload *r)
{
        struct ruling ruling CLEANUP(ruling_release) = {0};
        CLEANUP_FREE char *why = NULL;
        unsigned long asked;
        bool git = false;

        mutex_lock(&r->lock);
        asked = r->asked;
        mutex_unlock(&r->lock);
        if (read_all(r, &ruling, &git, &why)) {
                say_broken(r, why);
        } else {
                take(r, &ruling);
                note_git(r, git);
        }
        mutex_lock(&r->lock);
        r->answered = asked;
        cond_broadcast(&r->done);
        mutex_unlock(&r->lock);
}

/*
 * The thread
 */

static unsigned long long sooner(unsigned long long a, unsigned long long b)
{
        return !a ? b : !b ? a : a < b ? a : b;
}

/* Until something happens, or is due. */
static void sleep_until_due(const struct reload *r)
{
        struct pollfd p[] = {{.fd = r->bell, .events = POLLIN}, {.fd = r->users, .events = POLLIN}};
        unsigned long long due = sooner(r->due_ns, r->stir_ns), now = clock_now_ns();
        uint64_t count;

        (void)poll(p, ARRAY_LEN(p), !due ? -1 : due <= now ? 0 : (int)((due - now) / NS_PER_MS) + 1);
        (void)!read(r->bell, &count, sizeof(count));
}

static void plan(struct reload *r)
{
        unsigned long long now = clock_now_ns();
        bool asked;

        if (r->users >= 0 && drain(r->users))
                ask(r);
        mutex_lock(&r->lock);
        asked = r->asked != r->answered;
        mutex_unlock(&r->lock);
        if (asked && !r->due_ns)
                r->due_ns = now + SETTLE_NS > r->not_before ? now + SETTLE_NS : r->not_before;
        if (r->stir_ns && now >= r->stir_ns) {
                r->stir_ns = 0;
                atomic_store(&r->stirred, false);
                if (lists_have_gone(r))
                        ask(r);
        }
        if (atomic_load(&r->stirred) && !r->stir_ns)
                r->stir_ns = now + STIR_NS;
}

static void *run(void *arg)
{
        struct reload *r = arg;

        for (;;) {
                unsigned long long began = clock_now_ns();
                bool closing;

                mutex_lock(&r->lock);
                closing = r->closing;
                mutex_unlock(&r->lock);
                if (closing)
                        return NULL;
                plan(r);
                if (r->due_ns && began >= r->due_ns) {
                        r->due_ns = 0;
                        look(r);
                        r->not_before = clock_now_ns() + PACE * (clock_now_ns() - began);
                        continue;
                }
                sleep_until_due(r);
        }
}

/*
 * Life
 */

int reload_new(const char *source, const char *command, struct engine *engine, struct reload **ret, char **why)
{
        struct reload *r = calloc(1, sizeof(*r));
        bool git = false;
        int rc;

        if (!r)
                return why_set(why, -ENOMEM, "out of memory");
        mutex_init(&r->lock);
        cond_init(&r->done);
        r->engine = engine;
        r->source = strdup(source);
        r->command = command ? strdup(command) : NULL;
        r->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        /* Without it, files outside the source are read at the next look. */
        r->users = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        rc = r->source && (r->command || !command) ? 0 : -ENOMEM;
        if (rc == 0 && r->bell < 0)
                rc = -errno;
        if (rc) {
                reload_free(r);
                return why_set(why, rc, "the configuration can't be followed: %s", strerror(-rc));
        }
        engine_on_touch(engine, &(struct engine_touch){.touched = touched, .lost = lost, .arg = r});
        rc = read_all(r, &r->ruling, &git, why);
        if (rc) {
                reload_free(r);
                return rc;
        }
        note_git(r, git);
        *ret = r;
        return 0;
}

struct rules *reload_take_rules(struct reload *r)
{
        return steal_ptr(&r->ruling.rules);
}

void reload_tell(const struct reload *r, void (*say)(void *arg, const char *line), void *arg)
{
        if (r->ruling.note)
                say(arg, r->ruling.note);
        ruling_tell_shadowed(&r->ruling, say, arg);
}

int reload_start(struct reload *r, struct overlay *overlay)
{
        int rc;

        r->overlay = overlay;
        rc = thread_start(&r->thread, "dsfs-rules", run, r);
        r->started = rc == 0;
        return rc;
}

int reload_wait(struct reload *r, int timeout_ms)
{
        unsigned long long deadline = clock_now_ns() + (unsigned long long)timeout_ms * NS_PER_MS;
        unsigned long asked;
        int rc = 0;

        mutex_lock(&r->lock);
        asked = r->asked;
        while (r->answered < asked && !r->closing && rc == 0)
                rc = cond_wait_until(&r->done, &r->lock, deadline);
        mutex_unlock(&r->lock);
        return rc;
}

void reload_shutdown(struct reload *r)
{
        mutex_lock(&r->lock);
        r->closing = true;
        cond_broadcast(&r->done);
        mutex_unlock(&r->lock);
        ring(r);
}

void reload_free(struct reload *r)
{
        if (!r)
                return;
        engine_on_touch(r->engine, NULL);
        reload_shutdown(r);
        if (r->started)
                pthread_join(r->thread, NULL);
        ruling_release(&r->ruling);
        fd_close(&r->bell);
        fd_close(&r->users);
        mutex_lock(&r->lock);
        free(r->broken);
        mutex_unlock(&r->lock);
        cond_release(&r->done);
        mutex_release(&r->lock);
        free(r->source);
        free(r->command);
        free(r);
}

void reload_warnings(struct reload *r, void (*visit)(void *arg, const char *sentence), void *arg)
{
        mutex_lock(&r->lock);
        if (r->broken)
                visit(arg, r->broken);
        if (r->homeless)
                visit(arg,
                      "there are rules for artifacts now, but there were none when the source was mounted; unmount it and mount it again");
        mutex_unlock(&r->lock);
}
