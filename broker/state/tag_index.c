/* SPDX-License-Identifier: Apache-2.0
 *
 * A hash table of chains. It grows with the wishes that are in it at a time and does not shrink,
 * but it goes when the last one has left: a queue where nobody waits any more costs nothing.
 */
#include "broker/state/tag_index.h"

#include "common/base/check.h"

#include <stdlib.h>

#define FIRST_BUCKETS 16

void tag_index_release(struct tag_index *index)
{
    CHECK(index->count == 0);
    free(index->buckets);
    *index = TAG_INDEX_EMPTY;
}

/* The codes are hashes that clients choose; the multiplication spreads tags that differ little. */
static struct list *bucket_of(const struct tag_index *index, int32_t code)
{
    uint32_t spread = (uint32_t)code * 0x9E3779B1U;
    return &index->buckets[(spread >> 8) & (index->bucket_count - 1)];
}

static void grow(struct tag_index *index, size_t bucket_count)
{
    struct tag_index bigger = {xcalloc(bucket_count, sizeof *bigger.buckets), bucket_count,
                               index->count};
    for (size_t i = 0; i < bucket_count; i++)
        list_init(&bigger.buckets[i]);
    for (size_t i = 0; i < index->bucket_count; i++)
        list_for_each (node, &index->buckets[i]) {
            struct tag_wish *wish = list_entry(node, struct tag_wish, in_bucket);
            list_remove(node);
            list_append(bucket_of(&bigger, wish->code), node);
        }
    free(index->buckets);
    *index = bigger;
}

void tag_index_add(struct tag_index *index, struct tag_wish *wishes, const int32_t *codes,
                   int count, void *owner)
{
    size_t wanted = index->bucket_count == 0 ? FIRST_BUCKETS : index->bucket_count;
    while (wanted < index->count + (size_t)count)
        wanted *= 2;
    if (wanted != index->bucket_count)
        grow(index, wanted);
    for (int i = 0; i < count; i++) {
        wishes[i] = (struct tag_wish){.owner = owner, .code = codes[i]};
        list_append(bucket_of(index, codes[i]), &wishes[i].in_bucket);
    }
    index->count += (size_t)count;
}

void tag_index_remove(struct tag_index *index, struct tag_wish *wishes, int count)
{
    for (int i = 0; i < count; i++)
        list_remove(&wishes[i].in_bucket);
    index->count -= (size_t)count;
    if (index->count == 0)
        tag_index_release(index);
}

void tag_index_find(const struct tag_index *index, int32_t code,
                    void (*each)(void *ctx, void *owner), void *ctx)
{
    if (index->count == 0)
        return;
    list_for_each (node, bucket_of(index, code)) {
        const struct tag_wish *wish = list_entry(node, struct tag_wish, in_bucket);
        if (wish->code == code)
            each(ctx, wish->owner);
    }
}

void tag_index_walk(const struct tag_index *index, void (*each)(void *ctx, void *owner), void *ctx)
{
    for (size_t i = 0; i < index->bucket_count; i++)
        list_for_each (node, &index->buckets[i])
            each(ctx, list_entry(node, struct tag_wish, in_bucket)->owner);
}
