/* SPDX-License-Identifier: Apache-2.0
 *
 * Frames that the load generator patches in place are the frames that proto/command would encode:
 * each is decoded again here, in both codecs, and every patched part is compared. Its scanner for
 * answers agrees with proto/command on answers of both codecs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/codes.h"
#include "proto/command.h"
#include "proto/properties.h"
#include "proto/record.h"
#include "tools/bench/payload.h"
#include "tools/bench/reply.h"

static const enum codec codecs[] = {CODEC_JSON, CODEC_ROCKETMQ};
static uint8_t bytes[65536];

static struct send_shape shape_of(enum codec codec, int batch)
{
    return (struct send_shape){
        .codec = codec,
        .group = "producers",
        .tags = "TagA",
        .keys = true,
        .body_bytes = 100,
        .batch = batch,
        .run = 0xABCDEF01,
    };
}

static void assert_field(const struct command *command, const char *name, const char *expected)
{
    struct slice value;
    assert_true(ext_find(&command->ext, slice_of_cstr(name), &value));
    assert_true(slice_is(value, expected));
}

static void assert_property(struct slice properties, const char *name, const char *expected)
{
    struct slice value;
    assert_true(properties_find(properties, slice_of_cstr(name), &value));
    assert_true(slice_is(value, expected));
}

static void assert_mark(struct slice body, uint64_t sequence)
{
    struct payload_mark mark;
    assert_true(payload_read(body, &mark));
    assert_int_equal(mark.run, 0xABCDEF01);
    assert_int_equal(mark.stream, 7);
    assert_int_equal(mark.sequence, sequence);
    assert_int_equal(mark.time_ns, 123456789);
}

/* Write one frame and decode it. */
static struct slice written(const struct send_shape *shape, struct arena *arena,
                            struct command *command)
{
    struct send_template template;
    send_template_init(&template, shape, "topic-a", 3);
    struct payload_mark mark = {
        .run = shape->run, .stream = 7, .sequence = 0x1234, .time_ns = 123456789};
    size_t size = send_template_frame_bytes(&template);
    assert_true(size <= sizeof bytes);
    send_template_write(&template, 1987654321, &mark, 1700000000123, bytes);
    send_template_release(&template);
    struct frame frame;
    assert_int_equal(frame_split(slice_of(bytes, size), sizeof bytes, &frame, NULL), STATUS_OK);
    assert_int_equal(frame.frame_bytes, size);
    assert_int_equal(frame.codec, shape->codec);
    assert_int_equal(command_decode(frame.codec, frame.header, arena, command), STATUS_OK);
    assert_int_equal(command->opaque, 1987654321);
    assert_field(command, "a", "producers");
    assert_field(command, "b", "topic-a");
    assert_field(command, "e", "3");
    assert_field(command, "g", "1700000000123");
    return frame.body;
}

static void single_sends(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof codecs / sizeof codecs[0]; i++) {
        struct send_shape shape = shape_of(codecs[i], 1);
        struct arena arena;
        arena_init(&arena, 4096);
        struct command command;
        struct slice body = written(&shape, &arena, &command);
        assert_int_equal(command.code, REQUEST_SEND_MESSAGE_V2);
        assert_field(&command, "m", "false");
        struct slice properties;
        assert_true(ext_find(&command.ext, SLICE_LITERAL("i"), &properties));
        assert_property(properties, "UNIQ_KEY", "ABCDEF01000000070000000000001234");
        assert_property(properties, "KEYS", "ABCDEF01000000070000000000001234");
        assert_property(properties, "TAGS", "TagA");
        assert_int_equal(body.size, 100);
        assert_mark(body, 0x1234);
        arena_release(&arena);
    }
}

static void batches(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof codecs / sizeof codecs[0]; i++) {
        struct send_shape shape = shape_of(codecs[i], 3);
        struct arena arena;
        arena_init(&arena, 4096);
        struct command command;
        struct slice body = written(&shape, &arena, &command);
        assert_int_equal(command.code, REQUEST_SEND_BATCH_MESSAGE);
        assert_field(&command, "m", "true");
        size_t cursor = 0;
        struct batch_message message;
        for (uint64_t k = 0; k < 3; k++) {
            assert_int_equal(batch_next(body, &cursor, &message), STATUS_OK);
            assert_int_equal(message.body.size, 100);
            assert_mark(message.body, 0x1234 + k);
            assert_property(message.properties, "TAGS", "TagA");
        }
        assert_property(message.properties, "UNIQ_KEY", "ABCDEF01000000070000000000001236");
        assert_int_equal(batch_next(body, &cursor, &message), STATUS_NOT_FOUND);
        arena_release(&arena);
    }
}

