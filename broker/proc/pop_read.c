/* SPDX-License-Identifier: Apache-2.0
 *
 * One round of a pop: queue after queue is taken, read and given back with a checkpoint of what was
 * found (popMsgFromTopic and popMsgFromQueue of 5.3.3's PopMessageProcessor). On the loop.
 *
 * Messages that are not in memory are read by the store's cold readers; the queue stays taken
 * meanwhile, and the round goes on where it was. Messages of the retry topic leave under the name
 * of the topic, with their handle in POP_CK; they are encoded anew. All others leave as they lie in
 * the log.
 */
#include "broker/proc/pop.h"

#include "broker/proc/lag.h"
#include "broker/proc/range_part.h"
#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/sys/log.h"
#include "proto/pop_handle.h"
#include "proto/properties.h"

#include <stdlib.h>

#define TURN_QUEUES_MAX 1024 /* of a round that are looked at in one turn of the loop */

struct cold_pop {
    struct cold_read read; /* first */
    struct loop_task task;
    struct pop *pop;
    int64_t begun_ms;
};

/* --- which queue is next --- */

static bool is_retry(const struct pop_round *round)
{
    return round->part != ROUND_TOPIC;
}

/* Are there two retry topics? */
static bool has_old_retry(const struct pop *pop)
{
    return pop->retry == POP_RETRY_V2 && pop->bl->broker->conf.retrieveMessageFromPopRetryTopicV1;
}

static enum pop_retry retry_of(const struct pop *pop)
{
    const struct pop_round *round = pop->round;
    if (!is_retry(round))
        return POP_RETRY_NONE;
    bool old = round->old_retry != (round->part == ROUND_RETRY_OTHER);
    return old ? POP_RETRY_V1 : pop->retry;
}

static struct slice topic_of(const struct pop *pop)
{
    switch (retry_of(pop)) {
    case POP_RETRY_NONE:
        return pop->topic;
    case POP_RETRY_V1:
        return pop->retry == POP_RETRY_V1 ? pop->retry_topic : pop->old_retry_topic;
    default:
        return pop->retry_topic;
    }
}

static bool is_full(const struct pop *pop)
{
    return pop->round->found >= pop->max_messages ||
           (int64_t)pop->round->bytes >= pop->bl->broker->conf.maxTransferBytesOnMessageInMemory;
}

static void begin_part(struct pop *pop)
{
    struct pop_round *round = pop->round;
    struct topic_config config;
    bool left_out = (is_retry(round) && pop->order) ||
                    (round->part == ROUND_RETRY_FIRST && !round->retry_first) ||
                    (round->part == ROUND_RETRY_LAST && round->retry_first) ||
                    (round->part == ROUND_RETRY_OTHER && (round->found > 0 || !has_old_retry(pop)));
    round->index = 0;
    round->count = 0;
    if (left_out || !topics_get(pop->bl->broker->topics, topic_of(pop), &config))
        return;
    round->count = !is_retry(round) && pop->queue_id >= 0 ? 1 : config.read_queues;
}

/* Step to the round's next queue; false when there is none. */
static bool next_queue(struct pop *pop)
{
    struct pop_round *round = pop->round;
    for (; round->part != ROUND_END; round->part++, round->count = -1) {
        if (round->count < 0)
            begin_part(pop);
        if (round->index >= round->count)
            continue;
        uint32_t at = (round->first + (uint32_t)round->index++) % (uint32_t)round->count;
        round->queue_id = !is_retry(round) && pop->queue_id >= 0 ? pop->queue_id : (int32_t)at;
        round->queue = store_queue(pop->bl->broker->store, topic_of(pop), round->queue_id, false);
        if (round->queue == NULL)
            continue; /* nothing was ever stored there */
        return true;
    }
    return false;
}

/* --- giving a queue back --- */

static void give(struct pop *pop, const struct pop_taken *taken, bool *kept)
{
    struct broker *broker = pop->bl->broker;
    bool wanted = false;
    *kept = true;
    if (pop->kind == POP_KIND_PEEK)
        return;
    *kept = pop_ledger_give(broker->pop_ledger, pop->round->taken, taken, &wanted);
    pop->round->taken = NULL;
    if (wanted)
        pop_polls_wake(broker->pop_polls, pop->topic, pop->group, POP_ANY_QUEUE);
}

