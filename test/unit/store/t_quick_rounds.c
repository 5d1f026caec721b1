/* SPDX-License-Identifier: Apache-2.0
 *
 * Dispatch on the loop that has appended: a few messages that somebody waits for are readable and
 * reported at once, their keys a little later; whatever would wait (a file to be made or opened, a
 * page that may be on disk, a large backlog, another round) is left to the dispatch thread. No
 * thread runs here unless a test says so. Source of the rules: broker/store/dispatch.h.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "broker/store/store_internal.h"
#include "test/unit/support/store_kit.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#define FILE_ENTRIES 30 /* of the kit's queue files */

struct world {
    struct kit kit;
    struct queue *queue; /* A, 0; somebody waits for it */
    int arrivals;
    int64_t last_end;
};

static void on_arrival(void *ctx, struct queue *queue)
{
    struct world *world = ctx;
    world->arrivals++;
    world->last_end = queue_max_offset(queue);
}

/* Dispatch as the thread does. */
static void dispatch_all(struct world *world)
{
    while (dispatcher_round(&world->kit.store->dispatcher) == STATUS_OK)
        continue;
    assert_int_equal(store_dispatched_pos(world->kit.store), store_appended_pos(world->kit.store));
}

static void listen_to(struct world *world)
{
    store_set_listener(world->kit.store,
                       (struct store_listener){.ctx = world, .on_arrival = on_arrival});
    world->queue = kit_queue(&world->kit, "A", 0);
    queue_set_interest(world->queue, true);
}

/* A store whose queue has a file and one message. */
static void begin(struct world *world, const char *test)
{
    *world = (struct world){0};
    kit_init(&world->kit, test);
    kit_open(&world->kit);
    listen_to(world);
    (void)kit_put(&world->kit, "A", 0, "first", "");
    dispatch_all(world);
    world->arrivals = 0;
}

static int64_t behind(const struct world *world)
{
    return store_appended_pos(world->kit.store) - store_dispatched_pos(world->kit.store);
}

static int found_by_key(struct world *world, const char *key)
{
    int64_t found[8];
    int64_t last_ms;
    int64_t last_pos;
    return store_query_index(world->kit.store, SLICE_LITERAL("A"), slice_of_cstr(key), 8, 0,
                             INT64_MAX, found, &last_ms, &last_pos);
}

static void a_message_is_readable_at_once(void **state)
{
    (void)state;
    struct world world;
    begin(&world, "quick");
    struct dispatcher *dispatcher = &world.kit.store->dispatcher;
    (void)kit_put(&world.kit, "A", 0, "second", "KEYS\001k");
    assert_true(behind(&world) > 0);
    store_dispatch_here(world.kit.store);
    assert_int_equal(behind(&world), 0);
    assert_int_equal(world.arrivals, 1);
    assert_int_equal(world.last_end, 2);
    assert_int_equal(kit_read_queue(&world.kit, world.queue, 0), 2);

    /* The index comes behind, and before whoever asks it. */
    int64_t appended = store_appended_pos(world.kit.store);
    assert_true(atomic_load(&dispatcher->indexed_pos) < appended);
    assert_int_equal(found_by_key(&world, "k"), 1);
    assert_int_equal(atomic_load(&dispatcher->indexed_pos), appended);
    assert_false(dispatcher_index(dispatcher));

    /* A round of the thread brings it along. */
    (void)kit_put(&world.kit, "A", 0, "third", "KEYS\001k");
    store_dispatch_here(world.kit.store);
    assert_true(atomic_load(&dispatcher->indexed_pos) < store_dispatched_pos(world.kit.store));
    dispatch_all(&world);
    assert_int_equal(atomic_load(&dispatcher->indexed_pos), store_appended_pos(world.kit.store));
    assert_int_equal(found_by_key(&world, "k"), 2);
    assert_int_equal(world.arrivals, 2);
    queue_set_interest(world.queue, false);
    kit_release(&world.kit);
}

static void nobody_waits(void **state)
{
    (void)state;
    struct world world;
    begin(&world, "quick");
    queue_set_interest(world.queue, false);
    queue_set_idle_interest(world.queue, true); /* would hear of it, but is in no hurry */
    (void)kit_put(&world.kit, "A", 0, "second", "");
    store_dispatch_here(world.kit.store);
    assert_true(behind(&world) > 0);
    dispatch_all(&world);
    assert_int_equal(world.arrivals, 1);
    queue_set_idle_interest(world.queue, false);
    kit_release(&world.kit);
}

