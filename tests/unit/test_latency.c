/*
 * The histogram of latencies: what is read from it is near what was put in, whatever the size.
 */
#include <criterion/criterion.h>

#include "sync/latency.h"

Test(latency, nothing_is_nothing)
{
        static struct latency l;
        struct latency_stats s;

        latency_stats(&l, &s);
        cr_assert(s.count == 0 && s.p50_ns == 0 && s.p99_ns == 0);
}

Test(latency, every_size_is_at_most_an_eighth_off)
{
        for (unsigned shift = 0; shift < 64; shift++) {
                for (unsigned part = 0; part < 8; part++) {
                        struct latency l = {0};
                        struct latency_stats s;
                        uint64_t ns = (1ULL << shift) + (shift > 3 ? ((1ULL << shift) >> 3) * part : 0);
                        uint64_t off;

                        latency_add(&l, ns);
                        latency_stats(&l, &s);
                        off = s.p50_ns > ns ? s.p50_ns - ns : ns - s.p50_ns;
                        cr_assert_leq(off, ns / 8 + 1, "%llu for %llu", (unsigned long long)s.p50_ns, (unsigned long long)ns);
                        cr_assert_eq(s.p50_ns, s.p99_ns);
                        cr_assert(s.count == 1 && s.sum_ns == ns && s.last_ns == ns);
                }
        }
}

Test(latency, the_median_and_what_one_in_a_hundred_exceeds)
{
        struct latency l = {0};
        struct latency_stats s;

        for (unsigned i = 0; i < 980; i++)
                latency_add(&l, 1000);
        for (unsigned i = 0; i < 20; i++)
                latency_add(&l, 1000000);
        latency_stats(&l, &s);
        cr_assert(s.p50_ns > 850 && s.p50_ns < 1150, "%llu", (unsigned long long)s.p50_ns);
        cr_assert(s.p99_ns > 850000 && s.p99_ns < 1150000, "%llu", (unsigned long long)s.p99_ns);
        cr_assert_eq(s.count, 1000);
}
