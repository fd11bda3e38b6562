/*
 * Generations of artifacts: each key has its own, whoever changes the key file and however.
 */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/mount/edits.h"

static const struct variant ways[] = {
        {.backing = ON_EXT4, .transport = BY_URING, .watch = WATCH_BY_FANOTIFY},
        {.backing = ON_TMPFS, .transport = BY_DEV, .watch = WATCH_BY_INOTIFY},
        {.backing = ON_EXT4, .transport = BY_URING, .watch = WATCH_BY_INOTIFY, .profile = PROFILE_DATA},
        {.backing = ON_EXT4, .transport = BY_DEV, .watch = WATCH_BY_INOTIFY, .unprivileged = true},
        {.backing = ON_EXT4, .transport = BY_DEV, .watch = WATCH_BY_FANOTIFY, .options = "coherence=strict"},
};

static const struct variant root_ways[] = {
        {.backing = ON_EXT4, .transport = BY_URING, .watch = WATCH_BY_FANOTIFY},
        {.backing = ON_TMPFS, .transport = BY_DEV, .watch = WATCH_BY_INOTIFY},
        {.backing = ON_EXT4, .transport = BY_URING, .watch = WATCH_BY_INOTIFY, .profile = PROFILE_DATA},
};

static const struct variant two_ways[] __attribute__((unused)) = {
        {.backing = ON_EXT4, .transport = BY_URING, .watch = WATCH_BY_FANOTIFY},
        {.backing = ON_TMPFS, .transport = BY_DEV, .watch = WATCH_BY_INOTIFY},
};

#define NODE_RULE "version: 1\nartifacts:\n  - path: node_modules/\n    key: [package-lock.json]\n"

/* Whoever runs the agent owns what the host edits. */
static void put_source(const struct fixture *f, const char *name, const char *text)
{
        const char *path = at(f->src, "%s", name);

        put_text(path, text);
        must(!f->variant.unprivileged || chown(path, FIXTURE_UID, FIXTURE_UID) == 0, "chown %s", path);
}

static void begin(struct fixture *f, const char *config)
{
        put_source(f, "dsfs.yaml", config);
        if (access(at(f->src, "package-lock.json"), F_OK) < 0)
                put_source(f, "package-lock.json", "A");
        fixture_mount(f);
}

struct told {
        const char *mnt, *text;
};

static int act_install(void *arg)
{
        const struct told *t = arg;
        const char *dir = keep(at(t->mnt, "node_modules"));

        must(mkdir(dir, 0755) == 0, "mkdir %s", dir);
        must(mkdir(at(dir, "deep"), 0755) == 0, "mkdir");
        put_text(at(dir, "deep/is"), t->text);
        return 0;
}

static int act_lock(void *arg)
{
        const struct told *t = arg;

        put_text(at(t->mnt, "package-lock.json.tmp"), t->text);
        must(rename(at(t->mnt, "package-lock.json.tmp"), at(t->mnt, "package-lock.json")) == 0, "rename");
        return 0;
}

static int act_remove(void *arg)
{
        const struct told *t = arg;

        remove_tree(at(t->mnt, "node_modules"));
        return 0;
}

static int act_look(void *arg)
{
        const struct told *t = arg;
        CLEANUP_FREE char *text = NULL;
        bool listed = false;
        struct dirent *e;
        DIR *d = opendir(t->mnt);

        must(d, "opendir %s", t->mnt);
        while ((e = readdir(d)))
                listed = listed || strcmp(e->d_name, "node_modules") == 0;
        closedir(d);
        errno = 0;
        must(listed == (t->text != NULL), "node_modules is %slisted", listed ? "" : "not ");
        if (!t->text) {
                must(access(at(t->mnt, "node_modules"), F_OK) < 0 && errno == ENOENT, "node_modules is there");
                return 0;
        }
        must(fd_read_file(AT_FDCWD, at(t->mnt, "node_modules/deep/is"), 64, &text) >= 0, "read");
        errno = 0;
        must(strcmp(text, t->text) == 0, "the generation is \"%s\", not \"%s\"", text, t->text);
        return 0;
}

/* In the mount, as somebody who may. */
static void act(struct fixture *f, int (*what)(void *arg), const char *text)
{
        struct told t = {.mnt = f->mnt, .text = text};

        must(child_run(f->variant.unprivileged ? &f->agent : NULL, what, &t) == 0, "\"%s\"", text ? text : "nothing");
}

