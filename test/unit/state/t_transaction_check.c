/* SPDX-License-Identifier: Apache-2.0
 *
 * The check of open transactions on a real store, with clocks that the tests move: who is asked
 * when and how often; what has ended is passed in whatever order the markers come; what nobody ends
 * is given up; what waits for its own time lets others pass; what cannot be read or appended is
 * tried again; offsets are kept only when the disk has what they pass; 100,000 open transactions.
 * Source: TransactionalMessageServiceImpl.java of 4.9.2; TX-06 to TX-08.
 */
#include "broker/state/transaction_check.h"

#include "broker/state/half_message.h"
#include "common/base/check.h"
#include "common/base/number.h"
#include "common/sys/log.h"
#include "proto/properties.h"
#include "test/unit/support/store_kit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define START_MS 1700000000000
#define INTERVAL_MS 60000
#define TIMEOUT_MS 6000
#define HOUR_MS 3600000
#define MANY 100000
#define QUESTIONS 64
#define FAR (INT64_C(1) << 50) /* nothing lies there in the log */

struct question {
    char body[32];
    int64_t queue_offset;
    int64_t pos;
    int32_t times;
};

struct fixture {
    struct kit kit;
    struct topics *topics;
    struct offsets *offsets;
    struct transaction_ends *ends;
    struct transaction_check *check;
    struct transaction_limits limits;
    int64_t now_ms; /* monotonic */
    struct question questions[QUESTIONS];
    int64_t asked;
    int64_t refuse_after; /* may_ask says no when so many were asked */
    int refusals;
    int topics_made;
    struct arena arena;
};

static void on_ask(void *ctx, const struct record *half)
{
    struct fixture *f = ctx;
    struct half_wishes wishes;
    half_read_wishes(half->properties, &wishes);
    if (f->asked < QUESTIONS) {
        struct question *question = &f->questions[f->asked];
        (void)snprintf(question->body, sizeof question->body, "%.*s", SLICE_ARGS(half->body));
        question->queue_offset = half->queue_offset;
        question->pos = half->physical_offset;
        question->times = wishes.check_times;
    }
    f->asked++;
}

static bool on_may_ask(void *ctx)
{
    struct fixture *f = ctx;
    if (f->asked < f->refuse_after)
        return true;
    f->refusals++;
    f->refuse_after = f->asked + 1;
    return false;
}

static void on_topic_made(void *ctx)
{
    ((struct fixture *)ctx)->topics_made++;
}

static void start_check(struct fixture *f)
{
    const struct transaction_check_parts parts = {
        .store = f->kit.store,
        .topics = f->topics,
        .offsets = f->offsets,
        .ends = f->ends = transaction_ends_new(),
        .ctx = f,
        .ask = on_ask,
        .may_ask = on_may_ask,
        .topic_made = on_topic_made,
    };
    f->check = transaction_check_new(&parts, INTERVAL_MS, f->now_ms);
}

static void load_tables(struct fixture *f)
{
    struct err err = {.text = ""};
    char path[256];
    char topics_path[256];
    kit_path(&f->kit, "config/topics.json", topics_path);
    kit_path(&f->kit, "config/consumerOffset.json", path);
    const struct topics_options options = {
        .path = topics_path,
        .cluster_name = "DefaultCluster",
        .broker_name = "broker-a",
        .trace_topic_name = "RMQ_SYS_TRACE_TOPIC",
        .default_queues = 8,
        .auto_create = true,
    };
    if (topics_load(&options, vfs_posix(), &f->kit.clock, &f->topics, &err) != STATUS_OK ||
        offsets_load(path, vfs_posix(), &f->offsets, &err) != STATUS_OK)
        fail_msg("%s", err.text);
}

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof *f);
    kit_init(&f->kit, "transactions");
    log_set_level(LOG_ERROR);
    f->kit.options.segment_bytes = 256 * 1024 * 1024;
    f->kit.options.queue_file_bytes = 6000000;
    atomic_store(&f->kit.wall_ms, START_MS);
    f->limits = (struct transaction_limits){TIMEOUT_MS, 15, 72 * (int64_t)HOUR_MS};
    f->now_ms = 1000;
    f->refuse_after = INT64_MAX;
    arena_init(&f->arena, 4096);
    kit_start(&f->kit);
    load_tables(f);
    start_check(f);
    *state = f;
    return 0;
}

