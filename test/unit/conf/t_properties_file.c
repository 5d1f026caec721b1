/* SPDX-License-Identifier: Apache-2.0
 *
 * Shows that the properties reader takes the grammar of java.util.Properties, with trailing blanks
 * of values trimmed. Source: the load(Reader) contract of java.util.Properties; behaviour rule
 * CF-01 (docs/configuration.md).
 */
#include "common/conf/properties_file.h"

#include "common/conf/conf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static enum status add_pair(void *ctx, struct slice key, struct slice value, int line,
                            struct err *err)
{
    (void)err;
    buf_printf(ctx, "%d[%.*s][%.*s]", line, SLICE_ARGS(key), SLICE_ARGS(value));
    return STATUS_OK;
}

/* Every pair of `text` as LINE[key][value]. */
static void assert_pairs(const char *text, const char *expected)
{
    struct buf out = BUF_EMPTY;
    struct err err = {0};
    assert_int_equal(java_properties_parse(slice_of_cstr(text), add_pair, &out, &err), STATUS_OK);
    buf_append_byte(&out, '\0');
    assert_string_equal((const char *)out.data, expected);
    buf_release(&out);
}

static void test_separators(void **state)
{
    (void)state;
    assert_pairs("a=1", "1[a][1]");
    assert_pairs("a = 1", "1[a][1]");
    assert_pairs("a:1", "1[a][1]");
    assert_pairs("a : 1", "1[a][1]");
    assert_pairs("a 1", "1[a][1]");
    assert_pairs("a\t\f 1", "1[a][1]");
    assert_pairs("a == 1", "1[a][= 1]");
    assert_pairs("a =: 1", "1[a][: 1]");
    assert_pairs("  a=x=y", "1[a][x=y]");
    assert_pairs("a", "1[a][]");
    assert_pairs("a=", "1[a][]");
    assert_pairs("=v", "1[][v]");
    assert_pairs("namesrvAddr=h:9876;i:9876", "1[namesrvAddr][h:9876;i:9876]");
}

static void test_lines_and_comments(void **state)
{
    (void)state;
    assert_pairs("", "");
    assert_pairs("\n\r\n  \t\n", "");
    assert_pairs("a=1\nb=2\rc=3\r\nd=4", "1[a][1]2[b][2]3[c][3]4[d][4]");
    assert_pairs("# x=1\n  ! y=2\nz=3 # not a comment", "3[z][3 # not a comment]");
    assert_pairs("#comment \\\na=1", "2[a][1]");
    assert_pairs("\xEF\xBB\xBF"
                 "a=1",
                 "1[a][1]");
}

static void test_continuation(void **state)
{
    (void)state;
    assert_pairs("a=1 \\\n   2 \\\r\n\t3\nb=4", "1[a][1 2 3]4[b][4]");
    assert_pairs("a\\\nb=1", "1[ab][1]");
    assert_pairs("a=x\\\n#y", "1[a][x#y]");
    assert_pairs("a=x\\\n\nb=1", "1[a][x]3[b][1]");
    assert_pairs("a=x\\\\\nb=1", "1[a][x\\]2[b][1]");
    assert_pairs("a=x\\", "1[a][x]");
    assert_pairs("\\\na=1", "2[a][1]");
    assert_pairs("\\\n\n# comment\na=1", "4[a][1]");
    assert_pairs("\\\n# comment\na=1", "3[a][1]");
    assert_pairs("a=\\u00\\\n  41", "1[a][A]");
}

static void test_escapes(void **state)
{
    (void)state;
    assert_pairs("a\\ b\\=\\:c=\\t\\n\\r\\f\\q\\\\", "1[a b=:c][\t\n\r\fq\\]");
    assert_pairs("\\#a=1", "1[#a][1]");
    assert_pairs("a=\\u0041\\u00e9\\u4F60", "1[a][A\xC3\xA9\xE4\xBD\xA0]");
    assert_pairs("a=\\uD83D\\uDE00", "1[a][\xF0\x9F\x98\x80]");
    assert_pairs("a=\\uD83Dx\\uDE00\\uD83D", "1[a][?x??]");
    assert_pairs("a=caf\xC3\xA9 \xE9", "1[a][caf\xC3\xA9 \xE9]");
}

