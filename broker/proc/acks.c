/* SPDX-License-Identifier: Apache-2.0
 *
 * The list of sends on their way to being acknowledged.
 *
 * `turn` holds the sends of the batch that is being put together, in the order of its records.
 * acks_commit appends the batch, then answers each send or moves it to `waiting`, a first-in-
 * first-out ring: log positions grow along it, so one comparison with the flushed watermark tells
 * how many may be answered. Nothing here blocks; the flush thread's news arrives as a posted task.
 *
 * An entry of `waiting` that the disk does not reach within syncFlushTimeout is answered
 * FLUSH_DISK_TIMEOUT: the message is stored, but its durability was not confirmed in time.
 */
#include "broker/proc/acks.h"

#include "common/base/buf.h"
#include "common/base/check.h"
#include "common/base/number.h"
#include "proto/properties.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define DEADLINE_CHECK_MS 50

/* A send in the batch of this turn. */
struct pending_send {
    struct reply_to to;
    int32_t queue_id;
    int32_t records;
    bool silent;
    bool wait;
    struct meter *meter; /* of the topic; may be NULL */
    bool recall;
    char *timer_text; /* malloc'ed: the handle of a timer, or of a recall the msgId; may be NULL */
};

/* A send that is in the log and waits for the disk. */
struct waiting_send {
    struct reply_to to;
    bool bare; /* no send: the answer has no fields, only `end_pos` and `deadline_ms` count */
    int32_t queue_id;
    int64_t queue_offset;
    int64_t pos;
    int64_t end_pos;
    int64_t deadline_ms;
    char *batch_ids; /* malloc'ed list of message ids for more than one record, else NULL */
    bool recall;
    char *timer_text; /* as above */
};

/* Stored and not counted yet. */
struct run {
    struct meter *meter;
    int64_t messages;
    int64_t bytes;
    int64_t requests;
};

struct acks {
    struct broker_loop *bl;
    struct run run;
    struct pending_send *turn;
    size_t turn_count;
    size_t turn_capacity;
    struct waiting_send *waiting; /* ring; capacity is a power of two */
    size_t first;
    size_t waiting_count;
    size_t waiting_capacity;
    struct loop_timer *timer;
    bool timer_set;
    struct loop_task flushed_task;
    _Atomic bool flushed_posted;
    _Atomic bool anyone_waits;
};

static void answer_flushed(struct acks *acks);
static void flushed_run(struct loop_task *task);
static void deadline_check(void *ctx);
static void turn_end(void *ctx);

struct acks *acks_new(struct broker_loop *bl)
{
    struct acks *acks = xcalloc(1, sizeof *acks);
    acks->bl = bl;
    acks->flushed_task.run = flushed_run;
    acks->timer = loop_timer_new(bl->loop, deadline_check, acks);
    loop_on_turn_end(bl->loop, turn_end, acks);
    return acks;
}

void acks_free(struct acks *acks)
{
    for (size_t i = 0; i < acks->waiting_count; i++) {
        free(acks->waiting[(acks->first + i) & (acks->waiting_capacity - 1)].batch_ids);
        free(acks->waiting[(acks->first + i) & (acks->waiting_capacity - 1)].timer_text);
    }
    for (size_t i = 0; i < acks->turn_count; i++)
        free(acks->turn[i].timer_text);
    loop_timer_free(acks->timer);
    free(acks->turn);
    free(acks->waiting);
    free(acks);
}

size_t acks_pending(const struct acks *acks)
{
    return acks->turn_count + acks->waiting_count;
}

static void turn_push(struct acks *acks, struct pending_send pending)
{
    if (acks->turn_count == acks->turn_capacity) {
        acks->turn_capacity = acks->turn_capacity == 0 ? 64 : acks->turn_capacity * 2;
        acks->turn = xrealloc(acks->turn, acks->turn_capacity * sizeof *acks->turn);
    }
    acks->turn[acks->turn_count++] = pending;
}

void acks_add(struct acks *acks, struct reply_to to, struct slice topic, int32_t queue_id,
              int records, bool wait)
{
    struct meter *meter = topic_stats_put_meter(acks->bl->meters, topic);
    turn_push(
        acks,
        (struct pending_send){
            .to = to, .queue_id = queue_id, .records = records, .wait = wait, .meter = meter});
}

void acks_set_recall_handle(struct acks *acks, char *handle)
{
    acks->turn[acks->turn_count - 1].timer_text = handle;
}

