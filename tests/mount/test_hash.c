/*
 * The root hash in `status` names what the source holds: after edits on the host, through the mount, by git, and after a restart.
 */
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tests/mount/case.h"
#include "tests/mount/numbered.h"

#define DIGITS 33
#define EDITS 20
#define DIRS 30

static const char *const git_env[] = {"GIT_CONFIG_GLOBAL=/dev/null",
                                      "GIT_CONFIG_SYSTEM=/dev/null",
                                      "GIT_CONFIG_COUNT=2",
                                      "GIT_CONFIG_KEY_1=core.fsync",
                                      "GIT_CONFIG_VALUE_1=none",
                                      "GIT_CONFIG_KEY_0=safe.directory",
                                      "GIT_CONFIG_VALUE_0=*",
                                      "GIT_AUTHOR_NAME=A",
                                      "GIT_AUTHOR_EMAIL=a@example",
                                      "GIT_COMMITTER_NAME=A",
                                      "GIT_COMMITTER_EMAIL=a@example",
                                      NULL};

static void sh(const char *dir, const char *command)
{
        CLEANUP_FREE char *line = NULL;
        int rc;

        must(asprintf(&line, "cd '%s' && exec >/dev/null && %s", dir, command) > 0, "memory");
        rc = child_exec((const char *const[]){"sh", "-euc", line, NULL}, git_env, NULL, NULL, 0);
        errno = 0;
        must(rc == 0, "in %s: %s: %d", dir, command, rc);
}

static void wait_hashed(struct fixture *f)
{
        int rc = fixture_dsfs(f, (const char *const[]){"wait", "--hashed", f->mnt, NULL}, NULL, 0);

        errno = 0;
        must(rc == 0, "dsfs wait --hashed: %d", rc);
}

/* What `status` says. */
static char *root_hash(struct fixture *f)
{
        static char text[DIGITS];

        wait_hashed(f);
        must(fixture_status_text(f, "root_hash", text, sizeof(text)), "status has no root hash");
        return keep(text);
}

/* What the source's hash is without anything that is remembered. */
static char *true_hash(struct fixture *f)
{
        char command[256], text[DIGITS];
        FILE *p;

        snprintf(command, sizeof(command), "XDG_STATE_HOME=$(mktemp -d '%s/state.XXXXXX') exec %s hash '%s'", f->base,
                 getenv("DSFS_BIN") ? getenv("DSFS_BIN") : "build/dsfs", f->src);
        p = popen(command, "re");
        must(p && fread(text, 1, sizeof(text) - 1, p) == sizeof(text) - 1, "%s", command);
        text[sizeof(text) - 1] = '\0';
        must(pclose(p) == 0, "%s", command);
        return keep(text);
}

static char *must_agree(struct fixture *f)
{
        char *have = root_hash(f), *want = true_hash(f);

        errno = 0;
        must(strcmp(have, want) == 0, "status says %s, the source has %s", have, want);
        return have;
}

static void must_differ(const char *a, const char *b)
{
        errno = 0;
        must(strcmp(a, b) != 0, "a change has changed nothing: %s", a);
}

CASE(hash, follows_edits_on_both_sides)
{
        const char *const sides[] = {f->src, f->mnt};
        char *last;

        if (f->bind)
                return;
        make_tree(f->src, 3);
        last = must_agree(f);
        for (size_t i = 0; i < ARRAY_LEN(sides); i++) {
                const char *at_side = sides[i];
                char *now;

                put_text(at(at_side, "dir-1/file-7"), at_side);
                now = must_agree(f);
                must_differ(now, last);
                last = now;
                /* Its attributes have changed, not its content. */
                must(utimensat(AT_FDCWD, at(at_side, "dir-1/file-7"), NULL, 0) == 0, "utimensat");
                must(strcmp(must_agree(f), last) == 0, "a touch is no change");
                must(chmod(at(at_side, "dir-1/file-8"), i ? 0644 : 0755) == 0, "chmod");
                must_differ(must_agree(f), last);
                put_text(at(at_side, "dir-1/fresh"), "text");
                must(rename(at(at_side, "dir-1/fresh"), keep(at(at_side, "dir-1/file-9"))) == 0, "rename over");
                must_agree(f);
                must(mkdir(at(at_side, "new"), 0755) == 0 && mkdir(at(at_side, "new/deep"), 0755) == 0, "mkdir");
                put_text(at(at_side, "new/deep/file"), "text");
                must(symlink("file", at(at_side, "new/deep/link")) == 0, "symlink");
                must_agree(f);
                must(rename(at(at_side, "new"), keep(at(at_side, "dir-0/moved"))) == 0, "rename a directory");
                put_text(at(at_side, "dir-0/moved/deep/file"), "after it was moved");
                must_agree(f);
                sh(at_side, "rm -rf dir-0/moved dir-1/file-1 dir-1/file-2; truncate -s 100 dir-1/file-3; echo more >> dir-1/file-4");
                last = must_agree(f);
        }
}

