/*
 * dsfs hash: digits, names, what it leaves behind, how it tells how far it is, and how it is interrupted.
 */
#include <dirent.h>
#include <sys/file.h>
#include <pty.h>
#include <xxhash.h>

#include "tests/mount/cli.h"

#define DIGITS 33
#define BIG_DIRS 24
#define BIG_BYTES (48LL << 20)

TestSuite(cli_hash, .init = start, .fini = stop, .timeout = 600);

/* As xxhsum prints it. */
static const char *digits_of(const void *bytes, size_t len)
{
        static char text[DIGITS];
        XXH128_canonical_t c;

        XXH128_canonicalFromHash(&c, XXH3_128bits(bytes, len));
        for (size_t i = 0; i < sizeof(c.digest); i++)
                snprintf(text + 2 * i, 3, "%02x", c.digest[i]);
        return text;
}

/* Standard output is exactly this. */
static void expect_out(const char *fmt, ...) PRINTF_LIKE(1, 2);
static void expect_out(const char *fmt, ...)
{
        char want[1024];
        va_list ap;

        va_start(ap, fmt);
        vsnprintf(want, sizeof(want), fmt, ap);
        va_end(ap);
        cr_assert_str_eq(box.r.out, want, "printed: %swanted:  %s", box.r.out, want);
}

/* The hash that was printed in the first line. */
static char *digits_said(void)
{
        cr_assert_gt(strlen(box.r.out), DIGITS - 1, "printed: %s\n%s", box.r.out, box.r.err);
        return strndup(box.r.out, DIGITS - 1);
}

static char *hash_of(const char *path)
{
        expect_exit(0, "hash", path);
        return digits_said();
}

static char *below(const char *name)
{
        char *path = NULL;

        cr_assert_gt(asprintf(&path, "%s/%s", box.src, name), 0);
        return path;
}

static size_t entries_in(const char *dir)
{
        CLEANUP_FREE char *path = NULL;
        size_t count = 0;
        struct dirent *e;
        DIR *d;

        cr_assert_gt(asprintf(&path, "%s/state/%s", box.base, dir), 0);
        d = opendir(path);
        if (!d)
                return 0;
        while ((e = readdir(d)))
                count += e->d_name[0] != '.';
        closedir(d);
        return count;
}

static void make_checkout(void)
{
        CLEANUP_FREE char *git = below(".git");

        cr_assert_eq(mkdir(git, 0755), 0);
        put(git, "HEAD", "ref: refs/heads/main\n");
}

/* What the memory's file `state` says. */
static void expect_memory(const char *word)
{
        CLEANUP_FREE char *dir = NULL;
        CLEANUP_FREE char *text = NULL;
        char path[300] = "";
        struct dirent *e;
        DIR *d;

        cr_assert_gt(asprintf(&dir, "%s/state/dsfs", box.base), 0);
        d = opendir(dir);
        cr_assert(d, "%s: %s", dir, strerror(errno));
        while ((e = readdir(d))) {
                if (e->d_name[0] != '.')
                        snprintf(path, sizeof(path), "%s/%.64s/cache/state", dir, e->d_name);
        }
        closedir(d);
        cr_assert_gt(fd_read_file(AT_FDCWD, path, 256, &text), 0, "%s", path);
        cr_assert(strstr(text, word), "%s says: %s", path, text);
}

Test(cli_hash, files_have_the_digits_of_xxhsum)
{
        static char big[300000];
        CLEANUP_FREE char *file = below("big");

        cr_assert_eq(chdir(box.src), 0);
        for (size_t i = 0; i < sizeof(big) - 1; i++)
                big[i] = (char)('a' + i % 23);
        put(box.src, "empty", "");
        put(box.src, "big", big);
        expect_exit(0, "hash", "empty");
        expect_out("99aa06d3014798d86001c324468d497f  empty\n");
        expect_exit(0, "hash", "greeting", "empty", file);
        expect_said(box.r.out, digits_of("hello\n", 6));
        expect_said(box.r.out, digits_of(big, sizeof(big) - 1));
        expect_said(box.r.out, file);
        cr_assert_str_eq(box.r.err, "");
}

