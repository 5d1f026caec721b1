/* SPDX-License-Identifier: Apache-2.0
 *
 * Shows what the header codecs read and write: odd JSON as RocketMQ 4.9.2 reads it (each row was
 * tried on RemotingCommand.decode with fastjson 1.2.76; rows where we differ say so), binary
 * headers bit by bit, input cut off at every byte, limits, and random commands that must come back
 * unchanged through every codec.
 */
#include "proto/command.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/check.h"
#include "common/base/limits.h"
#include "test/unit/support/commands.h"
#include "test/unit/support/random.h"

#include <stdio.h>
#include <stdlib.h>

static const enum codec codecs[] = {CODEC_JSON, CODEC_ROCKETMQ, CODEC_PROTOBUF};

#define CODECS (sizeof codecs / sizeof codecs[0])

static struct arena arena;

static int set_up(void **state)
{
    (void)state;
    arena_init(&arena, 16 * 1024);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_release(&arena);
    return 0;
}

/* Decodes from memory that ends where the header ends, so that the sanitizer sees each step over
 * the edge; the result is copied to the arena. */
static enum status decode(enum codec codec, struct slice header, struct command *out)
{
    uint8_t *exact = xmalloc(header.size);
    if (header.size > 0)
        memcpy(exact, header.data, header.size);
    enum status status = command_decode(codec, slice_of(exact, header.size), &arena, out);
    if (status == STATUS_OK) {
        struct ext_map ext = {.present = out->ext.present};
        for (uint32_t i = 0; i < out->ext.count; i++)
            ext_append(&ext, &arena, arena_copy(&arena, out->ext.fields[i].name),
                       arena_copy(&arena, out->ext.fields[i].value));
        out->ext = ext;
        out->remark = arena_copy(&arena, out->remark);
    }
    free(exact);
    return status;
}

static struct slice header_of(const struct buf *frame)
{
    struct frame split;
    assert_int_equal(frame_split(buf_slice(frame), SIZE_MAX, &split, NULL), STATUS_OK);
    return split.header;
}

/* --- JSON -------------------------------------------------------------------------------------*/

struct json_case {
    const char *header;
    const char *expected; /* as command_text prints it; NULL: MALFORMED */
};

static void check_json(const struct json_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct command command;
        enum status status = decode(CODEC_JSON, slice_of_cstr(cases[i].header), &command);
        if (cases[i].expected == NULL) {
            if (status != STATUS_MALFORMED)
                fail_msg("%s was accepted: %s", cases[i].header, status_name(status));
            continue;
        }
        if (status != STATUS_OK)
            fail_msg("%s was refused: %s", cases[i].header, status_name(status));
        assert_string_equal(command_text(&command, &arena), cases[i].expected);
    }
}

#define CHECK_JSON(cases) check_json(cases, sizeof cases / sizeof cases[0])

