/* SPDX-License-Identifier: Apache-2.0
 *
 * Latencies in buckets whose width grows with the value, so that a percentile is off by less than
 * one per cent whatever its size. One thread at a time.
 */
#ifndef TOOLS_BENCH_HISTOGRAM_H
#define TOOLS_BENCH_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_STEPS 128 /* buckets per power of two */
#define HISTOGRAM_BUCKETS (58 * HISTOGRAM_STEPS)

struct histogram {
    uint64_t count;
    uint64_t max_ns;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_clear(struct histogram *histogram);
void histogram_add(struct histogram *histogram, uint64_t value_ns);
void histogram_merge(struct histogram *into, const struct histogram *from);

/* The value below which `fraction` (0..1) of all values lie, in microseconds; 0 when empty. */
double histogram_percentile_us(const struct histogram *histogram, double fraction);

#endif
