/* SPDX-License-Identifier: Apache-2.0
 *
 * Property strings are read as 4.9.2's MessageDecoder.string2messageProperties reads them and
 * written without a last separator. Hashes are those that Java 17 printed for the same text; for
 * bytes that are not UTF-8, for new String(bytes, UTF_8).
 */
#include "proto/properties.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "test/unit/support/random.h"
#include "test/unit/support/tsv.h"

/* The pairs that a walk gives, as "name=value;". */
static struct buf walk(struct slice properties)
{
    struct buf pairs = BUF_EMPTY;
    struct slice name;
    struct slice value;
    size_t cursor = 0;
    while (properties_next(properties, &cursor, &name, &value)) {
        buf_append_slice(&pairs, name);
        buf_append_byte(&pairs, '=');
        buf_append_slice(&pairs, value);
        buf_append_byte(&pairs, ';');
    }
    assert_true(cursor >= properties.size);
    assert_false(properties_next(properties, &cursor, &name, &value));
    return pairs;
}

static void assert_walk(struct slice properties, const char *expected)
{
    struct buf pairs = walk(properties);
    assert_true(slice_is(buf_slice(&pairs), expected));
    buf_release(&pairs);
}

static void a_walk_gives_what_java_keeps(void **state)
{
    (void)state;
    assert_walk(SLICE_EMPTY, "");
    assert_walk(SLICE_LITERAL("a\001b"), "a=b;");
    assert_walk(SLICE_LITERAL("a\001b\002c\001d"), "a=b;c=d;");
    assert_walk(SLICE_LITERAL("a\001b\002c\001d\002"), "a=b;c=d;");
    assert_walk(SLICE_LITERAL("\002\002a\001b\002\002c\001d\002\002"), "a=b;c=d;");
    /* The first separator of a piece splits it: 4.9.2's own batches depend on this. */
    assert_walk(SLICE_LITERAL("TAGS\001btCLUSTER\001DefaultCluster"),
                "TAGS=btCLUSTER\001DefaultCluster;");
    assert_walk(SLICE_LITERAL("a\001\001"), "a=\001;");
    assert_walk(SLICE_LITERAL("\001b\002a\001\002ab\002a\002x\001y"), "x=y;");
    assert_walk(SLICE_LITERAL("abc"), "");
    assert_walk(SLICE_LITERAL("\001bc"), "");
    assert_walk(SLICE_LITERAL("\001\001\001"), "");
}

static void find_takes_the_last_one(void **state)
{
    (void)state;
    struct slice value = SLICE_EMPTY;
    struct slice properties = SLICE_LITERAL(
        "TAGS\001one\002TAGSX\001x\002XTAGS\001y\002TAGS\001two\002TAGS\001\002K\001v");
    assert_true(properties_find(properties, SLICE_LITERAL("TAGS"), &value));
    assert_true(slice_is(value, "two"));
    assert_true(properties_find(properties, SLICE_LITERAL("K"), &value));
    assert_true(slice_is(value, "v"));
    assert_true(properties_find(properties, SLICE_LITERAL("TAGSX"), &value));
    assert_true(slice_is(value, "x"));
    assert_false(properties_find(properties, SLICE_LITERAL("TAG"), &value));
    assert_false(properties_find(properties, SLICE_LITERAL("two"), &value));
    assert_false(properties_find(properties, SLICE_EMPTY, &value));
    assert_false(properties_find(SLICE_EMPTY, SLICE_LITERAL("K"), &value));
    assert_false(properties_find(SLICE_LITERAL("K\001"), SLICE_LITERAL("K"), &value));
    assert_true(slice_is(value, "x"));
}

static void append_separates(void **state)
{
    (void)state;
    struct buf out = BUF_EMPTY;
    properties_append(&out, SLICE_LITERAL("a"), SLICE_LITERAL("1"));
    assert_true(slice_is(buf_slice(&out), "a\0011"));
    properties_append(&out, SLICE_LITERAL("b"), SLICE_LITERAL("2"));
    assert_true(slice_is(buf_slice(&out), "a\0011\002b\0012"));
    buf_append_byte(&out, PROPERTY_SEPARATOR);
    properties_append(&out, SLICE_LITERAL("c"), SLICE_LITERAL("3"));
    assert_true(slice_is(buf_slice(&out), "a\0011\002b\0012\002c\0013"));
    buf_release(&out);
}

static void assert_except(struct slice properties, const char *without, const char *expected)
{
    struct buf out = BUF_EMPTY;
    properties_append_except(&out, properties, slice_of_cstr(without));
    assert_true(slice_is(buf_slice(&out), expected));
    buf_release(&out);
}

