/* SPDX-License-Identifier: Apache-2.0
 *
 * Waiting pops: one request of each group is woken by an arrival, of its queue or of any; a mark
 * tells what arrived before the wait; who is woken runs once, who is cancelled never; a retry topic
 * that is made later counts, too; groups nobody waits in are let go. With a real store and loop.
 */
#include "broker/state/pop_polls.h"

#include "common/sys/log.h"
#include "state_test.h"

#include <stdatomic.h>
#include <time.h>

#define GIVE_UP_MS 60000
#define POLLS 8

struct request {
    struct pop_poll poll;
    _Atomic int woken;
};

struct fixture {
    struct folder folder;
    struct store *store;
    struct append_batch *batch;
    struct loop *loop;
    struct pop_polls *polls;
    struct request requests[POLLS];
};

static const struct poll_target target = {.topic = {(const uint8_t *)"T", 1},
                                          .group = {(const uint8_t *)"G", 1},
                                          .retry_topic = {(const uint8_t *)"%RETRY%G_T", 10},
                                          .queues = 4};

static void woken(struct loop_task *task)
{
    struct pop_poll *poll = list_entry(task, struct pop_poll, woken);
    atomic_fetch_add(&((struct request *)(void *)poll)->woken, 1);
}

static struct fixture *the_fixture;

static void on_arrival(void *ctx, struct queue *queue)
{
    (void)ctx;
    pop_polls_arrival(the_fixture->polls, queue);
}

static int setup(void **state)
{
    static const int64_t levels[] = {1000};
    struct fixture *f = xcalloc(1, sizeof *f);
    struct err err = {.text = ""};
    char log[PATH_BYTES];
    log_set_level(LOG_ERROR);
    the_fixture = f;
    folder_make(&f->folder);
    struct store_options options = {
        .root = f->folder.path,
        .commit_log = folder_file(&f->folder, "commitlog", log),
        .segment_bytes = 1 << 20,
        .queue_file_bytes = 6000,
        .index_slots = 64,
        .index_entries = 256,
        .record_bytes_max = 65536,
        .flush = STORE_FLUSH_ASYNC,
        .flush_interval_ms = 500,
        .flush_timed = true,
        .flush_least_pages = 4,
        .flush_thorough_interval_ms = 10000,
        .flush_queues_interval_ms = 1000,
        .flush_queues_thorough_interval_ms = 60000,
        .file_reserved_hours = 72,
        .delete_when = "04",
        .disk_max_used_percent = 99,
        .clean_interval_ms = 10000,
        .delay_levels_ms = levels,
        .delay_level_count = 1,
        .memory_bytes_hot = 1 << 30,
    };
    struct store_listener listener = {.on_arrival = on_arrival};
    if (store_open(&options, vfs_posix(), clock_real(), &f->store, &err) != STATUS_OK)
        fail_msg("%s", err.text);
    f->polls = pop_polls_new(f->store);
    store_set_listener(f->store, listener);
    if (store_start(f->store, &err) != STATUS_OK ||
        loop_new("test", 0, clock_real(), &f->loop, &err) != STATUS_OK ||
        loop_start(f->loop, &err) != STATUS_OK)
        fail_msg("%s", err.text);
    f->batch = append_batch_new(f->store);
    for (int i = 0; i < POLLS; i++) {
        f->requests[i].poll.loop = f->loop;
        f->requests[i].poll.woken.run = woken;
        f->requests[i].poll.queue_id = POP_ANY_QUEUE;
    }
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < POLLS; i++)
        (void)pop_polls_cancel(f->polls, &f->requests[i].poll);
    store_stop(f->store);
    loop_stop(f->loop);
    loop_settle(f->loop);
    pop_polls_free(f->polls);
    append_batch_free(f->batch);
    store_close(f->store);
    loop_free(f->loop);
    folder_remove(&f->folder);
    free(f);
    return 0;
}

static void put(struct fixture *f, const char *topic, int32_t queue_number)
{
    struct queue *queue = store_queue(f->store, slice_of_cstr(topic), queue_number, true);
    struct record record = {
        .queue_id = queue_number,
        .born_host = {.ip_bytes = 4},
        .store_host = {.ip_bytes = 4},
        .body = SLICE_LITERAL("x"),
        .topic = slice_of_cstr(topic),
    };
    append_batch_clear(f->batch);
    assert_int_equal(append_batch_add(f->batch, queue, &record, false, NULL), STATUS_OK);
    assert_int_equal(store_append(f->store, f->batch)->status, PUT_OK);
}

static void wait_as(struct fixture *f, int i, int32_t queue_number)
{
    f->requests[i].poll.queue_id = queue_number;
    uint64_t mark = pop_polls_watch(f->polls, &target, 1000);
    assert_int_not_equal(mark, POLL_MARK_NONE);
    assert_int_equal(pop_polls_wait(f->polls, &target, &f->requests[i].poll, mark, 1000),
                     STATUS_OK);
}

