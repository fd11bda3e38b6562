/*
 * Read without a lock, for each event of the source's filesystem. A set holds a few threads and never more, so that looking for one that
 * isn't there is as short; a thread that finds its set full isn't entered, and its changes are told to its own mount too, which does no
 * harm. The mount is only ever compared, never followed: it may have ended.
 */
#include "fs/threads.h"

#include <stdatomic.h>
#include <unistd.h>

#include "cache/base/err.h"
#include "cache/base/thread.h"
#include "fs/fs.h"

/* Threads are numbered one after the other, which fills the sets evenly. */
#define SETS 1024U
#define WAYS 8

struct entry {
        _Atomic pid_t tid; /* 0: free; written last when it is taken, first when it is freed */
        _Atomic unsigned long long since_ns;
        const struct fs_mount *_Atomic mount;
};

static struct entry table[SETS][WAYS];
static struct mutex writing = MUTEX_INIT;

static struct entry *set_of(pid_t tid)
{
        return table[(unsigned)tid % SETS];
}

void threads_enter(const struct fs_mount *m)
{
        pid_t tid = gettid();
        struct entry *set = set_of(tid);
        struct entry *at = NULL;

        mutex_lock(&writing);
        for (size_t i = 0; i < WAYS; i++) {
                pid_t there = atomic_load(&set[i].tid);

                /* The number's last owner may not have been taken out yet. */
                if (there == tid || (there == 0 && !at))
                        at = &set[i];
                if (there == tid)
                        break;
        }
        if (at) {
                atomic_store(&at->tid, 0);
                atomic_store(&at->since_ns, clock_now_ns());
                atomic_store(&at->mount, m);
                atomic_store(&at->tid, tid);
        }
        mutex_unlock(&writing);
}

void threads_leave(const struct fs_mount *m)
{
        mutex_lock(&writing);
        for (struct entry *e = table[0]; e < table[0] + (size_t)SETS * WAYS; e++) {
                if (atomic_load(&e->mount) != m)
                        continue;
                atomic_store(&e->tid, 0);
                atomic_store(&e->mount, NULL);
        }
        mutex_unlock(&writing);
}

const struct fs_mount *fs_thread_mount(pid_t tid, unsigned long long *since_ns)
{
        struct entry *set = set_of(tid);

        for (size_t i = 0; i < WAYS && tid > 0; i++) {
                const struct fs_mount *m;

                if (atomic_load(&set[i].tid) != tid)
                        continue;
                m = atomic_load(&set[i].mount);
                *since_ns = atomic_load(&set[i].since_ns);
                return atomic_load(&set[i].tid) == tid ? m : NULL;
        }
        return NULL;
}
