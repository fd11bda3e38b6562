/*
 * fidelity [--all] [--write] [--only PATTERN] [FILE]: make every edit beside watchers of a mount and of a bind mount, in both profiles,
 * each by one transport (--all: by both), and compare what they hear: with each other, and with the table in FILE
 * (packaging/manual/fidelity.md), which --write writes.
 */
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "sync/agent/paths.h"
#include "sync/agent/record.h"
#include "sync/serve/client.h"
#include "tests/fidelity/fidelity.h"

#define TABLE "packaging/manual/fidelity.md"
#define LIFE 1800
#define TRIES 4

static const struct variant variants[] = {
        {.backing = ON_EXT4, .transport = BY_URING, .options = "replay=on", .life = LIFE},
        {.backing = ON_TMPFS, .transport = BY_DEV, .options = "replay=on", .life = LIFE},
        {.backing = ON_EXT4, .transport = BY_DEV, .profile = PROFILE_DATA, .options = "replay=on", .life = LIFE},
        {.backing = ON_EXT4, .transport = BY_URING, .profile = PROFILE_DATA, .options = "replay=on", .life = LIFE},
};

static const char head[] =
        "# What inotify watchers of a mount hear of the host's edits\n\n"
        "`make fidelity` makes this table, and `make check` fails when what is heard differs from it. Each edit is made on the host, with\n"
        "`replay=on` and fanotify as the watch, in the source, while somebody in another mount namespace watches the mount; and beside it, "
        "in a\n"
        "directory that is bind mounted. All directories and files are watched, and once more the directories only. OPEN, ACCESS and\n"
        "CLOSE_NOWRITE are left out. \"itself\" is what only an object's own watcher hears; halves of a rename have the same number.\n\n"
        "**same** is the same events in the same order. What is different has a name, which `differences.md` explains. Here the edit's "
        "system\n"
        "calls are made one after the other; each edit is made at full speed as well, when any of the named differences may apply, but no "
        "other.\n";

struct options {
        bool write;
        bool all;
        const char *only;
        const char *file;
};

/* One variant's comparison, in a mount namespace of its own. */
struct trial {
        const struct options *o;
        struct fixture *f;
        const char *bind, *bind_source; /* of a directory beside the source, and of the source */
        FILE *out;
        FILE *slow; /* where what takes long goes; NULL: that is left out */
        unsigned playgrounds, failed;
};

/* As `dsfs wait` does, without starting it, for that is done some thousand times. */
static void settle(void *arg)
{
        const struct fixture *f = arg;
        char id[SOURCE_ID_TEXT], name[SOURCE_ID_TEXT + 5];
        CLEANUP_FREE char *why = NULL;
        CLEANUP_FD int fd = -1;
        json_t *answer = NULL;
        bool answered;
        pid_t pid;

        path_source_id(f->src, id);
        record_socket_name(id, name);
        fd = client_connect(at(f->base, "run/dsfs"), name, &pid);
        must(fd >= 0, "no agent listens at %s/run/dsfs/%s", f->base, name);
        must(client_ask(fd, "wait", json_pack("{s:i}", "timeout_ms", 60000), 60000, &answer, &answered, &why) == 0, "wait: %s", why);
        json_decref(answer);
        errno = 0;
}

struct both {
        struct heard bind, mount;
};

/* In a directory `base` of the host, seen at `through`. */
static struct heard make_in(struct trial *t, const char *base, const char *through, const struct edit *edit, bool files, bool paced)
{
        const char *dir = keep(at(base, "p%u", t->playgrounds)), *w = keep(at(dir, "w"));
        struct heard h;
        struct ear *e;

        edit_furnish(dir, keep(at(t->f->area, "out")));
        settle(t->f);
        e = ear_open(keep(at(through, "p%u/w", t->playgrounds)), w, files);
        edit_make(edit, w, paced ? settle : NULL, t->f);
        settle(t->f);
        h = ear_hear(e);
        ear_close(e);
        return h;
}

/* Not in the same directory: dsfs has the source's files open, and so they are gone for good later than elsewhere. */
static struct both make_heard(struct trial *t, const struct edit *edit, bool files, bool paced)
{
        struct both b;

        t->playgrounds++;
        b.bind = make_in(t, t->f->plain, t->bind, edit, files, false);
        b.mount = make_in(t, t->f->src, t->f->mnt, edit, files, paced);
        return b;
}

static void both_release(struct both *b)
{
        heard_release(&b->bind);
        heard_release(&b->mount);
}

static void fail(struct trial *t, const struct edit *edit, const char *how, const struct both *b)
{
        t->failed++;
        fprintf(stderr, "%s, %s: no rule explains the difference\n    bind:  %s\n    mount: %s\n", edit->name, how, heard_text(&b->bind),
                heard_text(&b->mount));
}