void acks_add_recall(struct acks *acks, struct reply_to to, struct slice topic,
                     struct slice unique_key)
{
    struct meter *meter = topic_stats_put_meter(acks->bl->meters, topic);
    char *text = xmalloc(unique_key.size + 1);
    memcpy(text, unique_key.data, unique_key.size);
    text[unique_key.size] = '\0';
    turn_push(acks, (struct pending_send){.to = to,
                                          .records = 1,
                                          .wait = true,
                                          .meter = meter,
                                          .recall = true,
                                          .timer_text = text});
}

void acks_add_silent(struct acks *acks, int records)
{
    turn_push(acks, (struct pending_send){.records = records, .silent = true});
}

/* The fields that every answer to a send carries. Appended to `fields`; returns the new count. */
static uint32_t region_fields(struct broker *broker, struct ext_field *fields, uint32_t count)
{
    const char *region = broker->conf.regionId;
    fields[count++] = (struct ext_field){SLICE_LITERAL(PROPERTY_MSG_REGION), slice_of_cstr(region)};
    fields[count++] =
        (struct ext_field){SLICE_LITERAL(PROPERTY_TRACE_ON),
                           broker->conf.traceOn ? SLICE_LITERAL("true") : SLICE_LITERAL("false")};
    return count;
}

void send_fail(struct broker *broker, struct reply_to to, int32_t code, const char *remark)
{
    struct ext_field fields[2];
    struct response response = {.code = code, .remark = remark};
    response.ext = (struct ext_map){
        .fields = fields, .count = region_fields(broker, fields, 0), .present = true};
    net_reply(to, &response);
}

static void answer_recall(struct broker *broker, const struct waiting_send *send, bool stored)
{
    struct ext_field fields[2] = {
        {SLICE_LITERAL(PROPERTY_MSG_REGION), slice_of_cstr(broker->conf.regionId)},
        {SLICE_LITERAL("msgId"), slice_of_cstr(send->timer_text)},
    };
    struct response response = {.code = stored ? RESPONSE_SUCCESS : RESPONSE_SYSTEM_ERROR,
                                .remark = stored ? NULL : "recall failed, execute error"};
    response.ext = (struct ext_map){.fields = fields, .count = stored ? 2 : 1, .present = true};
    net_reply(send->to, &response);
}

static void answer(struct broker *broker, const struct waiting_send *send, int32_t code)
{
    if (send->recall) {
        answer_recall(broker, send, code == RESPONSE_SUCCESS);
        return;
    }
    char id[MESSAGE_ID_TEXT_BYTES];
    char queue_text[I64_TEXT_BYTES];
    char offset_text[I64_TEXT_BYTES];
    struct slice ids = send->batch_ids != NULL
                           ? slice_of_cstr(send->batch_ids)
                           : slice_of(id, message_id_format(&broker->store_host, send->pos, id));
    uint32_t count = 3;
    struct ext_field fields[6] = {
        {SLICE_LITERAL("msgId"), ids},
        {SLICE_LITERAL("queueId"), slice_of(queue_text, format_i64(send->queue_id, queue_text))},
        {SLICE_LITERAL("queueOffset"),
         slice_of(offset_text, format_i64(send->queue_offset, offset_text))},
    };
    if (send->timer_text != NULL)
        fields[count++] =
            (struct ext_field){SLICE_LITERAL("recallHandle"), slice_of_cstr(send->timer_text)};
    struct response response = {.code = code};
    response.ext = (struct ext_map){
        .fields = fields, .count = region_fields(broker, fields, count), .present = true};
    net_reply(send->to, &response);
}

static void answer_bare(struct reply_to to, bool flushed)
{
    struct response response = {.code = flushed ? RESPONSE_SUCCESS : RESPONSE_SYSTEM_ERROR,
                                .remark = flushed ? NULL : "FLUSH_DISK_TIMEOUT"};
    net_reply(to, &response);
}

/* The code of a send that is in the log and as durable as it asked for. */
static int32_t accepted_code(const struct broker *broker, bool wait)
{
    if (wait && broker->conf.brokerRole == BROKER_ROLE_SYNC_MASTER)
        return RESPONSE_SLAVE_NOT_AVAILABLE;
    return RESPONSE_SUCCESS;
}

/* As in 4.9.2 the slave's fault hides the disk's. */
static int32_t timeout_code(const struct broker *broker)
{
    return broker->conf.brokerRole == BROKER_ROLE_SYNC_MASTER ? RESPONSE_SLAVE_NOT_AVAILABLE
                                                              : RESPONSE_FLUSH_DISK_TIMEOUT;
}

