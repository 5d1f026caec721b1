/* SPDX-License-Identifier: Apache-2.0
 *
 * Pulls that are filtered by messages' properties: what matches is served and the rest passed over,
 * tags are looked at first, nothing on disk is looked at by a thread that must not wait, and a pull
 * that finds nothing for a while ends and says how far it has come.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "test/unit/support/store_kit.h"

#include <stdio.h>
#include <string.h>

/* Wants messages whose property string ends with '7', or none. */
struct wanted {
    bool any;
    _Atomic int asked;
};

static bool wants_seven(void *ctx, struct slice properties)
{
    struct wanted *wanted = ctx;
    atomic_fetch_add(&wanted->asked, 1);
    return wanted->any && properties.size > 0 && properties.data[properties.size - 1] == '7';
}

static bool wants_code(void *ctx, int64_t tags_code)
{
    return tags_code == *(int64_t *)ctx;
}

static struct get_request request_of(struct queue *queue, int64_t offset, struct wanted *wanted)
{
    return (struct get_request){.queue = queue,
                                .queue_offset = offset,
                                .max_messages = 100,
                                .properties_filter = wants_seven,
                                .properties_filter_ctx = wanted};
}

static bool try_get(struct kit *kit, const struct get_request *request, struct get_result *got)
{
    struct arena arena;
    arena_init(&arena, 4096);
    bool here = store_try_get(kit->store, request, &arena, got);
    for (int i = 0; i < got->range_count; i++)
        log_range_release(&got->ranges[i]);
    arena_release(&arena);
    return here;
}

/* Messages 0 to count - 1 of queue A-0, with their number as a property, and tag a or b. */
static void put(struct kit *kit, int count, size_t body_bytes)
{
    static char body[32768];
    memset(body, 'x', sizeof body);
    body[body_bytes] = '\0';
    for (int i = 0; i < count; i++) {
        char properties[64];
        (void)snprintf(properties, sizeof properties, "TAGS\001%s\002n\001%d",
                       i % 2 == 0 ? "a" : "b", i);
        kit_put(kit, "A", 0, body, properties);
    }
    kit_dispatched(kit);
}

static void what_matches_is_served(void **state)
{
    (void)state;
    struct kit kit;
    struct wanted wanted = {.any = true};
    struct get_result got;
    kit_init(&kit, "filtered");
    kit.options.queue_file_bytes = 20000; /* all in one file */
    kit_start(&kit);
    put(&kit, 100, 10);
    struct queue *queue = kit_queue(&kit, "A", 0);
    struct get_request request = request_of(queue, 0, &wanted);
    assert_true(try_get(&kit, &request, &got));
    assert_int_equal(got.status, GET_FOUND);
    assert_int_equal(got.count, 10);
    assert_int_equal(got.range_count, 10);
    assert_int_equal(got.next_begin_offset, 100);
    assert_int_equal(wanted.asked, 100);
    request.max_messages = 3;
    assert_true(try_get(&kit, &request, &got));
    assert_int_equal(got.count, 3);
    assert_int_equal(got.next_begin_offset, 28);
    /* Messages whose tag is not wanted are not looked at. */
    int64_t tag_a = 97;
    wanted.asked = 0;
    request.filter = wants_code;
    request.filter_ctx = &tag_a;
    assert_true(try_get(&kit, &request, &got));
    assert_int_equal(got.status, GET_NO_MATCHED_MESSAGE);
    assert_int_equal(got.next_begin_offset, 100);
    assert_int_equal(wanted.asked, 50);
    kit_release(&kit);
}

/* --- on disk --- */

struct asked {
    struct cold_read read; /* first */
    _Atomic bool done;
};

static void on_done(struct cold_read *read)
{
    atomic_store(&((struct asked *)(void *)read)->done, true);
}

static bool is_done(void *ctx)
{
    return atomic_load(&((struct asked *)ctx)->done);
}

static void what_is_on_disk_is_filtered_elsewhere(void **state)
{
    (void)state;
    struct kit kit;
    struct wanted wanted = {.any = true};
    struct get_result got;
    struct asked asked = {.read.done = on_done};
    kit_init(&kit, "filtered");
    kit_start(&kit);
    put(&kit, 20, 20000);
    kit_close(&kit);
    kit_start(&kit); /* of messages of an earlier run nothing is hot */
    struct queue *queue = kit_queue(&kit, "A", 0);
    struct get_request request = request_of(queue, 0, &wanted);
    atomic_store(&kit.vfs.cold_target, KIT_COMMIT_LOG);
    assert_false(try_get(&kit, &request, &got));
    assert_int_equal(wanted.asked, 0);
    asked.read.request = request;
    arena_init(&asked.read.arena, 1024);
    assert_int_equal(store_read_cold(kit.store, &asked.read), STATUS_OK);
    kit_wait(is_done, &asked);
    assert_int_equal(asked.read.status, STATUS_OK);
    assert_int_equal(asked.read.result.status, GET_FOUND);
    assert_int_equal(asked.read.result.count, 2); /* 7 and 17 */
    assert_int_equal(asked.read.result.next_begin_offset, 20);
    assert_int_equal(wanted.asked, 20);
    for (int i = 0; i < asked.read.result.range_count; i++)
        log_range_release(&asked.read.result.ranges[i]);
    arena_release(&asked.read.arena);
    kit_release(&kit);
}

/* --- patience --- */

static _Atomic int64_t now_ns;

/* Every look takes a millisecond. */
static int64_t slow_clock(void *ctx)
{
    (void)ctx;
    return atomic_fetch_add(&now_ns, 1000000);
}

static void a_long_search_ends_and_goes_on(void **state)
{
    (void)state;
    struct kit kit;
    struct wanted wanted = {.any = false};
    struct get_result got;
    int64_t offset = 0;
    int pulls = 0;
    kit_init(&kit, "filtered");
    kit.options.queue_file_bytes = 20000;
    kit.clock.monotonic_ns = slow_clock;
    kit_start(&kit);
    put(&kit, 700, 10);
    struct queue *queue = kit_queue(&kit, "A", 0);
    while (offset < 700) {
        struct get_request request = request_of(queue, offset, &wanted);
        assert_true(try_get(&kit, &request, &got));
        assert_int_equal(got.status, GET_NO_MATCHED_MESSAGE);
        assert_true(got.next_begin_offset > offset);
        offset = got.next_begin_offset;
        pulls++;
    }
    assert_int_equal(offset, 700);
    assert_int_equal(wanted.asked, 700); /* nothing is looked at twice */
    assert_true(pulls > 3);
    kit_release(&kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_matches_is_served),
        cmocka_unit_test(what_is_on_disk_is_filtered_elsewhere),
        cmocka_unit_test(a_long_search_ends_and_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
