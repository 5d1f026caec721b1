/* SPDX-License-Identifier: Apache-2.0
 *
 * Values below HISTOGRAM_STEPS have a bucket each; above, every power of two is cut into
 * HISTOGRAM_STEPS equal buckets.
 */
#include "tools/bench/histogram.h"

#include <math.h>
#include <string.h>

#define STEP_BITS 7

_Static_assert(HISTOGRAM_STEPS == 1 << STEP_BITS, "one power of two is cut by its upper bits");

static unsigned bucket_of(uint64_t value)
{
    if (value < HISTOGRAM_STEPS)
        return (unsigned)value;
    unsigned shift = 63U - (unsigned)__builtin_clzll(value) - STEP_BITS;
    unsigned bucket = (shift + 1) * HISTOGRAM_STEPS + (unsigned)(value >> shift) - HISTOGRAM_STEPS;
    return bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1;
}

static double bucket_middle(unsigned bucket)
{
    if (bucket < HISTOGRAM_STEPS)
        return bucket;
    unsigned shift = bucket / HISTOGRAM_STEPS - 1;
    double low = ldexp(bucket % HISTOGRAM_STEPS + HISTOGRAM_STEPS, (int)shift);
    return low + ldexp(0.5, (int)shift);
}

void histogram_clear(struct histogram *histogram)
{
    memset(histogram, 0, sizeof *histogram);
}

void histogram_add(struct histogram *histogram, uint64_t value_ns)
{
    histogram->buckets[bucket_of(value_ns)]++;
    histogram->count++;
    if (value_ns > histogram->max_ns)
        histogram->max_ns = value_ns;
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
        into->buckets[i] += from->buckets[i];
    into->count += from->count;
    if (from->max_ns > into->max_ns)
        into->max_ns = from->max_ns;
}

double histogram_percentile_us(const struct histogram *histogram, double fraction)
{
    if (histogram->count == 0)
        return 0;
    uint64_t wanted = (uint64_t)ceil(fraction * (double)histogram->count);
    uint64_t seen = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += histogram->buckets[i];
        if (seen >= wanted && seen > 0)
            return fmin(bucket_middle(i), (double)histogram->max_ns) / 1000;
    }
    return (double)histogram->max_ns / 1000;
}