static void stop(struct fixture *f)
{
    transaction_check_free(f->check);
    transaction_ends_free(f->ends);
    offsets_free(f->offsets);
    topics_free(f->topics);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    stop(f);
    kit_release(&f->kit);
    arena_release(&f->arena);
    free(f);
    return 0;
}

static int64_t wall(const struct fixture *f)
{
    return atomic_load(&f->kit.wall_ms);
}

static void pass_time(struct fixture *f, int64_t ms)
{
    atomic_store(&f->kit.wall_ms, wall(f) + ms);
    f->now_ms += ms;
}

static int64_t step(struct fixture *f)
{
    return transaction_check_step(f->check, &f->limits, wall(f), f->now_ms);
}

static void nap(void)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    (void)nanosleep(&pause, NULL);
}

/* Steps until the round that is due is over and nothing waits for the disk. */
static void finish_round(struct fixture *f, int64_t rounds)
{
    for (int i = 0; i < 100000; i++) {
        int64_t wait_ms = step(f);
        if (transaction_check_counts(f->check).rounds > rounds && wait_ms > 5)
            return;
        if (wait_ms > 0)
            nap();
    }
    fail_msg("the round does not end");
}

static void next_round(struct fixture *f)
{
    int64_t rounds = transaction_check_counts(f->check).rounds;
    pass_time(f, INTERVAL_MS);
    finish_round(f, rounds);
}

/* --- messages --- */

static struct append_result put(struct fixture *f, const struct record *record)
{
    struct append_batch *batch = f->kit.batch;
    struct queue *queue = store_queue(f->kit.store, record->topic, record->queue_id, true);
    append_batch_clear(batch);
    assert_int_equal(append_batch_add(batch, queue, record, false, NULL), STATUS_OK);
    struct append_result result = *store_append(f->kit.store, batch);
    assert_int_equal(result.status, PUT_OK);
    return result;
}

/* A half message, born `age_ms` ago; its queue offset. */
static int64_t put_half(struct fixture *f, const char *body, int64_t age_ms, const char *more)
{
    const char *properties = arena_printf(&f->arena,
                                          "TRAN_MSG\1true\2PGROUP\1PG\2REAL_TOPIC\1T\2REAL_QID\1"
                                          "0%s",
                                          more);
    struct record record = kit_record(SLICE_LITERAL(TOPIC_TRANS_HALF), 0, slice_of_cstr(body),
                                      slice_of_cstr(properties));
    record.born_timestamp_ms = wall(f) - age_ms;
    record.flag = 9;
    return put(f, &record).queue_offset;
}

static void put_marker_of(struct fixture *f, const struct record *half, int32_t outcome)
{
    char text[I64_TEXT_BYTES];
    struct record marker;
    struct host host = {.ip = {127, 0, 0, 1}, .ip_bytes = 4, .port = 10911};
    half_mark(half, outcome, &host, wall(f), text, &marker);
    (void)put(f, &marker);
}

/* One that tells no more than where the half message is in its queue. */
static void put_marker(struct fixture *f, int64_t half_offset)
{
    const struct record half = {.queue_offset = half_offset, .physical_offset = FAR + half_offset};
    put_marker_of(f, &half, SYS_FLAG_TRANSACTION_COMMIT);
}

static int64_t kept(const struct fixture *f, const char *topic)
{
    return offsets_get(f->offsets, slice_of_cstr(topic), SLICE_LITERAL(GROUP_TRANSACTIONS), 0);
}

static int64_t count_of(struct fixture *f, const char *topic)
{
    kit_dispatched(&f->kit);
    struct queue *queue = store_queue(f->kit.store, slice_of_cstr(topic), 0, false);
    return queue == NULL ? 0 : queue_max_offset(queue);
}

