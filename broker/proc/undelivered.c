/* SPDX-License-Identifier: Apache-2.0
 *
 * Queues are in the order of the log, so the first message of each that is not done tells all. What
 * is done is taken from what is kept of it (offsets, the delay table): never ahead of the disk.
 */
#include "broker/proc/undelivered.h"

#include "broker/state/half_message.h"
#include "broker/state/pop_ledger.h"

#define POPPED_PERIOD_MS 10000
#define POPPED_MS_MAX (3 * 86400000LL) /* as long as a timer may take, if nothing else is set */

/* Where the message at an offset, or the first one behind it, lies; INT64_MAX: there is none. */
static int64_t pos_from(struct broker *broker, struct slice topic, int32_t queue_id, int64_t offset)
{
    struct queue *queue = store_queue(broker->store, topic, queue_id, false);
    struct queue_entry entry;
    if (queue == NULL)
        return INT64_MAX;
    if (offset < queue_min_offset(queue))
        offset = queue_min_offset(queue);
    return queue_entry_at(queue, offset, &entry) && entry.pos >= 0 ? entry.pos : INT64_MAX;
}

/* Markers count as well: without them what has ended would be asked about. */
static int64_t first_of_transactions(struct broker *broker)
{
    const struct slice topics[] = {SLICE_LITERAL(TOPIC_TRANS_HALF),
                                   SLICE_LITERAL(TOPIC_TRANS_OP_HALF)};
    int64_t first = INT64_MAX;
    for (size_t i = 0; i < sizeof topics / sizeof topics[0]; i++) {
        int64_t done =
            offsets_get(broker->offsets, topics[i], SLICE_LITERAL(GROUP_TRANSACTIONS), 0);
        int64_t pos = pos_from(broker, topics[i], 0, done);
        if (pos < first)
            first = pos;
    }
    return first;
}

/* The master rolls them out of the part of the log that it deletes itself. */
static bool has_timers_before(struct broker *broker, int64_t end_pos)
{
    return broker_is_slave(broker) && atomic_load(&broker->master_timer_floor) < end_pos &&
           pos_from(broker, SLICE_LITERAL(TOPIC_TIMER), 0, 0) < end_pos;
}

static void take_oldest(void *ctx, struct slice topic, int32_t queue_id, int64_t queue_offset)
{
    struct broker *broker = ctx;
    int64_t pos = pos_from(broker, topic, queue_id, queue_offset);
    if (pos < broker->popped_pos)
        broker->popped_pos = pos;
}

/* Looked up now and then: it moves on by itself, as what is not acknowledged comes again. What a
 * client has taken for longer than POPPED_MS_MAX does not keep the log: else any could have the
 * disk filled with a single pop. */
static bool has_popped_before(struct broker *broker, int64_t end_pos)
{
    int64_t now_ms = clock_monotonic_ms(broker->clock);
    if (broker->pop_ledger == NULL)
        return false;
    if (!pop_ledger_ready(broker->pop_ledger))
        return true;
    if (broker->popped_ms == 0 || now_ms - broker->popped_ms >= POPPED_PERIOD_MS) {
        broker->popped_pos = INT64_MAX;
        broker->popped_ms = now_ms;
        pop_ledger_oldest(broker->pop_ledger, clock_wall_ms(broker->clock) + POPPED_MS_MAX,
                          take_oldest, broker);
    }
    return broker->popped_pos < end_pos;
}

const char *undelivered_before(void *ctx, int64_t end_pos)
{
    struct broker *broker = ctx;
    if (delay_first_pos(broker->delay) < end_pos)
        return "delayed messages";
    if (first_of_transactions(broker) < end_pos)
        return "messages of transactions";
    if (has_popped_before(broker, end_pos))
        return "popped messages";
    if (has_timers_before(broker, end_pos))
        return "timers of the master";
    return NULL;
}
