/* SPDX-License-Identifier: Apache-2.0
 *
 * The proofs of crash tests; nothing is used but what store.h offers, except that rounds of
 * dispatch are asked for.
 */
#include "test/unit/support/crash_kit.h"

#include "common/base/arena.h"
#include "common/base/check.h"
#include "test/unit/support/crash_message.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define KEYS_MAX 64

/* What the log holds for one queue, in order: numbers of messages of the newest life of the topic.
 */
struct expected {
    size_t *numbers;
    size_t count;
    int64_t first_offset;
};

struct verification {
    struct crash *crash;
    bool *seen; /* per message */
    int64_t min_pos;
    int64_t end;
    struct expected queues[CRASH_TOPICS][CRASH_QUEUES];
};

/* --- the log --- */

static struct record decode(const struct crash *crash, const struct log_range *range, int64_t pos)
{
    struct record record;
    enum status status =
        record_decode(slice_of(range->data, range->size), RECORD_CHECK_CRC, &record);
    if (status != STATUS_OK || record.physical_offset != pos)
        crash_fail(crash, "the record at %" PRId64 " is not whole: %s", pos, status_name(status));
    return record;
}

/* The number of a record that must be one of ours, byte for byte. */
static size_t check_content(const struct crash *crash, const struct record *record)
{
    uint8_t body[CRASH_BODY_BYTES_MAX];
    char properties[CRASH_PROPERTIES_BYTES];
    int64_t pos = record->physical_offset;
    size_t number = crash_number(record->body);
    if (number >= crash->sent_count)
        crash_fail(crash, "a message that nobody sent stands at %" PRId64, pos);
    const struct sent *sent = &crash->sent[number];
    struct record want = crash_message(number, sent, body, properties);
    if (!slice_equal(record->body, want.body) || !slice_equal(record->topic, want.topic) ||
        !slice_equal(record->properties, want.properties) || record->queue_id != want.queue_id ||
        record->flag != want.flag || (record->sys_flag & ~SYS_FLAG_BORN_HOST_V6) != want.sys_flag ||
        record->born_host.port != want.born_host.port ||
        memcmp(record->born_host.ip, want.born_host.ip, want.born_host.ip_bytes) != 0)
        crash_fail(crash, "message %zu at %" PRId64 " is not what was sent", number, pos);
    return number;
}

static void check_place(const struct verification *verification, const struct record *record,
                        size_t number)
{
    const struct crash *crash = verification->crash;
    const struct sent *sent = &crash->sent[number];
    if (verification->seen[number])
        crash_fail(crash, "message %zu is in the log twice", number);
    if (sent->state == SENT_LOST || (sent->state == SENT_REFUSED && !crash->faults))
        crash_fail(crash, "message %zu, which was %s, is in the log", number,
                   sent->state == SENT_LOST ? "lost before" : "refused");
    if (sent->state == SENT_ACCEPTED &&
        (sent->pos != record->physical_offset || sent->queue_offset != record->queue_offset ||
         sent->store_timestamp_ms != record->store_timestamp_ms))
        crash_fail(crash,
                   "message %zu stands at %" PRId64 " as number %" PRId64
                   " of its queue, and was acknowledged at %" PRId64 " as number %" PRId64,
                   number, record->physical_offset, record->queue_offset, sent->pos,
                   sent->queue_offset);
}

/* Add the message to what its queue must hold. */
static void expect_in_queue(struct verification *verification, const struct record *record,
                            size_t number)
{
    const struct crash *crash = verification->crash;
    const struct sent *sent = &crash->sent[number];
    struct expected *queue = &verification->queues[sent->topic][sent->queue_id];
    if (!crash_has_entry(sent))
        return;
    /* A topic that was deleted begins at 0, or where an older life of it ended that a crash has
     * brought back. */
    bool goes_on = record->queue_offset == queue->first_offset + (int64_t)queue->count;
    if (!goes_on && crash->deleted[sent->topic])
        queue->count = 0;
    if (queue->count == 0)
        queue->first_offset = record->queue_offset;
    else if (!goes_on)
        crash_fail(crash,
                   "message %zu at %" PRId64 " is number %" PRId64 " of its queue, behind %" PRId64,
                   number, record->physical_offset, record->queue_offset,
                   queue->first_offset + (int64_t)queue->count - 1);
    queue->numbers = xrealloc(queue->numbers, (queue->count + 1) * sizeof *queue->numbers);
    queue->numbers[queue->count++] = number;
}

/* What is in the log is what the messages say from now on. */
static void adopt(struct crash *crash, const struct record *record, size_t number)
{
    struct sent *sent = &crash->sent[number];
    sent->state = SENT_ACCEPTED;
    sent->pos = record->physical_offset;
    sent->end_pos = record->physical_offset + record->size;
    sent->queue_offset = record->queue_offset;
    sent->store_timestamp_ms = record->store_timestamp_ms;
}

