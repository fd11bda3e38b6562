/*
 * What happens over several calls: open files and directories whose names go, renames onto one's own, mappings, directories that change
 * while they are read, signals.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/conform/calls.h"

#define PAGE 4096
#define MANY 300

static sigjmp_buf fault;

static void on_fault(int sig)
{
        siglongjmp(fault, sig);
}

/* The byte at p, or the signal that it costs. */
static void touch(struct trial *t, const char *what, volatile char *p, bool write)
{
        struct sigaction act = {.sa_handler = on_fault};
        int sig;

        sigaction(SIGBUS, &act, NULL);
        sigaction(SIGSEGV, &act, NULL);
        sig = sigsetjmp(fault, 1);
        if (sig) {
                TELL(t, "%s: signal %d\n", what, sig);
                return;
        }
        if (write)
                *p = 'T';
        TELL(t, "%s: %d\n", what, *p);
}

static void map_it(struct trial *t, int fd, int prot, int flags)
{
        char *p = mmap(NULL, 3 * PAGE, prot, flags, fd, 0);

        TELL(t, "prot %d flags %d\n", prot, flags);
        TRY(t, "mmap", p == MAP_FAILED ? -1 : 0);
        if (p == MAP_FAILED)
                return;
        touch(t, "first", p, prot & PROT_WRITE);
        touch(t, "last of the page", p + PAGE - 1, false);
        touch(t, "beyond", p + 2 * PAGE, prot & PROT_WRITE);
        TRY(t, "msync", msync(p, 3 * PAGE, MS_SYNC));
        TRY(t, "msync bad", msync(p, PAGE, MS_SYNC | MS_ASYNC));
        TRY(t, "mprotect", mprotect(p, PAGE, PROT_READ | PROT_WRITE));
        TRY(t, "munmap", munmap(p, 3 * PAGE));
        say_fd(t, fd);
}

static void map_all(struct trial *t)
{
        static const int modes[] = {O_RDONLY, O_WRONLY, O_RDWR, O_PATH};
        static const int prots[] = {PROT_NONE, PROT_READ, PROT_WRITE, PROT_READ | PROT_WRITE, PROT_READ | PROT_EXEC};
        static const int flags[] = {MAP_SHARED, MAP_PRIVATE};

        for (size_t m = 0; m < ARRAY_LEN(modes); m++)
                for (size_t p = 0; p < ARRAY_LEN(prots); p++)
                        for (size_t s = 0; s < ARRAY_LEN(flags); s++) {
                                int fd = open("f", modes[m] | O_CLOEXEC);

                                map_it(t, fd, prots[p], flags[s]);
                                close(fd);
                        }
}

static void map_and_truncate(struct trial *t)
{
        int fd = TRY_FD(t, "open", open("f", O_RDWR));
        char *p = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        char buf[8] = "";

        must(p != MAP_FAILED, "mmap");
        touch(t, "third page", p + 2 * PAGE, true);
        TRY(t, "pread", pread(fd, buf, 1, 2 * PAGE));
        TELL(t, "read %s\n", buf);
        TRY(t, "pwrite", pwrite(fd, "W", 1, 1));
        touch(t, "second byte", p + 1, false);
        TRY(t, "ftruncate", ftruncate(fd, 10));
        touch(t, "second byte", p + 1, false);
        touch(t, "beyond", p + 2 * PAGE, false);
        TRY(t, "ftruncate", ftruncate(fd, 3 * PAGE));
        touch(t, "beyond", p + 2 * PAGE, false);
        touch(t, "within", p + 11, false);
        TRY(t, "unlink", unlink("f"));
        touch(t, "after unlink", p + 2, true);
        TRY(t, "pread", pread(fd, buf, 4, 0));
        TELL(t, "read %.4s\n", buf);
}

static void many_names(struct trial *t, int count)
{
        for (int i = 0; i < count; i++) {
                char name[16];

                snprintf(name, sizeof(name), "d/%d", i);
                close(open(name, O_CREAT | O_WRONLY, 0644));
        }
        TELL(t, "made\n");
}

/* Every name once, whatever goes meanwhile; seeking back shows all again. */
static void read_while_removing(struct trial *t)
{
        int seen = 0, again = 0;
        struct dirent *e;
        long middle = 0;
        DIR *dir;

        many_names(t, MANY);
        dir = opendir("d");
        must(dir, "opendir");
        while ((e = readdir(dir))) {
                char name[300];

                snprintf(name, sizeof(name), "d/%s", e->d_name);
                if (e->d_name[0] != '.' && unlink(name) == 0)
                        seen++;
        }
        TELL(t, "removed %d\n", seen);
        TRY(t, "rmdir", rmdir("d"));
        rewinddir(dir);
        while (readdir(dir))
                again++;
        TELL(t, "then %d\n", again);
        closedir(dir);
        TRY(t, "mkdir", mkdir("d", 0755));
        many_names(t, MANY);
        dir = opendir("d");
        for (seen = 0; (e = readdir(dir)); seen++)
                if (seen == MANY / 2)
                        middle = telldir(dir);
        seekdir(dir, middle);
        for (again = 0; readdir(dir);)
                again++;
        TELL(t, "%d in all, %d after the middle\n", seen, again);
        closedir(dir);
}

