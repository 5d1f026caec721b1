/* SPDX-License-Identifier: Apache-2.0
 *
 * The inside of the table of consumer offsets, shared by offsets.c and offsets_copy.c (what slaves
 * copy). Nobody else includes it. Functions that take the table are called with its lock held.
 *
 * Every key is in the list `recent`, those that have changed last at its end; changed_at is the
 * table's change count then. So what a copy lacks is found without walking the table.
 */
#ifndef BROKER_STATE_OFFSETS_PRIVATE_H
#define BROKER_STATE_OFFSETS_PRIVATE_H

#include "broker/state/config_file.h"
#include "broker/state/offsets.h"
#include "common/base/limits.h"
#include "common/base/list.h"
#include "common/base/map.h"

#include <pthread.h>

#define SEPARATOR '@'

/* Marked queues that are collected for the journal with one hold of the lock, some hundred
 * microseconds when none of them is in the cache, and for one block. */
#define COLLECT_QUEUES_MAX 1024
#define BLOCK_QUEUES_MAX 8192

/* A retry topic's name is its group's with a prefix. */
#define KEY_TOPIC_BYTES_MAX (GROUP_BYTES_MAX + 16)
#define KEY_BYTES_MAX (KEY_TOPIC_BYTES_MAX + 1 + GROUP_BYTES_MAX)

struct queue_offset {
    int32_t queue_id;
    bool marked; /* changed since the last step of the journal */
    int64_t offset;
};

struct group_offsets {
    size_t count;
    size_t capacity;
    struct queue_offset *queues; /* sorted by queue_id, each once */

    struct list in_recent;
    uint64_t changed_at; /* 0: not since the load */

    struct group_offsets *next_marked;
    size_t marked_count; /* queues */
    int32_t marked_from; /* none below this id is marked */
    bool listed;         /* in the list of marked keys */
    bool forget;         /* marked: the journal must forget the key, then take its queues */
    bool dead;           /* removed */
    size_t key_size;
    uint8_t key[];
};

struct offsets {
    pthread_mutex_t lock; /* docs/locks.md: offsets */
    struct map table;     /* topic@group -> struct group_offsets, dead ones too */
    size_t queue_count;   /* over all keys */
    uint64_t changes;
    uint64_t dropped_at; /* the last change that removed a key */
    uint64_t commits;    /* changes that were not merged from a master */
    struct list recent;
    struct group_offsets *first_marked;
    struct group_offsets **last_marked; /* where the next one goes */
    size_t listed_count;
    struct config_file file;
    struct buf block; /* of the journal's thread */
};

struct key {
    uint8_t bytes[KEY_BYTES_MAX];
    size_t size;
};

void offsets_lock(const struct offsets *offsets);
void offsets_unlock(const struct offsets *offsets);

/* Can `key`, as a file or a master says it, be one? If not, warn. */
bool offsets_is_key(struct slice key);

/* NULL when there is none, or a removed one only. */
struct group_offsets *offsets_find(const struct offsets *offsets, struct slice key);
/* Also brings a removed one back. The caller fills and touches it. */
struct group_offsets *offsets_find_or_add(struct offsets *offsets, struct slice key);

/* Put in a queue at its place, `at`; the caller counts it. */
void offsets_insert(struct group_offsets *group, size_t at, int32_t queue_id, int64_t offset);
/* The journal has to learn of the queue at that place. */
void offsets_mark(struct offsets *offsets, struct group_offsets *group, size_t at);
void offsets_touch(struct offsets *offsets, struct group_offsets *group);
/* Remove a key. Its entry stays in the table until the journal knows. */
void offsets_drop(struct offsets *offsets, struct group_offsets *group);

/* One more than there may be: warn, at a bounded rate; BUSY. */
enum status offsets_refuse(struct slice key);

QueueOffsetsEntry *offsets_wrap_key(const struct group_offsets *group, struct arena *arena);
void offsets_wrap_locked(const struct offsets *offsets, struct arena *arena,
                         ConsumerOffsetSerializeWrapper *out);
void offsets_sort(ConsumerOffsetSerializeWrapper *body);

#endif
