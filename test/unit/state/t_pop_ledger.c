/* SPDX-License-Identifier: Apache-2.0
 *
 * The ledger of popped messages, without a log: what is taken, ticked off, due, to be written, and
 * when the group's offset may move. The keeper is played by the test, and so is the disk.
 */
#include "broker/state/pop_ledger.h"

#include "common/base/limits.h"
#include "common/sys/log.h"
#include "state_test.h"

#define START_MS 1700000000000
#define WORK_MAX 64

struct fixture {
    struct folder folder;
    struct offsets *offsets;
    struct pop_ledger *ledger;
    struct pop_work work[WORK_MAX];
    size_t count;
    int64_t done[POP_REVIVE_QUEUES];
};

static const struct slice topic = {(const uint8_t *)"T", 1};
static const struct slice group = {(const uint8_t *)"G", 1};

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof *f);
    char path[PATH_BYTES];
    struct err err = {.text = ""};
    log_set_level(LOG_ERROR);
    folder_make(&f->folder);
    if (offsets_load(folder_file(&f->folder, "offsets.json", path), vfs_posix(), &f->offsets,
                     &err) != STATUS_OK)
        fail_msg("%s", err.text);
    f->ledger = pop_ledger_new(f->offsets);
    pop_ledger_set_ready(f->ledger);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    pop_ledger_free(f->ledger);
    offsets_free(f->offsets);
    folder_remove(&f->folder);
    free(f);
    return 0;
}

/* Pop `count` messages from queue 0; where they begin. */
static int64_t pop(struct fixture *f, int count, int64_t now_ms, int64_t invisible_ms)
{
    struct pop_queue *queue = NULL;
    int64_t start = -2;
    int64_t offsets[POP_MESSAGES_MAX];
    bool wanted = true;
    assert_int_equal(pop_ledger_take(f->ledger, topic, group, 0, now_ms, &queue, &start),
                     POP_TAKE_OK);
    if (start < 0) {
        start = 0;
        pop_ledger_begin_at(f->ledger, queue, 0);
    }
    for (int i = 0; i < count; i++)
        offsets[i] = start + i;
    struct pop_taken taken = {.start_offset = start,
                              .next_offset = start + count,
                              .pop_time_ms = now_ms,
                              .invisible_ms = invisible_ms,
                              .revive_queue = 1,
                              .count = count,
                              .offsets = offsets};
    assert_true(pop_ledger_give(f->ledger, queue, &taken, &wanted));
    assert_false(wanted);
    return start;
}

static struct pop_name name_of(int64_t start_offset, int64_t pop_time_ms)
{
    return (struct pop_name){topic, group, 0, start_offset, pop_time_ms};
}

static int ack(struct fixture *f, int64_t start_offset, int64_t pop_time_ms, int64_t offset)
{
    struct pop_name name = name_of(start_offset, pop_time_ms);
    return pop_ledger_ack(f->ledger, &name, &offset, 1);
}

static size_t collect(struct fixture *f, int64_t now_ms)
{
    f->count = pop_ledger_collect(f->ledger, now_ms, f->work, WORK_MAX);
    return f->count;
}

static bool settle(struct fixture *f, int64_t flushed_pos, int64_t now_ms)
{
    return pop_ledger_settle(f->ledger, flushed_pos, now_ms, f->done);
}

static int64_t committed(const struct fixture *f)
{
    return offsets_get(f->offsets, topic, group, 0);
}

static void a_queue_is_one_pops_at_a_time(void **state)
{
    struct fixture *f = *state;
    struct pop_queue *queue;
    struct pop_queue *other;
    int64_t offset;
    bool wanted;
    assert_int_equal(pop_ledger_take(f->ledger, topic, group, 0, START_MS, &queue, &offset),
                     POP_TAKE_OK);
    assert_int_equal(offset, -1);
    assert_int_equal(pop_ledger_take(f->ledger, topic, group, 0, START_MS, &other, &offset),
                     POP_TAKE_BUSY);
    assert_int_equal(
        pop_ledger_take(f->ledger, topic, SLICE_LITERAL("H"), 0, START_MS, &other, &offset),
        POP_TAKE_OK);
    assert_true(pop_ledger_give(f->ledger, other, NULL, &wanted));
    assert_false(wanted);
    assert_true(pop_ledger_give(f->ledger, queue, NULL, &wanted));
    assert_true(wanted);
    assert_int_equal(pop_ledger_take(f->ledger, topic, group, -1, START_MS, &queue, &offset),
                     POP_TAKE_FULL);
}

