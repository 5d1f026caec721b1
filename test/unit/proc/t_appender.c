/* SPDX-License-Identifier: Apache-2.0
 *
 * The appender: batches are appended in the order submitted, those that still wait can be taken
 * back and the one being written can not, also when it is somebody else's; and what tells the loops
 * that the disk is slow. Source of the rule: docs/decisions/0011-overload.md.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "broker/proc/appender.h"

#include "common/base/check.h"
#include "common/sys/log.h"
#include "common/sys/thread.h"
#include "test/unit/support/store_kit.h"

#include <stdlib.h>
#include <time.h>

#define JOBS 4

struct fixture {
    struct kit kit;
    struct broker broker;
    struct loop *loop;
    struct append_job jobs[JOBS];
};

/* Writes wait for `gate_open` and count those that have begun. */
static _Atomic bool gate_open;
static _Atomic int writes;
static _Atomic int done;
static struct append_job *finished[JOBS];
static enum status (*write_through)(struct vfs *vfs, int fd, const struct iovec *parts, int count,
                                    int64_t offset);

static void nap(void)
{
    const struct timespec pause = {0, 1000000};
    (void)nanosleep(&pause, NULL);
}

#define AWAIT(condition)                                \
    do {                                                \
        for (int i = 0; i < 60000 && !(condition); i++) \
            nap();                                      \
        assert_true(condition);                         \
    } while (0)

static enum status gated_pwritev(struct vfs *vfs, int fd, const struct iovec *parts, int count,
                                 int64_t offset)
{
    atomic_fetch_add(&writes, 1);
    while (!atomic_load(&gate_open))
        nap();
    return write_through(vfs, fd, parts, count, offset);
}

static void on_done(struct loop_task *task)
{
    finished[atomic_load(&done)] = (struct append_job *)(void *)task;
    atomic_fetch_add(&done, 1);
}

static void add(struct fixture *f, struct append_batch *batch, const char *body)
{
    struct queue *queue = store_queue(f->kit.store, SLICE_LITERAL("T"), 0, true);
    struct record record =
        kit_record(SLICE_LITERAL("T"), 0, slice_of_cstr(body), SLICE_LITERAL(""));
    assert_int_equal(append_batch_add(batch, queue, &record, false, NULL), STATUS_OK);
}

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof *f);
    struct err err = {0};
    log_set_level(LOG_ERROR);
    atomic_store(&gate_open, true);
    atomic_store(&done, 0);
    kit_init(&f->kit, "appender");
    kit_open(&f->kit);
    f->broker.store = f->kit.store;
    f->broker.clock = clock_real();
    f->broker.conf.osPageCacheBusyTimeOutMills = 100;
    write_through = f->kit.vfs.ops.pwritev;
    f->kit.vfs.ops.pwritev = gated_pwritev;
    atomic_store(&writes, 0);
    assert_int_equal(loop_new("test", 0, f->broker.clock, &f->loop, &err), STATUS_OK);
    assert_int_equal(appender_new(&f->broker, &f->broker.appender, &err), STATUS_OK);
    for (int i = 0; i < JOBS; i++) {
        f->jobs[i] = (struct append_job){.loop = f->loop, .batch = append_batch_new(f->kit.store)};
        f->jobs[i].done.run = on_done;
        list_init(&f->jobs[i].in_queue);
    }
    assert_int_equal(loop_start(f->loop, &err), STATUS_OK);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < JOBS; i++)
        append_batch_free(f->jobs[i].batch);
    appender_free(f->broker.appender);
    loop_free(f->loop);
    f->kit.vfs.ops.pwritev = write_through;
    kit_release(&f->kit);
    free(f);
    return 0;
}

static void stop(struct fixture *f)
{
    loop_stop(f->loop);
    appender_stop(f->broker.appender);
    loop_settle(f->loop);
}

static void submit(struct fixture *f, int index, const char *body)
{
    add(f, f->jobs[index].batch, body);
    appender_submit(f->broker.appender, &f->jobs[index]);
}

