/* SPDX-License-Identifier: Apache-2.0
 *
 * Thousands of expressions over some 70 property strings: the same compile, and give the same
 * results, as with RocketMQ 4.9.2's own filter. test/data/filter.tsv is what that said;
 * test/interop/java-filter writes it and checks it.
 */
#include "broker/filter/sql_filter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "test/unit/support/tsv.h"

static uint8_t hex_digit(uint8_t byte)
{
    return (uint8_t)(byte <= '9' ? byte - '0' : byte - 'A' + 10);
}

/* Text with \xHH for bytes. */
static struct slice unescape(struct arena *arena, struct slice text)
{
    uint8_t *out = arena_alloc(arena, text.size + 1);
    size_t size = 0;
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] == '\\') {
            out[size++] = (uint8_t)(hex_digit(text.data[i + 2]) << 4 | hex_digit(text.data[i + 3]));
            i += 3;
        } else {
            out[size++] = text.data[i];
        }
    }
    return slice_of(out, size);
}

static const char letters[] = {[SQL_RESULT_FALSE] = 'F',
                               [SQL_RESULT_TRUE] = 'T',
                               [SQL_RESULT_NULL] = 'N',
                               [SQL_RESULT_ERROR] = 'E'};

/* How many results of one expression are not as they should be. */
static int check_row(struct slice expression, struct slice shown, struct slice results,
                     const struct slice *properties)
{
    struct sql_filter *filter = NULL;
    struct err err = {0};
    bool compiles = sql_filter_compile(expression, &filter, &err) == STATUS_OK;
    int wrong = 0;
    if (compiles != !slice_is(results, "X")) {
        print_error("%.*s: %s\n", SLICE_ARGS(shown), compiles ? "compiles" : err.text);
        wrong = 1;
    } else if (!compiles) {
        assert_non_null(strstr(err.text, "character "));
    }
    for (size_t i = 0; compiles && wrong == 0 && i < results.size; i++) {
        char letter = letters[sql_filter_evaluate(filter, properties[i])];
        if (letter == (char)results.data[i])
            continue;
        print_error("%.*s over %.*s: %c, not %c\n", SLICE_ARGS(shown), SLICE_ARGS(properties[i]),
                    letter, results.data[i]);
        wrong++;
    }
    if (compiles)
        sql_filter_free(filter);
    return wrong;
}

static void everything_is_as_in_apaches_filter(void **state)
{
    (void)state;
    struct tsv table;
    struct slice properties[256];
    size_t property_count = 0;
    size_t expressions = 0;
    int wrong = 0;
    tsv_load(&table, "test/data/filter.tsv");
    for (size_t row = 0; row < table.row_count; row++) {
        struct slice shown = tsv_cell(&table, row, "text");
        struct slice text = unescape(&table.arena, shown);
        if (slice_is(tsv_cell(&table, row, "kind"), "P")) {
            assert_true(property_count < sizeof properties / sizeof properties[0]);
            properties[property_count++] = text;
            continue;
        }
        struct slice results = tsv_cell(&table, row, "results");
        assert_true(results.size == property_count || slice_is(results, "X"));
        wrong += check_row(text, shown, results, properties);
        expressions++;
    }
    tsv_release(&table);
    assert_true(expressions > 5000);
    assert_true(property_count > 50);
    assert_int_equal(wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_is_as_in_apaches_filter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