static void directory_goes(struct trial *t)
{
        char cwd[PATH_MAX], buf[4096];
        int fd = TRY_FD(t, "open", open("d", O_RDONLY | O_DIRECTORY));

        TRY(t, "chdir", chdir("d"));
        TRY(t, "rmdir", rmdir("../d"));
        TRY(t, "getcwd", getcwd(cwd, sizeof(cwd)) ? 0 : -1);
        TRY_FD(t, "create", open("x", O_CREAT | O_RDWR, 0644));
        TRY(t, "mkdir", mkdir("x", 0755));
        TRY_FD(t, "open .", open(".", O_RDONLY));
        TRY(t, "stat ..", access("..", F_OK));
        TRY(t, "rmdir .", rmdir("."));
        TRY(t, "rmdir ../d", rmdir("../d"));
        TRY(t, "getdents", getdents64(fd, buf, sizeof(buf)));
        TRY(t, "fchmod", fchmod(fd, 0700));
        say_fd(t, fd);
        TRY(t, "link", linkat(AT_FDCWD, "../f", AT_FDCWD, "x", 0));
        TRY(t, "symlink", symlink("x", "x"));
        TRY(t, "rename", rename("../f", "x"));
        TRY(t, "fsync", fsync(fd));
}

static void rename_own(struct trial *t)
{
        TRY(t, "into itself", rename("d", "d/x"));
        TRY(t, "into a child", rename("d", "d/sub/x"));
        TRY(t, "over a parent", rename("d/sub", "d"));
        TRY(t, "to itself", rename("d", "d"));
        TRY(t, "file to itself", rename("f", "f"));
        TRY(t, "link", link("f", "g"));
        TRY(t, "over its hard link", rename("f", "g"));
        say_path(t, "f");
        TRY(t, "exchange with its link", renameat2(AT_FDCWD, "f", AT_FDCWD, "g", RENAME_EXCHANGE));
        TRY(t, "noreplace its link", renameat2(AT_FDCWD, "f", AT_FDCWD, "g", RENAME_NOREPLACE));
        TRY(t, "dir over file", rename("d", "f"));
        TRY(t, "file over dir", rename("f", "d"));
        TRY(t, "dir over full dir", rename("e", "d"));
        TRY(t, "dir over empty dir", rename("d", "e"));
        TRY(t, "dot", rename(".", "x"));
        TRY(t, "dotdot", rename("..", "x"));
        TRY(t, "to dot", rename("e", "e/."));
        TRY(t, "exchange with child", renameat2(AT_FDCWD, "e", AT_FDCWD, "e/sub", RENAME_EXCHANGE));
        say_path(t, "e");
        say_path(t, "e/sub");
}

static void link_counts(struct trial *t)
{
        int fd = TRY_FD(t, "open", open("f", O_RDWR));

        TRY(t, "link", link("f", "g"));
        TRY(t, "link", link("g", "d/h"));
        say_fd(t, fd);
        TRY(t, "unlink", unlink("f"));
        say_path(t, "g");
        TRY(t, "rename", rename("g", "d/h"));
        say_path(t, "d/h");
        TRY(t, "unlink", unlink("g"));
        say_fd(t, fd);
        TRY(t, "mkdir", mkdir("d/a", 0755));
        TRY(t, "mkdir", mkdir("d/b", 0755));
        say_path(t, "d");
        TRY(t, "rename", rename("d/a", "a"));
        say_path(t, "d");
        say_path(t, ".");
        TRY(t, "rmdir", rmdir("d/b"));
        say_path(t, "d");
        TRY(t, "unlink", unlink("d/h"));
        say_fd(t, fd);
}

static void limited(struct trial *t)
{
        struct rlimit limit = {100, 100};
        int fd = open("f", O_RDWR);

        signal(SIGXFSZ, SIG_IGN);
        must(setrlimit(RLIMIT_FSIZE, &limit) == 0, "setrlimit");
        TRY(t, "within", pwrite(fd, "x", 1, 99));
        TRY(t, "across", pwrite(fd, "xyz", 3, 98));
        TRY(t, "beyond", pwrite(fd, "x", 1, 100));
        TRY(t, "ftruncate", ftruncate(fd, 101));
        TRY(t, "truncate", truncate("f", 101));
        TRY(t, "fallocate", fallocate(fd, 0, 0, 101));
        say_fd(t, fd);
        signal(SIGXFSZ, SIG_DFL);
        TRY(t, "beyond", pwrite(fd, "x", 1, 100));
        TELL(t, "alive\n");
}

static void file_size_limit(struct trial *t)
{
        in_child(t, NULL, limited);
}

