/* SPDX-License-Identifier: Apache-2.0
 *
 * The JSON reader and writer against fastjson 1.2.76: every golden body that Apache's classes
 * printed (test/data/bodies) is parsed and printed back unchanged; escapes and conversions are
 * those observed by running that version; hostile input ends in a status, not in memory or a deep
 * stack.
 */
#include "proto/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/limits.h"
#include "test/unit/support/random.h"
#include "test/unit/support/tsv.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

struct fixture {
    struct arena arena;
};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    arena_init(&fixture->arena, 65536);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    arena_release(&fixture->arena);
    free(fixture);
    return 0;
}

static struct arena *arena_of(void **state)
{
    return &((struct fixture *)*state)->arena;
}

static struct json_value parse(void **state, struct slice text)
{
    struct json_value value;
    enum status status = json_parse(text, arena_of(state), &value, NULL);
    if (status != STATUS_OK)
        fail_msg("%.*s: %s", SLICE_ARGS(text), status_name(status));
    return value;
}

/* Print a tree compactly, numbers as they were written. */
static void print(const struct json_value *value, struct buf *out)
{
    static const char brackets[2][2] = {{'[', ']'}, {'{', '}'}};
    bool is_object = value->type == JSON_OBJECT;
    if (value->type == JSON_STRING) {
        json_write_string(out, value->text);
        return;
    }
    if (!is_object && value->type != JSON_ARRAY) {
        buf_append_slice(out, value->text);
        return;
    }
    buf_append_byte(out, (uint8_t)brackets[is_object][0]);
    for (uint32_t i = 0; i < value->count; i++) {
        if (i > 0)
            buf_append_byte(out, ',');
        if (is_object) {
            print(&value->keys[i], out);
            buf_append_byte(out, ':');
        }
        print(&value->items[i], out);
    }
    buf_append_byte(out, (uint8_t)brackets[is_object][1]);
}

static void golden_folder(void **state, const char *folder, size_t files_expected)
{
    DIR *dir = opendir(folder);
    size_t files = 0;
    assert_non_null(dir);
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        char path[1024];
        if (strstr(entry->d_name, ".json") == NULL)
            continue;
        (void)snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        struct slice text = file_bytes(arena_of(state), path);
        struct buf again = BUF_EMPTY;
        struct json_value value = parse(state, text);
        print(&value, &again);
        if (memchr(text.data, '\n', text.size) == NULL) {
            if (!slice_equal(text, buf_slice(&again)))
                fail_msg("%s: printed as %.*s", path, SLICE_ARGS(buf_slice(&again)));
            files++;
        }
        buf_release(&again);
    }
    (void)closedir(dir);
    assert_int_equal(files, files_expected);
}

static void golden_bodies_come_back(void **state)
{
    golden_folder(state, "test/data/bodies", 58);
    golden_folder(state, "test/data/bodies/live", 37);
    golden_folder(state, "test/data/bodies/5.3.3", 16);
}

static void pretty_and_compact_read_alike(void **state)
{
    struct slice compact = file_bytes(arena_of(state), "test/data/bodies/fastjson-quirks.json");
    struct slice pretty =
        file_bytes(arena_of(state), "test/data/bodies/fastjson-quirks.pretty.json");
    struct buf again = BUF_EMPTY;
    struct json_value value = parse(state, pretty);
    print(&value, &again);
    assert_true(slice_equal(buf_slice(&again), compact));
    const struct json_value *text = json_get(&value, "string");
    assert_true(slice_is(text->text, "q\" b\\ s/ n\n t\t u\001 del\x7F nbsp\xC2\xA0 ls\xE2\x80\xA8 "
                                     "中 😀 <>&'"));
    const struct json_value *keys = json_get(&value, "intKeys");
    assert_int_equal(keys->keys[2].type, JSON_NUMBER);
    assert_true(slice_is(json_get(keys, "1")->text, "9007199254740993"));
    buf_release(&again);
}