static void walk_log(struct verification *verification)
{
    struct crash *crash = verification->crash;
    int64_t pos = verification->min_pos;
    int64_t segment_bytes = crash->options.segment_bytes;
    while (pos < verification->end) {
        struct log_range range;
        if (store_read_record(crash->store, pos, &range) != STATUS_OK) {
            /* A filler: the next file, unless messages are missing, which is found below. */
            pos = (pos / segment_bytes + 1) * segment_bytes;
            continue;
        }
        struct record record = decode(crash, &range, pos);
        size_t number = check_content(crash, &record);
        check_place(verification, &record, number);
        verification->seen[number] = true;
        expect_in_queue(verification, &record, number);
        adopt(crash, &record, number);
        pos += record.size;
        log_range_release(&range);
    }
}

static void check_nothing_missing(struct verification *verification, int64_t durable_pos)
{
    struct crash *crash = verification->crash;
    if (verification->end < durable_pos)
        crash_fail(crash, "the log ends at %" PRId64 ", durable were %" PRId64, verification->end,
                   durable_pos);
    for (size_t i = 0; i < crash->sent_count; i++) {
        struct sent *sent = &crash->sent[i];
        if (verification->seen[i] ||
            (sent->state == SENT_ACCEPTED && sent->pos < verification->min_pos))
            continue;
        if (sent->state == SENT_ACCEPTED && sent->end_pos <= verification->end)
            crash_fail(crash,
                       "message %zu at %" PRId64 " is missing; the log is [%" PRId64 ", %" PRId64
                       "), durable %" PRId64,
                       i, sent->pos, verification->min_pos, verification->end, durable_pos);
        if (sent->state != SENT_REFUSED)
            sent->state = SENT_LOST;
    }
}

/* --- queues --- */

static int64_t check_range(struct crash *crash, const struct expected *expected,
                           const struct log_range *range, int64_t next)
{
    struct slice rest = slice_of(range->data, range->size);
    while (rest.size > 0) {
        struct record record;
        if (record_decode(rest, RECORD_CHECK_CRC, &record) != STATUS_OK)
            crash_fail(crash, "a pull brings bytes that are no record");
        size_t number = check_content(crash, &record);
        int64_t at = next - expected->first_offset;
        if (at >= (int64_t)expected->count || expected->numbers[at] != number)
            crash_fail(crash, "a pull at %" PRId64 " brings message %zu", next, number);
        rest = slice_from(rest, (size_t)record.size);
        next++;
    }
    return next;
}

static void check_pulls(struct crash *crash, struct queue *queue, const struct expected *expected)
{
    struct arena arena;
    arena_init(&arena, 4096);
    int64_t next = expected->first_offset;
    int64_t end = next + (int64_t)expected->count;
    while (next < end) {
        struct get_result got;
        store_get(crash->store, queue, next, 32, NULL, NULL, &arena, &got);
        if (got.status != GET_FOUND)
            crash_fail(crash, "a pull of %.*s, queue %d, at %" PRId64 " brings %s",
                       (int)queue_topic(queue).size, (const char *)queue_topic(queue).data,
                       (int)queue_id(queue), next, get_status_name(got.status));
        for (int i = 0; i < got.range_count; i++) {
            next = check_range(crash, expected, &got.ranges[i], next);
            log_range_release(&got.ranges[i]);
        }
        if (next != got.next_begin_offset)
            crash_fail(crash, "a pull has passed over messages");
        arena_reset(&arena);
    }
    arena_release(&arena);
}

static void check_entries(struct crash *crash, struct queue *queue, const struct expected *expected)
{
    for (size_t i = 0; i < expected->count; i++) {
        const struct sent *sent = &crash->sent[expected->numbers[i]];
        struct queue_entry entry;
        if (!queue_entry_at(queue, expected->first_offset + (int64_t)i, &entry) ||
            entry.pos != sent->pos || entry.size != sent->end_pos - sent->pos ||
            entry.tags_code !=
                crash_tags_code(expected->numbers[i], sent, sent->store_timestamp_ms))
            crash_fail(crash,
                       "the entry of message %zu at %" PRId64 " is wrong: %" PRId64 ", %d bytes, "
                       "tags %" PRId64,
                       expected->numbers[i], sent->pos, entry.pos, (int)entry.size,
                       entry.tags_code);
    }
}

/* The offset behind the newest message that the queue ever had and that counts. */
static int64_t next_offset(const struct crash *crash, int topic, int id)
{
    for (size_t i = crash->sent_count; i-- > 0;) {
        const struct sent *sent = &crash->sent[i];
        if (sent->state == SENT_ACCEPTED && sent->topic == topic && sent->queue_id == id &&
            crash_has_entry(sent))
            return sent->queue_offset + 1;
    }
    return 0;
}