/* In order there is no checkpoint: the queue's answer is remembered instead. The queue stays at the
 * first message of it: what is filtered out in front is passed, else the next pop would begin
 * before the answer and not be held up by it. */
static void give_in_order(struct pop *pop, const struct pop_taken *taken, bool *kept)
{
    struct pop_order_queue queue = {pop->topic, pop->group, pop->round->queue_id};
    struct pop_taken passed = {.next_offset =
                                   taken->count > 0 ? taken->offsets[0] : taken->next_offset};
    bool ok =
        taken->count > 0 && pop_orders_given(pop->bl->broker->pop_orders, &queue, pop->attempt,
                                             taken, &pop->round->count_info) == STATUS_OK;
    give(pop, &passed, kept);
    *kept = ok;
}

static void give_nothing(struct pop *pop)
{
    bool kept;
    give(pop, NULL, &kept);
}

static void count_rest(struct pop_round *round, int64_t left)
{
    if (left <= 0)
        return;
    round->rest += left;
    round->more = true;
}

/* --- what was read --- */

static struct get_request request_of(const struct pop *pop)
{
    bool everything =
        pop->subscription == NULL || pop->subscription->match_all || !pop->subscription->tag_type;
    return (struct get_request){
        .queue = pop->round->queue,
        .queue_offset = pop->round->queue_offset,
        .max_messages = pop->max_messages - pop->round->found,
        .filter = everything ? NULL : subscription_match,
        .filter_ctx = pop->subscription,
        .properties_filter = pull_filter_function(&pop->filter),
        .properties_filter_ctx = (void *)(uintptr_t)&pop->filter,
        .offsets = pop->round->offsets,
    };
}

static void release(struct get_result *got)
{
    for (int i = 0; i < got->range_count; i++)
        log_range_release(&got->ranges[i]);
    got->range_count = 0;
}

static void free_part(void *owner)
{
    free(owner);
}

/* The copy of a retried message that the consumer gets. False when it cannot be encoded. */
static bool add_retried(struct pop *pop, struct slice bytes, const struct pop_taken *taken,
                        size_t *size)
{
    struct pop_round *round = pop->round;
    struct record record;
    struct buf *properties = &pop->bl->scratch;
    struct buf handle_text = BUF_EMPTY;
    if (record_decode(bytes, RECORD_CHECK_FRAME, &record) != STATUS_OK)
        return false;
    *size = (size_t)record.size;
    struct pop_handle handle = {
        .start_offset = taken->start_offset,
        .pop_time_ms = taken->pop_time_ms,
        .invisible_ms = taken->invisible_ms,
        .revive_queue = taken->revive_queue,
        .retry = (int32_t)retry_of(pop),
        .broker_name = slice_of_cstr(pop->bl->broker->conf.brokerName),
        .queue_id = record.queue_id,
        .has_queue_offset = true,
        .queue_offset = record.queue_offset,
    };
    pop_handle_format(&handle, &handle_text);
    buf_clear(properties);
    properties_append_except(properties, record.properties, SLICE_LITERAL(PROPERTY_POP_CK));
    properties_append(properties, SLICE_LITERAL(PROPERTY_POP_CK), buf_slice(&handle_text));
    buf_release(&handle_text);
    record.properties = buf_slice(properties);
    record.topic = pop->topic;
    size_t encoded_bytes = record_size(&record);
    uint8_t *encoded = xmalloc(encoded_bytes);
    if (record_encode(&record, encoded) != STATUS_OK) {
        free(encoded);
        return false;
    }
    round->parts[round->part_count++] = (struct body_part){
        .data = encoded, .size = encoded_bytes, .release = free_part, .owner = encoded};
    return true;
}

static void complain(const struct pop *pop, const char *what)
{
    static struct log_gate gate;
    int64_t swallowed;
    if (log_gate_open(&gate, &swallowed))
        log_error("pop", what, "topic=%.*s group=%.*s queue=%d offset=%lld others=%lld",
                  SLICE_ARGS(topic_of(pop)), SLICE_ARGS(pop->group), (int)pop->round->queue_id,
                  (long long)pop->round->queue_offset, (long long)swallowed);
}