static void acknowledged_in_memory(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(pop(f, 3, START_MS, 60000), 0);
    assert_int_equal(pop(f, 2, START_MS + 1, 60000), 3);
    assert_int_equal(ack(f, 3, START_MS + 1, 3), 1);
    assert_int_equal(ack(f, 3, START_MS + 1, 3), 0); /* again */
    assert_int_equal(ack(f, 3, START_MS + 1, 5), 0); /* none of its own */
    assert_int_equal(ack(f, 3, START_MS, 4), 0);     /* another pop time */
    assert_int_equal(ack(f, 3, START_MS + 1, 4), 1);
    assert_false(settle(f, 0, START_MS));
    assert_int_equal(committed(f), 0); /* the first pop is open */
    for (int i = 0; i < 3; i++)
        assert_int_equal(ack(f, 0, START_MS, i), 1);
    assert_false(settle(f, 0, START_MS));
    assert_int_equal(committed(f), 5);
    assert_int_equal(pop_ledger_points(f->ledger), 0);
    assert_int_equal(collect(f, START_MS + 100000), 0); /* nothing to write, nothing due */
}

static void old_ones_are_stored_and_let_the_offset_pass_when_durable(void **state)
{
    struct fixture *f = *state;
    (void)pop(f, 3, START_MS, 60000);
    assert_int_equal(ack(f, 0, START_MS, 1), 1);
    assert_int_equal(collect(f, START_MS + 500), 0);
    assert_int_equal(collect(f, START_MS + 1000), 1);
    assert_int_equal(f->work[0].kind, POP_WORK_STORE);
    assert_int_equal(f->work[0].bits, 2);
    assert_int_equal(f->work[0].view.count, 3);
    assert_int_equal(collect(f, START_MS + 1000), 1); /* writing failed: once more */
    pop_ledger_stored(f->ledger, &f->work[0], 7, 1000);
    assert_true(settle(f, 999, START_MS + 1000));
    assert_int_equal(committed(f), 0);
    assert_false(settle(f, 1000, START_MS + 1000));
    assert_int_equal(committed(f), 3);
    assert_int_equal(f->done[1], 6); /* everything in front of it */

    assert_int_equal(ack(f, 0, START_MS, 0), 1);
    assert_int_equal(collect(f, START_MS + 1100), 1);
    assert_int_equal(f->work[0].kind, POP_WORK_ACKS);
    assert_int_equal(f->work[0].bits, 1);
    pop_ledger_acks_written(f->ledger, &f->work[0], 8, 2000);
    assert_int_equal(ack(f, 0, START_MS, 2), 1);
    assert_int_equal(collect(f, START_MS + 1200), 1);
    assert_int_equal(f->work[0].bits, 4);
    pop_ledger_acks_written(f->ledger, &f->work[0], 9, 3000);
    (void)settle(f, 2999, START_MS);
    assert_int_equal(pop_ledger_points(f->ledger), 1); /* not before it is durable */
    (void)settle(f, 3000, START_MS);
    assert_int_equal(pop_ledger_points(f->ledger), 0);
    assert_int_equal(f->done[1], 9);
}

static void what_is_open_comes_again(void **state)
{
    struct fixture *f = *state;
    (void)pop(f, 3, START_MS, 500);
    assert_int_equal(pop_ledger_due_ms(f->ledger), START_MS + 500);
    assert_int_equal(ack(f, 0, START_MS, 1), 1);
    assert_int_equal(collect(f, START_MS + 499), 0);
    assert_int_equal(collect(f, START_MS + 500), 1);
    assert_int_equal(f->work[0].kind, POP_WORK_REVIVE);
    assert_int_equal(f->work[0].bits, 5);
    assert_int_equal(ack(f, 0, START_MS, 0), 0); /* too late */
    pop_ledger_later(f->ledger, &f->work[0], 1, 400, START_MS + 1500);
    assert_int_equal(collect(f, START_MS + 1100), 1); /* it is stored while it waits */
    assert_int_equal(f->work[0].kind, POP_WORK_STORE);
    assert_int_equal(f->work[0].bits, 3);
    assert_int_equal(collect(f, START_MS + 1500), 1);
    assert_int_equal(f->work[0].kind, POP_WORK_REVIVE);
    assert_int_equal(f->work[0].bits, 4);
    pop_ledger_revived(f->ledger, &f->work[0], 500);
    assert_true(settle(f, 499, START_MS));
    assert_int_equal(committed(f), 0);
    assert_false(settle(f, 500, START_MS));
    assert_int_equal(committed(f), 3);
    assert_int_equal(pop_ledger_points(f->ledger), 0);
}

