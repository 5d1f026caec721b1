/* SPDX-License-Identifier: Apache-2.0
 *
 * The power goes at any moment of half messages being sent, committed, rolled back and checked,
 * with any part of what was not synced lost. Then of each transaction whose half message was on
 * disk the outcome is there, or it is still asked for: it is never lost. A committed message that
 * was on disk stays. No message comes that nobody has committed, and none twice, though ends are
 * sent again and again, for the first half message and for its newest copy.
 *
 * Source of the rules: TX-04 to TX-08; the invariants at the top of transaction_check.c and
 * end_transaction.c.
 */
#include "broker/state/half_message.h"
#include "broker/state/transaction_check.h"

#include "common/base/check.h"
#include "proto/properties.h"
#include "test/unit/support/crash_kit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRANSACTIONS 60
#define STEPS 160
#define LIVES 4
#define INTERVAL_MS 100
#define TIMEOUT_MS 50

enum outcome {
    OUTCOME_OPEN,
    OUTCOME_COMMITTED,
    OUTCOME_ROLLED_BACK,
};

struct transaction {
    int64_t half_end_pos;   /* of its first half message */
    int64_t commit_end_pos; /* 0: not committed */
    int64_t half_offset;    /* the newest that its producer knows, and where it lies */
    int64_t half_pos;
    int64_t first_pos;
    enum outcome outcome;
    bool durable; /* its half message was on disk at some end */
};

struct fixture {
    struct crash crash;
    struct topics *topics;
    struct offsets *offsets;
    struct transaction_ends *ends;
    struct transaction_check *check;
    struct transaction transactions[TRANSACTIONS];
    size_t count;
    uint8_t found[TRANSACTIONS]; /* 1: in the real topic, 2: given up, 4: to be checked */
};

static int64_t checks;
static int64_t commits_lost;

static const struct host host = {.ip = {127, 0, 0, 1}, .ip_bytes = 4, .port = 10911};

static size_t number_of(struct slice body)
{
    int64_t number;
    CHECK(parse_i64(body, &number) && number >= 0 && number < TRANSACTIONS);
    return (size_t)number;
}

static void on_ask(void *ctx, const struct record *half)
{
    struct fixture *f = ctx;
    struct transaction *transaction = &f->transactions[number_of(half->body)];
    transaction->half_offset = half->queue_offset;
    transaction->half_pos = half->physical_offset;
}

static bool on_may_ask(void *ctx)
{
    (void)ctx;
    return true;
}

static void open_all(struct fixture *f)
{
    struct err err = {.text = ""};
    const struct topics_options options = {
        .path = "/store/config/topics.json",
        .cluster_name = "DefaultCluster",
        .broker_name = "broker-a",
        .trace_topic_name = "RMQ_SYS_TRACE_TOPIC",
        .default_queues = 8,
    };
    crash_open(&f->crash);
    if (topics_load(&options, sim_vfs(f->crash.sim), &f->crash.clock, &f->topics, &err) !=
            STATUS_OK ||
        offsets_load("/store/config/consumerOffset.json", sim_vfs(f->crash.sim), &f->offsets,
                     &err) != STATUS_OK)
        crash_fail(&f->crash, "a table cannot be loaded: %s", err.text);
    const struct transaction_check_parts parts = {
        .store = f->crash.store,
        .topics = f->topics,
        .offsets = f->offsets,
        .ends = f->ends = transaction_ends_new(),
        .ctx = f,
        .ask = on_ask,
        .may_ask = on_may_ask,
    };
    f->check = transaction_check_new(&parts, INTERVAL_MS, f->crash.now_ms);
}

static void cut(struct fixture *f)
{
    static const enum sim_keep keeps[] = {SIM_KEEP_NONE, SIM_KEEP_ALL,  SIM_KEEP_LATER,
                                          SIM_KEEP_SOME, SIM_KEEP_TORN, SIM_KEEP_SOME};
    struct sim_cut cut = {keeps[random_below(&f->crash.random, 6)], random_u64(&f->crash.random),
                          (int64_t)random_below(&f->crash.random, 3)};
    transaction_check_free(f->check);
    transaction_ends_free(f->ends);
    offsets_free(f->offsets);
    topics_free(f->topics);
    crash_cut(&f->crash, &cut);
    for (size_t i = 0; i < f->count; i++)
        f->transactions[i].durable |= f->transactions[i].half_end_pos <= f->crash.durable_pos;
}

