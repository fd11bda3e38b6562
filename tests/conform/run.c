/*
 * Making trials: a group's trials of one user are set up together, made in the plain directory, then in the mount, each time in a child
 * that may crash or hang at one of them without loss of the others, and then compared.
 */
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "cache/base/fd.h"
#include "tests/conform/batch.h"

#define TRIAL_SECONDS 30 /* then it hangs */
#define LOWEST_FREE_FD 3

const struct who users[USER_COUNT] = {
        [USER_ROOT] = {.uid = 0, .gid = 0},
        [USER_MEMBER] = {.uid = 1000, .gid = 1000, .group_count = 2, .groups = {1000, TEAM}},
        [USER_STRANGER] = {.uid = 4242, .gid = 4242},
};
const char *const user_names[USER_COUNT] = {"root", "member", "stranger"};

void combination_name(const struct combination *c, char *ret, size_t size)
{
        snprintf(ret, size, "%s/%s/%s/%s%s%s", backing_name(c->backing), c->profile == PROFILE_DATA ? "data" : "source",
                 c->transport == BY_URING ? "uring" : "dev", c->keep ? "keep" : "squash", c->warm ? "/warm" : "",
                 c->readonly ? "/readonly" : "");
}

/*
 * Setting up
 */

/* The clock by which files are stamped has moved on: what is changed from here on has a later time than what was before. */
static struct timespec tick(void)
{
        struct timespec before, now;

        clock_gettime(CLOCK_REALTIME, &before);
        do {
                clock_gettime(CLOCK_REALTIME_COARSE, &now);
        } while (now.tv_sec < before.tv_sec || (now.tv_sec == before.tv_sec && now.tv_nsec <= before.tv_nsec));
        return before;
}

static void set_up_at(const struct batch *b, const char *root)
{
        struct timespec old[2] = {{.tv_sec = OLD_TIME}, {.tv_sec = OLD_TIME}};

        must(chdir(root) == 0 && mkdir(b->dir, 0755) == 0 && chdir(b->dir) == 0, "%s/%s", root, b->dir);
        for (size_t i = 0; i < b->count; i++) {
                char name[24];

                snprintf(name, sizeof(name), "%zu", i);
                must(mkdir(name, 0777) == 0 && chdir(name) == 0, "%s", name);
                must(chmod(".", 0777) == 0, "chmod");
                target_make(b->items[i].target->with, &users[b->user]);
                target_make(b->items[i].call->with, &users[b->user]);
                must(utimensat(AT_FDCWD, ".", old, 0) == 0 && chdir("..") == 0, "utimensat");
        }
        must(chdir("/") == 0, "chdir");
}

/*
 * Making
 */

struct maker {
        const struct batch *b;
        struct lane *lane;
        const char *root;
};

static void make_trial(const struct batch *b, struct lane *lane, size_t i)
{
        const struct item *item = &b->items[i];
        struct trial t = {
                .out = lane->out,
                .call = item->call,
                .path = target_path(item->target->path),
                .elsewhere = b->elsewhere,
                .who = &users[b->user],
                .squash = !b->combination->keep,
        };
        char name[24];

        snprintf(name, sizeof(name), "%zu", i);
        must(chdir(name) == 0, "chdir %s", name);
        umask(022);
        item->call->run(&t);
}

static int make_trials(void *arg)
{
        struct maker *m = arg;
        size_t i;

        setpgid(0, 0);
        while ((i = atomic_load(m->lane->at)) < m->b->count) {
                must(chdir(m->root) == 0 && chdir(m->b->dir) == 0, "%s", m->root);
                m->lane->begin[i] = m->lane->out->len;
                make_trial(m->b, m->lane, i);
                close_range(LOWEST_FREE_FD, ~0u, 0);
                atomic_store(m->lane->at, i + 1);
        }
        return 0;
}

