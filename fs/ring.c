/*
 * Answers from other threads for libfuse's ring threads, without a change to libfuse.
 *
 * libfuse (3.18.3, lib/fuse_uring.c) has one thread a processor: it sleeps in io_uring_submit_and_wait(), handles what came, and queues the
 * replies, which the next such call submits. A reply copies into the ring entry's payload (at most max_write bytes) and queues an SQE.
 * Made on another thread, it would race for the submission queue; worse, the entry's next command would belong to that thread: the kernel
 * cancels it when the thread ends, and hands later requests over in its context. So a reply is made by the ring's own thread.
 *
 * Our wrapper of io_uring_submit_and_wait() (the linker's --wrap) lets it be woken for that. Without jobs it is the real call. With some:
 *
 *     worker                        ring thread
 *     work()                        submit what is queued
 *     lock, append, asleep? ------> lock, nothing there: asleep = true
 *             signal                io_uring_enter(mask lets the signal in) = -EINTR
 *                                   answer(), until requests came or no job is left: return to libfuse
 *
 * The signal is blocked but in that sleep, so one sent before the sleep ends it at once: no wake-up is lost. The sleep submits nothing:
 * a call that had submitted would report that and hide the -EINTR (liburing's own loop would then sleep again, with the answer
 * undelivered).
 *
 * The end: libfuse frees a queue with all its requests once its thread was joined. A destructor of thread-specific data holds the thread
 * until its jobs are answered; on a dead connection a reply just fails. libfuse cancels ring threads too (pthread_cancel), which would hit
 * an operation in the middle of an open() with locks held: we disable that, the queue's eventfd wakes them anyway.
 *
 * Threads that never slept in the wrapper have no ring (libfuse linked dynamically, or without --wrap): offload_run() works inline then.
 */
#include "fs/ring.h"

#include <errno.h>
#include <liburing.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cache/base/thread.h"
#include "fs/offload.h"
#include "fs/stay.h"

/* What wakes a ring's thread. The process must have no other use for it. */
#define RING_SIGNAL (SIGRTMIN + 4)
#define KERNEL_SIGSET_BYTES (_NSIG / 8)

struct ring {
        /* Set at the start, read anywhere. */
        pthread_t thread;
        sigset_t awaiting; /* the thread's mask, with RING_SIGNAL let in */
        /* The thread's own. */
        unsigned expected; /* jobs whose answer is still to be made */
        struct stay stay;

        struct mutex lock; /* never held over a job's answer */
        struct cond posted;
        struct job *first GUARDED_BY(lock);
        struct job **last GUARDED_BY(lock);
        bool asleep GUARDED_BY(lock); /* or about to be: wants the signal */
};

/* Weak: where nothing else is linked with liburing, nobody calls the wrapper either. */
int __real_io_uring_submit_and_wait(struct io_uring *uring, unsigned wait_nr) __attribute__((weak));
int __wrap_io_uring_submit_and_wait(struct io_uring *uring, unsigned wait_nr);

static _Thread_local struct ring *current;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static bool usable;

static void woken(int sig)
{
        (void)sig; /* a handler is needed for the sleep to end */
}

/* All that was posted, oldest first, linked by next. If that's nothing and the caller wants to sleep, it will be woken by the signal. */
static struct job *take_all(struct ring *r, bool to_sleep)
{
        struct job *all;

        mutex_lock(&r->lock);
        all = r->first;
        r->first = NULL;
        r->last = &r->first;
        r->asleep = !all && to_sleep;
        mutex_unlock(&r->lock);
        return all;
}

/* An answer may start another job. */
static void answer_all(struct ring *r, struct job *all)
{
        while (all) {
                struct job *j = all;

                all = j->next;
                j->answer(j);
                r->expected--;
        }
}

/* The thread ends: not before its jobs. */
static void end_ring(void *arg)
{
        struct ring *r = arg;

        while (r->expected) {
                mutex_lock(&r->lock);
                while (!r->first)
                        cond_wait(&r->posted, &r->lock);
                mutex_unlock(&r->lock);
                answer_all(r, take_all(r, false));
        }
        current = NULL;
        stay_release(&r->stay);
        cond_release(&r->posted);
        mutex_release(&r->lock);
        free(r);
}

static void prepare(void)
{
        /* No SA_RESTART: the sleep must end. */
        struct sigaction action = {.sa_handler = woken};

        sigemptyset(&action.sa_mask);
        usable = !sigaction(RING_SIGNAL, &action, NULL) && !pthread_key_create(&key, end_ring);
}

/* Give the calling thread a ring. NULL without memory: it is tried again. */
static struct ring *new_ring(void)
{
        struct ring *r;
        sigset_t ours;

        pthread_once(&once, prepare);
        if (!usable)
                return NULL;
        r = calloc(1, sizeof(*r));
        if (!r)
                return NULL;
        if (pthread_setspecific(key, r)) {
                free(r);
                return NULL;
        }
        mutex_init(&r->lock);
        cond_init(&r->posted);
        (void)take_all(r, false);
        r->thread = pthread_self();
        sigemptyset(&ours);
        sigaddset(&ours, RING_SIGNAL);
        pthread_sigmask(SIG_BLOCK, &ours, &r->awaiting);
        sigdelset(&r->awaiting, RING_SIGNAL);
        pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
        stay_init(&r->stay);
        current = r;
        return r;
}

/* Until a completion is there or a signal came. 0 or -errno. */
static int sleep_until_woken(struct ring *r, struct io_uring *uring, unsigned wait_nr)
{
        /* Answers submitted themselves, unless the kernel would not take them just then. */
        if (io_uring_sq_ready(uring)) {
                int rc = __real_io_uring_submit_and_wait(uring, 0);

                if (rc < 0)
                        return rc;
        }
        if (syscall(SYS_io_uring_enter, uring->ring_fd, 0, wait_nr, IORING_ENTER_GETEVENTS, &r->awaiting, KERNEL_SIGSET_BYTES) < 0)
                return errno == EINTR ? 0 : -errno;
        return 0;
}

int __wrap_io_uring_submit_and_wait(struct io_uring *uring, unsigned wait_nr)
{
        struct ring *r = current ? current : new_ring();
        int submitted;

        if (r)
                stay_look(&r->stay);
        if (!r || !r->expected)
                return __real_io_uring_submit_and_wait(uring, wait_nr);

        submitted = __real_io_uring_submit_and_wait(uring, 0);
        if (submitted < 0)
                return submitted;
        do {
                struct job *all = take_all(r, io_uring_cq_ready(uring) < wait_nr);

                if (all) {
                        answer_all(r, all);
                } else if (io_uring_cq_ready(uring) < wait_nr) {
                        int rc = sleep_until_woken(r, uring, wait_nr);

                        if (rc)
                                return rc;
                }
                if (!r->expected) {
                        int rc = __real_io_uring_submit_and_wait(uring, wait_nr);

                        return rc < 0 ? rc : submitted + rc;
                }
        } while (io_uring_cq_ready(uring) < wait_nr);
        return submitted;
}

struct ring *ring_current(void)
{
        return current;
}

void ring_expect(struct ring *r)
{
        r->expected++;
}

void ring_expect_no_more(struct ring *r)
{
        r->expected--;
}

void ring_post(struct ring *r, struct job *j)
{
        j->next = NULL;
        mutex_lock(&r->lock);
        *r->last = j;
        r->last = &j->next;
        if (r->asleep) {
                r->asleep = false;
                /* Under the lock, for the thread can't end before it has taken it. */
                pthread_kill(r->thread, RING_SIGNAL);
        }
        cond_signal(&r->posted);
        mutex_unlock(&r->lock);
}
