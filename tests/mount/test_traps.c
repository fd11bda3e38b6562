/*
 * The bugs that prototypes really had (DESIGN section 13), each provoked by several processes at once.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/mount/case.h"

#define WORKERS 6
#define ROUNDS 1500
#define NAMES 8

struct worker {
        const char *dir; /* absolute, in the mount */
        const char *src;
        unsigned id;
        unsigned *stop;
};

static void run_workers(struct worker *w, unsigned count, int (*fn)(void *arg), struct fixture *f)
{
        unsigned *stop = shared_new(sizeof(*stop));
        pid_t pids[WORKERS];

        for (unsigned i = 0; i < count; i++) {
                w[i] = (struct worker){keep(f->mnt), keep(f->src), i, stop};
                pids[i] = child_start(NULL, fn, &w[i]);
        }
        for (unsigned i = 0; i < count; i++)
                must(child_wait(pids[i]) == 0, "worker %u", i);
}

/* A link's or file's text begins with its own name: "NAME ROUND". */
static void must_be_own(const char *name, const char *text, ssize_t len, const char *what)
{
        size_t n = strlen(name);

        errno = 0;
        must(len > (ssize_t)n && memcmp(text, name, n) == 0 && text[n] == ' ', "%s of %s says: %.*s", what, name, (int)len, text);
}

static int mix_symlinks(void *arg)
{
        const struct worker *w = arg;
        struct dice dice = {w->id + 1};
        char name[32], text[64], back[64];

        must(chdir(w->dir) == 0, "chdir");
        for (unsigned i = 0; i < ROUNDS; i++) {
                ssize_t n;

                snprintf(name, sizeof(name), "w%u-%u", w->id, i % NAMES);
                snprintf(text, sizeof(text), "%s %u", name, i);
                unlink(name);
                must(symlink(text, name) == 0, "symlink %s", name);
                n = readlink(name, back, sizeof(back));
                must(n == (ssize_t)strlen(text) && memcmp(text, back, (size_t)n) == 0, "own link %s says %.*s", text, (int)n, back);
                snprintf(name, sizeof(name), "w%u-%u", dice_roll(&dice, WORKERS), dice_roll(&dice, NAMES));
                n = readlink(name, back, sizeof(back));
                must(n >= 0 || errno == ENOENT || errno == ESTALE, "readlink %s", name);
                if (n >= 0)
                        must_be_own(name, back, n, "the link");
        }
        return 0;
}

/* The backing reuses inode numbers before the kernel forgets the old nodes. */
CASE(traps, symlinks_keep_their_own_target)
{
        struct worker w[WORKERS];

        run_workers(w, WORKERS, mix_symlinks, f);
        fixture_wait(f);
        must_mirror(f);
}

static int mix_files(void *arg)
{
        const struct worker *w = arg;
        struct dice dice = {w->id + 1};
        char name[32], text[64], back[64];

        must(chdir(w->dir) == 0, "chdir");
        for (unsigned i = 0; i < ROUNDS; i++) {
                CLEANUP_FD int fd = -1;
                ssize_t n;

                snprintf(name, sizeof(name), "w%u-%u", w->id, i % NAMES);
                snprintf(text, sizeof(text), "%s %u", name, i);
                unlink(name);
                put_text(name, text);
                snprintf(name, sizeof(name), "w%u-%u", dice_roll(&dice, WORKERS), dice_roll(&dice, NAMES));
                fd = open(name, O_RDONLY | O_CLOEXEC);
                must(fd >= 0 || errno == ENOENT || errno == ESTALE, "open %s", name);
                if (fd < 0)
                        continue;
                n = read(fd, back, sizeof(back));
                must(n >= 0 || errno == ESTALE, "read %s", name);
                if (n > 0)
                        must_be_own(name, back, n, "the file");
        }
        return 0;
}

CASE(traps, files_keep_their_own_content)
{
        struct worker w[WORKERS];

        run_workers(w, WORKERS, mix_files, f);
        fixture_wait(f);
        must_mirror(f);
}

/* The last worker replaces, renames and deletes on the host what the others look at through the mount. */
static int host_churn(const struct worker *w)
{
        struct dice dice = {99};
        char name[32], text[64];

        must(chdir(w->src) == 0, "chdir");
        for (unsigned i = 0; i < 4 * ROUNDS; i++) {
                snprintf(name, sizeof(name), "n%u", dice_roll(&dice, NAMES));
                snprintf(text, sizeof(text), "%s %u", name, i);
                switch (dice_roll(&dice, 4)) {
                case 0:
                        unlink(name);
                        break;
                case 1:
                        put_text(at(".", "tmp-%s", name), text);
                        must(rename(at(".", "tmp-%s", name), name) == 0, "rename");
                        break;
                default:
                        unlink(name);
                        put_text(name, text);
                }
        }
        __atomic_store_n(w->stop, 1, __ATOMIC_RELEASE);
        return 0;
}

