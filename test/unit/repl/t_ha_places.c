/* SPDX-License-Identifier: Apache-2.0
 *
 * Who is given a slave's place: the same store takes its own, copies of one store do not take
 * turns, strangers that pass for slaves of 4.9.2 leave room for the others. Rules:
 * broker/repl/ha_places.c, broker/repl/replication_internal.h.
 */
#include "broker/repl/replication_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define HALF (REPLICAS_MAX / 2)

static int setup(void **state)
{
    struct replication *replication = calloc(1, sizeof *replication);
    assert_non_null(replication);
    assert_int_equal(pthread_mutex_init(&replication->lock, NULL), 0);
    for (int i = 0; i < HA_CONNECTIONS_MAX; i++)
        replication->connections[i] = (struct ha_connection){.replication = replication, .fd = -1};
    *state = replication;
    return 0;
}

static int teardown(void **state)
{
    struct replication *replication = *state;
    assert_int_equal(pthread_mutex_destroy(&replication->lock), 0);
    free(replication);
    return 0;
}

/* A connection from 10.0.0.<machine>. */
static struct ha_connection *come(struct replication *replication, int machine, int64_t now_ms)
{
    for (int i = 0; i < HA_CONNECTIONS_MAX; i++) {
        struct ha_connection *connection = &replication->connections[i];
        if (connection->use == HA_CONNECTION_OPEN && !connection->replaced)
            continue;
        connection->use = HA_CONNECTION_OPEN;
        connection->joined = connection->replaced = false;
        connection->opened_ms = now_ms;
        connection->peer = (struct host){{10, 0, 0, (uint8_t)machine}, 4, 10000 + i};
        return connection;
    }
    fail_msg("no connection is free");
    return NULL;
}

static void go(struct ha_connection *connection)
{
    connection->use = HA_CONNECTION_FREE;
    connection->joined = false;
}

static enum ha_verdict claim(struct ha_connection *connection, int64_t broker_id, uint64_t boot_id,
                             const char *store_id, char other[HOST_TEXT_BYTES])
{
    struct ha_hello slave = {.broker_id = broker_id, .boot_id = boot_id};
    (void)snprintf(slave.store_id, sizeof slave.store_id, "%s", store_id);
    return ha_places_claim(connection, &slave, 2, other);
}

static enum ha_verdict claim_as_4_9_2(struct ha_connection *connection)
{
    char other[HOST_TEXT_BYTES];
    struct ha_hello slave = {.broker_id = -1};
    return ha_places_claim(connection, &slave, 1, other);
}

static void a_slave_takes_its_own_place(void **state)
{
    struct replication *replication = *state;
    char other[HOST_TEXT_BYTES] = "";
    struct ha_connection *before = come(replication, 1, 0);
    assert_int_equal(claim(before, 1, 100, "A", other), HA_ADMITTED);
    for (uint64_t boot_id = 100; boot_id < 200; boot_id++) { /* first the same process */
        struct ha_connection *next = come(replication, 1, 0);
        assert_ptr_not_equal(next, before);
        assert_int_equal(claim(next, 1, boot_id, "A", other), HA_ADMITTED);
        assert_true(before->replaced);
        assert_false(next->replaced);
        before = next;
    }
    /* Another id is another place. */
    assert_int_equal(claim(come(replication, 1, 0), 2, 7, "A", other), HA_ADMITTED);
    assert_false(before->replaced);
}

static void another_store_does_not(void **state)
{
    struct replication *replication = *state;
    char other[HOST_TEXT_BYTES] = "";
    struct ha_connection *first = come(replication, 1, 0);
    assert_int_equal(claim(first, 1, 100, "A", other), HA_ADMITTED);
    struct ha_connection *second = come(replication, 2, 0);
    assert_int_equal(claim(second, 1, 101, "B", other), HA_ID_TAKEN);
    assert_string_equal(other, "10.0.0.1:10000");
    assert_int_equal(claim(second, 1, 101, "", other), HA_ID_TAKEN);
    assert_false(first->replaced);
    /* Older brokers do not tell: only the same process takes its place. */
    go(first);
    assert_int_equal(claim(second, 1, 101, "", other), HA_ADMITTED);
    assert_int_equal(claim(come(replication, 2, 0), 1, 102, "", other), HA_ID_TAKEN);
    assert_int_equal(claim(come(replication, 2, 0), 1, 101, "", other), HA_ADMITTED);
}

static void copies_of_a_store_do_not_take_turns(void **state)
{
    struct replication *replication = *state;
    char other[HOST_TEXT_BYTES] = "";
    struct ha_connection *one = come(replication, 1, 0);
    assert_int_equal(claim(one, 1, 100, "A", other), HA_ADMITTED);
    struct ha_connection *copy = come(replication, 2, 0);
    assert_int_equal(claim(copy, 1, 200, "A", other), HA_ADMITTED);
    assert_true(one->replaced);
    go(one);
    for (int i = 0; i < 100; i++) {
        one = come(replication, 1, 0);
        assert_int_equal(claim(one, 1, 100, "A", other), HA_STORE_COPIED);
        assert_false(copy->replaced);
        go(one);
    }
    /* The copy has been switched off: the first one is a slave like any other. */
    go(copy);
    one = come(replication, 1, 0);
    assert_int_equal(claim(one, 1, 100, "A", other), HA_ADMITTED);
    struct ha_connection *next = come(replication, 1, 0);
    assert_int_equal(claim(next, 1, 101, "A", other), HA_ADMITTED);
    assert_true(one->replaced);
}

static void strangers_have_half_of_the_places(void **state)
{
    struct replication *replication = *state;
    char other[HOST_TEXT_BYTES] = "";
    struct ha_connection *strangers[HALF];
    for (int i = 0; i < HALF; i++) {
        strangers[i] = come(replication, i == HALF - 1 ? 2 : 1, i);
        assert_int_equal(claim_as_4_9_2(strangers[i]), HA_ADMITTED);
    }
    for (int64_t id = 1; id <= HALF; id++)
        assert_int_equal(claim(come(replication, 3, 100), id, (uint64_t)id, "", other),
                         HA_ADMITTED);
    /* One from the same machine goes, whatever else is older. */
    struct ha_connection *next = come(replication, 2, 200);
    assert_int_equal(claim_as_4_9_2(next), HA_ADMITTED);
    assert_true(strangers[HALF - 1]->replaced);
    ha_places_prove(next);
    /* Nobody else from there, and from elsewhere nobody has been silent for long. */
    assert_int_equal(claim_as_4_9_2(come(replication, 2, 300)), HA_TOO_MANY);
    assert_int_equal(claim_as_4_9_2(come(replication, 4, 300)), HA_TOO_MANY);
    /* Later the oldest that has not shown anything. */
    ha_places_prove(strangers[0]);
    assert_int_equal(claim_as_4_9_2(come(replication, 4, 60000)), HA_ADMITTED);
    assert_false(strangers[0]->replaced);
    assert_true(strangers[1]->replaced);
    assert_false(next->replaced);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_slave_takes_its_own_place),
        TEST(another_store_does_not),
        TEST(copies_of_a_store_do_not_take_turns),
        TEST(strangers_have_half_of_the_places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
