/*
 * What is edited, a system call each, so that the same edit can be made at full speed and step by step. Editors' saves are what is known
 * of them (vim's was traced).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tests/fidelity/fidelity.h"

#define OUT "../../../out/"

const struct edit edits[] = {
        {"write in place", "open file; put CHANGED; close"},
        {"overwrite (`>`)", "open file t; put new; close"},
        {"append (`>>`)", "open file a; put more; close"},
        {"several writes", "open file; put one; put two; put three; close"},
        {"write, and keep open", "open file; put one; sync; put two"},
        {"`truncate`, shorter", "truncate file 1"},
        {"`truncate`, longer", "truncate file 20000"},
        {"`truncate`, same size", "truncate file 4"},
        {"`ftruncate`", "open file; size 1; close"},
        {"store through a mapping", "open file r; map; close"},
        {"create", "open made cx; put new; close"},
        {"create empty (`touch`)", "open made c; times; close"},
        {"create with a mode (`cp -p`)", "open made cx; put new; times; mode 600; close"},
        {"`touch`", "open file; times; close"},
        {"`touch -m`", "mtime file"},
        {"delete", "rm file"},
        {"delete while open", "open file; rm file; put x; close"},
        {"delete and create again", "rm file; open file cx; put new; close"},
        {"create and delete", "open made cx; put new; close; rm made"},
        {"`mkdir -p`", "mkdir a; mkdir a/b"},
        {"`rmdir`", "mkdir a; rmdir a"},
        {"create in a new directory", "mkdir a; open a/made cx; close"},
        {"`rm -rf`", "holddir dir; holddir dir/deep; rm dir/deep/leaf; close; rmdir dir/deep; rm dir/inside; rmdir dir"},
        {"`rmtree`, by path", "rm dir/deep/leaf; rmdir dir/deep; rm dir/inside; rmdir dir"},
        {"rename a file", "mv file new"},
        {"rename a file into a directory", "mv file dir/file"},
        {"rename a file over another", "mv other file"},
        {"rename a file to and fro", "mv file new; mv new file"},
        {"rename, write", "mv file new; open new a; put x; close"},
        {"rename a directory", "mv dir new"},
        {"rename a directory into another", "mv dir full/new"},
        {"rename a directory, write in it", "mv dir new; open new/deep/leaf; put x; close; open new/made cx; close"},
        {"rename a directory over an empty one", "rm full/x; mv dir full"},
        {"exchange two files", "xchg file other"},
        {"exchange two directories", "xchg dir full"},
        {"a file from outside the source", "mv " OUT "file in"},
        {"... over another", "mv " OUT "file file"},
        {"a directory from outside the source", "mv " OUT "dir in"},
        {"a file to outside the source", "mv file " OUT "gone"},
        {"a directory to outside the source", "mv dir " OUT "gone"},
        {"there and back", "mv file " OUT "gone; mv " OUT "gone file"},
        {"a file from a directory nobody watches", "mv ../unwatched/file in"},
        {"a file to a directory nobody watches", "mv file ../unwatched/gone"},
        {"`chmod` a file", "chmod file 600"},
        {"`chmod` a directory", "chmod dir 700"},
        {"`chown`", "chown file 1"},
        {"set an extended attribute", "xattr file value"},
        {"symlink", "symlink new nowhere"},
        {"delete a symlink", "rm link"},
        {"replace a symlink", "symlink tmp other; mv tmp link"},
        {"hard link", "ln file hard"},
        {"hard link in another directory", "ln file dir/hard"},
        {"hard link from outside the source", "ln " OUT "file hard"},
        {"delete one of two links", "rm one"},
        {"write by the other link", "open two; put x; close"},
        {"fifo", "mkfifo new; rm new"},
        {"save: in place (nano, VS Code)", "open file t; put new; sync; close"},
        {"save: write and rename (GNOME, many others)", "open .file.tmp cx; put new; sync; mode 644; close; mv .file.tmp file"},
        {"save: vim, in place", "open .file.swp rcx; open .file.swpx rcx; close; rm .file.swpx; close; rm .file.swp; open .file.swp rcx; "
                                "chmod .file.swp 644; put page; sync; open file t; put new; sync; mode 644; close; close; rm .file.swp"},
        {"save: vim, backupcopy=auto", "open 4913 cx; close; rm 4913; mv file file~; open file cx; put new; sync; close; chmod file 644; "
                                       "rm file~"},
        {"save: JetBrains", "open file___jb_tmp___ cx; put new; close; mv file file___jb_old___; mv file___jb_tmp___ file; "
                            "rm file___jb_old___"},
        {"save: Emacs, the first",
         "symlink .#file user@host.1:1; mv file file~; open file ct; put new; sync; close; chmod file 644; rm .#file"},
        {"save: Emacs, with an auto-save file", "open #file# ct; put new; sync; close; open file ct; put new; sync; close; rm #file#"},
        {"save: `sed -i`", "open sedA1b2c3 rcx; fown 0; mode 644; put new; close; mv sedA1b2c3 file"},
        {"save: backup beside it", "open file~ cx; put old; close; open file t; put new; close"},
        {"`git` replaces a file", "rm file; open file cx; put new; close; open .git-index.lock cx; put x; close; mv .git-index.lock other"},
};
const size_t edit_count = ARRAY_LEN(edits);

/* Files that are open, the last first, as close() takes them. */
static int open_fds[8];
static size_t open_count;

