/*
 * Whose the files are that a container makes, and a mount without privilege.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/mount/case.h"

#define OWNER 4242
#define STRANGER 7777
#define READ_ONLY_FILES 300 /* several times what `frugal` may hold */

static const struct variant owned[] = {
        {.backing = ON_EXT4, .transport = BY_URING, .watch = WATCH_BY_FANOTIFY, .owner = OWNER},
        {.backing = ON_TMPFS, .transport = BY_DEV, .watch = WATCH_BY_INOTIFY, .owner = OWNER},
};

static const struct variant unprivileged[] = {
        {.backing = ON_EXT4, .transport = BY_DEV, .watch = WATCH_BY_INOTIFY, .unprivileged = true},
        {.backing = ON_TMPFS, .transport = BY_URING, .watch = WATCH_BY_INOTIFY, .unprivileged = true},
};

static const struct variant frugal[] = {
        {.backing = ON_EXT4, .transport = BY_URING, .watch = WATCH_BY_INOTIFY, .unprivileged = true, .max_fds = 64},
        {.backing = ON_TMPFS, .transport = BY_DEV, .watch = WATCH_BY_INOTIFY, .unprivileged = true, .max_fds = 64},
};

static int create_each_kind(void *arg)
{
        struct sockaddr_un addr = {.sun_family = AF_UNIX, .sun_path = "socket"};
        int server = socket(AF_UNIX, SOCK_STREAM, 0);
        char proc[64];
        int fd;

        must(chdir(arg) == 0, "chdir");
        put_text("file", "text");
        umask(0); /* what he makes is not his: he goes on working in it as one of the others */
        must(mkdir("dir", 0777) == 0 && symlink("x", "link") == 0 && mkfifo("fifo", 0644) == 0, "mkdir, symlink, mkfifo");
        must(mknod("node", S_IFREG | 0644, 0) == 0, "mknod");
        /* a stranger's file is the owner's at once, and the kernel lets nobody link to another's */
        must(link("file", "hard") == 0 || (errno == EPERM && geteuid() != 0), "link");
        if (access("hard", F_OK) < 0)
                put_text("hard", "text");
        must(bind(server, (struct sockaddr *)&addr, sizeof(addr)) == 0, "bind");
        put_text("dir/inside", "text");
        fd = open(".", O_RDWR | O_TMPFILE, 0666);
        snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
        must(fd >= 0 && linkat(AT_FDCWD, proc, AT_FDCWD, "tmpfile", AT_SYMLINK_FOLLOW) == 0, "O_TMPFILE");
        return 0;
}

static void must_be_owners(const char *dir)
{
        static const char *const names[] = {"file", "dir", "link", "fifo", "node", "hard", "socket", "dir/inside", "tmpfile"};

        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
                struct stat st;

                must(lstat(at(dir, "%s", names[i]), &st) == 0, "%s", names[i]);
                errno = 0;
                must(st.st_uid == OWNER && st.st_gid == OWNER, "%s/%s belongs to %u:%u", dir, names[i], st.st_uid, st.st_gid);
        }
}

CASE_WITH(owner, whoever_creates_the_source_owner_has_it, owned)
{
        struct who stranger = {.uid = STRANGER, .gid = STRANGER};
        char dir[PATH_MAX];

        if (f->bind)
                return;
        must(mkdir(at(f->mnt, "roots"), 0755) == 0, "mkdir");
        must(mkdir(at(f->mnt, "strangers"), 0755) == 0 && chmod(at(f->mnt, "strangers"), 0777) == 0, "mkdir");
        snprintf(dir, sizeof(dir), "%s/roots", f->mnt);
        must(child_run(NULL, create_each_kind, dir) == 0, "as root");
        snprintf(dir, sizeof(dir), "%s/strangers", f->mnt);
        must(child_run(&stranger, create_each_kind, dir) == 0, "as a stranger");
        must_be_owners(at(f->src, "roots"));
        must_be_owners(at(f->src, "strangers"));
        must_be_owners(at(f->mnt, "strangers"));
        must_mirror(f);
}

CASE_WITH(owner, chown_succeeds_and_changes_nothing, owned)
{
        struct stat st;
        int64_t ignored;

        if (f->bind)
                return;
        put_text(at(f->mnt, "f"), "text");
        must(chown(at(f->mnt, "f"), 0, 0) == 0, "chown");
        must(chown(at(f->mnt, "f"), STRANGER, (gid_t)-1) == 0, "chown");
        must(stat(at(f->src, "f"), &st) == 0 && st.st_uid == OWNER && st.st_gid == OWNER, "the owner on the host");
        must(stat(at(f->mnt, "f"), &st) == 0 && st.st_uid == OWNER && st.st_gid == OWNER, "the owner in the mount");
        errno = 0;
        must(fixture_status(f, "chowns_ignored", &ignored) && ignored >= 2, "status counts chowns_ignored");
        must_mirror(f);
}

/* Nobody in a container can leave a program that runs as the developer. */
CASE_WITH(owner, set_uid_programs_are_not_left, owned)
{
        struct stat st;
        CLEANUP_FD int fd = -1;

        if (f->bind)
                return;
        put_text(at(f->mnt, "program"), "text");
        must(chmod(at(f->mnt, "program"), 06755) == 0, "chmod");
        must(stat(at(f->src, "program"), &st) == 0, "stat");
        errno = 0;
        must((st.st_mode & 07777) == 0755, "mode %o on the host", st.st_mode);
        fd = open(at(f->mnt, "created"), O_WRONLY | O_CREAT, 06755);
        must(fd >= 0 && stat(at(f->src, "created"), &st) == 0, "open");
        errno = 0;
        must((st.st_mode & 07777) == 0755, "mode %o on the host", st.st_mode);
        must_mirror(f);
}