static void json_layout_does_not_matter(void **state)
{
    (void)state;
    static const struct json_case cases[] = {
        {"{}", ""},
        {" \n\t{ \"code\" : 10 , \"flag\":1 } \r\n", "code=10 flag=1"},
        {"{\"version\":397,\"opaque\":-5,\"code\":3}", "code=3 version=397 opaque=-5"},
        {"{\"code\":1,\"code\":2}", "code=2"},
        {"{\"code\":1,\"code\":null}", "code=1"},
        {"{,\"code\":1,,\"flag\":2,}", "code=1 flag=2"},
        {"{\"co\\u0064e\":9}", "code=9"},
        {"{\"x\":{\"y\":[1,{\"z\":null}]},\"code\":3}", "code=3"},
        {"{\"x\":\"un\\\"}esc\",\"code\":3}", "code=3"},
        {"{\"x\":{\"}\":\"]\\\\\"},\"code\":3}", "code=3"},
        {"{\"x\":{0:1,{\"a\":1}:2},\"code\":3}", "code=3"}, /* the dialect of bodies */
        {"{\"body\":\"AAEC\",\"code\":1}", "code=1"},
        {"{\"serializeTypeCurrentRPC\":\"NOPE\",\"code\":1}", "code=1"},
        {"", NULL},
        {"  ", NULL},
        {"[]", NULL},
        {"null", NULL},
        {"\"x\"", NULL},
        {"{", NULL},
        {"{\"code\":1", NULL},
        {"{\"code\":1,", NULL},
        {"{\"code\" 1}", NULL},
        {"{\"code\":}", NULL},
        {"{\"code\":1 \"flag\":1}", NULL},
        {"{\"code\":1}x", NULL},
        {"{\"code\":1}{}", NULL},
        {"{\"code\":1}}", NULL},
        {"{\"x\":[1,2}],\"code\":3}", NULL},
        {"{\"x\":{]},\"code\":3}", NULL},
        {"{\"x\":tru,\"code\":3}", NULL},
        {"{\"x\":-,\"code\":3}", NULL},
        {"{\"x\":\"open", NULL},
        {"{\"x\":\"open\\", NULL},
        /* fastjson takes these, we do not: no client sends them. */
        {"{code:1}", NULL},
        {"{'code':1}", NULL},
        {"{/*c*/\"code\":1}", NULL},
        {"\xEF\xBB\xBF{\"code\":1}", NULL},
    };
    CHECK_JSON(cases);
}

static void json_numbers_are_lenient(void **state)
{
    (void)state;
    static const struct json_case cases[] = {
        {"{\"code\":\"10\",\"flag\":\"1\",\"opaque\":\"-5\",\"version\":\"397\"}",
         "code=10 version=397 opaque=-5 flag=1"},
        {"{\"code\":\"\"}", ""},
        {"{\"code\":\"null\"}", ""},
        {"{\"code\":null,\"flag\":3}", "flag=3"},
        {"{\"code\":1.0,\"flag\":\"2.0\"}", "code=1 flag=2"},
        {"{\"code\":1.7}", "code=1"},
        {"{\"code\":true,\"flag\":false}", "code=1"},
        {"{\"code\":007}", "code=7"},
        {"{\"code\":+7,\"flag\":\"+7\"}", "code=7 flag=7"},
        {"{\"opaque\":2147483647}", "opaque=2147483647"},
        {"{\"opaque\":-2147483648}", "opaque=-2147483648"},
        {"{\"opaque\":999999999}", "opaque=999999999"},
        {"{\"opaque\":1000000000}", "opaque=1000000000"},
        {"{\"opaque\":0000000000012}", "opaque=12"},
        {"{\"opaque\":2147483648}", NULL},
        {"{\"opaque\":\"2147483648\"}", NULL},
        {"{\"code\":\"x\"}", NULL},
        {"{\"code\":\" 7\"}", NULL},
        {"{\"code\":[1]}", NULL},
        {"{\"code\":{}}", NULL},
        {"{\"code\":1x}", NULL},
        {"{\"code\":1.x}", NULL},
        {"{\"code\":.5}", NULL},
        {"{\"code\":1e2}", NULL}, /* fastjson reads 100 */
    };
    CHECK_JSON(cases);
}

static void json_language_by_name_or_number(void **state)
{
    (void)state;
    static const struct json_case cases[] = {
        {"{\"language\":\"JAVA\"}", ""},
        {"{\"language\":\"CPP\"}", "language=CPP"},
        {"{\"language\":\"cpp\"}", "language=CPP"},
        {"{\"language\":\"NODE_JS\"}", "language=NODE_JS"},
        {"{\"language\":1}", "language=CPP"},
        {"{\"language\":\"1\"}", "language=UNKNOWN"},
        {"{\"language\":\"XX\"}", "language=UNKNOWN"},
        {"{\"language\":\"\"}", "language=UNKNOWN"},
        {"{\"language\":null}", "language=UNKNOWN"},
        /* 4.9.2 closes the connection. */
        {"{\"language\":99}", "language=UNKNOWN"},
        {"{\"language\":-1}", "language=UNKNOWN"},
        {"{\"language\":[]}", "language=UNKNOWN"},
    };
    CHECK_JSON(cases);
}

