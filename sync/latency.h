/*
 * How long something took, many times: a fixed histogram that is written without a lock. Each of its steps is a quarter of a power of two,
 * so what is read from it is at most an eighth off.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#define LATENCY_STEPS 256

struct latency {
        _Atomic uint64_t steps[LATENCY_STEPS];
        _Atomic uint64_t count, sum_ns, last_ns;
};

/* Any thread. Zeroed memory is an empty one. */
void latency_add(struct latency *l, uint64_t ns);

struct latency_stats {
        uint64_t count, sum_ns, last_ns;
        uint64_t p50_ns, p99_ns; /* 0 without any */
};

/* Any thread, while others add. */
void latency_stats(const struct latency *l, struct latency_stats *ret);
