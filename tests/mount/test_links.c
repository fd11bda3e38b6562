/*
 * More than one name: symbolic links, hard links, renames of every kind, fifos, sockets, and no devices.
 */
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/mount/case.h"

static void touch(const char *path, const char *text)
{
        put_text(path, text);
}

static void say_link(struct script *s, const char *path)
{
        char target[PATH_MAX];
        ssize_t n = readlink(path, target, sizeof(target));

        SAY(s, "%s -> %.*s (%s)\n", path, (int)(n < 0 ? 0 : n), target, n < 0 ? strerrorname_np(errno) : "");
}

SCRIPT(links, symlinks)
{
        char longest[PATH_MAX + 1];

        touch("f", "text");
        DO(s, symlink("f", "l"));
        DO(s, symlink("nowhere", "dangling"));
        DO(s, symlink("loop2", "loop1"));
        DO(s, symlink("loop1", "loop2"));
        DO(s, symlink("x", "l"));
        DO(s, symlink("", "empty"));
        say_link(s, "l");
        say_link(s, "dangling");
        say_link(s, "f");
        say_link(s, "missing");
        say_content(s, "l");
        say_content(s, "dangling");
        say_content(s, "loop1");
        DO_FD(s, open("l", O_RDONLY | O_NOFOLLOW));
        DO_FD(s, open("dangling", O_WRONLY | O_CREAT | O_EXCL, 0644));
        DO_FD(s, open("dangling", O_WRONLY | O_CREAT, 0644));
        say_stat(s, "nowhere");
        say_stat(s, "l");
        memset(longest, 't', sizeof(longest));
        longest[PATH_MAX - 1] = '\0';
        DO(s, symlink(longest, "longest"));
        longest[PATH_MAX - 1] = 't';
        longest[PATH_MAX] = '\0';
        DO(s, symlink(longest, "longer"));
        DO(s, unlink("l"));
        DO(s, symlink("/etc/passwd", "l"));
        say_link(s, "l");
        DO(s, rename("l", "moved"));
        say_link(s, "moved");
        DO(s, chmod("moved/", 0644));
}

SCRIPT(links, hard_links)
{
        int fd;

        touch("a", "shared content");
        DO(s, link("a", "b"));
        DO(s, mkdir("d", 0755));
        DO(s, link("b", "d/c"));
        say_stat(s, "a");
        DO(s, link("a", "b"));
        DO(s, link("missing", "x"));
        DO(s, link("d", "dd"));
        fd = DO_FD(s, open("d/c", O_WRONLY | O_APPEND));
        DO(s, write(fd, "!", 1));
        say_content(s, "a");
        DO(s, unlink("a"));
        say_stat(s, "b");
        say_fstat(s, fd);
        DO(s, rename("b", "d/c"));
        say_stat(s, "b");
        say_stat(s, "d/c");
        DO(s, unlink("b"));
        DO(s, chmod("d/c", 0600));
        say_fstat(s, fd);
        DO(s, unlink("d/c"));
        say_fstat(s, fd);
        close(fd);
        DO(s, symlink("t", "sym"));
        DO(s, link("sym", "sym2"));
        say_stat(s, "sym2");
        say_link(s, "sym2");
}

SCRIPT(links, rename_files)
{
        touch("a", "aa");
        touch("b", "bbb");
        DO(s, mkdir("d", 0755));
        DO(s, rename("a", "c"));
        say_stat(s, "a");
        say_content(s, "c");
        DO(s, rename("c", "b"));
        say_content(s, "b");
        DO(s, rename("b", "b"));
        DO(s, rename("b", "d/b"));
        say_content(s, "d/b");
        DO(s, rename("d/b", "d"));
        DO(s, rename("d", "d/b"));
        DO(s, rename("missing", "d/b"));
        DO(s, rename("d/b", "missing/b"));
        DO(s, rename("d/b", "b"));
        say_content(s, "b");
        DO(s, rmdir("d"));
}

SCRIPT(links, rename_directories)
{
        int fd;

        DO(s, mkdir("one", 0755));
        DO(s, mkdir("one/two", 0755));
        DO(s, mkdir("one/two/three", 0755));
        touch("one/two/three/f", "deep");
        DO(s, mkdir("empty", 0755));
        DO(s, mkdir("full", 0755));
        touch("full/f", "full");
        fd = DO_FD(s, open("one/two/three", O_RDONLY | O_DIRECTORY));
        DO(s, rename("one", "moved"));
        say_content(s, "moved/two/three/f");
        say_content(s, "one/two/three/f");
        DO(s, faccessat(fd, "f", F_OK, 0));
        DO(s, rename("moved/two", "empty"));
        say_content(s, "empty/three/f");
        DO(s, rename("empty", "full"));
        DO(s, rename("full", "full/f/x"));
        DO(s, rename("full/f", "empty"));
        DO(s, rename("empty", "full/f"));
        DO(s, rename("moved", "full/m"));
        say_stat(s, "full/m");
        DO(s, faccessat(fd, "../../empty/three/f", F_OK, 0));
        DO(s, mkdirat(fd, "made through the old handle", 0755));
        close(fd);
}