Test(cli_hash, symlinks_are_their_targets_text)
{
        cr_assert_eq(chdir(box.src), 0);
        cr_assert_eq(symlink("nowhere", "dangling"), 0);
        cr_assert_eq(symlink("../mnt", "to-dir"), 0);
        expect_exit(0, "hash", "dangling");
        expect_out("%s  dangling\n", digits_of("nowhere", 7));
        expect_exit(0, "hash", "to-dir");
        expect_out("%s  to-dir\n", digits_of("../mnt", 6));
        /* ... unless it is meant to be followed: an empty directory. */
        expect_exit(0, "hash", "to-dir/");
        expect_out("%s  to-dir/\n", digits_of("", 0));
}

Test(cli_hash, odd_names_are_escaped)
{
        cr_assert_eq(chdir(box.src), 0);
        put(box.src, "a\nb\\c", "x");
        expect_exit(0, "hash", "a\nb\\c");
        expect_out("\\%s  a\\nb\\\\c\n", digits_of("x", 1));
}

/* The definition in cache/cache.h, by hand. */
Test(cli_hash, directories_have_a_merkle_hash)
{
        CLEANUP_FREE char *sub = below("sub");
        CLEANUP_FREE char *program = below("run");
        XXH128_canonical_t c;
        char of_sub[64], all[256];
        size_t n = 0;

        cr_assert_eq(mkdir(sub, 0755), 0);
        put(sub, "f", "in it\n");
        put(box.src, "run", "#!/bin/sh\n");
        cr_assert_eq(chmod(program, 0755), 0);
        make_checkout();
#define ADD(to, at, name, kind, hash)                                                                                                      \
        do {                                                                                                                               \
                XXH128_canonicalFromHash(&c, hash);                                                                                        \
                memcpy((to) + (at), name, strlen(name) + 1);                                                                               \
                (at) += strlen(name) + 1;                                                                                                  \
                (to)[(at)++] = kind;                                                                                                       \
                memcpy((to) + (at), c.digest, sizeof(c.digest));                                                                           \
                (at) += sizeof(c.digest);                                                                                                  \
        } while (0)
        ADD(of_sub, n, "f", 'f', XXH3_128bits("in it\n", 6));
        {
                XXH128_hash_t sub_hash = XXH3_128bits(of_sub, n);

                n = 0;
                ADD(all, n, "greeting", 'f', XXH3_128bits("hello\n", 6));
                ADD(all, n, "run", 'x', XXH3_128bits("#!/bin/sh\n", 10));
                ADD(all, n, "sub", 'd', sub_hash);
        }
        expect_exit(0, "hash", box.src);
        expect_out("%s  %s\n", digits_of(all, n), box.src);
        /* By default the current directory. */
        cr_assert_eq(chdir(box.src), 0);
        expect_exit(0, "hash");
        expect_out("%s  .\n", digits_of(all, n));
}

Test(cli_hash, json_is_versioned_and_tells_errors)
{
        CLEANUP_FREE char *odd = below("a\xff");
        const char *path, *type, *hash, *error;
        json_t *root;
        int version;

        put(box.src, "a\xff", "x");
        expect_exit(1, "hash", "--json", odd, box.src, "/nowhere/at/all");
        root = json_loads(box.r.out, 0, NULL);
        cr_assert(root, "not JSON: %s", box.r.out);
        cr_assert_eq(json_unpack(root, "{s:i, s:[{s:s, s:s, s:s}, {s:s}], s:[{s:s, s:s}]}", "version", &version, "entries", "path", &path,
                                 "type", &type, "hash", &hash, "type", &error, "errors", "path", &error, "error", &error),
                     0, "%s", box.r.out);
        cr_assert_eq(version, 1);
        cr_assert(strstr(path, "a\\xff"), "%s", path);
        cr_assert_str_eq(type, "file");
        cr_assert_str_eq(hash, digits_of("x", 1));
        json_decref(root);
}