static void files_are_made_by_the_thread(void **state)
{
    (void)state;
    struct world world;
    begin(&world, "quick");
    (void)kit_put(&world.kit, "B", 0, "of a new queue", "");
    store_dispatch_here(world.kit.store);
    assert_true(behind(&world) > 0);
    assert_int_equal(queue_max_offset(kit_queue(&world.kit, "B", 0)), 0);
    dispatch_all(&world);
    assert_int_equal(queue_max_offset(kit_queue(&world.kit, "B", 0)), 1);

    /* What fits into the file that is there does not wait for the next one. */
    kit_put_many(&world.kit, "A", 0, 10, FILE_ENTRIES - 3);
    store_dispatch_here(world.kit.store);
    assert_int_equal(behind(&world), 0);
    kit_put_many(&world.kit, "A", 0, 10, 5);
    store_dispatch_here(world.kit.store);
    assert_true(behind(&world) > 0);
    assert_int_equal(queue_max_offset(world.queue), FILE_ENTRIES);
    assert_int_equal(world.last_end, FILE_ENTRIES);
    dispatch_all(&world);
    assert_int_equal(kit_read_queue(&world.kit, world.queue, 0), FILE_ENTRIES + 3);
    queue_set_interest(world.queue, false);
    kit_release(&world.kit);
}

static void files_are_opened_by_the_thread(void **state)
{
    (void)state;
    struct world world;
    begin(&world, "quick");
    queue_close_files(world.queue);
    (void)kit_put(&world.kit, "A", 0, "second", "");
    store_dispatch_here(world.kit.store);
    assert_true(behind(&world) > 0);
    dispatch_all(&world);
    queue_set_interest(world.queue, false);

    /* After a start the last page of the queue may be on disk. */
    kit_close(&world.kit);
    kit_open(&world.kit);
    listen_to(&world);
    struct queue_file *file;
    assert_int_equal(queue_file_open(world.queue, 0, &file), STATUS_OK);
    queue_file_drop(file);
    (void)kit_put(&world.kit, "A", 0, "third", "");
    store_dispatch_here(world.kit.store);
    assert_true(behind(&world) > 0);
    dispatch_all(&world);
    (void)kit_put(&world.kit, "A", 0, "fourth", "");
    store_dispatch_here(world.kit.store);
    assert_int_equal(behind(&world), 0);
    queue_set_interest(world.queue, false);
    kit_release(&world.kit);
}

static void a_backlog_is_the_threads(void **state)
{
    (void)state;
    struct world world;
    begin(&world, "quick");
    world.kit.options.queue_file_bytes = 20 * 1000;
    queue_set_interest(world.queue, false);
    kit_close(&world.kit);
    kit_remove(&world.kit, "consumequeue");
    kit_open(&world.kit);
    listen_to(&world);
    (void)kit_put(&world.kit, "A", 0, "second", "");
    dispatch_all(&world);
    kit_put_many(&world.kit, "A", 0, 10, DISPATCH_QUICK_RECORDS + 1);
    store_dispatch_here(world.kit.store);
    assert_int_equal(queue_max_offset(world.queue), 2 + DISPATCH_QUICK_RECORDS);
    dispatch_all(&world);
    int64_t max_offset = queue_max_offset(world.queue);
    for (int64_t bytes = 0; bytes <= DISPATCH_QUICK_BYTES; bytes += 20 * 1000)
        kit_put_many(&world.kit, "A", 0, 1000, 20);
    store_dispatch_here(world.kit.store);
    assert_int_equal(queue_max_offset(world.queue), max_offset);
    dispatch_all(&world);
    (void)kit_read_queue(&world.kit, world.queue, 0);
    queue_set_interest(world.queue, false);
    kit_release(&world.kit);
}

/* A loop does not wait for another round, nor for what holds one up. */
static void another_round_is_not_waited_for(void **state)
{
    (void)state;
    struct world world;
    begin(&world, "quick");
    struct dispatcher *dispatcher = &world.kit.store->dispatcher;
    (void)kit_put(&world.kit, "A", 0, "second", "KEYS\001k");
    (void)pthread_mutex_lock(&dispatcher->lock);
    store_dispatch_here(world.kit.store);
    assert_true(behind(&world) > 0);
    (void)pthread_mutex_unlock(&dispatcher->lock);
    (void)pthread_mutex_lock(&dispatcher->index_lock);
    store_dispatch_here(world.kit.store);
    (void)pthread_mutex_unlock(&dispatcher->index_lock);
    assert_int_equal(behind(&world), 0);
    assert_int_equal(found_by_key(&world, "k"), 1);
    queue_set_interest(world.queue, false);
    kit_release(&world.kit);
}

