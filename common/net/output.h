/* SPDX-License-Identifier: Apache-2.0
 *
 * The queue of bytes that wait to leave on one connection: small answers are encoded one behind
 * the other into pooled chunks, large bodies are queued by reference. No I/O here.
 *
 * Invariants: every part that was queued is released exactly once, by output_consume or
 * output_clear. `held_bytes` is the sum of the buffers' capacities, also where an item has left in
 * part. One thread: that of the loop.
 */
#ifndef COMMON_NET_OUTPUT_H
#define COMMON_NET_OUTPUT_H

#include "common/base/buf.h"
#include "common/net/net.h"

#include <sys/uio.h>

struct output_item;

/* Unused items of one loop, kept so that answering allocates nothing in the steady state. */
struct output_pool {
    struct output_item *chunks; /* with a buffer of the ordinary size */
    struct output_item *bare;   /* without a buffer */
    size_t chunk_count;
    size_t bare_count;
    size_t held_bytes; /* over all queues of the loop: sum of output.held_bytes */
};

struct output {
    struct output_item *first;
    struct output_item *last;
    size_t sent;       /* bytes of the first item that have left */
    size_t bytes;      /* queued and not yet sent */
    size_t held_bytes; /* memory of ours in the queue: buffers, not what parts refer to */
};

void output_pool_release(struct output_pool *pool);

/* A buffer at the end of the queue, with room for about `expected_bytes`. Append to it, then tell
 * output_appended what its size was before. Valid until the next call on this output. */
struct buf *output_open(struct output *output, struct output_pool *pool, size_t expected_bytes);
void output_appended(struct output *output, struct output_pool *pool, const struct buf *buf,
                     size_t size_before);

/* Queue the contents of `bytes`; large ones by taking its memory. Leaves it empty or reusable. */
void output_append_buf(struct output *output, struct output_pool *pool, struct buf *bytes);

/* Queue by reference; see struct body_part. An empty part is released at once. */
void output_append_part(struct output *output, struct output_pool *pool,
                        const struct body_part *part);

/* The next bytes of the queue, when they are those of a part that is better sent from its file. */
struct output_file {
    int fd;
    int64_t offset;
    size_t size;
};
bool output_next_file(const struct output *output, struct output_file *file);

/* The first bytes of the queue as at most `max` pieces, in memory, up to a part that is better sent
 * from its file.
 * *more    such a part follows
 * returns  how many pieces */
int output_gather(const struct output *output, struct iovec *pieces, int max, bool *more);

/* `bytes` have left. Calls `release` of parts that are through. */
void output_consume(struct output *output, struct output_pool *pool, size_t bytes);
void output_clear(struct output *output, struct output_pool *pool);

#endif
