/* SPDX-License-Identifier: Apache-2.0
 *
 * Invariants
 * - A checkpoint is done for the ledger only after its messages have been appended to the retry
 *   topic, or can never be read again. So a crash delivers twice rather than not at all.
 * - The retry topic is in config/topics.json before the first message goes there, and a group in
 *   config/subscriptionGroup.json before a checkpoint of it is in the log.
 * - The offset of POP_LOG_GROUP is, as in 5.3.3, that of the last record which is not needed; it is
 *   stored when what made it superfluous is durable (pop_ledger_settle).
 *
 * Differs from 5.3.3: checkpoints go straight into the log instead of through the timer wheel, and
 * stay in memory until they are done, so the log is read after a start only.
 * Source: RMQ 5.3.3 broker/.../PopReviveService.java, PopBufferMergeService.java.
 */
#include "broker/state/pop_revive.h"

#include "broker/state/pop_log.h"
#include "common/base/check.h"
#include "common/base/number.h"
#include "common/sys/log.h"
#include "proto/pop_handle.h"
#include "proto/properties.h"

#include <stdatomic.h>
#include <stdlib.h>

#define WORK_MAX 128 /* also bounds what one batch delivers again: 32 messages each */
#define BATCH_BYTES_MAX (4 * 1024 * 1024)
#define REPLAY_RECORDS 1024
#define TICK_MS 50
#define IDLE_MS 100
#define FLUSH_ASK_MS 500    /* between flushes that are asked for */
#define RETRY_MS 1000       /* an append was refused */
#define READ_RETRY_MS 10000 /* the disk did not give a message */

/* A piece of work on its way into the log. */
struct delivery {
    const struct pop_work *work;
    uint32_t added; /* messages in the batch, in the order of their bits */
    uint32_t never; /* those that are done without */
    bool unread;    /* one could not be read now */
};

struct pop_revive {
    struct pop_revive_options options;
    struct append_batch *batch;
    struct arena arena;
    struct buf body;
    struct buf properties;
    struct buf name;
    struct pop_work work[WORK_MAX];
    bool replayed;
    bool has_log_topic; /* it is in the table of topics, and saved */
    int64_t replay_pos; /* end of the log when this process began */
    int64_t replay_offset[POP_REVIVE_QUEUES];
    int64_t log_done[POP_REVIVE_QUEUES]; /* as committed */
    int64_t flush_asked_ms;
    _Atomic int64_t delivered;
};

struct pop_revive *pop_revive_new(const struct pop_revive_options *options)
{
    struct pop_revive *revive = xcalloc(1, sizeof *revive);
    revive->options = *options;
    revive->batch = append_batch_new(options->store);
    revive->replay_pos = store_appended_pos(options->store);
    arena_init(&revive->arena, 16384);
    for (int i = 0; i < POP_REVIVE_QUEUES; i++) {
        revive->log_done[i] = offsets_get(options->offsets, slice_of_cstr(options->log_topic),
                                          SLICE_LITERAL(POP_LOG_GROUP), i);
        revive->replay_offset[i] = revive->log_done[i] + 1;
    }
    return revive;
}

void pop_revive_free(struct pop_revive *revive)
{
    append_batch_free(revive->batch);
    arena_release(&revive->arena);
    buf_release(&revive->body);
    buf_release(&revive->properties);
    buf_release(&revive->name);
    free(revive);
}

int64_t pop_revive_count(const struct pop_revive *revive)
{
    return atomic_load(&revive->delivered);
}

static struct queue *log_queue(const struct pop_revive *revive, int32_t queue_id, bool create)
{
    return store_queue(revive->options.store, slice_of_cstr(revive->options.log_topic), queue_id,
                       create);
}

/* --- reading the log after a start --- */

static void complain_of_record(const struct pop_revive *revive, int32_t queue_id, int64_t offset,
                               const char *cause)
{
    static struct log_gate gate;
    int64_t swallowed;
    if (log_gate_open(&gate, &swallowed))
        log_error("pop", "record of the revive log left out",
                  "topic=%s queue=%d offset=%lld cause=\"%s\" others=%lld",
                  revive->options.log_topic, (int)queue_id, (long long)offset, cause,
                  (long long)swallowed);
}