static void trees(void **state)
{
    struct slice text = SLICE_LITERAL(" { \"a\" : [ 1 , \"x\" , true , false , null , NaN ] ,\r\n"
                                      "\t7 : { } , -1 : [ ] , {\"k\":1} : 2 } ");
    struct json_value value = parse(state, text);
    static const enum json_type types[] = {JSON_NUMBER, JSON_STRING, JSON_TRUE,
                                           JSON_FALSE,  JSON_NULL,   JSON_NULL};
    assert_int_equal(value.type, JSON_OBJECT);
    assert_int_equal(value.count, 4);
    const struct json_value *array = json_get(&value, "a");
    assert_int_equal(array->type, JSON_ARRAY);
    assert_int_equal(array->count, 6);
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(array->items[i].type, types[i]);
    assert_int_equal(json_get(&value, "7")->type, JSON_OBJECT);
    assert_int_equal(json_get(&value, "-1")->count, 0);
    assert_int_equal(value.keys[3].type, JSON_OBJECT);
    assert_true(slice_is(value.keys[3].text, "{\"k\":1}"));
    assert_true(slice_is(json_get(&value.keys[3], "k")->text, "1"));
    assert_null(json_get(&value, "b"));
    assert_null(json_get(array, "a"));
    /* Strings without escapes are not copied. */
    assert_true(array->items[1].text.data > text.data &&
                array->items[1].text.data < text.data + text.size);
}

static void the_last_of_equal_keys_wins(void **state)
{
    struct json_value value = parse(state, SLICE_LITERAL("{\"a\":1,\"b\":2,\"a\":3}"));
    assert_int_equal(value.count, 3);
    assert_true(slice_is(json_get(&value, "a")->text, "3"));
}

/* A literal and its size, for texts with NULs. */
#define TEXT(literal) literal, sizeof(literal) - 1

static void escapes_in(void **state)
{
    static const struct {
        const char *text;
        const char *meaning;
        size_t bytes;
    } rows[] = {
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", TEXT("\"\\/\b\f\n\r\t")},
        {"\"\\x41\\v\\'\\F\\xe9\"", TEXT("A\v'\f\xC3\xA9")},
        {"\"a\\0b\\7\"", TEXT("a\0b\a")},
        {"\"\\u0041\\u00e9\\u4E2D\\u007F\\u2028\"", TEXT("Aé中\x7F\xE2\x80\xA8")},
        {"\"\\ud83d\\ude00\\uD83D\\uDE00\"", TEXT("😀😀")},
        {"\"\\ud800\"", TEXT("?")},
        {"\"\\udc00\\ud800\"", TEXT("??")},
        {"\"\\ud800\\u0041\"", TEXT("?A")},
        {"\"\\ud800\\ud83d\\ude00\"", TEXT("?😀")},
        {"\"\\ud800x\"", TEXT("?x")},
        {"\"\\uFFFF\\u0000\"", TEXT("\xEF\xBF\xBF\0")},
        {"\"a\nb\001\"", TEXT("a\nb\001")},
        {"\"\"", TEXT("")},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct json_value value = parse(state, slice_of_cstr(rows[i].text));
        assert_int_equal(value.type, JSON_STRING);
        if (!slice_equal(value.text, slice_of(rows[i].meaning, rows[i].bytes)))
            fail_msg("%s read as %.*s", rows[i].text, SLICE_ARGS(value.text));
    }
}

/* One row of what fastjson prints, for UTF-16 unit `unit`. */
static const char *escape_expected(unsigned unit, char text[8])
{
    static const char special[] = "\b\t\n\f\r\"\\";
    static const char letters[] = "btnfr\"\\";
    const char *found = unit == 0 || unit >= 0x80 ? NULL : strchr(special, (int)unit);
    if (found != NULL)
        (void)snprintf(text, 8, "\\%c", letters[found - special]);
    else if (unit < 0x20 || (unit >= 0x7F && unit < 0xA0) || unit == 0x2028 || unit == 0x2029)
        (void)snprintf(text, 8, "\\u%04X", unit);
    else
        return NULL;
    return text;
}

static void escapes_out(void **state)
{
    for (unsigned unit = 0; unit < 0x10000; unit++) {
        char input[32];
        char expected[8];
        struct buf out = BUF_EMPTY;
        if (unit >= 0xD800 && unit < 0xE000)
            continue;
        (void)snprintf(input, sizeof input, "\"x\\u%04xy\"", unit);
        struct json_value value = parse(state, slice_of_cstr(input));
        json_write_string(&out, value.text);
        assert_true(out.size >= 5);
        struct slice middle = slice_of(out.data + 2, out.size - 4);
        if (escape_expected(unit, expected) != NULL)
            assert_true(slice_is(middle, expected));
        else
            assert_true(slice_equal(middle, slice_of(value.text.data + 1, value.text.size - 2)));
        buf_release(&out);
    }
    struct buf out = BUF_EMPTY;
    json_write_string(&out, SLICE_LITERAL("\xC2\xE2\x80\xC2\x80\xFF\xE2\x80\xA9\xE2\x80"));
    assert_true(slice_is(buf_slice(&out), "\"\xC2\xE2\x80\\u0080\xFF\\u2029\xE2\x80\""));
    buf_release(&out);
}

