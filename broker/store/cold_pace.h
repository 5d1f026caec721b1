/* SPDX-License-Identifier: Apache-2.0
 *
 * How much cold reads may ask of the disk while messages are written. On a disk that is busy a
 * write waits behind all that was asked for before it: behind 6 MiB of reads for 40 ms at 150 MB/s.
 * So reads are cut into pieces, and what is under way at a time is kept so small that a piece takes
 * about as long as people accept as the delay of a message. A fast disk is never held up: its
 * pieces come back quickly, and the limit grows out of the way. docs/decisions/0009-cold-pace.md.
 */
#ifndef BROKER_STORE_COLD_PACE_H
#define BROKER_STORE_COLD_PACE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The limit lies between these; the upper one is no limit. */
#define COLD_PACE_BYTES_MIN ((size_t)256 * 1024)
#define COLD_PACE_BYTES_MAX ((size_t)8 * 1024 * 1024)

struct cold_pace {
    pthread_mutex_t lock; /* docs/locks.md: cold_pace */
    pthread_cond_t freed;
    size_t limit;     /* bytes under way at a time, when messages are written */
    size_t under_way; /* bytes */
    int64_t log_end;  /* as last seen */
    int64_t moved_ns; /* when it was seen to have moved */
};

void cold_pace_init(struct cold_pace *pace);
void cold_pace_release(struct cold_pace *pace);

/* Before a read: wait for one's turn.
 * wanted   bytes, more than 0
 * log_end  of the commit log, which tells whether messages are written
 * now_ns   monotonic
 * returns  how many bytes to read now, 1 to `wanted`; cold_pace_end must follow */
size_t cold_pace_begin(struct cold_pace *pace, size_t wanted, int64_t log_end, int64_t now_ns);

/* After it.
 * bytes    what cold_pace_begin returned
 * took_ns  how long the read took */
void cold_pace_end(struct cold_pace *pace, size_t bytes, int64_t took_ns);

/* Whether the disk has time for what may be wanted soon. */
bool cold_pace_is_free(struct cold_pace *pace);

#endif