/* What is done to one name of a file is done to all. */
CASE(hash, follows_every_name_of_a_file)
{
        if (f->bind)
                return;
        sh(f->src, "mkdir a b; echo one > a/f; ln a/f b/g");
        must_agree(f);
        sh(f->src, "echo two > b/g");
        must_agree(f);
        sh(f->mnt, "echo three >> a/f");
        must_agree(f);
}

CASE(hash, comes_back_with_the_branch)
{
        char *one, *two;

        if (f->bind)
                return;
        make_tree(f->src, DIRS);
        sh(f->src,
           "git init -q -b one . && git add -A && git commit -qm one && git checkout -qb two && rm -r dir-3 && mkdir x && echo x > x/y "
           "&& for i in dir-1*/*; do echo two > $i; done && git add -A && git commit -qm two");
        two = must_agree(f);
        sh(f->src, "git checkout -q one");
        one = must_agree(f);
        must_differ(one, two);
        sh(f->mnt, "git checkout -q two");
        must(strcmp(must_agree(f), two) == 0, "the branch two is not what it was");
        sh(f->mnt, "git checkout -q one");
        must(strcmp(must_agree(f), one) == 0, "the branch one is not what it was");
        sh(f->src, "git gc -q");
        must(strcmp(root_hash(f), one) == 0, "what happens in .git is no change");
}

/* More at once than is kept: then everything is looked at. */
CASE(hash, follows_storms)
{
        if (f->bind)
                return;
        wait_hashed(f);
        make_tree(f->src, DIRS);
        must_agree(f);
        sh(f->mnt, "for i in 1 2 3 4; do cp -r dir-$i copy-$i; done; rm -r dir-5 dir-6 copy-2");
        must_agree(f);
        sh(f->src, "rm -rf dir-*");
        must_agree(f);
}

CASE(hash, remembers_what_it_read)
{
        char *before;
        int64_t reads, hits;

        if (f->bind)
                return;
        make_tree(f->src, DIRS);
        before = must_agree(f);
        fixture_umount(f);
        /* What was hashed in the moment in which it was made is read once more. */
        fixture_mount(f);
        must(strcmp(must_agree(f), before) == 0, "the same content has another hash");
        fixture_umount(f);
        put_text(at(f->src, "dir-2/file-2"), "changed while nobody looked");
        fixture_mount(f);
        must_differ(must_agree(f), before);
        reads = ask(f, "reads");
        hits = ask(f, "hits");
        errno = 0;
        must(hits > reads, "only %ld files were remembered, %ld were read", (long)hits, (long)reads);
        put_text(at(f->src, "dir-2/file-2"), "2/2");
        must(strcmp(must_agree(f), before) == 0, "the old content has another hash");
}

struct until {
        struct fixture *f;
        char * not ;
};

static bool has_another_hash(void *arg)
{
        struct until *u = arg;
        char text[DIGITS];

        return fixture_status_text(u->f, "root_hash", text, sizeof(text)) && strcmp(text, u->not ) != 0;
}

/* Without being asked for. */
CASE(hash, follows_by_itself)
{
        struct until until = {.f = f};

        if (f->bind)
                return;
        until.not = root_hash(f);
        for (int i = 0; i < EDITS; i++) {
                put_text(at(i % 2 ? f->src : f->mnt, "file"), at("", "%d", i));
                must(wait_until(has_another_hash, &until, 60), "the hash stays what it was");
                until.not = must_agree(f);
        }
}

static const struct variant unwatched[] = {
        {.backing = ON_EXT4, .transport = BY_URING, .watch = WATCH_BY_INOTIFY, .options = "coherence=strict"},
};

/* Nobody tells what changes on the host: there is no saying that the hash is of now, until it is asked for. */
CASE_WITH(hash, is_never_said_to_be_of_now_unwatched, unwatched)
{
        char *before, pending[8];

        if (f->bind)
                return;
        before = must_agree(f);
        put_text(at(f->src, "file"), "text");
        must_differ(must_agree(f), before);
        must(!fixture_status_text(f, "root_hash_pending", pending, sizeof(pending)), "it is a boolean");
}
