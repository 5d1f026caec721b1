/* SPDX-License-Identifier: Apache-2.0
 *
 * The answers of ordered pops. An `answer` is the last one of a queue: its messages, which of them
 * are acknowledged, when each comes again, and how often each was given before.
 *
 * The group's offset is stored with the lock held, so that two acknowledgements cannot store theirs
 * in the wrong order.
 */
#include "broker/state/pop_orders_private.h"

#include "common/base/check.h"
#include "common/base/limits.h"

#include <stdlib.h>

#define FORGET_MS 86400000

bool pop_order_key(const struct pop_order_queue *queue, struct pop_order_key *out)
{
    if (queue->topic.size > TOPIC_BYTES_MAX || queue->group.size > GROUP_BYTES_MAX)
        return false;
    memcpy(out->bytes, queue->topic.data, queue->topic.size);
    out->bytes[queue->topic.size] = 0;
    memcpy(out->bytes + 1 + queue->topic.size, queue->group.data, queue->group.size);
    out->size = 1 + queue->topic.size + queue->group.size;
    out->bytes[out->size] = 0;
    put_i32(out->bytes + out->size + 1, queue->queue_id);
    out->size += 5;
    return true;
}

void pop_orders_free(struct pop_orders *orders)
{
    size_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&orders->table, &cursor)) != NULL;)
        free(entry->value);
    map_release(&orders->table);
    config_file_release(&orders->file);
    CHECK(pthread_mutex_destroy(&orders->lock) == 0);
    free(orders);
}

static void lock(struct pop_orders *orders)
{
    CHECK(pthread_mutex_lock(&orders->lock) == 0);
}

static void unlock(struct pop_orders *orders)
{
    CHECK(pthread_mutex_unlock(&orders->lock) == 0);
}

static struct answer *find(const struct pop_orders *orders, const struct pop_order_queue *queue)
{
    struct pop_order_key key;
    return pop_order_key(queue, &key) ? map_get(&orders->table, slice_of(key.bytes, key.size))
                                      : NULL;
}

static bool is_acked(const struct answer *answer, int i)
{
    return (answer->acked >> i & 1) != 0;
}

/* The first message that is not acknowledged, or what follows the last. */
static int64_t next_offset(const struct answer *answer)
{
    for (int i = 0; i < answer->count; i++)
        if (!is_acked(answer, i))
            return answer->offsets[i];
    return answer->offsets[answer->count - 1] + 1;
}

/* 0: nothing of it is out; else when the last of it comes again. */
static int64_t held_until(const struct answer *answer, int64_t now_ms)
{
    int64_t until_ms = 0;
    for (int i = 0; i < answer->count; i++)
        if (!is_acked(answer, i) && answer->visible_ms[i] > now_ms &&
            answer->visible_ms[i] > until_ms)
            until_ms = answer->visible_ms[i];
    return until_ms;
}

static struct slice cut(struct slice attempt)
{
    return slice_of(attempt.data,
                    attempt.size < ATTEMPT_BYTES_MAX ? attempt.size : ATTEMPT_BYTES_MAX);
}

static bool is_attempt(const struct answer *answer, struct slice attempt)
{
    return attempt.size > 0 &&
           slice_equal(slice_of(answer->attempt, answer->attempt_bytes), cut(attempt));
}

int64_t pop_orders_held_until(struct pop_orders *orders, const struct pop_order_queue *queue,
                              int64_t queue_offset, struct slice attempt, int64_t now_ms)
{
    int64_t until_ms = 0;
    lock(orders);
    const struct answer *answer = find(orders, queue);
    if (answer != NULL && queue_offset >= answer->offsets[0] &&
        queue_offset <= answer->offsets[answer->count - 1] && !is_attempt(answer, attempt))
        until_ms = held_until(answer, now_ms);
    unlock(orders);
    return until_ms;
}

/* How often a message was given, by the answer before; 0: never. */
static int32_t given(const struct answer *answer, int64_t queue_offset)
{
    for (int i = 0; i < answer->count; i++)
        if (answer->offsets[i] == queue_offset)
            return answer->given_before[i] + 1;
    return 0;
}

/* 5.3.3's ExtraInfoUtil: one entry for each message given before, one for the queue. */
static void append_counts(const struct answer *answer, int32_t queue_id, struct buf *counts)
{
    int32_t least = INT32_MAX;
    for (int i = 0; i < answer->count; i++) {
        int32_t times = answer->given_before[i];
        least = times < least ? times : least;
        if (times == 0)
            continue;
        buf_printf(counts, "%s0 qo%d%%%lld %d", counts->size > 0 ? ";" : "", (int)queue_id,
                   (long long)answer->offsets[i], (int)times);
    }
    buf_printf(counts, "%s0 %d %d", counts->size > 0 ? ";" : "", (int)queue_id, (int)least);
}

