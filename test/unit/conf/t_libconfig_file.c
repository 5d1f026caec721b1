/* SPDX-License-Identifier: Apache-2.0
 *
 * Shows that settings are read with type, file and line, and that the places of values found for
 * rewriting are right between comments, strings and nested values. Source: the grammar chapter of
 * libconfig's manual.
 */
#include "common/conf/libconfig_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static enum status add_setting(void *ctx, const struct libconfig_setting *setting, struct err *err)
{
    static const char *const TYPES[] = {"bool", "int", "float", "string"};
    (void)err;
    buf_printf(ctx, "%s:%d %s %s=%s\n", setting->file, setting->line, TYPES[setting->type],
               setting->name, setting->text);
    return STATUS_OK;
}

static void test_settings(void **state)
{
    (void)state;
    struct buf out = BUF_EMPTY;
    struct err err = {0};
    assert_int_equal(
        libconfig_parse("a.conf",
                        SLICE_LITERAL("a = 1;\nb = -5000000000L;\nc = 1.5\nd:TRUE,\n"
                                      "e = \"x\\\"y\" # c\n  \"z\";\nf = 6000000000L;"),
                        add_setting, &out, &err),
        STATUS_OK);
    buf_append_byte(&out, '\0');
    assert_string_equal(
        (const char *)out.data,
        "a.conf:1 int a=1\na.conf:2 int b=-5000000000\na.conf:3 float c=1.5\n"
        "a.conf:4 bool d=true\na.conf:5 string e=x\"yz\na.conf:7 int f=6000000000\n");
    buf_release(&out);
}

static void test_errors_name_file_and_line(void **state)
{
    (void)state;
    struct buf out = BUF_EMPTY;
    struct err err = {0};
    assert_int_equal(
        libconfig_parse("a.conf", SLICE_LITERAL("a = 1;\nb = x;\n"), add_setting, &out, &err),
        STATUS_MALFORMED);
    assert_memory_equal(err.text, "a.conf:2: syntax error", 22);
    assert_int_equal(
        libconfig_parse("a.conf", SLICE_LITERAL("a = 1;\n\nb = [1];\n"), add_setting, &out, &err),
        STATUS_INVALID);
    assert_memory_equal(err.text, "a.conf:3: b is a group", 22);
    assert_int_equal(libconfig_parse("a.conf", SLICE_LITERAL("@include \"absent.cfg\"\n"),
                                     add_setting, &out, &err),
                     STATUS_MALFORMED);
    assert_int_equal(libconfig_parse("a.conf", SLICE_LITERAL("a = 1;\nb = 6000000000;\n"),
                                     add_setting, &out, &err),
                     STATUS_INVALID);
    assert_string_equal(err.text, "a.conf:2: b = 6000000000: a number beyond 32 bits needs an L: "
                                  "6000000000L");
    assert_int_equal(libconfig_parse("a.conf", SLICE_EMPTY, add_setting, &out, &err), STATUS_OK);
    buf_release(&out);
}

static void test_places(void **state)
{
    (void)state;
    struct slice text = SLICE_LITERAL("@include \"b.cfg\"\n/* x = 1; */ a = 12; # y = 2\n"
                                      "b /* = */ : /* : */ \"s\\\";t\" // c\n  \"u\" ; c=true\n"
                                      "d = ( { e = 1; }, [ 2, 3 ], \")\" ); f = -1,g=0x1F");
    static const struct {
        const char *name;
        const char *value;
    } EXPECTED[] = {
        {"a", "12"},   {"b", "\"s\\\";t\" // c\n  \"u\""},
        {"c", "true"}, {"d", "( { e = 1; }, [ 2, 3 ], \")\" )"},
        {"f", "-1"},   {"g", "0x1F"},
    };
    struct libconfig_scanner scanner = {text, 0};
    struct libconfig_span span;
    for (size_t i = 0; i < sizeof EXPECTED / sizeof EXPECTED[0]; i++) {
        assert_true(libconfig_next_span(&scanner, &span));
        assert_true(slice_is(span.name, EXPECTED[i].name));
        assert_true(
            slice_is(slice_of(text.data + span.value_start, span.value_end - span.value_start),
                     EXPECTED[i].value));
    }
    assert_false(libconfig_next_span(&scanner, &span));
}

static void test_damaged_texts_end(void **state)
{
    (void)state;
    static const char *const TEXTS[] = {"a",         "a =",     "a = \"", "a = \"x\\",
                                        "/* a = 1;", "a = ( {", "= 1",    "@include",
                                        "a = 1 2 3", ";;;",     "a = )"};
    for (size_t i = 0; i < sizeof TEXTS / sizeof TEXTS[0]; i++) {
        struct slice text = slice_of_cstr(TEXTS[i]);
        struct libconfig_scanner scanner = {text, 0};
        struct libconfig_span span;
        for (int n = 0; libconfig_next_span(&scanner, &span); n++) {
            assert_in_range(n, 0, 10);
            assert_in_range(span.value_end, span.value_start, text.size);
        }
    }
}

static void test_strings_read_back(void **state)
{
    (void)state;
    struct buf text = BUF_EMPTY;
    struct buf out = BUF_EMPTY;
    struct err err = {0};
    buf_append_cstr(&text, "k = ");
    libconfig_append_string(&text, SLICE_LITERAL("a\"b\\c\td\ne caf\xC3\xA9"));
    buf_append_cstr(&text, ";\nn = ");
    libconfig_append_bare(&text, SLICE_LITERAL("-2147483649"));
    buf_append_cstr(&text, ";\nm = ");
    libconfig_append_bare(&text, SLICE_LITERAL("2147483647"));
    assert_int_equal(libconfig_parse("a.conf", buf_slice(&text), add_setting, &out, &err),
                     STATUS_OK);
    buf_append_byte(&out, '\0');
    assert_string_equal((const char *)out.data,
                        "a.conf:1 string k=a\"b\\c\td\ne caf\xC3\xA9\n"
                        "a.conf:2 int n=-2147483649\na.conf:3 int m=2147483647\n");
    buf_release(&text);
    buf_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_settings),
        cmocka_unit_test(test_errors_name_file_and_line),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_damaged_texts_end),
        cmocka_unit_test(test_strings_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
