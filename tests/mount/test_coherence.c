/*
 * Edits on the host show in the mount, whole and at once, after the barrier; whatever the kernel had cached before.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/mount/case.h"

#define CHECKOUT_FILES 1000
#define BOTH_ROUNDS 25

static void append_text(const char *path, const char *text)
{
        CLEANUP_FD int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);

        must(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text), "append %s", path);
}

static void put_at(const char *path, const char *text, off_t offset)
{
        CLEANUP_FD int fd = open(path, O_WRONLY | O_CLOEXEC);

        must(fd >= 0 && pwrite(fd, text, strlen(text), offset) == (ssize_t)strlen(text), "write %s", path);
}

/*
 * The edits. Each is done in a directory of its own, which has: file, other, script (0755), link -> file, dir/inside, dir/deep/leaf,
 * full/x.
 */

static void edit_write_in_place(void)
{
        put_at("file", "CHANGED", 3);
}

static void edit_overwrite_longer(void)
{
        put_text("file", "a text which is longer than the one that stood there before it, by far");
}

static void edit_overwrite_shorter(void)
{
        put_text("file", "s");
}

static void edit_append(void)
{
        append_text("file", " and more");
}

static void edit_truncate(void)
{
        must(truncate("file", 4) == 0, "truncate");
}

static void edit_extend(void)
{
        must(truncate("file", 20000) == 0, "truncate");
}

static void edit_write_far(void)
{
        put_at("file", "far away", 1 << 20);
}

static void edit_atomic_save(void)
{
        put_text(".file.tmp", "saved by an editor");
        must(rename(".file.tmp", "file") == 0, "rename");
}

static void edit_backup_save(void)
{
        must(rename("file", "file~") == 0, "rename");
        put_text("file", "saved with a backup");
}

static void edit_create(void)
{
        put_text("new", "newly created");
}

static void edit_create_deep(void)
{
        must(mkdir("new", 0755) == 0 && mkdir("new/new", 0755) == 0, "mkdir");
        put_text("new/new/new", "as deep as that");
}

static void edit_delete(void)
{
        must(unlink("file") == 0 && unlink("dir/inside") == 0, "unlink");
}

static void edit_recreate(void)
{
        must(unlink("file") == 0, "unlink");
        put_text("file", "another of that name");
}

static void edit_delete_tree(void)
{
        remove_tree("dir");
}

static void edit_mkdir(void)
{
        must(mkdir("new", 0700) == 0, "mkdir");
}

static void edit_file_becomes_directory(void)
{
        must(unlink("file") == 0 && mkdir("file", 0755) == 0, "mkdir");
        put_text("file/new", "inside");
        remove_tree("dir");
        put_text("dir", "no directory any more");
}

static void edit_rename_file(void)
{
        must(rename("file", "new") == 0 && rename("other", "dir/other") == 0, "rename");
}

static void edit_rename_over(void)
{
        must(rename("other", "file") == 0, "rename");
}

static void edit_rename_directory(void)
{
        must(rename("dir", "new") == 0, "rename");
}

static void edit_rename_directory_deeper(void)
{
        must(rename("dir", "full/new") == 0, "rename");
        put_text("full/new/deep/leaf", "changed after it moved");
        put_text("full/new/deep/later", "created after it moved");
}

static void edit_exchange(void)
{
        must(renameat2(AT_FDCWD, "file", AT_FDCWD, "other", RENAME_EXCHANGE) == 0, "exchange");
        must(renameat2(AT_FDCWD, "dir", AT_FDCWD, "full", RENAME_EXCHANGE) == 0, "exchange");
}

static void edit_chmod(void)
{
        must(chmod("file", 0600) == 0 && chmod("script", 0644) == 0 && chmod("dir", 0711) == 0, "chmod");
}

static void edit_times(void)
{
        must(utimensat(AT_FDCWD, "file", (struct timespec[]){{1000, 1}, {2000, 2}}, 0) == 0, "utimensat");
}

static void edit_xattr(void)
{
        must(setxattr("file", "user.new", "value", 5, 0) == 0 && setxattr("dir", "user.new", "value", 5, 0) == 0, "setxattr");
}

static void edit_symlink(void)
{
        must(unlink("link") == 0 && symlink("other", "link") == 0, "symlink");
        must(symlink("nowhere", ".link") == 0 && rename(".link", "new") == 0, "symlink");
}

static void edit_hard_link(void)
{
        must(link("file", "new") == 0 && link("other", "dir/new") == 0, "link");
        put_at("new", "by its other name", 0);
        must(unlink("other") == 0, "unlink");
        append_text("dir/new", " by its last name");
}

static void edit_many(void)
{
        for (int i = 0; i < 300; i++)
                put_text(at("dir", "many-%d", i), "one of many");
        for (int i = 0; i < 300; i += 2)
                must(unlink(at("dir", "many-%d", i)) == 0, "unlink");
}