static int watch_host_churn(void *arg)
{
        const struct worker *w = arg;
        struct dice dice = {w->id + 1};
        int held[NAMES];
        char name[32], back[64];

        if (w->id == WORKERS - 1)
                return host_churn(w);
        memset(held, -1, sizeof(held));
        must(chdir(w->dir) == 0, "chdir");
        while (!__atomic_load_n(w->stop, __ATOMIC_ACQUIRE)) {
                unsigned k = dice_roll(&dice, NAMES);
                ssize_t n;

                snprintf(name, sizeof(name), "n%u", k);
                if (held[k] < 0 || dice_roll(&dice, 3) == 0) {
                        fd_close(&held[k]);
                        held[k] = open(name, O_RDONLY | O_CLOEXEC);
                        must(held[k] >= 0 || errno == ENOENT || errno == ESTALE, "open %s", name);
                }
                if (held[k] < 0)
                        continue;
                n = pread(held[k], back, sizeof(back), 0);
                must(n >= 0 || errno == ESTALE || errno == ENOENT, "read %s", name);
                if (n > 0 && back[0])
                        must_be_own(name, back, n, "the held file");
        }
        return 0;
}

CASE(traps, live_nodes_never_show_another_file)
{
        struct worker w[WORKERS];

        run_workers(w, WORKERS, watch_host_churn, f);
        fixture_wait(f);
        must_mirror(f);
}

static int exchange_or_look(void *arg)
{
        const struct worker *w = arg;
        struct stat st;

        must(chdir(w->dir) == 0, "chdir");
        if (w->id == 0) {
                for (unsigned i = 0; i < ROUNDS; i++) {
                        must(renameat2(AT_FDCWD, "x", AT_FDCWD, "deep/y", RENAME_EXCHANGE) == 0, "exchange");
                        must(stat(i % 2 ? "x/sub/only-x" : "x/sub/only-y", &st) == 0, "what was exchanged, round %u", i);
                        must(stat(i % 2 ? "deep/y/sub/only-y" : "deep/y/sub/only-x", &st) == 0, "what was exchanged, round %u", i);
                }
                __atomic_store_n(w->stop, 1, __ATOMIC_RELEASE);
                return 0;
        }
        while (!__atomic_load_n(w->stop, __ATOMIC_ACQUIRE)) {
                must(stat("x/sub/f", &st) == 0, "x/sub/f");
                must(stat("deep/y/sub/f", &st) == 0, "deep/y/sub/f");
        }
        return 0;
}

CASE(traps, exchanged_subtrees_stay_reachable)
{
        struct worker w[4];

        must(mkdir(at(f->mnt, "deep"), 0755) == 0, "mkdir");
        must(mkdir(at(f->mnt, "x"), 0755) == 0 && mkdir(at(f->mnt, "deep/y"), 0755) == 0, "mkdir");
        must(mkdir(at(f->mnt, "x/sub"), 0755) == 0 && mkdir(at(f->mnt, "deep/y/sub"), 0755) == 0, "mkdir");
        put_text(at(f->mnt, "x/sub/f"), "x");
        put_text(at(f->mnt, "deep/y/sub/f"), "y");
        put_text(at(f->mnt, "x/sub/only-x"), "x");
        put_text(at(f->mnt, "deep/y/sub/only-y"), "y");
        run_workers(w, ARRAY_LEN(w), exchange_or_look, f);
        fixture_wait(f);
        must_mirror(f);
}

