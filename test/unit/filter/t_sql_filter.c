/* SPDX-License-Identifier: Apache-2.0
 *
 * What t_table.c does not show of SQL92 filters: the words of errors and the places they name, the
 * limits, what is ignored, and that no expression costs more memory or stack than it may.
 */
#include "broker/filter/sql_filter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/buf.h"

static struct sql_filter *compile(const char *expression)
{
    struct sql_filter *filter = NULL;
    struct err err = {0};
    if (sql_filter_compile(slice_of_cstr(expression), &filter, &err) != STATUS_OK)
        fail_msg("%s: %s", expression, err.text);
    return filter;
}

static void assert_error(const char *expression, const char *text)
{
    struct sql_filter *filter = NULL;
    struct err err = {0};
    assert_int_equal(sql_filter_compile(slice_of_cstr(expression), &filter, &err),
                     STATUS_MALFORMED);
    assert_string_equal(err.text, text);
}

static void errors_name_the_place_and_the_cause(void **state)
{
    (void)state;
    assert_error("", "the expression is wrong at character 1: the expression ends where a "
                     "property, a value, NOT or "
                     "\"(\" belongs");
    assert_error("a > 3 AND",
                 "the expression is wrong at character 10: the expression ends where a property, a "
                 "value, NOT or \"(\" belongs");
    assert_error("a = 'open",
                 "the expression is wrong at character 5: the string has no closing quote");
    assert_error("a > 4 #",
                 "the expression is wrong at character 7: found \"#\" where an operator or the end "
                 "belongs");
    assert_error("a = '\303\251' AND \303\251 = 1",
                 "the expression is wrong at character 13: this character is allowed in strings "
                 "only; a property, a "
                 "value, NOT or \"(\" belongs here");
    assert_error("a IN (5)",
                 "the expression is wrong at character 7: found \"5\" where a string belongs");
    assert_error("a IN ('x' 'y')",
                 "the expression is wrong at character 11: found \"'y'\" where \",\" or \")\" "
                 "belongs");
    assert_error("5 IN ('5')",
                 "the expression is wrong at character 1: IN wants a property in front of it");
    assert_error("(a > 4",
                 "the expression is wrong at character 7: the expression ends where \")\" belongs");
    assert_error("a NOT LIKE 'x'",
                 "the expression is wrong at character 7: found \"LIKE\" where BETWEEN or IN "
                 "belongs");
    assert_error(
        "a IS 5",
        "the expression is wrong at character 6: found \"5\" where NULL or NOT NULL belongs");
    assert_error("a BETWEEN 5",
                 "the expression is wrong at character 12: the expression ends where AND belongs");
    assert_error("a BETWEEN 5 AND 1",
                 "the expression is wrong at character 11: BETWEEN wants the smaller number "
                 "first: nothing can match");
    assert_error(
        "a > 'x'",
        "the expression is wrong at character 5: a string can not be compared by >, >=, <, <= or "
        "BETWEEN: only numbers and properties can");
    assert_error(
        "a > TRUE",
        "the expression is wrong at character 5: a condition can not be compared by >, >=, <, "
        "<= or BETWEEN: only numbers and properties can");
    assert_error(
        "a = NULL",
        "the expression is wrong at character 5: NULL can not be compared: write IS NULL or IS "
        "NOT NULL");
    assert_error(
        "TRUE = 'x'",
        "the expression is wrong at character 8: TRUE and FALSE can not be compared with a "
        "number or a string");
    assert_error("a = 1 AND 5",
                 "the expression is wrong at character 11: a condition belongs here, not a value: "
                 "compare it with something");
    assert_error("a = 9223372036854775808",
                 "the expression is wrong at character 5: the number 9223372036854775808 "
                 "is too large");
    assert_error("a = 1e999",
                 "the expression is wrong at character 5: the number 1e999 is too large");
    assert_error("a = 0.0",
                 "the expression is wrong at character 5: the number 0.0 is too small: the zero is "
                 "written 0");
}

static void what_is_ignored_is_told(void **state)
{
    (void)state;
    static const struct {
        const char *expression;
        size_t ignored;
    } cases[] = {{"a > 4", 0},      {"a > 4 -- really\n", 0},           {"a > 4 foo", 7},
                 {"a LIKE 'x'", 3}, {"a = '\303\251\303\251' foo", 10}, {"a = 007", 6}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct sql_filter *filter = compile(cases[i].expression);
        assert_int_equal(sql_filter_ignored(filter), cases[i].ignored);
        sql_filter_free(filter);
    }
}

/* `count` times `piece`, between two others. */
static struct slice repeat(struct buf *text, const char *front, const char *piece, int count,
                           const char *end)
{
    buf_clear(text);
    buf_append_cstr(text, front);
    for (int i = 0; i < count; i++)
        buf_append_cstr(text, piece);
    buf_append_cstr(text, end);
    return buf_slice(text);
}