static void another_time_is_in_the_log_before_the_old_one_is_done(void **state)
{
    struct fixture *f = *state;
    int64_t now_ms = START_MS; /* within the millisecond of the pop */
    (void)pop(f, 2, START_MS, 60000);
    struct pop_name name = name_of(0, START_MS);
    assert_int_equal(ack(f, 0, START_MS, 1), 1);
    assert_int_equal(pop_ledger_change(f->ledger, &name, 0, &now_ms, 90000, 1), STATUS_OK);
    assert_int_equal(now_ms, START_MS + 1);
    assert_int_equal(pop_ledger_change(f->ledger, &name, 0, &now_ms, 1, 1), STATUS_NOT_FOUND);
    assert_int_equal(pop_ledger_change(f->ledger, &name, 1, &now_ms, 1, 1), STATUS_NOT_FOUND);
    assert_false(settle(f, INT64_MAX, START_MS));
    assert_int_equal(committed(f), 0); /* the log does not have it yet */
    assert_int_equal(collect(f, START_MS + 1), 1);
    assert_int_equal(f->work[0].kind, POP_WORK_STORE);
    assert_int_equal(f->work[0].view.count, 1);
    assert_int_equal(f->work[0].view.invisible_ms, 90000);
    pop_ledger_stored(f->ledger, &f->work[0], 0, 700);
    assert_true(settle(f, 699, START_MS));
    assert_int_equal(committed(f), 0);
    (void)settle(f, 700, START_MS);
    assert_int_equal(committed(f), 2);
    assert_int_equal(pop_ledger_due_ms(f->ledger), START_MS + 1 + 90000);
    assert_int_equal(ack(f, 0, START_MS + 1, 0), 1);
}

static void a_chain_of_changes_ends_with_one_acknowledgement(void **state)
{
    struct fixture *f = *state;
    (void)pop(f, 1, START_MS, 60000);
    int64_t time_ms = START_MS;
    for (int i = 1; i <= 5; i++) {
        struct pop_name name = name_of(0, time_ms);
        time_ms = START_MS + i;
        assert_int_equal(pop_ledger_change(f->ledger, &name, 0, &time_ms, 60000, 1), STATUS_OK);
    }
    assert_int_equal(ack(f, 0, time_ms, 0), 1);
    for (int i = 0; i < 6; i++)
        (void)settle(f, 0, START_MS);
    assert_int_equal(committed(f), 1);
    assert_int_equal(pop_ledger_points(f->ledger), 0);
}

static void an_offset_of_others_is_followed(void **state)
{
    struct fixture *f = *state;
    (void)pop(f, 4, START_MS, 60000);
    assert_int_equal(offsets_commit(f->offsets, topic, group, 0, 1), STATUS_OK);
    assert_int_equal(pop_ledger_next_offset(f->ledger, topic, group, 0), 1);
    assert_int_equal(pop(f, 4, START_MS + 1, 60000), 1);
    for (int i = 0; i < 4; i++)
        assert_int_equal(ack(f, 0, START_MS, i), 1);
    (void)settle(f, INT64_MAX, START_MS);
    assert_int_equal(committed(f), 1); /* what was popped before the reset moves nothing */
    for (int i = 1; i < 5; i++)
        assert_int_equal(ack(f, 1, START_MS + 1, i), 1);
    (void)settle(f, INT64_MAX, START_MS);
    assert_int_equal(committed(f), 5);
    assert_int_equal(pop_ledger_points(f->ledger), 0);
}

static void filtered_messages_are_passed(void **state)
{
    struct fixture *f = *state;
    struct pop_queue *queue;
    int64_t offset;
    bool wanted;
    (void)pop(f, 2, START_MS, 60000);
    assert_int_equal(pop_ledger_take(f->ledger, topic, group, 0, START_MS, &queue, &offset),
                     POP_TAKE_OK);
    struct pop_taken nothing = {.start_offset = 2, .next_offset = 9};
    assert_true(pop_ledger_give(f->ledger, queue, &nothing, &wanted));
    assert_int_equal(committed(f), 0);
    assert_int_equal(ack(f, 0, START_MS, 0) + ack(f, 0, START_MS, 1), 2);
    (void)settle(f, 0, START_MS);
    assert_int_equal(committed(f), 9);
    assert_int_equal(pop(f, 1, START_MS + 1, 60000), 9);
}

