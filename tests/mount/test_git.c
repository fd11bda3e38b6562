/*
 * git and a compiler at work in the mount, and git on the host at the same time's other end.
 */
#include <fcntl.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/mount/case.h"

#define FILES 1000
#define UNITS 20

static const char *const git_env[] = {
        "GIT_CONFIG_GLOBAL=/dev/null",
        "GIT_CONFIG_SYSTEM=/dev/null",
        "GIT_CONFIG_COUNT=2",
        "GIT_CONFIG_KEY_0=safe.directory",
        "GIT_CONFIG_VALUE_0=*",
        "GIT_CONFIG_KEY_1=gc.auto",
        "GIT_CONFIG_VALUE_1=0",
        "GIT_AUTHOR_NAME=A",
        "GIT_AUTHOR_EMAIL=a@example",
        "GIT_COMMITTER_NAME=A",
        "GIT_COMMITTER_EMAIL=a@example",
        NULL,
};

/* Run a shell command in `dir`; it must succeed. */
static void sh(const char *dir, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void sh(const char *dir, const char *fmt, ...)
{
        static const char prefix[] = "cd \"$1\"; exec >/dev/null; ";
        char command[4096];
        va_list args;
        int rc;

        strcpy(command, prefix);
        va_start(args, fmt);
        vsnprintf(command + strlen(prefix), sizeof(command) - strlen(prefix), fmt, args);
        va_end(args);
        rc = child_exec((const char *const[]){"sh", "-euc", command, "sh", dir, NULL}, git_env, NULL, NULL, 0);
        errno = 0;
        must(rc == 0, "in %s: %s: %d", dir, command, rc);
}

/* git status has nothing to say. */
static void must_be_clean(const char *dir)
{
        static char out[65536];
        int rc = child_exec((const char *const[]){"git", "-C", dir, "status", "--porcelain", NULL}, git_env, NULL, out, sizeof(out));

        errno = 0;
        must(rc == 0 && !*out, "git status in %s (%d):\n%s", dir, rc, out);
}

static void put_files(const char *root, const char *version, unsigned step)
{
        for (unsigned i = 0; i < FILES; i += step) {
                char text[256];

                mkdir(at(root, "d%u", i % 17), 0755);
                snprintf(text, sizeof(text), "file %u in version %s\n%s", i, version, i % 3 ? "more\n" : "");
                put_text(at(root, "d%u/f%u", i % 17, i), text);
        }
}

/* A repository with branches one, two (all files changed, some gone, some new, a directory moved) and three (few changed). */
static void make_repository(const char *root)
{
        must(mkdir(root, 0755) == 0, "mkdir %s", root);
        sh(root, "git init -q -b one .");
        put_files(root, "one", 1);
        must(symlink("d1/f1", at(root, "link")) == 0, "symlink");
        sh(root, "git add -A; git commit -qm one; git checkout -qb two");
        put_files(root, "two", 1);
        sh(root,
           "rm -r d3 d4/f4; mkdir d3new; git mv -k d5 d3new/d5; ln -sfn d2/f2 link; echo x > new; chmod +x d1/f1; git add -A; git commit "
           "-qm two; git checkout -q one; git checkout -qb three");
        put_files(root, "three", 50);
        sh(root, "git add -A; git commit -qm three; git checkout -q one");
}

CASE(git, clone_into_the_mount)
{
        char *origin = keep(at(f->plain, "origin")), *clone = keep(at(f->mnt, "clone"));

        make_repository(origin);
        sh(f->mnt, "git clone -q '%s' clone", origin);
        must_be_clean(clone);
        sh(clone, "git checkout -q two; git checkout -q three; git checkout -q one; git checkout -q two");
        must_be_clean(clone);
        sh(clone, "echo more >> d1/f1; git commit -qam more; git gc -q --prune=now; git fsck --full --strict");
        must_be_clean(clone);
        sh(clone, "git repack -adq; git stash list; git worktree add -q ../tree one; git log --stat");
        must_be_clean(at(f->mnt, "tree"));
        fixture_wait(f);
        must_mirror(f);
}

/* The index stays good on both sides, whoever wrote it: inode numbers, times and sizes are the same. */
CASE(git, checkout_on_both_sides)
{
        char *host = keep(at(f->src, "repo")), *mount = keep(at(f->mnt, "repo"));
        static const char *const branches[] = {"two", "one", "three", "two", "three", "one"};

        make_repository(host);
        fixture_wait(f);
        must_be_clean(mount);
        must_mirror(f);
        for (size_t i = 0; i < ARRAY_LEN(branches); i++) {
                sh(i % 2 ? mount : host, "git checkout -q %s", branches[i]);
                fixture_wait(f);
                must_mirror(f);
                must_be_clean(mount);
                must_be_clean(host);
        }
        sh(mount, "git diff-files --quiet; git gc -q; git fsck --full");
        sh(host, "git diff-files --quiet; git fsck --full");
}

struct reading {
        const char *repo;
        unsigned stop;
};

static int keep_reading(void *arg)
{
        struct reading *r = arg;

        while (!__atomic_load_n(&r->stop, __ATOMIC_ACQUIRE))
                child_exec((const char *const[]){"sh", "-c", "exec git -C \"$1\" --no-optional-locks status >/dev/null 2>&1", "sh", r->repo,
                                                 NULL},
                           git_env, NULL, NULL, 0);
        return 0;
}

/* The mount is read all along while the host changes branches: after the barrier it is the branch and nothing else. */
CASE(git, checkout_while_the_mount_is_read)
{
        char *host = keep(at(f->src, "repo"));
        static const char *const branches[] = {"two", "three", "two", "one", "two", "three", "one", "two"};
        struct reading *r = shared_new(sizeof(*r));
        pid_t reader;

        make_repository(host);
        r->repo = keep(at(f->mnt, "repo"));
        reader = child_start(NULL, keep_reading, r);
        for (size_t i = 0; i < ARRAY_LEN(branches); i++) {
                sh(host, "git checkout -q %s", branches[i]);
                fixture_wait(f);
                must_mirror(f);
        }
        __atomic_store_n(&r->stop, 1, __ATOMIC_RELEASE);
        must(child_wait(reader) == 0, "the reader");
        must_be_clean(at(f->mnt, "repo"));
}

static void put_sources(const char *root)
{
        CLEANUP_FREE char *make = NULL;

        for (int i = 0; i < UNITS; i++) {
                char text[512];

                snprintf(text, sizeof(text),
                         "#include \"all.h\"\n#include <stdio.h>\n#include <string.h>\n"
                         "int unit%d(int x)\n{\n        char b[64];\n        snprintf(b, sizeof(b), \"%%d\", x + %d);\n"
                         "        return (int)strlen(b) %% 2 + 1;\n}\n",
                         i, i);
                put_text(at(root, "unit%d.c", i), text);
        }
        must(asprintf(&make,
                      "O := $(patsubst %%,unit%%.o,$(shell seq 0 %d))\n"
                      "all: prog lib.a\nprog: main.o $(O)\n\t$(CC) -o $@ $^\nlib.a: $(O)\n\trm -f $@\n\tar rcs $@ $^\n"
                      "%%.o: %%.c all.h\n\t$(CC) -O1 -MMD -c -o $@ $<\n-include $(wildcard *.d)\n",
                      UNITS - 1) > 0,
             "memory");
        put_text(at(root, "Makefile"), make);
}

static void put_main(const char *root)
{
        FILE *header = fopen(at(root, "all.h"), "we"), *source = fopen(at(root, "main.c"), "we");

        must(header && source, "fopen");
        fprintf(source, "#include \"all.h\"\nint main(void)\n{\n        int sum = 0;\n");
        for (int i = 0; i < UNITS; i++) {
                fprintf(header, "int unit%d(int x);\n", i);
                fprintf(source, "        sum += unit%d(%d);\n", i, i);
        }
        fprintf(source, "        return sum > 0 ? 0 : 1;\n}\n");
        must(fclose(header) == 0 && fclose(source) == 0, "fclose");
}

/* Not before the agent closed what it wrote it with. */
static bool runs(void *arg)
{
        return child_exec((const char *const[]){"sh", "-c", "cd \"$1\" && exec ./prog 2>/dev/null", "sh", arg, NULL}, NULL, NULL, NULL,
                          0) == 0;
}

CASE(git, a_c_build)
{
        char *mount = keep(at(f->mnt, "c")), *host = keep(at(f->src, "c"));

        must(mkdir(host, 0755) == 0, "mkdir");
        put_sources(host);
        put_main(host);
        fixture_wait(f);
        sh(mount, "make -sj2; ./prog; make -q");
        fixture_wait(f);
        must_mirror(f);
        must(wait_until(runs, host, 30), "the program can't be run on the host");
        sh(host, "make -q; touch unit3.c; ! make -q");
        fixture_wait(f);
        sh(mount, "! make -q; make -sj2; make -q; ./prog; rm -f *.o; make -sj2; ./prog");
        sh(host, "make -q");
        fixture_wait(f);
        must_mirror(f);
}
