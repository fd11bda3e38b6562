#include "bench/stats.h"

#include <stdlib.h>
#include <string.h>

enum {
        BOOTSTRAP_DRAWS = 2000,
        ROUNDS_MAX = 64,
};

uint64_t rng_next(uint64_t *state)
{
        uint64_t z = *state += 0x9e3779b97f4a7c15;

        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
        z = (z ^ z >> 27) * 0x94d049bb133111eb;
        return z ^ z >> 31;
}

static int compare(const void *a, const void *b)
{
        double x = *(const double *)a, y = *(const double *)b;

        return (x > y) - (x < y);
}

static double median_of_sorted(const double *v, size_t n)
{
        return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

double stats_median(const double *values, size_t n)
{
        double sorted[ROUNDS_MAX];

        if (!n)
                return 0;
        if (n > ROUNDS_MAX)
                n = ROUNDS_MAX;
        memcpy(sorted, values, n * sizeof *values);
        qsort(sorted, n, sizeof *sorted, compare);
        return median_of_sorted(sorted, n);
}

double stats_percentile(double *values, size_t n, double p)
{
        size_t at = (size_t)(p * (double)n);

        if (!n)
                return 0;
        qsort(values, n, sizeof *values, compare);
        return values[at < n ? at : n - 1];
}

struct interval stats_ratio(const double *above, const double *below, size_t n, uint64_t seed)
{
        double ratios[BOOTSTRAP_DRAWS], a[ROUNDS_MAX], b[ROUNDS_MAX];
        struct interval ret = {0};

        if (!n)
                return ret;
        if (n > ROUNDS_MAX)
                n = ROUNDS_MAX;
        for (size_t draw = 0; draw < BOOTSTRAP_DRAWS; draw++) {
                for (size_t i = 0; i < n; i++) {
                        size_t pick = rng_below(&seed, n);

                        a[i] = above[pick];
                        b[i] = below[pick];
                }
                ratios[draw] = stats_median(a, n) / stats_median(b, n);
        }
        ret.ratio = stats_median(above, n) / stats_median(below, n);
        ret.low = stats_percentile(ratios, BOOTSTRAP_DRAWS, 0.025);
        ret.high = stats_percentile(ratios, BOOTSTRAP_DRAWS, 0.975);
        return ret;
}
