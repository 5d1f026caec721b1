/* SPDX-License-Identifier: Apache-2.0
 *
 * Answers of ordered pops: one of a queue at a time; acknowledgements move the group's offset to
 * the first open message; what was given before is counted as 5.3.3 prints it; old answers are
 * forgotten; all of it outlives the process, in 5.3.3's file, also when that is older than the
 * group's offset.
 */
#include "broker/state/pop_orders.h"

#include "common/sys/log.h"
#include "state_test.h"

#define START_MS 1700000000000

static const struct pop_order_queue queue = {
    {(const uint8_t *)"T", 1}, {(const uint8_t *)"G", 1}, 2};

struct fixture {
    struct folder folder;
    struct offsets *offsets;
    struct pop_orders *orders;
};

static void load_orders(struct fixture *f)
{
    char path[PATH_BYTES];
    struct err err = {.text = ""};
    if (pop_orders_load(folder_file(&f->folder, "consumerOrderInfo.json", path), vfs_posix(),
                        f->offsets, &f->orders, &err) != STATUS_OK)
        fail_msg("%s", err.text);
}

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
    load_orders(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    pop_orders_free(f->orders);
    offsets_free(f->offsets);
    folder_remove(&f->folder);
    free(f);
    return 0;
}

static void give(struct fixture *f, int64_t first, int count, int64_t now_ms, const char *attempt,
                 const char *counts)
{
    int64_t offsets[POP_MESSAGES_MAX];
    struct buf text = BUF_EMPTY;
    for (int i = 0; i < count; i++)
        offsets[i] = first + i;
    struct pop_taken taken = {.start_offset = first,
                              .pop_time_ms = now_ms,
                              .invisible_ms = 1000,
                              .count = count,
                              .offsets = offsets};
    assert_int_equal(pop_orders_given(f->orders, &queue, slice_of_cstr(attempt), &taken, &text),
                     STATUS_OK);
    if (!slice_is(buf_slice(&text), counts))
        fail_msg("%.*s", SLICE_ARGS(buf_slice(&text)));
    buf_release(&text);
}

static int64_t held_until(struct fixture *f, int64_t offset, const char *attempt, int64_t now_ms)
{
    return pop_orders_held_until(f->orders, &queue, offset, slice_of_cstr(attempt), now_ms);
}

static bool ack(struct fixture *f, int64_t offset, int64_t pop_time_ms)
{
    bool is_free = true;
    assert_int_equal(
        pop_orders_ack(f->orders, &queue, offset, pop_time_ms, START_MS + 10, &is_free), STATUS_OK);
    return is_free;
}

static int64_t committed(const struct fixture *f)
{
    return offsets_get(f->offsets, queue.topic, queue.group, queue.queue_id);
}

static void one_answer_at_a_time(void **state)
{
    struct fixture *f = *state;
    bool is_free;
    assert_int_equal(held_until(f, 0, "", START_MS), 0);
    give(f, 5, 3, START_MS, "a", "0 2 0");
    assert_int_equal(held_until(f, 5, "", START_MS), START_MS + 1000);
    assert_int_equal(held_until(f, 5, "b", START_MS), START_MS + 1000);
    assert_int_equal(held_until(f, 5, "a", START_MS), 0); /* the same attempt */
    assert_int_equal(held_until(f, 4, "", START_MS), 0);  /* the offset was reset */
    assert_int_equal(held_until(f, 8, "", START_MS), 0);
    assert_int_equal(held_until(f, 5, "", START_MS + 1000), 0);
    assert_false(ack(f, 6, START_MS));
    assert_int_equal(committed(f), 5);
    assert_false(ack(f, 5, START_MS));
    assert_int_equal(committed(f), 7);
    assert_false(ack(f, 5, START_MS)); /* again */
    assert_int_equal(committed(f), 7);
    assert_false(ack(f, 7, START_MS - 1)); /* of an answer before */
    assert_int_equal(committed(f), 7);
    assert_int_equal(pop_orders_ack(f->orders, &queue, 9, START_MS, START_MS, &is_free),
                     STATUS_NOT_FOUND);
    assert_true(ack(f, 7, START_MS));
    assert_int_equal(committed(f), 8);
}