static void replay_record(struct pop_revive *revive, int32_t queue_id, int64_t offset,
                          const struct record *record)
{
    struct slice tag = SLICE_EMPTY;
    struct pop_view view;
    struct pop_name name;
    int64_t *offsets;
    size_t count;
    enum status status = STATUS_MALFORMED;
    (void)properties_find(record->properties, SLICE_LITERAL(PROPERTY_TAGS), &tag);
    if (slice_is(tag, POP_LOG_TAG_POINT)) {
        status = pop_log_decode_point(record->body, &revive->arena, &view);
        view.revive_queue = queue_id;
        if (status == STATUS_OK)
            status = pop_ledger_replay(revive->options.ledger, &view, offset);
    } else if (slice_is(tag, POP_LOG_TAG_ACK) || slice_is(tag, POP_LOG_TAG_ACKS)) {
        status = pop_log_decode_acks(record->body, &revive->arena, &name, &offsets, &count);
        if (status == STATUS_OK)
            pop_ledger_replay_acks(revive->options.ledger, &name, offsets, count);
    }
    if (status != STATUS_OK)
        complain_of_record(revive, queue_id, offset, status_text(status));
}

static void replay_one(struct pop_revive *revive, int32_t queue_id, int64_t offset,
                       const struct queue_entry *entry)
{
    struct log_range range;
    struct record record;
    enum status status = entry->pos < 0
                             ? STATUS_NOT_FOUND
                             : store_read_record(revive->options.store, entry->pos, &range);
    if (status != STATUS_OK) {
        complain_of_record(revive, queue_id, offset, status_text(status));
        return;
    }
    status = record_decode(slice_of(range.data, range.size), RECORD_CHECK_CRC, &record);
    if (status == STATUS_OK)
        replay_record(revive, queue_id, offset, &record);
    else
        complain_of_record(revive, queue_id, offset, status_text(status));
    log_range_release(&range);
    arena_reset(&revive->arena);
}

/* A bounded part of one revive queue; true when all of it was read. */
static bool replay_queue(struct pop_revive *revive, int32_t queue_id)
{
    struct queue *queue = log_queue(revive, queue_id, false);
    struct queue_entry entry;
    if (queue == NULL)
        return true;
    int64_t *offset = &revive->replay_offset[queue_id];
    if (*offset < queue_min_offset(queue))
        *offset = queue_min_offset(queue); /* the rest has expired, as its messages have */
    for (int i = 0; i < REPLAY_RECORDS; i++) {
        if (*offset >= queue_max_offset(queue))
            return true;
        if (queue_entry_at(queue, *offset, &entry))
            replay_one(revive, queue_id, *offset, &entry);
        else
            complain_of_record(revive, queue_id, *offset, "its queue cannot be read");
        (*offset)++;
    }
    return false;
}

/* True when the ledger is as it was. Not before dispatch has seen what the log held at the start:
 * until then the queues are too short. */
static bool replay(struct pop_revive *revive)
{
    bool all = true;
    if (store_dispatched_pos(revive->options.store) < revive->replay_pos)
        return false;
    for (int i = 0; i < POP_REVIVE_QUEUES; i++) {
        int64_t done[POP_REVIVE_QUEUES];
        all &= replay_queue(revive, i);
        /* Of what was done before, nothing is kept. All that is read here is in the log. */
        (void)pop_ledger_settle(revive->options.ledger, INT64_MAX, 0, done);
    }
    if (all) {
        size_t points = pop_ledger_points(revive->options.ledger);
        pop_ledger_set_ready(revive->options.ledger);
        if (points > 0)
            log_info("pop", "checkpoints read back", "points=%zu", points);
    }
    return all;
}

/* --- delivering again --- */

enum delivered {
    DELIVERED,       /* in the batch */
    DELIVERED_NEVER, /* there is no such message */
    DELIVERED_LATER,
};

/* The normal topic of a retry topic of the group. */
static struct slice normal_topic(const struct pop_view *view)
{
    size_t prefix = sizeof TOPIC_RETRY_PREFIX - 1 + view->group.size + 1;
    if (!slice_starts_with(view->topic, SLICE_LITERAL(TOPIC_RETRY_PREFIX)) ||
        view->topic.size <= prefix)
        return view->topic;
    return slice_from(view->topic, prefix);
}

/* The pop retry topic, made and saved when it is not there. False: not now. */
static bool need_retry_topic(struct pop_revive *revive, const struct pop_view *view)
{
    const struct pop_revive_options *options = &revive->options;
    struct topic_config topic;
    struct err err = {0};
    bool created = false;
    struct slice name = buf_slice(&revive->name);
    if (topics_get(options->topics, name, &topic) && topic.saved)
        return true;
    if (topics_ensure(options->topics, name, 1, PERM_READ | PERM_WRITE, 0, &topic, &created) !=
            STATUS_OK ||
        topics_persist(options->topics, &err) != STATUS_OK)
        return false;
    if (offsets_get(options->offsets, name, view->group, 0) < 0 &&
        offsets_commit(options->offsets, name, view->group, 0, 0) != STATUS_OK)
        log_warn("pop", "offset of a retry topic not stored", "topic=%.*s", SLICE_ARGS(name));
    if (options->on_topic != NULL)
        options->on_topic(options->ctx, normal_topic(view), view->group, name);
    return true;
}

