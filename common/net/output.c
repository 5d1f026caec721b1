/* SPDX-License-Identifier: Apache-2.0
 *
 * The output queue: a list of items, each either bytes of our own or a reference. An item leaves
 * the list before its `release` is called, so that a release may queue again.
 */
#include "common/net/output.h"

#include "common/base/check.h"

#include <stdlib.h>

/* A batch of some dozens of answers to sends fits. */
#define CHUNK_BYTES ((size_t)16 * 1024)
#define POOLED_CHUNKS_MAX 64 /* 1 MiB per loop */
#define POOLED_BARE_MAX 1024
/* From this size on taking the memory over is cheaper than copying. */
#define TAKE_BYTES ((size_t)4 * 1024)
/* From this size on a second system call is cheaper than copying. */
#define FILE_BYTES ((size_t)16 * 1024)

struct output_item {
    struct output_item *next;
    struct buf own; /* empty when the item is a reference */
    struct body_part part;
    size_t held_bytes; /* of `own`, as counted in the queue and the pool */
    bool is_part;
};

static void free_chain(struct output_item *item)
{
    for (struct output_item *next; item != NULL; item = next) {
        next = item->next;
        buf_release(&item->own);
        free(item);
    }
}

void output_pool_release(struct output_pool *pool)
{
    free_chain(pool->chunks);
    free_chain(pool->bare);
    *pool = (struct output_pool){.held_bytes = pool->held_bytes};
}

static struct output_item *take_bare(struct output_pool *pool)
{
    struct output_item *item = pool->bare;
    if (item == NULL)
        return xcalloc(1, sizeof *item);
    pool->bare = item->next;
    pool->bare_count--;
    item->next = NULL;
    return item;
}

static struct output_item *take_chunk(struct output_pool *pool)
{
    struct output_item *item = pool->chunks;
    if (item == NULL) {
        item = take_bare(pool);
        (void)buf_reserve(&item->own, CHUNK_BYTES);
        return item;
    }
    pool->chunks = item->next;
    pool->chunk_count--;
    item->next = NULL;
    return item;
}

static void give_back(struct output_pool *pool, struct output_item *item)
{
    item->is_part = false;
    buf_clear(&item->own);
    if (item->own.capacity == CHUNK_BYTES && pool->chunk_count < POOLED_CHUNKS_MAX) {
        item->next = pool->chunks;
        pool->chunks = item;
        pool->chunk_count++;
        return;
    }
    buf_release(&item->own);
    if (pool->bare_count < POOLED_BARE_MAX) {
        item->next = pool->bare;
        pool->bare = item;
        pool->bare_count++;
        return;
    }
    free(item);
}

static void link_last(struct output *output, struct output_item *item)
{
    if (output->last == NULL)
        output->first = item;
    else
        output->last->next = item;
    output->last = item;
}

/* Count what the item's buffer occupies now. */
static void count_held(struct output *output, struct output_pool *pool, struct output_item *item,
                       size_t bytes)
{
    output->held_bytes += bytes - item->held_bytes;
    pool->held_bytes += bytes - item->held_bytes;
    item->held_bytes = bytes;
}

static size_t item_size(const struct output_item *item)
{
    return item->is_part ? item->part.size : item->own.size;
}

struct buf *output_open(struct output *output, struct output_pool *pool, size_t expected_bytes)
{
    struct output_item *last = output->last;
    if (last == NULL || last->is_part || last->own.capacity - last->own.size < expected_bytes) {
        last = take_chunk(pool);
        link_last(output, last);
        count_held(output, pool, last, last->own.capacity);
    }
    return &last->own;
}

void output_appended(struct output *output, struct output_pool *pool, const struct buf *buf,
                     size_t size_before)
{
    DCHECK(output->last != NULL && buf == &output->last->own);
    output->bytes += buf->size - size_before;
    if (buf->capacity != output->last->held_bytes)
        count_held(output, pool, output->last, buf->capacity);
}

void output_append_buf(struct output *output, struct output_pool *pool, struct buf *bytes)
{
    if (bytes->size < TAKE_BYTES) {
        struct buf *buf = output_open(output, pool, bytes->size);
        size_t before = buf->size;
        buf_append_slice(buf, buf_slice(bytes));
        output_appended(output, pool, buf, before);
        buf_clear(bytes);
        return;
    }
    struct output_item *item = take_bare(pool);
    item->own = *bytes;
    *bytes = BUF_EMPTY;
    link_last(output, item);
    count_held(output, pool, item, item->own.capacity);
    output->bytes += item->own.size;
}

void output_append_part(struct output *output, struct output_pool *pool,
                        const struct body_part *part)
{
    if (part->size == 0) {
        if (part->release != NULL)
            part->release(part->owner);
        return;
    }
    struct output_item *item = take_bare(pool);
    item->is_part = true;
    item->part = *part;
    item->part.in_file = part->in_file && part->size >= FILE_BYTES;
    link_last(output, item);
    output->bytes += part->size;
}

static bool is_from_file(const struct output_item *item)
{
    return item->is_part && item->part.in_file;
}

bool output_next_file(const struct output *output, struct output_file *file)
{
    const struct output_item *item = output->first;
    if (item == NULL || !is_from_file(item))
        return false;
    *file = (struct output_file){.fd = item->part.fd,
                                 .offset = item->part.file_offset + (int64_t)output->sent,
                                 .size = item->part.size - output->sent};
    return true;
}

int output_gather(const struct output *output, struct iovec *pieces, int max, bool *more)
{
    int count = 0;
    size_t skip = output->sent;
    *more = false;
    for (const struct output_item *item = output->first; item != NULL && count < max;
         item = item->next, skip = 0) {
        if (is_from_file(item)) {
            *more = true;
            break;
        }
        const void *data = item->is_part ? item->part.data : item->own.data;
        size_t size = item_size(item);
        if (size == skip)
            continue;
        pieces[count++] = (struct iovec){(uint8_t *)(uintptr_t)data + skip, size - skip};
    }
    return count;
}

static void drop_first(struct output *output, struct output_pool *pool)
{
    struct output_item *item = output->first;
    output->first = item->next;
    if (output->first == NULL)
        output->last = NULL;
    output->sent = 0;
    item->next = NULL;
    count_held(output, pool, item, 0);
    struct body_part part = item->part;
    bool was_part = item->is_part;
    give_back(pool, item);
    if (was_part && part.release != NULL)
        part.release(part.owner);
}

void output_consume(struct output *output, struct output_pool *pool, size_t bytes)
{
    CHECK(bytes <= output->bytes);
    output->bytes -= bytes;
    while (bytes > 0) {
        size_t left = item_size(output->first) - output->sent;
        if (bytes < left) {
            output->sent += bytes;
            return;
        }
        bytes -= left;
        drop_first(output, pool);
    }
}

void output_clear(struct output *output, struct output_pool *pool)
{
    while (output->first != NULL)
        drop_first(output, pool);
    output->bytes = 0;
}