static void tmpfile_gets_name(struct trial *t)
{
        int fd = TRY_FD(t, "open", open("d", O_TMPFILE | O_RDWR, 0640));

        TRY(t, "write", write(fd, "text", 4));
        say_fd(t, fd);
        TRY(t, "linkat", linkat(AT_FDCWD, fd_proc_path(fd).text, AT_FDCWD, "d/x", AT_SYMLINK_FOLLOW));
        say_fd(t, fd);
        TRY(t, "write", write(fd, "more", 4));
        TRY(t, "unlink", unlink("d/x"));
        TRY(t, "linkat", linkat(AT_FDCWD, fd_proc_path(fd).text, AT_FDCWD, "d/y", AT_SYMLINK_FOLLOW));
        fd = TRY_FD(t, "open", open("d", O_TMPFILE | O_RDWR | O_EXCL, 0640));
        TRY(t, "linkat", linkat(AT_FDCWD, fd_proc_path(fd).text, AT_FDCWD, "d/z", AT_SYMLINK_FOLLOW));
}

static void appenders(struct trial *t)
{
        int a = open("f", O_WRONLY | O_APPEND), b = open("f", O_RDWR | O_APPEND), c = open("f", O_RDWR);
        char buf[64];
        ssize_t n;

        TRY(t, "a", write(a, "one ", 4));
        TRY(t, "b", write(b, "two ", 4));
        TRY(t, "truncate", ftruncate(c, 2));
        TRY(t, "a", write(a, "three ", 6));
        TRY(t, "b pwrite", pwrite(b, "four ", 5, 0));
        TRY(t, "b position", lseek(b, 0, SEEK_CUR));
        TRY(t, "no append any more", fcntl(b, F_SETFL, 0));
        TRY(t, "b pwrite", pwrite(b, "FIVE", 4, 0));
        TRY(t, "append from now on", fcntl(c, F_SETFL, O_APPEND));
        TRY(t, "c", write(c, "six", 3));
        n = TRY(t, "pread", pread(c, buf, sizeof(buf), 0));
        TELL(t, "it says %.*s\n", (int)n, buf);
}

/* ETXTBSY both ways: a program that runs, and one that is open for writing (calls_use.c has that one for every target). */
static int copy_program(struct trial *t)
{
        int from = open("/bin/sleep", O_RDONLY), to = open("sleep", O_CREAT | O_WRONLY, 0755);
        char buf[65536];
        ssize_t n;

        while ((n = read(from, buf, sizeof(buf))) > 0)
                must(write(to, buf, (size_t)n) == n, "write");
        TRY(t, "fchmod", fchmod(to, 0755));
        close(from);
        return close(to);
}

static int sleep_from_here(void *arg)
{
        (void)arg;
        execl("./sleep", "sleep", "60", NULL);
        return 1;
}

static bool runs(void *arg)
{
        char path[64], exe[PATH_MAX];
        ssize_t n;

        snprintf(path, sizeof(path), "/proc/%d/exe", *(pid_t *)arg);
        n = readlink(path, exe, sizeof(exe) - 1);
        exe[n > 0 ? n : 0] = '\0';
        return strstr(exe, "/sleep") && !strstr(exe, "/bin/");
}

static void running_program(struct trial *t)
{
        pid_t pid;

        copy_program(t);
        pid = child_start(NULL, sleep_from_here, NULL);
        must(wait_until(runs, &pid, 20), "it doesn't run");
        TRY_FD(t, "open for writing", open("sleep", O_RDWR));
        TRY(t, "truncate", truncate("sleep", 0));
        TRY_FD(t, "open with O_TRUNC", open("sleep", O_WRONLY | O_TRUNC));
        TRY(t, "unlink", unlink("sleep"));
        kill(pid, SIGKILL);
        TELL(t, "it ended with %d\n", child_wait(pid));
}

#define SEQUENCE(name, fn, with)                                                                                                           \
        {                                                                                                                                  \
                name, fn, 0, 0, NULL, with, NULL, NULL                                                                                     \
        }

const struct call sequences[] = {
        SEQUENCE("map", map_all, "f:f:666"),
        SEQUENCE("map and truncate", map_and_truncate, "b:f:666"),
        SEQUENCE("read a directory while removing", read_while_removing, "d:d:755"),
        SEQUENCE("a working directory goes", directory_goes, "d:d:755 f:f:644"),
        SEQUENCE("rename to one's own", rename_own, "d:d:755 d:d/sub:755 d:e:755 f:f:644"),
        SEQUENCE("link counts", link_counts, "d:d:755 f:f:644"),
        SEQUENCE("RLIMIT_FSIZE", file_size_limit, "f:f:644"),
        SEQUENCE("O_TMPFILE", tmpfile_gets_name, "d:d:755"),
        SEQUENCE("append", appenders, "f:f:644"),
        SEQUENCE("a running program", running_program, ""),
};
const size_t sequence_count = ARRAY_LEN(sequences);