static void counts_as_java_prints_them(void **state)
{
    struct fixture *f = *state;
    give(f, 5, 2, START_MS, "", "0 2 0");
    give(f, 5, 3, START_MS + 1000, "", "0 qo2%5 1;0 qo2%6 1;0 2 0");
    give(f, 6, 2, START_MS + 2000, "x", "0 qo2%6 2;0 qo2%7 1;0 2 1");
    give(f, 6, 2, START_MS + 2001, "x", "0 qo2%6 2;0 qo2%7 1;0 2 1");
}

static void another_time(void **state)
{
    struct fixture *f = *state;
    give(f, 0, 2, START_MS, "", "0 2 0");
    pop_orders_change(f->orders, &queue, 1, START_MS, START_MS + 9000);
    pop_orders_change(f->orders, &queue, 0, START_MS - 1, START_MS + 99000); /* another answer */
    assert_int_equal(held_until(f, 0, "", START_MS), START_MS + 9000);
    assert_int_equal(held_until(f, 0, "", START_MS + 5000), START_MS + 9000);
    assert_false(ack(f, 0, START_MS));
    assert_true(ack(f, 1, START_MS));
}

static void after_a_start(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(offsets_commit(f->offsets, queue.topic, queue.group, queue.queue_id, 3),
                     STATUS_OK);
    assert_false(ack(f, 2, START_MS));
    assert_false(ack(f, 4, START_MS)); /* not the first: it comes again */
    assert_int_equal(committed(f), 3);
    assert_true(ack(f, 3, START_MS));
    assert_int_equal(committed(f), 4);
}

static void old_answers_are_forgotten(void **state)
{
    struct fixture *f = *state;
    give(f, 0, 1, START_MS, "", "0 2 0");
    pop_orders_expire(f->orders, START_MS + 1000);
    give(f, 0, 1, START_MS + 1000, "", "0 qo2%0 1;0 2 1");
    pop_orders_expire(f->orders, START_MS + 90000000);
    give(f, 0, 1, START_MS + 90000000, "", "0 2 0");
}

static void live_again(struct fixture *f)
{
    pop_orders_free(f->orders);
    load_orders(f);
}

static void persist(struct fixture *f)
{
    struct err err = {.text = ""};
    if (pop_orders_persist(f->orders, &err) != STATUS_OK)
        fail_msg("%s", err.text);
}

static void commit_offset(struct fixture *f, int64_t offset)
{
    assert_int_equal(offsets_commit(f->offsets, queue.topic, queue.group, queue.queue_id, offset),
                     STATUS_OK);
}

static void answers_outlive_the_process(void **state)
{
    struct fixture *f = *state;
    give(f, 5, 3, START_MS - 1000, "", "0 2 0");
    give(f, 5, 4, START_MS, "try", "0 qo2%5 1;0 qo2%6 1;0 qo2%7 1;0 2 0");
    assert_false(ack(f, 5, START_MS));
    pop_orders_change(f->orders, &queue, 7, START_MS, START_MS + 9000);
    persist(f);
    persist(f); /* nothing new */
    live_again(f);
    assert_int_equal(held_until(f, 6, "", START_MS), START_MS + 9000);
    assert_int_equal(held_until(f, 6, "try", START_MS), 0);
    assert_false(ack(f, 7, START_MS));
    assert_int_equal(held_until(f, 6, "", START_MS), START_MS + 1000);
    assert_false(ack(f, 8, START_MS));
    assert_int_equal(committed(f), 6);
    give(f, 6, 3, START_MS + 1000, "", "0 qo2%6 2;0 qo2%7 2;0 qo2%8 1;0 2 1");
}

/* After a crash: what the offset has passed is not brought back, and an answer that it has passed
 * as a whole says nothing of those that followed. */
