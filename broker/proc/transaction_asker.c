/* SPDX-License-Identifier: Apache-2.0
 *
 * A question is made on the thread of the check and travels as a task from loop to loop, until it
 * comes to a connection that takes it. What travels at a time is bounded: transaction_check stops
 * while may_ask says no.
 *
 * Source: AbstractTransactionalMessageCheckListener, ProducerManager.getAvailableChannel and
 * Broker2Client.checkProducerTransactionState of 4.9.2.
 */
#include "broker/proc/transaction_asker.h"

#include "broker/proc/registrar.h"
#include "broker/state/half_message.h"
#include "broker/state/transaction_check.h"
#include "common/base/check.h"
#include "common/base/map.h"
#include "common/sys/log.h"
#include "proto/header.pb-c.h"
#include "proto/properties.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define TRIES 3
#define HOUR_MS 3600000
/* Questions under way; a larger one goes alone. */
#define QUESTIONS_BYTES_MAX (8 * 1024 * 1024)
#define QUESTIONS_MAX 4096

struct transaction_asker {
    struct broker *broker;
    struct transaction_check *check;
    _Atomic int64_t bytes; /* of questions under way, and their number */
    _Atomic int64_t count;
    uint32_t turn; /* who is asked next */

    /* The groups that were looked up in this step. */
    struct arena arena;
    struct map groups; /* name -> struct group_members, in the arena */
};

struct group_members {
    struct client_info *members;
    size_t count;
};

struct question {
    struct loop_task task;
    struct transaction_asker *asker;
    struct conn_ref candidates[TRIES];
    size_t candidate_count;
    size_t at;
    int64_t commit_log_offset;
    int64_t queue_offset;
    char offset_msg_id[MESSAGE_ID_TEXT_BYTES + 1];
    char *unique_key; /* NULL: it has none; behind the body, as is its NUL */
    size_t body_size;
    uint8_t body[];
};

static void nobody_asked(struct slice group, const char *cause)
{
    static struct log_gate gate;
    int64_t suppressed;
    if (log_gate_open(&gate, &suppressed))
        log_warn("transactions", "no producer was asked for the outcome of a transaction",
                 "group=%.*s cause=\"%s\" others=%lld", SLICE_ARGS(group), cause,
                 (long long)suppressed);
}

static void question_free(struct question *question)
{
    struct transaction_asker *asker = question->asker;
    atomic_fetch_sub(&asker->bytes, (int64_t)question->body_size);
    atomic_fetch_sub(&asker->count, 1);
    free(question);
}

static void question_run(struct loop_task *task);

static void question_post(struct question *question)
{
    question->task = (struct loop_task){NULL, question_run};
    loop_post(question->candidates[question->at].loop, &question->task);
}

/* On the loop of the candidate whose turn it is. */
static void question_run(struct loop_task *task)
{
    struct question *question = (struct question *)(void *)task;
    struct conn_ref conn = question->candidates[question->at];
    bool stopping = atomic_load(&question->asker->broker->stopping);
    if (stopping || !net_takes_calls(conn)) {
        if (!stopping && ++question->at < question->candidate_count) {
            question_post(question);
            return;
        }
        nobody_asked(SLICE_EMPTY,
                     "its producers have just gone, or do not read what they are sent");
        question_free(question);
        return;
    }
    CheckTransactionStateRequestHeader header;
    check_transaction_state_request_header__init(&header);
    header.tran_state_table_offset = question->queue_offset;
    header.commit_log_offset = question->commit_log_offset;
    header.msg_id = question->unique_key;
    header.transaction_id = question->unique_key;
    header.offset_msg_id = question->offset_msg_id;
    struct request request = {
        .code = REQUEST_CHECK_TRANSACTION_STATE,
        .header = &header.base,
        .body = slice_of(question->body, question->body_size),
        .codec = CODEC_JSON, /* what every client reads */
    };
    net_call(conn, &request, NULL, NULL);
    question_free(question);
}