static void refuse(struct broker *broker, struct reply_to to, enum put_status status)
{
    char why[256];
    char remark[768];
    switch (status) {
    case PUT_MESSAGE_ILLEGAL:
        send_fail(broker, to, RESPONSE_MESSAGE_ILLEGAL,
                  "the message is illegal, maybe msg body or properties length not matched. The "
                  "limits are maxMessageSize for the whole record and 32767 bytes for the "
                  "properties.");
        return;
    case PUT_CREATE_FILE_FAILED:
        send_fail(broker, to, RESPONSE_SYSTEM_ERROR,
                  "create mapped file failed, server is busy or broken. See the broker's log for "
                  "the file and the cause.");
        return;
    case PUT_OK:
    case PUT_SERVICE_NOT_AVAILABLE:
        break;
    }
    struct store_disk disk = store_disk(broker->store);
    if (store_writable(broker->store, why, sizeof why))
        why[0] = '\0';
    (void)snprintf(remark, sizeof remark,
                   "service not available now. It may be caused by one of the following reasons: "
                   "the broker's disk is full [CL: %5.2f CQ: %5.2f INDEX: %5.2f], messages are put "
                   "to the slave, message store has been shut down, etc. %s",
                   store_disk_ratio(disk.commit_log_percent), store_disk_ratio(disk.queues_percent),
                   store_disk_ratio(disk.queues_percent), why);
    size_t length = strlen(remark);
    if (length > 0 && remark[length - 1] == ' ')
        remark[length - 1] = '\0';
    send_fail(broker, to, RESPONSE_SERVICE_NOT_AVAILABLE, remark);
}

static char *batch_ids(const struct broker *broker, const struct append_result *results, int count)
{
    char *ids = xmalloc((size_t)count * (MESSAGE_ID_TEXT_BYTES + 1));
    char *end = ids;
    for (int i = 0; i < count; i++) {
        if (i > 0)
            *end++ = ',';
        end += message_id_format(&broker->store_host, results[i].pos, end);
    }
    *end = '\0';
    return ids;
}

static void waiting_push(struct acks *acks, const struct waiting_send *send)
{
    if (acks->waiting_count == acks->waiting_capacity) {
        size_t capacity = acks->waiting_capacity == 0 ? 256 : acks->waiting_capacity * 2;
        struct waiting_send *ring = xmalloc(capacity * sizeof *ring);
        for (size_t i = 0; i < acks->waiting_count; i++)
            ring[i] = acks->waiting[(acks->first + i) & (acks->waiting_capacity - 1)];
        free(acks->waiting);
        acks->waiting = ring;
        acks->waiting_capacity = capacity;
        acks->first = 0;
    }
    acks->waiting[(acks->first + acks->waiting_count++) & (acks->waiting_capacity - 1)] = *send;
}

static struct waiting_send *waiting_front(struct acks *acks)
{
    return acks->waiting_count == 0 ? NULL : &acks->waiting[acks->first];
}

/* Answer the first one. flushed  the disk has it, else its time is up */
static void waiting_pop(struct acks *acks, bool flushed)
{
    struct broker *broker = acks->bl->broker;
    struct waiting_send *send = &acks->waiting[acks->first];
    if (send->bare)
        answer_bare(send->to, flushed);
    else
        answer(broker, send, flushed ? accepted_code(broker, true) : timeout_code(broker));
    free(send->batch_ids);
    free(send->timer_text);
    acks->first = (acks->first + 1) & (acks->waiting_capacity - 1);
    acks->waiting_count--;
}

/* Sends to one topic come in runs, which are counted together. */
static void count_run(struct acks *acks)
{
    struct run *run = &acks->run;
    if (run->requests == 0)
        return;
    stats_put(acks->bl->broker->stats, run->messages, run->bytes);
    topic_stats_put(acks->bl->meters, run->meter, run->messages, run->bytes, run->requests);
    *run = (struct run){0};
}

static void count(struct acks *acks, const struct pending_send *pending, int64_t bytes)
{
    if (acks->run.meter != pending->meter)
        count_run(acks);
    acks->run.meter = pending->meter;
    acks->run.messages += pending->records;
    acks->run.bytes += bytes;
    acks->run.requests++;
}

/* One send of the batch has its results: answer it or let it wait for the disk. */
static void settle(struct acks *acks, const struct pending_send *pending,
                   const struct append_result *results)
{
    struct broker *broker = acks->bl->broker;
    if (results[0].status != PUT_OK) {
        if (pending->recall)
            net_reply_error(pending->to, RESPONSE_SYSTEM_ERROR, "recall failed, execute error");
        else if (!pending->silent)
            refuse(broker, pending->to, results[0].status);
        free(pending->timer_text);
        return;
    }
    if (pending->silent) {
        stats_put(broker->stats, pending->records,
                  results[pending->records - 1].end_pos - results[0].pos);
        return;
    }
    count(acks, pending, results[pending->records - 1].end_pos - results[0].pos);
    struct waiting_send send = {
        .to = pending->to,
        .queue_id = pending->queue_id,
        .queue_offset = results[0].queue_offset,
        .pos = results[0].pos,
        .end_pos = results[pending->records - 1].end_pos,
        .recall = pending->recall,
        .timer_text = pending->timer_text,
    };
    if (pending->records > 1)
        send.batch_ids = batch_ids(broker, results, pending->records);
    if (pending->wait && broker->conf.flushDiskType == FLUSH_DISK_SYNC) {
        send.deadline_ms = loop_now_ms(acks->bl->loop) + broker->conf.syncFlushTimeout;
        waiting_push(acks, &send);
        return;
    }
    answer(broker, &send, accepted_code(broker, pending->wait));
    free(send.batch_ids);
    free(send.timer_text);
}

