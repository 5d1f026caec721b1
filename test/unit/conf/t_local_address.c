/* SPDX-License-Identifier: Apache-2.0
 *
 * Shows which of a machine's addresses a broker advertises (docs/configuration.md, brokerIP1).
 */
#include "common/conf/local_address.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>

static void test_choice(void **state)
{
    (void)state;
    static const char *const MIXED[] = {"127.0.0.1", "192.168.122.1", "10.0.0.5", "172.17.0.1"};
    assert_string_equal(local_address_choose(MIXED, 4), "10.0.0.5");
    assert_string_equal(local_address_choose(MIXED, 2), "192.168.122.1");
    assert_string_equal(local_address_choose(MIXED, 1), "127.0.0.1");
    assert_string_equal(local_address_choose(MIXED, 0), "127.0.0.1");
    static const char *const NEAR[] = {"192.168.1.2", "192.169.1.2"};
    assert_string_equal(local_address_choose(NEAR, 2), "192.169.1.2");
}

static void test_this_machine_has_one(void **state)
{
    (void)state;
    char text[LOCAL_ADDRESS_BYTES];
    struct in_addr address;
    local_address_find(text);
    assert_int_equal(inet_pton(AF_INET, text, &address), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_choice),
        cmocka_unit_test(test_this_machine_has_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