/* --- what happens --- */

static const struct append_result *append(struct fixture *f, const struct record *records,
                                          int count)
{
    struct append_batch *batch = f->crash.batch;
    append_batch_clear(batch);
    for (int i = 0; i < count; i++)
        CHECK(append_batch_add(
                  batch, store_queue(f->crash.store, records[i].topic, records[i].queue_id, true),
                  &records[i], i > 0, NULL) == STATUS_OK);
    const struct append_result *results = store_append(f->crash.store, batch);
    CHECK(results[0].status == PUT_OK);
    return results;
}

static void send_half(struct fixture *f)
{
    char text[I64_TEXT_BYTES];
    struct buf properties = BUF_EMPTY;
    if (f->count == TRANSACTIONS)
        return;
    struct record record = {
        .queue_id = 0,
        .born_timestamp_ms = f->crash.now_ms,
        .born_host = host,
        .store_host = host,
        .body = slice_of(text, format_i64((int64_t)f->count, text)),
        .topic = SLICE_LITERAL("T"),
    };
    buf_append_slice(&properties, SLICE_LITERAL("TRAN_MSG\1true\2PGROUP\1PG"));
    half_prepare(&properties, &record);
    const struct append_result *result = append(f, &record, 1);
    f->transactions[f->count++] = (struct transaction){
        .half_end_pos = result->end_pos,
        .half_offset = result->queue_offset,
        .half_pos = result->pos,
        .first_pos = result->pos,
    };
    buf_release(&properties);
}

/* As end_transaction.c does it. */
static void end_one(struct fixture *f)
{
    if (f->count == 0)
        return;
    struct transaction *transaction =
        &f->transactions[random_below(&f->crash.random, (uint32_t)f->count)];
    struct log_range range;
    struct record half;
    struct record records[2];
    char text[I64_TEXT_BYTES];
    struct transaction_end end = {0};
    int count = 0;
    int64_t pos =
        random_below(&f->crash.random, 2) == 0 ? transaction->first_pos : transaction->half_pos;
    if (store_read_record(f->crash.store, pos, &range) != STATUS_OK)
        return;
    bool is_it =
        record_decode(slice_of(range.data, range.size), RECORD_CHECK_CRC, &half) == STATUS_OK &&
        slice_is(half.topic, TOPIC_TRANS_HALF) &&
        &f->transactions[number_of(half.body)] == transaction;
    if (is_it && transaction_ends_claim(f->ends, half_origin(&half), &end) ==
                     TRANSACTION_YOURS) { /* not another one's, behind a cut */
        bool commit = random_below(&f->crash.random, 3) != 0;
        if (commit)
            CHECK(half_commit(&half, &records[count++]) == NULL);
        end.outcome = commit ? SYS_FLAG_TRANSACTION_COMMIT : SYS_FLAG_TRANSACTION_ROLLBACK;
        half_mark(&half, end.outcome, &host, f->crash.now_ms, text, &records[count++]);
        const struct append_result *results = append(f, records, count);
        end.pos = results[0].pos;
        end.end_pos = results[count - 1].end_pos;
        transaction_ends_settle(f->ends, half_origin(&half), &end);
        transaction->outcome = commit ? OUTCOME_COMMITTED : OUTCOME_ROLLED_BACK;
        if (commit)
            transaction->commit_end_pos = results[0].end_pos;
    }
    log_range_release(&range);
}

static void check_step(struct fixture *f)
{
    const struct transaction_limits limits = {TIMEOUT_MS, 4, 3600000};
    for (uint32_t i = random_below(&f->crash.random, 6); i > 0; i--)
        (void)transaction_check_step(f->check, &limits, f->crash.now_ms, f->crash.now_ms);
}

static void random_step(struct fixture *f)
{
    struct err err;
    f->crash.now_ms += random_below(&f->crash.random, 30);
    switch (random_below(&f->crash.random, 12)) {
    case 0:
    case 1:
        send_half(f);
        break;
    case 2:
    case 3:
        end_one(f);
        break;
    case 4:
        (void)commitlog_flush(&f->crash.store->log);
        break;
    case 5:
    case 6:
        crash_dispatch(&f->crash);
        break;
    case 7:
        CHECK(offsets_journal_step(f->offsets, &err) == STATUS_OK);
        break;
    case 8:
        CHECK(offsets_journal_step(f->offsets, &err) == STATUS_OK);
        CHECK(offsets_journal_sync(f->offsets, &err) == STATUS_OK);
        break;
    case 9:
        if (random_below(&f->crash.random, 4) == 0)
            CHECK(offsets_persist(f->offsets, &err) == STATUS_OK);
        break;
    default:
        check_step(f);
        break;
    }
}

