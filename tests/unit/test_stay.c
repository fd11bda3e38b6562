#include <criterion/criterion.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cache/base/thread.h"
#include "fs/stay.h"

#define PATIENCE_NS 60000000000ULL

static atomic_bool spinning = true;

static void *spin(void *arg)
{
        while (atomic_load(&spinning))
                ;
        return arg;
}

static int policy(void)
{
        return sched_getscheduler(0) & ~SCHED_RESET_ON_FORK;
}

Test(stay, gives_way_when_others_want_the_processors)
{
        unsigned long long deadline = clock_now_ns() + PATIENCE_NS;
        struct sched_param param = {0};
        pthread_t crowd[64];
        struct stay s;
        int n;

        stay_init(&s);
        cr_assert_geq(s.loadavg, 0, "this needs CAP_SYS_NICE and two processors");
        n = s.processors + 2 < 64 ? s.processors + 2 : 64;
        cr_assert_eq(sched_setscheduler(0, SCHED_IDLE | SCHED_RESET_ON_FORK, &param), 0);
        s.idle = true;
        for (int i = 0; i < n; i++)
                cr_assert_eq(thread_start(&crowd[i], "crowd", spin, NULL), 0);
        while (policy() != SCHED_OTHER && clock_now_ns() < deadline)
                stay_look(&s);
        atomic_store(&spinning, false);
        for (int i = 0; i < n; i++)
                pthread_join(crowd[i], NULL);
        cr_assert_eq(policy(), SCHED_OTHER);
        cr_assert_not(s.idle);
        stay_release(&s);
}

Test(stay, leaves_alone_what_could_not_be_undone)
{
        struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
        struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
        struct stay s;

        cr_assert_eq(syscall(SYS_capget, &head, data), 0);
        data[CAP_TO_INDEX(CAP_SYS_NICE)].effective &= ~CAP_TO_MASK(CAP_SYS_NICE);
        cr_assert_eq(syscall(SYS_capset, &head, data), 0);
        stay_init(&s);
        stay_look(&s);
        cr_assert_lt(s.loadavg, 0);
        cr_assert_eq(policy(), SCHED_OTHER);
        stay_release(&s);
}