static void what_is_no_json(void **state)
{
    static const struct {
        const char *text;
        size_t error_at;
    } rows[] = {
        {"", 0},         {"  ", 2},        {"{", 1},           {"}", 0},
        {"{\"a\":}", 5}, {"{\"a\"}", 4},   {"{\"a\" 1}", 5},   {"{\"a\":1,}", 7},
        {"{,}", 1},      {"[1,]", 3},      {"[,]", 1},         {"[1 2]", 3},
        {"[1", 2},       {"[1}", 2},       {"{\"a\":1]", 6},   {"{a:1}", 1},
        {"{true:1}", 1}, {"{[]:1}", 1},    {"{null:1}", 1},    {"{\"a\":1} x", 8},
        {"nul", 0},      {"nulll", 4},     {"tru", 0},         {"True", 0},
        {"\"", 1},       {"\"abc", 4},     {"\"abc\\", 5},     {"\"abc\\\"", 6},
        {"\"\\q\"", 1},  {"\"\\u12\"", 1}, {"\"\\u00zz\"", 1}, {"\"\\x4\"", 1},
        {"\"\\u", 3},    {"-", 1},         {"+1", 0},          {"1.", 2},
        {".5", 0},       {"1e", 2},        {"1e+", 3},         {"0x10", 1},
        {"1 2", 2},      {"Infinity", 0},  {"'a'", 0},         {"[1,\"\\8\"]", 4},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct json_value value;
        size_t error_at = 12345;
        struct slice text = slice_of_cstr(rows[i].text);
        assert_int_equal(json_parse(text, arena_of(state), &value, &error_at), STATUS_MALFORMED);
        if (error_at != rows[i].error_at)
            fail_msg("%s: error at %zu, expected at %zu", rows[i].text, error_at, rows[i].error_at);
    }
    struct json_value value;
    assert_int_equal(json_parse(SLICE_EMPTY, arena_of(state), &value, NULL), STATUS_MALFORMED);
}

/* Each cut of a text that uses every construct is refused, reading nothing beyond its end. */
static void cut_anywhere(void **state)
{
    static const char text[] = "{\"a\":[1.5e+3,\"x\\ud83d\\ude00\\n\",true,null],{\"k\":1}:{0:{}}}";
    struct json_value value;
    assert_int_equal(parse(state, slice_of_cstr(text)).count, 2);
    for (size_t size = 0; size < sizeof text - 1; size++) {
        char *part = malloc(size + 1);
        memcpy(part, text, size);
        part = realloc(part, size == 0 ? 1 : size);
        assert_int_equal(json_parse(slice_of(part, size), arena_of(state), &value, NULL),
                         STATUS_MALFORMED);
        free(part);
    }
}

static struct buf repeated(const char *piece, size_t times)
{
    struct buf text = BUF_EMPTY;
    for (size_t i = 0; i < times; i++)
        buf_append_cstr(&text, piece);
    return text;
}

static void deep_nesting(void **state)
{
    struct json_value value;
    struct buf open = repeated("[", 10 * 1024 * 1024);
    size_t error_at;
    assert_int_equal(json_parse(buf_slice(&open), arena_of(state), &value, &error_at),
                     STATUS_TOO_LARGE);
    assert_int_equal(error_at, JSON_DEPTH_MAX);
    struct buf keys = repeated("{", 1024 * 1024);
    assert_int_equal(json_parse(buf_slice(&keys), arena_of(state), &value, NULL), STATUS_TOO_LARGE);
    struct buf just = repeated("[", JSON_DEPTH_MAX);
    for (int i = 0; i < JSON_DEPTH_MAX; i++)
        buf_append_byte(&just, ']');
    assert_int_equal(json_parse(buf_slice(&just), arena_of(state), &value, NULL), STATUS_OK);
    buf_release(&open);
    buf_release(&keys);
    buf_release(&just);
}