static int use_it(void *arg)
{
        struct fixture *f = arg;
        char *mnt = keep(f->mnt);
        struct stat st;

        must(create_each_kind(mnt) == 0 && chdir("/") == 0, "create");
        must(rename(at(mnt, "file"), at(mnt, "dir/moved")) == 0, "rename");
        must(renameat2(AT_FDCWD, at(mnt, "dir"), AT_FDCWD, at(mnt, "node"), RENAME_EXCHANGE) == 0, "exchange");
        must(unlink(at(mnt, "fifo")) == 0 && truncate(at(mnt, "hard"), 2) == 0, "unlink, truncate");
        must(mkdir(at(f->src, "from the host"), 0755) == 0, "mkdir");
        put_text(at(f->src, "node/inside"), "changed on the host");
        fixture_wait(f);
        must(stat(at(mnt, "node/inside"), &st) == 0 && st.st_size == 19, "the size is %ld", (long)st.st_size);
        must_mirror(f);
        return 0;
}

/* fixture_wait() runs dsfs as the agent's user; in a child that is him already, it must not try to become him. */
static int use_as_agent(void *arg)
{
        struct fixture *f = arg;

        f->variant.unprivileged = false;
        return use_it(f);
}

CASE_WITH(owner, without_privilege, unprivileged)
{
        struct who me = {.uid = FIXTURE_UID, .gid = FIXTURE_UID};
        struct stat st;

        must(child_run(&me, use_as_agent, f) == 0, "as the user");
        if (!f->bind)
                must(stat(f->mnt, &st) < 0 && errno == EACCES, "root may look without allow_other");
}

static void must_be_read_only(const char *path, off_t size)
{
        struct stat st;

        must(stat(path, &st) == 0, "stat %s", path);
        errno = 0;
        must((st.st_mode & 07777) == 0444 && st.st_size == size, "%s has mode %o and %ld bytes", path, st.st_mode, (long)st.st_size);
}

/* An agent that is not root can't open its own 0444 file for writing again; nor can it keep a descriptor for each. */
static int write_read_only(void *arg)
{
        static int held[READ_ONLY_FILES];
        struct fixture *f = arg;
        char *mnt = keep(f->mnt), *src = keep(f->src);

        f->variant.unprivileged = false; /* we are him: see use_as_agent() */
        for (int i = 0; i < READ_ONLY_FILES; i++) {
                held[i] = open(at(mnt, "file-%d", i), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
                must(held[i] >= 0 && write(held[i], "one", 3) == 3, "file-%d", i);
        }
        for (int i = 0; i < READ_ONLY_FILES; i++) {
                must(write(held[i], "two", 3) == 3 && close(held[i]) == 0, "writing on in file-%d", i);
                must_be_read_only(at(src, "file-%d", i), 6);
        }
        fixture_wait(f);
        must_mirror(f);
        for (int i = 0; i < READ_ONLY_FILES; i++)
                must(unlink(at(mnt, "file-%d", i)) == 0, "unlink file-%d", i);
        for (int i = 0; i < READ_ONLY_FILES; i++)
                must(access(at(src, "file-%d", i), F_OK) < 0 && errno == ENOENT, "file-%d is still there", i);
        return 0;
}

CASE_WITH(owner, without_privilege_read_only_files_are_written_and_removed, frugal)
{
        struct who me = {.uid = FIXTURE_UID, .gid = FIXTURE_UID};

        must(child_run(&me, write_read_only, f) == 0, "as the user");
}

static int write_after_fchmod(void *arg)
{
        static int held[READ_ONLY_FILES];
        struct fixture *f = arg;
        char *mnt = keep(f->mnt), *src = keep(f->src);

        f->variant.unprivileged = false;
        for (int i = 0; i < READ_ONLY_FILES; i++) {
                held[i] = open(at(mnt, "file-%d", i), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
                must(held[i] >= 0 && write(held[i], "one", 3) == 3 && fchmod(held[i], 0444) == 0, "file-%d", i);
        }
        for (int i = 0; i < READ_ONLY_FILES; i++) {
                char text[8] = "";

                must(write(held[i], "two", 3) == 3 && fsync(held[i]) == 0, "writing on in file-%d", i);
                must_be_read_only(at(src, "file-%d", i), 6);
                must(ftruncate(held[i], 5) == 0 && posix_fadvise(held[i], 0, 0, POSIX_FADV_DONTNEED) == 0, "ftruncate file-%d", i);
                must(pread(held[i], text, sizeof(text), 0) == 5 && strcmp(text, "onetw") == 0, "file-%d says %s", i, text);
                must_be_read_only(at(src, "file-%d", i), 5);
                must(close(held[i]) == 0, "close");
                must(open(at(mnt, "file-%d", i), O_WRONLY) < 0 && errno == EACCES, "file-%d opens for writing", i);
        }
        fixture_wait(f);
        must_mirror(f);
        return 0;
}

CASE_WITH(owner, without_privilege_writing_goes_on_after_fchmod, frugal)
{
        struct who me = {.uid = FIXTURE_UID, .gid = FIXTURE_UID};

        must(child_run(&me, write_after_fchmod, f) == 0, "as the user");
}