/* Hand the messages over to the answer; the ranges are taken or released. */
static void add_messages(struct pop *pop, struct get_result *got, const struct pop_taken *taken)
{
    struct pop_round *round = pop->round;
    if (!is_retry(round) || pop->kind == POP_KIND_PEEK) {
        for (int i = 0; i < got->range_count; i++)
            round->parts[round->part_count++] = range_part(&got->ranges[i]);
        got->range_count = 0;
        return;
    }
    for (int i = 0; i < got->range_count; i++) {
        struct slice rest = slice_of(got->ranges[i].data, got->ranges[i].size);
        for (size_t size = 0; rest.size > 0; rest = slice_from(rest, size))
            if (!add_retried(pop, rest, taken, &size)) {
                complain(pop, "message has no room for its handle and is left out");
                size = size == 0 ? rest.size : size;
            }
    }
    release(got);
}

/* Leave a checkpoint for what was found, and add it to the answer. */
static void take_found(struct pop *pop, struct get_result *got)
{
    struct pop_round *round = pop->round;
    bool kept = false;
    struct pop_taken taken = {
        .start_offset = round->queue_offset,
        .next_offset = got->next_begin_offset,
        .pop_time_ms = round->pop_time_ms,
        .invisible_ms = pop->invisible_ms,
        .revive_queue = round->revive_queue,
        .count = got->count,
        .offsets = round->offsets,
    };
    if (pop->order)
        give_in_order(pop, &taken, &kept);
    else
        give(pop, &taken, &kept);
    if (!kept) {
        release(got);
        return;
    }
    struct slice topic = topic_of(pop);
    topic_stats_got(pop->bl->meters, topic, pop->group, got->count, (int64_t)got->bytes);
    lag_count(pop->bl, topic, round->queue_id, pop->group, got, -1);
    pop_start_info_append(&round->start_info, retry_of(pop), round->queue_id, taken.start_offset);
    pop_message_info_append(&round->message_info, retry_of(pop), round->queue_id, round->offsets,
                            taken.count);
    round->found += got->count;
    round->bytes += got->bytes;
    add_messages(pop, got, &taken);
    if (!pop->order) /* what is left of a queue waits for what was given */
        count_rest(round, got->max_offset - got->next_begin_offset);
}

/* Nothing was found: move past what is filtered out. */
static void take_nothing(struct pop *pop, const struct get_result *got)
{
    struct pop_taken taken = {.start_offset = pop->round->queue_offset,
                              .next_offset = got->next_begin_offset};
    bool kept;
    bool moved =
        (got->status == GET_NO_MATCHED_MESSAGE || got->status == GET_MESSAGE_WAS_REMOVING) &&
        got->next_begin_offset > taken.start_offset;
    give(pop, moved ? &taken : NULL, &kept);
    if (moved)
        count_rest(pop->round, got->max_offset - got->next_begin_offset);
}

/* True when the queue must be read once more, from another offset. */
static bool settle_queue(struct pop *pop, struct get_result *got)
{
    struct pop_round *round = pop->round;
    bool astray = got->status == GET_OFFSET_TOO_SMALL || got->status == GET_OFFSET_OVERFLOW_BADLY ||
                  got->status == GET_OFFSET_FOUND_NULL;
    if (astray && !round->corrected && got->next_begin_offset >= 0) {
        round->corrected = true;
        round->queue_offset = got->next_begin_offset;
        if (pop->kind != POP_KIND_PEEK)
            pop_ledger_begin_at(pop->bl->broker->pop_ledger, round->taken, round->queue_offset);
        return true;
    }
    if (got->status == GET_FOUND && got->count > 0) {
        take_found(pop, got);
    } else {
        release(got);
        take_nothing(pop, got);
    }
    return false;
}

/* --- reading --- */

static void run(struct pop *pop);

/* On the loop again, with what was read. */
static void cold_resume(struct loop_task *task)
{
    struct cold_pop *cold = list_entry(task, struct cold_pop, task);
    struct cold_read *read = &cold->read;
    struct pop *pop = cold->pop;
    struct pop_round *round = pop->round;
    pop->cold = NULL;
    stats_get_time(pop->bl->broker->stats,
                   clock_monotonic_ms(pop->bl->broker->clock) - cold->begun_ms);
    if (read->status != STATUS_OK || pop->ended) {
        if (read->status == STATUS_OK)
            release(&read->result);
        give_nothing(pop);
    } else if (settle_queue(pop, &read->result)) {
        give_nothing(pop); /* the next round reads from there */
        count_rest(round, 1);
    }
    bool failed = read->status == STATUS_IO && round->found == 0 && !pop->ended;
    if (failed)
        pop_round_failed(pop, RESPONSE_SYSTEM_ERROR, read->err.text);
    else if (pop->ended)
        pop_round_done(pop);
    else
        run(pop);
    arena_release(&read->arena);
    free(cold);
}