static void large_trees(void **state)
{
    struct json_value value;
    struct buf many = repeated("[[]", 1);
    size_t values = 1;
    for (; values < 100000; values++)
        buf_append_cstr(&many, ",[]");
    buf_append_byte(&many, ']');
    assert_int_equal(json_parse(buf_slice(&many), arena_of(state), &value, NULL), STATUS_OK);
    assert_int_equal(value.count, values);
    assert_int_equal(value.items[values - 1].type, JSON_ARRAY);
    /* The largest frame's worth of such values would take more than DECODE_BYTES_MAX. */
    many.size--;
    while (many.size < FRAME_BYTES_MAX - 1)
        buf_append_cstr(&many, ",[]");
    buf_append_byte(&many, ']');
    size_t before = arena_of(state)->used_bytes;
    assert_int_equal(json_parse(buf_slice(&many), arena_of(state), &value, NULL), STATUS_TOO_LARGE);
    assert_true(arena_of(state)->used_bytes - before <= DECODE_BYTES_MAX);
    buf_release(&many);
}

static void integers(void **state)
{
    static const struct {
        const char *text;
        bool is_valid;
        int64_t number;
    } rows[] = {
        {"0", true, 0},
        {"-0", true, 0},
        {"007", true, 7},
        {"9223372036854775807", true, INT64_MAX},
        {"-9223372036854775808", true, INT64_MIN},
        {"9223372036854775808", false, 0},
        {"-9223372036854775809", false, 0},
        {"99999999999999999999999999999999999999999999999999999999999999", false, 0},
        {"1.9", true, 1},
        {"-1.9", true, -1},
        {"1e2", true, 100},
        {"1E2", true, 100},
        {"1e18", true, 1000000000000000000},
        {"9.3e18", false, 0},
        {"1e400", false, 0},
        {"\"42\"", true, 42},
        {"\"-42\"", true, -42},
        {"\"6.7\"", false, 0},
        {"\" 6\"", false, 0},
        {"\"\"", false, 0},
        {"\"x\"", false, 0},
        {"true", true, 1},
        {"false", true, 0},
        {"null", false, 0},
        {"[]", false, 0},
        {"{}", false, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int64_t number = 77;
        struct json_value value = parse(state, slice_of_cstr(rows[i].text));
        if (json_as_i64(&value, &number) != rows[i].is_valid)
            fail_msg("%s should be %s", rows[i].text, rows[i].is_valid ? "read" : "refused");
        if (rows[i].is_valid)
            assert_int_equal(number, rows[i].number);
    }
}

static void truth_values(void **state)
{
    static const char *const truths[] = {"true",  "1",     "\"true\"", "\"TRUE\"",
                                         "\"1\"", "\"Y\"", "\"T\"",    "1.0"};
    static const char *const lies[] = {"false",     "0",     "2",     "-1",
                                       "\"False\"", "\"0\"", "\"N\"", "\"F\""};
    static const char *const neither[] = {"\"yes\"", "\"\"", "null", "[]", "{}", "1e400", "\"2\""};
    bool truth;
    for (size_t i = 0; i < sizeof truths / sizeof truths[0]; i++) {
        struct json_value value = parse(state, slice_of_cstr(truths[i]));
        assert_true(json_as_bool(&value, &truth));
        assert_true(truth);
    }
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        struct json_value value = parse(state, slice_of_cstr(lies[i]));
        assert_true(json_as_bool(&value, &truth));
        assert_false(truth);
    }
    for (size_t i = 0; i < sizeof neither / sizeof neither[0]; i++) {
        struct json_value value = parse(state, slice_of_cstr(neither[i]));
        assert_false(json_as_bool(&value, &truth));
    }
}

static void doubles_in(void **state)
{
    double number = 0;
    struct json_value value = parse(state, SLICE_LITERAL("\"1.5\""));
    assert_true(json_as_double(&value, &number));
    assert_true(number == 1.5);
    value = parse(state, SLICE_LITERAL("-1.0E10"));
    assert_true(json_as_double(&value, &number));
    assert_true(number == -1e10);
    static const char *const bad[] = {"1e400", "\"nan\"", "\"inf\"", "\"0x10\"",
                                      "\"\"",  "true",    "null",    "[]"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        value = parse(state, slice_of_cstr(bad[i]));
        assert_false(json_as_double(&value, &number));
    }
    struct buf huge = repeated("1", 1000000);
    value = parse(state, buf_slice(&huge));
    assert_false(json_as_double(&value, &number));
    buf_release(&huge);
}