/* Without UNIQ_KEY and KEYS a broker has nothing to put into its index. */
static void messages_without_keys(void **state)
{
    (void)state;
    for (int batch = 1; batch <= 2; batch++) {
        struct send_shape shape = shape_of(CODEC_JSON, batch);
        shape.keys = false;
        shape.no_unique = true;
        struct arena arena;
        arena_init(&arena, 4096);
        struct command command;
        struct slice body = written(&shape, &arena, &command);
        struct slice properties;
        assert_true(ext_find(&command.ext, SLICE_LITERAL("i"), &properties));
        if (batch > 1) {
            size_t cursor = 0;
            struct batch_message message;
            assert_int_equal(batch_next(body, &cursor, &message), STATUS_OK);
            properties = message.properties;
            body = message.body;
        }
        struct slice value;
        assert_false(properties_find(properties, SLICE_LITERAL("UNIQ_KEY"), &value));
        assert_false(properties_find(properties, SLICE_LITERAL("KEYS"), &value));
        assert_property(properties, "TAGS", "TagA");
        assert_mark(body, 0x1234);
        arena_release(&arena);
    }
}

static void pulls_name_their_queue(void **state)
{
    (void)state;
    struct pull_shape shape = {
        .codec = CODEC_JSON, .tags = "a || b", .max_messages = 32, .commit = true};
    struct arena arena;
    arena_init(&arena, 4096);
    struct buf out = BUF_EMPTY;
    pull_append(&shape, PAYLOAD_OPAQUE_BASE + 9, "group", "topic-b", 5, 77, &arena, &out);
    struct frame frame;
    assert_int_equal(frame_split(buf_slice(&out), sizeof bytes, &frame, NULL), STATUS_OK);
    struct command command;
    assert_int_equal(command_decode(frame.codec, frame.header, &arena, &command), STATUS_OK);
    assert_int_equal(command.opaque, PAYLOAD_OPAQUE_BASE + 9);
    assert_field(&command, "consumerGroup", "group");
    assert_field(&command, "subscription", "a || b");
    assert_field(&command, "topic", "topic-b");
    assert_field(&command, "queueId", "5");
    assert_field(&command, "queueOffset", "77");
    buf_release(&out);
    arena_release(&arena);
}

static void foreign_bodies_are_not_ours(void **state)
{
    (void)state;
    struct payload_mark mark;
    assert_false(payload_read(SLICE_LITERAL("short"), &mark));
    assert_false(payload_read(SLICE_LITERAL("this body has no mark, but is long"), &mark));
}

static void answers_are_scanned(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof codecs / sizeof codecs[0]; i++) {
        struct ext_field fields[] = {
            {SLICE_LITERAL("msgId"), SLICE_LITERAL("7F00\"\\\"opaque\":5")},
            {SLICE_LITERAL("queueOffset"), SLICE_LITERAL("9876543210")},
            {SLICE_LITERAL("nextBeginOffset"), SLICE_LITERAL("42")},
        };
        struct command command = {
            .code = 17,
            .flag = COMMAND_FLAG_RESPONSE,
            .opaque = 1000000077,
            .remark = SLICE_LITERAL("no such topic"),
            .has_remark = true,
            .ext = {.fields = fields, .count = 3, .present = true},
        };
        struct buf out = BUF_EMPTY;
        assert_int_equal(command_encode(codecs[i], &command, 4, &out), STATUS_OK);
        buf_append_cstr(&out, "body");
        struct frame frame;
        assert_int_equal(frame_split(buf_slice(&out), sizeof bytes, &frame, NULL), STATUS_OK);
        struct reply reply;
        assert_true(reply_read(&frame, &reply));
        assert_int_equal(reply.code, 17);
        assert_int_equal(reply.flag, COMMAND_FLAG_RESPONSE);
        assert_int_equal(reply.opaque, 1000000077);
        assert_int_equal(reply.queue_offset, 9876543210);
        assert_int_equal(reply.next_begin_offset, 42);
        assert_true(slice_is(reply.remark, "no such topic"));
        assert_true(slice_is(reply.body, "body"));
        buf_release(&out);
    }
}

/* Cutting an answer's header anywhere must neither crash nor read beyond it. */
static void cut_answers(void **state)
{
    (void)state;
    static const char json[] = "{\"code\":0,\"extFields\":{\"queueOffset\":\"12\"},\"flag\":1}";
    for (size_t size = 0; size < sizeof json; size++) {
        struct frame frame = {.codec = CODEC_JSON, .header = slice_of(json, size)};
        struct reply reply;
        (void)reply_read(&frame, &reply);
        assert_true(reply.queue_offset == -1 || reply.queue_offset == 12);
    }
    struct frame empty = {.codec = CODEC_ROCKETMQ, .header = SLICE_EMPTY};
    struct reply reply;
    assert_false(reply_read(&empty, &reply));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(single_sends),
        cmocka_unit_test(batches),
        cmocka_unit_test(messages_without_keys),
        cmocka_unit_test(pulls_name_their_queue),
        cmocka_unit_test(foreign_bodies_are_not_ours),
        cmocka_unit_test(answers_are_scanned),
        cmocka_unit_test(cut_answers),
    };
    payload_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
