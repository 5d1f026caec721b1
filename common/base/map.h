/* SPDX-License-Identifier: Apache-2.0
 *
 * A hash map from byte strings to pointers, open addressing, seeded per process so that a peer
 * cannot choose colliding keys. Keys are copied into the map; values are the caller's.
 */
#ifndef COMMON_BASE_MAP_H
#define COMMON_BASE_MAP_H

#include "common/base/arena.h"
#include "common/base/bytes.h"

struct map_entry {
    struct slice key; /* NUL-terminated behind its size; owned by the map */
    void *value;
    uint64_t hash; /* 0 = empty, 1 = removed */
};

struct map {
    struct map_entry *entries;
    size_t capacity; /* 0 or a power of two */
    size_t count;
    size_t used; /* count + removed */
};

#define MAP_EMPTY ((struct map){NULL, 0, 0, 0})

/* Frees the table and the keys, not the values. */
void map_release(struct map *map);

/* The value under `key`, or NULL. */
void *map_get(const struct map *map, struct slice key);

/* Set `key` to `value` (not NULL); returns the value that was there before, or NULL. */
void *map_put(struct map *map, struct slice key, void *value);

/* Take `key` out; returns its value, or NULL. The entry's key memory is freed. */
void *map_remove(struct map *map, struct slice key);

/* Walk: start with *cursor = 0; NULL at the end. Removing the entry just returned is allowed,
 * adding is not. Order is undefined. */
struct map_entry *map_next(const struct map *map, size_t *cursor);

/* All entries, sorted by key, bytewise; in the arena, valid until the map changes. */
struct map_entry **map_sorted(const struct map *map, struct arena *arena);

/* The seeded hash used by the map; also good for other tables. */
uint64_t hash_bytes(struct slice s);

/* The same with a seed of one's own. */
struct hash_seed {
    uint64_t words[2];
};
struct hash_seed hash_seed_random(void);
struct hash_seed hash_seed_from(uint64_t number); /* known to all: only where peers do no harm */
uint64_t hash_bytes_seeded(const struct hash_seed *seed, struct slice s);

#endif