static void doubles_out(void **state)
{
    (void)state;
    static const struct {
        double number;
        const char *text;
    } rows[] = {
        {0.0, "0.0"},
        {-0.0, "-0.0"},
        {1, "1.0"},
        {-1.5, "-1.5"},
        {0.1, "0.1"},
        {1e-3, "0.001"},
        {2e-3, "0.002"},
        {0.0125, "0.0125"},
        {9.99e-4, "9.99E-4"},
        {1e-5, "1.0E-5"},
        {123e-7, "1.23E-5"},
        {100, "100.0"},
        {1234567, "1234567.0"},
        {9999999.999, "9999999.999"},
        {1e7, "1.0E7"},
        {1e10, "1.0E10"},
        {123456789.125, "1.23456789125E8"},
        {9007199254740993.0, "9.007199254740992E15"},
        {1e21, "1.0E21"},
        {2.0 / 3, "0.6666666666666666"},
        {4.9e-324, "4.9E-324"},
        {2.2250738585072014E-308, "2.2250738585072014E-308"},
        {1.7976931348623157e308, "1.7976931348623157E308"},
        {NAN, "null"},
        {INFINITY, "null"},
        {-INFINITY, "null"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct buf out = BUF_EMPTY;
        json_write_double(&out, rows[i].number);
        if (!slice_is(buf_slice(&out), rows[i].text))
            fail_msg("%s printed as %.*s", rows[i].text, SLICE_ARGS(buf_slice(&out)));
        buf_release(&out);
    }
}

static void any_double_comes_back(void **state)
{
    struct random random;
    random_init(&random, "any_double_comes_back");
    for (int i = 0; i < 20000; i++) {
        uint64_t bits = random_u64(&random);
        double number;
        double again;
        struct buf out = BUF_EMPTY;
        memcpy(&number, &bits, sizeof number);
        if (isfinite(number)) {
            json_write_double(&out, number);
            struct json_value value = parse(state, buf_slice(&out));
            assert_true(json_as_double(&value, &again));
            assert_true(memcmp(&number, &again, sizeof number) == 0);
        }
        buf_release(&out);
        if (i % 1000 == 0)
            arena_reset(arena_of(state));
    }
}

static void any_string_comes_back(void **state)
{
    struct random random;
    random_init(&random, "any_string_comes_back");
    for (int i = 0; i < 20000; i++) {
        uint8_t text[32];
        struct buf out = BUF_EMPTY;
        size_t size = random_below(&random, sizeof text + 1);
        for (size_t c = 0; c < size; c++)
            text[c] = (uint8_t)(random_below(&random, 3) == 0 ? "\\\"\xC2\x80\xE2\xA8"[c % 6]
                                                              : (int)random_below(&random, 256));
        json_write_string(&out, slice_of(text, size));
        struct json_value value = parse(state, buf_slice(&out));
        assert_true(slice_equal(value.text, slice_of(text, size)));
        buf_release(&out);
        if (i % 1000 == 0)
            arena_reset(arena_of(state));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(golden_bodies_come_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(pretty_and_compact_read_alike, set_up, tear_down),
        cmocka_unit_test_setup_teardown(trees, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_last_of_equal_keys_wins, set_up, tear_down),
        cmocka_unit_test_setup_teardown(escapes_in, set_up, tear_down),
        cmocka_unit_test_setup_teardown(escapes_out, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_no_json, set_up, tear_down),
        cmocka_unit_test_setup_teardown(cut_anywhere, set_up, tear_down),
        cmocka_unit_test_setup_teardown(deep_nesting, set_up, tear_down),
        cmocka_unit_test_setup_teardown(large_trees, set_up, tear_down),
        cmocka_unit_test_setup_teardown(integers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(truth_values, set_up, tear_down),
        cmocka_unit_test_setup_teardown(doubles_in, set_up, tear_down),
        cmocka_unit_test(doubles_out),
        cmocka_unit_test_setup_teardown(any_double_comes_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(any_string_comes_back, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
