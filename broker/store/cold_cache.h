/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading the log from a cold disk: brings ranges of segments into the page cache, and keeps what
 * was brought in bounded, so that a consumer that reads a backlog larger than memory does not push
 * out the end of the log, which all others read.
 *
 * The bytes are read with pread into a buffer that is thrown away: a disk error is then a value,
 * where a look through the mapping would be a SIGBUS. Afterwards the mapping shows the same pages.
 *
 * What was in memory before is left alone. What was not is remembered, page by page, and the part
 * that was asked for the longest time ago is dropped from the page cache when it becomes too much.
 *
 * Threads: any that may wait for the disk; each with a loader of its own.
 */
#ifndef BROKER_STORE_COLD_CACHE_H
#define BROKER_STORE_COLD_CACHE_H

#include "broker/store/cold_pace.h"
#include "broker/store/residency.h"
#include "broker/store/segment.h"

#include <pthread.h>

struct store;
struct cold_chunk;

/* Files whose errors were logged, by the hash of their path. */
#define COLD_FAILED_FILES 16
/* Segments whose readahead was switched off; a switch more than needed does no harm. */
#define COLD_QUIET_SEGMENTS 64

struct cold_cache {
    struct store *store;
    int64_t bytes_max;
    struct cold_pace pace;

    pthread_mutex_t lock;
    struct cold_chunk *chunks; /* in no order */
    size_t count;
    size_t count_max;
    int64_t page_count; /* over all chunks */
    uint64_t ticks;     /* counts uses */
    int64_t quiet[COLD_QUIET_SEGMENTS];
    uint64_t failed[COLD_FAILED_FILES];
    size_t failed_next;

    _Atomic int64_t read_bytes;
    _Atomic int64_t kept_bytes;
    _Atomic int64_t dropped_bytes;
    _Atomic int64_t failures;
};

/* What a reading thread keeps for itself. Zeroed: ready. */
struct cold_loader {
    uint8_t *scratch;  /* malloc'ed when first needed */
    int64_t ahead_pos; /* a chunk of the log that is wanted next; 0: none */
};

/* bytes_max  page cache that may be filled by cold reads */
void cold_cache_init(struct cold_cache *cache, struct store *store, int64_t bytes_max);
void cold_cache_release(struct cold_cache *cache);
void cold_loader_release(struct cold_loader *loader);

/* Have [pos, pos + size) of the log in memory. Reads more than that when the consumer reads on from
 * what was read before.
 * segment  holds `pos`; the range does not cross its end, nor the end of the log
 * returns  OK | IO (err, which may be NULL, names file, position, cause and mend) */
enum status cold_cache_load(struct cold_cache *cache, struct segment *segment, int64_t pos,
                            int64_t size, struct cold_loader *loader, struct err *err);

/* What to say of a file for which no descriptor or mapping is left. errno says which.
 * returns  BUSY */
enum status cold_cache_no_descriptor(struct err *err, const char *path);

/* The same for a part of another file of the store, which is small and not kept account of. OK also
 * when it is gone; BUSY when there is no descriptor to open it with. */
enum status cold_cache_load_file(struct cold_cache *cache, const char *path, int64_t offset,
                                 size_t size, struct cold_loader *loader, struct err *err);

/* After the loads of one read: begin to read what will be wanted next, without waiting for it. */
void cold_cache_ahead(struct cold_cache *cache, struct cold_loader *loader);

#endif
