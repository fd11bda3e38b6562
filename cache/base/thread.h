/*
 * Locks that clang's -Wthread-safety checks, and threads with names. Nothing here can fail but thread_start().
 */
#pragma once

#include <pthread.h>

#if defined(__clang__)
#define THREAD_ATTR(x) __attribute__((x))
#else
#define THREAD_ATTR(x)
#endif

#define CAPABILITY(name) THREAD_ATTR(capability(name))
/* For the reader: clang takes no sibling member as an argument in C. */
#define GUARDED_BY(lock)
#define REQUIRES(...) THREAD_ATTR(requires_capability(__VA_ARGS__))
#define ACQUIRE(...) THREAD_ATTR(acquire_capability(__VA_ARGS__))
#define RELEASE(...) THREAD_ATTR(release_capability(__VA_ARGS__))
#define EXCLUDES(...) THREAD_ATTR(locks_excluded(__VA_ARGS__))
#define NO_THREAD_CHECK THREAD_ATTR(no_thread_safety_analysis)

struct CAPABILITY("mutex") mutex {
        pthread_mutex_t m;
};
#define MUTEX_INIT                                                                                                                         \
        {                                                                                                                                  \
                PTHREAD_MUTEX_INITIALIZER                                                                                                  \
        }

void mutex_init(struct mutex *m);
void mutex_release(struct mutex *m);
void mutex_lock(struct mutex *m) ACQUIRE(m);
void mutex_unlock(struct mutex *m) RELEASE(m);

/* Many readers, or one writer, who isn't kept waiting by further readers: so reading doesn't nest. */
struct CAPABILITY("rwlock") rwlock {
        pthread_rwlock_t l;
};

void rwlock_init(struct rwlock *l);
void rwlock_release(struct rwlock *l);
void rwlock_read(struct rwlock *l) THREAD_ATTR(acquire_shared_capability(l));
void rwlock_read_end(struct rwlock *l) THREAD_ATTR(release_shared_capability(l));
void rwlock_write(struct rwlock *l) ACQUIRE(l);
void rwlock_write_end(struct rwlock *l) RELEASE(l);

/* A condition waited on under a mutex; timed waits use the monotonic clock. */
struct cond {
        pthread_cond_t c;
};

void cond_init(struct cond *c);
void cond_release(struct cond *c);
void cond_wait(struct cond *c, struct mutex *m) REQUIRES(m);

/* Wait at most until `deadline_ns` (clock_now_ns() based). 0, or -ETIMEDOUT. */
int cond_wait_until(struct cond *c, struct mutex *m, unsigned long long deadline_ns) REQUIRES(m);
void cond_signal(struct cond *c);
void cond_broadcast(struct cond *c);

unsigned long long clock_now_ns(void);

/* Start a thread named `name` (15 characters) with all signals blocked. 0 or -errno. */
int thread_start(pthread_t *ret, const char *name, void *(*run)(void *), void *arg);