static int total(const struct fixture *f)
{
    int sum = 0;
    for (int i = 0; i < POLLS; i++)
        sum += atomic_load(&f->requests[i].woken);
    return sum;
}

static void await_total(const struct fixture *f, int wanted)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    int64_t give_up_ms = clock_monotonic_ms(clock_real()) + GIVE_UP_MS;
    while (total(f) < wanted) {
        if (clock_monotonic_ms(clock_real()) > give_up_ms)
            fail_msg("%d were woken, not %d", total(f), wanted);
        (void)nanosleep(&pause, NULL);
    }
    assert_int_equal(total(f), wanted);
}

static int32_t waiting(struct fixture *f, int32_t queue_number)
{
    return pop_polls_count(f->polls, target.topic, target.group, queue_number);
}

static void an_arrival_wakes_one(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 3; i++)
        wait_as(f, i, POP_ANY_QUEUE);
    assert_int_equal(waiting(f, POP_ANY_QUEUE), 3);
    put(f, "T", 3);
    await_total(f, 1);
    assert_int_equal(atomic_load(&f->requests[0].woken), 1); /* who waits longest */
    assert_int_equal(waiting(f, POP_ANY_QUEUE), 2);
    pop_polls_wake(f->polls, target.topic, target.group, POP_ANY_QUEUE);
    await_total(f, 2);
    pop_polls_wake_all(f->polls);
    await_total(f, 3);
    put(f, "Other", 0);
    put(f, "T", 1);
    assert_false(pop_polls_cancel(f->polls, &f->requests[0].poll));
    assert_int_equal(total(f), 3);
}

static void of_one_queue(void **state)
{
    struct fixture *f = *state;
    wait_as(f, 0, 1);
    wait_as(f, 1, 2);
    put(f, "T", 2);
    await_total(f, 1);
    assert_int_equal(atomic_load(&f->requests[1].woken), 1);
    assert_int_equal(waiting(f, 1), 1);
    assert_true(pop_polls_cancel(f->polls, &f->requests[0].poll));
    assert_int_equal(waiting(f, 1), 0);
}

static void what_came_before_the_wait_is_not_missed(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(pop_polls_mark(f->polls, &target), POLL_MARK_NONE);
    assert_int_equal(pop_polls_wait(f->polls, &target, &f->requests[0].poll, POLL_MARK_NONE, 1000),
                     STATUS_NOT_FOUND);
    uint64_t mark = pop_polls_watch(f->polls, &target, 1000);
    assert_int_equal(pop_polls_mark(f->polls, &target), mark);
    pop_polls_arrival(f->polls, store_queue(f->store, target.topic, 0, true));
    assert_int_equal(pop_polls_wait(f->polls, &target, &f->requests[0].poll, mark, 1000),
                     STATUS_EXISTS);
    mark = pop_polls_mark(f->polls, &target);
    struct poll_target grown = target;
    grown.queues = 9; /* the topic has got more queues, which nobody watches yet */
    assert_int_equal(pop_polls_wait(f->polls, &grown, &f->requests[0].poll, mark, 1000),
                     STATUS_NOT_FOUND);
    assert_int_equal(pop_polls_watch(f->polls, &grown, 1000), mark);
    assert_int_equal(pop_polls_wait(f->polls, &grown, &f->requests[0].poll, mark, 1000), STATUS_OK);
    put(f, "T", 8);
    await_total(f, 1);
}

static void a_retry_topic_that_is_made_later(void **state)
{
    struct fixture *f = *state;
    wait_as(f, 0, 3);
    pop_polls_retry_topic(f->polls, target.topic, target.group, target.retry_topic);
    put(f, "%RETRY%G_T", 0);
    await_total(f, 1);
    wait_as(f, 1, POP_ANY_QUEUE); /* and one that waits later */
    put(f, "%RETRY%G_T", 0);
    await_total(f, 2);
}

static void idle_groups_are_let_go(void **state)
{
    struct fixture *f = *state;
    wait_as(f, 0, POP_ANY_QUEUE);
    pop_polls_expire(f->polls, 10000000);
    uint64_t mark = pop_polls_mark(f->polls, &target);
    assert_int_not_equal(mark, POLL_MARK_NONE);
    assert_true(pop_polls_cancel(f->polls, &f->requests[0].poll));
    pop_polls_expire(f->polls, 1500);
    assert_int_equal(pop_polls_mark(f->polls, &target), mark);
    pop_polls_expire(f->polls, 10000000);
    assert_int_equal(pop_polls_mark(f->polls, &target), POLL_MARK_NONE);
    uint64_t next = pop_polls_watch(f->polls, &target, 1000);
    assert_true(next != POLL_MARK_NONE && next != mark);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_arrival_wakes_one),
        TEST(of_one_queue),
        TEST(what_came_before_the_wait_is_not_missed),
        TEST(a_retry_topic_that_is_made_later),
        TEST(idle_groups_are_let_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