static const struct edit {
        const char *name;
        void (*make)(void);
} edits[] = {
        {"write in place", edit_write_in_place},
        {"overwrite longer", edit_overwrite_longer},
        {"overwrite shorter", edit_overwrite_shorter},
        {"append", edit_append},
        {"truncate", edit_truncate},
        {"extend", edit_extend},
        {"write far", edit_write_far},
        {"atomic save", edit_atomic_save},
        {"save with backup", edit_backup_save},
        {"create", edit_create},
        {"create deep", edit_create_deep},
        {"delete", edit_delete},
        {"delete and recreate", edit_recreate},
        {"delete a tree", edit_delete_tree},
        {"mkdir", edit_mkdir},
        {"file becomes directory", edit_file_becomes_directory},
        {"rename a file", edit_rename_file},
        {"rename over", edit_rename_over},
        {"rename a directory", edit_rename_directory},
        {"rename a directory deeper", edit_rename_directory_deeper},
        {"exchange", edit_exchange},
        {"chmod", edit_chmod},
        {"times", edit_times},
        {"xattr", edit_xattr},
        {"replace a symlink", edit_symlink},
        {"hard links", edit_hard_link},
        {"many", edit_many},
};

static void make_playground(const char *where)
{
        CLEANUP_FREE char *dir = strdup(where);

        must(mkdir(dir, 0755) == 0, "mkdir %s", dir);
        put_text(at(dir, "file"), "the file's first content");
        put_text(at(dir, "other"), "the other's");
        put_text(at(dir, "script"), "#!/bin/sh\n");
        must(chmod(at(dir, "script"), 0755) == 0 && symlink("file", at(dir, "link")) == 0, "chmod, symlink");
        must(mkdir(at(dir, "dir"), 0755) == 0 && mkdir(at(dir, "dir/deep"), 0755) == 0 && mkdir(at(dir, "full"), 0755) == 0, "mkdir");
        put_text(at(dir, "dir/inside"), "inside");
        put_text(at(dir, "dir/deep/leaf"), "leaf");
        put_text(at(dir, "full/x"), "x");
}

/* Everything there and much that isn't is in the kernel's caches when the edit comes. */
static void warm(struct fixture *f, const char *dir)
{
        static const char *const absent[] = {"new", "new/new", "file~", "dir/new", "dir/other", "full/new", ".file.tmp", "dir/many-3"};

        must_mirror(f);
        for (size_t i = 0; i < ARRAY_LEN(absent); i++)
                must(access(at(f->mnt, "%s/%s", dir, absent[i]), F_OK) < 0, "%s", absent[i]);
}

static int make_edit(void *arg)
{
        const struct edit *edit = arg;

        edit->make();
        return 0;
}

CASE(coherence, every_kind_of_edit_shows)
{
        for (size_t i = 0; i < ARRAY_LEN(edits); i++) {
                struct trace *want = trace_new(), *have = trace_new();
                char dir[16];

                snprintf(dir, sizeof(dir), "play%zu", i);
                make_playground(at(f->src, "%s", dir));
                fixture_wait(f);
                warm(f, dir);
                must(chdir(at(f->src, "%s", dir)) == 0, "chdir");
                must(child_run(NULL, make_edit, (void *)&edits[i]) == 0, "%s", edits[i].name);
                must(chdir("/") == 0, "chdir");
                fixture_wait(f);
                tree_describe(want, at(f->src, "%s", dir), TREE_IDENTITY);
                tree_describe(have, at(f->mnt, "%s", dir), TREE_IDENTITY);
                trace_must_equal(want, have, edits[i].name);
                trace_free(want);
                trace_free(have);
        }
        must_mirror(f);
}