/* "same", or the names of the differences; *bind is what the bind mount's watcher heard. A difference that isn't there each time is none:
 * the agent may have had a directory open for a moment, which has its DELETE_SELF come later, in the bind mount too. */
static const char *cell(struct trial *t, const struct edit *edit, bool files, const char **bind)
{
        const char *text = "same";
        int rules = -1;

        for (int i = 0; i < TRIES && rules != 0; i++) {
                struct both b = make_heard(t, edit, files, true);

                rules = rules_compare(&b.bind, &b.mount, RULE_ALL);
                *bind = heard_text(&b.bind);
                if (rules > 0)
                        text = keep(at("", "%s: %s", rules_text((unsigned)rules), heard_text(&b.mount)) + 1);
                if (rules < 0 && i + 1 == TRIES)
                        fail(t, edit, files ? "files watched" : "directories watched", &b);
                both_release(&b);
        }
        return rules ? text : "same";
}

static void compare_edit(struct trial *t, const struct edit *edit)
{
        const char *bind, *bind_dirs;
        const char *files = cell(t, edit, true, &bind), *dirs = cell(t, edit, false, &bind_dirs);

        fprintf(t->out, "| %s | %s | %s | %s |\n", edit->name, bind, files, dirs);
        for (int i = 0; i < 2; i++) {
                struct both fast = make_heard(t, edit, i, false);

                if (rules_compare(&fast.bind, &fast.mount, RULE_ALL) < 0)
                        fail(t, edit, i ? "at full speed, files watched" : "at full speed, directories watched", &fast);
                both_release(&fast);
        }
}

/* What it is called, if it is to be run; *out is where it is said. */
static const char *name_of(struct trial *t, const struct tool *tool, FILE **out)
{
        bool slow = strncmp(tool->name, "slow:", 5) == 0;

        *out = slow ? t->slow : t->out;
        return *out ? tool->name + (slow ? 5 : 0) : NULL;
}

static void compare_tool(struct trial *t, const struct tool *tool, const char *called, FILE *out)
{
        const char *name = at("", "t%u", t->playgrounds++) + 1;
        const char *dir = keep(at(t->f->src, "%s", name));
        const char *const prepare[] = {"sh", "-ec", tool->prepare, NULL}, *const script[] = {"sh", "-ec", tool->script, NULL};
        const char *const env[] = {keep(at("TREE=", "%s", dir)), NULL};
        struct names before, after, theirs, mine;
        struct follower *bind, *mount;

        must(mkdir(dir, 0755) == 0 && chdir(dir) == 0, "mkdir %s", dir);
        must(child_exec(prepare, env, NULL, NULL, 0) == 0, "%s: preparing", tool->name);
        fixture_wait(t->f);
        before = names_below(dir);
        bind = follower_start(at(t->bind_source, "%s", strrchr(dir, '/') + 1));
        mount = follower_start(at(t->f->mnt, "%s", strrchr(dir, '/') + 1));
        must(child_exec(script, env, NULL, NULL, 0) == 0, "%s", tool->name);
        fixture_wait(t->f);
        after = names_below(dir);
        theirs = follower_end(bind, &before, &after);
        mine = follower_end(mount, &before, &after);
        must(chdir("/") == 0, "chdir");
        t->failed += names_differ(tool->name, &theirs, &mine);
        fprintf(out, "| %s | %s |\n", called, names_count(&theirs));
        names_release(&before);
        names_release(&after);
        names_release(&theirs);
        names_release(&mine);
}

static bool wanted(const struct options *o, const char *name)
{
        return !o->only || fnmatch(o->only, name, 0) == 0;
}

static int run_trial(void *arg)
{
        struct trial *t = arg;

        must(unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0, "a mount namespace");
        must(mkdir(t->bind, 0755) == 0 && mount(t->f->plain, t->bind, NULL, MS_BIND, NULL) == 0, "bind %s", t->bind);
        must(mkdir(t->bind_source, 0755) == 0 && mount(t->f->src, t->bind_source, NULL, MS_BIND, NULL) == 0, "bind %s", t->bind_source);
        fprintf(t->out, "| edit | on a bind mount | in the mount | directories watched only |\n|---|---|---|---|\n");
        for (size_t i = 0; i < edit_count; i++) {
                if (wanted(t->o, edits[i].name))
                        compare_edit(t, &edits[i]);
        }
        fprintf(t->out, "\n| program | heard alike by who watches the tree and all that appears in it |\n|---|---|\n");
        for (size_t i = 0; i < tool_count; i++) {
                FILE *out;
                const char *called = name_of(t, &tools[i], &out);

                if (called && wanted(t->o, called))
                        compare_tool(t, &tools[i], called, out);
        }
        must(fflush(NULL) == 0, "write");
        return t->failed > 0;
}