/* The mount shows the generation `text`; NULL: an empty one. */
static void must_show(struct fixture *f, const char *text)
{
        fixture_wait(f);
        act(f, act_look, text);
}

CASE_UNMOUNTED(generations, follow_the_key_that_the_host_changes, ways)
{
        begin(f, NODE_RULE);
        must_show(f, NULL);
        act(f, act_install, "A");
        must_show(f, "A");
        put_source(f, "package-lock.json", "B");
        must_show(f, NULL);
        act(f, act_install, "B");
        put_source(f, "package-lock.json", "A");
        must_show(f, "A");
        put_source(f, "package-lock.json", "B");
        must_show(f, "B");
        must(unlink(at(f->src, "package-lock.json")) == 0, "unlink");
        must_show(f, NULL);
        put_source(f, "new", "A");
        must(rename(at(f->src, "new"), at(f->src, "package-lock.json")) == 0, "rename");
        must_show(f, "A");
}

#define SASS_RULES "version: 1\nartifacts:\n  - path: node_modules/\n    key: [sass]\n  - path: other/\n    key: [package-lock.json]\n"

/* Style sheets, of which one is deep in their directory. */
static void begin_sass(struct fixture *f)
{
        static const char *const dirs[] = {"sass", "sass/deep"};

        for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
                const char *dir = at(f->src, "%s", dirs[i]);

                must(mkdir(dir, 0755) == 0, "mkdir %s", dir);
                must(!f->variant.unprivileged || chown(dir, FIXTURE_UID, FIXTURE_UID) == 0, "chown %s", dir);
        }
        put_source(f, "sass/site.scss", "same");
        put_source(f, "sass/deep/brand.scss", "A");
        begin(f, SASS_RULES);
        act(f, act_install, "A");
        must_show(f, "A");
}

CASE_UNMOUNTED(generations, follow_a_directory_that_is_the_key, ways)
{
        begin_sass(f);
        put_source(f, "sass/deep/brand.scss", "B");
        must_show(f, NULL);
        act(f, act_install, "B");
        put_source(f, "sass/deep/more.scss", "C");
        must_show(f, NULL);
        must(unlink(at(f->src, "sass/deep/more.scss")) == 0, "unlink");
        must_show(f, "B");
        put_source(f, "sass/deep/brand.scss", "A");
        must_show(f, "A");
}

static int act_sheet(void *arg)
{
        const struct told *t = arg;

        put_text(at(t->mnt, "sass/deep/brand.scss"), t->text);
        return 0;
}

static int act_new_sheet(void *arg)
{
        const struct told *t = arg;

        put_text(at(t->mnt, "sass/deep/new.scss"), t->text);
        return 0;
}

static int act_remove_sheet(void *arg)
{
        const struct told *t = arg;

        must(unlink(at(t->mnt, "sass/deep/new.scss")) == 0, "unlink");
        return 0;
}

/* Whatever of it the mount changes; and what else the mount has changed doesn't make the host's changes its own. */
CASE_UNMOUNTED(generations, know_who_changed_the_directory_that_is_the_key, ways)
{
        begin_sass(f);
        act(f, act_sheet, "B");
        must_show(f, "A");
        act(f, act_new_sheet, "C");
        must_show(f, "A");
        act(f, act_remove_sheet, NULL);
        must_show(f, "A");
        act(f, act_lock, "B");
        fixture_wait(f);
        put_source(f, "sass/deep/brand.scss", "D");
        must_show(f, NULL);
        put_source(f, "sass/deep/brand.scss", "B");
        must_show(f, "A");
        act(f, act_lock, "C");
        must(unlink(at(f->src, "sass/site.scss")) == 0, "unlink");
        must_show(f, NULL);
}

CASE_UNMOUNTED(generations, what_was_installed_goes_by_the_new_key, ways)
{
        begin(f, NODE_RULE);
        act(f, act_install, "A");
        /* npm writes the lock file last. */
        act(f, act_lock, "B");
        must_show(f, "A");
        act(f, act_remove, NULL);
        act(f, act_install, "B");
        act(f, act_lock, "C");
        must_show(f, "B");
        put_source(f, "package-lock.json", "B");
        must_show(f, NULL);
        put_source(f, "package-lock.json", "C");
        must_show(f, "B");
}

