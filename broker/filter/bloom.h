/* SPDX-License-Identifier: Apache-2.0
 *
 * The bits that 4.9.2 gives to a consumer group's filter in its bit maps. The broker does not keep
 * such maps (docs/decisions/0012-filters-without-bit-maps.md), but the positions stand in
 * config/consumerFilter.json, and 4.9.2 drops a file whose positions are not its own. Pure.
 *
 * Source: RocketMQ filter/.../BloomFilter.java; Guava's murmur3_128 with the seed 0.
 */
#ifndef BROKER_FILTER_BLOOM_H
#define BROKER_FILTER_BLOOM_H

#include "common/base/bytes.h"

#define BLOOM_HASHES_MAX 8 /* for an error of 1 % it takes 7 */

struct bloom_shape {
    int hashes;   /* bits of one member */
    int32_t bits; /* of the whole map */
};

/* error_percent     maxErrorRateOfBloomFilter, 1 to 99
 * expected_members  expectConsumerNumUseFilter, at least 1 */
struct bloom_shape bloom_shape_of(int error_percent, int64_t expected_members);

/* The positions of a member, shape->hashes of them. */
void bloom_positions(const struct bloom_shape *shape, struct slice member,
                     int32_t out[BLOOM_HASHES_MAX]);

#endif
