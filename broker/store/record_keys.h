/* SPDX-License-Identifier: Apache-2.0
 *
 * What follows from a record for the consume queues and the index: whether it has entries there,
 * the tags code, the hashes of its keys. Pure. Dispatch writes by these rules, verification checks
 * by them.
 *
 * Source: RocketMQ store/.../CommitLog.java checkMessageAndReturnSize, DefaultMessageStore.java
 * CommitLogDispatcherBuildConsumeQueue, index/IndexService.java buildIndex.
 */
#ifndef BROKER_STORE_RECORD_KEYS_H
#define BROKER_STORE_RECORD_KEYS_H

#include "proto/record.h"

#define SCHEDULE_TOPIC "SCHEDULE_TOPIC_XXXX"
#define INDEX_KEYS_MAX 64 /* keys of one message that are indexed; 4.9.2 has no limit */

/* The properties that matter here; empty when absent. */
struct record_keys {
    struct slice tags;
    struct slice keys;
    struct slice unique_key;
    struct slice delay;
};

struct record_keys record_keys_find(struct slice properties);

/* Prepared and rolled back transactions are not in the queues; rolled back ones not in the index
 * either. */
bool record_in_queue(const struct record *record);
bool record_in_index(const struct record *record);

/* True when the tags code is the time of delivery: store time + delay of the level. */
bool record_is_delayed(const struct record *record, const struct record_keys *keys);

/* The tags code of the record's queue entry.
 * delay_levels_ms  [0] is level 1; used when record_is_delayed */
int64_t record_tags_code(const struct record *record, const struct record_keys *keys,
                         const int64_t *delay_levels_ms, int delay_level_count);

/* Walk over the hashes (index_key_hash) of the record's keys: UNIQ_KEY, then each word of KEYS.
 * Start with record_hashes_begin; record_hashes_next is false at the end. */
struct record_hashes {
    uint32_t topic_hash;
    struct slice unique_key; /* empty once it was given out */
    struct slice rest;
};
struct record_hashes record_hashes_begin(const struct record *record,
                                         const struct record_keys *keys);
bool record_hashes_next(struct record_hashes *hashes, int32_t *hash);

#endif
