#include "bench/round.h"

#include "bench/options.h"
#include "cache/base/thread.h"

/* sum += after - before */
static void add_difference(json_t *sum, json_t *before, json_t *after)
{
        const char *name;
        json_t *value;

        json_object_foreach(after, name, value)
        {
                json_int_t more = json_integer_value(value) - json_integer_value(json_object_get(before, name));

                if (more)
                        json_object_set_new(sum, name, json_integer(json_integer_value(json_object_get(sum, name)) + more));
        }
}

static int timed(struct bench *b, const struct workload *w, struct side *s, unsigned round, double *ms, struct result *r)
{
        json_t *before = side_requests(s), *after;
        unsigned long long begin = clock_now_ns();
        int err = w->run(b, s, round, &r->ops);

        *ms = (double)(clock_now_ns() - begin) / 1e6;
        after = before ? side_requests(s) : NULL;
        if (after) {
                if (!r->requests)
                        r->requests = json_object();
                add_difference(r->requests, before, after);
        }
        json_decref(before);
        json_decref(after);
        return err;
}

static int one(struct bench *b, const struct workload *w, struct side *s, unsigned round, double *ms, struct result *r)
{
        int err = w->prepare ? w->prepare(b, s, round) : 0;

        if (!err && w->writes)
                place_sync(b->place);
        if (!err)
                err = side_settle(s);
        if (!err)
                err = timed(b, w, s, round, ms, r);
        if (!err && w->finish)
                err = w->finish(b, s, round);
        return err;
}

static int warm_up(struct bench *b, const struct workload *w)
{
        size_t ops;
        int err = 0;

        for (size_t i = 0; !err && i < 2; i++) {
                err = w->prepare ? w->prepare(b, &b->sides[i], 0) : 0;
                if (!err)
                        err = w->run(b, &b->sides[i], 0, &ops);
                if (!err && w->finish)
                        err = w->finish(b, &b->sides[i], 0);
        }
        return err;
}

static void summarise(const struct bench *b, double ms[2][ROUNDS_LIMIT], struct result *r)
{
        const char *name;
        json_t *value;

        r->bind_ms = stats_median(ms[0], r->rounds);
        r->dsfs_ms = stats_median(ms[1], r->rounds);
        r->interval = stats_ratio(ms[1], ms[0], r->rounds, b->options->seed);
        json_object_foreach(r->requests, name, value) json_object_set_new(
                r->requests, name, json_real((double)json_integer_value(value) / r->rounds / (double)(r->ops ? r->ops : 1)));
}

void round_compare(struct bench *b, const struct workload *w, double seconds, struct result *ret)
{
        unsigned long long deadline = clock_now_ns() + (unsigned long long)(seconds * 1e9);
        double ms[2][ROUNDS_LIMIT];
        int err;

        *ret = (struct result){.workload = w};
        err = w->warm ? warm_up(b, w) : 0;
        for (unsigned round = 0; !err && round < w->rounds_max && round < ROUNDS_LIMIT; round++) {
                if (round >= w->rounds_min && clock_now_ns() > deadline)
                        break;
                for (unsigned turn = 0; !err && turn < 2; turn++) {
                        unsigned i = turn ^ (round & 1);

                        err = one(b, w, &b->sides[i], round, &ms[i][round], ret);
                }
                ret->rounds += !err;
        }
        ret->failed = err != 0;
        if (!err)
                summarise(b, ms, ret);
}
