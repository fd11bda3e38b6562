/*
 * Medians, percentiles, and how sure a ratio of two medians is.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* A small generator (splitmix64): the same numbers everywhere for the same seed. */
uint64_t rng_next(uint64_t *state);

static inline size_t rng_below(uint64_t *state, size_t n)
{
        return (size_t)(rng_next(state) % n);
}

double stats_median(const double *values, size_t n);

/* The value that the share `p` (0 to 1) of `values` doesn't exceed. Sorts them. */
double stats_percentile(double *values, size_t n, double p);

struct interval {
        double ratio, low, high;
};

/* median(above) / median(below) with its 95 % bootstrap interval; rounds are drawn as pairs, for what disturbs one side of a round often
 * disturbs the other. */
struct interval stats_ratio(const double *above, const double *below, size_t n, uint64_t seed);