/* --- what must be there --- */

static void look_at(struct fixture *f, const char *topic, int64_t from, uint8_t bit)
{
    struct queue *queue = store_queue(f->crash.store, slice_of_cstr(topic), 0, false);
    for (int64_t i = from; queue != NULL && i < queue_max_offset(queue); i++) {
        struct queue_entry entry;
        struct log_range range;
        struct record record;
        if (!queue_entry_at(queue, i, &entry) ||
            store_read_record(f->crash.store, entry.pos, &range) != STATUS_OK ||
            record_decode(slice_of(range.data, range.size), RECORD_CHECK_CRC, &record) != STATUS_OK)
            crash_fail(&f->crash, "%s has no message at %lld", topic, (long long)i);
        if (bit == 1 && (f->found[number_of(record.body)] & 1) != 0)
            crash_fail(&f->crash, "transaction %zu was delivered twice", number_of(record.body));
        f->found[number_of(record.body)] |= bit;
        log_range_release(&range);
    }
}

/* A store that was cut has forgotten what was not durable: so does the record of it. */
static void forget(struct fixture *f, size_t number)
{
    struct transaction *transaction = &f->transactions[number];
    bool committed = (f->found[number] & 1) != 0;
    if (f->found[number] == 0 && !transaction->durable)
        transaction->half_end_pos = INT64_MAX; /* its place in the log is another one's now */
    if (transaction->outcome == OUTCOME_COMMITTED && !committed) {
        transaction->outcome = OUTCOME_OPEN;
        transaction->commit_end_pos = 0;
        commits_lost++;
    }
}

static void check_all(struct fixture *f)
{
    int64_t from = offsets_get(f->offsets, SLICE_LITERAL(TOPIC_TRANS_HALF),
                               SLICE_LITERAL(GROUP_TRANSACTIONS), 0);
    crash_dispatch(&f->crash);
    memset(f->found, 0, sizeof f->found);
    look_at(f, "T", 0, 1);
    look_at(f, TOPIC_TRANS_CHECK_MAX_TIME, 0, 2);
    look_at(f, TOPIC_TRANS_HALF, from < 0 ? 0 : from, 4);
    for (size_t i = 0; i < f->count; i++) {
        const struct transaction *transaction = &f->transactions[i];
        int found = f->found[i];
        if ((found & 1) != 0 && transaction->outcome != OUTCOME_COMMITTED)
            crash_fail(&f->crash, "transaction %zu was delivered, not committed", i);
        if (transaction->commit_end_pos != 0 &&
            transaction->commit_end_pos <= f->crash.durable_pos && (found & 1) == 0)
            crash_fail(&f->crash, "the message of transaction %zu is lost", i);
        if (transaction->durable && found == 0 && transaction->outcome != OUTCOME_ROLLED_BACK)
            crash_fail(&f->crash, "transaction %zu is lost: offset %lld of the half queue", i,
                       (long long)from);
        forget(f, i);
    }
    checks++;
}

static void nothing_is_lost(void **state)
{
    (void)state;
    struct crash_seeds seeds;
    uint64_t seed;
    checks = 0;
    crash_seeds_begin(&seeds, "nothing_is_lost", 3);
    while (crash_seeds_next(&seeds, &seed)) {
        struct fixture f = {.count = 0};
        crash_init(&f.crash, seed);
        f.crash.what = "transactions";
        f.crash.options.segment_bytes = 65536;
        open_all(&f);
        for (int life = 0; life < LIVES; life++) {
            for (uint32_t i = random_below(&f.crash.random, STEPS); i > 0; i--) {
                f.crash.point++;
                random_step(&f);
            }
            cut(&f);
            open_all(&f);
            check_all(&f);
        }
        transaction_check_free(f.check);
        transaction_ends_free(f.ends);
        offsets_free(f.offsets);
        topics_free(f.topics);
        crash_release(&f.crash);
    }
    crash_seeds_end(&seeds, "nothing_is_lost", checks);
    printf("%lld commits of the time since the last sync were lost and are asked for again\n",
           (long long)commits_lost);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