static void a_failed_write_is_the_threads_to_repeat(void **state)
{
    (void)state;
    struct world world;
    begin(&world, "quick");
    (void)kit_put(&world.kit, "A", 0, "second", "");
    atomic_store(&world.kit.vfs.write_errno, ENOSPC);
    atomic_store(&world.kit.vfs.write_target, KIT_QUEUES);
    store_dispatch_here(world.kit.store);
    assert_true(behind(&world) > 0);
    assert_int_equal(world.arrivals, 0);
    assert_true(store_writable(world.kit.store, NULL, 0)); /* the loop has not judged */
    assert_int_equal(dispatcher_round(&world.kit.store->dispatcher), STATUS_FULL);
    assert_false(store_writable(world.kit.store, NULL, 0));
    store_dispatch_here(world.kit.store);
    assert_true(behind(&world) > 0);
    atomic_store(&world.kit.vfs.write_target, KIT_NOTHING);
    dispatch_all(&world);
    assert_true(store_writable(world.kit.store, NULL, 0));
    assert_int_equal(world.arrivals, 1);
    assert_int_equal(kit_read_queue(&world.kit, world.queue, 0), 2);
    queue_set_interest(world.queue, false);
    kit_release(&world.kit);
}

/* Keys that are not in the index yet are in no checkpoint's promise, and not lost with a crash. */
static void a_checkpoint_has_the_keys(void **state)
{
    (void)state;
    struct world world;
    begin(&world, "quick");
    (void)kit_put(&world.kit, "A", 0, "second", "KEYS\001k");
    store_dispatch_here(world.kit.store);
    assert_int_equal(commitlog_flush(&world.kit.store->log), STATUS_OK);
    assert_int_equal(keeper_sync(&world.kit.store->keeper, true), STATUS_OK);
    (void)kit_put(&world.kit, "A", 0, "third", "KEYS\001k");
    store_dispatch_here(world.kit.store);
    assert_int_equal(behind(&world), 0);
    struct world after = {0};
    kit_crash(&world.kit, &after.kit);
    kit_open(&after.kit);
    assert_int_equal(found_by_key(&after, "k"), 2);
    kit_release(&after.kit);
    queue_set_interest(world.queue, false);
    kit_release(&world.kit);
}

static void *one_round(void *arg)
{
    struct world *world = arg;
    (void)dispatcher_round(&world->kit.store->dispatcher);
    return NULL;
}

/* While the thread puts keys into the index, a loop dispatches up to the end of a file of the log.
 * The thread's round goes over it for the queues alone; the index goes over it later. */
static void keys_behind_the_end_of_a_file(void **state)
{
    (void)state;
    struct world world;
    begin(&world, "quick");
    struct dispatcher *dispatcher = &world.kit.store->dispatcher;
    (void)kit_put(&world.kit, "A", 0, "second", "KEYS\001k");
    store_dispatch_here(world.kit.store);
    (void)pthread_mutex_lock(&dispatcher->index_lock);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, one_round, &world), 0);
    (void)usleep(200000); /* it waits for index_lock; if it does not yet, this shows less */
    kit_put_many(&world.kit, "A", 0, 20000, 4);
    (void)kit_put(&world.kit, "A", 0, "in the next file", "KEYS\001k");
    store_dispatch_here(world.kit.store);
    assert_int_equal(queue_max_offset(world.queue), 5); /* and no filler */
    (void)pthread_mutex_unlock(&dispatcher->index_lock);
    assert_int_equal(pthread_join(thread, NULL), 0);
    dispatch_all(&world);
    assert_int_equal(queue_max_offset(world.queue), 7);
    assert_int_equal(found_by_key(&world, "k"), 2);
    queue_set_interest(world.queue, false);
    kit_release(&world.kit);
}

/* After store_stop nothing is dispatched here any more; what was appended before is. */
static void nothing_happens_after_the_end(void **state)
{
    (void)state;
    struct world world;
    begin(&world, "quick");
    struct err err;
    assert_int_equal(store_start(world.kit.store, &err), STATUS_OK);
    (void)kit_put(&world.kit, "A", 0, "second", "KEYS\001k");
    store_stop(world.kit.store);
    assert_int_equal(behind(&world), 0);
    int arrivals = world.arrivals;
    store_dispatch_here(world.kit.store);
    assert_int_equal(world.arrivals, arrivals);
    queue_set_interest(world.queue, false);
    kit_close(&world.kit);
    kit_open(&world.kit);
    assert_int_equal(found_by_key(&world, "k"), 1);
    kit_release(&world.kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_is_readable_at_once),
        cmocka_unit_test(nobody_waits),
        cmocka_unit_test(files_are_made_by_the_thread),
        cmocka_unit_test(files_are_opened_by_the_thread),
        cmocka_unit_test(a_backlog_is_the_threads),
        cmocka_unit_test(another_round_is_not_waited_for),
        cmocka_unit_test(a_failed_write_is_the_threads_to_repeat),
        cmocka_unit_test(a_checkpoint_has_the_keys),
        cmocka_unit_test(keys_behind_the_end_of_a_file),
        cmocka_unit_test(nothing_happens_after_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
