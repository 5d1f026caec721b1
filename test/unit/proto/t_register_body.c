/* SPDX-License-Identifier: Apache-2.0
 *
 * The deflated registration against the one that Apache's 4.9.2 made
 * (test/data/bodies/RegisterBrokerBody.deflate.bin and what it inflates to). Damage anywhere is
 * refused.
 */
#include "proto/register_body.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/base/crc32.h"
#include "common/base/limits.h"
#include "proto/body_json.h"
#include "test/unit/support/random.h"
#include "test/unit/support/tsv.h"

#include <stdlib.h>
#include <zlib.h>

static int set_up(void **state)
{
    struct arena *arena = malloc(sizeof *arena);
    arena_init(arena, 65536);
    *state = arena;
    return 0;
}

static int tear_down(void **state)
{
    arena_release(*state);
    free(*state);
    return 0;
}

static struct buf deflated(struct slice content)
{
    struct buf out = BUF_EMPTY;
    uLongf bytes = compressBound(content.size);
    CHECK(compress2(buf_reserve(&out, bytes), &bytes, content.data, content.size, 1) == Z_OK);
    out.size = bytes;
    return out;
}

/* Inflate a registration whose uncompressed content is given. */
static enum status inflate_content(struct arena *arena, struct slice content,
                                   RegisterBrokerBody *message, struct err *err)
{
    struct buf body = deflated(content);
    register_broker_body__init(message);
    enum status status = register_body_inflate(buf_slice(&body), arena, message, err);
    buf_release(&body);
    return status;
}

static void golden_registration(void **state)
{
    struct slice body = file_bytes(*state, "test/data/bodies/RegisterBrokerBody.deflate.bin");
    RegisterBrokerBody message = REGISTER_BROKER_BODY__INIT;
    struct err err = {.text = ""};
    assert_int_equal(rocketmq_crc32(body), 946422681);
    assert_int_equal(register_body_inflate(body, *state, &message, &err), STATUS_OK);
    const TopicConfigSerializeWrapper *wrapper = message.topic_config_serialize_wrapper;
    assert_int_equal(wrapper->data_version->counter, 7);
    assert_int_equal(wrapper->data_version->timestamp, 1700000000000);
    assert_int_equal(wrapper->n_topic_config_table, 2);
    const TopicConfigEntry *entry = wrapper->topic_config_table[0];
    assert_string_equal(entry->key, "TopicB");
    assert_string_equal(entry->value->topic_name, "TopicB");
    assert_int_equal(entry->value->read_queue_nums, 8);
    assert_int_equal(entry->value->write_queue_nums, 6);
    assert_int_equal(entry->value->perm, 4);
    assert_string_equal(entry->value->topic_filter_type, "MULTI_TAG");
    assert_int_equal(entry->value->topic_sys_flag, 0);
    assert_false(entry->value->order);
    assert_string_equal(wrapper->topic_config_table[1]->key, "TopicA");
    assert_int_equal(message.n_filter_server_list, 1);
    assert_string_equal(message.filter_server_list[0], "127.0.0.1:40001");
}

static void written_like_java(void **state)
{
    struct slice json = file_bytes(*state, "test/data/bodies/RegisterBrokerBody.json");
    struct slice expected = file_bytes(*state, "test/data/bodies/RegisterBrokerBody.inflated.bin");
    RegisterBrokerBody message = REGISTER_BROKER_BODY__INIT;
    struct buf body = BUF_EMPTY;
    uint8_t content[4096];
    uLongf content_bytes = sizeof content;
    assert_int_equal(body_decode(json, *state, &message.base, NULL), STATUS_OK);
    register_body_deflate(&message, &body);
    assert_int_equal(uncompress(content, &content_bytes, body.data, body.size), Z_OK);
    assert_true(slice_equal(slice_of(content, content_bytes), expected));
    buf_release(&body);
}

