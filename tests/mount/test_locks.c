/*
 * Locks between processes: flock, POSIX, open file descriptions.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/mount/case.h"

static struct flock range(short type, off_t start, off_t len)
{
        return (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
}

static int posix_lock(int fd, int cmd, short type, off_t start, off_t len)
{
        struct flock lock = range(type, start, len);

        return fcntl(fd, cmd, &lock);
}

struct locker {
        const char *path;
        struct gate *locked, *tried;
        int (*lock)(int fd, bool wait);
};

static int flock_it(int fd, bool wait)
{
        return flock(fd, LOCK_EX | (wait ? 0 : LOCK_NB));
}

static int posix_it(int fd, bool wait)
{
        return posix_lock(fd, wait ? F_SETLKW : F_SETLK, F_WRLCK, 10, 10);
}

static int ofd_it(int fd, bool wait)
{
        return posix_lock(fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, F_WRLCK, 10, 10);
}

static int holder(void *arg)
{
        struct locker *l = arg;
        CLEANUP_FD int fd = open(l->path, O_RDWR | O_CLOEXEC);

        must(fd >= 0 && l->lock(fd, false) == 0, "the first lock");
        gate_pass(l->locked);
        gate_pass(l->tried);
        return 0; /* ending gives the lock back */
}

static void exclude(struct fixture *f, int (*lock)(int fd, bool wait))
{
        struct locker l = {keep(at(f->mnt, "lock")), gate_new(2), gate_new(2), lock};
        CLEANUP_FD int fd = -1;
        pid_t child;

        put_text(l.path, "0123456789012345678901234567890");
        fd = open(l.path, O_RDWR | O_CLOEXEC);
        child = child_start(NULL, holder, &l);
        gate_pass(l.locked);
        must(lock(fd, false) < 0 && (errno == EAGAIN || errno == EACCES), "a second lock was granted");
        gate_pass(l.tried);
        must(lock(fd, true) == 0, "waiting for the lock");
        must(child_wait(child) == 0, "the holder");
}

CASE(locks, flock_excludes_and_hands_over)
{
        exclude(f, flock_it);
}

CASE(locks, posix_locks_exclude_and_hand_over)
{
        exclude(f, posix_it);
}

CASE(locks, ofd_locks_exclude_and_hand_over)
{
        exclude(f, ofd_it);
}

static int asker(void *arg)
{
        const char *path = arg;
        CLEANUP_FD int fd = open(path, O_RDWR | O_CLOEXEC);
        struct flock ask = range(F_WRLCK, 0, 0);

        must(fcntl(fd, F_GETLK, &ask) == 0, "F_GETLK");
        errno = 0;
        must(ask.l_type == F_WRLCK && ask.l_start == 10 && ask.l_len == 10, "type %d at %ld", ask.l_type, (long)ask.l_start);
        must(ask.l_pid == getppid(), "held by %d, not %d", ask.l_pid, getppid());
        must(posix_lock(fd, F_SETLK, F_WRLCK, 0, 10) == 0, "before it");
        must(posix_lock(fd, F_SETLK, F_WRLCK, 20, 10) == 0, "behind it");
        must(posix_lock(fd, F_SETLK, F_RDLCK, 15, 1) < 0, "inside it");
        return 0;
}

CASE(locks, posix_locks_know_their_range_and_holder)
{
        char *path = keep(at(f->mnt, "lock"));
        CLEANUP_FD int fd = -1;

        put_text(path, "0123456789012345678901234567890");
        fd = open(path, O_RDWR | O_CLOEXEC);
        must(posix_lock(fd, F_SETLK, F_WRLCK, 10, 10) == 0, "lock");
        must(child_run(NULL, asker, path) == 0, "the other process");
        must(posix_lock(fd, F_SETLK, F_UNLCK, 0, 0) == 0, "unlock");
}

/* A POSIX lock goes when its process closes any descriptor of the file; an OFD lock with the description only. */
CASE(locks, closing_releases_what_it_should)
{
        char *path = keep(at(f->mnt, "lock"));
        CLEANUP_FD int fd = -1, second = -1;
        struct flock ask = range(F_WRLCK, 0, 0);

        put_text(path, "0123456789");
        fd = open(path, O_RDWR | O_CLOEXEC);
        second = open(path, O_RDWR | O_CLOEXEC);
        must(posix_lock(fd, F_OFD_SETLK, F_WRLCK, 0, 5) == 0, "lock");
        must(posix_lock(second, F_OFD_SETLK, F_WRLCK, 4, 5) < 0 && errno == EAGAIN, "two descriptions of one process exclude each other");
        close(dup(fd));
        ask = range(F_WRLCK, 0, 0);
        must(fcntl(second, F_OFD_GETLK, &ask) == 0 && ask.l_type == F_WRLCK, "closing a duplicate gave the lock back");
        fd_close(&fd);
        must(posix_lock(second, F_OFD_SETLK, F_WRLCK, 0, 5) == 0, "closing the description kept the lock");
}

static int count_up(void *arg)
{
        const struct locker *l = arg;
        CLEANUP_FD int fd = open(l->path, O_RDWR | O_CLOEXEC);

        for (int i = 0; i < 200; i++) {
                unsigned n;

                must(l->lock(fd, true) == 0, "lock");
                must(pread(fd, &n, sizeof(n), 10) == sizeof(n), "read");
                n++;
                must(pwrite(fd, &n, sizeof(n), 10) == sizeof(n), "write");
                if (l->lock == flock_it)
                        must(flock(fd, LOCK_UN) == 0, "unlock");
                else
                        must(posix_lock(fd, l->lock == ofd_it ? F_OFD_SETLK : F_SETLK, F_UNLCK, 10, 10) == 0, "unlock");
        }
        return 0;
}

/* A counter under a lock loses no increment: what one wrote under it the next one reads. */
CASE(locks, locked_data_is_seen_by_the_next)
{
        int (*kinds[])(int fd, bool wait) = {flock_it, posix_it, ofd_it};

        for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
                struct locker l = {.path = keep(at(f->mnt, "counter")), .lock = kinds[k]};
                CLEANUP_FD int fd = -1;
                pid_t children[3];
                unsigned n;

                put_file(l.path, (char[32]){0}, 32);
                for (size_t i = 0; i < ARRAY_LEN(children); i++)
                        children[i] = child_start(NULL, count_up, &l);
                for (size_t i = 0; i < ARRAY_LEN(children); i++)
                        must(child_wait(children[i]) == 0, "a counter");
                fd = open(l.path, O_RDONLY);
                must(pread(fd, &n, sizeof(n), 10) == sizeof(n), "read");
                errno = 0;
                must(n == 3 * 200, "counted %u with kind %zu", n, k);
        }
}

static int lock_interrupted(void *arg)
{
        CLEANUP_FD int fd = open(arg, O_RDWR | O_CLOEXEC);

        flock(fd, LOCK_EX);
        return 0;
}

/* Who waits for a lock can be killed. */
CASE(locks, waiting_can_be_killed)
{
        char *path = keep(at(f->mnt, "lock"));
        CLEANUP_FD int fd = -1;
        pid_t child;

        put_text(path, "x");
        fd = open(path, O_RDWR | O_CLOEXEC);
        must(flock(fd, LOCK_EX) == 0, "lock");
        child = child_start(NULL, lock_interrupted, path);
        must(kill(child, SIGKILL) == 0, "kill");
        must(child_wait(child) == 128 + SIGKILL, "killed");
        must(flock(fd, LOCK_UN) == 0 && flock(fd, LOCK_EX | LOCK_NB) == 0, "the lock is free again");
}