/* A container holds descriptors, a mapping and a working directory; the host edits, renames and deletes what they are of. */
CASE(coherence, held_files_follow)
{
        CLEANUP_FD int file = -1, dir = -1, victim = -1;
        char buf[64] = "";
        struct stat st;

        make_playground(at(f->src, "p"));
        fixture_wait(f);
        file = open(at(f->mnt, "p/file"), O_RDWR | O_CLOEXEC);
        victim = open(at(f->mnt, "p/other"), O_RDONLY | O_CLOEXEC);
        dir = open(at(f->mnt, "p/dir/deep"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        must(file >= 0 && victim >= 0 && dir >= 0 && fchdir(dir) == 0, "open");
        must(read(file, buf, sizeof(buf)) > 0 && read(victim, buf, sizeof(buf)) > 0, "read");

        put_text(at(f->src, "p/file"), "short");
        append_text(at(f->src, "p/file"), "er and longer again");
        fixture_wait(f);
        must(fstat(file, &st) == 0 && st.st_size == 24, "the size is %ld", (long)st.st_size);
        memset(buf, 0, sizeof(buf));
        must(pread(file, buf, sizeof(buf), 0) == 24 && strcmp(buf, "shorter and longer again") == 0, "it says %s", buf);

        must(rename(at(f->src, "p/file"), at(f->src, "p/moved")) == 0, "rename");
        must(rename(at(f->src, "p/dir"), at(f->src, "p/moved dir")) == 0, "rename");
        fixture_wait(f);
        must(pwrite(file, "WRITTEN", 7, 0) == 7, "write to what was renamed");
        must(stat("leaf", &st) == 0 && st.st_size == 4, "the working directory was renamed");
        must(faccessat(dir, "leaf", F_OK, 0) == 0, "the held directory was renamed");
        put_text("made here", "in the renamed directory");
        must(stat(at(f->src, "p/moved dir/deep/made here"), &st) == 0, "on the host");

        put_text(at(f->src, "p/.other"), "the new other");
        must(rename(at(f->src, "p/.other"), at(f->src, "p/other")) == 0, "rename over");
        fixture_wait(f);
        memset(buf, 0, sizeof(buf));
        must(pread(victim, buf, sizeof(buf) - 1, 0) >= 0 || errno == ESTALE, "the replaced file");
        must(!*buf || strcmp(buf, "the other's") == 0, "the replaced file says %s", buf);
        must(chdir("/") == 0, "chdir");
        must_mirror(f);
}

/* A working directory that the host deletes: errors, no hang, and a new one of that name works. */
CASE(coherence, a_deleted_working_directory)
{
        struct stat st;

        make_playground(at(f->src, "p"));
        fixture_wait(f);
        must(chdir(at(f->mnt, "p/dir/deep")) == 0 && stat("leaf", &st) == 0, "chdir");
        remove_tree(at(f->src, "p"));
        fixture_wait(f);
        must(stat("leaf", &st) < 0 && (errno == ENOENT || errno == ESTALE), "what was deleted is there");
        must(open("new", O_WRONLY | O_CREAT, 0644) < 0 && (errno == ENOENT || errno == ESTALE), "created in the deleted");
        make_playground(at(f->src, "p"));
        fixture_wait(f);
        must(chdir(at(f->mnt, "p/dir/deep")) == 0 && stat("leaf", &st) == 0, "the new one");
        must(chdir("/") == 0, "chdir");
        must_mirror(f);
}

/*
 * Both sides at once
 */

struct side {
        const char *root, *name, *others;
        unsigned seed;
        struct gate *edited, *looked;
        struct fixture *f;
};

static void edit_some(const struct side *s, struct dice *dice, unsigned round)
{
        for (unsigned i = 0; i < 20; i++) {
                unsigned k = dice_roll(dice, 10);
                char text[64];

                snprintf(text, sizeof(text), "%s round %u edit %u", s->name, round, i);
                switch (dice_roll(dice, 5)) {
                case 0:
                        unlink(at(s->root, "shared/%s-%u", s->name, k));
                        break;
                case 1:
                        put_text(at(s->root, "shared/.%s", s->name), text);
                        must(rename(at(s->root, "shared/.%s", s->name), at(s->root, "shared/%s-%u", s->name, k)) == 0, "rename");
                        break;
                case 2:
                        rename(at(s->root, "shared/%s-%u", s->name, k), at(s->root, "shared/%s-%u", s->name, (k + 1) % 10));
                        break;
                default:
                        put_text(at(s->root, "shared/%s-%u", s->name, k), text);
                }
        }
}

static int edit_side(void *arg)
{
        struct side *s = arg;
        struct dice dice = {s->seed};

        for (unsigned round = 0; round < BOTH_ROUNDS; round++) {
                edit_some(s, &dice, round);
                gate_pass(s->edited);
                gate_pass(s->looked);
        }
        return 0;
}

CASE(coherence, both_sides_at_once)
{
        struct gate *edited = gate_new(3), *looked = gate_new(3);
        struct side host = {keep(f->src), "host", "mount", 1, edited, looked, f};
        struct side mount = {keep(f->mnt), "mount", "host", 2, edited, looked, f};
        pid_t a, b;

        must(mkdir(at(f->src, "shared"), 0755) == 0, "mkdir");
        fixture_wait(f);
        a = child_start(NULL, edit_side, &host);
        b = child_start(NULL, edit_side, &mount);
        for (unsigned round = 0; round < BOTH_ROUNDS; round++) {
                gate_pass(edited);
                fixture_wait(f);
                must_mirror(f);
                gate_pass(looked);
        }
        must(child_wait(a) == 0 && child_wait(b) == 0, "the editors");
}

/* Without a barrier it shows soon, too. */
struct awaited {
        const char *path, *text;
};

static bool says(void *arg)
{
        const struct awaited *a = arg;
        CLEANUP_FREE char *text = NULL;

        return fd_read_file(AT_FDCWD, a->path, 1024, &text) >= 0 && strcmp(text, a->text) == 0;
}

CASE(coherence, edits_show_without_being_asked_for)
{
        struct awaited a = {.path = keep(at(f->mnt, "file"))};
        char text[32];

        put_text(at(f->src, "file"), "first");
        for (int i = 0; i < 50; i++) {
                snprintf(text, sizeof(text), "version %d%s", i, i % 2 ? " longer" : "");
                a.text = text;
                put_text(at(f->src, "file"), text);
                must(wait_until(says, &a, 30), "%s doesn't show", text);
        }
}