static void json_texts_of_any_type(void **state)
{
    (void)state;
    static const struct json_case cases[] = {
        {"{\"remark\":null}", ""},
        {"{\"remark\":\"\"}", "remark=''"},
        {"{\"remark\":5}", "remark='5'"},
        {"{\"remark\":true}", "remark='true'"},
        {"{\"remark\":1.50}", "remark='1.50'"},
        {"{\"remark\":\"a\",\"remark\":null}", "remark='a'"},
        {"{\"remark\":{\"a\":[1,2]}}", "remark='{\"a\":[1,2]}'"},
        {"{\"extFields\":null}", ""},
        {"{\"extFields\":{}}", "ext={}"},
        {"{\"extFields\":{\"\":\"\"}}", "ext={=''}"},
        {"{\"extFields\":{\"a\":1,\"b\":true,\"c\":null,\"d\":1.50,\"h\":false,\"i\":-0,"
         "\"j\":99999999999999999999}}",
         "ext={a='1' b='true' d='1.50' h='false' i='-0' j='99999999999999999999'}"},
        {"{\"extFields\":{\"f\":{\"x\":[1,2]},\"g\":[1]}}", "ext={f='{\"x\":[1,2]}' g='[1]'}"},
        {"{\"extFields\":{\"a\":\"1\",\"b\":\"2\",\"a\":null}}", "ext={b='2'}"},
        {"{\"extFields\":{\"a\":null,\"a\":\"1\"}}", "ext={a='1'}"},
        {"{\"extFields\":{\"a\":\"1\"},\"extFields\":{\"b\":\"2\"}}", "ext={b='2'}"},
        {"{\"extFields\":{\"a\":\"1\"},\"extFields\":null}", ""},
        {"{\"extFields\":{ \"a\" : \"x\" , } }", "ext={a='x'}"},
        {"{\"extFields\":[]}", NULL},
        {"{\"extFields\":\"\"}", NULL},
        {"{\"extFields\":5}", NULL},
        {"{\"extFields\":{\"a\"}}", NULL},
        {"{\"extFields\":{\"a\":}}", NULL},
        {"{\"extFields\":{\"a\":\"x\"]}", NULL},
    };
    CHECK_JSON(cases);
}

static void json_escapes_are_read(void **state)
{
    (void)state;
    static const struct json_case cases[] = {
        {"{\"remark\":\"\\u0041\\n\\t\\/\\\\\\b\\f\\r\\\"\"}",
         "remark='A\\x0A\\x09/\\\\x08\\x0C\\x0D\"'"},
        {"{\"remark\":\"\\u00e9\\u4e2d\"}", "remark='\\xC3\\xA9\\xE4\\xB8\\xAD'"},
        {"{\"remark\":\"\\uD83D\\uDE00\"}", "remark='\\xF0\\x9F\\x98\\x80'"},
        {"{\"remark\":\"\\u0000\\0\\1\\7\"}", "remark='\\x00\\x00\\x01\\x07'"},
        {"{\"remark\":\"\\x41\\xe9\\v\\'\"}", "remark='A\\xC3\\xA9\\x0B''"},
        {"{\"remark\":\"raw\nline\x01\"}", "remark='raw\\x0Aline\\x01'"},
        {"{\"remark\":\"bytes \xFF\xC3\"}", "remark='bytes \\xFF\\xC3'"},
        {"{\"extFields\":{\"\\u0061\":\"x\\u0001y\\u0002z\",\"b\":\"\\\\\"}}",
         "ext={a='x\\x01y\\x02z' b='\\'}"},
        /* Java keeps half a surrogate pair and writes it as '?'. */
        {"{\"remark\":\"\\uD83D\"}", "remark='?'"},
        {"{\"remark\":\"\\uDE00x\"}", "remark='?x'"},
        {"{\"remark\":\"\\uD83Dx\\uDE00\"}", "remark='?x?'"},
        {"{\"remark\":\"\\uD83D\\u0041\"}", "remark='?A'"},
        {"{\"remark\":\"\\uD83D\\uD83D\\uDE00\"}", "remark='?\\xF0\\x9F\\x98\\x80'"},
        {"{\"remark\":\"\\uD83D\\n\"}", "remark='?\\x0A'"},
        {"{\"remark\":\"\\u00zz\"}", NULL},
        {"{\"remark\":\"\\u00\"}", NULL},
        {"{\"remark\":\"\\uD83D\\u00\"}", NULL},
        {"{\"remark\":\"\\q\"}", NULL},
        {"{\"remark\":\"\\8\"}", NULL},
    };
    CHECK_JSON(cases);
}

