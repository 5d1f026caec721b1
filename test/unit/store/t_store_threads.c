/* SPDX-License-Identifier: Apache-2.0
 *
 * Several threads append while others read, search by key and delete a topic: offsets have no gaps
 * and no doubles, readers see whole records only, arrivals are reported for every queue waited for.
 * Meant for the thread sanitizer too.
 *
 * Source: the contract in broker/store/store.h.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/sys/thread.h"
#include "test/unit/support/store_kit.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define APPENDERS 3
#define READERS 2
#define BATCHES 200
#define BATCH 8
#define QUEUES 4
#define TOTAL (APPENDERS * BATCHES * BATCH)

struct world {
    struct kit kit;
    _Atomic int appending;
    _Atomic int next_number;
    _Atomic int failures;
    _Atomic int64_t arrivals;
    _Atomic int batches;
    _Atomic int64_t last_end;
    _Atomic uint8_t taken[QUEUES][TOTAL]; /* queue offsets handed out */
};

static void expect(struct world *world, bool condition)
{
    if (!condition)
        atomic_fetch_add(&world->failures, 1);
}

static void append_one_batch(struct world *world, struct append_batch *batch, int number)
{
    char body[200];
    char properties[32];
    memset(body, 'a', sizeof body);
    append_batch_clear(batch);
    int queues[BATCH];
    for (int i = 0; i < BATCH; i++) {
        queues[i] = (number + i * i) % QUEUES;
        (void)snprintf(properties, sizeof properties, "KEYS\001n%d", number);
        struct record record =
            kit_record(SLICE_LITERAL("Topic"), queues[i], slice_of(body, (size_t)(i * 20 + 1)),
                       slice_of_cstr(properties));
        struct queue *queue =
            store_queue(world->kit.store, SLICE_LITERAL("Topic"), queues[i], true);
        expect(world, append_batch_add(batch, queue, &record, i % 3 == 2, NULL) == STATUS_OK);
    }
    /* Every other one as loops do. */
    bool here = atomic_fetch_add(&world->batches, 1) % 2 == 0;
    const struct append_result *results = here
                                              ? store_append_on_loop(world->kit.store, batch, 10000)
                                              : store_append(world->kit.store, batch);
    if (here)
        store_dispatch_here(world->kit.store);
    for (int i = 0; i < BATCH; i++) {
        expect(world, results[i].status == PUT_OK);
        int64_t offset = results[i].queue_offset;
        if (offset < 0 || offset >= TOTAL)
            expect(world, false);
        else
            expect(world, atomic_exchange(&world->taken[queues[i]][offset], 1) == 0);
    }
}

static void *appender(void *arg)
{
    struct world *world = arg;
    struct append_batch *batch = append_batch_new(world->kit.store);
    for (int i = 0; i < BATCHES; i++)
        append_one_batch(world, batch, atomic_fetch_add(&world->next_number, 1));
    append_batch_free(batch);
    atomic_fetch_sub(&world->appending, 1);
    return NULL;
}

static void read_some(struct world *world, struct queue *queue, int64_t *next, struct arena *arena)
{
    struct get_result got;
    arena_reset(arena);
    store_get(world->kit.store, queue, *next, 32, NULL, NULL, arena, &got);
    if (got.status != GET_FOUND) {
        expect(world, got.status == GET_OFFSET_OVERFLOW_ONE ||
                          (*next == 0 && got.status == GET_NO_MESSAGE_IN_QUEUE));
        return;
    }
    for (int i = 0; i < got.range_count; i++) {
        struct slice rest = slice_of(got.ranges[i].data, got.ranges[i].size);
        struct record record;
        while (rest.size > 0 && record_decode(rest, RECORD_CHECK_CRC, &record) == STATUS_OK) {
            expect(world, record.queue_offset == (*next)++);
            rest = slice_from(rest, (size_t)record.size);
        }
        expect(world, rest.size == 0);
        log_range_release(&got.ranges[i]);
    }
    expect(world, *next == got.next_begin_offset);
}

static void *reader(void *arg)
{
    struct world *world = arg;
    struct arena arena;
    arena_init(&arena, 4096);
    int64_t next[QUEUES] = {0};
    int64_t sum = 0;
    int64_t deadline_ms = clock_monotonic_ms(clock_real()) + 300000;
    while (sum < TOTAL && clock_monotonic_ms(clock_real()) < deadline_ms) {
        sum = 0;
        for (int q = 0; q < QUEUES; q++) {
            struct queue *queue = store_queue(world->kit.store, SLICE_LITERAL("Topic"), q, true);
            read_some(world, queue, &next[q], &arena);
            (void)queue_offset_by_time(queue, INT64_MAX);
            sum += next[q];
        }
        int64_t found[16];
        int64_t last_ms;
        int64_t last_pos;
        expect(world,
               store_query_index(world->kit.store, SLICE_LITERAL("Topic"), SLICE_LITERAL("n5"), 16,
                                 0, INT64_MAX, found, &last_ms, &last_pos) <= 16);
    }
    expect(world, sum == TOTAL);
    arena_release(&arena);
    return NULL;
}

static bool is_side(void *ctx, struct slice topic)
{
    (void)ctx;
    return slice_is(topic, "Side");
}