static void test_trailing_blanks_are_dropped(void **state)
{
    (void)state;
    assert_pairs("a=1 \t\f\nb=true  ", "1[a][1]2[b][true]");
    assert_pairs("a=x\\ ", "1[a][x ]");
    assert_pairs("a=x \\\n   ", "1[a][x]");
    assert_pairs("a=  ", "1[a][]");
    assert_pairs("a=x\\uD83D  ", "1[a][x?]");
}

static void test_bad_escape_names_the_line(void **state)
{
    (void)state;
    static const char *const BAD[] = {"x=1\na=\\u12", "x=1\na=\\u12g4", "x=1\n\\u=1"};
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        struct buf out = BUF_EMPTY;
        struct err err = {0};
        assert_int_equal(java_properties_parse(slice_of_cstr(BAD[i]), add_pair, &out, &err),
                         STATUS_MALFORMED);
        assert_non_null(strstr(err.text, "line 2"));
        buf_release(&out);
    }
}

static enum status stop(void *ctx, struct slice key, struct slice value, int line, struct err *err)
{
    (void)key;
    (void)value;
    (void)line;
    int *calls = ctx;
    ++*calls;
    return err_set(err, STATUS_NOT_FOUND, "stopped");
}

static void test_a_caller_may_stop(void **state)
{
    (void)state;
    int calls = 0;
    struct err err = {0};
    assert_int_equal(java_properties_parse(SLICE_LITERAL("a=1\nb=2"), stop, &calls, &err),
                     STATUS_NOT_FOUND);
    assert_int_equal(calls, 1);
    assert_string_equal(err.text, "stopped");
}

static void test_places_of_values(void **state)
{
    (void)state;
    struct slice text = SLICE_LITERAL("# c\nkey = va\\\n  lue  \nbare\n");
    struct properties_reader reader;
    struct properties_entry entry;
    properties_reader_init(&reader, text);
    assert_int_equal(properties_reader_next(&reader, &entry, NULL), STATUS_OK);
    assert_true(slice_is(entry.value, "value"));
    assert_int_equal(entry.line, 2);
    assert_true(entry.separated);
    assert_true(
        slice_is(slice_of(text.data + entry.value_start, entry.value_end - entry.value_start),
                 "va\\\n  lue  "));
    assert_int_equal(properties_reader_next(&reader, &entry, NULL), STATUS_OK);
    assert_true(slice_is(entry.key, "bare"));
    assert_int_equal(entry.line, 4);
    assert_false(entry.separated);
    assert_int_equal(entry.value_start, entry.value_end);
    assert_int_equal(properties_reader_next(&reader, &entry, NULL), STATUS_NOT_FOUND);
    properties_reader_release(&reader);
}

static void test_written_values_read_back(void **state)
{
    (void)state;
    static const char *const VALUES[] = {
        "",   "plain", "  leading",      "trailing  ", " ",       "=x",
        ":x", "a\\b",  "two\nlines\r\n", "\t\ttabs\t", "\f",      "caf\xC3\xA9",
        "#x", "!x",    "a=b:c",          "x\\",        "\\u0041",
    };
    for (size_t i = 0; i < sizeof VALUES / sizeof VALUES[0]; i++) {
        struct buf text = BUF_EMPTY;
        struct properties_reader reader;
        struct properties_entry entry;
        buf_append_cstr(&text, "k=");
        properties_append_value(&text, slice_of_cstr(VALUES[i]));
        buf_append_cstr(&text, "\nend=1\n");
        properties_reader_init(&reader, buf_slice(&text));
        assert_int_equal(properties_reader_next(&reader, &entry, NULL), STATUS_OK);
        assert_true(slice_is(entry.value, VALUES[i]));
        assert_int_equal(properties_reader_next(&reader, &entry, NULL), STATUS_OK);
        assert_true(slice_is(entry.key, "end"));
        properties_reader_release(&reader);
        buf_release(&text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_separators),
        cmocka_unit_test(test_lines_and_comments),
        cmocka_unit_test(test_continuation),
        cmocka_unit_test(test_escapes),
        cmocka_unit_test(test_trailing_blanks_are_dropped),
        cmocka_unit_test(test_bad_escape_names_the_line),
        cmocka_unit_test(test_a_caller_may_stop),
        cmocka_unit_test(test_places_of_values),
        cmocka_unit_test(test_written_values_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
