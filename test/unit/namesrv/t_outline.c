/* SPDX-License-Identifier: Apache-2.0
 *
 * Shows: the outline of a registration says the same about version and filter servers as the whole
 * body, for Apache's own bodies and for every shape that JSON allows; where it cannot tell, it says
 * so, and it never reads outside of its input.
 * Source: bodies/RegisterBrokerBody.json
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "namesrv/outline.h"
#include "proto/body.pb-c.h"
#include "proto/body_json.h"
#include "test/unit/support/random.h"
#include "test/unit/support/tsv.h"

#include <stdlib.h>

static int setup(void **state)
{
    struct arena *arena = xcalloc(1, sizeof *arena);
    arena_init(arena, 4096);
    *state = arena;
    return 0;
}

static int teardown(void **state)
{
    arena_release(*state);
    free(*state);
    return 0;
}

static void expect_same(struct arena *arena, struct slice json)
{
    struct slice outline;
    assert_true(outline_cut(json, arena, &outline));
    RegisterBrokerBody whole = REGISTER_BROKER_BODY__INIT;
    RegisterBrokerBody cut = REGISTER_BROKER_BODY__INIT;
    assert_int_equal(body_decode(json, arena, &whole.base, NULL), STATUS_OK);
    assert_int_equal(body_decode(outline, arena, &cut.base, NULL), STATUS_OK);
    const DataVersion *expected = whole.topic_config_serialize_wrapper->data_version;
    const DataVersion *version = cut.topic_config_serialize_wrapper->data_version;
    assert_int_equal(version->counter, expected->counter);
    assert_int_equal(version->timestamp, expected->timestamp);
    assert_int_equal(cut.n_filter_server_list, whole.n_filter_server_list);
    for (size_t i = 0; i < whole.n_filter_server_list; i++)
        assert_string_equal(cut.filter_server_list[i], whole.filter_server_list[i]);
    assert_int_equal(cut.topic_config_serialize_wrapper->n_topic_config_table, 0);
}

static void apaches_body(void **state)
{
    struct arena *arena = *state;
    struct slice json = file_bytes(arena, "test/data/bodies/RegisterBrokerBody.json");
    expect_same(arena, json);
    struct slice outline;
    assert_true(outline_cut(json, arena, &outline));
    /* The topics are not looked at. */
    struct slice head = slice_of(json.data, json.size - 40);
    assert_true(outline_cut(head, arena, &outline));
}

static void other_orders_and_spaces(void **state)
{
    static const char *const texts[] = {
        "{\"filterServerList\":[\"a:1\",\"b]:2\"],\"topicConfigSerializeWrapper\":{\"dataVersion\":"
        "{\"counter\":3,\"timestamp\":4},\"topicConfigTable\":{}}}",
        "{\"topicConfigSerializeWrapper\":{\"topicConfigTable\":{\"}\\\"{\":{\"topicName\":\"x\"}},"
        "\"dataVersion\":{\"counter\":3,\"timestamp\":4}},\"filterServerList\":[]}",
        " { \"topicConfigSerializeWrapper\" : { \"dataVersion\" : { \"counter\" : 3 , "
        "\"timestamp\" : 4 } , \"topicConfigTable\" : { } } , \"other\" : 12 } ",
        "{\"a\":{\"dataVersion\":{\"counter\":9}},\"topicConfigSerializeWrapper\":{\"dataVersion\":"
        "{\"counter\":3,\"stateVersion\":7,\"timestamp\":4}}}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        expect_same(*state, slice_of_cstr(texts[i]));
}

/* The body of brokers before 3.0.11. */
static void a_topic_table_alone(void **state)
{
    struct arena *arena = *state;
    struct slice outline;
    assert_true(outline_cut(
        SLICE_LITERAL("{\"dataVersion\":{\"counter\":5,\"timestamp\":6},\"topicConfigTable\":{}}"),
        arena, &outline));
    TopicConfigSerializeWrapper wrapper = TOPIC_CONFIG_SERIALIZE_WRAPPER__INIT;
    assert_int_equal(body_decode(outline, arena, &wrapper.base, NULL), STATUS_OK);
    assert_int_equal(wrapper.data_version->counter, 5);
    assert_int_equal(wrapper.data_version->timestamp, 6);
}

static void what_it_cannot_tell(void **state)
{
    static const char *const texts[] = {
        "",
        "null",
        "[]",
        "{}",
        "{\"filterServerList\":[]}",
        "{dataVersion:{}}",
        "{\"dataVersion\":",
        "{\"dataVersion\"",
        "{\"dataVersion\\",
        "{\"topicConfigSerializeWrapper\":{\"topicConfigTable\":{}}}",
        "{\"topicConfigSerializeWrapper\":null}",
        "{\"x\":{{{,\"dataVersion\":{}}",
        "{,}",
    };
    struct slice outline;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        assert_false(outline_cut(slice_of_cstr(texts[i]), *state, &outline));
}

/* Every cut of a good body, in memory of exactly that size: address sanitizer watches. */
static void cut_bodies_are_safe(void **state)
{
    struct arena *arena = *state;
    struct slice json = file_bytes(arena, "test/data/bodies/RegisterBrokerBody.json");
    size_t told = 0;
    for (size_t size = 0; size <= json.size; size++) {
        uint8_t *exact = xmalloc(size == 0 ? 1 : size);
        memcpy(exact, json.data, size);
        struct slice outline;
        told += outline_cut(slice_of(exact, size), arena, &outline);
        free(exact);
    }
    assert_true(told > 1 && told < json.size);
}

/* Bodies with a few bytes changed, in memory of exactly their size. */
static void damaged_bodies_are_safe(void **state)
{
    struct arena *arena = *state;
    struct slice json = file_bytes(arena, "test/data/bodies/RegisterBrokerBody.json");
    struct random random;
    random_init(&random, "t_outline");
    size_t told = 0;
    for (int round = 0; round < 20000; round++) {
        uint8_t *exact = xmalloc(json.size);
        memcpy(exact, json.data, json.size);
        for (uint32_t i = 0; i <= random_below(&random, 4); i++)
            exact[random_below(&random, (uint32_t)json.size)] =
                (uint8_t) "{}[]\",:\\ x0\0"[random_below(&random, 12)];
        struct arena scratch;
        arena_init(&scratch, 1024);
        struct slice outline;
        if (outline_cut(slice_of(exact, json.size), &scratch, &outline)) {
            RegisterBrokerBody cut = REGISTER_BROKER_BODY__INIT;
            told += body_decode(outline, &scratch, &cut.base, NULL) == STATUS_OK;
        }
        arena_release(&scratch);
        free(exact);
    }
    assert_true(told > 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(apaches_body),        TEST(other_orders_and_spaces), TEST(a_topic_table_alone),
        TEST(what_it_cannot_tell), TEST(cut_bodies_are_safe),     TEST(damaged_bodies_are_safe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
