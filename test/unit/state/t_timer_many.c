/* SPDX-License-Identifier: Apache-2.0
 *
 * Very many pending timers: TIMERS (default 100000), spread over an hour in a random order, are
 * taken in, survive a restart, and are all delivered, each once, in order, with memory that does
 * not grow with their number. Prints how long that takes and the memory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "broker/state/timer.h"

#include "broker/state/topics.h"
#include "common/base/check.h"
#include "common/sys/log.h"
#include "proto/properties.h"
#include "test/unit/support/random.h"
#include "test/unit/support/store_kit.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#define START_MS 1700000000000
#define SPAN_MS 3600000
#define MEMORY_KIB_MAX (64 * 1024)

static struct kit kit;
static struct timer *timer;

static void open_timers(void)
{
    static char folder[256];
    static char progress[256];
    struct err err = {.text = ""};
    kit_path(&kit, "timer", folder);
    kit_path(&kit, "config/timerProgress.json", progress);
    struct timer_options options = {
        .folder = folder,
        .progress_path = progress,
        .vfs = vfs_posix(),
        .store = kit.store,
        .clock = &kit.clock,
    };
    if (timer_load(&options, &timer, &err) != STATUS_OK)
        fail_msg("%s", err.text);
}

/* Memory of its own, without the pages of files. */
static long memory_kib(void)
{
    char line[256];
    long kib = 0;
    FILE *file = fopen("/proc/self/status", "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, "RssAnon:", 8) == 0)
            kib = strtol(line + 8, NULL, 10);
    (void)fclose(file);
    return kib;
}

static double seconds(void)
{
    return (double)clock_monotonic_ms(clock_real()) / 1000;
}

static void append_all(int64_t count, struct random *random)
{
    struct queue *queue = store_queue(kit.store, SLICE_LITERAL(TOPIC_TIMER), 0, true);
    for (int64_t i = 0; i < count; i++) {
        char properties[160];
        (void)snprintf(properties, sizeof properties,
                       "TIMER_OUT_MS\1%lld\2REAL_TOPIC\1Real\2REAL_QID\1%d\2UNIQ_KEY\1%lld",
                       (long long)(START_MS + 1 + random_below(random, SPAN_MS)), 0, (long long)i);
        struct record record = kit_record(SLICE_LITERAL(TOPIC_TIMER), 0, SLICE_LITERAL("b"),
                                          slice_of_cstr(properties));
        assert_int_equal(append_batch_add(kit.batch, queue, &record, false, NULL), STATUS_OK);
        if (append_batch_count(kit.batch) < 512 && i + 1 < count)
            continue;
        assert_int_equal(store_append(kit.store, kit.batch)->status, PUT_OK);
        append_batch_clear(kit.batch);
    }
}

static void wait_dispatched(void)
{
    while (store_dispatched_pos(kit.store) < store_appended_pos(kit.store))
        (void)sched_yield();
}

static void run_at(int64_t now_ms)
{
    int64_t wait_ms = 0;
    atomic_store(&kit.wall_ms, now_ms);
    for (int i = 0; wait_ms == 0 || i < 2; i++)
        wait_ms = timer_step(timer, now_ms);
}

static void check_order(int64_t count)
{
    struct queue *queue = kit_queue(&kit, "Real", 0);
    int64_t before_ms = 0;
    assert_int_equal(queue_max_offset(queue), count);
    for (int64_t i = 0; i < count; i++) {
        struct queue_entry entry;
        struct log_range range;
        struct record record;
        struct slice value;
        char text[32];
        assert_true(queue_entry_at(queue, i, &entry));
        assert_int_equal(store_read_record(kit.store, entry.pos, &range), STATUS_OK);
        assert_int_equal(
            record_decode(slice_of(range.data, range.size), RECORD_CHECK_FRAME, &record),
            STATUS_OK);
        assert_true(properties_find(record.properties, SLICE_LITERAL("TIMER_OUT_MS"), &value));
        (void)snprintf(text, sizeof text, "%.*s", SLICE_ARGS(value));
        int64_t due_ms = strtoll(text, NULL, 10);
        assert_true(due_ms >= before_ms);
        before_ms = due_ms;
        log_range_release(&range);
    }
}

static void very_many(void **state)
{
    (void)state;
    const char *wanted = getenv("TIMERS");
    int64_t count = wanted == NULL ? 100000 : strtoll(wanted, NULL, 10);
    struct random random = {11};
    struct err err;
    struct timer_figures figures;
    kit_init(&kit, "timer-many");
    log_set_level(LOG_ERROR);
    kit.options.segment_bytes = 256 * 1024 * 1024;
    kit.options.queue_file_bytes = 6000000;
    kit.options.index_enable = false;
    kit.options.flush_interval_ms = 500;
    atomic_store(&kit.wall_ms, START_MS - 1);
    kit_start(&kit);
    open_timers();
    append_all(count, &random);
    wait_dispatched();
    long base_kib = memory_kib();

    double begun = seconds();
    run_at(START_MS);
    double taken_in = seconds();
    timer_figures(timer, &figures);
    assert_int_equal(figures.pending, count);
    long pending_kib = memory_kib();
    assert_int_equal(timer_persist(timer, &err), STATUS_OK);
    timer_free(timer);
    kit_close(&kit);
    kit_start(&kit);
    double opening = seconds();
    open_timers();
    run_at(START_MS);
    double opened = seconds();
    timer_figures(timer, &figures);
    assert_int_equal(figures.pending, count);

    double delivering = seconds();
    run_at(START_MS + SPAN_MS / 2);
    run_at(START_MS + SPAN_MS + 1);
    double delivered = seconds();
    long most_kib = memory_kib();
    wait_dispatched();
    timer_figures(timer, &figures);
    assert_int_equal(figures.pending, 0);
    check_order(count);
    print_message("%lld timers: taken in in %.1f s, opened in %.1f s, delivered in %.1f s; memory "
                  "%ld KiB before, %ld pending, %ld after delivery\n",
                  (long long)count, taken_in - begun, opened - opening, delivered - delivering,
                  base_kib, pending_kib, most_kib);
    if (getenv("COMETMQ_SANITIZER") == NULL)
        assert_true(pending_kib - base_kib < MEMORY_KIB_MAX &&
                    most_kib - base_kib < MEMORY_KIB_MAX);
    timer_free(timer);
    kit_release(&kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(very_many)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