SCRIPT(links, rename_noreplace_and_exchange)
{
        touch("a", "a's");
        touch("b", "b's content");
        DO(s, renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_NOREPLACE));
        DO(s, renameat2(AT_FDCWD, "a", AT_FDCWD, "c", RENAME_NOREPLACE));
        say_content(s, "c");
        say_stat(s, "a");
        DO(s, renameat2(AT_FDCWD, "c", AT_FDCWD, "b", RENAME_EXCHANGE));
        say_content(s, "b");
        say_content(s, "c");
        DO(s, renameat2(AT_FDCWD, "c", AT_FDCWD, "missing", RENAME_EXCHANGE));
        DO(s, mkdir("d", 0755));
        DO(s, mkdir("d/e", 0755));
        touch("d/e/f", "below");
        DO(s, renameat2(AT_FDCWD, "d", AT_FDCWD, "b", RENAME_EXCHANGE));
        say_content(s, "d");
        say_content(s, "b/e/f");
        say_content(s, "d/e/f");
        DO(s, mkdir("x", 0755));
        DO(s, mkdir("x/y", 0755));
        touch("x/y/z", "in x");
        DO(s, renameat2(AT_FDCWD, "x/y", AT_FDCWD, "b", RENAME_EXCHANGE));
        say_content(s, "x/y/e/f");
        say_content(s, "b/z");
        DO(s, renameat2(AT_FDCWD, "x", AT_FDCWD, "b", RENAME_EXCHANGE | RENAME_NOREPLACE));
        DO(s, renameat2(AT_FDCWD, "x", AT_FDCWD, "x/y", RENAME_EXCHANGE));
}

SCRIPT(links, rename_over_an_open_victim)
{
        char buf[16] = "";
        int victim, moved;

        touch("victim", "victim");
        touch("new", "new");
        DO(s, link("victim", "other name"));
        victim = DO_FD(s, open("victim", O_RDWR));
        moved = DO_FD(s, open("new", O_RDWR));
        DO(s, rename("new", "victim"));
        say_fstat(s, victim);
        say_fstat(s, moved);
        DO(s, pwrite(moved, "NEW", 3, 0));
        say_content(s, "victim");
        say_content(s, "other name");
        DO(s, pread(victim, buf, sizeof(buf), 0));
        DO(s, strcmp(buf, "victim"));
        DO(s, unlink("other name"));
        say_fstat(s, victim);
        close(victim);
        close(moved);
}

SCRIPT(links, fifos_and_sockets)
{
        struct sockaddr_un addr = {.sun_family = AF_UNIX, .sun_path = "sock"};
        int server = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM, 0);
        int fifo;
        char buf[8];

        DO(s, mkfifo("fifo", 0640));
        DO(s, mkfifo("fifo", 0640));
        say_stat(s, "fifo");
        DO_FD(s, open("fifo", O_WRONLY | O_NONBLOCK));
        fifo = DO_FD(s, open("fifo", O_RDWR | O_NONBLOCK));
        DO(s, write(fifo, "through", 7));
        DO(s, read(fifo, buf, sizeof(buf)));
        DO(s, mknod("regular", S_IFREG | 0604, 0));
        say_stat(s, "regular");
        DO(s, mknod("sock2", S_IFSOCK | 0600, 0));
        say_stat(s, "sock2");
        DO(s, connect(client, (struct sockaddr *)&addr, sizeof(addr)));
        DO(s, bind(server, (struct sockaddr *)&addr, sizeof(addr)));
        DO(s, listen(server, 1));
        say_stat(s, "sock");
        DO(s, connect(client, (struct sockaddr *)&addr, sizeof(addr)));
        DO(s, unlink("sock"));
        DO(s, rename("fifo", "fifo2"));
        close(fifo);
        close(server);
        close(client);
}

CASE(links, devices_are_refused)
{
        struct stat st;

        if (f->bind)
                return;
        must(mknod(at(f->mnt, "null"), S_IFCHR | 0666, makedev(1, 3)) < 0 && errno == EPERM, "a character device");
        must(mknod(at(f->mnt, "disk"), S_IFBLK | 0666, makedev(7, 0)) < 0 && errno == EPERM, "a block device");
        must(lstat(at(f->src, "null"), &st) < 0 && lstat(at(f->src, "disk"), &st) < 0, "something was made in the source");
        must(mknod(at(f->src, "null"), S_IFCHR | 0666, makedev(1, 3)) == 0, "mknod on the host");
        fixture_wait(f);
        must(lstat(at(f->mnt, "null"), &st) == 0 && S_ISCHR(st.st_mode), "a device of the source is shown");
        must(open(at(f->mnt, "null"), O_RDWR) < 0 && errno == EACCES, "the mount must be nodev");
}
