/*
 * What those who follow a source are told of it, by the mounts' own agent: who changed what, on either side; git on either side; and that
 * it is the state that the root hash names.
 */
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sync/serve/subscriber.h"
#include "tests/lib/git_env.h"
#include "tests/mount/case.h"

#define PATIENCE_MS 60000
#define TEXT_MAX 4096
#define STORM_FILES 2000

static const struct variant watched[] = {
        {.backing = ON_EXT4, .transport = BY_URING, .watch = WATCH_BY_FANOTIFY},
        {.backing = ON_TMPFS, .transport = BY_DEV, .watch = WATCH_BY_FANOTIFY},
        {.backing = ON_EXT4, .transport = BY_URING, .watch = WATCH_BY_INOTIFY},
};

static void sh(const char *dir, const char *command)
{
        CLEANUP_FREE char *line = NULL;
        int rc;

        must(asprintf(&line, "cd '%s' && exec >/dev/null 2>&1 && %s", dir, command) > 0, "memory");
        rc = child_exec((const char *const[]){"sh", "-euc", line, NULL}, git_env, NULL, NULL, 0);
        errno = 0;
        must(rc == 0, "in %s: %s: %d", dir, command, rc);
}

/* The agent's socket. */
static char *socket_of(struct fixture *f)
{
        const char *dir = at(strchr(f->env_runtime, '=') + 1, "dsfs");
        DIR *d = opendir(dir);
        struct dirent *e;
        char *found = NULL;

        must(d, "%s", dir);
        while ((e = readdir(d))) {
                const char *dot = strrchr(e->d_name, '.');

                if (dot && strcmp(dot, ".events") == 0)
                        found = keep(at(strchr(f->env_runtime, '=') + 1, "dsfs/%s", e->d_name));
        }
        closedir(d);
        must(found, "no socket in %s", dir);
        return found;
}

static const struct event *next_event(struct subscriber *s)
{
        CLEANUP_FREE char *why = NULL;
        const struct event *e = NULL;
        int rc = subscriber_next(s, PATIENCE_MS, &e, &why);

        errno = -rc;
        must(rc == 0, "no event: %s", why ? why : "");
        return e;
}

/* Follow from now on, everything that is there being hashed. */
static struct subscriber *follow(struct fixture *f)
{
        struct subscriber_wish wish = {.touches = true};
        CLEANUP_FREE char *why = NULL;
        struct subscriber *s;
        int rc;

        must(fixture_dsfs(f, (const char *const[]){"wait", "--hashed", f->mnt, NULL}, NULL, 0) == 0, "dsfs wait --hashed");
        rc = subscriber_new(socket_of(f), &wish, &s, &why);
        errno = -rc;
        must(rc == 0, "%s", why ? why : "");
        must(next_event(s)->kind == EVENT_HELLO, "no hello");
        return s;
}

/* A batch as a text: "+new *modified -gone ~touched" and "| operation was is", each change with its origin's first letter before it. */
struct batch {
        char text[TEXT_MAX];
        size_t len;
        unsigned long changes;
        char root[33];
        unsigned host, container, unknown;
};

static void put(struct batch *b, const char *text)
{
        int n = snprintf(b->text + b->len, sizeof(b->text) - b->len, "%s%s", b->len ? " " : "", text);

        if (n > 0 && b->len + (size_t)n < sizeof(b->text))
                b->len += (size_t)n;
}

static struct batch next_batch(struct subscriber *s)
{
        struct batch b = {0};

        for (;;) {
                const struct event *e = next_event(s);
                char one[600];

                if (e->kind == EVENT_SETTLED) {
                        snprintf(one, sizeof(one), "| %s%s%s%s%s", e->operation ? e->operation : "", e->head_was ? " " : "",
                                 e->head_was ? e->head_was : "", e->head_is ? " " : "", e->head_is ? e->head_is : "");
                        if (e->operation)
                                put(&b, one);
                        b.changes = e->changes;
                        snprintf(b.root, sizeof(b.root), "%s", e->new_hash ? e->new_hash : "");
                        return b;
                }
                must(event_is_change(e), "%s", e->line);
                b.host += e->origin[0] == 'h';
                b.container += e->origin[0] == 'c';
                b.unknown += e->origin[0] == 'u';
                snprintf(one, sizeof(one), "%c%c%s%s", e->origin[0],
                         e->kind == EVENT_CREATED    ? '+'
                         : e->kind == EVENT_MODIFIED ? '*'
                         : e->kind == EVENT_DELETED  ? '-'
                                                     : '~',
                         e->path, strcmp(e->type, "directory") == 0 ? "/" : "");
                put(&b, one);
        }
}