Test(cli_hash, errors_are_one_sentence_each_and_the_others_go_on)
{
        CLEANUP_FREE char *fifo = below("fifo");

        cr_assert_eq(chdir(box.src), 0);
        cr_assert_eq(mkfifo(fifo, 0644), 0);
        expect_exit(1, "hash", "missing", "fifo", "greeting");
        expect_out("%s  greeting\n", digits_of("hello\n", 6));
        expect_said(box.r.err, "missing: No such file");
        expect_said(box.r.err, "fifo: only files");
        expect_exit(2, "hash", "--frobnicate");
        expect_exit(0, "hash", "--help");
        expect_said(box.r.out, "--remember");
}

Test(cli_hash, only_checkouts_are_remembered_unasked)
{
        CLEANUP_FREE char *plain = hash_of(box.src);
        CLEANUP_FREE char *remembered = NULL;
        CLEANUP_FREE char *again = NULL;

        cr_assert_eq(entries_in("dsfs"), 0, "a directory that is no checkout left a memory behind");
        make_checkout();
        remembered = hash_of(box.src);
        cr_assert_str_eq(remembered, plain);
        cr_assert_eq(entries_in("dsfs"), 1);
        expect_memory("clean");
        again = hash_of(box.src);
        cr_assert_str_eq(again, plain);
        expect_exit(0, "hash", "--remember", box.mnt);
        cr_assert_eq(entries_in("dsfs"), 2);
}

Test(cli_hash, a_part_of_what_is_remembered_is_that_part)
{
        CLEANUP_FREE char *sub = below("sub");
        CLEANUP_FREE char *alone = NULL;
        CLEANUP_FREE char *part = NULL;
        CLEANUP_FREE char *whole = NULL;
        CLEANUP_FREE char *changed = NULL;

        make_checkout();
        cr_assert_eq(mkdir(sub, 0755), 0);
        put(sub, "f", "one\n");
        alone = hash_of(sub);
        cr_assert_eq(entries_in("dsfs"), 0);
        whole = hash_of(box.src);
        part = hash_of(sub);
        cr_assert_str_eq(part, alone);
        put(sub, "f", "two\n");
        changed = hash_of(sub);
        cr_assert_str_neq(changed, alone);
        cr_assert_eq(entries_in("dsfs"), 1);
        put(sub, "f", "one\n");
        free(steal_ptr(&part));
        part = hash_of(sub);
        cr_assert_str_eq(part, alone);
}

Test(cli_hash, damage_is_told_and_mended)
{
        CLEANUP_FREE char *before = NULL;
        CLEANUP_FREE char *after = NULL;
        char command[256];

        make_checkout();
        before = hash_of(box.src);
        snprintf(command, sizeof(command), "for f in %s/state/dsfs/*/cache/data.mdb; do echo nonsense > $f; done", box.base);
        cr_assert_eq(system(command), 0);
        after = hash_of(box.src);
        expect_said(box.r.err, "made anew");
        cr_assert_str_eq(after, before);
        expect_exit(0, "hash", box.src);
        cr_assert_str_eq(box.r.err, "");
}

static size_t memories(void)
{
        char command[256], line[32] = "";
        FILE *p;

        snprintf(command, sizeof(command), "find %s/state -name data.mdb | wc -l", box.base);
        p = popen(command, "re");
        cr_assert(p && fgets(line, sizeof(line), p));
        pclose(p);
        return strtoul(line, NULL, 10);
}

Test(cli_hash, doctor_prunes_the_memory_of_a_source_that_is_gone)
{
        char gone[160], moved[160];

        make_checkout();
        free(hash_of(box.src));
        cr_assert_eq(memories(), 1);
        (void)DSFS("doctor");
        cr_assert_not(strstr(box.r.out, box.src), "a source that is there is none of its business: %s", box.r.out);
        /* As on a disk that isn't mounted: with what it was in gone as well there is no telling. */
        snprintf(gone, sizeof(gone), "%s/parent", box.base);
        snprintf(moved, sizeof(moved), "%s/parent/app", box.base);
        cr_assert(mkdir(gone, 0755) == 0 && rename(box.src, moved) == 0);
        free(hash_of(moved));
        cr_assert_eq(memories(), 2);
        remove_tree(gone);
        (void)DSFS("doctor", "--fix");
        expect_said(box.r.out, "what was remembered of");
        expect_said(box.r.out, box.src);
        cr_assert_not(strstr(box.r.out, moved), "pruned though there is no telling: %s", box.r.out);
        cr_assert_eq(memories(), 1);
        cr_assert_eq(entries_in("dsfs"), 2, "more than the memory was removed");
        (void)DSFS("doctor");
        cr_assert_not(strstr(box.r.out, box.src), "%s", box.r.out);
}

