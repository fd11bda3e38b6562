#include "fs/room.h"

#include <poll.h>
#include <time.h>

/* What was read from /dev/fuse may not have begun yet, and its reader rests before it takes the next: see op_forget_multi(). */
#define MOMENT_NS 3000000L
#define QUEUED_MOMENTS_MAX 16
#define MOMENTS_MAX 1000 /* large files take their time to go */
#define ROOT_PIN 1

static bool is_full(ssize_t rc)
{
        return rc == -ENOSPC || rc == -EDQUOT;
}

static bool may_come(struct fs_mount *m)
{
        struct slots_stats slots;

        slots_stats(m->slots, &slots);
        return slots.pinned > ROOT_PIN || atomic_load(&m->forgetting);
}

/* FORGETs come by /dev/fuse in any case. */
static bool is_queued(struct fs_mount *m)
{
        struct pollfd p = {.fd = fuse_session_fd(m->session), .events = POLLIN};

        return poll(&p, 1, 0) > 0;
}

static void wait_for_forgets(struct fs_mount *m)
{
        static const struct timespec moment = {.tv_nsec = MOMENT_NS};
        bool last = false;

        for (int i = 0; i < MOMENTS_MAX && !last; i++) {
                last = i >= QUEUED_MOMENTS_MAX || !is_queued(m);
                (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &moment, NULL);
                last = last && !atomic_load(&m->forgetting);
        }
}

bool room_awaited(struct fs_mount *m, ssize_t rc)
{
        int error = errno;

        if (!is_full(rc) || !may_come(m))
                return false;
        if (atomic_fetch_add(&m->patient, 1) < MOUNT_PATIENT_MAX)
                wait_for_forgets(m);
        atomic_fetch_sub(&m->patient, 1);
        errno = error;
        return true;
}