static void append_except_leaves_out(void **state)
{
    (void)state;
    assert_except(SLICE_EMPTY, "WAIT", "");
    assert_except(SLICE_LITERAL("WAIT\001true"), "WAIT", "");
    assert_except(SLICE_LITERAL("WAIT\001true\002a\001b"), "WAIT", "a\001b");
    assert_except(SLICE_LITERAL("a\001b\002WAIT\001true"), "WAIT", "a\001b");
    assert_except(SLICE_LITERAL("a\001b\002WAIT\001true\002c\001d\002"), "WAIT",
                  "a\001b\002c\001d");
    assert_except(SLICE_LITERAL("a\001b\002bad\002\002WAITS\001x\002WAIT\001\002"), "WAIT",
                  "a\001b\002WAITS\001x");
    struct buf out = BUF_EMPTY;
    properties_append(&out, SLICE_LITERAL("z"), SLICE_LITERAL("9"));
    properties_append_except(&out, SLICE_LITERAL("WAIT\001true\002c\001d"), SLICE_LITERAL("WAIT"));
    assert_true(slice_is(buf_slice(&out), "z\0019\002c\001d"));
    buf_release(&out);
}

/* Whatever the string, leaving out a name equals walking and appending the other pairs, and find
 * agrees with the walk. */
static void fast_paths_agree_with_the_walk(void **state)
{
    (void)state;
    struct random random;
    random_init(&random, "fast_paths_agree_with_the_walk");
    static const char alphabet[] = "\001\001\002\002abW";
    for (int i = 0; i < 20000; i++) {
        char text[24];
        size_t size = random_below(&random, sizeof text + 1);
        for (size_t c = 0; c < size; c++)
            text[c] = alphabet[random_below(&random, sizeof alphabet - 1)];
        struct slice properties = slice_of(text, size);
        struct slice wanted = SLICE_LITERAL("a");
        struct slice name;
        struct slice value;
        struct slice last = SLICE_EMPTY;
        struct slice found = SLICE_EMPTY;
        struct buf expected = BUF_EMPTY;
        struct buf actual = BUF_EMPTY;
        size_t cursor = 0;
        while (properties_next(properties, &cursor, &name, &value)) {
            if (slice_equal(name, wanted))
                last = value;
            else
                properties_append(&expected, name, value);
        }
        properties_append_except(&actual, properties, wanted);
        assert_true(slice_equal(buf_slice(&actual), buf_slice(&expected)));
        assert_int_equal(properties_find(properties, wanted, &found), last.size != 0);
        assert_ptr_equal(found.data, last.data);
        assert_int_equal(found.size, last.size);
        buf_release(&expected);
        buf_release(&actual);
    }
}

static void hashes_of_text(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int32_t hash;
    } rows[] = {
        {"", 0},
        {"a", 97},
        {"TagA", 2598919},
        {"中文标签", 622041809},
        {"😀", 1772899},
        {"polygenelubricants", INT32_MIN},
        {"TAG_very_long_tag_name_with_more_than_thirty_two_bytes_in_it", -1177478530},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(java_string_hash(slice_of_cstr(rows[i].text)), rows[i].hash);
        assert_int_equal(tags_code(slice_of_cstr(rows[i].text)), (int64_t)rows[i].hash);
    }
}

static void hashes_of_bytes_that_are_not_utf8(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 4096);
    static const struct {
        const char *hex;
        int32_t hash;
    } rows[] = {
        {"80", 65533},
        {"c328", 2031563},
        {"e28228", 2031563},
        {"e2", 65533},
        {"f09f98", 65533},
        {"f0288cbc", 1954429099},
        {"eda080", 65533},
        {"f8888888", 2017367872},
        {"c0af", 2097056},
        {"f4908080", 2017367872},
        {"ff", 65533},
        {"e0808041", 2017302404},
        {"f0908080", 1770496},
        {"efbfbd", 65533},
        {"61e280", 68540},
        {"f09f9841", 2031588},
        {"414280c3a9e4b8ad", 124999520},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct slice bytes = hex_bytes(&arena, slice_of_cstr(rows[i].hex));
        assert_int_equal(java_string_hash(bytes), rows[i].hash);
    }
    arena_release(&arena);
}

static void hashes_of_ascii_follow_the_definition(void **state)
{
    (void)state;
    struct random random;
    random_init(&random, "hashes_of_ascii_follow_the_definition");
    for (int i = 0; i < 10000; i++) {
        uint8_t text[40];
        uint32_t expected = 0;
        size_t size = random_below(&random, sizeof text + 1);
        for (size_t c = 0; c < size; c++) {
            text[c] = (uint8_t)random_below(&random, 128);
            expected = expected * 31 + text[c];
        }
        assert_int_equal(java_string_hash(slice_of(text, size)), (int32_t)expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_walk_gives_what_java_keeps),
        cmocka_unit_test(find_takes_the_last_one),
        cmocka_unit_test(append_separates),
        cmocka_unit_test(append_except_leaves_out),
        cmocka_unit_test(fast_paths_agree_with_the_walk),
        cmocka_unit_test(hashes_of_text),
        cmocka_unit_test(hashes_of_bytes_that_are_not_utf8),
        cmocka_unit_test(hashes_of_ascii_follow_the_definition),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
