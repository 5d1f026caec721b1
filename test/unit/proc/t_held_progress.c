/* SPDX-License-Identifier: Apache-2.0
 *
 * A slave takes its master's progress of the check of transactions when its log has come as far: it
 * never says that a half message is done whose copy is not there.
 */
#include "broker/proc/held_progress.h"

#include "common/base/check.h"
#include "common/sys/log.h"
#include "test/unit/state/state_test.h"

#define HALF "RMQ_SYS_TRANS_HALF_TOPIC"
#define MARKER "RMQ_SYS_TRANS_OP_HALF_TOPIC"
#define GROUP "CID_RMQ_SYS_TRANS"

struct fixture {
    struct folder folder;
    struct offsets *offsets;
    struct held_progress held;
};

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
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    offsets_free(f->offsets);
    folder_remove(&f->folder);
    free(f);
    return 0;
}

static void hold(struct fixture *f, int64_t half, int64_t marker, int64_t proof_pos)
{
    held_progress_put(&f->held, &(struct held_offsets){true, proof_pos, half, marker});
}

/* The log has come so far: what is known then. */
static void expect(struct fixture *f, int64_t log_end, int64_t half, int64_t marker)
{
    assert_int_equal(held_progress_take(&f->held, log_end, f->offsets), STATUS_OK);
    assert_int_equal(offsets_get(f->offsets, SLICE_LITERAL(HALF), SLICE_LITERAL(GROUP), 0), half);
    assert_int_equal(offsets_get(f->offsets, SLICE_LITERAL(MARKER), SLICE_LITERAL(GROUP), 0),
                     marker);
}

static void it_waits_for_the_log(void **state)
{
    struct fixture *f = *state;
    expect(f, 1000, -1, -1);
    hold(f, 5, 3, 100);
    expect(f, 99, -1, -1);
    expect(f, 100, 5, 3);
    hold(f, 6, -1, 200); /* only what has changed is told */
    expect(f, 150, 5, 3);
    expect(f, 200, 6, 3);
}

/* Newer ones come faster than the log: each is taken at some time, and nothing of any is lost. */
static void a_slave_that_is_always_a_little_behind(void **state)
{
    struct fixture *f = *state;
    hold(f, 1, 1, 100);
    hold(f, 2, -1, 200);
    hold(f, -1, 4, 300);
    hold(f, 5, -1, 400);
    expect(f, 100, 1, 1);
    hold(f, -1, 6, 500);
    expect(f, 399, 1, 1);
    expect(f, 400, 5, 4);
    expect(f, 500, 5, 6);
    expect(f, 9999, 5, 6);
}

static void a_master_that_lost_the_end_of_its_log(void **state)
{
    struct fixture *f = *state;
    hold(f, 9, 9, 1000);
    hold(f, 10, 10, 2000);
    hold(f, 4, 2, 300);
    expect(f, 300, 4, 2);
    expect(f, 9999, 4, 2);
}

static void only_that_is_taken_out_of_a_body(void **state)
{
    (void)state;
    IntOffsetEntry values[4];
    IntOffsetEntry *tables[4];
    QueueOffsetsEntry entries[4];
    QueueOffsetsEntry *list[4];
    static const char *const keys[] = {"T@G", HALF "@" GROUP, HALF "@G", MARKER "@" GROUP};
    ConsumerOffsetSerializeWrapper body = CONSUMER_OFFSET_SERIALIZE_WRAPPER__INIT;
    for (size_t i = 0; i < 4; i++) {
        int_offset_entry__init(&values[i]);
        queue_offsets_entry__init(&entries[i]);
        values[i].value = (int64_t)i + 10;
        tables[i] = &values[i];
        entries[i].key = (char *)(uintptr_t)keys[i];
        entries[i].value = &tables[i];
        entries[i].n_value = 1;
        list[i] = &entries[i];
    }
    struct held_offsets offsets;
    body.offset_table = list;
    body.n_offset_table = 4;
    assert_true(held_progress_split(&body, &offsets));
    assert_int_equal(offsets.half, 11);
    assert_int_equal(offsets.marker, 13);
    assert_int_equal(body.n_offset_table, 2);
    assert_string_equal(body.offset_table[0]->key, keys[0]);
    assert_string_equal(body.offset_table[1]->key, keys[2]);
    assert_false(held_progress_split(&body, &offsets));
    assert_int_equal(body.n_offset_table, 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(it_waits_for_the_log),
        TEST(a_slave_that_is_always_a_little_behind),
        TEST(a_master_that_lost_the_end_of_its_log),
        TEST(only_that_is_taken_out_of_a_body),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