/* Wait for the child to end; kill it if a trial takes too long. Its wait status as of child_wait(). */
static int watch_maker(pid_t pid, struct lane *lane)
{
        CLEANUP_FD int fd = (int)syscall(SYS_pidfd_open, pid, 0);
        struct pollfd end = {.fd = fd, .events = POLLIN};
        size_t seen = SIZE_MAX;

        must(fd >= 0, "pidfd_open");
        while (poll(&end, 1, TRIAL_SECONDS * 1000) == 0) {
                size_t at_now = atomic_load(lane->at);

                if (at_now == seen)
                        kill(-pid, SIGKILL), kill(pid, SIGKILL);
                seen = at_now;
        }
        return child_wait(pid);
}

static void make_lane(const struct batch *b, struct lane *lane, const char *root)
{
        struct maker m = {b, lane, root};

        *lane = (struct lane){
                .out = trace_new(),
                .begin = shared_new((b->count + 1) * sizeof(*lane->begin)),
                .at = shared_new(sizeof(*lane->at)),
        };
        while (atomic_load(lane->at) < b->count) {
                pid_t pid = child_start(&users[b->user], make_trials, &m);
                int rc = watch_maker(pid, lane);

                kill(-pid, SIGKILL); /* what the trial left behind */
                if (rc == 0)
                        break;
                trace_add(lane->out, ENDED " with %d\n", rc);
                atomic_fetch_add(lane->at, 1);
        }
        lane->begin[b->count] = lane->out->len;
}

/* What is left in each trial's directory. */
static void describe_lane(const struct batch *b, struct lane *lane, const char *root, const struct state_options *o)
{
        *lane = (struct lane){.out = trace_new(), .begin = shared_new((b->count + 1) * sizeof(*lane->begin))};
        for (size_t i = 0; i < b->count; i++) {
                char path[PATH_MAX];

                snprintf(path, sizeof(path), "%s/%s/%zu", root, b->dir, i);
                lane->begin[i] = lane->out->len;
                state_describe(lane->out, path, o);
        }
        lane->begin[b->count] = lane->out->len;
}

static void lane_free(struct lane *lane)
{
        trace_free(lane->out);
}

/*
 * One batch, one combination
 */

static bool selected(const char *trial, size_t number, const char *only, unsigned share)
{
        /* A multiplier without a factor in common with the tables' widths: each call and each target has its part. */
        return (!only || fnmatch(only, trial, FNM_EXTMATCH) == 0) && (number * 2654435761u >> 7) % share == 0;
}

static void choose(struct batch *b, const char *only, unsigned share)
{
        const struct group *g = b->group;

        b->items = calloc(*g->call_count * *g->target_count, sizeof(*b->items));
        must(b->items, "memory");
        for (size_t c = 0; c < *g->call_count; c++)
                for (size_t t = 0; t < *g->target_count; t++) {
                        char trial[256];

                        trial_name(&g->calls[c], &g->targets[t], b->user, trial, sizeof(trial));
                        if (g->calls[c].fit && !g->calls[c].fit(b->combination, b->user))
                                continue;
                        if (selected(trial, c * *g->target_count + t, only, share))
                                b->items[b->count++] = (struct item){&g->calls[c], &g->targets[t], false};
                }
}

static void run_batch(struct batch *b, struct tally *tally)
{
        struct fixture *f = b->f;
        struct state_options o = {.squash = !b->combination->keep, .own_times = true};
        struct lanes l;

        set_up_at(b, f->plain);
        set_up_at(b, f->src);
        b->since = o.since = tick();
        fixture_wait(f);
        if (b->combination->warm) {
                struct state_options look = {.since = o.since};

                describe_lane(b, &l.want, b->oracle, &look);
                describe_lane(b, &l.have, f->mnt, &look);
                lane_free(&l.want), lane_free(&l.have);
        }
        make_lane(b, &l.want, b->oracle);
        make_lane(b, &l.have, f->mnt);
        fixture_wait(f);
        describe_lane(b, &l.plain, f->plain, &o);
        describe_lane(b, &l.source, f->src, &o);
        o.exact = true;
        describe_lane(b, &l.source_exact, f->src, &o);
        o.own_times = false;
        describe_lane(b, &l.mnt_exact, f->mnt, &o);
        batch_compare(b, &l, tally);
        lane_free(&l.want), lane_free(&l.have), lane_free(&l.plain), lane_free(&l.source), lane_free(&l.source_exact),
                lane_free(&l.mnt_exact);
        remove_tree(at(f->plain, "%s", b->dir));
        remove_tree(at(f->src, "%s", b->dir));
}