static void json_strings_without_escapes_are_not_copied(void **state)
{
    (void)state;
    struct slice header = SLICE_LITERAL("{\"extFields\":{\"topic\":\"TopicTest\"}}");
    struct command command;
    assert_int_equal(command_decode(CODEC_JSON, header, &arena, &command), STATUS_OK);
    assert_ptr_equal(command.ext.fields[0].name.data, header.data + 15);
    assert_ptr_equal(command.ext.fields[0].value.data, header.data + 23);
}

static void json_nesting_is_bounded(void **state)
{
    (void)state;
    for (size_t depth = JSON_DEPTH_MAX; depth <= JSON_DEPTH_MAX + 1; depth++) {
        struct buf header = BUF_EMPTY;
        buf_append_cstr(&header, "{\"x\":");
        for (size_t i = 0; i < depth; i++)
            buf_append_cstr(&header, i % 2 ? "{\"k\":" : "[");
        for (size_t i = depth; i-- > 0;)
            buf_append_byte(&header, i % 2 ? '}' : ']');
        buf_append_cstr(&header, ",\"code\":3}");
        struct command command;
        assert_int_equal(decode(CODEC_JSON, buf_slice(&header), &command),
                         depth <= JSON_DEPTH_MAX ? STATUS_OK : STATUS_TOO_LARGE);
        buf_release(&header);
    }
}

static void check_json_text(const struct command *command, const char *expected)
{
    struct buf frame = BUF_EMPTY;
    assert_int_equal(command_encode(CODEC_JSON, command, 0, &frame), STATUS_OK);
    struct slice header = header_of(&frame);
    assert_string_equal(arena_cstr(&arena, header), expected);
    buf_release(&frame);
}

static void json_is_written_as_fastjson_does(void **state)
{
    (void)state;
    struct command command = {.code = 310, .opaque = 31, .version = 397};
    check_json_text(&command, "{\"code\":310,\"flag\":0,\"language\":\"JAVA\",\"opaque\":31,"
                              "\"serializeTypeCurrentRPC\":\"JSON\",\"version\":397}");
    command = (struct command){.code = -1, .flag = 3, .language = LANGUAGE_UNKNOWN};
    command.opaque = INT32_MIN;
    command.version = INT32_MAX;
    command.has_remark = true;
    command.remark = SLICE_LITERAL("\b\t\n\v\f\r\x01\x1F\"\\/<'\x7F\xC2\x80\xC2\x9F\xC2\xA0"
                                   "\xE2\x80\xA8\xE2\x80\xA9\xE2\x80\xAA\xC3\xA9");
    command.ext.present = true;
    check_json_text(&command,
                    "{\"code\":-1,\"extFields\":{},\"flag\":3,\"language\":\"OTHER\","
                    "\"opaque\":-2147483648,\"remark\":\"\\b\\t\\n\\u000B\\f\\r\\u0001\\u001F"
                    "\\\"\\\\/<'\\u007F\\u0080\\u009F\xC2\xA0\\u2028\\u2029\xE2\x80\xAA\xC3\xA9\","
                    "\"serializeTypeCurrentRPC\":\"JSON\",\"version\":2147483647}");
    command = (struct command){0};
    ext_append(&command.ext, &arena, SLICE_LITERAL("a\"b"), SLICE_LITERAL("plain"));
    ext_append(&command.ext, &arena, SLICE_EMPTY, SLICE_EMPTY);
    ext_append(&command.ext, &arena, SLICE_LITERAL("long and plain but for its end:"),
               SLICE_LITERAL("twelve plain\n"));
    check_json_text(&command, "{\"code\":0,\"extFields\":{\"a\\\"b\":\"plain\",\"\":\"\","
                              "\"long and plain but for its end:\":\"twelve plain\\n\"},"
                              "\"flag\":0,\"language\":\"JAVA\",\"opaque\":0,"
                              "\"serializeTypeCurrentRPC\":\"JSON\",\"version\":0}");
}

