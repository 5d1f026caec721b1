/* SPDX-License-Identifier: Apache-2.0
 *
 * The list of sends on their way to being acknowledged.
 *
 * `turn` holds the sends of the batch that is being put together, in the order of its records.
 * acks_commit appends the batch, then answers each send or has it wait in a first-in-first-out
 * ring: log positions grow along it, so one comparison with each watermark, of the disk and of the
 * slaves, tells how many may be answered. What waits for a slave has a ring of its own, so that a
 * slave that hangs or has left holds up nobody who does not wait for it; so has what a slave that
 * came later says nothing of (promise_passed_over), which holds up nobody behind it. Nothing here
 * blocks; news of a watermark arrives as a posted task.
 *
 * While the disk is slow (appender.h) batches are handed over instead, and wait in `handed` in
 * their order; as long as one is there later ones go the same way, so that the order of a
 * connection's sends is kept. Those that have waited for waitTimeMillsInSendQueue are taken back
 * and answered SYSTEM_BUSY, like those that wait while the page cache is busy (BrokerFastFailure
 * of 4.9.2).
 *
 * An entry whose promise (promise.h) is not kept within syncFlushTimeout is answered
 * FLUSH_DISK_TIMEOUT or FLUSH_SLAVE_TIMEOUT: the message is stored, but its durability was not
 * confirmed in time. When no slave is in reach nobody waits for one: SLAVE_NOT_AVAILABLE.
 *
 * What is no send (the end of a transaction, a message sent back, a recall) waits like one, and
 * is as good with a slave that is late or missing as without: 4.9.2 answers it SUCCESS.
 */
#include "broker/proc/acks.h"

#include "broker/proc/appender.h"
#include "broker/proc/promise.h"
#include "broker/proc/send_answer.h"
#include "broker/state/transaction_ends.h"
#include "common/base/buf.h"
#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/base/number.h"
#include "proto/properties.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define DEADLINE_CHECK_MS 50

/* A batch is appended at once when it has grown to this, without waiting for the turn's end. */
#define COMMIT_AT_BYTES (1024 * 1024)
#define COMMIT_AT_RECORDS 1024

/* How long a loop waits for the append of another before it hands its own batch over. */
#define APPEND_PATIENCE_MS 10
#define QUEUE_CHECK_MS 10
/* With so many batches handed over, what comes in is gathered in the next one. */
#define HANDED_BATCHES 2

/* A send in the batch of this turn. */
struct pending_send {
    struct reply_to to;
    int32_t queue_id;
    int32_t records;
    bool silent;
    bool bare; /* no send: the answer has no fields, and no topic counts it */
    bool wait;
    struct meter *meter; /* of the topic; may be NULL */
    bool recall;
    char *timer_text; /* malloc'ed: the handle of a timer, or of a recall the msgId; may be NULL */
    acks_told told;   /* instead of an answer to `to`; NULL: none */
    void *told_ctx;
    int32_t outcome; /* of the transaction that it ends; 0: it ends none */
    int64_t origin;
};

/* The sends of one batch. */
struct sends {
    struct append_job job; /* first */
    struct acks *acks;
    struct sends *next; /* in `handed` */
    struct append_batch *batch;
    struct pending_send *list;
    size_t count;
    size_t capacity;
    int64_t since_ms; /* when the first came */
};

/* A send that is in the log and waits for the disk or a slave. */
struct waiting_send {
    struct reply_to to;
    bool bare; /* no send: the answer has no fields, only `promise` and `deadline_ms` count */
    int32_t queue_id;
    int64_t queue_offset;
    int64_t pos;
    struct promise promise;
    int64_t deadline_ms;
    char *batch_ids; /* malloc'ed list of message ids for more than one record, else NULL */
    acks_told told;  /* instead of an answer; NULL: none */
    void *told_ctx;
    bool recall;
    char *timer_text; /* as above */
};

