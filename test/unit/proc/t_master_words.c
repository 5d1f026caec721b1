/* SPDX-License-Identifier: Apache-2.0
 *
 * Whom a slave follows: what the name servers say, agree, disagree, forget and do not answer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "broker/proc/master_words.h"

#include <string.h>

static struct master_words two(const char *first, const char *second)
{
    struct master_words words;
    memset(&words, 0, sizeof words);
    words.count = 2;
    master_words_set(&words, 0, first != NULL, first, first == NULL ? NULL : "ha");
    master_words_set(&words, 1, second != NULL, second, second == NULL ? NULL : "ha");
    return words;
}

static void one_that_is_named_is_followed(void **state)
{
    (void)state;
    struct master_words words = two("", "b");
    assert_int_equal(master_words_decide(&words), MASTER_OTHER);
    assert_string_equal(words.followed.master, "b");
    assert_string_equal(words.followed.ha_address, "ha");
    assert_false(words.disagree);
    assert_int_equal(master_words_decide(&words), MASTER_SAME);
    master_words_set(&words, 1, true, "b", "ha2");
    assert_int_equal(master_words_decide(&words), MASTER_OTHER);
    assert_string_equal(words.followed.ha_address, "ha2");
}

static void who_is_followed_stays_while_anybody_names_it(void **state)
{
    (void)state;
    struct master_words words = two(NULL, "b");
    (void)master_words_decide(&words);
    master_words_set(&words, 0, true, "a", "ha");
    assert_int_equal(master_words_decide(&words), MASTER_SAME);
    assert_string_equal(words.followed.master, "b");
    assert_true(words.disagree);
    master_words_set(&words, 1, false, NULL, NULL); /* not reached: its word is no longer heard */
    assert_int_equal(master_words_decide(&words), MASTER_OTHER);
    assert_string_equal(words.followed.master, "a");
    assert_false(words.disagree);
}

static void nobody_names_one_any_more(void **state)
{
    (void)state;
    struct master_words words = two("a", "a");
    (void)master_words_decide(&words);
    master_words_set(&words, 0, true, NULL, NULL);
    assert_int_equal(master_words_decide(&words), MASTER_SAME);
    master_words_set(&words, 1, true, NULL, NULL);
    assert_int_equal(master_words_decide(&words), MASTER_NONE);
    assert_string_equal(words.followed.master, "");
    assert_string_equal(words.followed.ha_address, "ha"); /* its log is followed on */
    assert_int_equal(master_words_decide(&words), MASTER_SAME);
}

static void nobody_answers(void **state)
{
    (void)state;
    struct master_words words = two("a", "a");
    (void)master_words_decide(&words);
    master_words_set(&words, 0, false, NULL, NULL);
    master_words_set(&words, 1, false, NULL, NULL);
    assert_int_equal(master_words_decide(&words), MASTER_SAME);
    assert_string_equal(words.followed.master, "a");
}

static void too_long_an_address_is_none(void **state)
{
    (void)state;
    char address[MASTER_ADDRESS_BYTES + 1];
    memset(address, '1', sizeof address - 1);
    address[sizeof address - 1] = '\0';
    struct master_words words = two(address, NULL);
    assert_int_equal(master_words_decide(&words), MASTER_SAME);
    assert_string_equal(words.followed.master, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_that_is_named_is_followed),
        cmocka_unit_test(who_is_followed_stays_while_anybody_names_it),
        cmocka_unit_test(nobody_names_one_any_more),
        cmocka_unit_test(nobody_answers),
        cmocka_unit_test(too_long_an_address_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
