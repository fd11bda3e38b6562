#include "cache/base/thread.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#define NS_PER_S 1000000000ULL

/* Failure of these calls is a bug of ours (a lock not held, not initialised): there is nothing to hand on. */
static void must(int rc)
{
        if (rc)
                abort();
}

void mutex_init(struct mutex *m)
{
        must(pthread_mutex_init(&m->m, NULL));
}

void mutex_release(struct mutex *m)
{
        must(pthread_mutex_destroy(&m->m));
}

void mutex_lock(struct mutex *m) NO_THREAD_CHECK
{
        must(pthread_mutex_lock(&m->m));
}

void mutex_unlock(struct mutex *m) NO_THREAD_CHECK
{
        must(pthread_mutex_unlock(&m->m));
}

void rwlock_init(struct rwlock *l)
{
        pthread_rwlockattr_t attr;

        must(pthread_rwlockattr_init(&attr));
        must(pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP));
        must(pthread_rwlock_init(&l->l, &attr));
        must(pthread_rwlockattr_destroy(&attr));
}

void rwlock_release(struct rwlock *l)
{
        must(pthread_rwlock_destroy(&l->l));
}

void rwlock_read(struct rwlock *l) NO_THREAD_CHECK
{
        must(pthread_rwlock_rdlock(&l->l));
}

void rwlock_read_end(struct rwlock *l) NO_THREAD_CHECK
{
        must(pthread_rwlock_unlock(&l->l));
}

void rwlock_write(struct rwlock *l) NO_THREAD_CHECK
{
        must(pthread_rwlock_wrlock(&l->l));
}

void rwlock_write_end(struct rwlock *l) NO_THREAD_CHECK
{
        must(pthread_rwlock_unlock(&l->l));
}

void cond_init(struct cond *c)
{
        pthread_condattr_t attr;

        must(pthread_condattr_init(&attr));
        must(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC));
        must(pthread_cond_init(&c->c, &attr));
        must(pthread_condattr_destroy(&attr));
}

void cond_release(struct cond *c)
{
        must(pthread_cond_destroy(&c->c));
}

void cond_wait(struct cond *c, struct mutex *m)
{
        must(pthread_cond_wait(&c->c, &m->m));
}

int cond_wait_until(struct cond *c, struct mutex *m, unsigned long long deadline_ns)
{
        struct timespec ts = {.tv_sec = (time_t)(deadline_ns / NS_PER_S), .tv_nsec = (long)(deadline_ns % NS_PER_S)};
        int rc = pthread_cond_timedwait(&c->c, &m->m, &ts);

        if (rc == ETIMEDOUT)
                return -ETIMEDOUT;
        must(rc);
        return 0;
}

void cond_signal(struct cond *c)
{
        must(pthread_cond_signal(&c->c));
}

void cond_broadcast(struct cond *c)
{
        must(pthread_cond_broadcast(&c->c));
}

unsigned long long clock_now_ns(void)
{
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (unsigned long long)ts.tv_sec * NS_PER_S + (unsigned long long)ts.tv_nsec;
}

int thread_start(pthread_t *ret, const char *name, void *(*run)(void *), void *arg)
{
        sigset_t all;
        sigset_t old;
        int rc;

        sigfillset(&all);
        must(pthread_sigmask(SIG_SETMASK, &all, &old));
        rc = pthread_create(ret, NULL, run, arg);
        must(pthread_sigmask(SIG_SETMASK, &old, NULL));
        if (rc)
                return -rc;
        (void)pthread_setname_np(*ret, name);
        return 0;
}
