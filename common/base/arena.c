/* SPDX-License-Identifier: Apache-2.0
 *
 * The bump allocator. Invariant: `next` and `end` lie in the newest ordinary block. A piece too
 * large for an ordinary block gets one of its own, linked behind the current block so that bumping
 * goes on where it was.
 */
#include "common/base/arena.h"

#include "common/base/check.h"

#include <stdio.h>
#include <stdlib.h>

#define ALIGNMENT 16

struct arena_block {
    struct arena_block *next;
    size_t size; /* of `data` */
    _Alignas(ALIGNMENT) uint8_t data[];
};

void arena_init(struct arena *arena, size_t block_bytes)
{
    *arena = (struct arena){.block_bytes = block_bytes};
}

void arena_release(struct arena *arena)
{
    for (struct arena_block *block = arena->blocks, *next; block != NULL; block = next) {
        next = block->next;
        free(block);
    }
    *arena = (struct arena){.block_bytes = arena->block_bytes};
}

void arena_reset(struct arena *arena)
{
    struct arena_block *kept = NULL;
    for (struct arena_block *block = arena->blocks, *next; block != NULL; block = next) {
        next = block->next;
        if (kept == NULL && block->size == arena->block_bytes)
            kept = block;
        else
            free(block);
    }
    arena->blocks = kept;
    arena->used_bytes = 0;
    arena->next = kept == NULL ? NULL : kept->data;
    arena->end = kept == NULL ? NULL : kept->data + kept->size;
    if (kept != NULL)
        kept->next = NULL;
}

static struct arena_block *block_new(size_t size)
{
    struct arena_block *block = xmalloc(sizeof *block + size);
    block->size = size;
    block->next = NULL;
    return block;
}

void *arena_alloc(struct arena *arena, size_t size)
{
    if (size == 0)
        size = 1; /* an address all the same */
    size_t rounded = (size + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
    CHECK(rounded >= size);
    arena->used_bytes += rounded;
    if (rounded <= (size_t)(arena->end - arena->next)) {
        void *piece = arena->next;
        arena->next += rounded;
        return piece;
    }
    if (rounded > arena->block_bytes) {
        struct arena_block *own = block_new(rounded);
        if (arena->blocks == NULL) {
            arena->blocks = own;
        } else {
            own->next = arena->blocks->next;
            arena->blocks->next = own;
        }
        return own->data;
    }
    struct arena_block *block = block_new(arena->block_bytes);
    block->next = arena->blocks;
    arena->blocks = block;
    arena->next = block->data + rounded;
    arena->end = block->data + block->size;
    return block->data;
}

void *arena_zalloc(struct arena *arena, size_t size)
{
    return memset(arena_alloc(arena, size), 0, size);
}

void *arena_grow(struct arena *arena, void *items, size_t item_bytes, size_t count,
                 size_t *capacity)
{
    if (count < *capacity)
        return items;
    *capacity = count == 0 ? 16 : count * 2;
    CHECK(*capacity <= SIZE_MAX / item_bytes);
    void *larger = arena_alloc(arena, *capacity * item_bytes);
    if (count > 0)
        memcpy(larger, items, count * item_bytes);
    return larger;
}

struct slice arena_copy(struct arena *arena, struct slice s)
{
    if (s.size == 0)
        return SLICE_EMPTY;
    uint8_t *copy = arena_alloc(arena, s.size);
    memcpy(copy, s.data, s.size);
    return slice_of(copy, s.size);
}

char *arena_cstr(struct arena *arena, struct slice s)
{
    char *copy = arena_alloc(arena, s.size + 1);
    if (s.size != 0)
        memcpy(copy, s.data, s.size);
    copy[s.size] = '\0';
    return copy;
}

char *arena_vprintf(struct arena *arena, const char *format, va_list args)
{
    va_list again;
    DCHECK(format != NULL); /* sanitizers branch on it, and then gcc sees a null format */
    va_copy(again, args);
    int size = vsnprintf(NULL, 0, format, args);
    CHECK(size >= 0);
    char *text = arena_alloc(arena, (size_t)size + 1);
    (void)vsnprintf(text, (size_t)size + 1, format, again);
    va_end(again);
    return text;
}

char *arena_printf(struct arena *arena, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = arena_vprintf(arena, format, args);
    va_end(args);
    return text;
}
