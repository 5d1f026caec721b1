/* SPDX-License-Identifier: Apache-2.0
 *
 * The bytes of the timer files (broker/state/timer_files.h), and how times are cut into slots and
 * buckets. Pure: no file, no lock. Integers are big-endian.
 *
 * A file holds entries of 32 bytes, one behind the other, in the order in which they came:
 *
 *     0  due time 8       milliseconds since 1970; of a cancel: the first millisecond of its slot
 *     8  queue offset 8   of the message in rmq_sys_wheel_timer, queue 0
 *    16  kind 1           1 timer, 2 cancel
 *    17  position 7       of the message in the commit log
 *    24  key 4            CRC-32 & 0x7FFFFFFF of "topic+unique key": what a cancel looks for
 *    28  checksum 4       CRC-32 & 0x7FFFFFFF of the 28 bytes before
 *
 * An entry never crosses a sector, so a power cut leaves it whole, as zeros or old.
 *
 * A slot is a second: the times n * 1000 + 1 to (n + 1) * 1000, as RocketMQ 5 cuts them. A cancel
 * holds for the timers of its slot. A bucket is 600 slots, and has a file of its own.
 */
#ifndef BROKER_STATE_TIMER_FORMAT_H
#define BROKER_STATE_TIMER_FORMAT_H

#include "common/base/bytes.h"
#include "common/base/status.h"

#define TIMER_ENTRY_BYTES 32
#define TIMER_SLOT_MS 1000
#define TIMER_BUCKET_MS 600000
/* Due times lie in [1, this]: sums with a clock stay far from overflow. */
#define TIMER_DUE_MS_MAX 1000000000000000

enum timer_kind {
    TIMER_KIND_MESSAGE = 1,
    TIMER_KIND_CANCEL = 2,
};

/* Timers are delivered in this order. A cancel goes before the timers of its millisecond: its
 * offset here is smaller by TIMER_CANCEL_BIAS, and so negative. */
#define TIMER_CANCEL_BIAS (INT64_C(1) << 62)
struct timer_key {
    int64_t due_ms;
    int64_t queue_offset;
};

struct timer_entry {
    struct timer_key key;
    int64_t pos;
    uint32_t hash;
    enum timer_kind kind;
};

static inline int timer_key_compare(struct timer_key a, struct timer_key b)
{
    if (a.due_ms != b.due_ms)
        return a.due_ms < b.due_ms ? -1 : 1;
    return a.queue_offset < b.queue_offset ? -1 : a.queue_offset > b.queue_offset;
}

/* The offset of the message in its queue. */
static inline int64_t timer_entry_offset(const struct timer_entry *entry)
{
    return entry->key.queue_offset + (entry->kind == TIMER_KIND_CANCEL ? TIMER_CANCEL_BIAS : 0);
}

static inline int64_t timer_slot_of(int64_t due_ms)
{
    return (due_ms - 1) / TIMER_SLOT_MS;
}

static inline int64_t timer_slot_first_ms(int64_t slot)
{
    return slot * TIMER_SLOT_MS + 1;
}

static inline int64_t timer_bucket_of(int64_t due_ms)
{
    return (due_ms - 1) / TIMER_BUCKET_MS;
}

/* The last millisecond of a bucket. */
static inline int64_t timer_bucket_last_ms(int64_t bucket)
{
    return (bucket + 1) * TIMER_BUCKET_MS;
}

/* What entry.hash holds for "topic+unique key". */
uint32_t timer_hash(struct slice cancel_key);

/* entry  due time in [1, TIMER_DUE_MS_MAX], offset and position not negative, position < 2^56 */
void timer_entry_encode(const struct timer_entry *entry, uint8_t out[TIMER_ENTRY_BYTES]);

/* returns  OK | CORRUPT (checksum, kind or a number out of range) */
MUST_CHECK enum status timer_entry_decode(const uint8_t in[TIMER_ENTRY_BYTES],
                                          struct timer_entry *out);

/* A file is named after its bucket in 20 digits. False when the name is none. */
#define TIMER_FILE_NAME_BYTES 21
void timer_file_name(int64_t bucket, char out[TIMER_FILE_NAME_BYTES]);
bool timer_file_parse(const char *name, int64_t *bucket);

#endif