struct ring {
    struct waiting_send *sends;
    size_t first;
    size_t count;
    size_t capacity; /* a power of two */
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
    struct sends *turn;
    struct sends *spare;  /* kept for reuse; may be NULL */
    struct sends *handed; /* oldest first */
    struct sends **handed_last;
    size_t handed_batches;
    size_t handed_bytes;
    struct loop_timer *queue_timer; /* runs while `handed` is not empty */
    bool queue_timer_set;
    _Atomic int64_t handed_sends;    /* for acks_queue, on any thread */
    _Atomic int64_t handed_since_ms; /* since when the oldest waits */
    struct ring for_slave;           /* and for the disk, too, with SYNC_FLUSH */
    struct ring for_earlier;         /* the same; lies before what is known to be on a slave */
    struct ring for_disk;
    struct loop_timer *timer;
    bool timer_set;
    struct loop_task news_task;
    _Atomic bool news_posted;
    struct loop_task dispatch_task; /* behind the answers of the batch */
    bool dispatch_posted;
    _Atomic bool anyone_waits;
};

static struct sends *sends_new(struct acks *acks);
static void sends_free(struct sends *sends);
static void check_queue(void *ctx);
static void answer_waiting(struct acks *acks);
static void news_run(struct loop_task *task);
static void deadline_check(void *ctx);
static void turn_end(void *ctx);
static void dispatch_run(struct loop_task *task);

struct acks *acks_new(struct broker_loop *bl)
{
    struct acks *acks = xcalloc(1, sizeof *acks);
    acks->bl = bl;
    acks->news_task.run = news_run;
    acks->dispatch_task.run = dispatch_run;
    acks->timer = loop_timer_new(bl->loop, deadline_check, acks);
    acks->queue_timer = loop_timer_new(bl->loop, check_queue, acks);
    acks->handed_last = &acks->handed;
    acks->turn = sends_new(acks);
    bl->batch = acks->turn->batch;
    loop_on_turn_end(bl->loop, turn_end, acks);
    return acks;
}

static void ring_release(struct ring *ring)
{
    for (size_t i = 0; i < ring->count; i++) {
        struct waiting_send *send = &ring->sends[(ring->first + i) & (ring->capacity - 1)];
        free(send->batch_ids);
        free(send->timer_text);
        if (send->told != NULL)
            send->told(send->told_ctx, NULL);
    }
    free(ring->sends);
}

void acks_free(struct acks *acks)
{
    ring_release(&acks->for_slave);
    ring_release(&acks->for_earlier);
    ring_release(&acks->for_disk);
    CHECK(acks->handed == NULL);
    loop_timer_free(acks->timer);
    loop_timer_free(acks->queue_timer);
    sends_free(acks->turn);
    sends_free(acks->spare);
    free(acks);
}

/* In the log. */
static size_t waiting_sends(const struct acks *acks)
{
    return acks->for_slave.count + acks->for_earlier.count + acks->for_disk.count;
}

bool acks_full(const struct acks *acks, int64_t under_way)
{
    int64_t capacity = acks->bl->broker->conf.sendThreadPoolQueueCapacity;
    int64_t sends = (int64_t)(acks->turn->count + waiting_sends(acks)) +
                    atomic_load_explicit(&acks->handed_sends, memory_order_relaxed);
    bool crowded = sends >= capacity - capacity / 4;
    return sends >= capacity || (crowded && under_way > capacity / 8) ||
           acks->handed_bytes >= SENDS_QUEUED_BYTES_MAX;
}

void acks_queue(const struct acks *acks, int64_t *sends, int64_t *since_ms)
{
    *sends = atomic_load_explicit(&acks->handed_sends, memory_order_relaxed);
    *since_ms = atomic_load_explicit(&acks->handed_since_ms, memory_order_relaxed);
}

/* --- batches --- */

static void handed_done(struct loop_task *task);

static struct sends *sends_new(struct acks *acks)
{
    struct sends *sends = xcalloc(1, sizeof *sends);
    sends->job.done.run = handed_done;
    sends->job.loop = acks->bl->loop;
    sends->job.batch = sends->batch = append_batch_new(acks->bl->broker->store);
    list_init(&sends->job.in_queue);
    sends->acks = acks;
    return sends;
}

static void sends_free(struct sends *sends)
{
    if (sends == NULL)
        return;
    append_batch_free(sends->batch);
    for (size_t i = 0; i < sends->count; i++)
        free(sends->list[i].timer_text);
    free(sends->list);
    free(sends);
}

