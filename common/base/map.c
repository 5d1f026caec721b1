/* SPDX-License-Identifier: Apache-2.0
 *
 * Open addressing with linear probing. Invariants: capacity is a power of two, at most 7/8 of the
 * slots are used or removed, so every probe ends; hashes 0 and 1 mean empty and removed and are
 * never produced for a key.
 *
 * The hash multiplies 64-bit words into 128 bits and folds (the method of wyhash), keyed with two
 * random words, for maps drawn once per process.
 */
#include "common/base/map.h"

#include "common/base/check.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>

#define HASH_EMPTY 0
#define HASH_REMOVED 1
#define FIRST_CAPACITY 16

static struct hash_seed process_seed;
static pthread_once_t seed_once = PTHREAD_ONCE_INIT;

struct hash_seed hash_seed_random(void)
{
    struct hash_seed seed;
    CHECK(getrandom(&seed, sizeof seed, 0) == (ssize_t)sizeof seed);
    return seed;
}

struct hash_seed hash_seed_from(uint64_t number)
{
    return (struct hash_seed){{number, number * 0x9E3779B97F4A7C15ULL}};
}

static void seed_draw(void)
{
    process_seed = hash_seed_random();
}

static uint64_t fold(uint64_t a, uint64_t b)
{
    __extension__ typedef unsigned __int128 wide;
    wide product = (wide)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t load_word(const uint8_t *p, size_t size)
{
    uint64_t word = 0;
    memcpy(&word, p, size);
    return word;
}

uint64_t hash_bytes_seeded(const struct hash_seed *seed, struct slice s)
{
    const uint64_t *words = seed->words;
    uint64_t state = words[0] ^ s.size;
    size_t i = 0;
    for (; i + 8 <= s.size; i += 8)
        state = fold(state ^ load_word(s.data + i, 8), 0x9E3779B97F4A7C15ULL ^ words[1]);
    if (i < s.size)
        state = fold(state ^ load_word(s.data + i, s.size - i), 0xC2B2AE3D27D4EB4FULL ^ words[1]);
    return fold(state ^ words[1], 0xD6E8FEB86659FD93ULL);
}

uint64_t hash_bytes(struct slice s)
{
    (void)pthread_once(&seed_once, seed_draw);
    return hash_bytes_seeded(&process_seed, s);
}

static uint64_t key_hash(struct slice key)
{
    uint64_t hash = hash_bytes(key);
    return hash <= HASH_REMOVED ? hash + 2 : hash;
}

void map_release(struct map *map)
{
    for (size_t i = 0; i < map->capacity; i++)
        if (map->entries[i].hash > HASH_REMOVED)
            free((void *)(uintptr_t)map->entries[i].key.data);
    free(map->entries);
    *map = MAP_EMPTY;
}

static struct map_entry *find(const struct map *map, struct slice key, uint64_t hash)
{
    if (map->capacity == 0)
        return NULL;
    size_t mask = map->capacity - 1;
    for (size_t i = hash & mask;; i = (i + 1) & mask) {
        struct map_entry *entry = &map->entries[i];
        if (entry->hash == HASH_EMPTY)
            return NULL;
        if (entry->hash == hash && slice_equal(entry->key, key))
            return entry;
    }
}

void *map_get(const struct map *map, struct slice key)
{
    struct map_entry *entry = find(map, key, key_hash(key));
    return entry == NULL ? NULL : entry->value;
}

static struct map_entry *free_slot(struct map_entry *entries, size_t capacity, uint64_t hash)
{
    size_t mask = capacity - 1;
    size_t i = hash & mask;
    while (entries[i].hash > HASH_REMOVED)
        i = (i + 1) & mask;
    return &entries[i];
}

static void grow(struct map *map)
{
    size_t capacity = map->capacity == 0 ? FIRST_CAPACITY : map->capacity;
    if (map->count * 2 >= capacity)
        capacity *= 2;
    struct map_entry *entries = xcalloc(capacity, sizeof *entries);
    for (size_t i = 0; i < map->capacity; i++)
        if (map->entries[i].hash > HASH_REMOVED)
            *free_slot(entries, capacity, map->entries[i].hash) = map->entries[i];
    free(map->entries);
    map->entries = entries;
    map->capacity = capacity;
    map->used = map->count;
}

void *map_put(struct map *map, struct slice key, void *value)
{
    CHECK(value != NULL);
    uint64_t hash = key_hash(key);
    struct map_entry *entry = find(map, key, hash);
    if (entry != NULL) {
        void *before = entry->value;
        entry->value = value;
        return before;
    }
    if (map->capacity == 0 || (map->used + 1) * 8 > map->capacity * 7)
        grow(map);
    entry = free_slot(map->entries, map->capacity, hash);
    if (entry->hash == HASH_EMPTY)
        map->used++;
    uint8_t *copy = xmalloc(key.size + 1);
    if (key.size != 0)
        memcpy(copy, key.data, key.size);
    copy[key.size] = '\0';
    *entry = (struct map_entry){slice_of(copy, key.size), value, hash};
    map->count++;
    return NULL;
}

void *map_remove(struct map *map, struct slice key)
{
    struct map_entry *entry = find(map, key, key_hash(key));
    if (entry == NULL)
        return NULL;
    void *value = entry->value;
    free((void *)(uintptr_t)entry->key.data);
    *entry = (struct map_entry){SLICE_EMPTY, NULL, HASH_REMOVED};
    map->count--;
    return value;
}

struct map_entry *map_next(const struct map *map, size_t *cursor)
{
    while (*cursor < map->capacity) {
        struct map_entry *entry = &map->entries[(*cursor)++];
        if (entry->hash > HASH_REMOVED)
            return entry;
    }
    return NULL;
}

static int compare_keys(const void *a, const void *b)
{
    struct slice left = (*(struct map_entry *const *)a)->key;
    struct slice right = (*(struct map_entry *const *)b)->key;
    size_t common = left.size < right.size ? left.size : right.size;
    int order = common == 0 ? 0 : memcmp(left.data, right.data, common);
    return order != 0 ? order : (left.size > right.size) - (left.size < right.size);
}

struct map_entry **map_sorted(const struct map *map, struct arena *arena)
{
    struct map_entry **entries = arena_alloc(arena, map->count * sizeof(struct map_entry *));
    size_t count = 0;
    size_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(map, &cursor)) != NULL;)
        entries[count++] = entry;
    if (count > 1)
        qsort(entries, count, sizeof(struct map_entry *), compare_keys);
    return entries;
}