static void a_reset_while_others_are_passed_stands(void **state)
{
    struct fixture *f = *state;
    struct pop_queue *queue;
    int64_t offset;
    bool wanted;
    assert_int_equal(pop(f, 1, START_MS, 60000), 0);
    assert_int_equal(ack(f, 0, START_MS, 0), 1);
    (void)settle(f, 0, START_MS);
    assert_int_equal(committed(f), 1);
    assert_int_equal(pop_ledger_take(f->ledger, topic, group, 0, START_MS, &queue, &offset),
                     POP_TAKE_OK);
    assert_int_equal(offsets_commit(f->offsets, topic, group, 0, 0), STATUS_OK);
    struct pop_taken nothing = {.start_offset = 1, .next_offset = 9};
    assert_true(pop_ledger_give(f->ledger, queue, &nothing, &wanted));
    assert_int_equal(committed(f), 0);
    assert_int_equal(pop(f, 1, START_MS + 1, 60000), 0);
}

/* The record before it is needed until the new one cannot be lost. */
static void what_is_written_anew_counts_when_it_is_durable(void **state)
{
    struct fixture *f = *state;
    static const uint32_t itself = 0;
    struct pop_view view = {.topic = topic,
                            .group = group,
                            .pop_time_ms = START_MS,
                            .invisible_ms = 60000,
                            .revive_queue = 1,
                            .count = 1,
                            .offsets = &itself};
    assert_int_equal(pop_ledger_replay(f->ledger, &view, 10), STATUS_OK);
    view.start_offset = 1;
    assert_int_equal(pop_ledger_replay(f->ledger, &view, 300000), STATUS_OK);
    (void)settle(f, 500, START_MS);
    assert_int_equal(f->done[1], 9);
    assert_int_equal(collect(f, START_MS + 1000), 1);
    assert_int_equal(f->work[0].view.start_offset, 0);
    pop_ledger_stored(f->ledger, &f->work[0], 300001, 700);
    (void)settle(f, 699, START_MS);
    assert_int_equal(f->done[1], 9);
    (void)settle(f, 700, START_MS);
    assert_int_equal(f->done[1], 299999);
}

/* Also while one after the other is written anew, and none is durable at once. */
static void the_log_shrinks_while_it_is_written_anew(void **state)
{
    struct fixture *f = *state;
    static const uint32_t itself = 0;
    struct pop_view view = {.topic = topic,
                            .group = group,
                            .pop_time_ms = START_MS,
                            .invisible_ms = 60000,
                            .revive_queue = 1,
                            .count = 1,
                            .offsets = &itself};
    for (int i = 0; i < 4; i++) {
        view.start_offset = i;
        assert_int_equal(pop_ledger_replay(f->ledger, &view, i), STATUS_OK);
    }
    view.start_offset = 4;
    assert_int_equal(pop_ledger_replay(f->ledger, &view, 300000), STATUS_OK);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(collect(f, START_MS + 1000), 1);
        assert_int_equal(f->work[0].view.start_offset, i);
        pop_ledger_stored(f->ledger, &f->work[0], 300001 + i, 100 * (i + 1));
        (void)settle(f, 100 * i, START_MS); /* all but this one */
        assert_int_equal(f->done[1], i - 1);
    }
}

