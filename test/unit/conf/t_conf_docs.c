/* SPDX-License-Identifier: Apache-2.0
 *
 * Shows that docs/configuration.md is what the option tables say. When this fails: `make docs`.
 */
#include "common/conf/conf_docs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

static void test_the_committed_page_is_up_to_date(void **state)
{
    (void)state;
    struct buf page = BUF_EMPTY;
    struct buf committed = BUF_EMPTY;
    conf_docs_append(&page);
    FILE *file = fopen("docs/configuration.md", "r");
    assert_non_null(file);
    size_t got;
    while ((got = fread(buf_reserve(&committed, 65536), 1, 65536, file)) > 0)
        committed.size += got;
    assert_int_equal(fclose(file), 0);
    buf_append_byte(&page, '\0');
    buf_append_byte(&committed, '\0');
    assert_string_equal((const char *)page.data, (const char *)committed.data);
    buf_release(&page);
    buf_release(&committed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_committed_page_is_up_to_date),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