/* Who else uses the machine can't be told from a difference that comes and goes: what differs is made again, alone, and is a failure if it
 * differs again. What doesn't is counted as unsteady: one that is so time and again is looked into. */
static void run_twice(struct batch *b, struct tally *tally)
{
        struct tally first = {.show_all = tally->show_all}, again = first;
        size_t count = 0;

        run_batch(b, &first);
        for (size_t i = 0; i < b->count; i++)
                if (b->items[i].failed)
                        b->items[count++] = b->items[i];
        tally->trials += first.trials;
        tally->expected += first.expected;
        if (!count)
                return;
        b->count = count;
        run_batch(b, &again);
        tally->failed += again.failed;
        tally->unsteady += count - again.failed;
        printf("%s: %zu differed, %zu of them again\n", b->dir, count, again.failed);
}

static void bind_at(const char *from, const char *to, unsigned long flags)
{
        must(mount(from, to, NULL, MS_BIND, NULL) == 0, "bind %s", from);
        must(mount(NULL, to, NULL, MS_REMOUNT | MS_BIND | flags, NULL) == 0, "remount %s", to);
}

static struct fixture *mount_both(const struct combination *c, char *oracle, size_t size)
{
        unsigned long flags = MS_NOSUID | MS_NODEV | (c->readonly ? MS_RDONLY : 0);
        struct variant v = {
                .backing = c->backing,
                .transport = c->transport,
                .profile = c->profile,
                .owner = users[USER_MEMBER].uid,
                .own_fs = true,
                .life = 3600,
        };
        struct fixture *f;

        snprintf(v.options, sizeof(v.options), "owner=%s%s", c->keep ? "keep" : "squash", c->readonly ? ",readonly" : "");
        f = fixture_new(&v);
        if (f->bind)
                must(mount(NULL, f->mnt, NULL, MS_REMOUNT | MS_BIND | flags, NULL) == 0, "remount");
        snprintf(oracle, size, "%s/oracle", f->base);
        must(mkdir(oracle, 0755) == 0, "mkdir %s", oracle);
        bind_at(f->plain, oracle, flags);
        return f;
}

void run_combination(const struct combination *c, const char *only, unsigned share, struct tally *tally)
{
        char oracle[128], elsewhere[128];
        struct fixture *f = mount_both(c, oracle, sizeof(oracle));

        snprintf(elsewhere, sizeof(elsewhere), "%s/elsewhere", f->base);
        must(mkdir(elsewhere, 0777) == 0 && chmod(elsewhere, 0777) == 0, "mkdir %s", elsewhere);
        for (size_t g = 0; g < group_count; g++)
                for (enum user user = USER_ROOT; user < USER_COUNT; user++) {
                        struct batch b = {
                                .combination = c,
                                .f = f,
                                .group = &groups[g],
                                .user = user,
                                .elsewhere = elsewhere,
                                .oracle = oracle,
                        };

                        /* Whose files are not his own is forbidden other things: that is what squash is for. */
                        if ((user == USER_STRANGER && !c->keep) || (groups[g].writes && c->readonly))
                                continue;
                        snprintf(b.dir, sizeof(b.dir), "%s.%s", groups[g].name, user_names[user]);
                        choose(&b, only, share);
                        if (b.count)
                                run_twice(&b, tally);
                        free(b.items);
                }
        must(umount2(oracle, 0) == 0, "umount %s", oracle);
        fixture_free(f);
}
