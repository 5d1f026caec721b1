/* SPDX-License-Identifier: Apache-2.0
 *
 * The index file: a hash table from message keys to log positions. Pure, over the file's bytes in
 * memory. All integers big-endian.
 *
 *     offset            size   field
 *      0                  8    store timestamp of the first record, ms
 *      8                  8    of the last one
 *     16                  8    log position of the first record
 *     24                  8    of the last one
 *     32                  4    slots in use
 *     36                  4    number of the next entry; starts at 1, entry 0 is never used
 *     40                  4 s  slots: number of the newest entry, 0 = none
 *     40 + 4 s + 20 e    20    entry e: key hash 4, position 8, seconds since the first timestamp
 * 4, previous entry of the slot 4
 *
 * The key is "topic#key"; its hash is the absolute value of Java's string hash (0 for the smallest
 * integer); the slot is hash mod s. The file is full when the next entry's number reaches the limit
 * of entries. s and the limit are not stored in the file.
 *
 * One thread inserts while others look up: an entry is complete before its number is published in
 * the slot, and the count after that.
 *
 * Source: RocketMQ store/.../index/IndexFile.java, IndexHeader.java.
 */
#ifndef BROKER_STORE_INDEX_FORMAT_H
#define BROKER_STORE_INDEX_FORMAT_H

#include "common/base/bytes.h"

#define INDEX_HEADER_BYTES 40
#define INDEX_SLOT_BYTES 4
#define INDEX_ENTRY_BYTES 20

struct index_view {
    uint8_t *data; /* index_file_bytes() of them */
    int32_t slots;
    int32_t entries;
};

struct index_header {
    int64_t begin_timestamp_ms;
    int64_t end_timestamp_ms;
    int64_t begin_pos;
    int64_t end_pos;
    int32_t used_slots;
    int32_t next_entry;
};

static inline size_t index_file_bytes(int32_t slots, int32_t entries)
{
    return INDEX_HEADER_BYTES + (size_t)slots * INDEX_SLOT_BYTES +
           (size_t)entries * INDEX_ENTRY_BYTES;
}

/* The hash of "topic#key", not negative. */
int32_t index_key_hash(struct slice topic, struct slice key);

/* The same in two steps, for several keys of one topic: java_string_hash of the key continued from
 * the hash of "topic#". */
uint32_t index_topic_hash(struct slice topic);
int32_t index_key_hash_from(uint32_t topic_hash, struct slice key);

/* Whole seconds from the file's first timestamp on, as an entry holds them: 0 when there is none
 * yet or the time lies before it. */
int32_t index_entry_seconds(int64_t begin_timestamp_ms, int64_t timestamp_ms);

/* Needs only the INDEX_HEADER_BYTES of view->data, aligned to 8. */
struct index_header index_header_read(const struct index_view *view);

/* A file of zeros becomes an empty index. */
void index_clear(const struct index_view *view);

bool index_is_full(const struct index_view *view);

/* Add one entry; the index must not be full. */
void index_insert(const struct index_view *view, int32_t key_hash, int64_t pos,
                  int64_t timestamp_ms);

/* Positions under a hash, newest first, with store times in [begin_ms, end_ms] as far as the file
 * knows them (whole seconds).
 * returns  how many of at most max_count were written */
int index_find(const struct index_view *view, int32_t key_hash, int64_t begin_ms, int64_t end_ms,
               int64_t *out, int max_count);

/* Is the header possible at all? */
bool index_header_sane(const struct index_view *view);

/* After a crash the pages of the file may be of different ages. Keep the entries that make sense up
 * to the first that does not (or whose record lies at or behind log_end), leave out those of the
 * last record kept, and build the slots anew from the entries.
 * resume_pos  out: records from here on are to be inserted again
 * returns     true when any entry is left */
bool index_repair(const struct index_view *view, int64_t log_end, int64_t *resume_pos);

#endif