/* --- ROCKETMQ ---------------------------------------------------------------------------------*/

#define FIXED "\0\x0A\0\1\x8D\0\0\0\7\0\0\0\1" /* code 10, JAVA, 397, opaque 7, flag 1 */
#define FIXED_TEXT "code=10 version=397 opaque=7 flag=1"

static void check_rocket(struct slice header, const char *expected)
{
    struct command command;
    enum status status = decode(CODEC_ROCKETMQ, header, &command);
    if (expected == NULL) {
        assert_int_equal(status, STATUS_MALFORMED);
    } else {
        assert_int_equal(status, STATUS_OK);
        assert_string_equal(command_text(&command, &arena), expected);
    }
}

static void rocket_reads_odd_headers(void **state)
{
    (void)state;
    check_rocket(SLICE_LITERAL(FIXED "\0\0\0\0\0\0\0\0"), FIXED_TEXT);
    check_rocket(SLICE_LITERAL(FIXED "\xFF\xFF\xFF\xFF\0\0\0\0"), FIXED_TEXT);
    check_rocket(SLICE_LITERAL(FIXED "\0\0\0\0\x80\0\0\0"), FIXED_TEXT);
    check_rocket(SLICE_LITERAL(FIXED "\0\0\0\0\0\0\0\0trailing"), FIXED_TEXT);
    check_rocket(SLICE_LITERAL(FIXED "\0\0\0\2ab\0\0\0\0"), FIXED_TEXT " remark='ab'");
    check_rocket(SLICE_LITERAL(FIXED "\0\0\0\0\0\0\0\6\0\0\0\0\0\0"), FIXED_TEXT " ext={=''}");
    check_rocket(SLICE_LITERAL(FIXED "\0\0\0\0\0\0\0\x09\0\1a\0\0\0\2bc"),
                 FIXED_TEXT " ext={a='bc'}");
    check_rocket(SLICE_LITERAL("\xFF\xFF\x63\xFF\xFE\0\0\0\0\x80\0\0\0\0\0\0\0\0\0\0\0"),
                 "code=-1 language=UNKNOWN version=-2 flag=-2147483648");
    check_rocket(SLICE_LITERAL(""), NULL);
    check_rocket(SLICE_LITERAL(FIXED "\0\0\0\0\0\0\0"), NULL);
    check_rocket(SLICE_LITERAL(FIXED "\0\0\0\3ab\0\0\0\0"), NULL);
    check_rocket(SLICE_LITERAL(FIXED "\0\0\0\0\0\0\0\4\1\2\3"), NULL);
    check_rocket(SLICE_LITERAL(FIXED "\0\0\0\0\x7F\xFF\xFF\xFF\0\0\0\0\0\0"), NULL);
    /* The value reaches beyond the ext fields, though not beyond the header. */
    check_rocket(SLICE_LITERAL(FIXED "\0\0\0\0\0\0\0\x08\0\1a\0\0\0\2bc"), NULL);
    /* 4.9.2 fails on negative lengths inside the ext fields. */
    check_rocket(SLICE_LITERAL(FIXED "\0\0\0\0\0\0\0\6\xFF\xFF\0\0\0\0"), NULL);
    check_rocket(SLICE_LITERAL(FIXED "\0\0\0\0\0\0\0\7\0\1a\xFF\xFF\xFF\xFF"), NULL);
}