/* What the source's hash is without anything that is remembered. */
static char *true_hash(struct fixture *f)
{
        char command[256], text[33] = "";
        FILE *p;

        snprintf(command, sizeof(command), "XDG_STATE_HOME=$(mktemp -d '%s/state.XXXXXX') exec %s hash '%s'", f->base,
                 getenv("DSFS_BIN") ? getenv("DSFS_BIN") : "build/dsfs", f->src);
        p = popen(command, "re");
        must(p && fread(text, 1, sizeof(text) - 1, p) == sizeof(text) - 1, "%s", command);
        must(pclose(p) == 0, "%s", command);
        return keep(text);
}

/* The batch that comes of a command on one side, `text` with an "o" wherever that side's letter is to be. */
static void expect(struct fixture *f, struct subscriber *s, bool in_mount, const char *command, const char *text)
{
        char want[TEXT_MAX];
        char letter = f->variant.watch == WATCH_BY_INOTIFY ? 'u' : in_mount ? 'c' : 'h';
        struct batch b;

        snprintf(want, sizeof(want), "%s", text);
        for (char *c = want; *c && *c != '|'; c++) {
                if (*c == 'o' && (c == want || c[-1] == ' '))
                        *c = letter;
        }
        sh(in_mount ? f->mnt : f->src, command);
        b = next_batch(s);
        errno = 0;
        must(strcmp(b.text, want) == 0, "%s: \"%s\", not \"%s\"", command, b.text, want);
        must(strcmp(b.root, true_hash(f)) == 0, "%s: the root hash is another", command);
}

/* Several steps, which nobody looks in between of, however loaded the machine: as if git were at it. */
#define HELD(steps) ": > .git/index.lock; " steps "; rm .git/index.lock"

CASE_UNMOUNTED(changes, say_whose_they_are, watched)
{
        struct subscriber *s;

        sh(f->src, "mkdir d .git; echo 1 > a; echo 1 > d/f");
        fixture_mount(f);
        if (f->bind)
                return;
        s = follow(f);
        for (int mount = 0; mount < 2; mount++) {
                expect(f, s, mount, "echo new > b", "o+b");
                expect(f, s, mount, "echo more >> b", "o*b");
                expect(f, s, mount, "touch b", "o~b");
                expect(f, s, mount, "chmod +x b", "o*b");
                expect(f, s, mount, HELD("mkdir -p x/y; echo 1 > x/y/f; ln -s f x/y/l"), "o+x/ o+x/y/ o+x/y/f o+x/y/l");
                expect(f, s, mount, "mv x z", "o-x/ o+z/ o+z/y/ o+z/y/f o+z/y/l");
                expect(f, s, mount, HELD("echo 2 > .b.tmp; mv .b.tmp b"), "o*b");
                expect(f, s, mount, HELD("rm -r z b"), "o-b o-z/");
        }
        subscriber_free(s);
}

/* Both sides in one batch: each has its own, and what both touched is the host's. */
CASE_WITH(changes, keep_two_sides_apart, watched)
{
        struct subscriber *s;
        struct batch b;
        bool known = f->variant.watch == WATCH_BY_FANOTIFY;

        if (f->bind)
                return;
        s = follow(f);
        /* Held together by what looks like git. */
        sh(f->src, "mkdir .git; : > .git/index.lock");
        sh(f->src, "echo 1 > host; echo 1 > both");
        sh(f->mnt, "echo 1 > mount; echo 2 > both");
        sh(f->src, "rm .git/index.lock");
        b = next_batch(s);
        cr_assert_str_eq(b.text, known ? "h+both h+host c+mount" : "u+both u+host u+mount");
        subscriber_free(s);
}

static const struct variant passed[] = {
        {.backing = ON_EXT4, .transport = BY_URING, .profile = PROFILE_DATA, .watch = WATCH_BY_FANOTIFY},
};

/* What is written past us is nobody's for certain, and never said to be the host's. */
CASE_WITH(changes, of_a_data_mount_are_not_the_hosts, passed)
{
        struct subscriber *s = follow(f);
        struct batch b;

        sh(f->src, "mkdir .git; : > .git/index.lock");
        sh(f->mnt, "exec 3>a; for i in 1 2 3 4 5 6 7 8 9; do echo $i >&3; done; mkdir d");
        sh(f->src, "echo 1 > b; rm .git/index.lock");
        b = next_batch(s);
        cr_assert_str_eq(b.text, "u+a h+b c+d/");
        subscriber_free(s);
}