static void the_log_fills_the_ledger(void **state)
{
    struct fixture *f = *state;
    static const uint32_t offsets[] = {0, 2, 3};
    static const int64_t acks[] = {12, 13, 99};
    struct pop_view view = {.topic = topic,
                            .group = group,
                            .start_offset = 10,
                            .pop_time_ms = START_MS,
                            .invisible_ms = 1000,
                            .revive_queue = 2,
                            .count = 3,
                            .offsets = offsets};
    struct pop_name name = name_of(10, START_MS);
    assert_int_equal(pop_ledger_replay(f->ledger, &view, 5), STATUS_OK);
    view.start_offset = 20;
    assert_int_equal(pop_ledger_replay(f->ledger, &view, 6), STATUS_OK);
    view.start_offset = 10;
    view.acked = 1;
    assert_int_equal(pop_ledger_replay(f->ledger, &view, 7), STATUS_OK); /* written anew */
    assert_int_equal(pop_ledger_points(f->ledger), 2);
    pop_ledger_replay_acks(f->ledger, &name, acks, 1);
    assert_int_equal(collect(f, START_MS + 1000), 2);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(f->work[i].kind, POP_WORK_REVIVE);
        assert_int_equal(f->work[i].bits, f->work[i].view.start_offset == 10 ? 4 : 7);
        pop_ledger_revived(f->ledger, &f->work[i], 100);
    }
    (void)settle(f, 100, START_MS);
    assert_int_equal(f->done[2], 5);
    assert_int_equal(collect(f, START_MS + 1000), 2);
    for (size_t i = 0; i < 2; i++)
        pop_ledger_acks_written(f->ledger, &f->work[i], 8 + (int64_t)i, 200);
    (void)settle(f, 200, START_MS);
    assert_int_equal(f->done[2], 9);
    assert_int_equal(pop_ledger_points(f->ledger), 0);
    pop_ledger_replay_acks(f->ledger, &name, acks, 3); /* of one that is gone */
    view.count = 0;
    assert_int_equal(pop_ledger_replay(f->ledger, &view, 10), STATUS_INVALID);
}

static void no_checkpoint_of_the_log_is_left_out(void **state)
{
    struct fixture *f = *state;
    static const uint32_t itself = 0;
    struct pop_view view = {.topic = topic,
                            .group = group,
                            .pop_time_ms = START_MS,
                            .invisible_ms = 1000,
                            .revive_queue = 2,
                            .count = 1,
                            .offsets = &itself};
    for (int64_t i = 0; i < POP_QUEUE_POINTS_MAX + 5000; i++) {
        struct pop_name name = name_of(i, START_MS);
        view.start_offset = i;
        assert_int_equal(pop_ledger_replay(f->ledger, &view, 2 * i), STATUS_OK);
        if (i % 1000 == 999) /* one in a thousand stays open */
            continue;
        pop_ledger_replay_acks(f->ledger, &name, &i, 1);
        if (i % 4000 == 0)
            (void)settle(f, INT64_MAX, START_MS);
    }
    for (int i = 0; i < 20; i++)
        (void)settle(f, INT64_MAX, START_MS);
    assert_int_equal(pop_ledger_points(f->ledger), (POP_QUEUE_POINTS_MAX + 5000) / 1000);
}

static void stopping_stores_everything(void **state)
{
    struct fixture *f = *state;
    (void)pop(f, 1, START_MS, 100);
    (void)pop(f, 1, START_MS + 1, 60000);
    assert_int_equal(collect(f, START_MS + 2), 0);
    pop_ledger_close(f->ledger);
    assert_int_equal(collect(f, START_MS + 2), 2);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(f->work[i].kind, POP_WORK_STORE);
        pop_ledger_stored(f->ledger, &f->work[i], (int64_t)i, 100);
    }
    (void)settle(f, 100, START_MS);
    assert_int_equal(committed(f), 2);
}

static void a_queue_has_bounds(void **state)
{
    struct fixture *f = *state;
    struct pop_queue *queue;
    int64_t offset;
    for (int i = 0; i < POP_QUEUE_POINTS_MAX; i++)
        (void)pop(f, 1, START_MS, 60000);
    assert_int_equal(pop_ledger_take(f->ledger, topic, group, 0, START_MS, &queue, &offset),
                     POP_TAKE_FULL);
    assert_int_equal(ack(f, 77, START_MS, 77), 1);
    (void)settle(f, 0, START_MS);
    /* It still waits for those in front of it. */
    assert_int_equal(ack(f, 0, START_MS, 0), 1);
    (void)settle(f, 0, START_MS);
    assert_int_equal(committed(f), 1);
    (void)pop(f, 1, START_MS, 60000);
}