/* While an agent keeps the memory, it is read beside it. */
Test(cli_hash, an_agent_shares_its_memory)
{
        CLEANUP_FREE char *before = NULL;
        CLEANUP_FREE char *after = NULL;
        const char *root;
        json_t *m;

        make_checkout();
        expect_exit(0, "mount", box.src, box.mnt);
        expect_exit(0, "wait", "--hashed", box.mnt);
        before = hash_of(box.src);
        m = status_mount(0);
        root = json_string_value(json_object_get(m, "root_hash"));
        cr_assert_str_eq(root, before);
        cr_assert_eq(json_integer_value(json_object_get(json_object_get(m, "cache"), "reads")), 1);
        json_decref(m);
        expect_exit(0, "status", box.mnt);
        expect_said(box.r.out, before);
        put(box.src, "greeting", "changed\n");
        after = hash_of(box.src);
        cr_assert_str_neq(after, before);
        /* Through the mount there is the same to be read. */
        expect_exit(0, "wait", box.mnt);
        expect_exit(0, "hash", box.mnt);
        cr_assert(strstr(box.r.out, after), "%s", box.r.out);
        cr_assert_eq(memories(), 1);
        expect_exit(0, "umount", box.mnt);
        expect_memory("clean");
}

/* Nothing can be remembered any more: the mount is as good as before, but has no root hash, and says why. */
Test(cli_hash, a_full_disk_turns_the_memory_off_not_the_mount)
{
        CLEANUP_FREE char *state = NULL;
        json_t *m;

        cr_assert_gt(asprintf(&state, "%s/state", box.base), 0);
        cr_assert_eq(mount("small", state, "tmpfs", 0, "size=160k,mode=700"), 0);
        for (int i = 0; i < 3000; i++) {
                char name[32];

                snprintf(name, sizeof(name), "file-%d", i);
                put(box.src, name, name);
        }
        expect_exit(0, "mount", box.src, box.mnt);
        expect_exit(1, "wait", "--hashed", box.mnt);
        expect_said(box.r.err, "has no root hash");
        m = status_mount(3);
        cr_assert_str_eq(json_string_value(json_object_get(m, "verdict")), "degraded");
        cr_assert(json_is_null(json_object_get(m, "root_hash")));
        cr_assert(strstr(box.r.out, "has no root hash: the disk "), "%s", box.r.out);
        json_decref(m);
        put(box.src, "greeting", "changed\n");
        expect_exit(0, "wait", box.mnt);
        expect_content(box.mnt, "greeting", "changed\n");
        /* Asked by itself it is hashed anew. */
        expect_exit(0, "hash", box.src);
        expect_exit(0, "umount", box.mnt);
        cr_assert_eq(umount2(state, MNT_DETACH), 0);
}

/* Who comes second waits until the memory is his. */
Test(cli_hash, an_agent_takes_over_from_a_hash_that_runs)
{
        CLEANUP_FD int lock = -1;
        json_t *m;
        char command[256];

        make_checkout();
        free(hash_of(box.src));
        snprintf(command, sizeof(command), "ls -d %s/state/dsfs/*/cache/owner", box.base);
        {
                char path[300] = "";
                FILE *p = popen(command, "re");

                cr_assert(p && fgets(path, sizeof(path), p));
                pclose(p);
                trim(path);
                lock = open(path, O_RDWR | O_CLOEXEC);
        }
        cr_assert_eq(flock(lock, LOCK_EX), 0);
        expect_exit(0, "mount", box.src, box.mnt, "-o", "prewarm=off");
        expect_exit(1, "wait", "--hashed", "--timeout", "0.3", box.mnt);
        m = status_mount(0);
        cr_assert(json_is_null(json_object_get(m, "root_hash")));
        cr_assert(json_is_true(json_object_get(m, "root_hash_pending")));
        cr_assert(json_is_true(json_object_get(json_object_get(m, "cache"), "waits")));
        json_decref(m);
        fd_close(&lock);
        expect_exit(0, "wait", "--hashed", box.mnt);
        expect_exit(0, "umount", box.mnt);
}