static void rocket_refuses_what_it_cannot_carry(void **state)
{
    (void)state;
    struct buf frame = BUF_EMPTY;
    buf_append_cstr(&frame, "before");
    struct command command = {.code = 40000};
    assert_int_equal(command_encode(CODEC_ROCKETMQ, &command, 0, &frame), STATUS_TOO_LARGE);
    command = (struct command){.version = -32769};
    assert_int_equal(command_encode(CODEC_ROCKETMQ, &command, 0, &frame), STATUS_TOO_LARGE);
    command = (struct command){0};
    struct slice name = slice_of(arena_zalloc(&arena, 32768), 32768);
    ext_append(&command.ext, &arena, name, SLICE_EMPTY);
    assert_int_equal(command_encode(CODEC_ROCKETMQ, &command, 0, &frame), STATUS_TOO_LARGE);
    command.ext.fields[0].name.size--;
    assert_true(slice_is(buf_slice(&frame), "before"));
    assert_int_equal(command_encode(CODEC_ROCKETMQ, &command, 0, &frame), STATUS_OK);
    buf_release(&frame);
}

/* --- every codec ------------------------------------------------------------------------------*/

static struct command full_command(void)
{
    struct command command = {
        .code = 310,
        .language = LANGUAGE_GO,
        .version = 397,
        .opaque = -2,
        .flag = 1,
        .remark = SLICE_LITERAL("a remark \n\xE2\x82\xAC"),
        .has_remark = true,
    };
    ext_append(&command.ext, &arena, SLICE_LITERAL("topic"), SLICE_LITERAL("TopicTest"));
    ext_append(&command.ext, &arena, SLICE_LITERAL("i"), SLICE_LITERAL("KEYS\1k\2TAGS\1\"t\""));
    ext_append(&command.ext, &arena, SLICE_LITERAL("topic"), SLICE_EMPTY);
    return command;
}

static void headers_cut_off_anywhere_are_errors(void **state)
{
    (void)state;
    struct command command = full_command();
    for (size_t i = 0; i < CODECS; i++) {
        struct buf frame = BUF_EMPTY;
        assert_int_equal(command_encode(codecs[i], &command, 0, &frame), STATUS_OK);
        struct slice header = header_of(&frame);
        struct command got;
        assert_int_equal(decode(codecs[i], header, &got), STATUS_OK);
        assert_true(command_same(&got, &command));
        for (size_t size = 0; size < header.size; size++) {
            enum status status = decode(codecs[i], slice_of(header.data, size), &got);
            /* Whole fields of a protobuf message are a message; all it can be is another one. */
            if (codecs[i] == CODEC_PROTOBUF && status == STATUS_OK)
                assert_false(command_same(&got, &command));
            else
                assert_int_equal(status, STATUS_MALFORMED);
        }
        buf_release(&frame);
    }
}

static void fields_are_bounded(void **state)
{
    (void)state;
    struct command command = {0};
    for (int i = 0; i < EXT_FIELDS_MAX; i++)
        ext_append(&command.ext, &arena, SLICE_LITERAL("n"), SLICE_LITERAL("v"));
    for (size_t i = 0; i < CODECS; i++) {
        struct buf frame = BUF_EMPTY;
        struct command got;
        assert_int_equal(command_encode(codecs[i], &command, 0, &frame), STATUS_OK);
        assert_int_equal(decode(codecs[i], header_of(&frame), &got), STATUS_OK);
        assert_true(command_same(&got, &command));
        buf_release(&frame);
    }
    ext_append(&command.ext, &arena, SLICE_LITERAL("n"), SLICE_LITERAL("v"));
    for (size_t i = 0; i < CODECS; i++) {
        struct buf frame = BUF_EMPTY;
        struct command got;
        if (codecs[i] == CODEC_PROTOBUF) {
            assert_int_equal(command_encode(codecs[i], &command, 0, &frame), STATUS_TOO_LARGE);
            buf_release(&frame);
            continue;
        }
        assert_int_equal(command_encode(codecs[i], &command, 0, &frame), STATUS_OK);
        assert_int_equal(decode(codecs[i], header_of(&frame), &got), STATUS_TOO_LARGE);
        buf_release(&frame);
    }
}