static void in_the_order_submitted(void **state)
{
    struct fixture *f = *state;
    atomic_store(&gate_open, false);
    for (int i = 0; i < JOBS; i++)
        submit(f, i, "body");
    AWAIT(atomic_load(&writes) == 1);
    assert_int_equal(atomic_load(&done), 0);
    atomic_store(&gate_open, true);
    AWAIT(atomic_load(&done) == JOBS);
    for (int i = 0; i < JOBS; i++) {
        assert_ptr_equal(finished[i], &f->jobs[i]);
        assert_int_equal(f->jobs[i].results[0].status, PUT_OK);
        assert_int_equal(f->jobs[i].results[0].queue_offset, i);
    }
    stop(f);
}

static void what_waits_can_be_taken_back(void **state)
{
    struct fixture *f = *state;
    atomic_store(&gate_open, false);
    submit(f, 0, "written");
    AWAIT(atomic_load(&writes) == 1);
    submit(f, 1, "taken back");
    submit(f, 2, "kept");
    assert_false(appender_take_back(f->broker.appender, &f->jobs[0]));
    assert_true(appender_take_back(f->broker.appender, &f->jobs[1]));
    assert_false(appender_take_back(f->broker.appender, &f->jobs[1]));
    atomic_store(&gate_open, true);
    AWAIT(atomic_load(&done) == 2);
    assert_ptr_equal(finished[1], &f->jobs[2]);
    assert_int_equal(f->jobs[2].results[0].queue_offset, 1); /* nothing of the other is there */
    stop(f);
}

static void *append_elsewhere(void *arg)
{
    struct fixture *f = arg;
    (void)store_append(f->kit.store, f->jobs[3].batch);
    return NULL;
}

/* A loop's own append stalls: others see it, do not wait for its lock, and get their jobs back. */
static void the_append_of_somebody_else(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    pthread_t thread;
    assert_false(appender_wanted(f->broker.appender));
    assert_false(page_cache_busy(&f->broker));
    assert_int_equal(store_append_busy_ms(f->kit.store), 0);
    atomic_store(&gate_open, false);
    add(f, f->jobs[3].batch, "stalls");
    assert_int_equal(thread_start(&thread, "other", append_elsewhere, f, &err), STATUS_OK);
    AWAIT(appender_wanted(f->broker.appender));
    AWAIT(page_cache_busy(&f->broker));
    assert_true(store_append_busy_ms(f->kit.store) > 100);
    add(f, f->jobs[0].batch, "given up");
    assert_null(store_append_within(f->kit.store, f->jobs[0].batch, 10));
    appender_submit(f->broker.appender, &f->jobs[0]);
    for (int i = 0; i < 50; i++)
        nap();
    assert_true(appender_take_back(f->broker.appender, &f->jobs[0]));
    atomic_store(&gate_open, true);
    thread_join(thread);
    assert_int_equal(store_append_busy_ms(f->kit.store), 0);
    assert_false(page_cache_busy(&f->broker));
    /* The batch is still whole, and its place is the next. */
    const struct append_result *results =
        store_append_within(f->kit.store, f->jobs[0].batch, 60000);
    assert_non_null(results);
    assert_int_equal(results[0].queue_offset, 1);
    stop(f);
}

static void slow_appends_are_remembered(void **state)
{
    struct fixture *f = *state;
    appender_note(f->broker.appender, 1);
    assert_false(appender_wanted(f->broker.appender));
    appender_note(f->broker.appender, 1000);
    assert_true(appender_wanted(f->broker.appender));
    AWAIT(!appender_wanted(f->broker.appender));
    stop(f);
}

static void a_stop_appends_what_waits(void **state)
{
    struct fixture *f = *state;
    atomic_store(&gate_open, false);
    submit(f, 0, "first");
    submit(f, 1, "second");
    AWAIT(atomic_load(&writes) == 1);
    loop_stop(f->loop);
    atomic_store(&gate_open, true);
    appender_stop(f->broker.appender);
    submit(f, 2, "behind the end");
    loop_settle(f->loop);
    assert_int_equal(atomic_load(&done), 3);
    for (int i = 0; i < 3; i++) {
        assert_ptr_equal(finished[i], &f->jobs[i]);
        assert_int_equal(f->jobs[i].results[0].queue_offset, i);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(in_the_order_submitted),      TEST(what_waits_can_be_taken_back),
        TEST(the_append_of_somebody_else), TEST(slow_appends_are_remembered),
        TEST(a_stop_appends_what_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