static int lock_in_place(void *arg)
{
        const struct told *t = arg;

        put_text(at(t->mnt, "package-lock.json"), t->text);
        return 0;
}

static int lock_cut(void *arg)
{
        const struct told *t = arg;

        must(truncate(at(t->mnt, "package-lock.json"), 0) == 0, "truncate");
        return 0;
}

static int lock_removed(void *arg)
{
        const struct told *t = arg;

        must(unlink(at(t->mnt, "package-lock.json")) == 0, "unlink");
        return 0;
}

static int lock_slowly(void *arg)
{
        const struct told *t = arg;
        CLEANUP_FD int fd = open(at(t->mnt, "package-lock.json"), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

        for (int i = 0; i < 20; i++) {
                must(fd >= 0 && write(fd, t->text, strlen(t->text)) == (ssize_t)strlen(t->text), "write");
                must(poll(NULL, 0, 5) == 0, "poll");
        }
        return 0;
}

static int lock_moved_away(void *arg)
{
        const struct told *t = arg;

        must(rename(at(t->mnt, "package-lock.json"), at(t->mnt, "package-lock.json~")) == 0, "rename");
        return 0;
}

CASE_UNMOUNTED(generations, nothing_installed_disappears_however_the_key_is_written, ways)
{
        static int (*const changes[])(void *) = {lock_in_place, lock_cut, lock_slowly, lock_removed, act_lock, lock_moved_away};

        begin(f, NODE_RULE);
        for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
                const char *text = keep(at("", "%zu", i));

                act(f, act_remove, NULL);
                act(f, act_install, text);
                act(f, changes[i], text);
                must_show(f, text);
                put_source(f, "package-lock.json", "elsewhere");
                must_show(f, NULL);
        }
}

CASE_UNMOUNTED(generations, are_right_when_the_key_changed_while_nobody_was_there, ways)
{
        begin(f, NODE_RULE);
        act(f, act_install, "A");
        put_source(f, "package-lock.json", "B");
        fixture_umount(f);
        fixture_mount(f);
        act(f, act_look, NULL);
        act(f, act_install, "B");
        fixture_umount(f);
        put_source(f, "package-lock.json", "A");
        fixture_mount(f);
        act(f, act_look, "A");
        put_source(f, "package-lock.json", "B");
        must_show(f, "B");
}

struct user {
        const char *mnt;
        struct gate *ready, *switched;
};

static int use(void *arg)
{
        const struct user *u = arg;
        CLEANUP_FD int fd = open(at(u->mnt, "node_modules/deep/is"), O_RDWR | O_CLOEXEC);
        char text[8] = "";

        must(fd >= 0 && chdir(at(u->mnt, "node_modules/deep")) == 0, "open, chdir");
        gate_pass(u->ready);
        gate_pass(u->switched);
        must(pread(fd, text, sizeof(text), 0) == 1 && text[0] == 'A', "read \"%s\"", text);
        must(pwrite(fd, "still A", 7, 0) == 7, "write");
        put_text("new", "made in the old one");
        must(access("is", F_OK) == 0, "what is in the working directory");
        must(access(at(u->mnt, "node_modules"), F_OK) < 0, "the new generation is empty");
        return 0;
}

CASE_UNMOUNTED(generations, stay_for_those_who_have_them_open, ways)
{
        struct user u = {.mnt = f->mnt, .ready = gate_new(2), .switched = gate_new(2)};
        pid_t pid;

        begin(f, NODE_RULE);
        act(f, act_install, "A");
        pid = child_start(f->variant.unprivileged ? &f->agent : NULL, use, &u);
        gate_pass(u.ready);
        put_source(f, "package-lock.json", "B");
        fixture_wait(f);
        gate_pass(u.switched);
        must(child_wait(pid) == 0, "the user of the old generation");
        put_source(f, "package-lock.json", "A");
        must_show(f, "still A");
        must(access(at(f->mnt, "node_modules/deep/new"), F_OK) == 0 || f->variant.unprivileged, "what was made in it");
}

static void must_read(const char *path, const char *want)
{
        CLEANUP_FREE char *text = NULL;

        must(fd_read_file(AT_FDCWD, path, 4096, &text) >= 0, "read %s", path);
        errno = 0;
        must(strcmp(text, want) == 0, "%s is \"%s\", not \"%s\"", path, text, want);
}

