/* SPDX-License-Identifier: Apache-2.0
 *
 * The slaves as people see them: how far behind, in sync or not, how fast; and that the log tells
 * of each change once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "broker/proc/replica_watch.h"

#include "common/base/check.h"
#include "common/sys/log.h"
#include "test/unit/support/store_kit.h"

#include <stdio.h>
#include <stdlib.h>

#define SECOND_MS 1000
#define BEHIND_MAX 1000

struct world {
    struct kit kit;
    struct broker broker;
    struct clock clock;
    int64_t now_ms;
    char log_path[FOLDER_BYTES + 16];
    int slot;
};

static int64_t wall_ms(void *ctx)
{
    return ((struct world *)ctx)->now_ms;
}

static int64_t monotonic_ns(void *ctx)
{
    return ((struct world *)ctx)->now_ms * 1000000;
}

static void moved(void *ctx)
{
    (void)ctx;
}

static int setup(void **state)
{
    struct world *w = xcalloc(1, sizeof *w);
    struct err err;
    w->now_ms = 1000000;
    w->clock = (struct clock){wall_ms, monotonic_ns, w};
    kit_init(&w->kit, "watch");
    kit_open(&w->kit);
    (void)snprintf(w->log_path, sizeof w->log_path, "%s/log", w->kit.folder);
    struct log_options options = {w->log_path, 1 << 20, 0, LOG_DEBUG};
    assert_int_equal(log_open(&options, &err), STATUS_OK);
    w->broker.clock = &w->clock;
    w->broker.store = w->kit.store;
    w->broker.conf.haSlaveFallbehindMax = BEHIND_MAX;
    w->broker.replicas = replicas_new(&w->clock, moved, NULL);
    w->broker.replica_watch = replica_watch_new(&w->broker);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    replica_watch_free(w->broker.replica_watch);
    replicas_free(w->broker.replicas);
    kit_release(&w->kit);
    log_close();
    free(w);
    return 0;
}

/* How often the log has these words. */
static int told(const struct world *w, const char *words)
{
    char line[1024];
    int count = 0;
    FILE *file = fopen(w->log_path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL)
        count += strstr(line, words) != NULL;
    (void)fclose(file);
    return count;
}

static void second_passes(struct world *w)
{
    w->now_ms += SECOND_MS;
    replica_watch_step(w->broker.replica_watch);
}

static int64_t end_of_log(const struct world *w)
{
    return store_appended_pos(w->kit.store);
}

static void grow(struct world *w)
{
    kit_put_many(&w->kit, "T", 0, 500, 1);
}

static void slave_joins(struct world *w)
{
    struct replica_identity identity = {.broker_id = 7};
    assert_true(host_parse("10.0.0.7", 4711, &identity.address));
    w->slot = replicas_join(w->broker.replicas, &identity, 0);
}

static void slave_has(struct world *w, int64_t pos)
{
    replicas_sent(w->broker.replicas, w->slot, pos);
    assert_true(replicas_acked(w->broker.replicas, w->slot, pos, end_of_log(w)));
}

static struct replica_view only_one(const struct world *w)
{
    struct replica_view list[REPLICAS_MAX];
    assert_int_equal(replica_watch_list(w->broker.replica_watch, list), 1);
    return list[0];
}

static void assert_told(const struct world *w, int in_sync, int behind)
{
    assert_int_equal(told(w, "slave is in sync"), in_sync);
    assert_int_equal(told(w, "slave fell behind"), behind);
}

static void how_far_behind(void **state)
{
    struct world *w = *state;
    struct replica_view list[REPLICAS_MAX];
    assert_int_equal(replica_watch_list(w->broker.replica_watch, list), 0);
    grow(w);
    slave_joins(w);
    w->now_ms += 300;
    assert_int_equal(only_one(w).behind_bytes, end_of_log(w));
    assert_int_equal(only_one(w).behind_ms, 300); /* since it has come */
    assert_false(only_one(w).in_sync);
    slave_has(w, end_of_log(w));
    assert_int_equal(only_one(w).behind_bytes, 0);
    assert_int_equal(only_one(w).behind_ms, 0);
    assert_true(only_one(w).in_sync); /* before the watch has looked */
    w->now_ms += 5000;
    assert_int_equal(only_one(w).behind_ms, 0);
    int64_t before = end_of_log(w);
    grow(w);
    assert_int_equal(only_one(w).behind_bytes, end_of_log(w) - before);
    assert_int_equal(only_one(w).behind_ms, 5000); /* it had all then, and nobody knows better */
    assert_true(only_one(w).in_sync);
}

static void each_change_is_told_once(void **state)
{
    struct world *w = *state;
    slave_joins(w);
    for (int i = 0; i < 3; i++)
        grow(w);
    second_passes(w);
    assert_told(w, 0, 0); /* on its way */
    slave_has(w, end_of_log(w));
    for (int i = 0; i < 3; i++)
        second_passes(w);
    assert_told(w, 1, 0);
    for (int i = 0; i < 3; i++)
        grow(w);
    for (int i = 0; i < 3; i++)
        second_passes(w);
    assert_told(w, 1, 1);
    assert_int_equal(told(w, "slave=10.0.0.7:4711 brokerId=7 "), 2);
    /* Nearer, but it has not had all since. */
    slave_has(w, end_of_log(w) - 100);
    second_passes(w);
    assert_told(w, 1, 1);
    assert_false(only_one(w).in_sync);
    slave_has(w, end_of_log(w));
    second_passes(w);
    second_passes(w);
    assert_told(w, 2, 1);
    assert_true(only_one(w).in_sync);
    /* Another connection begins anew. */
    replicas_leave(w->broker.replicas, w->slot);
    second_passes(w);
    slave_joins(w);
    slave_has(w, end_of_log(w));
    second_passes(w);
    assert_told(w, 3, 1);
}

/* It was in sync for less than a second: that it fell behind is told all the same. */
static void what_happens_between_two_looks(void **state)
{
    struct world *w = *state;
    slave_joins(w);
    slave_has(w, 0);
    for (int i = 0; i < 3; i++)
        grow(w);
    second_passes(w);
    assert_told(w, 0, 1);
    assert_false(only_one(w).in_sync);
}

static void how_fast(void **state)
{
    struct world *w = *state;
    for (int i = 0; i < 3; i++)
        grow(w);
    slave_joins(w);
    second_passes(w);
    assert_int_equal(only_one(w).bytes_per_second, 0);
    slave_has(w, 400);
    second_passes(w);
    assert_int_equal(only_one(w).bytes_per_second, 400);
    second_passes(w);
    assert_int_equal(only_one(w).bytes_per_second, 0);
}

/* As in 4.9.2: every minute, the first time after ten seconds. */
static void the_lag_is_told_every_minute(void **state)
{
    struct world *w = *state;
    for (int i = 0; i < 30; i++)
        second_passes(w);
    assert_int_equal(told(w, "Slave fall behind master"), 0); /* there is none */
    grow(w);
    slave_joins(w);
    for (int i = 0; i < 120; i++)
        second_passes(w);
    assert_int_equal(told(w, "Slave fall behind master: "), 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(how_far_behind),
        TEST(each_change_is_told_once),
        TEST(what_happens_between_two_looks),
        TEST(how_fast),
        TEST(the_lag_is_told_every_minute),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