static void turn_push(struct acks *acks, struct pending_send pending)
{
    struct sends *turn = acks->turn;
    if (turn->count == turn->capacity) {
        turn->capacity = turn->capacity == 0 ? 64 : turn->capacity * 2;
        turn->list = xrealloc(turn->list, turn->capacity * sizeof *turn->list);
    }
    if (turn->count == 0)
        turn->since_ms = loop_now_ms(acks->bl->loop);
    turn->list[turn->count++] = pending;
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

void acks_add_told(struct acks *acks, struct slice topic, bool wait, acks_told told, void *ctx)
{
    turn_push(acks, (struct pending_send){.records = 1,
                                          .wait = wait,
                                          .meter = topic_stats_put_meter(acks->bl->meters, topic),
                                          .told = told,
                                          .told_ctx = ctx});
}

void acks_add_bare(struct acks *acks, struct reply_to to, int records)
{
    turn_push(acks,
              (struct pending_send){.to = to, .records = records, .bare = true, .wait = true});
}

void acks_add_end(struct acks *acks, struct reply_to to, int records, int64_t origin,
                  int32_t outcome)
{
    turn_push(acks, (struct pending_send){.to = to,
                                          .records = records,
                                          .bare = true,
                                          .wait = true,
                                          .outcome = outcome,
                                          .origin = origin});
}

void acks_set_recall_handle(struct acks *acks, char *handle)
{
    acks->turn->list[acks->turn->count - 1].timer_text = handle;
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

static void answer_send(const struct broker *broker, const struct waiting_send *send, int32_t code)
{
    char id[MESSAGE_ID_TEXT_BYTES];
    struct slice ids = send->batch_ids != NULL
                           ? slice_of_cstr(send->batch_ids)
                           : slice_of(id, message_id_format(&broker->store_host, send->pos, id));
    send_answer(broker, send->to, code, NULL,
                &(struct stored_send){ids, send->queue_id, send->queue_offset, send->timer_text});
}

static void answer_bare(struct reply_to to, bool flushed)
{
    struct response response = {.code = flushed ? RESPONSE_SUCCESS : RESPONSE_SYSTEM_ERROR,
                                .remark = flushed ? NULL : "FLUSH_DISK_TIMEOUT"};
    net_reply(to, &response);
}

/* The promise is kept, or the time is up. Frees what the send holds. */
static void answer(const struct broker *broker, struct waiting_send *send,
                   const struct durable *durable)
{
    bool flushed = promise_kept_by_disk(&send->promise, durable);
    if (send->told != NULL)
        send->told(send->told_ctx, &(struct stored_place){send->pos, send->queue_offset});
    else if (send->bare)
        answer_bare(send->to, flushed);
    else if (send->recall)
        recall_answer(broker, send->to, send->timer_text, flushed);
    else
        answer_send(broker, send, promise_code(&send->promise, durable));
    free(send->batch_ids);
    free(send->timer_text);
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

static void ring_push(struct ring *ring, const struct waiting_send *send)
{
    if (ring->count == ring->capacity) {
        size_t capacity = ring->capacity == 0 ? 256 : ring->capacity * 2;
        struct waiting_send *sends = xmalloc(capacity * sizeof *sends);
        for (size_t i = 0; i < ring->count; i++)
            sends[i] = ring->sends[(ring->first + i) & (ring->capacity - 1)];
        free(ring->sends);
        ring->sends = sends;
        ring->capacity = capacity;
        ring->first = 0;
    }
    ring->sends[(ring->first + ring->count++) & (ring->capacity - 1)] = *send;
}

static struct waiting_send *ring_front(const struct ring *ring)
{
    return ring->count == 0 ? NULL : &ring->sends[ring->first];
}

static void ring_pop(struct ring *ring)
{
    ring->first = (ring->first + 1) & (ring->capacity - 1);
    ring->count--;
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

/* It is in the log, and would have been answered by now. */
static void wait_or_answer(struct acks *acks, struct waiting_send *send)
{
    const struct broker *broker = acks->bl->broker;
    if (send->promise.disk || send->promise.slave) {
        send->deadline_ms = loop_now_ms(acks->bl->loop) + broker->conf.syncFlushTimeout;
        ring_push(send->promise.slave ? &acks->for_slave : &acks->for_disk, send);
    } else {
        answer(broker, send, &(struct durable){0});
    }
}

/* NULL: the log did not take it. */
static void settle_end(struct broker *broker, const struct pending_send *pending,
                       const struct append_result *results)
{
    if (pending->outcome == 0)
        return;
    if (results == NULL || results[0].status != PUT_OK)
        transaction_ends_release(broker->transaction_ends, pending->origin);
    else
        transaction_ends_settle(broker->transaction_ends, pending->origin,
                                &(struct transaction_end){pending->outcome, results[0].pos,
                                                          results[pending->records - 1].end_pos});
}

/* One send of the batch has its results: answer it or let it wait. */
static void settle(struct acks *acks, const struct pending_send *pending,
                   const struct append_result *results)
{
    struct broker *broker = acks->bl->broker;
    settle_end(broker, pending, results);
    if (results[0].status != PUT_OK) {
        if (pending->told != NULL)
            pending->told(pending->told_ctx, NULL);
        else if (pending->bare)
            send_refuse_bare(broker, pending->to, results[0].status);
        else if (pending->recall)
            net_reply_error(pending->to, RESPONSE_SYSTEM_ERROR, "recall failed, execute error");
        else if (!pending->silent)
            send_refuse(broker, pending->to, results[0].status);
        free(pending->timer_text);
        return;
    }
    int64_t bytes = results[pending->records - 1].end_pos - results[0].pos;
    if (pending->silent || pending->bare)
        stats_put(broker->stats, pending->records, bytes);
    else
        count(acks, pending, bytes);
    if (pending->silent)
        return;
    struct waiting_send send = {
        .to = pending->to,
        .bare = pending->bare,
        .queue_id = pending->queue_id,
        .queue_offset = results[0].queue_offset,
        .pos = results[0].pos,
        .told = pending->told,
        .told_ctx = pending->told_ctx,
        .recall = pending->recall,
        .timer_text = pending->timer_text,
    };
    if (pending->wait)
        send.promise = promise_make(broker, results[0].pos, results[pending->records - 1].end_pos);
    if (pending->records > 1 && !pending->bare)
        send.batch_ids = batch_ids(broker, results, pending->records);
    wait_or_answer(acks, &send);
}

/* A batch is in the log, or was refused. */
static void settle_all(struct acks *acks, struct sends *sends, const struct append_result *results,
                       int64_t took_ms)
{
    for (size_t i = 0; i < sends->count; i++) {
        settle(acks, &sends->list[i], results);
        results += sends->list[i].records;
    }
    count_run(acks);
    stats_put_time(acks->bl->broker->stats, (int64_t)sends->count, took_ms);
    sends->count = 0;
    append_batch_clear(sends->batch);
    answer_waiting(acks);
}

/* Append on the loop. False, and nothing has happened, when that might take long. */
static bool append_here(struct acks *acks)
{
    struct broker *broker = acks->bl->broker;
    if (acks->handed != NULL || appender_wanted(broker->appender))
        return false;
    int64_t started_ms = clock_monotonic_ms(broker->clock);
    const struct append_result *results =
        store_append_on_loop(broker->store, acks->turn->batch, APPEND_PATIENCE_MS);
    if (results == NULL)
        return false;
    if (!acks->dispatch_posted) {
        acks->dispatch_posted = true;
        loop_post(acks->bl->loop, &acks->dispatch_task);
    }
    int64_t took_ms = clock_monotonic_ms(broker->clock) - started_ms;
    appender_note(broker->appender, took_ms);
    settle_all(acks, acks->turn, results, took_ms);
    return true;
}

/* --- the queue while the disk is slow --- */

static void handed_changed(struct acks *acks, const struct sends *sends, int change)
{
    acks->handed_batches += (size_t)change;
    acks->handed_bytes += (size_t)change * append_batch_bytes(sends->batch);
    atomic_fetch_add(&acks->handed_sends, change * (int64_t)sends->count);
    atomic_store(&acks->handed_since_ms, acks->handed == NULL ? 0 : acks->handed->since_ms);
}

static void hand_over(struct acks *acks)
{
    struct sends *sends = acks->turn;
    sends->next = NULL;
    *acks->handed_last = sends;
    acks->handed_last = &sends->next;
    handed_changed(acks, sends, 1);
    acks->turn = acks->spare != NULL ? acks->spare : sends_new(acks);
    acks->spare = NULL;
    acks->bl->batch = acks->turn->batch;
    appender_submit(acks->bl->broker->appender, &sends->job);
    if (!acks->queue_timer_set) {
        acks->queue_timer_set = true;
        loop_timer_set(acks->queue_timer, QUEUE_CHECK_MS);
    }
}

/* Take `*at` out of the list. */
static struct sends *handed_remove(struct acks *acks, struct sends **at)
{
    struct sends *sends = *at;
    *at = sends->next;
    if (acks->handed_last == &sends->next)
        acks->handed_last = at;
    handed_changed(acks, sends, -1);
    return sends;
}

static void give_back(struct acks *acks, struct sends *sends)
{
    if (acks->spare == NULL)
        acks->spare = sends;
    else
        sends_free(sends);
}

/* The appender posts what is done in the order submitted. */
static void handed_done(struct loop_task *task)
{
    struct sends *sends = (struct sends *)(void *)task;
    struct acks *acks = sends->acks;
    CHECK(acks->handed == sends);
    (void)handed_remove(acks, &acks->handed);
    settle_all(acks, sends, sends->job.results, sends->job.took_ms);
    give_back(acks, sends);
    acks_commit(acks);
}

/* Nothing of the batch was appended: SYSTEM_BUSY for all, without fields, as in 4.9.2. */
static void refuse_all(struct acks *acks, struct sends *sends, bool cache_busy)
{
    int64_t waited_ms = loop_now_ms(acks->bl->loop) - sends->since_ms;
    int64_t others = atomic_load_explicit(&acks->handed_sends, memory_order_relaxed);
    for (size_t i = 0; i < sends->count; i++) {
        const struct pending_send *pending = &sends->list[i];
        settle_end(acks->bl->broker, pending, NULL);
        if (pending->told != NULL)
            pending->told(pending->told_ctx, NULL);
        else if (!pending->silent)
            net_reply_error(pending->to, RESPONSE_SYSTEM_BUSY,
                            "[%s]broker busy, start flow control for a while, period in queue: "
                            "%lldms, size of queue: %lld: the disk of the commit log is slow to "
                            "take what is written; look at its load and health",
                            cache_busy ? "PCBUSY_CLEAN_QUEUE" : "TIMEOUT_CLEAN_QUEUE",
                            (long long)waited_ms, (long long)others);
        free(pending->timer_text);
    }
    sends->count = 0;
    append_batch_clear(sends->batch);
}

/* BrokerFastFailure of 4.9.2, which looks every 10 ms, too. What the appender writes already can
 * not be taken back. */
static void refuse_late(struct acks *acks)
{
    struct broker *broker = acks->bl->broker;
    bool cache_busy = page_cache_busy(broker);
    int64_t oldest_ms = loop_now_ms(acks->bl->loop) - broker->conf.waitTimeMillsInSendQueue;
    for (struct sends **at = &acks->handed; *at != NULL;) {
        struct sends *sends = *at;
        if ((!cache_busy && sends->since_ms > oldest_ms) ||
            !appender_take_back(broker->appender, &sends->job)) {
            at = &sends->next;
            continue;
        }
        refuse_all(acks, handed_remove(acks, at), cache_busy);
        give_back(acks, sends);
    }
    if (acks->turn->count > 0 && acks->handed != NULL &&
        (cache_busy || acks->turn->since_ms <= oldest_ms))
        refuse_all(acks, acks->turn, cache_busy);
}

static void check_queue(void *ctx)
{
    struct acks *acks = ctx;
    acks->queue_timer_set = false;
    if (acks->bl->broker->conf.brokerFastFailureEnable)
        refuse_late(acks);
    acks_commit(acks);
    if (acks->handed != NULL && !acks->queue_timer_set) {
        acks->queue_timer_set = true;
        loop_timer_set(acks->queue_timer, QUEUE_CHECK_MS);
    }
}

void acks_commit(struct acks *acks)
{
    if (acks->turn->count > 0 && !append_here(acks) && acks->handed_batches < HANDED_BATCHES)
        hand_over(acks);
}

void acks_commit_large(struct acks *acks)
{
    if (append_batch_bytes(acks->turn->batch) < COMMIT_AT_BYTES &&
        append_batch_count(acks->turn->batch) < COMMIT_AT_RECORDS)
        return;
    if (!append_here(acks))
        hand_over(acks);
}

/* --- calls that a worker served --- */

struct stored_call {
    struct loop_task task;
    struct acks *acks;
    struct reply_to to;
    struct promise promise;
};

/* It may lie before what waits already, and is then answered along with it: late, never early. */
static void stored_run(struct loop_task *task)
{
    struct stored_call *stored = (struct stored_call *)(void *)task;
    struct acks *acks = stored->acks;
    struct waiting_send send = {.to = stored->to, .bare = true, .promise = stored->promise};
    free(stored);
    wait_or_answer(acks, &send);
    answer_waiting(acks);
}

void acks_answer_stored(struct broker *broker, struct reply_to to, int64_t pos, int64_t end_pos)
{
    struct promise promise = promise_make(broker, pos, end_pos);
    if (!(promise.disk || promise.slave) || to.conn.loop == NULL) {
        answer_bare(to, true);
        return;
    }
    struct stored_call *stored = xmalloc(sizeof *stored);
    *stored = (struct stored_call){
        {NULL, stored_run}, broker->per_loop[loop_index(to.conn.loop)].acks, to, promise};
    loop_post(to.conn.loop, &stored->task);
}

/* Behind the answers to what was appended. Also this writes to the page cache, and takes long while
 * the disk is slow. */
static void dispatch_run(struct loop_task *task)
{
    struct acks *acks =
        (struct acks *)(void *)((char *)task - offsetof(struct acks, dispatch_task));
    struct broker *broker = acks->bl->broker;
    acks->dispatch_posted = false;
    if (appender_wanted(broker->appender)) {
        store_dispatch_elsewhere(broker->store);
        return;
    }
    int64_t started_ms = clock_monotonic_ms(broker->clock);
    store_dispatch_here(broker->store);
    appender_note(broker->appender, clock_monotonic_ms(broker->clock) - started_ms);
}

static void turn_end(void *ctx)
{
    acks_commit(ctx);
}

/* for_earlier  for those that nothing is known of, but of what lies behind them; NULL: they stay */
static void answer_ring(const struct acks *acks, struct ring *ring, struct ring *for_earlier)
{
    struct durable durable = promise_durable(acks->bl->broker);
    int64_t now_ms = loop_now_ms(acks->bl->loop);
    struct waiting_send *send;
    while ((send = ring_front(ring)) != NULL) {
        if (promise_kept(&send->promise, &durable) || send->deadline_ms <= now_ms)
            answer(acks->bl->broker, send, &durable);
        else if (for_earlier != NULL && promise_passed_over(&send->promise, &durable))
            ring_push(for_earlier, send);
        else
            break;
        ring_pop(ring);
    }
}

/* Answer everything whose promise is kept, or whose time is up; keep an eye on the rest. */
static void answer_waiting(struct acks *acks)
{
    if (waiting_sends(acks) == 0)
        return;
    atomic_store(&acks->anyone_waits, true); /* before looking: what moves meanwhile is told */
    answer_ring(acks, &acks->for_slave, &acks->for_earlier);
    answer_ring(acks, &acks->for_earlier, NULL);
    answer_ring(acks, &acks->for_disk, NULL);
    if (waiting_sends(acks) == 0) {
        atomic_store(&acks->anyone_waits, false);
    } else if (!acks->timer_set) {
        acks->timer_set = true;
        loop_timer_set(acks->timer, DEADLINE_CHECK_MS);
    }
}

static void news_run(struct loop_task *task)
{
    struct acks *acks = (struct acks *)(void *)((char *)task - offsetof(struct acks, news_task));
    /* Before looking, so that what moves during the look posts again. */
    atomic_store(&acks->news_posted, false);
    answer_waiting(acks);
}

static void deadline_check(void *ctx)
{
    struct acks *acks = ctx;
    acks->timer_set = false;
    answer_waiting(acks);
}

void acks_on_watermark(void *ctx)
{
    struct broker *broker = ctx;
    for (int i = 0; i < broker->loop_count; i++) {
        struct acks *acks = broker->per_loop[i].acks;
        if (atomic_load(&acks->anyone_waits) && !atomic_exchange(&acks->news_posted, true))
            loop_post(acks->bl->loop, &acks->news_task);
    }
}