static struct record message_at(struct fixture *f, const char *topic, int64_t offset)
{
    struct queue_entry entry;
    struct log_range range;
    struct record record;
    kit_dispatched(&f->kit);
    assert_true(queue_entry_at(kit_queue(&f->kit, topic, 0), offset, &entry));
    assert_int_equal(store_read_record(f->kit.store, entry.pos, &range), STATUS_OK);
    struct slice copy = arena_copy(&f->arena, slice_of(range.data, range.size));
    log_range_release(&range);
    assert_int_equal(record_decode(copy, RECORD_CHECK_CRC, &record), STATUS_OK);
    return record;
}

/* --- the tests --- */

/* The first round comes one interval after the start; then every interval, with a count. */
static void asked_every_round(void **state)
{
    struct fixture *f = *state;
    int64_t first = put_half(f, "open", 0, "");
    (void)step(f);
    pass_time(f, INTERVAL_MS - 1);
    assert_true(step(f) > 0);
    assert_false(topics_get(f->topics, SLICE_LITERAL(TOPIC_TRANS_HALF), &(struct topic_config){0}));
    pass_time(f, 1);
    finish_round(f, 0);
    assert_int_equal(f->topics_made, 1);
    for (int32_t times = 1; times <= 3; times++) {
        assert_int_equal(f->asked, times);
        const struct question *question = &f->questions[times - 1];
        assert_string_equal(question->body, "open");
        assert_int_equal(question->times, times);
        assert_int_equal(question->queue_offset, first + times);
        struct record copy = message_at(f, TOPIC_TRANS_HALF, first + times);
        assert_int_equal(copy.physical_offset, question->pos);
        assert_int_equal(copy.flag, 9);
        assert_int_equal(copy.born_timestamp_ms, START_MS);
        assert_int_equal(kept(f, TOPIC_TRANS_HALF), first + times);
        assert_true(store_flushed_pos(f->kit.store) > question->pos);
        next_round(f);
    }
}

static void the_young_are_left_alone(void **state)
{
    struct fixture *f = *state;
    pass_time(f, INTERVAL_MS);
    (void)put_half(f, "young", TIMEOUT_MS - 1, "");
    (void)put_half(f, "old", TIMEOUT_MS, ""); /* behind it: waits, too */
    finish_round(f, 0);
    assert_int_equal(f->asked, 0);
    assert_int_equal(kept(f, TOPIC_TRANS_HALF), -1);
    f->limits.timeout_ms = 2 * INTERVAL_MS;
    next_round(f);
    assert_int_equal(f->asked, 0);
    f->limits.timeout_ms = TIMEOUT_MS;
    next_round(f);
    assert_int_equal(f->asked, 2);
}

static void born_in_the_future(void **state)
{
    struct fixture *f = *state;
    (void)put_half(f, "future", -2 * INTERVAL_MS, "");
    next_round(f);
    assert_int_equal(f->asked, 1);
}

/* A wall clock that was set back makes copies look old: they still wait for the next round. */
static void copies_wait_for_the_next_round(void **state)
{
    struct fixture *f = *state;
    (void)put_half(f, "a", 0, "");
    (void)put_half(f, "b", 0, "");
    pass_time(f, INTERVAL_MS);
    (void)step(f);
    atomic_store(&f->kit.wall_ms, START_MS - HOUR_MS);
    finish_round(f, 0);
    assert_int_equal(f->asked, 2);
}

static void what_has_ended_is_passed(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 200; i++)
        (void)put_half(f, i % 50 == 7 ? "open" : "done", 0, "");
    for (int i = 199; i >= 0; i--) /* the newest first */
        if (i % 50 != 7)
            put_marker(f, i);
    next_round(f);
    assert_int_equal(f->asked, 4);
    for (int i = 0; i < 4; i++)
        assert_string_equal(f->questions[i].body, "open");
    assert_int_equal(kept(f, TOPIC_TRANS_HALF), 200);
    assert_int_equal(kept(f, TOPIC_TRANS_OP_HALF), 196);
    for (int64_t offset = 200; offset < 204; offset++)
        put_marker(f, offset);
    next_round(f);
    assert_int_equal(f->asked, 4);
    assert_int_equal(kept(f, TOPIC_TRANS_HALF), 204);
    assert_int_equal(kept(f, TOPIC_TRANS_OP_HALF), 200);
}