static char *text_of(FILE *f)
{
        long size = ftell(f);
        char *text;

        must(fseek(f, 0, SEEK_END) == 0 && (size = ftell(f)) >= 0, "size");
        text = calloc(1, (size_t)size + 1);
        rewind(f);
        must(text && fread(text, 1, (size_t)size, f) == (size_t)size, "read");
        return text;
}

/* What was heard in one variant; NULL when it can't be explained. */
static char *run_variant(const struct options *o, const struct variant *v, FILE *slow)
{
        struct trial t = {.o = o, .out = tmpfile(), .slow = slow};
        char *text = NULL;
        int rc;

        must(t.out, "a temporary file");
        t.f = fixture_prepare(v);
        fixture_mount(t.f);
        t.bind = keep(at(t.f->base, "bind"));
        t.bind_source = keep(at(t.f->base, "bind-source"));
        rc = child_run(NULL, run_trial, &t);
        if (rc == 0)
                text = text_of(t.out);
        fclose(t.out);
        fixture_free(t.f);
        printf("%s, %s: %s\n", v->profile == PROFILE_DATA ? "data" : "source", v->transport == BY_URING ? "io_uring" : "/dev/fuse",
               text ? "explained" : "FAILED");
        fflush(stdout);
        return text;
}

/* 0: both are the same. Shown as diff shows it. */
static int compare_texts(const char *want, const char *have, const char *what)
{
        char dir[] = "/tmp/fidelity.XXXXXX";
        int rc;

        if (strcmp(want, have) == 0)
                return 0;
        must(mkdtemp(dir), "mkdtemp");
        put_text(at(dir, "want"), want);
        put_text(at(dir, "have"), have);
        printf("%s\n", what);
        fflush(stdout);
        rc = child_exec((const char *const[]){"diff", "-U0", keep(at(dir, "want")), keep(at(dir, "have")), NULL}, NULL, NULL, NULL, 0);
        must(rc == 1, "diff");
        remove_tree(dir);
        return 1;
}

/* The lines of `text` that `other` hasn't. */
static void print_own_lines(FILE *out, const char *text, const char *other)
{
        char *copy = strdup(text), *save = NULL;

        must(copy, "memory");
        for (char *line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
                const char *there = strstr(other, line);

                if (!there || strncmp(line, "| edit", 6) == 0 || strncmp(line, "|---|---|---|---|", 17) == 0)
                        fprintf(out, "%s\n", line);
        }
        free(copy);
}

static char *whole_table(const char *source, const char *slow, const char *data)
{
        FILE *f = tmpfile();
        char *text;

        must(f, "a temporary file");
        fprintf(f, "%s\n## profile=source\n\n%s%s\n## profile=data\n\nWhere it differs from the other profile:\n\n", head, source, slow);
        print_own_lines(f, data, source);
        text = text_of(f);
        fclose(f);
        return text;
}

static int run_all(const struct options *o)
{
        char *texts[ARRAY_LEN(variants)];
        FILE *slow = tmpfile();
        CLEANUP_FREE char *slow_text = NULL;
        CLEANUP_FREE char *table = NULL;
        CLEANUP_FREE char *committed = NULL;
        int failed = 0;

        must(slow, "a temporary file");
        for (size_t i = 0; i < ARRAY_LEN(variants); i++) {
                texts[i] = i % 2 && !o->all ? NULL : run_variant(o, &variants[i], i ? NULL : slow);
                failed |= !texts[i] && (i % 2 == 0 || o->all);
        }
        if (failed)
                return 1;
        if (o->all) {
                failed |= compare_texts(texts[0], texts[1], "profile=source differs between io_uring and /dev/fuse:");
                failed |= compare_texts(texts[2], texts[3], "profile=data differs between /dev/fuse and io_uring:");
        }
        slow_text = text_of(slow);
        fclose(slow);
        table = whole_table(texts[0], slow_text, texts[2]);
        for (size_t i = 0; i < ARRAY_LEN(variants); i++)
                free(texts[i]);
        if (o->only || failed) {
                puts(table);
                return failed;
        }
        if (o->write) {
                put_text(o->file, table);
                return 0;
        }
        must(fd_read_file(AT_FDCWD, o->file, 1 << 20, &committed) >= 0, "read %s", o->file);
        return compare_texts(committed, table, "The committed table isn't what is heard (`make fidelity` writes it anew):");
}

int main(int argc, char **argv)
{
        struct options o = {.file = TABLE};

        for (int i = 1; i < argc; i++) {
                if (strcmp(argv[i], "--write") == 0)
                        o.write = o.all = true;
                else if (strcmp(argv[i], "--all") == 0)
                        o.all = true;
                else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc)
                        o.only = argv[++i];
                else
                        o.file = argv[i];
        }
        return run_all(&o);
}
