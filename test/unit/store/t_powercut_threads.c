/* SPDX-License-Identifier: Apache-2.0
 *
 * The power goes while the store's own threads flush, dispatch, sync and write checkpoints and two
 * threads append: what was durable before is there afterwards. Which moments are hit is chance, so
 * a seed does not repeat a failure; the single-threaded tests of t_powercut.c do. Also shows, under
 * ThreadSanitizer, that a copy of the disk can be taken at any moment.
 *
 * Source of the rules: docs/store.md, "What must reach the disk before what".
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "test/unit/support/crash_kit.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define APPENDERS 2
#define CUTS 20
#define BODY_BYTES 300
#define BETWEEN_CUTS 120 /* messages */

struct life {
    struct crash crash; /* its disk and its options */
    struct store *store;
    _Atomic bool stop;
    _Atomic bool refused;     /* a message was, which nothing here excuses */
    _Atomic int64_t accepted; /* over both threads ... */
    _Atomic int64_t allowed;  /* ... and how many may be, so that the disk stays small */
    pthread_t threads[APPENDERS];
};

struct appender {
    struct life *life;
    int number;
};

/* Numbered messages into a queue of its own, one at a time. */
static void *append(void *arg)
{
    struct appender *appender = arg;
    struct life *life = appender->life;
    struct append_batch *batch = append_batch_new(life->store);
    struct queue *queue =
        store_queue(life->store, SLICE_LITERAL("Threads"), appender->number, true);
    uint8_t body[BODY_BYTES];
    memset(body, 'b', sizeof body);
    uint64_t sent = 0;
    queue_set_interest(queue, true); /* so that the appender dispatches, as loops do */
    while (!atomic_load(&life->stop)) {
        if (atomic_load(&life->accepted) >= atomic_load(&life->allowed)) {
            (void)sched_yield();
            continue;
        }
        put_u64(body, sent);
        struct record record = {
            .queue_id = appender->number,
            .born_host = {.ip = {127, 0, 0, 1}, .ip_bytes = 4, .port = 1},
            .store_host = {.ip = {127, 0, 0, 1}, .ip_bytes = 4, .port = 1},
            .body = slice_of(body, sizeof body),
            .topic = SLICE_LITERAL("Threads"),
            .properties = SLICE_LITERAL("KEYS\001k\002TAGS\001t"),
        };
        append_batch_clear(batch);
        if (append_batch_add(batch, queue, &record, false, NULL) != STATUS_OK ||
            store_append_on_loop(life->store, batch, INT32_MAX)[0].status != PUT_OK)
            atomic_store(&life->refused, true);
        store_dispatch_here(life->store);
        sent++;
        atomic_fetch_add(&life->accepted, 1);
    }
    queue_set_interest(queue, false);
    append_batch_free(batch);
    return NULL;
}

/* The log holds each queue's messages from 0 on, none missing, and ends at or behind durable_pos.
 */
static void check_left(struct crash *after, int64_t durable_pos)
{
    uint64_t next[APPENDERS] = {0, 0};
    crash_open(after);
    int64_t end = store_appended_pos(after->store);
    if (end < durable_pos)
        crash_fail(after, "the log ends at %lld, durable were %lld", (long long)end,
                   (long long)durable_pos);
    for (int64_t pos = 0; pos < end;) {
        struct log_range range;
        struct record record;
        if (store_read_record(after->store, pos, &range) != STATUS_OK) {
            pos = (pos / after->options.segment_bytes + 1) * after->options.segment_bytes;
            continue;
        }
        assert_int_equal(record_decode(slice_of(range.data, range.size), RECORD_CHECK_CRC, &record),
                         STATUS_OK);
        assert_in_range(record.queue_id, 0, APPENDERS - 1);
        assert_int_equal(get_u64(record.body.data), next[record.queue_id]);
        assert_int_equal(record.queue_offset, next[record.queue_id]);
        next[record.queue_id]++;
        pos += record.size;
        log_range_release(&range);
    }
    for (int i = 0; i < APPENDERS; i++) {
        struct queue *queue = store_queue(after->store, SLICE_LITERAL("Threads"), i, true);
        assert_int_equal(queue_max_offset(queue), next[i]);
    }
}

static void cut_now(struct life *life)
{
    struct crash after = life->crash;
    int64_t durable_pos = store_flushed_pos(life->store); /* first: it only grows */
    after.sim = sim_clone(life->crash.sim);
    after.clock.ctx = &after;
    after.sent = NULL;
    struct sim_cut cut = {random_below(&life->crash.random, 2) ? SIM_KEEP_SOME : SIM_KEEP_NONE,
                          random_u64(&life->crash.random), 0};
    sim_power_cut(after.sim, &cut);
    check_left(&after, durable_pos);
    crash_release(&after);
}

static void power_cut_under_load(void **state)
{
    (void)state;
    static struct life life;
    struct crash_seeds seeds;
    struct err err;
    uint64_t seed = 0;
    crash_seeds_begin(&seeds, "power_cut_under_load", 0);
    (void)crash_seeds_next(&seeds, &seed);
    crash_init(&life.crash, seed);
    life.crash.what = "threads";
    life.crash.options.segment_bytes = 16384;
    life.crash.options.queue_file_bytes = 1000;
    life.crash.options.index_entries = 200;
    life.crash.options.flush = STORE_FLUSH_SYNC;
    life.crash.options.flush_queues_interval_ms = 1;
    life.crash.options.flush_queues_thorough_interval_ms = 5;
    assert_int_equal(
        store_open(&life.crash.options, sim_vfs(life.crash.sim), clock_real(), &life.store, &err),
        STATUS_OK);
    assert_int_equal(store_start(life.store, &err), STATUS_OK);
    struct appender appenders[APPENDERS];
    for (int i = 0; i < APPENDERS; i++) {
        appenders[i] = (struct appender){&life, i};
        assert_int_equal(pthread_create(&life.threads[i], NULL, append, &appenders[i]), 0);
    }
    int64_t seen = 0;
    for (int i = 0; i < CUTS; i++) {
        atomic_store(&life.allowed, seen + BETWEEN_CUTS);
        while (atomic_load(&life.accepted) < seen + BETWEEN_CUTS / 2 && !atomic_load(&life.refused))
            (void)sched_yield();
        assert_false(atomic_load(&life.refused));
        seen = atomic_load(&life.accepted);
        cut_now(&life);
    }
    atomic_store(&life.stop, true);
    for (int i = 0; i < APPENDERS; i++)
        assert_int_equal(pthread_join(life.threads[i], NULL), 0);
    store_close(life.store);
    crash_release(&life.crash);
    crash_seeds_end(&seeds, "power_cut_under_load", CUTS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(power_cut_under_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
