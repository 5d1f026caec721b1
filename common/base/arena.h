/* SPDX-License-Identifier: Apache-2.0
 *
 * A bump allocator: many small pieces, freed all at once. One request uses one arena, which is
 * reset when its reply has been queued; in the steady state it never touches malloc.
 *
 * Memory belongs to the arena until arena_reset or arena_release. One thread at a time.
 */
#ifndef COMMON_BASE_ARENA_H
#define COMMON_BASE_ARENA_H

#include "common/base/bytes.h"

#include <stdarg.h>

struct arena_block;

struct arena {
    struct arena_block *blocks; /* newest first */
    uint8_t *next;
    uint8_t *end;
    size_t block_bytes;
    size_t used_bytes; /* handed out since the last reset */
};

/* block_bytes  size of an ordinary block, taken at the first allocation */
void arena_init(struct arena *arena, size_t block_bytes);
void arena_release(struct arena *arena);

/* Forget everything handed out. One ordinary block is kept for reuse. */
void arena_reset(struct arena *arena);

/* `size` bytes aligned to 16, contents undefined. Never NULL: aborts when memory is gone, so sizes
 * decided by a peer must be bounded before. */
void *arena_alloc(struct arena *arena, size_t size);

/* The same, zeroed. */
void *arena_zalloc(struct arena *arena, size_t size);

/* Room for one more item behind `count` of them: `items` itself, or a larger copy in the arena, of
 * which *capacity tells the size. Start with NULL and 0. */
void *arena_grow(struct arena *arena, void *items, size_t item_bytes, size_t count,
                 size_t *capacity);

/* A copy of `s`; arena_cstr adds a NUL (bytes after an inner NUL stay, but C will not see them). */
struct slice arena_copy(struct arena *arena, struct slice s);
char *arena_cstr(struct arena *arena, struct slice s);

/* printf into the arena; NUL-terminated. */
char *arena_printf(struct arena *arena, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
char *arena_vprintf(struct arena *arena, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));

#endif