/* Two bytes on the wire are a field of a hundred bytes in memory. */
static void protobuf_does_not_inflate(void **state)
{
    (void)state;
    struct buf header = BUF_EMPTY;
    for (int i = 0; i < 500000; i++)
        buf_append(&header, "\x3A\0", 2);
    struct command command;
    assert_int_not_equal(decode(CODEC_PROTOBUF, buf_slice(&header), &command), STATUS_OK);
    assert_true(arena.used_bytes < 4 * header.size);
    buf_release(&header);
}

static void frames_are_bounded(void **state)
{
    (void)state;
    size_t size = 0x1000000;
    struct command command = {.has_remark = true};
    uint8_t *text = arena_alloc(&arena, size);
    memset(text, 'x', size);
    for (size_t i = 0; i < CODECS; i++) {
        struct buf frame = BUF_EMPTY;
        command.remark = slice_of(text, size);
        assert_int_equal(command_encode(codecs[i], &command, 0, &frame), STATUS_TOO_LARGE);
        assert_int_equal(frame.size, 0);
        command.remark = slice_of(text, size - 1000);
        assert_int_equal(command_encode(codecs[i], &command, 0, &frame), STATUS_OK);
        assert_int_equal(command_encode(codecs[i], &command, INT32_MAX, &frame), STATUS_TOO_LARGE);
        buf_release(&frame);
    }
}

static void lengths_count_the_body_to_come(void **state)
{
    (void)state;
    struct command command = {.code = 1};
    struct buf frame = BUF_EMPTY;
    buf_append_cstr(&frame, "another frame before");
    size_t start = frame.size;
    assert_int_equal(command_encode(CODEC_ROCKETMQ, &command, 1000, &frame), STATUS_OK);
    assert_int_equal(get_u32(frame.data + start), 4 + 21 + 1000);
    assert_int_equal(get_u32(frame.data + start + 4), 1 << 24 | 21);
    buf_release(&frame);
}

static void unknown_codecs_are_refused(void **state)
{
    (void)state;
    struct command command = {0};
    struct buf frame = BUF_EMPTY;
    assert_int_equal(command_decode((enum codec)2, SLICE_LITERAL("{}"), &arena, &command),
                     STATUS_MALFORMED);
    assert_int_equal(command_encode((enum codec)2, &command, 0, &frame), STATUS_INVALID);
    assert_int_equal(frame.size, 0);
    buf_release(&frame);
}

/* A text of characters that are special to one codec or another. */
static struct slice random_text(struct random *random)
{
    static const char *const pieces[] = {
        "plain",
        "a",
        "\"",
        "\\",
        "\n",
        "\1",
        "\2",
        "\x7F",
        "\xC3\xA9",
        "\xC2\x85",
        "\xE2\x80\xA8",
        "\xE4\xB8\xAD",
        "\\u0",
        "\xF0\x9F\x98\x80",
        "{\"x\":[1]}",
        "null",
        " ",
        "/",
        "0123456789abcdef",
    };
    uint32_t count = random_below(random, random_below(random, 20) == 0 ? 400 : 8);
    struct buf text = BUF_EMPTY;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t piece = random_below(random, sizeof pieces / sizeof pieces[0] + 1);
        if (piece == sizeof pieces / sizeof pieces[0])
            buf_append_byte(&text, 0);
        else
            buf_append_cstr(&text, pieces[piece]);
    }
    struct slice copy = arena_copy(&arena, buf_slice(&text));
    buf_release(&text);
    return copy;
}

static struct command random_command(struct random *random)
{
    struct command command = {
        .code = (int16_t)random_u64(random),
        .language = (uint8_t)random_below(random, LANGUAGE_NODE_JS + 1),
        .version = (int16_t)random_u64(random),
        .opaque = (int32_t)random_u64(random),
        .flag = (int32_t)random_u64(random) >> random_below(random, 32),
        .has_remark = random_below(random, 2) == 0,
    };
    if (command.has_remark)
        command.remark = random_text(random);
    command.ext.present = random_below(random, 4) != 0;
    uint32_t fields = command.ext.present ? random_below(random, 40) : 0;
    for (uint32_t i = 0; i < fields; i++)
        ext_append(&command.ext, &arena, random_text(random), random_text(random));
    return command;
}