/* The marker queue is passed up to the first marker that is still needed. */
static void a_marker_is_kept_while_it_is_needed(void **state)
{
    struct fixture *f = *state;
    (void)put_half(f, "0", 0, "");
    (void)put_half(f, "1", 0, "");
    pass_time(f, INTERVAL_MS);
    (void)put_half(f, "2, young", 0, "");
    (void)put_half(f, "3, young, done", 0, "");
    put_marker(f, 0);
    put_marker(f, 3);
    put_marker(f, 1);
    put_marker(f, 1); /* committed twice */
    finish_round(f, 0);
    assert_int_equal(f->asked, 0);
    assert_int_equal(kept(f, TOPIC_TRANS_HALF), 2);
    assert_int_equal(kept(f, TOPIC_TRANS_OP_HALF), 1);
    next_round(f);
    assert_int_equal(f->asked, 1);
    assert_string_equal(f->questions[0].body, "2, young");
    assert_int_equal(kept(f, TOPIC_TRANS_HALF), 4);
    assert_int_equal(kept(f, TOPIC_TRANS_OP_HALF), 4);
}

static void what_is_no_marker_is_passed(void **state)
{
    struct fixture *f = *state;
    (void)kit_put(&f->kit, TOPIC_TRANS_OP_HALF, 0, "0", "TAGS\1other");
    (void)kit_put(&f->kit, TOPIC_TRANS_OP_HALF, 0, "nothing",
                  "TAGS\1"
                  "d");
    (void)put_half(f, "open", 0, "");
    next_round(f);
    assert_int_equal(f->asked, 1);
    assert_int_equal(kept(f, TOPIC_TRANS_OP_HALF), 2);
}

static void given_up(void **state)
{
    struct fixture *f = *state;
    f->limits.checks_max = 2;
    (void)put_half(f, "x", 0, "");
    (void)put_half(f, "y", 71 * (int64_t)HOUR_MS + 3590000, ""); /* soon too old */
    next_round(f);
    assert_int_equal(f->asked, 1);
    assert_int_equal(count_of(f, TOPIC_TRANS_CHECK_MAX_TIME), 1);
    next_round(f);
    assert_int_equal(f->asked, 2);
    next_round(f);
    next_round(f);
    assert_int_equal(f->asked, 2);
    assert_int_equal(transaction_check_counts(f->check).given_up, 2);
    assert_int_equal(count_of(f, TOPIC_TRANS_CHECK_MAX_TIME), 2);
    struct record record = message_at(f, TOPIC_TRANS_CHECK_MAX_TIME, 1);
    struct slice value;
    assert_true(slice_is(record.body, "x"));
    assert_int_equal(record.flag, 9);
    assert_true(properties_find(record.properties, SLICE_LITERAL(PROPERTY_TRANSACTION_CHECK_TIMES),
                                &value));
    assert_true(slice_is(value, "2"));
    struct topic_config config;
    assert_true(topics_get(f->topics, SLICE_LITERAL(TOPIC_TRANS_CHECK_MAX_TIME), &config));
    assert_true(config.saved && config.read_queues == 1 && config.perm == 6);
}

/* One that ended at the last moment is not given up, however far behind its marker lies. */
/* A longer topic name and one property more make the record larger than maxMessageSize: that holds
 * up nobody. */
static void the_largest_is_asked_about_and_given_up(void **state)
{
    struct fixture *f = *state;
    f->limits.checks_max = 1;
    (void)put_half(f, "largest", TIMEOUT_MS, "");
    (void)put_half(f, "behind", TIMEOUT_MS, "");
    stop(f);
    kit_close(&f->kit);
    f->kit.options.record_bytes_max = 100;
    kit_start(&f->kit);
    load_tables(f);
    start_check(f);
    next_round(f);
    assert_int_equal(f->asked, 2);
    next_round(f);
    assert_int_equal(transaction_check_counts(f->check).given_up, 2);
    assert_int_equal(count_of(f, TOPIC_TRANS_CHECK_MAX_TIME), 2);
}