static void an_empty_registration(void **state)
{
    RegisterBrokerBody message = REGISTER_BROKER_BODY__INIT;
    RegisterBrokerBody again = REGISTER_BROKER_BODY__INIT;
    struct buf body = BUF_EMPTY;
    register_body_deflate(&message, &body);
    assert_int_equal(register_body_inflate(buf_slice(&body), *state, &again, NULL), STATUS_OK);
    assert_int_equal(again.topic_config_serialize_wrapper->n_topic_config_table, 0);
    assert_int_equal(again.topic_config_serialize_wrapper->data_version->counter, 0);
    assert_int_equal(again.n_filter_server_list, 0);
    buf_release(&body);
}

static void cut_and_damaged_streams(void **state)
{
    struct slice body = file_bytes(*state, "test/data/bodies/RegisterBrokerBody.deflate.bin");
    RegisterBrokerBody message;
    uint8_t damaged[256];
    assert_true(body.size <= sizeof damaged);
    for (size_t size = 0; size < body.size; size++) {
        register_broker_body__init(&message);
        assert_int_equal(register_body_inflate(slice_of(body.data, size), *state, &message, NULL),
                         STATUS_MALFORMED);
    }
    /* The stream ends in a checksum of its content. */
    for (size_t i = 0; i < body.size; i++) {
        memcpy(damaged, body.data, body.size);
        damaged[i] ^= 0x01;
        register_broker_body__init(&message);
        assert_int_equal(
            register_body_inflate(slice_of(damaged, body.size), *state, &message, NULL),
            STATUS_MALFORMED);
    }
}

static void cut_content(void **state)
{
    struct slice content = file_bytes(*state, "test/data/bodies/RegisterBrokerBody.inflated.bin");
    RegisterBrokerBody message;
    struct err err;
    assert_int_equal(inflate_content(*state, content, &message, NULL), STATUS_OK);
    for (size_t size = 0; size < content.size; size++)
        assert_int_equal(inflate_content(*state, slice_of(content.data, size), &message, &err),
                         STATUS_MALFORMED);
}

static void append_part(struct buf *content, struct slice part)
{
    buf_append_i32(content, (int32_t)part.size);
    buf_append_slice(content, part);
}

static void topic_lines(void **state)
{
    static const struct {
        struct slice line;
        enum status status;
    } rows[] = {
#define LINE(text) {(const uint8_t *)(text), sizeof(text) - 1}
        {LINE("T 1 2 6 SINGLE_TAG"), STATUS_OK},
        {LINE("T -1 2 6 X"), STATUS_OK},
        {LINE(""), STATUS_MALFORMED},
        {LINE("T 1 2 6"), STATUS_MALFORMED},
        {LINE("T 1 2 6 "), STATUS_MALFORMED},
        {LINE("T 1 2 6 A B"), STATUS_MALFORMED},
        {LINE(" 1 2 6 SINGLE_TAG"), STATUS_MALFORMED},
        {LINE("T  1 2 6 SINGLE_TAG"), STATUS_MALFORMED},
        {LINE("T x 2 6 SINGLE_TAG"), STATUS_MALFORMED},
        {LINE("T 1 2147483648 6 SINGLE_TAG"), STATUS_MALFORMED},
        {LINE("T\0U 1 2 6 SINGLE_TAG"), STATUS_MALFORMED},
#undef LINE
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct buf content = BUF_EMPTY;
        RegisterBrokerBody message;
        append_part(&content, SLICE_LITERAL("{}"));
        buf_append_i32(&content, 1);
        append_part(&content, rows[i].line);
        append_part(&content, SLICE_LITERAL("[]                "));
        assert_int_equal(inflate_content(*state, buf_slice(&content), &message, NULL),
                         rows[i].status);
        buf_release(&content);
    }
}