CASE_UNMOUNTED(generations, begin_with_what_the_source_has_where_that_is_wished, two_ways)
{
        must(mkdir(at(f->src, "seeded"), 0755) == 0 && mkdir(at(f->src, "always"), 0755) == 0, "mkdir");
        put_source(f, "seeded/is", "the source's");
        put_source(f, "always/is", "the source's");
        begin(f, "version: 1\nartifacts:\n"
                 "  - path: /seeded/\n    key: [package-lock.json]\n    seed: true\n"
                 "  - path: /always/\n    seed: true\n");
        must_read(at(f->mnt, "seeded/is"), "the source's");
        must_read(at(f->mnt, "always/is"), "the source's");
        put_text(at(f->mnt, "seeded/is"), "changed");
        put_text(at(f->mnt, "always/is"), "changed");
        put_source(f, "package-lock.json", "B");
        fixture_wait(f);
        must_read(at(f->mnt, "seeded/is"), "the source's");
        must_read(at(f->mnt, "always/is"), "changed");
        put_source(f, "package-lock.json", "A");
        fixture_wait(f);
        must_read(at(f->mnt, "seeded/is"), "changed");
        must_read(at(f->src, "seeded/is"), "the source's");
        /* Once: what was removed since stays so. */
        remove_tree(at(f->mnt, "always"));
        fixture_umount(f);
        fixture_mount(f);
        must(access(at(f->mnt, "always"), F_OK) < 0, "seeded again");
}

CASE_UNMOUNTED(generations, begin_as_a_copy_of_the_last_where_that_is_wished, two_ways)
{
        begin(f, "version: 1\nartifacts:\n  - path: node_modules/\n    key: [package-lock.json]\n    on_new: copy\n");
        act(f, act_install, "A");
        put_source(f, "package-lock.json", "B");
        must_show(f, "A");
        put_text(at(f->mnt, "node_modules/deep/is"), "B");
        must_show(f, "B");
        put_source(f, "package-lock.json", "A");
        must_show(f, "A");
        put_source(f, "package-lock.json", "B");
        must_show(f, "B");
}

CASE_UNMOUNTED(generations, go_by_the_nearest_key, two_ways)
{
        must(mkdir(at(f->src, "packages"), 0755) == 0 && mkdir(at(f->src, "packages/one"), 0755) == 0, "mkdir");
        begin(f, NODE_RULE);
        must(mkdir(at(f->mnt, "packages/one/node_modules"), 0755) == 0, "mkdir");
        put_text(at(f->mnt, "packages/one/node_modules/is"), "far A");
        put_source(f, "packages/package-lock.json", "near");
        fixture_wait(f);
        must(access(at(f->mnt, "packages/one/node_modules"), F_OK) < 0, "the nearer key has its own");
        put_source(f, "package-lock.json", "B");
        must(unlink(at(f->src, "packages/package-lock.json")) == 0, "unlink");
        fixture_wait(f);
        must(access(at(f->mnt, "packages/one/node_modules"), F_OK) < 0, "B has its own");
        put_source(f, "package-lock.json", "A");
        fixture_wait(f);
        must_read(at(f->mnt, "packages/one/node_modules/is"), "far A");
}

CASE_UNMOUNTED(generations, may_be_files_and_symlinks, two_ways)
{
        char target[16] = "";

        begin(f, "version: 1\nartifacts:\n  - path: \"*.css\"\n    key: [package-lock.json]\n");
        put_text(at(f->mnt, "main.css"), "A");
        must(symlink("main.css", at(f->mnt, "link.css")) == 0, "symlink");
        put_source(f, "package-lock.json", "B");
        fixture_wait(f);
        must(access(at(f->mnt, "main.css"), F_OK) < 0 && readlink(at(f->mnt, "link.css"), target, 15) < 0, "B has none");
        put_text(at(f->mnt, "main.css"), "B");
        must(symlink("other.css", at(f->mnt, "link.css")) == 0, "symlink");
        put_source(f, "package-lock.json", "A");
        fixture_wait(f);
        must_read(at(f->mnt, "main.css"), "A");
        must(readlink(at(f->mnt, "link.css"), target, 15) == 8 && strcmp(target, "main.css") == 0, "link.css -> %s", target);
        put_source(f, "package-lock.json", "B");
        fixture_wait(f);
        must_read(at(f->mnt, "main.css"), "B");
}