static void ended_before_it_is_given_up(void **state)
{
    struct fixture *f = *state;
    f->limits.checks_max = 0;
    (void)put_half(f, "x", 0,
                   "\2TRANSACTION_CHECK_TIMES\1"
                   "5");
    for (int i = 0; i < 100; i++)
        put_marker(f, 1000 + i);
    put_marker(f, 0);
    next_round(f);
    assert_int_equal(count_of(f, TOPIC_TRANS_CHECK_MAX_TIME), 0);
    assert_int_equal(kept(f, TOPIC_TRANS_HALF), 1);
}

static void its_own_time(void **state)
{
    struct fixture *f = *state;
    int64_t half = put_half(f, "hour", 0,
                            "\2" PROPERTY_CHECK_IMMUNITY_TIME "\1"
                            "3600");
    (void)put_half(f, "bad", 0, "\2" PROPERTY_CHECK_IMMUNITY_TIME "\1soon");
    (void)put_half(f, "other", 0, "");
    next_round(f);
    assert_int_equal(f->asked, 2); /* those behind it are asked about */
    assert_string_equal(f->questions[0].body, "bad");
    assert_string_equal(f->questions[1].body, "other");
    assert_int_equal(transaction_check_counts(f->check).spared, 1);
    struct half_wishes wishes;
    half_read_wishes(message_at(f, TOPIC_TRANS_HALF, 3).properties, &wishes);
    assert_int_equal(wishes.prepared_offset, half);
    assert_int_equal(wishes.check_times, -1);
    for (int i = 0; i < 20; i++) /* more often than transactionCheckMax */
        next_round(f);
    assert_true(transaction_check_counts(f->check).given_up <= 2);
    f->asked = 0;
    pass_time(f, HOUR_MS);
    next_round(f);
    assert_true(f->asked >= 1);
    assert_string_equal(f->questions[0].body, "hour");
    assert_int_equal(f->questions[0].times, 1);
}

static void the_first_ones_marker_counts_for_its_copy(void **state)
{
    struct fixture *f = *state;
    int64_t half = put_half(f, "hour", 0,
                            "\2" PROPERTY_CHECK_IMMUNITY_TIME "\1"
                            "3600");
    next_round(f);
    assert_int_equal(count_of(f, TOPIC_TRANS_HALF), 2);
    put_marker(f, half);
    next_round(f);
    next_round(f);
    assert_int_equal(count_of(f, TOPIC_TRANS_HALF), 2);
    assert_int_equal(kept(f, TOPIC_TRANS_HALF), 2);
    assert_int_equal(kept(f, TOPIC_TRANS_OP_HALF), 1);
}

static void the_step_stops_while_enough_is_asked(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 10; i++)
        (void)put_half(f, "x", 0, "");
    f->refuse_after = 3;
    next_round(f);
    assert_int_equal(f->asked, 10);
    assert_true(f->refusals > 0);
    assert_int_equal(count_of(f, TOPIC_TRANS_HALF), 20);
}

/* Nothing is passed whose copy could not be written; the next round goes on there. */
static void appends_that_fail(void **state)
{
    struct fixture *f = *state;
    (void)put_half(f, "a", 0, "");
    (void)put_half(f, "b", 0, "");
    kit_dispatched(&f->kit);
    atomic_store(&f->kit.vfs.write_target, KIT_COMMIT_LOG);
    atomic_store(&f->kit.vfs.write_errno, 28 /* ENOSPC */);
    log_set_level(LOG_ERROR);
    next_round(f);
    assert_int_equal(f->asked, 0);
    assert_int_equal(kept(f, TOPIC_TRANS_HALF), -1);
    atomic_store(&f->kit.vfs.write_target, KIT_NOTHING);
    /* The store looks at the disk again within seconds. */
    for (int i = 0; i < 60000 && !store_writable(f->kit.store, NULL, 0); i++)
        nap();
    next_round(f);
    assert_int_equal(f->asked, 2);
    assert_int_equal(kept(f, TOPIC_TRANS_HALF), 2);
}