/* Enough to read that it takes a while, though nothing of it is on the disk. */
static void make_big(void)
{
        for (int i = 0; i < BIG_DIRS; i++) {
                CLEANUP_FREE char *dir = NULL;
                CLEANUP_FREE char *file = NULL;

                cr_assert_gt(asprintf(&dir, "%s/big%d", box.src, i), 0);
                cr_assert_gt(asprintf(&file, "%s/zeros", dir), 0);
                cr_assert_eq(mkdir(dir, 0755), 0);
                put(dir, "zeros", "");
                cr_assert_eq(truncate(file, BIG_BYTES), 0);
        }
}

/* Run `dsfs hash` on a terminal that is so wide. With `interrupt`, type ^C once something is drawn. Its exit status; what it wrote. */
static int hash_on_terminal(unsigned short columns, bool interrupt, char *said, size_t size)
{
        struct winsize window = {.ws_row = 24, .ws_col = columns};
        size_t len = 0;
        int status;
        int tty;
        pid_t pid = forkpty(&tty, NULL, NULL, &window);

        cr_assert_geq(pid, 0);
        if (pid == 0) {
                const char *program = getenv("DSFS_BIN") ? getenv("DSFS_BIN") : "build/dsfs";

                setenv("TERM", "xterm", 1);
                execl(program, "dsfs", "hash", box.src, (char *)NULL);
                _exit(127);
        }
        for (;;) {
                ssize_t n = read(tty, said + len, size - 1 - len);

                /* EIO is how a terminal ends. */
                if (n <= 0)
                        break;
                len += (size_t)n;
                if (interrupt && memchr(said, 's', len)) {
                        interrupt = false;
                        cr_assert_eq(write(tty, "\003", 1), 1);
                }
        }
        said[len] = '\0';
        close(tty);
        cr_assert_eq(waitpid(pid, &status, 0), pid);
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

Test(cli_hash, progress_is_drawn_in_one_line_and_taken_away)
{
        static char said[PROC_OUTPUT_MAX];
        const char *at = said;
        const char *end;
        int lines = 0;

        make_big();
        cr_assert_eq(hash_on_terminal(32, false, said, sizeof(said)), 0, "%s", said);
        cr_assert(strstr(said, "\rhashing: "), "nothing was drawn: %s", said);
        while ((at = strstr(at, "\rhashing: ")) && (end = strstr(at, "\x1b[K"))) {
                cr_assert_lt(end - at - 1, 32, "wider than the terminal: %s", at);
                at = end;
                lines++;
        }
        cr_assert_gt(lines, 0);
        end = strstr(said, "\r\x1b[K");
        cr_assert(end, "the line is left standing: %s", said);
        cr_assert_not(strstr(end, "hashing"), "drawn after the end: %s", said);
        cr_assert(strstr(end, box.src), "the hash stands before the line's end: %s", said);
        /* Short ones say nothing, nor does who isn't looked at. */
        expect_exit(0, "hash", box.src);
        cr_assert_str_eq(box.r.err, "");
}

Test(cli_hash, an_interrupt_leaves_the_memory_in_good_order)
{
        static char said[PROC_OUTPUT_MAX];
        CLEANUP_FREE char *hash = NULL;

        make_checkout();
        make_big();
        cr_assert_eq(hash_on_terminal(80, true, said, sizeof(said)), 130, "%s", said);
        cr_assert_not(strstr(said, box.src), "a hash was printed: %s", said);
        expect_memory("clean");
        hash = hash_of(box.src);
        cr_assert_str_eq(box.r.err, "");
}
