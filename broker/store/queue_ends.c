/* SPDX-License-Identifier: Apache-2.0
 *
 * The digest is the sum, modulo 2^64, of a number for each queue and end. It is kept on disk: the
 * constants are part of the checkpoint's format.
 */
#include "broker/store/queue_ends.h"

/* The finalizer of splitmix64: every bit of the input changes half of the bits. */
static uint64_t mix(uint64_t number)
{
    number = (number ^ (number >> 30)) * 0xBF58476D1CE4E5B9ULL;
    number = (number ^ (number >> 27)) * 0x94D049BB133111EBULL;
    return number ^ (number >> 31);
}

uint64_t queue_ends_name(struct slice topic, int32_t id)
{
    uint64_t hash = 0xCBF29CE484222325ULL; /* FNV-1a */
    for (size_t i = 0; i < topic.size; i++)
        hash = (hash ^ topic.data[i]) * 0x100000001B3ULL;
    return mix(hash + mix((uint64_t)(uint32_t)id + 1));
}

static uint64_t end_number(uint64_t name, int64_t end)
{
    return end == 0 ? 0 : mix(name + mix((uint64_t)end));
}

void queue_ends_move(struct queue_ends *ends, uint64_t name, int64_t before, int64_t after)
{
    ends->total += after - before;
    ends->digest += end_number(name, after) - end_number(name, before);
}