/* Damage costs the damaged one only. */
static void a_damaged_half_message(void **state)
{
    struct fixture *f = *state;
    char path[256];
    struct record record = kit_record(SLICE_LITERAL(TOPIC_TRANS_HALF), 0, SLICE_LITERAL("damaged"),
                                      SLICE_LITERAL("PGROUP\1PG"));
    record.born_timestamp_ms = START_MS;
    struct append_result result = put(f, &record);
    (void)put_half(f, "whole", 0, "");
    kit_path(&f->kit, "commitlog/00000000000000000000", path);
    kit_dispatched(&f->kit);
    kit_poke(path, result.pos + 88, "D", 1); /* its body */
    next_round(f);
    assert_int_equal(f->asked, 1);
    assert_string_equal(f->questions[0].body, "whole");
    assert_int_equal(kept(f, TOPIC_TRANS_HALF), 2);
}

static void commit_offset(struct fixture *f, const char *topic, int64_t offset)
{
    assert_int_equal(offsets_commit(f->offsets, slice_of_cstr(topic),
                                    SLICE_LITERAL(GROUP_TRANSACTIONS), 0, offset),
                     STATUS_OK);
}

/* Offsets that somebody has set count; those outside the queue are brought back. */
static void offsets_from_elsewhere(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 4; i++)
        (void)put_half(f, "x", 0, "");
    put_marker(f, 2);
    commit_offset(f, TOPIC_TRANS_HALF, 2);
    next_round(f);
    assert_int_equal(f->asked, 1); /* the last one */
    assert_int_equal(kept(f, TOPIC_TRANS_HALF), 4);
    commit_offset(f, TOPIC_TRANS_HALF, 1000);
    next_round(f); /* from the beginning, markers too */
    assert_int_equal(f->asked, 1 + 4);
    assert_int_equal(kept(f, TOPIC_TRANS_HALF), 5);
    assert_int_equal(kept(f, TOPIC_TRANS_OP_HALF), 1);
}

static void live_again(struct fixture *f)
{
    stop(f);
    kit_close(&f->kit);
    kit_start(&f->kit);
    load_tables(f);
    f->now_ms = 1000;
    start_check(f);
}

/* The progress of a broker that was killed may be a second old: the round that made the copy is
 * gone, its copy and the end of that are there. Nobody is asked about the first one once more, for
 * that would be committed, too. */
static void the_copys_end_counts_for_the_first_one(void **state)
{
    struct fixture *f = *state;
    (void)put_half(f, "ended through its copy", 0, "");
    (void)put_half(f, "open", 0, "");
    next_round(f);
    assert_int_equal(f->asked, 2);
    struct record copy = message_at(f, TOPIC_TRANS_HALF, 2);
    assert_true(slice_is(copy.body, "ended through its copy"));
    put_marker_of(f, &copy, SYS_FLAG_TRANSACTION_COMMIT);
    kit_dispatched(&f->kit);
    live_again(f); /* with the offsets of before: none */
    assert_int_equal(kept(f, TOPIC_TRANS_HALF), -1);
    next_round(f); /* about the open one, and about its copy */
    next_round(f);
    assert_int_equal(f->asked, 2 + 2 + 2);
    for (int i = 2; i < 6; i++)
        assert_string_equal(f->questions[i].body, "open");
}

/* The end that was sent first comes late, when a copy has been made: that is not asked about. */
static void the_first_ones_end_counts_for_its_copy(void **state)
{
    struct fixture *f = *state;
    (void)put_half(f, "late", 0, "");
    struct record half = message_at(f, TOPIC_TRANS_HALF, 0);
    next_round(f);
    assert_int_equal(f->asked, 1);
    put_marker_of(f, &half, SYS_FLAG_TRANSACTION_ROLLBACK);
    kit_dispatched(&f->kit);
    live_again(f);
    commit_offset(f, TOPIC_TRANS_HALF, 1);
    next_round(f);
    next_round(f);
    assert_int_equal(f->asked, 1);
    assert_int_equal(count_of(f, TOPIC_TRANS_HALF), 2);
}