static int open_as(const char *path, const char *how)
{
        int flags = O_CLOEXEC | (strchr(how, 'r') ? O_RDWR : O_WRONLY) | (strchr(how, 'c') ? O_CREAT : 0) |
                    (strchr(how, 'x') ? O_EXCL : 0) | (strchr(how, 't') ? O_TRUNC : 0) | (strchr(how, 'a') ? O_APPEND : 0);
        int fd = open(path, strcmp(how, "dir") == 0 ? O_RDONLY | O_DIRECTORY | O_CLOEXEC : flags, 0644);

        must(open_count < ARRAY_LEN(open_fds), "too many files");
        if (fd >= 0)
                open_fds[open_count++] = fd;
        return fd;
}

static int store_through_mapping(int fd)
{
        char *p = mmap(NULL, 1, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

        if (p == MAP_FAILED)
                return -1;
        *p = '!';
        return msync(p, 1, MS_SYNC) < 0 ? -1 : munmap(p, 1);
}

/* The commands on the file that was opened last. */
static int do_open_file(const char *what, const char *a)
{
        int fd = open_count ? open_fds[open_count - 1] : -1;

        if (strcmp(what, "put") == 0)
                return (int)write(fd, a, strlen(a));
        if (strcmp(what, "size") == 0)
                return ftruncate(fd, atol(a));
        if (strcmp(what, "sync") == 0)
                return fsync(fd);
        if (strcmp(what, "mode") == 0)
                return fchmod(fd, (mode_t)strtol(a, NULL, 8));
        if (strcmp(what, "fown") == 0)
                return fchown(fd, (uid_t)atol(a), (gid_t)-1);
        if (strcmp(what, "times") == 0)
                return futimens(fd, NULL);
        if (strcmp(what, "map") == 0)
                return store_through_mapping(fd);
        if (strcmp(what, "close") == 0) {
                open_count--;
                return close(fd);
        }
        errno = ENOSYS;
        return -1;
}

static int do_names(const char *what, const char *a, const char *b)
{
        if (strcmp(what, "mkdir") == 0)
                return mkdir(a, 0755);
        if (strcmp(what, "rm") == 0)
                return unlink(a);
        if (strcmp(what, "rmdir") == 0)
                return rmdir(a);
        if (strcmp(what, "mv") == 0)
                return rename(a, b);
        if (strcmp(what, "xchg") == 0)
                return renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE);
        if (strcmp(what, "ln") == 0)
                return link(a, b);
        if (strcmp(what, "symlink") == 0)
                return symlink(b, a);
        if (strcmp(what, "mkfifo") == 0)
                return mkfifo(a, 0644);
        if (strcmp(what, "truncate") == 0)
                return truncate(a, atol(b));
        if (strcmp(what, "chmod") == 0)
                return chmod(a, (mode_t)strtol(b, NULL, 8));
        if (strcmp(what, "chown") == 0)
                return chown(a, (uid_t)atol(b), (gid_t)-1);
        if (strcmp(what, "xattr") == 0)
                return setxattr(a, "user.test", b, strlen(b), 0);
        if (strcmp(what, "mtime") == 0)
                return utimensat(AT_FDCWD, a, (struct timespec[]){{.tv_nsec = UTIME_OMIT}, {.tv_sec = 2}}, 0);
        errno = ENOSYS;
        return -1;
}