/* The copy of a message that comes again; its strings are the module's buffers. */
static void retry_record(struct pop_revive *revive, const struct pop_view *view,
                         struct record *record)
{
    struct slice value;
    struct slice name;
    size_t cursor = 0;
    char text[I64_TEXT_BYTES];
    bool has_first =
        record->reconsume_times > 0 &&
        properties_find(record->properties, SLICE_LITERAL(PROPERTY_FIRST_POP_TIME), &value);
    buf_clear(&revive->properties);
    while (properties_next(record->properties, &cursor, &name, &value))
        if (has_first || !slice_is(name, PROPERTY_FIRST_POP_TIME))
            properties_append(&revive->properties, name, value);
    if (!has_first)
        properties_append(&revive->properties, SLICE_LITERAL(PROPERTY_FIRST_POP_TIME),
                          slice_of(text, format_i64(view->pop_time_ms, text)));
    record->topic = buf_slice(&revive->name);
    record->queue_id = 0;
    record->properties = buf_slice(&revive->properties);
    record->reconsume_times++;
    record->born_host = revive->options.store_host;
    record->store_host = revive->options.store_host;
    record->prepared_transaction_offset = 0;
}

static void complain_of_message(const struct pop_view *view, int64_t offset, const char *what,
                                const char *cause)
{
    static struct log_gate gate;
    int64_t swallowed;
    if (log_gate_open(&gate, &swallowed))
        log_error("pop", what,
                  "topic=%.*s group=%.*s queue=%d offset=%lld cause=\"%s\" others=%lld",
                  SLICE_ARGS(view->topic), SLICE_ARGS(view->group), (int)view->queue_id,
                  (long long)offset, cause, (long long)swallowed);
}

/* returns  OK | NOT_FOUND (it has expired) | IO (it, or its queue's entry, cannot be read now) */
static enum status find_record(struct store *store, struct queue *queue, int64_t offset,
                               struct log_range *range)
{
    struct queue_entry entry;
    if (queue == NULL || offset < queue_min_offset(queue) || offset >= queue_max_offset(queue))
        return STATUS_NOT_FOUND;
    if (!queue_entry_at(queue, offset, &entry))
        return offset < queue_min_offset(queue) ? STATUS_NOT_FOUND : STATUS_IO;
    return entry.pos < 0 ? STATUS_NOT_FOUND : store_read_record(store, entry.pos, range);
}

static enum delivered deliver_one(struct pop_revive *revive, struct delivery *delivery,
                                  int64_t offset)
{
    const struct pop_view *view = &delivery->work->view;
    struct store *store = revive->options.store;
    struct queue *queue = store_queue(store, view->topic, view->queue_id, false);
    struct log_range range;
    struct record record;
    enum delivered result = DELIVERED_NEVER;
    enum status status = find_record(store, queue, offset, &range);
    if (status == STATUS_IO) {
        complain_of_message(view, offset, "message cannot be read, trying again",
                            status_text(status));
        return DELIVERED_LATER;
    }
    if (status != STATUS_OK)
        return DELIVERED_NEVER; /* it has expired */
    if (record_decode(slice_of(range.data, range.size), RECORD_CHECK_CRC, &record) != STATUS_OK) {
        complain_of_message(view, offset, "message not delivered again", "its record is damaged");
    } else {
        retry_record(revive, view, &record);
        struct queue *retry = store_queue(store, record.topic, 0, true);
        if (retry != NULL &&
            append_batch_add_again(revive->batch, retry, &record, false, delivery) == STATUS_OK)
            result = DELIVERED;
        else
            complain_of_message(view, offset, "message not delivered again",
                                "with the name of its retry topic it is too large");
    }
    log_range_release(&range);
    return result;
}