static int alias_and_drop(void *arg)
{
        const struct worker *w = arg;
        char first[32], second[32], third[32], back[64];

        must(chdir(w->dir) == 0, "chdir");
        snprintf(first, sizeof(first), "a%u", w->id);
        snprintf(second, sizeof(second), "d/b%u", w->id);
        snprintf(third, sizeof(third), "c%u", w->id);
        for (unsigned i = 0; i < ROUNDS / 3; i++) {
                CLEANUP_FD int fd = -1;
                struct stat st;
                ssize_t n;

                put_text(first, at(first, "%u", i));
                must(link(first, second) == 0 && link(second, third) == 0, "link");
                must(stat(third, &st) == 0 && st.st_nlink == 3, "%lu links", (unsigned long)st.st_nlink);
                must(unlink(third) == 0, "the alias used last goes");
                must(stat(second, &st) == 0 && st.st_nlink == 2, "the second of them, %lu links", (unsigned long)st.st_nlink);
                must(chmod(first, 0600) == 0 && truncate(first, st.st_size) == 0, "the first");
                must(unlink(first) == 0, "the first goes");
                fd = open(second, O_RDWR | O_CLOEXEC);
                must(fd >= 0 && fstat(fd, &st) == 0, "the survivor");
                n = read(fd, back, sizeof(back));
                must(st.st_nlink == 1 && n == st.st_size, "the survivor: %lu links", (unsigned long)st.st_nlink);
                must(rename(second, first) == 0 && unlink(first) == 0, "and its end");
                must(fstat(fd, &st) == 0 && st.st_nlink == 0, "links of the unlinked: %lu", (unsigned long)st.st_nlink);
        }
        return 0;
}

CASE(traps, surviving_hard_links_answer)
{
        struct worker w[4];

        must(mkdir(at(f->mnt, "d"), 0755) == 0, "mkdir");
        run_workers(w, ARRAY_LEN(w), alias_and_drop, f);
        fixture_wait(f);
        must_mirror(f);
}

static int unlink_and_use(void *arg)
{
        const struct worker *w = arg;
        char name[32], back[64];

        must(chdir(w->dir) == 0, "chdir");
        snprintf(name, sizeof(name), "same name");
        for (unsigned i = 0; i < ROUNDS / 3; i++) {
                CLEANUP_FD int fd = open(at(".", "t%u", w->id), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
                struct stat st;
                size_t len;

                must(fd >= 0, "open");
                len = (size_t)snprintf(back, sizeof(back), "worker %u round %u", w->id, i);
                must(rename(at(".", "t%u", w->id), name) == 0, "all of them over one name");
                must(pwrite(fd, back, len, 0) == (ssize_t)len, "write");
                unlink(name);
                must(fstat(fd, &st) == 0, "fstat of the unlinked");
                must(st.st_nlink == 0 && (size_t)st.st_size == len, "%lu links, size %ld", (unsigned long)st.st_nlink, (long)st.st_size);
                must(ftruncate(fd, 8) == 0 && fstat(fd, &st) == 0 && st.st_size == 8, "ftruncate of the unlinked");
                memset(back, 0, sizeof(back));
                must(pread(fd, back, sizeof(back), 0) == 8, "read of the unlinked");
                must((unsigned)(back[7] - '0') == w->id, "it is another's: %s", back);
        }
        return 0;
}

CASE(traps, unlinked_open_files_live_on)
{
        struct worker w[4];

        run_workers(w, ARRAY_LEN(w), unlink_and_use, f);
        fixture_wait(f);
        must_mirror(f);
}

static int replace_or_read(void *arg)
{
        const struct worker *w = arg;
        const char *temp = keep(at(".", "temp%u", w->id));
        static char text[9000];
        struct stat st;

        must(chdir(w->dir) == 0, "chdir");
        if (w->id < 2) {
                for (unsigned i = 0; i < ROUNDS / 2; i++) {
                        size_t len = 1 + (i * 97) % (sizeof(text) - 1);

                        memset(text, 'a' + (int)(i % 26), len);
                        put_file(temp, text, len);
                        must(rename(temp, "target") == 0, "rename over");
                }
                __atomic_fetch_add(w->stop, 1, __ATOMIC_ACQ_REL);
                return 0;
        }
        while (__atomic_load_n(w->stop, __ATOMIC_ACQUIRE) < 2) {
                CLEANUP_FD int fd = open("target", O_RDONLY | O_CLOEXEC);
                ssize_t n;

                must(fd >= 0, "the target was gone for a moment");
                must(fstat(fd, &st) == 0, "fstat");
                n = read(fd, text, sizeof(text));
                must(n == st.st_size && n > 0, "%zd of %ld bytes", n, (long)st.st_size);
                for (ssize_t k = 1; k < n; k++)
                        must(text[k] == text[0], "a mixture of two versions at %zd", k);
        }
        return 0;
}

CASE(traps, renamed_over_is_never_absent_nor_mixed)
{
        struct worker w[4];

        put_text(at(f->mnt, "target"), "aaaa");
        run_workers(w, ARRAY_LEN(w), replace_or_read, f);
        fixture_wait(f);
        must_mirror(f);
}