/* On a thread of the store. */
static void cold_done(struct cold_read *read)
{
    struct cold_pop *cold = (struct cold_pop *)(void *)read;
    loop_post(cold->pop->bl->loop, &cold->task);
}

void pop_cancel_cold(struct pop *pop)
{
    if (pop->cold != NULL)
        atomic_store(&pop->cold->read.cancelled, true);
}

/* Hand the queue to the cold readers; false when they have too much to do. */
static bool read_from_disk(struct pop *pop)
{
    struct broker *broker = pop->bl->broker;
    struct cold_pop *cold = xcalloc(1, sizeof *cold);
    cold->read.request = request_of(pop);
    cold->read.client = (uint64_t)pop->to.conn.slot * (uint64_t)broker->loop_count +
                        (uint64_t)loop_index(pop->bl->loop);
    cold->read.done = cold_done;
    cold->task.run = cold_resume;
    cold->pop = pop;
    cold->begun_ms = clock_monotonic_ms(broker->clock);
    arena_init(&cold->read.arena, 1024);
    pop->cold = cold;
    if (store_read_cold(broker->store, &cold->read) == STATUS_OK)
        return true;
    pop->cold = NULL;
    arena_release(&cold->read.arena);
    free(cold);
    return false;
}

int64_t pop_first_offset(struct broker *broker, struct queue *queue, bool retry, int32_t init_mode)
{
    int64_t min = queue_min_offset(queue);
    int64_t max = queue_max_offset(queue);
    struct queue_entry entry;
    if (init_mode == INIT_MODE_MIN || retry)
        return min;
    /* A queue that is in memory from its beginning is consumed from there. */
    if (min <= 0 && max > 0 && queue_entry_in_memory(queue, 0) &&
        queue_entry_at(queue, 0, &entry) &&
        store_appended_pos(broker->store) - entry.pos < broker_hot_bytes(broker))
        return 0;
    return max > 0 ? max - 1 : 0;
}

/* NOTIFICATION: is there something? */
static void look_only(struct pop *pop)
{
    struct broker *broker = pop->bl->broker;
    struct pop_round *round = pop->round;
    int64_t offset =
        pop_ledger_next_offset(broker->pop_ledger, topic_of(pop), pop->group, round->queue_id);
    if (offset < 0)
        offset = pop_first_offset(broker, round->queue, is_retry(round), pop->init_mode);
    if (queue_max_offset(round->queue) > offset)
        round->found = 1;
}

/* PEEK_MESSAGE: read where the next pop would. */
static bool peek(struct pop *pop)
{
    struct pop_round *round = pop->round;
    round->corrected = false;
    round->queue_offset = pop_ledger_next_offset(pop->bl->broker->pop_ledger, topic_of(pop),
                                                 pop->group, round->queue_id);
    if (round->queue_offset < 0)
        round->queue_offset = queue_min_offset(round->queue);
    return queue_max_offset(round->queue) > round->queue_offset;
}

/* In order: has the group an answer of the queue that is not done? Looked at again when it is. */
static bool is_held_up(struct pop *pop)
{
    struct pop_round *round = pop->round;
    struct pop_order_queue queue = {pop->topic, pop->group, round->queue_id};
    if (!pop->order)
        return false;
    int64_t until_ms = pop_orders_held_until(pop->bl->broker->pop_orders, &queue,
                                             round->queue_offset, pop->attempt, round->pop_time_ms);
    if (until_ms != 0 && (round->free_ms == 0 || until_ms < round->free_ms))
        round->free_ms = until_ms;
    return until_ms != 0;
}

