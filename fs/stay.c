#include "fs/stay.h"

#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "cache/base/thread.h"

#define LOOK_NS 1000000ULL   /* how often, while it is calm */
#define CROWDED_LOOKS 3U     /* what a single look finds may be gone in a moment */
#define BUSY_NS 100000000ULL /* how long the policy is given up for when it isn't calm */

static bool set_policy(int policy)
{
        struct sched_param param = {0};

        return sched_setscheduler(0, policy | SCHED_RESET_ON_FORK, &param) == 0;
}

/* Going to SCHED_IDLE needs nothing, leaving it does. Tried by a thread of its own, which can be left with it. */
static void *try_to_come_back(void *arg)
{
        bool *can = arg;

        *can = set_policy(SCHED_IDLE) && set_policy(SCHED_OTHER);
        return NULL;
}

static bool may_come_back(void)
{
        pthread_t thread;
        bool can = false;

        if (thread_start(&thread, "dsfs-try", try_to_come_back, &can) < 0)
                return false;
        pthread_join(thread, NULL);
        return can;
}

void stay_init(struct stay *s)
{
        *s = (struct stay){.loadavg = -1, .processors = (int)sysconf(_SC_NPROCESSORS_ONLN)};
        if (s->processors < 2 || sched_getscheduler(0) != SCHED_OTHER)
                return;
        if (!may_come_back())
                return;
        s->loadavg = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);
}

void stay_release(struct stay *s)
{
        fd_close(&s->loadavg);
}

/* Threads that want a processor right now, the calling one too: "0.00 0.00 0.00 2/345 678". Something large if it can't be told. */
static int runnable(int fd)
{
        char text[128];
        ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
        char *at = text;

        if (n <= 0)
                return 1 << 20;
        text[n] = '\0';
        for (int i = 0; i < 3 && at; i++) {
                at = strchr(at, ' ');
                at = at ? at + 1 : NULL;
        }
        return at ? atoi(at) : 1 << 20;
}

void stay_look(struct stay *s)
{
        unsigned long long now;
        bool calm;

        if (s->loadavg < 0)
                return;
        now = clock_now_ns();
        if (now < s->next_ns)
                return;
        s->crowded = runnable(s->loadavg) <= s->processors ? 0 : s->crowded + 1;
        calm = s->crowded < CROWDED_LOOKS;
        s->next_ns = now + (calm ? LOOK_NS : BUSY_NS);
        if (calm != s->idle && set_policy(calm ? SCHED_IDLE : SCHED_OTHER))
                s->idle = calm;
}
