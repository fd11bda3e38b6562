/*
 * Mappings, and files without a name: unlinked while open, O_TMPFILE.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/mount/case.h"

#define LEN (256 << 10)

SCRIPT(mmap, shared_and_private)
{
        int fd = DO_FD(s, open("m", O_RDWR | O_CREAT, 0644));
        char *shared, *private;
        char buf[8];

        DO(s, ftruncate(fd, LEN));
        shared = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        private = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
        DO(s, shared != MAP_FAILED && private != MAP_FAILED);
        memcpy(shared + 5000, "shared", 6);
        memcpy(private + 9000, "private", 7);
        DO(s, pread(fd, buf, 6, 5000));
        DO(s, memcmp(buf, "shared", 6) == 0);
        DO(s, pread(fd, buf, 7, 9000));
        DO(s, memcmp(buf, "\0\0\0\0\0\0\0", 7) == 0);
        DO(s, pwrite(fd, "written", 7, 100000));
        DO(s, memcmp(shared + 100000, "written", 7) == 0);
        DO(s, msync(shared, LEN, MS_SYNC));
        say_content(s, "m");
        DO(s, ftruncate(fd, 8192));
        say_content(s, "m");
        DO(s, munmap(shared, LEN));
        DO(s, munmap(private, LEN));
        close(fd);
        say_content(s, "m");
}

/* What a container stores through a mapping is on the host after msync, and after munmap and close. */
CASE(mmap, stores_reach_the_host)
{
        CLEANUP_FD int fd = open(at(f->mnt, "m"), O_RDWR | O_CREAT, 0644);
        CLEANUP_FD int host = -1;
        char buf[8] = "";
        char *p;

        must(ftruncate(fd, LEN) == 0, "ftruncate");
        p = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        must(p != MAP_FAILED, "mmap");
        host = open(at(f->src, "m"), O_RDONLY);
        memcpy(p + 70000, "synced", 6);
        must(msync(p, LEN, MS_SYNC) == 0, "msync");
        must(pread(host, buf, 6, 70000) == 6 && memcmp(buf, "synced", 6) == 0, "after msync the host reads %s", buf);
        memcpy(p + 140000, "closed", 6);
        must(munmap(p, LEN) == 0, "munmap");
        fd_close(&fd);
        must(pread(host, buf, 6, 140000) == 6 && memcmp(buf, "closed", 6) == 0, "after close the host reads %s", buf);
        fixture_wait(f);
        must_mirror(f);
}

SCRIPT(mmap, unlinked_while_open)
{
        int fd = DO_FD(s, open("u", O_RDWR | O_CREAT, 0644));
        int again;
        char buf[32];

        DO(s, write(fd, "still here", 10));
        DO(s, unlink("u"));
        say_stat(s, "u");
        say_fstat(s, fd);
        DO(s, pread(fd, buf, sizeof(buf), 0));
        DO(s, pwrite(fd, "written after", 13, 4));
        DO(s, ftruncate(fd, 9));
        say_fstat(s, fd);
        DO(s, pread(fd, buf, sizeof(buf), 0));
        DO(s, memcmp(buf, "stilwritt", 9) == 0);
        DO(s, fchmod(fd, 0600));
        DO(s, fchown(fd, 0, 0));
        DO(s, futimens(fd, (struct timespec[]){{1000, 5}, {2000, 6}}));
        DO(s, fsync(fd));
        DO(s, fallocate(fd, 0, 0, 100));
        again = DO_FD(s, open("u", O_RDWR | O_CREAT | O_EXCL, 0644));
        DO(s, write(again, "another", 7));
        say_fstat(s, fd);
        say_fstat(s, again);
        DO(s, pread(fd, buf, sizeof(buf), 0));
        close(fd);
        say_content(s, "u");
        close(again);
}

SCRIPT(mmap, replaced_while_open)
{
        int fd = DO_FD(s, open("victim", O_RDWR | O_CREAT, 0644));
        char buf[16] = "";

        DO(s, write(fd, "victim", 6));
        close(DO_FD(s, open("winner", O_RDWR | O_CREAT, 0600)));
        DO(s, rename("winner", "victim"));
        say_fstat(s, fd);
        say_stat(s, "victim");
        DO(s, pread(fd, buf, sizeof(buf), 0));
        DO(s, strcmp(buf, "victim") == 0);
        DO(s, pwrite(fd, "V", 1, 0));
        say_fstat(s, fd);
        close(fd);
        say_content(s, "victim");
}

SCRIPT(mmap, mapping_of_an_unlinked_file)
{
        int fd = DO_FD(s, open("gone", O_RDWR | O_CREAT, 0644));
        char buf[8];
        char *p;

        DO(s, ftruncate(fd, LEN));
        p = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        DO(s, unlink("gone"));
        memcpy(p + 20000, "stored", 6);
        DO(s, msync(p, LEN, MS_SYNC));
        DO(s, pread(fd, buf, 6, 20000));
        DO(s, memcmp(buf, "stored", 6) == 0);
        close(fd);
        DO(s, p[20000] == 's');
        DO(s, munmap(p, LEN));
}

SCRIPT(mmap, tmpfile)
{
        int fd = DO_FD(s, open(".", O_RDWR | O_TMPFILE, 0640));
        char proc[64], buf[8];

        DO(s, write(fd, "no name", 7));
        say_fstat(s, fd);
        snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
        SAY(s, "linkat: %d\n", linkat(AT_FDCWD, proc, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
        say_stat(s, "named");
        say_fstat(s, fd);
        DO(s, pwrite(fd, "THE", 3, 0));
        close(fd);
        say_content(s, "named");
        fd = DO_FD(s, open(".", O_RDWR | O_TMPFILE | O_EXCL, 0600));
        DO(s, write(fd, "unlinkable", 10));
        snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
        SAY(s, "linkat: %d\n", linkat(AT_FDCWD, proc, AT_FDCWD, "never", AT_SYMLINK_FOLLOW));
        DO(s, pread(fd, buf, 8, 2));
        DO(s, memcmp(buf, "linkable", 8) == 0);
        say_fstat(s, fd);
        close(fd);
        say_stat(s, "never");
}

static bool runs(void *arg)
{
        return child_exec((const char *const[]){"sh", "-c", "exec \"$1\" ran >/dev/null 2>&1", "sh", arg, NULL}, NULL, NULL, NULL, 0) == 0;
}

/* A program written through the mount runs there at once, and on the host once the agent closed what it wrote it with. */
CASE(mmap, written_programs_run)
{
        for (int i = 0; i < 20; i++) {
                CLEANUP_FREE char *host = strdup(at(f->src, "true%d", i));
                const char *program = at(f->mnt, "true%d", i);
                char out[16];

                must(child_exec((const char *const[]){"cp", "/bin/echo", program, NULL}, NULL, NULL, NULL, 0) == 0, "cp");
                must(child_exec((const char *const[]){program, "ran", NULL}, NULL, NULL, out, sizeof(out)) == 0, "run %s", program);
                errno = 0;
                must(strcmp(out, "ran\n") == 0, "it says %s", out);
                if (i % 5 == 0)
                        must(wait_until(runs, host, 30), "%s can't be run on the host", host);
        }
}