/* Take the queue that the round has come to; false when there is nothing to read. */
static bool take(struct pop *pop)
{
    struct broker *broker = pop->bl->broker;
    struct pop_round *round = pop->round;
    int64_t max = queue_max_offset(round->queue);
    enum pop_take took =
        pop_ledger_take(broker->pop_ledger, topic_of(pop), pop->group, round->queue_id,
                        round->pop_time_ms, &round->taken, &round->queue_offset);
    round->corrected = false;
    if (took != POP_TAKE_OK) {
        if (took == POP_TAKE_BUSY && max > round->queue_offset && round->queue_offset >= 0)
            round->rest += max - round->queue_offset;
        return false;
    }
    if (round->queue_offset < 0) {
        round->queue_offset =
            pop_first_offset(broker, round->queue, is_retry(round), pop->init_mode);
        pop_ledger_begin_at(broker->pop_ledger, round->taken, round->queue_offset);
    }
    if (max != round->queue_offset && !is_held_up(pop))
        return true;
    give_nothing(pop);
    return false;
}

/* The queues behind a full answer: is anything left in one of them? */
static void look_for_rest(struct pop *pop)
{
    struct pop_round *round = pop->round;
    int64_t offset = pop_ledger_next_offset(pop->bl->broker->pop_ledger, topic_of(pop), pop->group,
                                            round->queue_id);
    count_rest(round, queue_max_offset(round->queue) - (offset < 0 ? 0 : offset));
}

/* Read the queue that was taken; false when the round is in the hands of the cold readers, or over
 * because they have too much to do. */
static bool read_queue(struct pop *pop)
{
    struct broker *broker = pop->bl->broker;
    struct pop_round *round = pop->round;
    bool again = true;
    while (again) {
        struct get_request request = request_of(pop);
        struct get_result got;
        int64_t started_ms = clock_monotonic_ms(broker->clock);
        bool here = store_try_get(broker->store, &request, &round->arena, &got);
        stats_get_time(broker->stats, clock_monotonic_ms(broker->clock) - started_ms);
        if (!here) {
            if (read_from_disk(pop))
                return false;
            give_nothing(pop);
            if (round->found > 0)
                return true;
            pop_round_failed(pop, RESPONSE_SYSTEM_BUSY,
                             "[OVERLOAD]system busy, start flow control for a while: too many "
                             "pulls wait for the broker's disk; try again later");
            return false;
        }
        again = settle_queue(pop, &got);
    }
    return true;
}

static void run(struct pop *pop)
{
    struct pop_round *round = pop->round;
    for (int visited = 0; next_queue(pop); visited++) {
        if (pop->kind == POP_KIND_NOTIFY) {
            look_only(pop);
            if (round->found > 0)
                break;
        } else if (is_full(pop)) {
            look_for_rest(pop);
            if (round->more)
                break;
        } else if ((pop->kind == POP_KIND_PEEK ? peek(pop) : take(pop)) && !read_queue(pop)) {
            return;
        }
        if (visited == TURN_QUEUES_MAX) { /* the rest when others have had their turn */
            loop_post(pop->bl->loop, &pop->poll.woken);
            return;
        }
    }
    pop_round_done(pop);
}

void pop_round_go_on(struct pop *pop)
{
    if (pop->ended)
        pop_round_done(pop);
    else
        run(pop);
}

void pop_round_run(struct pop *pop)
{
    struct broker_loop *bl = pop->bl;
    struct pop_round *round = xcalloc(1, sizeof *round);
    pop->round = round;
    arena_init(&round->arena, 1024);
    /* First of all: what comes, or becomes ready, from here on is seen by the wait. */
    struct poll_target target = {.topic = pop->topic, .group = pop->group};
    round->mark = pop_polls_mark(bl->broker->pop_polls, &target);
    round->retry_first =
        (int64_t)broker_loop_random(bl, 100) < bl->broker->conf.popFromRetryProbability;
    round->old_retry = has_old_retry(pop) && broker_loop_random(bl, 2) == 0;
    round->first = broker_loop_random(bl, TOPIC_QUEUES_MAX);
    round->pop_time_ms = clock_wall_ms(bl->broker->clock);
    round->revive_queue = pop->order ? POP_ORDER_REVIVE_QUEUE
                                     : (int32_t)(bl->next_revive_queue++ % POP_REVIVE_QUEUES);
    round->part = pop_ledger_ready(bl->broker->pop_ledger) ? ROUND_RETRY_FIRST : ROUND_END;
    round->count = -1;
    run(pop);
}
