/* SPDX-License-Identifier: Apache-2.0
 *
 * What a start knows of the transactions that ended before it: what the markers say, those of 4.9.2
 * too, by the first half message; and the end whose marker was lost.
 */
#include "broker/state/transaction_recall.h"

#include "broker/state/half_message.h"
#include "broker/state/topics.h"
#include "common/base/check.h"
#include "common/sys/log.h"
#include "test/unit/support/store_kit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <time.h>

#define NOW_MS 1700000000000

static const struct host host = {.ip = {127, 0, 0, 1}, .ip_bytes = 4, .port = 10911};

struct fixture {
    struct kit kit;
    struct transaction_ends *ends;
    struct transaction_recall recall;
    struct arena arena;
};

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof *f);
    kit_init(&f->kit, "recall");
    log_set_level(LOG_ERROR);
    arena_init(&f->arena, 4096);
    kit_start(&f->kit);
    f->ends = transaction_ends_new();
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    transaction_ends_free(f->ends);
    kit_release(&f->kit);
    arena_release(&f->arena);
    free(f);
    return 0;
}

static int64_t put(struct fixture *f, const struct record *record)
{
    struct append_batch *batch = f->kit.batch;
    struct queue *queue = store_queue(f->kit.store, record->topic, record->queue_id, true);
    append_batch_clear(batch);
    assert_int_equal(append_batch_add(batch, queue, record, false, NULL), STATUS_OK);
    const struct append_result *result = store_append(f->kit.store, batch);
    assert_int_equal(result->status, PUT_OK);
    return result->pos;
}

static struct record read_at(struct fixture *f, int64_t pos)
{
    struct log_range range;
    struct record record;
    assert_int_equal(store_read_record(f->kit.store, pos, &range), STATUS_OK);
    struct slice copy = arena_copy(&f->arena, slice_of(range.data, range.size));
    log_range_release(&range);
    assert_int_equal(record_decode(copy, RECORD_CHECK_CRC, &record), STATUS_OK);
    return record;
}

static struct record put_half(struct fixture *f, const char *body)
{
    struct record record = kit_record(SLICE_LITERAL(TOPIC_TRANS_HALF), 0, slice_of_cstr(body),
                                      SLICE_LITERAL("TRAN_MSG\1true\2PGROUP\1PG\2REAL_TOPIC\1T\2"
                                                    "REAL_QID\1"
                                                    "0"));
    return read_at(f, put(f, &record));
}

static void put_marker(struct fixture *f, const struct record *half, int32_t outcome)
{
    char text[I64_TEXT_BYTES];
    struct record marker;
    half_mark(half, outcome, &host, NOW_MS, text, &marker);
    (void)put(f, &marker);
}

static int64_t markers(struct fixture *f)
{
    kit_dispatched(&f->kit);
    return queue_max_offset(kit_queue(&f->kit, TOPIC_TRANS_OP_HALF, 0));
}

static void live_again(struct fixture *f)
{
    struct transaction_end end;
    kit_dispatched(&f->kit);
    transaction_ends_free(f->ends);
    kit_close(&f->kit);
    kit_start(&f->kit);
    f->ends = transaction_ends_new();
    transaction_recall_init(&f->recall, f->kit.store, f->ends);
    int64_t begin_pos = store_appended_pos(f->kit.store);
    assert_int_equal(transaction_ends_claim(f->ends, 0, &end), TRANSACTION_NOT_READY);
    assert_int_equal(transaction_ends_claim(f->ends, begin_pos - 1, &end), TRANSACTION_NOT_READY);
    assert_int_equal(transaction_ends_claim(f->ends, begin_pos, &end), TRANSACTION_YOURS);
    while (!transaction_recall_step(&f->recall, NOW_MS, 1000)) {
        const struct timespec pause = {.tv_nsec = 1000000};
        (void)nanosleep(&pause, NULL);
    }
}

static void what_has_ended_is_read_back(void **state)
{
    struct fixture *f = *state;
    struct transaction_end end;
    static const int32_t outcomes[] = {SYS_FLAG_TRANSACTION_COMMIT, SYS_FLAG_TRANSACTION_ROLLBACK,
                                       0};
    struct record halves[4];
    for (size_t i = 0; i < 4; i++)
        halves[i] = put_half(f, "half");
    assert_int_equal(halves[0].physical_offset, 0);
    put_marker(f, &halves[0], SYS_FLAG_TRANSACTION_COMMIT);
    put_marker(f, &halves[1], SYS_FLAG_TRANSACTION_ROLLBACK);
    (void)kit_put(&f->kit, TOPIC_TRANS_OP_HALF, 0, "2", /* of 4.9.2 */
                  "TAGS\1"
                  "d");
    (void)kit_put(&f->kit, TOPIC_TRANS_OP_HALF, 0, "3", "TAGS\1no marker");
    live_again(f);
    assert_int_equal(f->recall.from, 0);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(transaction_ends_claim(f->ends, halves[i].physical_offset, &end),
                         TRANSACTION_ENDED);
        assert_int_equal(end.outcome, outcomes[i]);
        assert_true(end.pos > halves[3].physical_offset && end.end_pos > end.pos);
    }
    assert_int_equal(transaction_ends_claim(f->ends, halves[3].physical_offset, &end),
                     TRANSACTION_YOURS);
}

static void without_any_transaction(void **state)
{
    struct fixture *f = *state;
    (void)kit_put(&f->kit, "T", 0, "body", "");
    live_again(f);
    assert_true(transaction_ends_ready(f->ends));
}

/* A power cut leaves the committed message at the very end of the log, without the marker that was
 * glued to it: the transaction has ended, and the marker comes after all. The first record of a log
 * is named by 0, which others name, too. */
static void a_message_without_its_marker(void **state)
{
    struct fixture *f = *state;
    struct record message;
    struct record half = put_half(f, "committed");
    for (int i = 0; i < 2; i++) {
        assert_null(half_commit(&half, &message));
        (void)put(f, &message);
        live_again(f);
        assert_true(transaction_ends_has(f->ends, half.physical_offset));
        assert_int_equal(markers(f), i + 1);
        live_again(f); /* now the log ends with the marker, and nothing is to be done */
        assert_int_equal(markers(f), i + 1);
        half = put_half(f, "another");
    }
}

static void others_at_the_end_end_nothing(void **state)
{
    struct fixture *f = *state;
    struct record half = put_half(f, "open");
    struct record message;
    assert_null(half_commit(&half, &message));
    message.body = SLICE_LITERAL("of another transaction, delayed: it names 0");
    (void)put(f, &message);
    live_again(f);
    assert_false(transaction_ends_has(f->ends, half.physical_offset));
    assert_int_equal(markers(f), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_has_ended_is_read_back),
        TEST(without_any_transaction),
        TEST(a_message_without_its_marker),
        TEST(others_at_the_end_end_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