void acks_commit(struct acks *acks)
{
    struct append_batch *batch = acks->bl->batch;
    if (acks->turn_count == 0)
        return;
    int64_t started_ms = clock_monotonic_ms(acks->bl->broker->clock);
    const struct append_result *results = store_append(acks->bl->broker->store, batch);
    for (size_t i = 0; i < acks->turn_count; i++) {
        settle(acks, &acks->turn[i], results);
        results += acks->turn[i].records;
    }
    count_run(acks);
    stats_put_time(acks->bl->broker->stats, (int64_t)acks->turn_count,
                   clock_monotonic_ms(acks->bl->broker->clock) - started_ms);
    acks->turn_count = 0;
    append_batch_clear(batch);
    if (acks->waiting_count > 0) {
        atomic_store(&acks->anyone_waits, true);
        /* The flush thread may have passed before anyone_waits was set. */
        answer_flushed(acks);
    }
}

/* --- calls that a worker served --- */

struct stored_call {
    struct loop_task task;
    struct acks *acks;
    struct reply_to to;
    int64_t end_pos;
};

/* It may lie before what waits already, and is then answered along with it: late, never early. */
static void stored_run(struct loop_task *task)
{
    struct stored_call *stored = (struct stored_call *)(void *)task;
    struct acks *acks = stored->acks;
    struct waiting_send send = {
        .to = stored->to,
        .bare = true,
        .end_pos = stored->end_pos,
        .deadline_ms = loop_now_ms(acks->bl->loop) + acks->bl->broker->conf.syncFlushTimeout,
    };
    free(stored);
    waiting_push(acks, &send);
    atomic_store(&acks->anyone_waits, true);
    answer_flushed(acks);
}

void acks_answer_stored(struct broker *broker, struct reply_to to, int64_t end_pos)
{
    if (broker->conf.flushDiskType != FLUSH_DISK_SYNC || to.conn.loop == NULL) {
        answer_bare(to, true);
        return;
    }
    struct stored_call *stored = xmalloc(sizeof *stored);
    *stored = (struct stored_call){
        {NULL, stored_run}, broker->per_loop[loop_index(to.conn.loop)].acks, to, end_pos};
    loop_post(to.conn.loop, &stored->task);
}

static void turn_end(void *ctx)
{
    acks_commit(ctx);
}

/* Answer everything that the disk has; keep an eye on the deadlines of the rest. */
static void answer_flushed(struct acks *acks)
{
    int64_t flushed = store_flushed_pos(acks->bl->broker->store);
    struct waiting_send *send;
    while ((send = waiting_front(acks)) != NULL && send->end_pos <= flushed)
        waiting_pop(acks, true);
    if (acks->waiting_count == 0) {
        atomic_store(&acks->anyone_waits, false);
    } else if (!acks->timer_set) {
        acks->timer_set = true;
        loop_timer_set(acks->timer, DEADLINE_CHECK_MS);
    }
}

static void flushed_run(struct loop_task *task)
{
    struct acks *acks = (struct acks *)(void *)((char *)task - offsetof(struct acks, flushed_task));
    /* Before looking, so that a flush during the look posts again. */
    atomic_store(&acks->flushed_posted, false);
    answer_flushed(acks);
}

static void deadline_check(void *ctx)
{
    struct acks *acks = ctx;
    int64_t now_ms = loop_now_ms(acks->bl->loop);
    struct waiting_send *send;
    acks->timer_set = false;
    answer_flushed(acks);
    while ((send = waiting_front(acks)) != NULL && send->deadline_ms <= now_ms)
        waiting_pop(acks, false);
}

void acks_on_flushed(void *ctx)
{
    struct broker *broker = ctx;
    for (int i = 0; i < broker->loop_count; i++) {
        struct acks *acks = broker->per_loop[i].acks;
        if (atomic_load(&acks->anyone_waits) && !atomic_exchange(&acks->flushed_posted, true))
            loop_post(acks->bl->loop, &acks->flushed_task);
    }
}
