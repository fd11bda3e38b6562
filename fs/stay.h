/*
 * Keeping a client on its processor. A ring's thread serves the requests that are made on its own processor, which makes a round trip two
 * context switches there and nothing else. But as it answers, it is still running: the scheduler sees a busy processor, and wakes the
 * client on an idle one, out of whose sleep it must be interrupted; the next request is served there, and its answer wakes the client on
 * the first. Measured: 6 us a request without such moves, 25 to 35 us with them, in virtual machines most of all.
 *
 * A processor that runs nothing but SCHED_IDLE threads counts as idle, so a ring's thread that has this policy keeps its clients where they
 * are. It would starve, though, beside others that want its processor: so it has the policy only while there are fewer runnable
 * threads in the machine than processors, which it looks at every millisecond or so, while it has requests to serve.
 */
#pragma once

#include <stdbool.h>

/* One ring's thread's. */
struct stay {
        int loadavg; /* descriptor, or -1: nothing is done */
        int processors;
        bool idle;        /* the thread has SCHED_IDLE */
        unsigned crowded; /* looks in a row that found too many threads */
        unsigned long long next_ns;
};

/* By the thread itself. Does nothing where the policy couldn't be left again: without CAP_SYS_NICE. */
void stay_init(struct stay *s);
void stay_release(struct stay *s);

/* By the thread itself, before it answers. */
void stay_look(struct stay *s);