/* Many at random against a plain list: what is due and open is exactly what comes out. */
static void due_in_order(void **state)
{
    struct fixture *f = *state;
    enum { POPS = 2000 };
    int64_t due[POPS];
    bool acked[POPS];
    uint64_t x = 88172645463325252ULL;
    int open = 0;
    for (int i = 0; i < POPS; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        due[i] = 10000000 + (int64_t)(x % 5000);
        acked[i] = x % 3 == 0;
        assert_int_equal(pop(f, 1, START_MS, due[i]), i);
    }
    for (int i = 0; i < POPS; i++) {
        open += !acked[i];
        if (acked[i])
            assert_int_equal(ack(f, i, START_MS, i), 1);
    }
    int64_t last = 0;
    pop_ledger_close(f->ledger); /* so that nothing is held back */
    while (open > 0) {
        size_t count = collect(f, START_MS + 10010000);
        for (size_t i = 0; i < count; i++) {
            if (f->work[i].kind != POP_WORK_REVIVE)
                continue;
            int64_t at = f->work[i].view.start_offset;
            assert_false(acked[at]);
            assert_true(due[at] >= last);
            last = due[at];
            open--;
            pop_ledger_revived(f->ledger, &f->work[i], 0);
        }
        (void)settle(f, 0, START_MS);
    }
    assert_int_equal(committed(f), POPS);
    assert_int_equal(pop_ledger_points(f->ledger), 0);
}

struct oldest {
    int64_t offset; /* of queue 0 of T; -1: none */
    int others;
};

static void on_oldest(void *ctx, struct slice name, int32_t queue_id, int64_t queue_offset)
{
    struct oldest *oldest = ctx;
    if (slice_equal(name, topic) && queue_id == 0)
        oldest->offset = queue_offset;
    else
        oldest->others++;
}

static int64_t oldest_of(struct fixture *f)
{
    struct oldest oldest = {.offset = -1};
    pop_ledger_oldest(f->ledger, START_MS + 100000, on_oldest, &oldest);
    assert_int_equal(oldest.others, 0);
    return oldest.offset;
}

/* In whatever order they are acknowledged, among many. */
static void the_oldest_open_message(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(oldest_of(f), -1);
    for (int64_t i = 0; i < 3000; i++)
        (void)pop(f, 2, START_MS + i, 60000);
    assert_int_equal(oldest_of(f), 0);
    for (int64_t i = 2999; i > 1000; i--) {
        (void)ack(f, 2 * i, START_MS + i, 2 * i);
        (void)ack(f, 2 * i, START_MS + i, 2 * i + 1);
    }
    assert_int_equal(oldest_of(f), 0);
    for (int64_t i = 0; i < 1000; i++) {
        assert_int_equal(ack(f, 2 * i, START_MS + i, 2 * i), 1);
        if (i % 100 == 0)
            assert_int_equal(oldest_of(f), 2 * i + 1);
        assert_int_equal(ack(f, 2 * i, START_MS + i, 2 * i + 1), 1);
    }
    assert_int_equal(oldest_of(f), 2000);
    assert_int_equal(ack(f, 2000, START_MS + 1000, 2000), 1);
    assert_int_equal(ack(f, 2000, START_MS + 1000, 2001), 1);
    assert_int_equal(oldest_of(f), -1);
}

/* Taken for a hundred years: nothing stays for its sake. */
static void what_comes_again_too_late_is_not_the_oldest(void **state)
{
    struct fixture *f = *state;
    (void)pop(f, 2, START_MS, INT64_MAX);
    assert_int_equal(oldest_of(f), -1);
    (void)pop(f, 2, START_MS, 100001);
    assert_int_equal(oldest_of(f), -1);
    (void)pop(f, 2, START_MS, 100000);
    assert_int_equal(oldest_of(f), 4);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_queue_is_one_pops_at_a_time),
        TEST(acknowledged_in_memory),
        TEST(old_ones_are_stored_and_let_the_offset_pass_when_durable),
        TEST(what_is_open_comes_again),
        TEST(another_time_is_in_the_log_before_the_old_one_is_done),
        TEST(a_chain_of_changes_ends_with_one_acknowledgement),
        TEST(an_offset_of_others_is_followed),
        TEST(filtered_messages_are_passed),
        TEST(a_reset_while_others_are_passed_stands),
        TEST(what_is_written_anew_counts_when_it_is_durable),
        TEST(the_log_shrinks_while_it_is_written_anew),
        TEST(the_log_fills_the_ledger),
        TEST(no_checkpoint_of_the_log_is_left_out),
        TEST(stopping_stores_everything),
        TEST(a_queue_has_bounds),
        TEST(due_in_order),
        TEST(the_oldest_open_message),
        TEST(what_comes_again_too_late_is_not_the_oldest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
