/* SPDX-License-Identifier: Apache-2.0
 *
 * Shows that every golden frame reads as its maker meant it, and that writing it again gives the
 * same bytes. The frames of test/data/frames.tsv were made by the encoders of RocketMQ 4.9.2 and
 * 5.3.3 or recorded between its servers and clients; the columns beside them are what Java's own
 * decoder says. The columns remark and extFields hold JSON.
 */
#include "proto/command.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/limits.h"
#include "proto/json.h"
#include "test/unit/support/commands.h"
#include "test/unit/support/tsv.h"

#define GOLDEN "test/data/frames.tsv"
#define FRAMES 602

struct golden {
    struct tsv table;
    size_t row;
    const char *id; /* of the current row, for messages */
    enum codec codec;
    struct slice bytes;
    struct frame frame;
    struct command command;
};

static struct slice cell(const struct golden *golden, const char *name)
{
    return tsv_cell(&golden->table, golden->row, name);
}

static struct json_value json_cell(struct golden *golden, const char *name)
{
    struct json_value value;
    assert_int_equal(json_parse(cell(golden, name), &golden->table.arena, &value, NULL), STATUS_OK);
    return value;
}

/* Splits and decodes row `row`. */
static void load_row(struct golden *golden, size_t row)
{
    golden->row = row;
    golden->id = arena_cstr(&golden->table.arena, cell(golden, "id"));
    golden->codec = slice_is(cell(golden, "serialize_type"), "JSON") ? CODEC_JSON : CODEC_ROCKETMQ;
    golden->bytes = hex_bytes(&golden->table.arena, cell(golden, "frame_hex"));
    if (frame_split(golden->bytes, FRAME_BYTES_MAX, &golden->frame, NULL) != STATUS_OK ||
        golden->frame.frame_bytes != golden->bytes.size ||
        command_decode(golden->frame.codec, golden->frame.header, &golden->table.arena,
                       &golden->command) != STATUS_OK)
        fail_msg("%s is not read", golden->id);
}

static void check_ext(struct golden *golden)
{
    struct json_value expected = json_cell(golden, "extFields");
    const struct ext_map *ext = &golden->command.ext;
    assert_int_equal(ext->present, expected.type == JSON_OBJECT);
    assert_int_equal(ext->count, expected.type == JSON_OBJECT ? expected.count : 0);
    for (uint32_t i = 0; i < ext->count; i++) {
        struct slice value;
        if (!ext_find(ext, expected.keys[i].text, &value) ||
            !slice_equal(value, expected.items[i].text))
            fail_msg("%s: field %.*s", golden->id, SLICE_ARGS(expected.keys[i].text));
    }
}

static void every_frame_reads_as_java_reads_it(void **state)
{
    struct golden *golden = *state;
    assert_int_equal(golden->table.row_count, FRAMES);
    for (size_t row = 0; row < FRAMES; row++) {
        load_row(golden, row);
        const struct command *command = &golden->command;
        assert_int_equal(golden->frame.codec, golden->codec);
        assert_int_equal(command->code, tsv_number(&golden->table, row, "code"));
        assert_int_equal(command->language, language_number(cell(golden, "language")));
        assert_int_not_equal(command->language, LANGUAGE_UNKNOWN);
        assert_int_equal(command->version, tsv_number(&golden->table, row, "version"));
        assert_int_equal(command->opaque, tsv_number(&golden->table, row, "opaque"));
        assert_int_equal(command->flag, tsv_number(&golden->table, row, "flag"));
        struct json_value remark = json_cell(golden, "remark");
        assert_int_equal(command->has_remark, remark.type == JSON_STRING);
        if (command->has_remark)
            assert_true(slice_equal(command->remark, remark.text));
        check_ext(golden);
        struct slice body = hex_bytes(&golden->table.arena, cell(golden, "body_hex"));
        assert_true(slice_equal(golden->frame.body, body));
    }
}

/* Both codecs keep the order of the fields, so that even Java's hash order survives. */
static void every_frame_is_written_with_the_same_bytes(void **state)
{
    struct golden *golden = *state;
    struct buf out = BUF_EMPTY;
    for (size_t row = 0; row < FRAMES; row++) {
        load_row(golden, row);
        buf_clear(&out);
        assert_int_equal(
            command_encode(golden->codec, &golden->command, golden->frame.body.size, &out),
            STATUS_OK);
        buf_append_slice(&out, golden->frame.body);
        if (!slice_equal(buf_slice(&out), golden->bytes))
            fail_msg("%s:\n%.*s\n%.*s", golden->id, SLICE_ARGS(golden->bytes),
                     SLICE_ARGS(buf_slice(&out)));
    }
    buf_release(&out);
}

/* A command that came by one codec may leave by another: nothing is lost beyond what that one
 * cannot carry. */
static void every_command_fits_the_other_codecs(void **state)
{
    struct golden *golden = *state;
    static const enum codec codecs[] = {CODEC_JSON, CODEC_ROCKETMQ, CODEC_PROTOBUF};
    struct buf out = BUF_EMPTY;
    int refused = 0;
    for (size_t row = 0; row < FRAMES; row++) {
        load_row(golden, row);
        const struct command *command = &golden->command;
        for (size_t i = 0; i < sizeof codecs / sizeof codecs[0]; i++) {
            buf_clear(&out);
            enum status status = command_encode(codecs[i], command, 0, &out);
            if (status != STATUS_OK) {
                assert_int_equal(codecs[i], CODEC_ROCKETMQ);
                assert_true(command->code > INT16_MAX || command->version > INT16_MAX);
                refused++;
                continue;
            }
            struct frame frame;
            struct command got;
            assert_int_equal(frame_split(buf_slice(&out), FRAME_BYTES_MAX, &frame, NULL),
                             STATUS_OK);
            assert_int_equal(command_decode(codecs[i], frame.header, &golden->table.arena, &got),
                             STATUS_OK);
            struct command expected = command_carried(command, codecs[i]);
            if (!command_same(&got, &expected))
                fail_msg("%s through codec %d", golden->id, codecs[i]);
        }
    }
    assert_true(refused > 0 && refused < 40);
    buf_release(&out);
}

static int load(void **state)
{
    static struct golden golden;
    tsv_load(&golden.table, GOLDEN);
    *state = &golden;
    return 0;
}

static int unload(void **state)
{
    struct golden *golden = *state;
    tsv_release(&golden->table);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_frame_reads_as_java_reads_it),
        cmocka_unit_test(every_frame_is_written_with_the_same_bytes),
        cmocka_unit_test(every_command_fits_the_other_codecs),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
