/*
 * The branch case: each branch has the artifacts that were made on it, whenever it is checked out; who works in another branch's goes on;
 * and what npm has just installed is never mixed with what was there before.
 */
#include <fcntl.h>
#include <unistd.h>

#include "tests/e2e/tool.h"

#define SCRIPT_FILE "branches.sh"
#define DEVELOPER 1000
#define SWITCHES 20
#define SWITCHES_INSIDE 4

static const struct variant branch_variants[] = {
        {.backing = ON_EXT4, .transport = BY_URING, .watch = WATCH_BY_FANOTIFY, .owner = DEVELOPER},
        {.backing = ON_EXT4, .transport = BY_DEV, .watch = WATCH_BY_INOTIFY, .owner = DEVELOPER},
};

static const char *step(struct fixture *f, const char *dir, const char *name)
{
        return tool(f, dir, SCRIPT_FILE, name);
}

/* When this returns, the mount shows what follows of it. */
static void checkout_in(struct fixture *f, const char *dir, const char *branch)
{
        char text[64];

        snprintf(text, sizeof(text), "checkout %s", branch);
        step(f, dir, text);
        fixture_wait(f);
}

/* On the host. */
static void checkout(struct fixture *f, const char *branch)
{
        checkout_in(f, f->src, branch);
}

/* All there is, as it was when it was made, and made from what is beside it. */
static void must_show(struct fixture *f, const char *dir, const char *want, const char *branch)
{
        tool_same(want, step(f, dir, "describe"), branch);
        step(f, dir, "must_fit");
}

/* What the tools make on the branch, which has nothing yet. */
static const char *install(struct fixture *f, const char *branch)
{
        checkout(f, branch);
        step(f, f->mnt, "must_be_new");
        step(f, f->mnt, "install");
        fixture_wait(f);
        step(f, f->mnt, "must_fit");
        return step(f, f->mnt, "describe");
}

/*
 * A program that holds on to a package
 */

struct reader {
        pid_t pid;
        FILE *ask, *hear;
        char *first; /* what it read at first */
};

static const char *reader_ask(struct reader *r)
{
        static char line[4096];

        must(fputs("\n", r->ask) >= 0 && fflush(r->ask) == 0, "the reader is gone");
        must(fgets(line, sizeof(line), r->hear), "the reader can't read any more");
        return line;
}

static struct reader reader_start(struct fixture *f, const char *package)
{
        const char *script = tool_path("branches/reader.js"), *dir = keep(at(f->mnt, "%s", package));
        int to[2], from[2];
        struct reader r;

        must(pipe2(to, O_CLOEXEC) == 0 && pipe2(from, O_CLOEXEC) == 0, "pipe");
        fflush(NULL);
        r.pid = fork();
        must(r.pid >= 0, "fork");
        if (r.pid == 0) {
                dup2(to[0], 0);
                dup2(from[1], 1);
                execl("/usr/bin/env", "env", "node", script, dir, NULL);
                _exit(127);
        }
        close(to[0]);
        close(from[1]);
        r.ask = fdopen(to[1], "w");
        r.hear = fdopen(from[0], "r");
        must(r.ask && r.hear, "fdopen");
        r.first = keep(reader_ask(&r));
        return r;
}

static void reader_stop(struct reader *r)
{
        fclose(r->ask);
        must(child_wait(r->pid) == 0, "the reader failed");
        fclose(r->hear);
}

/* It reads what it read at first, whichever branch is out. */
static void must_go_on(struct reader *r, const char *branch)
{
        tool_same(r->first, reader_ask(r), branch);
}

static void begin(struct fixture *f)
{
        step(f, f->base, "fetch");
        step(f, f->src, "make_tree");
        fixture_mount(f);
}

CASE_UNMOUNTED(branches, have_each_its_own_artifacts, branch_variants)
{
        static const char *const branches[] = {"main", "topic"};
        struct reader readers[ARRAY_LEN(branches)];
        const char *want[ARRAY_LEN(branches)];

        begin(f);
        for (size_t b = 0; b < ARRAY_LEN(branches); b++) {
                want[b] = install(f, branches[b]);
                readers[b] = reader_start(f, "node_modules/ms");
        }
        must(strcmp(want[0], want[1]) != 0, "the branches have the same artifacts");
        fixture_mount_second(f, "");
        for (unsigned i = 0; i < SWITCHES + SWITCHES_INSIDE; i++) {
                size_t b = i % ARRAY_LEN(branches);

                checkout_in(f, i < SWITCHES ? f->src : f->mnt, branches[b]);
                must_show(f, f->mnt, want[b], branches[b]);
                must_show(f, f->second, want[b], branches[b]);
                for (size_t r = 0; r < ARRAY_LEN(readers); r++)
                        must_go_on(&readers[r], branches[b]);
        }
        for (size_t r = 0; r < ARRAY_LEN(readers); r++)
                reader_stop(&readers[r]);
        step(f, f->src, "must_be_clean");
}

/* Only what was built from the style sheets is another's on a branch that has no other difference. */
CASE_UNMOUNTED(branches, share_what_is_built_from_the_same, branch_variants)
{
        const char *modules, *all;

        begin(f);
        all = install(f, "main");
        modules = step(f, f->mnt, "describe_modules");
        checkout(f, "sheets");
        tool_same(modules, step(f, f->mnt, "describe_modules"), "node_modules of the same lockfile");
        step(f, f->mnt, "must_have_no_css");
        step(f, f->mnt, "compile");
        fixture_wait(f);
        step(f, f->mnt, "must_fit");
        checkout(f, "main");
        must_show(f, f->mnt, all, "main");
}

CASE_UNMOUNTED(branches, keep_what_was_just_installed, branch_variants)
{
        const char *topic, *before, *after, *back;

        begin(f);
        topic = install(f, "topic");
        before = install(f, "main");
        step(f, f->mnt, "install_package");
        fixture_wait(f);
        step(f, f->mnt, "must_fit");
        after = step(f, f->mnt, "describe");
        must(strstr(after, "node_modules/left-pad/index.js"), "what was installed isn't there");

        step(f, f->src, "commit_on padded");
        checkout(f, "topic");
        must_show(f, f->mnt, topic, "topic");
        checkout(f, "main");
        back = step(f, f->mnt, "describe");
        if (strstr(back, "no node_modules\n")) {
                step(f, f->mnt, "install");
                back = step(f, f->mnt, "describe");
        }
        tool_same(before, back, "main, after another branch's installation");
        step(f, f->mnt, "must_fit");
        checkout(f, "padded");
        must_show(f, f->mnt, after, "padded");
        step(f, f->src, "must_be_clean");
}