/* Messages that were deleted with their topic may be missing at the front of the queue: after a
 * crash they come back, or some of the newest of them. The first offset that must be there. */
static int64_t must_begin(const struct crash *crash, int topic, const struct expected *expected)
{
    size_t i = 0;
    while (i < expected->count && crash->sent[expected->numbers[i]].pos < crash->gone[topic])
        i++;
    return expected->first_offset + (int64_t)i;
}

static void check_queue(struct verification *verification, int topic, int id)
{
    struct crash *crash = verification->crash;
    struct expected *expected = &verification->queues[topic][id];
    struct queue *queue = store_queue(crash->store, slice_of_cstr(crash_topic(topic)), id, true);
    int64_t min_offset = queue_min_offset(queue);
    int64_t max_offset = queue_max_offset(queue);
    int64_t end = expected->first_offset + (int64_t)expected->count;
    int64_t begin = must_begin(crash, topic, expected);
    if (expected->count == 0)
        begin = end = next_offset(crash, topic, id);
    bool gone = crash->deleted[topic] && begin == end;
    /* A queue's first file may be there, and its first message lost. */
    bool late = crash->began_late && expected->count == 0 && min_offset == max_offset;
    if (gone || late)
        return;
    if (max_offset != end || min_offset > begin ||
        (min_offset < expected->first_offset && !crash->deleted[topic]))
        crash_fail(crash,
                   "topic %s, queue %d is [%" PRId64 ", %" PRId64 "), the log says [%" PRId64
                   ", %" PRId64 "), it was deleted at %" PRId64,
                   crash_topic(topic), id, min_offset, max_offset, begin, end, crash->gone[topic]);
    if (expected->count == 0)
        return;
    if (min_offset > expected->first_offset) {
        expected->numbers += min_offset - expected->first_offset;
        expected->count -= (size_t)(min_offset - expected->first_offset);
        expected->first_offset = min_offset;
    }
    check_entries(crash, queue, expected);
    check_pulls(crash, queue, expected);
}

/* --- keys --- */

static void check_key(struct crash *crash, size_t number)
{
    const struct sent *sent = &crash->sent[number];
    int64_t found[KEYS_MAX];
    int64_t last_ms;
    int64_t last_pos;
    char key[32];
    crash_key(number, key);
    int count =
        store_query_index(crash->store, slice_of_cstr(crash_topic(sent->topic)), slice_of_cstr(key),
                          KEYS_MAX, 0, INT64_MAX, found, &last_ms, &last_pos);
    int hits = 0;
    for (int i = 0; i < count; i++)
        hits += found[i] == sent->pos;
    if (hits != 1)
        crash_fail(crash, "message %zu at %" PRId64 " is found %d times by its key", number,
                   sent->pos, hits);
}

/* The index has an entry for each message but those of transactions rolled back. */
static void check_keys(struct verification *verification)
{
    struct crash *crash = verification->crash;
    for (size_t i = 0; i < crash->sent_count; i++) {
        int transaction = crash->sent[i].sys_flag & SYS_FLAG_TRANSACTION_MASK;
        if (verification->seen[i] && transaction != SYS_FLAG_TRANSACTION_ROLLBACK && !crash->faults)
            check_key(crash, i);
    }
}

/* --- all of it --- */

void crash_verify(struct crash *crash, int64_t durable_pos)
{
    struct verification verification = {
        .crash = crash,
        .seen = xcalloc(crash->sent_count + 1, sizeof(bool)),
        .min_pos = store_min_pos(crash->store),
        .end = store_appended_pos(crash->store),
    };
    if (store_flushed_pos(crash->store) != verification.end ||
        store_dispatched_pos(crash->store) != verification.end)
        crash_fail(crash, "the store was handed out before it was flushed and dispatched");
    walk_log(&verification);
    check_nothing_missing(&verification, durable_pos);
    for (int topic = 0; topic < CRASH_TOPICS; topic++) {
        for (int id = 0; id < CRASH_QUEUES; id++) {
            size_t *numbers = verification.queues[topic][id].numbers;
            check_queue(&verification, topic, id);
            free(numbers);
        }
    }
    check_keys(&verification);
    free(verification.seen);
}

void crash_verify_thoroughly(struct crash *crash, int64_t durable_pos)
{
    static const struct sim_cut nothing = {.keep = SIM_KEEP_NONE};
    crash_verify(crash, durable_pos);
    crash_put(crash, 6);
    if (commitlog_flush(&crash->store->log) != STATUS_OK)
        crash_fail(crash, "what was appended after recovery cannot be flushed");
    int64_t end = store_appended_pos(crash->store);
    crash_cut(crash, &nothing);
    crash_open(crash);
    crash_verify(crash, end);
}