/* Writes a topic and deletes it again and again: its queue always restarts at 0. */
static void *deleter(void *arg)
{
    struct world *world = arg;
    struct append_batch *batch = append_batch_new(world->kit.store);
    struct queue *queue = store_queue(world->kit.store, SLICE_LITERAL("Side"), 0, true);
    struct record record = kit_record(SLICE_LITERAL("Side"), 0, SLICE_LITERAL("body"), SLICE_EMPTY);
    while (atomic_load(&world->appending) > 0) {
        for (int i = 0; i < 40; i++) {
            append_batch_clear(batch);
            expect(world, append_batch_add(batch, queue, &record, false, NULL) == STATUS_OK);
            expect(world, store_append(world->kit.store, batch)->queue_offset == i);
        }
        store_delete_queues(world->kit.store, is_side, NULL);
        expect(world, queue_max_offset(queue) == 0);
    }
    append_batch_free(batch);
    return NULL;
}

static void on_arrival(void *ctx, struct queue *queue)
{
    struct world *world = ctx;
    expect(world, slice_is(queue_topic(queue), "Topic") && queue_id(queue) == 1);
    expect(world, queue_context(queue) == world);
    atomic_fetch_add(&world->arrivals, 1);
    atomic_store(&world->last_end, queue_max_offset(queue));
}

/* Arrivals are reported after dispatched_pos has moved. */
static bool last_arrival_seen(void *ctx)
{
    struct world *world = ctx;
    return atomic_load(&world->last_end) == queue_max_offset(kit_queue(&world->kit, "Topic", 1));
}

static void everybody_at_once(void **state)
{
    (void)state;
    static struct world world;
    kit_init(&world.kit, "threads");
    world.kit.options.flush = STORE_FLUSH_SYNC;
    world.kit.options.flush_queues_interval_ms = 2;
    world.kit.options.flush_queues_thorough_interval_ms = 10;
    kit_open(&world.kit);
    store_set_listener(world.kit.store,
                       (struct store_listener){.ctx = &world, .on_arrival = on_arrival});
    struct err err;
    assert_int_equal(store_start(world.kit.store, &err), STATUS_OK);
    struct queue *waited = kit_queue(&world.kit, "Topic", 1);
    queue_set_context(waited, &world);
    queue_set_interest(waited, true);

    pthread_t threads[APPENDERS + READERS + 1];
    int count = 0;
    atomic_store(&world.appending, APPENDERS);
    for (int i = 0; i < APPENDERS; i++)
        assert_int_equal(thread_start(&threads[count++], "appender", appender, &world, &err),
                         STATUS_OK);
    for (int i = 0; i < READERS; i++)
        assert_int_equal(thread_start(&threads[count++], "reader", reader, &world, &err),
                         STATUS_OK);
    assert_int_equal(thread_start(&threads[count++], "deleter", deleter, &world, &err), STATUS_OK);
    for (int i = 0; i < count; i++)
        thread_join(threads[i]);
    kit_dispatched(&world.kit);
    assert_int_equal(atomic_load(&world.failures), 0);
    assert_true(atomic_load(&world.arrivals) > 0);
    int64_t sum = 0;
    for (int q = 0; q < QUEUES; q++) {
        struct queue *queue = kit_queue(&world.kit, "Topic", q);
        int64_t max_offset = queue_max_offset(queue);
        sum += max_offset;
        for (int64_t i = 0; i < max_offset; i++)
            assert_int_equal(atomic_load(&world.taken[q][i]), 1);
        assert_int_equal(kit_read_queue(&world.kit, queue, 0), max_offset);
    }
    assert_int_equal(sum, TOTAL);
    kit_wait(last_arrival_seen, &world);
    queue_set_interest(waited, false);

    kit_close(&world.kit);
    kit_open(&world.kit);
    sum = 0;
    for (int q = 0; q < QUEUES; q++)
        sum += kit_read_queue(&world.kit, kit_queue(&world.kit, "Topic", q), 0);
    assert_int_equal(sum, TOTAL);
    kit_release(&world.kit);
}

struct waiting {
    _Atomic int64_t seen;
};

static void note_arrival(void *ctx, struct queue *queue)
{
    atomic_store(&((struct waiting *)ctx)->seen, queue_max_offset(queue));
}

/* One message at a time: each is reported at once, also when the dispatcher has been asleep. */
static void arrivals_come_quickly(void **state)
{
    (void)state;
    struct kit kit;
    struct waiting waiting = {0};
    kit_init(&kit, "threads");
    kit_open(&kit);
    store_set_listener(kit.store,
                       (struct store_listener){.ctx = &waiting, .on_arrival = note_arrival});
    struct err err;
    assert_int_equal(store_start(kit.store, &err), STATUS_OK);
    struct queue *queue = kit_queue(&kit, "A", 0);
    queue_set_interest(queue, true);
    for (int64_t i = 1; i <= 100; i++) {
        kit_put(&kit, "A", 0, "body", "");
        int64_t deadline_ms = clock_monotonic_ms(clock_real()) + 60000;
        while (atomic_load(&waiting.seen) < i)
            assert_true(clock_monotonic_ms(clock_real()) < deadline_ms);
    }
    queue_set_interest(queue, false);
    kit_put(&kit, "A", 0, "body", "");
    kit_dispatched(&kit);
    assert_int_equal(atomic_load(&waiting.seen), 100);
    kit_release(&kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everybody_at_once),
        cmocka_unit_test(arrivals_come_quickly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