static int do_step(const char *what, const char *a, const char *b)
{
        if (strcmp(what, "open") == 0)
                return open_as(a, b);
        if (strcmp(what, "holddir") == 0)
                return open_as(a, "dir");
        return *b || strcmp(what, "mkdir") == 0 || strcmp(what, "mkfifo") == 0 || strncmp(what, "rm", 2) == 0 || strcmp(what, "mtime") == 0
                       ? do_names(what, a, b)
                       : do_open_file(what, a);
}

struct making {
        const struct edit *edit;
        const char *dir;
        bool paced;
        int done, go; /* pipes */
};

static int make_steps(void *arg)
{
        const struct making *k = arg;
        char *copy = keep(k->edit->script), *save = NULL;

        must(chdir(k->dir) == 0, "chdir %s", k->dir);
        for (char *line = strtok_r(copy, ";", &save); line; line = strtok_r(NULL, ";", &save)) {
                char what[16] = "", a[128] = "", b[128] = "";

                must(sscanf(line, " %15s %127s %127s", what, a, b) >= 1, "%s", line);
                must(do_step(what, a, b) >= 0, "%s: %s", k->edit->name, line);
                if (k->paced)
                        must(write(k->done, "", 1) == 1 && read(k->go, what, 1) == 1, "pace");
        }
        return 0;
}

void edit_make(const struct edit *edit, const char *dir, void (*pause)(void *arg), void *arg)
{
        int done[2], go[2];
        struct making k;
        char c;
        pid_t pid;

        must(pipe2(done, O_CLOEXEC) == 0 && pipe2(go, O_CLOEXEC) == 0, "pipe");
        k = (struct making){.edit = edit, .dir = dir, .paced = pause, .done = done[1], .go = go[0]};
        pid = child_start(NULL, make_steps, &k);
        close(done[1]);
        close(go[0]);
        while (read(done[0], &c, 1) == 1) {
                pause(arg);
                must(write(go[1], "", 1) == 1, "pace");
        }
        close(done[0]);
        close(go[1]);
        must(child_wait(pid) == 0, "%s", edit->name);
}

void edit_furnish(const char *dir, const char *out)
{
        const char *w = keep(at(dir, "w"));

        must(mkdir(dir, 0755) == 0 && mkdir(w, 0755) == 0 && mkdir(at(dir, "unwatched"), 0755) == 0, "mkdir %s", dir);
        must(mkdir(at(w, "dir"), 0755) == 0 && mkdir(at(w, "dir/deep"), 0755) == 0 && mkdir(at(w, "full"), 0755) == 0, "mkdir");
        put_text(at(w, "file"), "file");
        put_text(at(w, "other"), "other");
        put_text(at(w, "dir/inside"), "inside");
        put_text(at(w, "dir/deep/leaf"), "leaf");
        put_text(at(w, "full/x"), "x");
        put_text(at(w, "one"), "linked");
        must(link(at(w, "one"), at(w, "two")) == 0 && symlink("file", at(w, "link")) == 0, "link");
        put_text(at(dir, "unwatched/file"), "unwatched");
        remove_tree(out);
        must(mkdir(out, 0755) == 0 && mkdir(at(out, "dir"), 0755) == 0, "mkdir %s", out);
        put_text(at(out, "file"), "outside");
        put_text(at(out, "dir/inside"), "outside");
}