#define TWO_BRANCHES                                                                                                                       \
        "git init -q -b one . && mkdir d && echo 1 > a && echo 1 > d/f && git add -A && git commit -qm 1 && git checkout -qb two && "      \
        "echo 2 > a && git rm -q d/f && mkdir x && echo 2 > x/y && git add -A && git commit -qm 2"

CASE_UNMOUNTED(changes, say_what_git_did_on_either_side, watched)
{
        struct subscriber *s;

        sh(f->src, TWO_BRANCHES);
        fixture_mount(f);
        if (f->bind)
                return;
        s = follow(f);
        for (int mount = 0; mount < 2; mount++) {
                struct batch b;

                expect(f, s, mount, "git checkout -q one", "o*a o+d/ o+d/f o-x/ | checkout two one");
                expect(f, s, mount, "git checkout -q two", "o*a o-d/ o+x/ o+x/y | checkout one two");
                expect(f, s, mount, "echo 3 > a", "o*a");
                expect(f, s, mount, "git stash -q", "o*a | stash");
                expect(f, s, mount, "git stash pop -q", "o*a | stash");
                sh(mount ? f->mnt : f->src, "git commit -qam 3");
                b = next_batch(s);
                cr_assert(strncmp(b.text, "| commit ", 9) == 0 && b.changes == 0, "%s", b.text);
                sh(mount ? f->mnt : f->src, "git reset -q --hard HEAD^");
                b = next_batch(s);
                cr_assert(strstr(b.text, "*a | reset "), "%s", b.text);
        }
        subscriber_free(s);
}

static int64_t overflows(struct fixture *f)
{
        int64_t n = 0;

        must(fixture_status(f, "overflows", &n), "status has no overflows");
        return n;
}

CASE_UNMOUNTED(changes, of_a_storm_are_one_batch, watched)
{
        const char *sides[] = {f->src, f->mnt};
        struct subscriber *s;

        sh(f->src, "git init -q -b one . && git commit -qm 0 --allow-empty && git checkout -qb two && mkdir d && i=0 && "
                   "while [ $i -lt 2000 ]; do echo $i > d/$i; i=$((i+1)); done && git add -A && git commit -qm 2 && git checkout -q one");
        fixture_mount(f);
        if (f->bind)
                return;
        s = follow(f);
        for (size_t i = 0; i < ARRAY_LEN(sides); i++) {
                struct batch b;

                sh(sides[i], "git checkout -q two");
                b = next_batch(s);
                cr_assert_eq(b.changes, STORM_FILES + 1, "%lu changes, %s", b.changes, b.text);
                cr_assert_eq(f->variant.watch == WATCH_BY_INOTIFY ? b.unknown
                             : i                                  ? b.container
                                                                  : b.host,
                             STORM_FILES + 1, "side %zu: %u host, %u container, %u unknown; %lld overflows", i, b.host, b.container,
                             b.unknown, (long long)overflows(f));
                cr_assert_str_eq(b.root, true_hash(f));
                sh(sides[i], "git checkout -q one");
                b = next_batch(s);
                cr_assert(strstr(b.text, " | checkout two one") || b.len + 1 == sizeof(b.text), "%s", b.text);
                cr_assert_str_eq(b.root, true_hash(f));
        }
        subscriber_free(s);
}

/* What the source has where mounts show an artifact is nobody's business. */
CASE_UNMOUNTED(changes, leave_out_artifacts, watched)
{
        struct subscriber *s;

        put_text(at(f->src, "dsfs.yaml"), "version: 1\nartifacts:\n  - path: node_modules/\n  - path: '*.secret'\n    route: hidden\n");
        sh(f->src, "mkdir node_modules p .git; echo 1 > node_modules/x; echo 1 > a");
        fixture_mount(f);
        if (f->bind)
                return;
        s = follow(f);
        expect(f, s, false, "echo 2 > node_modules/x; mkdir p/node_modules; echo 1 > p/node_modules/y; echo 1 > z.secret; echo 2 > a",
               "o*a");
        sh(f->mnt, "mkdir node_modules; echo 3 > node_modules/x");
        expect(f, s, true, "echo 3 > a", "o*a");
        expect(f, s, false, HELD("rm -r node_modules; echo 4 > a"), "o*a");
        subscriber_free(s);
}
