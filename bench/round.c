#include "bench/round.h"

#include "bench/options.h"
#include "bench/peer.h"
#include "cache/base/thread.h"

enum {
        PEER_ROUNDS = 5, /* more don't tell more of what is several times slower */
};

/* Of a workload's time, for all peers together; the least that one has; and how many times its share it may take for its first rounds. */
#define PEERS_SHARE 0.6
#define PEER_LEAST_S 0.3
#define PEER_FIRST 5
#define PEER_WANTED 3

struct course {
        struct bench *b;
        const struct workload *w;
        struct result *r;
        double ms[SIDES_MAX][ROUNDS_LIMIT];
        double peer_share_s;       /* each peer's */
        double spent_s[SIDES_MAX]; /* of peers */
};

static double seconds_since(unsigned long long begin)
{
        return (double)(clock_now_ns() - begin) / 1e9;
}

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

static int timed(struct course *c, struct side *s, unsigned round, double *ms, struct measured *m)
{
        json_t *before = side_requests(s), *after;
        unsigned long long begin = clock_now_ns();
        int err = c->w->run(c->b, s, round, &c->r->ops);

        *ms = (double)(clock_now_ns() - begin) / 1e6;
        after = before ? side_requests(s) : NULL;
        if (after) {
                if (!m->requests)
                        m->requests = json_object();
                add_difference(m->requests, before, after);
        }
        json_decref(before);
        json_decref(after);
        return err;
}

/* No agent is busy with what another side has just done. */
static int settle(struct course *c, struct side *s)
{
        int err = 0;

        if (!c->w->writes)
                return side_settle(s);
        for (size_t i = 0; !err && i < c->b->sides_n; i++)
                if (c->b->sides[i].root)
                        err = side_settle(&c->b->sides[i]);
        return err;
}

static int one(struct course *c, size_t i, unsigned round)
{
        unsigned long long begin = clock_now_ns();
        struct measured *m = &c->r->of[i];
        struct side *s = &c->b->sides[i];
        int err = c->w->prepare ? c->w->prepare(c->b, s, round) : 0;

        if (!err && c->w->writes)
                place_sync(c->b->place);
        if (!err)
                err = settle(c, s);
        if (!err)
                err = timed(c, s, round, &c->ms[i][round], m);
        if (!err && c->w->finish)
                err = c->w->finish(c->b, s, round);
        m->rounds += !err;
        m->failed = err != 0;
        m->last_s = seconds_since(begin);
        c->spent_s[i] += m->last_s;
        return err;
}

static int warm_up(struct course *c, size_t i)
{
        unsigned long long begin = clock_now_ns();
        struct side *s = &c->b->sides[i];
        size_t ops;
        int err;

        err = c->w->prepare ? c->w->prepare(c->b, s, 0) : 0;
        if (!err)
                err = c->w->run(c->b, s, 0, &ops);
        if (!err && c->w->finish)
                err = c->w->finish(c->b, s, 0);
        c->r->of[i].failed = err != 0;
        c->r->of[i].last_s = seconds_since(begin);
        return err;
}

/* A peer may be sixty times slower than what this is about. */
static bool peer_may_go_on(const struct course *c, size_t i, unsigned round)
{
        const struct measured *m = &c->r->of[i];
        double share = c->peer_share_s;

        if (round == 0)
                return m->last_s <= share * PEER_FIRST;
        return c->spent_s[i] + m->last_s <= (round < PEER_ROUNDS_WANTED ? share * PEER_WANTED : share);
}

static bool out_of_time(const struct bench *b)
{
        return b->limit_ns && clock_now_ns() > b->limit_ns;
}

static bool takes_part(struct course *c, size_t i, unsigned round)
{
        struct measured *m = &c->r->of[i];

        if (m->failed || m->rounds < round)
                return false;
        if (!c->b->sides[i].peer)
                return true;
        if (c->w->only_dsfs || round >= PEER_ROUNDS)
                return false;
        if (out_of_time(c->b) || !peer_may_go_on(c, i, round)) {
                m->given_up = round < PEER_ROUNDS_WANTED && round < c->w->rounds_min;
                return false;
        }
        return true;
}

/* Forwards, backwards, each pair of rounds beginning with another side. */
static size_t turn_of(size_t turn, unsigned round, size_t sides)
{
        return ((round & 1 ? sides - 1 - turn : turn) + round / 2) % sides;
}

static void summarise(struct course *c)
{
        struct result *r = c->r;

        for (size_t i = 0; i < c->b->sides_n; i++) {
                struct measured *m = &r->of[i];
                const char *name;
                json_t *value;

                if (!m->rounds)
                        continue;
                m->ms = stats_median(c->ms[i], m->rounds);
                if (r->of[0].rounds >= m->rounds)
                        m->interval = stats_ratio(c->ms[i], c->ms[0], m->rounds, c->b->options->seed);
                json_object_foreach(m->requests, name, value) json_object_set_new(
                        m->requests, name, json_real((double)json_integer_value(value) / m->rounds / (double)(r->ops ? r->ops : 1)));
        }
}

bool round_failed(const struct bench *b, const struct result *r)
{
        for (size_t i = 0; i < b->sides_n; i++)
                if (!b->sides[i].peer && r->of[i].failed)
                        return true;
        return false;
}

void round_compare(struct bench *b, const struct workload *w, double seconds, struct result *ret)
{
        unsigned long long deadline = clock_now_ns() + (unsigned long long)(seconds * 1e9);
        struct course c = {.b = b, .w = w, .r = ret};
        size_t peers_here = 0;

        *ret = (struct result){.workload = w};
        for (size_t i = 0; i < b->sides_n; i++)
                peers_here += b->sides[i].peer != NULL;
        c.peer_share_s = peers_here ? seconds * PEERS_SHARE / (double)peers_here : 0;
        if (c.peer_share_s < PEER_LEAST_S)
                c.peer_share_s = PEER_LEAST_S;
        for (size_t i = 0; w->warm && i < b->sides_n && !ret->of[0].failed; i++)
                if (!b->sides[i].peer || (!w->only_dsfs && !out_of_time(b)))
                        warm_up(&c, i);
        for (unsigned round = 0; round < w->rounds_max && round < ROUNDS_LIMIT && !ret->of[0].failed; round++) {
                if (round >= w->rounds_min && clock_now_ns() > deadline)
                        break;
                if (round && out_of_time(b))
                        break;
                for (size_t turn = 0; turn < b->sides_n; turn++) {
                        size_t i = turn_of(turn, round, b->sides_n);

                        if (takes_part(&c, i, round))
                                one(&c, i, round);
                }
        }
        summarise(&c);
}

void round_release(struct result *r)
{
        for (size_t i = 0; i < SIDES_MAX; i++)
                json_decref(r->of[i].requests);
}
