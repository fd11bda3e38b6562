#include "sync/latency.h"

#include <string.h>

/* Each power of two has this many steps (as a power of two itself). */
#define FINE_BITS 2
#define FINE (1U << FINE_BITS)
#define PERCENT 100
#define MEDIAN 50
#define NEARLY_ALL 99

static unsigned step_of(uint64_t ns)
{
        unsigned top;

        if (ns < FINE)
                return (unsigned)ns;
        top = 63U - (unsigned)__builtin_clzll(ns);
        return (top - FINE_BITS + 1) * FINE + (unsigned)(ns >> (top - FINE_BITS) & (FINE - 1));
}

/* The middle of what falls into a step. */
static uint64_t middle_of(unsigned step)
{
        unsigned shift;

        if (step < FINE)
                return step;
        shift = step / FINE - 1;
        return ((uint64_t)(FINE + step % FINE) << shift) + ((1ULL << shift) >> 1);
}

void latency_add(struct latency *l, uint64_t ns)
{
        atomic_fetch_add_explicit(&l->steps[step_of(ns)], 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&l->sum_ns, ns, memory_order_relaxed);
        atomic_store_explicit(&l->last_ns, ns, memory_order_relaxed);
        atomic_fetch_add_explicit(&l->count, 1, memory_order_relaxed);
}

void latency_stats(const struct latency *l, struct latency_stats *ret)
{
        uint64_t steps[LATENCY_STEPS];
        uint64_t total = 0;
        uint64_t seen = 0;

        memset(ret, 0, sizeof(*ret));
        for (unsigned i = 0; i < LATENCY_STEPS; i++)
                total += steps[i] = atomic_load_explicit(&l->steps[i], memory_order_relaxed);
        ret->count = atomic_load_explicit(&l->count, memory_order_relaxed);
        ret->last_ns = atomic_load_explicit(&l->last_ns, memory_order_relaxed);
        ret->sum_ns = atomic_load_explicit(&l->sum_ns, memory_order_relaxed);
        for (unsigned i = 0; i < LATENCY_STEPS && total; i++) {
                uint64_t before = seen;

                seen += steps[i];
                if (before * PERCENT < total * MEDIAN && seen * PERCENT >= total * MEDIAN)
                        ret->p50_ns = middle_of(i);
                if (before * PERCENT < total * NEARLY_ALL && seen * PERCENT >= total * NEARLY_ALL)
                        ret->p99_ns = middle_of(i);
        }
}