static void fill(struct answer *answer, struct slice attempt, const struct pop_taken *taken)
{
    struct answer before = *answer;
    bool same = is_attempt(&before, attempt);
    int64_t visible_ms;
    if (__builtin_add_overflow(taken->pop_time_ms, taken->invisible_ms, &visible_ms))
        visible_ms = INT64_MAX;
    answer->pop_time_ms = taken->pop_time_ms;
    answer->invisible_ms = taken->invisible_ms;
    answer->acked = 0;
    answer->count = taken->count;
    for (int i = 0; i < taken->count; i++) {
        int32_t times = given(&before, taken->offsets[i]);
        answer->offsets[i] = taken->offsets[i];
        answer->visible_ms[i] = visible_ms;
        answer->given_before[i] = same && times > 0 ? times - 1 : times;
    }
    attempt = cut(attempt);
    memcpy(answer->attempt, attempt.data, attempt.size);
    answer->attempt_bytes = attempt.size;
}

enum status pop_orders_given(struct pop_orders *orders, const struct pop_order_queue *queue,
                             struct slice attempt, const struct pop_taken *taken,
                             struct buf *counts)
{
    struct pop_order_key key;
    enum status status = STATUS_BUSY;
    CHECK(taken->count > 0 && taken->count <= POP_MESSAGES_MAX);
    if (!pop_order_key(queue, &key))
        return STATUS_BUSY;
    if (attempt.size == 0)
        attempt = SLICE_LITERAL("");
    lock(orders);
    struct answer *answer = map_get(&orders->table, slice_of(key.bytes, key.size));
    if (answer == NULL && orders->table.count < POP_QUEUES_MAX) {
        answer = xcalloc(1, sizeof *answer);
        (void)map_put(&orders->table, slice_of(key.bytes, key.size), answer);
    }
    if (answer != NULL) {
        fill(answer, attempt, taken);
        orders->changes++;
        append_counts(answer, queue->queue_id, counts);
        status = STATUS_OK;
    }
    unlock(orders);
    return status;
}

/* -1: the answer does not hold it. */
static int place_of(const struct answer *answer, int64_t queue_offset)
{
    for (int i = 0; i < answer->count; i++)
        if (answer->offsets[i] == queue_offset)
            return i;
    return -1;
}

static enum status commit(struct pop_orders *orders, const struct pop_order_queue *queue,
                          int64_t queue_offset)
{
    return offsets_commit(orders->offsets, queue->topic, queue->group, queue->queue_id,
                          queue_offset);
}

enum status pop_orders_ack(struct pop_orders *orders, const struct pop_order_queue *queue,
                           int64_t queue_offset, int64_t pop_time_ms, int64_t now_ms, bool *free)
{
    enum status status = STATUS_OK;
    *free = false;
    lock(orders);
    struct answer *answer = find(orders, queue);
    int64_t stored = offsets_get(orders->offsets, queue->topic, queue->group, queue->queue_id);
    int place = answer == NULL ? -1 : place_of(answer, queue_offset);
    if (queue_offset < stored) {
        status = STATUS_OK; /* done before */
    } else if (answer == NULL) {
        /* Given before the broker was started again: the first of what is open. */
        *free = queue_offset == stored;
        status = *free ? commit(orders, queue, queue_offset + 1) : STATUS_OK;
    } else if (pop_time_ms == answer->pop_time_ms && place < 0) {
        status = STATUS_NOT_FOUND;
    } else if (pop_time_ms == answer->pop_time_ms) {
        answer->acked |= UINT32_C(1) << place;
        orders->changes++;
        status = commit(orders, queue, next_offset(answer));
        *free = held_until(answer, now_ms) == 0;
    }
    unlock(orders);
    return status;
}

void pop_orders_change(struct pop_orders *orders, const struct pop_order_queue *queue,
                       int64_t queue_offset, int64_t pop_time_ms, int64_t visible_ms)
{
    lock(orders);
    struct answer *answer = find(orders, queue);
    int place =
        answer == NULL || answer->pop_time_ms != pop_time_ms ? -1 : place_of(answer, queue_offset);
    if (place >= 0) {
        answer->visible_ms[place] = visible_ms;
        orders->changes++;
    }
    unlock(orders);
}

void pop_orders_expire(struct pop_orders *orders, int64_t now_ms)
{
    size_t cursor = 0;
    lock(orders);
    for (struct map_entry *entry; (entry = map_next(&orders->table, &cursor)) != NULL;) {
        struct answer *answer = entry->value;
        if (now_ms - answer->pop_time_ms < FORGET_MS || held_until(answer, now_ms) != 0)
            continue;
        (void)map_remove(&orders->table, entry->key);
        free(answer);
        orders->changes++;
    }
    unlock(orders);
}