/* Put what is open of a checkpoint into the batch. */
static void deliver(struct pop_revive *revive, struct delivery *delivery)
{
    const struct pop_view *view = &delivery->work->view;
    struct topic_config topic;
    struct group_config group;
    struct slice normal = normal_topic(view);
    if (!topics_get(revive->options.topics, normal, &topic) ||
        !groups_get(revive->options.groups, view->group, false, &group)) {
        delivery->never = delivery->work->bits; /* deleted meanwhile */
        return;
    }
    buf_clear(&revive->name);
    if (normal.size == view->topic.size)
        pop_retry_topic(view->topic, view->group, revive->options.retry, &revive->name);
    else
        buf_append_slice(&revive->name, view->topic);
    if (!need_retry_topic(revive, view))
        return;
    for (int i = 0; i < view->count; i++) {
        uint32_t bit = UINT32_C(1) << i;
        if ((delivery->work->bits & bit) == 0)
            continue;
        enum delivered result =
            deliver_one(revive, delivery, view->start_offset + view->offsets[i]);
        delivery->added |= result == DELIVERED ? bit : 0;
        delivery->never |= result == DELIVERED_NEVER ? bit : 0;
        delivery->unread |= result == DELIVERED_LATER;
    }
}

/* --- writing the log --- */

/* The group of a checkpoint may be in memory only, since the pop that made it. After a start
 * without it what is open would be taken for that of a deleted group. */
static bool groups_are_saved(struct pop_revive *revive)
{
    struct err err = {0};
    return groups_persist(revive->options.groups, &err) == STATUS_OK;
}

/* The log's topic comes with the first checkpoint: a broker that nobody pops from has the topics of
 * 4.9.2. False: it can not be made now. */
static bool need_log_topic(struct pop_revive *revive)
{
    struct topics *topics = revive->options.topics;
    struct slice name = slice_of_cstr(revive->options.log_topic);
    struct topic_config topic;
    struct err err = {0};
    bool created = false;
    if (revive->has_log_topic)
        return true;
    revive->has_log_topic = (topics_get(topics, name, &topic) && topic.saved) ||
                            (topics_ensure(topics, name, POP_REVIVE_QUEUES, PERM_READ | PERM_WRITE,
                                           0, &topic, &created) == STATUS_OK &&
                             topics_persist(topics, &err) == STATUS_OK);
    return revive->has_log_topic;
}

static void add_log_record(struct pop_revive *revive, struct delivery *delivery, int64_t now_ms)
{
    const struct pop_work *work = delivery->work;
    bool point = work->kind == POP_WORK_STORE;
    if (!need_log_topic(revive) || (point && !groups_are_saved(revive)))
        return; /* asked for again */
    buf_clear(&revive->body);
    buf_clear(&revive->properties);
    properties_append(&revive->properties, SLICE_LITERAL(PROPERTY_TAGS),
                      point ? SLICE_LITERAL(POP_LOG_TAG_POINT) : SLICE_LITERAL(POP_LOG_TAG_ACKS));
    (point ? pop_log_encode_point : pop_log_encode_acks)(
        &work->view, work->bits, revive->options.broker_name, &revive->arena, &revive->body);
    arena_reset(&revive->arena);
    struct record record = {
        .queue_id = work->view.revive_queue,
        .born_timestamp_ms = now_ms,
        .born_host = revive->options.store_host,
        .store_host = revive->options.store_host,
        .body = buf_slice(&revive->body),
        .topic = slice_of_cstr(revive->options.log_topic),
        .properties = buf_slice(&revive->properties),
    };
    struct queue *queue = log_queue(revive, record.queue_id, true);
    if (queue == NULL ||
        append_batch_add(revive->batch, queue, &record, false, delivery) != STATUS_OK)
        complain_of_message(&work->view, work->view.start_offset, "checkpoint not stored",
                            "maxMessageSize is too small for its record");
}

/* Tell the ledger of messages that were delivered again; `results` are those of delivery->added. */
static void report_delivery(struct pop_revive *revive, const struct delivery *delivery,
                            const struct append_result *results, int64_t now_ms)
{
    const struct pop_work *work = delivery->work;
    uint32_t done = delivery->never;
    int64_t end_pos = 0;
    size_t at = 0;
    for (int i = 0; i < work->view.count; i++) {
        uint32_t bit = UINT32_C(1) << i;
        if ((delivery->added & bit) == 0)
            continue;
        if (results[at].status == PUT_OK) {
            done |= bit;
            end_pos = results[at].end_pos;
            atomic_fetch_add(&revive->delivered, 1);
        }
        at++;
    }
    if (done == work->bits)
        pop_ledger_revived(revive->options.ledger, work, end_pos);
    else
        pop_ledger_later(revive->options.ledger, work, done, end_pos,
                         now_ms + (delivery->unread ? READ_RETRY_MS : RETRY_MS));
}