static void random_commands_come_back(void **state)
{
    (void)state;
    struct random random;
    random_init(&random, "random_commands_come_back");
    struct buf frame = BUF_EMPTY;
    for (int round = 0; round < 2000; round++) {
        arena_reset(&arena);
        struct command command = random_command(&random);
        for (size_t i = 0; i < CODECS; i++) {
            struct command expected = command_carried(&command, codecs[i]);
            struct command got;
            buf_clear(&frame);
            assert_int_equal(command_encode(codecs[i], &command, 0, &frame), STATUS_OK);
            assert_int_equal(decode(codecs[i], header_of(&frame), &got), STATUS_OK);
            if (!command_same(&got, &expected))
                fail_msg("round %d, codec %d:\n%s\n%s", round, codecs[i],
                         command_text(&expected, &arena), command_text(&got, &arena));
        }
    }
    buf_release(&frame);
}

/* Damaged headers are read or refused; what is read can be written and read again. */
static void damaged_headers_do_no_harm(void **state)
{
    (void)state;
    struct random random;
    random_init(&random, "damaged_headers_do_no_harm");
    struct buf frame = BUF_EMPTY;
    int accepted = 0;
    for (int round = 0; round < 6000; round++) {
        arena_reset(&arena);
        enum codec codec = codecs[round % (int)CODECS];
        struct command command = random_command(&random);
        buf_clear(&frame);
        assert_int_equal(command_encode(codec, &command, 0, &frame), STATUS_OK);
        struct slice header = header_of(&frame);
        for (uint32_t i = random_below(&random, 3) + 1; i > 0; i--)
            frame.data[FRAME_PREFIX_BYTES + random_below(&random, (uint32_t)header.size)] =
                (uint8_t)random_u64(&random);
        struct command damaged;
        if (decode(codec, header, &damaged) != STATUS_OK)
            continue;
        accepted++;
        struct command expected = command_carried(&damaged, codec);
        struct command again;
        buf_clear(&frame);
        assert_int_equal(command_encode(codec, &damaged, 0, &frame), STATUS_OK);
        assert_int_equal(decode(codec, header_of(&frame), &again), STATUS_OK);
        assert_true(command_same(&again, &expected));
    }
    assert_true(accepted > 500);
    buf_release(&frame);
}

static void languages_have_names(void **state)
{
    (void)state;
    assert_string_equal(language_name(LANGUAGE_JAVA), "JAVA");
    assert_string_equal(language_name(LANGUAGE_NODE_JS), "NODE_JS");
    assert_string_equal(language_name(14), "OTHER");
    assert_string_equal(language_name(LANGUAGE_UNKNOWN), "OTHER");
    for (uint8_t i = 0; i <= LANGUAGE_NODE_JS; i++)
        assert_int_equal(language_number(slice_of_cstr(language_name(i))), i);
    assert_int_equal(language_number(SLICE_EMPTY), LANGUAGE_UNKNOWN);
    assert_int_equal(language_number(SLICE_LITERAL("JAV")), LANGUAGE_UNKNOWN);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(json_layout_does_not_matter),
        TEST(json_numbers_are_lenient),
        TEST(json_language_by_name_or_number),
        TEST(json_texts_of_any_type),
        TEST(json_escapes_are_read),
        TEST(json_strings_without_escapes_are_not_copied),
        TEST(json_nesting_is_bounded),
        TEST(json_is_written_as_fastjson_does),
        TEST(rocket_reads_odd_headers),
        TEST(rocket_refuses_what_it_cannot_carry),
        TEST(headers_cut_off_anywhere_are_errors),
        TEST(fields_are_bounded),
        TEST(protobuf_does_not_inflate),
        TEST(frames_are_bounded),
        TEST(lengths_count_the_body_to_come),
        TEST(unknown_codecs_are_refused),
        TEST(random_commands_come_back),
        TEST(damaged_headers_do_no_harm),
        TEST(languages_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