/* The members of the message's group; NULL when there is nobody to ask. */
static const struct group_members *look_up(struct transaction_asker *asker,
                                           const struct record *half)
{
    struct slice name;
    if (!properties_find(half->properties, SLICE_LITERAL(PROPERTY_PRODUCER_GROUP), &name)) {
        nobody_asked(SLICE_EMPTY, "its property PGROUP, the producer group, is missing");
        return NULL;
    }
    struct group_members *group = map_get(&asker->groups, name);
    if (group == NULL) {
        group = arena_zalloc(&asker->arena, sizeof *group);
        if (!clients_producer_members(asker->broker->clients, name, &asker->arena, &group->members,
                                      &group->count))
            group->count = 0;
        (void)map_put(&asker->groups, name, group);
    }
    if (group->count > 0)
        return group;
    nobody_asked(name, "no producer of the group is connected");
    return NULL;
}

static struct question *question_new(struct transaction_asker *asker, const struct record *half,
                                     const struct record *shown)
{
    struct slice key = SLICE_EMPTY;
    size_t body_size = record_size(shown);
    bool has_key = properties_find(half->properties, SLICE_LITERAL(PROPERTY_UNIQ_KEY), &key);
    struct question *question = xcalloc(1, sizeof *question + body_size + key.size + 1);
    question->asker = asker;
    question->body_size = body_size;
    question->commit_log_offset = half->physical_offset;
    question->queue_offset = half->queue_offset;
    (void)message_id_format(&half->store_host, half->physical_offset, question->offset_msg_id);
    CHECK(record_encode(shown, question->body) ==
          STATUS_OK); /* it is stored, with a longer topic */
    if (has_key) {
        question->unique_key = (char *)question->body + body_size;
        memcpy(question->unique_key, key.data, key.size);
    }
    atomic_fetch_add(&asker->bytes, (int64_t)body_size);
    atomic_fetch_add(&asker->count, 1);
    return question;
}

static void ask(void *ctx, const struct record *half)
{
    struct transaction_asker *asker = ctx;
    struct record shown = *half;
    const char *fault = half_restore(&shown);
    if (fault != NULL) {
        nobody_asked(SLICE_EMPTY, fault);
        return;
    }
    const struct group_members *group = look_up(asker, half);
    if (group == NULL)
        return;
    struct question *question = question_new(asker, half, &shown);
    while (question->candidate_count < TRIES && question->candidate_count < group->count) {
        size_t member = (asker->turn + question->candidate_count) % group->count;
        question->candidates[question->candidate_count++] = group->members[member].conn;
    }
    asker->turn++;
    question_post(question);
}

static bool may_ask(void *ctx)
{
    const struct transaction_asker *asker = ctx;
    return atomic_load(&asker->bytes) < QUESTIONS_BYTES_MAX &&
           atomic_load(&asker->count) < QUESTIONS_MAX;
}

static void topic_made(void *ctx)
{
    const struct transaction_asker *asker = ctx;
    registrar_announce(asker->broker->registrar);
}

struct transaction_asker *transaction_asker_new(struct broker *broker)
{
    struct transaction_asker *asker = xcalloc(1, sizeof *asker);
    asker->broker = broker;
    asker->groups = MAP_EMPTY;
    arena_init(&asker->arena, 4096);
    const struct transaction_check_parts parts = {
        .store = broker->store,
        .topics = broker->topics,
        .offsets = broker->offsets,
        .ends = broker->transaction_ends,
        .stats = broker->stats,
        .topic_stats = broker->topic_stats,
        .ctx = asker,
        .ask = ask,
        .may_ask = may_ask,
        .topic_made = topic_made,
    };
    asker->check = transaction_check_new(&parts, broker->conf.transactionCheckInterval,
                                         clock_monotonic_ms(broker->clock));
    return asker;
}

void transaction_asker_free(struct transaction_asker *asker)
{
    transaction_check_free(asker->check);
    arena_release(&asker->arena);
    free(asker);
}

int64_t transaction_asker_step(struct transaction_asker *asker)
{
    const struct broker *broker = asker->broker;
    const struct transaction_limits limits = {
        .timeout_ms = broker->conf.transactionTimeOut,
        .checks_max = (int32_t)broker->conf.transactionCheckMax,
        .reserved_ms = broker->conf.fileReservedTime * HOUR_MS,
    };
    int64_t wait_ms = transaction_check_step(asker->check, &limits, clock_wall_ms(broker->clock),
                                             clock_monotonic_ms(broker->clock));
    map_release(&asker->groups);
    asker->groups = MAP_EMPTY;
    arena_reset(&asker->arena);
    return wait_ms;
}

void transaction_asker_finish(struct transaction_asker *asker)
{
    transaction_check_finish(asker->check);
}
