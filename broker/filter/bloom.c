/* SPDX-License-Identifier: Apache-2.0
 *
 * MurmurHash3, x64, 128 bits, of which the first 64 are used as two hashes; bit i of a member is
 * hash1 + i * hash2 (Kirsch and Mitzenmacher, "Less Hashing, Same Performance").
 */
#include "broker/filter/bloom.h"

#include <math.h>

#define MURMUR_C1 0x87C37B91114253D5ULL
#define MURMUR_C2 0x4CF5AD432745937FULL

struct bloom_shape bloom_shape_of(int error_percent, int64_t expected_members)
{
    double error = error_percent / 100.0;
    double hashes = ceil(log(error) / log(0.5));
    double bits =
        ceil((double)expected_members * (log(1 / error) / log(2)) * (log(exp(1)) / log(2)));
    struct bloom_shape shape = {.hashes = (int)hashes, .bits = INT32_MAX};
    if (shape.hashes > BLOOM_HASHES_MAX)
        shape.hashes = BLOOM_HASHES_MAX;
    if (bits <= INT32_MAX - 8)
        shape.bits = ((int32_t)bits + 7) / 8 * 8;
    return shape;
}

static uint64_t rotate(uint64_t value, int bits)
{
    return value << bits | value >> (64 - bits);
}

static uint64_t finish(uint64_t value)
{
    value ^= value >> 33;
    value *= 0xFF51AFD7ED558CCDULL;
    value ^= value >> 33;
    value *= 0xC4CEB9FE1A85EC53ULL;
    return value ^ value >> 33;
}

/* Up to eight bytes, the first one lowest. */
static uint64_t little_endian(const uint8_t *data, size_t size)
{
    uint64_t value = 0;
    for (size_t i = 0; i < size && i < 8; i++)
        value |= (uint64_t)data[i] << (8 * i);
    return value;
}

static uint64_t mix_first(uint64_t k)
{
    return rotate(k * MURMUR_C1, 31) * MURMUR_C2;
}

static uint64_t mix_second(uint64_t k)
{
    return rotate(k * MURMUR_C2, 33) * MURMUR_C1;
}

/* The first half of the hash. */
static uint64_t murmur3(struct slice text)
{
    uint64_t h1 = 0;
    uint64_t h2 = 0;
    size_t at = 0;
    for (; text.size - at >= 16; at += 16) {
        h1 ^= mix_first(little_endian(text.data + at, 8));
        h1 = (rotate(h1, 27) + h2) * 5 + 0x52DCE729;
        h2 ^= mix_second(little_endian(text.data + at + 8, 8));
        h2 = (rotate(h2, 31) + h1) * 5 + 0x38495AB5;
    }
    size_t left = text.size - at;
    if (left > 8)
        h2 ^= mix_second(little_endian(text.data + at + 8, left - 8));
    if (left > 0)
        h1 ^= mix_first(little_endian(text.data + at, left));
    h1 ^= text.size;
    h2 ^= text.size;
    h1 += h2;
    h2 += h1;
    return finish(h1) + finish(h2);
}

void bloom_positions(const struct bloom_shape *shape, struct slice member,
                     int32_t out[BLOOM_HASHES_MAX])
{
    uint64_t hash = murmur3(member);
    uint32_t hash1 = (uint32_t)hash;
    uint32_t hash2 = (uint32_t)(hash >> 32);
    for (int i = 1; i <= shape->hashes; i++) {
        int32_t combined = (int32_t)(hash1 + (uint32_t)i * hash2);
        out[i - 1] = (combined < 0 ? ~combined : combined) % shape->bits;
    }
}