static void hostile_content(void **state)
{
    struct arena *arena = *state;
    struct buf content = BUF_EMPTY;
    RegisterBrokerBody message;
    struct err err;
    append_part(&content, SLICE_LITERAL("{}"));
    buf_append_i32(&content, INT32_MAX);
    assert_int_equal(inflate_content(arena, buf_slice(&content), &message, &err), STATUS_MALFORMED);
    put_i32(content.data + 6, -1);
    assert_int_equal(inflate_content(arena, buf_slice(&content), &message, &err), STATUS_MALFORMED);
    put_i32(content.data, INT32_MAX);
    assert_int_equal(inflate_content(arena, buf_slice(&content), &message, &err), STATUS_MALFORMED);
    /* A bomb: more than the bound from a few hundred kilobytes. */
    size_t bytes = (size_t)DECODE_BYTES_MAX + 1;
    memset(buf_reserve(&content, bytes), 0, bytes);
    content.size = bytes;
    assert_int_equal(inflate_content(arena, buf_slice(&content), &message, &err), STATUS_TOO_LARGE);
    buf_release(&content);
    /* Topics whose messages take more than the bound, from lines that do not. */
    int32_t topics = 2000000;
    append_part(&content, SLICE_LITERAL("{}"));
    buf_append_i32(&content, topics);
    for (int32_t i = 0; i < topics; i++)
        append_part(&content, SLICE_LITERAL("a 1 1 6 b"));
    append_part(&content, SLICE_LITERAL("[]"));
    assert_int_equal(inflate_content(arena, buf_slice(&content), &message, &err), STATUS_TOO_LARGE);
    buf_release(&content);
}

static void any_registration_comes_back(void **state)
{
    struct arena *arena = *state;
    struct random random;
    random_init(&random, "any_registration_comes_back");
    for (int i = 0; i < 200; i++) {
        RegisterBrokerBody message = REGISTER_BROKER_BODY__INIT;
        RegisterBrokerBody again = REGISTER_BROKER_BODY__INIT;
        TopicConfigSerializeWrapper wrapper = TOPIC_CONFIG_SERIALIZE_WRAPPER__INIT;
        DataVersion version = DATA_VERSION__INIT;
        struct buf body = BUF_EMPTY;
        struct buf first = BUF_EMPTY;
        struct buf second = BUF_EMPTY;
        TopicConfigEntry *entries[8];
        message.topic_config_serialize_wrapper = &wrapper;
        wrapper.data_version = &version;
        version.counter = (int64_t)random_u64(&random);
        version.timestamp = (int64_t)random_u64(&random);
        wrapper.topic_config_table = entries;
        wrapper.n_topic_config_table = random_below(&random, 9);
        for (size_t t = 0; t < wrapper.n_topic_config_table; t++) {
            entries[t] = arena_alloc(arena, sizeof *entries[t]);
            topic_config_entry__init(entries[t]);
            entries[t]->value = arena_alloc(arena, sizeof *entries[t]->value);
            topic_config__init(entries[t]->value);
            entries[t]->key = arena_printf(arena, "%%RETRY%%topic_%u", random_below(&random, 99));
            entries[t]->value->topic_name = entries[t]->key;
            entries[t]->value->perm = (int32_t)random_u64(&random);
            entries[t]->value->read_queue_nums = (int32_t)random_u64(&random);
            entries[t]->value->write_queue_nums = (int32_t)random_u64(&random);
        }
        register_body_deflate(&message, &body);
        assert_int_equal(register_body_inflate(buf_slice(&body), arena, &again, NULL), STATUS_OK);
        body_encode(&message.base, BODY_COMPACT, &first);
        body_encode(&again.base, BODY_COMPACT, &second);
        assert_true(slice_equal(buf_slice(&first), buf_slice(&second)));
        buf_release(&body);
        buf_release(&first);
        buf_release(&second);
        arena_reset(arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(golden_registration, set_up, tear_down),
        cmocka_unit_test_setup_teardown(written_like_java, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_empty_registration, set_up, tear_down),
        cmocka_unit_test_setup_teardown(cut_and_damaged_streams, set_up, tear_down),
        cmocka_unit_test_setup_teardown(cut_content, set_up, tear_down),
        cmocka_unit_test_setup_teardown(topic_lines, set_up, tear_down),
        cmocka_unit_test_setup_teardown(hostile_content, set_up, tear_down),
        cmocka_unit_test_setup_teardown(any_registration_comes_back, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