static void report(struct pop_revive *revive, const struct delivery *delivery,
                   const struct append_result *results, size_t count, int64_t now_ms)
{
    const struct pop_work *work = delivery->work;
    if (work->kind == POP_WORK_REVIVE)
        report_delivery(revive, delivery, results, now_ms);
    else if (count == 0 || results[0].status != PUT_OK)
        return; /* asked for again */
    else if (work->kind == POP_WORK_STORE)
        pop_ledger_stored(revive->options.ledger, work, results[0].queue_offset,
                          results[0].end_pos);
    else
        pop_ledger_acks_written(revive->options.ledger, work, results[0].queue_offset,
                                results[0].end_pos);
}

/* Do pieces from `first` on, as many as one batch takes; returns behind the last one. */
static size_t do_some(struct pop_revive *revive, size_t first, size_t count, int64_t now_ms)
{
    struct delivery deliveries[WORK_MAX];
    size_t end = first;
    append_batch_clear(revive->batch);
    for (; end < count && append_batch_bytes(revive->batch) < BATCH_BYTES_MAX; end++) {
        struct delivery *delivery = &deliveries[end];
        *delivery = (struct delivery){.work = &revive->work[end]};
        if (delivery->work->kind == POP_WORK_REVIVE)
            deliver(revive, delivery);
        else
            add_log_record(revive, delivery, now_ms);
    }
    size_t records = append_batch_count(revive->batch);
    const struct append_result *results =
        records == 0 ? NULL : store_append(revive->options.store, revive->batch);
    size_t at = 0;
    for (size_t i = first; i < end; i++) {
        size_t begin = at;
        while (at < records && results[at].tag == &deliveries[i])
            at++;
        report(revive, &deliveries[i], results == NULL ? NULL : results + begin, at - begin,
               now_ms);
    }
    append_batch_clear(revive->batch);
    return end;
}

/* The offsets of the revive queues. */
static void commit_log_done(struct pop_revive *revive, const int64_t done[POP_REVIVE_QUEUES])
{
    for (int i = 0; i < POP_REVIVE_QUEUES; i++) {
        if (done[i] <= revive->log_done[i])
            continue;
        if (offsets_commit(revive->options.offsets, slice_of_cstr(revive->options.log_topic),
                           SLICE_LITERAL(POP_LOG_GROUP), i, done[i]) == STATUS_OK)
            revive->log_done[i] = done[i];
    }
}

/* Do what the ledger asks for now; returns how much that was. */
static size_t work(struct pop_revive *revive, int64_t now_ms)
{
    size_t count = pop_ledger_collect(revive->options.ledger, now_ms, revive->work, WORK_MAX);
    for (size_t at = 0; at < count;)
        at = do_some(revive, at, count, now_ms);
    return count;
}

void pop_revive_settle(struct pop_revive *revive, int64_t now_ms)
{
    int64_t done[POP_REVIVE_QUEUES];
    struct store *store = revive->options.store;
    bool waits = pop_ledger_settle(revive->options.ledger, store_flushed_pos(store), now_ms, done);
    commit_log_done(revive, done);
    if (!waits ||
        (now_ms - revive->flush_asked_ms < FLUSH_ASK_MS && now_ms >= revive->flush_asked_ms))
        return;
    revive->flush_asked_ms = now_ms;
    store_flush_soon(store);
}

void pop_revive_finish(struct pop_revive *revive, int64_t now_ms)
{
    if (!revive->replayed)
        return; /* nobody popped; the log is as it was */
    pop_ledger_close(revive->options.ledger);
    /* Each round does WORK_MAX or all; more rounds than checkpoints mean that writing fails. */
    size_t rounds = pop_ledger_points(revive->options.ledger) / WORK_MAX * 2 + 4;
    while (rounds-- > 0 && work(revive, now_ms) > 0)
        pop_revive_settle(revive, now_ms);
}

int64_t pop_revive_step(struct pop_revive *revive, int64_t now_ms)
{
    struct pop_ledger *ledger = revive->options.ledger;
    if (!revive->replayed) {
        revive->replayed = replay(revive);
        return revive->replayed ? 0 : 1;
    }
    size_t count = work(revive, now_ms);
    pop_revive_settle(revive, now_ms);
    if (count >= WORK_MAX / 2 && store_writable(revive->options.store, NULL, 0))
        return 0;
    int64_t due_ms = pop_ledger_due_ms(ledger);
    int64_t wait_ms = pop_ledger_points(ledger) > 0 ? TICK_MS : IDLE_MS;
    return due_ms - now_ms < wait_ms ? (due_ms > now_ms ? due_ms - now_ms : 1) : wait_ms;
}