static enum status status_of(struct slice expression)
{
    struct sql_filter *filter = NULL;
    struct err err = {0};
    enum status status = sql_filter_compile(expression, &filter, &err);
    if (status == STATUS_OK) {
        assert_true(sql_filter_bytes(filter) < 1024 * 1024);
        (void)sql_filter_evaluate(filter, SLICE_LITERAL("a\001x"));
        sql_filter_free(filter);
    } else {
        assert_true(err.text[0] != '\0');
    }
    return status;
}

static void limits_hold(void **state)
{
    (void)state;
    struct buf text = BUF_EMPTY;
    /* Each parenthesis is a level, and what stands in the innermost. */
    assert_int_equal(status_of(repeat(&text, "", "(", SQL_DEPTH_MAX - 1, "a")), STATUS_MALFORMED);
    assert_int_equal(status_of(repeat(&text, "", "(", SQL_DEPTH_MAX, "a")), STATUS_TOO_LARGE);
    assert_int_equal(status_of(repeat(&text, "", "NOT ", SQL_DEPTH_MAX - 1, "a")), STATUS_OK);
    assert_int_equal(status_of(repeat(&text, "", "-", 60000, "a")), STATUS_TOO_LARGE);
    assert_int_equal(status_of(repeat(&text, "a='x'", " OR a='x'", 2000, "")), STATUS_OK);
    assert_int_equal(status_of(repeat(&text, "a='x'", " OR a='x'", 4000, "")), STATUS_TOO_LARGE);
    assert_int_equal(status_of(repeat(&text, "a IN ('x'", ",'x'", 16000, ")")), STATUS_OK);
    assert_int_equal(status_of(repeat(&text, "a = 1", " ", SQL_EXPRESSION_BYTES_MAX - 5, "")),
                     STATUS_OK);
    assert_int_equal(status_of(repeat(&text, "a = 1", " ", SQL_EXPRESSION_BYTES_MAX - 4, "")),
                     STATUS_TOO_LARGE);
    for (int names = SQL_NAMES_MAX; names <= SQL_NAMES_MAX + 1; names++) {
        buf_clear(&text);
        for (int i = 0; i < names; i++)
            buf_printf(&text, "%sp%d = 1", i == 0 ? "" : " AND ", i);
        assert_int_equal(status_of(buf_slice(&text)),
                         names > SQL_NAMES_MAX ? STATUS_TOO_LARGE : STATUS_OK);
    }
    buf_release(&text);
}

/* The deepest stack: every level leaves as much on it as it can. */
static void the_deepest_nesting_fits_the_stack(void **state)
{
    (void)state;
    struct buf text = BUF_EMPTY;
    const int levels = SQL_DEPTH_MAX / 2 - 1;
    for (int i = 0; i < levels; i++)
        buf_append_cstr(&text, "b = '2' OR NOT b = '2' AND a = x BETWEEN 1 AND -(");
    buf_append_cstr(&text, "a = 1");
    for (int i = 0; i < levels; i++)
        buf_append_byte(&text, ')');
    assert_int_equal(status_of(buf_slice(&text)), STATUS_OK);
    buf_release(&text);
}

/* Many names: those of a message are found by search. */
static void many_names_are_found(void **state)
{
    (void)state;
    struct buf text = BUF_EMPTY;
    struct buf properties = BUF_EMPTY;
    for (int i = 0; i < 200; i++) {
        buf_printf(&text, "%sp%d = %d", i == 0 ? "" : " AND ", i * 7 % 200, i * 7 % 200);
        buf_printf(&properties, "p%d\001%d\002q%d\001x\002", i, i, i);
    }
    buf_append_byte(&text, '\0');
    struct sql_filter *filter = compile((const char *)text.data);
    assert_true(sql_filter_matches(filter, buf_slice(&properties)));
    buf_append_cstr(&properties, "p13\00114\002");
    assert_int_equal(sql_filter_evaluate(filter, buf_slice(&properties)), SQL_RESULT_FALSE);
    sql_filter_free(filter);
    buf_release(&text);
    buf_release(&properties);
}

/* A number may have SQL_NUMBER_BYTES_MAX characters; the property is one of more. */
static void endless_numbers_are_none(void **state)
{
    (void)state;
    struct buf properties = BUF_EMPTY;
    struct sql_filter *whole = compile("a = 5");
    struct sql_filter *broken = compile("a = 5.5");
    (void)repeat(&properties, "a\001", "0", 1023, "5");
    assert_int_equal(sql_filter_evaluate(whole, buf_slice(&properties)), SQL_RESULT_TRUE);
    assert_int_equal(sql_filter_evaluate(broken, buf_slice(&properties)), SQL_RESULT_FALSE);
    (void)repeat(&properties, "a\001", "0", 1024, "5");
    assert_int_equal(sql_filter_evaluate(whole, buf_slice(&properties)), SQL_RESULT_ERROR);
    assert_int_equal(sql_filter_evaluate(broken, buf_slice(&properties)), SQL_RESULT_ERROR);
    sql_filter_free(whole);
    sql_filter_free(broken);
    buf_release(&properties);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_name_the_place_and_the_cause),
        cmocka_unit_test(what_is_ignored_is_told),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(the_deepest_nesting_fits_the_stack),
        cmocka_unit_test(many_names_are_found),
        cmocka_unit_test(endless_numbers_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