/* A later life goes on where this one has got to. */
static void another_life(void **state)
{
    struct fixture *f = *state;
    (void)put_half(f, "open", 0, "");
    (void)put_half(f, "done", 0, "");
    put_marker(f, 1);
    next_round(f);
    assert_int_equal(f->asked, 1);
    store_stop(f->kit.store);
    transaction_check_finish(f->check);
    struct err err;
    assert_int_equal(offsets_persist(f->offsets, &err), STATUS_OK);
    stop(f);
    kit_close(&f->kit);
    kit_start(&f->kit);
    load_tables(f);
    f->now_ms = 1000;
    start_check(f);
    next_round(f);
    assert_int_equal(f->asked, 2);
    assert_string_equal(f->questions[1].body, "open");
    assert_int_equal(f->questions[1].times, 2);
    assert_int_equal(count_of(f, TOPIC_TRANS_HALF), 4);
}

/* The end of the store in the middle of a round: what was done is kept. */
static void finished_early(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 1000; i++)
        (void)put_half(f, "x", 0, "");
    pass_time(f, INTERVAL_MS);
    while (f->asked == 0) {
        (void)step(f);
        nap();
    }
    assert_true(f->asked < 1000);
    store_stop(f->kit.store);
    transaction_check_finish(f->check);
    assert_int_equal(kept(f, TOPIC_TRANS_HALF), f->asked);
}

/* A round ends after a minute. */
static void a_round_takes_a_minute_at_most(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 1000; i++)
        (void)put_half(f, "x", 0, "");
    pass_time(f, INTERVAL_MS);
    while (f->asked == 0) {
        (void)step(f);
        nap();
    }
    f->now_ms += 60001;
    finish_round(f, 0);
    assert_true(f->asked < 1000);
    assert_int_equal(kept(f, TOPIC_TRANS_HALF), f->asked);
}

static int64_t heap_bytes(void)
{
    struct mallinfo2 info = mallinfo2();
    return (int64_t)(info.uordblks + info.hblkhd);
}

/* Many open transactions, and many that have ended: memory does not grow with the former. */
static void many(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < MANY; i++)
        (void)put_half(f, "many", 0, "");
    arena_reset(&f->arena);
    kit_dispatched(&f->kit);
    int64_t heap = heap_bytes();
    int64_t top = heap;
    struct timespec begin;
    struct timespec end;
    pass_time(f, INTERVAL_MS);
    (void)clock_gettime(CLOCK_MONOTONIC, &begin);
    while (transaction_check_counts(f->check).rounds == 0) {
        if (step(f) > 0)
            nap();
        if (heap_bytes() > top)
            top = heap_bytes();
    }
    (void)clock_gettime(CLOCK_MONOTONIC, &end);
    printf("a round over %d open transactions: %.2f s, %lld bytes of memory\n", MANY,
           (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9,
           (long long)(top - heap));
    assert_int_equal(f->asked, MANY);
    assert_true(top - heap < 4 * 1024 * 1024);
    finish_round(f, 0);
    for (int i = 0; i < MANY; i++)
        put_marker(f, MANY + i);
    next_round(f);
    assert_int_equal(f->asked, MANY);
    assert_int_equal(kept(f, TOPIC_TRANS_HALF), 2 * MANY);
    assert_int_equal(kept(f, TOPIC_TRANS_OP_HALF), MANY);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(asked_every_round),
        TEST(the_young_are_left_alone),
        TEST(born_in_the_future),
        TEST(copies_wait_for_the_next_round),
        TEST(what_has_ended_is_passed),
        TEST(a_marker_is_kept_while_it_is_needed),
        TEST(what_is_no_marker_is_passed),
        TEST(given_up),
        TEST(the_largest_is_asked_about_and_given_up),
        TEST(ended_before_it_is_given_up),
        TEST(its_own_time),
        TEST(the_first_ones_marker_counts_for_its_copy),
        TEST(the_copys_end_counts_for_the_first_one),
        TEST(the_first_ones_end_counts_for_its_copy),
        TEST(the_step_stops_while_enough_is_asked),
        TEST(appends_that_fail),
        TEST(a_damaged_half_message),
        TEST(offsets_from_elsewhere),
        TEST(another_life),
        TEST(finished_early),
        TEST(a_round_takes_a_minute_at_most),
        TEST(many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