CASE_UNMOUNTED(generations, are_the_same_in_all_mounts, two_ways)
{
        begin(f, NODE_RULE);
        fixture_mount_second(f, "");
        act(f, act_install, "A");
        must_read(at(f->second, "node_modules/deep/is"), "A");
        put_source(f, "package-lock.json", "B");
        fixture_wait(f);
        must(access(at(f->second, "node_modules"), F_OK) < 0, "the second mount shows the old one");
        must(mkdir(at(f->second, "node_modules"), 0755) == 0 && mkdir(at(f->second, "node_modules/deep"), 0755) == 0, "mkdir");
        put_text(at(f->second, "node_modules/deep/is"), "B");
        put_text(at(f->second, "package-lock.json"), "C");
        must_show(f, "B");
        put_source(f, "package-lock.json", "A");
        must_show(f, "A");
        must_read(at(f->second, "node_modules/deep/is"), "A");
}

static int shell(struct fixture *f, const char *script)
{
        const char *const argv[] = {"sh", "-ec", script, f->src, f->mnt, NULL};

        return child_exec(argv,
                          (const char *const[]){"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*", NULL},
                          NULL, NULL, 0);
}

/* On the host or in a container. */
CASE_UNMOUNTED(generations, follow_the_branch, root_ways)
{
        static const char *const checkouts[][2] = {
                {"git -C \"$0\" checkout -q one", "git -C \"$0\" checkout -q two"},
                {"git -C \"$1\" checkout -q one", "git -C \"$1\" checkout -q two"},
        };
        static const char make[] = "cd \"$0\"; git init -q -b one .; git config user.email a@b; git config user.name n;"
                                   "for i in $(seq 300); do echo $i >f$i; done; echo one >package-lock.json;"
                                   "git add f* package-lock.json; git commit -qm one; git checkout -qb two;"
                                   "for i in $(seq 300); do echo two$i >f$i; done; echo two >package-lock.json; git commit -qam two";

        must(shell(f, make) == 0, "git");
        begin(f, NODE_RULE);
        act(f, act_install, "two");
        must(shell(f, "git -C \"$0\" checkout -q one") == 0, "checkout");
        must_show(f, NULL);
        act(f, act_install, "one");
        for (size_t i = 0; i < 5 * ARRAY_LEN(checkouts); i++) {
                must(shell(f, checkouts[i % ARRAY_LEN(checkouts)][1]) == 0, "checkout");
                must_show(f, "two");
                must(shell(f, checkouts[i % ARRAY_LEN(checkouts)][0]) == 0, "checkout");
                must_show(f, "one");
        }
}

static bool is_swept(void *arg)
{
        struct fixture *f = arg;

        return shell(f, "test $(find \"$0\"/../../state/dsfs/*/overlay/kept -name is 2>/dev/null | wc -l) = 1") == 0;
}

static const struct variant budgets[] = {
        {.backing = ON_EXT4, .transport = BY_URING, .watch = WATCH_BY_FANOTIFY},
};

/* The key's generation, of a mebibyte. */
static void install_large(struct fixture *f, const char *key)
{
        CLEANUP_FREE char *bytes = calloc(1, 1 << 20);

        put_source(f, "package-lock.json", key);
        fixture_wait(f);
        act(f, act_install, key);
        memset(bytes, 'x', 1 << 20);
        put_file(at(f->mnt, "node_modules/large"), bytes, 1 << 20);
}

CASE_UNMOUNTED(generations, keep_to_the_budget, budgets)
{
        CLEANUP_FREE char *config = strdup(at(f->base, "config/dsfs"));

        must(mkdir(config, 0755) == 0, "mkdir %s", config);
        put_text(at(config, "config.yaml"), "version: 1\noverlay_budget: 2MiB\n");
        begin(f, NODE_RULE);
        install_large(f, "A");
        install_large(f, "B");
        install_large(f, "C");
        put_source(f, "package-lock.json", "none");
        must_show(f, NULL);
        must(wait_until(is_swept, f, 60), "more is kept than the budget allows");
        put_source(f, "package-lock.json", "C");
        must_show(f, "C");
        put_source(f, "package-lock.json", "A");
        must_show(f, NULL);
}