static void a_file_that_is_older_than_the_offset(void **state)
{
    struct fixture *f = *state;
    give(f, 0, 4, START_MS, "", "0 2 0");
    persist(f);
    commit_offset(f, 2);
    live_again(f);
    assert_int_equal(held_until(f, 2, "", START_MS), START_MS + 1000);
    assert_false(ack(f, 3, START_MS));
    assert_int_equal(committed(f), 2);
    assert_true(ack(f, 2, START_MS));
    assert_int_equal(committed(f), 4);
    commit_offset(f, 4);
    live_again(f);
    assert_int_equal(held_until(f, 4, "", START_MS), 0);
    assert_true(ack(f, 4, START_MS + 500)); /* of an answer that the file does not have */
    assert_int_equal(committed(f), 5);
}

static void write_file(const struct fixture *f, const char *text)
{
    char path[PATH_BYTES];
    FILE *file = fopen(folder_file(&f->folder, "consumerOrderInfo.json", path), "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* As 5.3.3 writes it, and with answers that can not be. */
static void the_file_of_5_3_3(void **state)
{
    struct fixture *f = *state;
    write_file(f, "{\n\t\"table\":{\"T@G\":{2:{\"cm\":2,\"i\":60000,\"l\":1700000000000,"
                  "\"o\":[5,1,3],\"oc\":{5:1},\"ot\":{8:1700000009000},"
                  "\"popTime\":1700000000000},3:{\"cm\":0,\"l\":1,\"o\":[],\"popTime\":1},"
                  "4:{\"cm\":0,\"l\":1,\"o\":[5,1,1],\"popTime\":1},"
                  "5:{\"cm\":0,\"l\":1,\"o\":[-1],\"popTime\":1},"
                  "6:{\"cm\":0,\"l\":1,\"o\":[9223372036854775807,1],\"popTime\":1}},"
                  "\"none\":{0:{\"cm\":0,\"l\":1,\"o\":[1],\"popTime\":1}}}\n}");
    log_set_level((enum log_level) - 1);
    live_again(f);
    log_set_level(LOG_ERROR);
    assert_int_equal(held_until(f, 5, "", START_MS), START_MS + 60000);
    assert_false(ack(f, 5, START_MS));
    assert_int_equal(committed(f), 8);
    assert_int_equal(held_until(f, 8, "", START_MS), START_MS + 9000);
    give(f, 8, 1, START_MS + 9000, "", "0 qo2%8 1;0 2 1");
}

/* More than are copied at once: all of them are in the file. */
static void very_many(void **state)
{
    struct fixture *f = *state;
    struct buf counts = BUF_EMPTY;
    struct err err = {.text = ""};
    const int queues = 1000;
    for (int i = 0; i < queues; i++) {
        const int64_t offsets[] = {i};
        const struct pop_order_queue one = {queue.topic, queue.group, i};
        const struct pop_taken taken = {.start_offset = i,
                                        .next_offset = i + 1,
                                        .pop_time_ms = START_MS,
                                        .invisible_ms = 60000,
                                        .count = 1,
                                        .offsets = offsets};
        assert_int_equal(pop_orders_given(f->orders, &one, SLICE_EMPTY, &taken, &counts),
                         STATUS_OK);
    }
    buf_release(&counts);
    assert_int_equal(pop_orders_persist(f->orders, &err), STATUS_OK);
    pop_orders_free(f->orders);
    load_orders(f);
    for (int i = 0; i < queues; i++) {
        const struct pop_order_queue one = {queue.topic, queue.group, i};
        assert_int_equal(pop_orders_held_until(f->orders, &one, i, SLICE_EMPTY, START_MS),
                         START_MS + 60000);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_answer_at_a_time),
        TEST(counts_as_java_prints_them),
        TEST(another_time),
        TEST(after_a_start),
        TEST(old_answers_are_forgotten),
        TEST(answers_outlive_the_process),
        TEST(a_file_that_is_older_than_the_offset),
        TEST(the_file_of_5_3_3),
        TEST(very_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
