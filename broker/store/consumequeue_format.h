/* SPDX-License-Identifier: Apache-2.0
 *
 * The 20-byte entry of a consume queue file. Pure. All integers big-endian.
 *
 *     offset  size  field
 *      0      8     position of the record in the commit log
 *      8      4     size of the record
 *     12      8     tags code: hash of TAGS, or the delivery time in SCHEDULE_TOPIC_XXXX; less than
 *                   any hash: a position in the files that 4.9.2 with enableConsumeQueueExt keeps
 *                   beside the queue, which have it
 *
 * Entry n of a queue lies at byte 20 n. Unused space is zero. A filler (0, 0x7FFFFFFF, 0) stands
 * where a message is not, or no longer, in the log: it counts as an entry but is never delivered.
 *
 * The positions of a file's entries grow, but a filler has none. So a search looks at the closest
 * entry before it in its place (queue_entry_before), and what searches see grows without exception.
 *
 * Source: RocketMQ store/.../ConsumeQueue.java.
 */
#ifndef BROKER_STORE_CONSUMEQUEUE_FORMAT_H
#define BROKER_STORE_CONSUMEQUEUE_FORMAT_H

#include "common/base/bytes.h"

#define QUEUE_ENTRY_BYTES 20
#define QUEUE_FILLER_SIZE 0x7FFFFFFF

static inline void queue_entry_encode(uint8_t *out, int64_t pos, int32_t size, int64_t tags_code)
{
    put_i64(out, pos);
    put_i32(out + 8, size);
    put_i64(out + 12, tags_code);
}

static inline int64_t queue_entry_pos(const uint8_t *entry)
{
    return get_i64(entry);
}

static inline int32_t queue_entry_size(const uint8_t *entry)
{
    return get_i32(entry + 8);
}

static inline int64_t queue_entry_tags_code(const uint8_t *entry)
{
    return get_i64(entry + 12);
}

/* Is it not known from the queue alone? Source: ConsumeQueueExt.java, isExtAddr. */
static inline bool queue_tags_code_is_elsewhere(int64_t tags_code)
{
    return tags_code < INT32_MIN;
}

static inline bool queue_entry_is_filler(const uint8_t *entry)
{
    return queue_entry_pos(entry) == 0 && queue_entry_size(entry) == QUEUE_FILLER_SIZE;
}

/* The number of the closest entry at or before entry `number` of the file that is not a filler; -1
 * when all of them are fillers, which is before every other. */
int64_t queue_entry_before(struct slice file, int64_t number);

/* How many entries there are up to the last one whose record lies before `cut_pos` (INT64_MAX: in
 * the file at all); 0 when no entry's does. Written entries form a prefix, so this is a binary
 * search. */
size_t queue_file_boundary(struct slice file, int64_t cut_pos);

/* The first of `count` entries whose record is not before min_pos and is not a filler; `count` when
 * there is none. */
size_t queue_file_first_from(struct slice file, size_t count, int64_t min_pos);

#endif
