/* SPDX-License-Identifier: Apache-2.0
 *
 * Shows: with 5,000 topics of 8 queues on 50 brokers every route is right, an unchanged heartbeat
 * does not touch topics, and a second look-up of an unchanged topic hands out the same bytes.
 * Method: counts and pointers, not times.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "namesrv/route.h"
#include "namesrv/route_view.h"
#include "proto/json.h"

#include <stdio.h>
#include <stdlib.h>

#define TOPICS 5000
#define BROKERS 50
#define QUEUES 8

struct fixture {
    struct route *route;
    struct arena arena;
    TopicConfig *configs;
    TopicConfigEntry *entries;
    TopicConfigEntry **pointers;
};

static char *topic_name(struct arena *arena, int i)
{
    return arena_printf(arena, "topic-%05d", i);
}

static void registers(struct fixture *f, int i, int64_t version, struct route_registered *done)
{
    char name[32];
    char address[32];
    (void)snprintf(name, sizeof name, "broker-%02d", i);
    (void)snprintf(address, sizeof address, "10.0.0.%d:10911", i);
    struct route_registration r = {
        .cluster_name = SLICE_LITERAL("DefaultCluster"),
        .broker_name = slice_of_cstr(name),
        .broker_addr = slice_of_cstr(address),
        .ha_server_addr = SLICE_LITERAL("10.0.0.1:10912"),
        .version = {version, 1},
        .topics = f->pointers,
        .topic_count = TOPICS,
        .conn = {NULL, 0, (uint32_t)i + 1},
    };
    assert_int_equal(route_register(f->route, &r, &f->arena, done), STATUS_OK);
}

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof *f);
    f->route = route_new();
    arena_init(&f->arena, 65536);
    f->configs = xcalloc(TOPICS, sizeof *f->configs);
    f->entries = xcalloc(TOPICS, sizeof *f->entries);
    f->pointers = xcalloc(TOPICS, sizeof *f->pointers);
    for (int i = 0; i < TOPICS; i++) {
        topic_config__init(&f->configs[i]);
        topic_config_entry__init(&f->entries[i]);
        f->configs[i].topic_name = topic_name(&f->arena, i);
        f->configs[i].read_queue_nums = QUEUES;
        f->configs[i].write_queue_nums = QUEUES;
        f->configs[i].perm = 6;
        f->entries[i].value = &f->configs[i];
        f->pointers[i] = &f->entries[i];
    }
    for (int i = 0; i < BROKERS; i++) {
        struct route_registered done;
        registers(f, i, 1, &done);
        assert_int_equal(done.topics_added, TOPICS);
    }
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    route_free(f->route);
    arena_release(&f->arena);
    free(f->configs);
    free(f->entries);
    free(f->pointers);
    free(f);
    return 0;
}

static void expect_sizes(struct slice body, uint32_t brokers)
{
    struct arena arena;
    arena_init(&arena, 65536);
    struct json_value root;
    assert_int_equal(json_parse(body, &arena, &root, NULL), STATUS_OK);
    assert_int_equal(json_get(&root, "brokerDatas")->count, brokers);
    const struct json_value *queues = json_get(&root, "queueDatas");
    assert_int_equal(queues->count, brokers);
    for (uint32_t i = 0; i < brokers; i++) {
        int64_t number = 0;
        assert_true(json_as_i64(json_get(&queues->items[i], "readQueueNums"), &number));
        assert_int_equal(number, QUEUES);
    }
    arena_release(&arena);
}

static void every_topic_is_on_every_broker(void **state)
{
    struct fixture *f = *state;
    struct route_counts counts = route_count(f->route);
    assert_int_equal(counts.topics, TOPICS);
    assert_int_equal(counts.queues, TOPICS * BROKERS);
    for (int i = 0; i < TOPICS; i += 50) {
        struct route_body *body =
            route_view_topic(f->route, slice_of_cstr(topic_name(&f->arena, i)));
        assert_non_null(body);
        expect_sizes(route_body_bytes(body), BROKERS);
        route_body_release(body);
    }
}

static void an_unchanged_topic_is_served_from_one_body(void **state)
{
    struct fixture *f = *state;
    struct route_body *bodies[100];
    for (int i = 0; i < 100; i++)
        bodies[i] = route_view_topic(f->route, slice_of_cstr(topic_name(&f->arena, i * 50)));
    for (int i = 0; i < BROKERS; i++) {
        struct route_registered done;
        registers(f, i, 1, &done);
        assert_int_equal(done.topics_added + done.topics_changed + done.topics_refused, 0);
    }
    for (int i = 0; i < 100; i++) {
        struct route_body *again =
            route_view_topic(f->route, slice_of_cstr(topic_name(&f->arena, i * 50)));
        assert_ptr_equal(again, bodies[i]);
        route_body_release(again);
        route_body_release(bodies[i]);
    }
}

/* One topic more on one broker sends all of them with a new version; only that one changes. */
static void a_new_version_changes_only_what_differs(void **state)
{
    struct fixture *f = *state;
    struct slice same = slice_of_cstr("topic-00001");
    struct slice changed = slice_of_cstr("topic-00002");
    struct route_body *same_body = route_view_topic(f->route, same);
    struct route_body *changed_body = route_view_topic(f->route, changed);
    f->configs[2].perm = 4;
    struct route_registered done;
    registers(f, 7, 2, &done);
    f->configs[2].perm = 6;
    assert_int_equal(done.topics_changed, 1);
    assert_int_equal(done.topics_added, 0);

    struct route_body *body = route_view_topic(f->route, same);
    assert_ptr_equal(body, same_body);
    route_body_release(body);
    body = route_view_topic(f->route, changed);
    assert_ptr_not_equal(body, changed_body);
    expect_sizes(route_body_bytes(body), BROKERS);
    route_body_release(body);
    route_body_release(same_body);
    route_body_release(changed_body);
}

static void losing_brokers_shrinks_every_route(void **state)
{
    struct fixture *f = *state;
    struct route_gone gone;
    for (uint32_t i = 0; i < BROKERS; i++) {
        struct conn_ref conn = {NULL, 0, i + 1};
        assert_true(route_close(f->route, conn, SLICE_LITERAL("10.9.9.9:1"), &gone));
        assert_int_equal(gone.topics, TOPICS);
        if (i % 10 == 0) {
            struct route_body *body = route_view_topic(f->route, SLICE_LITERAL("topic-04999"));
            expect_sizes(route_body_bytes(body), BROKERS - 1 - i);
            route_body_release(body);
        }
    }
    struct route_counts counts = route_count(f->route);
    assert_int_equal(counts.brokers + counts.topics + counts.queues + counts.addresses, 0);
}

int main(void)
{
    /* In this order: each leaves the table as the next one expects it. */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_topic_is_on_every_broker),
        cmocka_unit_test(an_unchanged_topic_is_served_from_one_body),
        cmocka_unit_test(a_new_version_changes_only_what_differs),
        cmocka_unit_test(losing_brokers_shrinks_every_route),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
