/* SPDX-License-Identifier: Apache-2.0
 *
 * White lists of addresses: every form of the syntax, what each lets in and keeps out, and what is
 * refused.
 * Source of the rules: RMQ 4.9.2 acl/.../RemoteAddressStrategyFactory.java and its test.
 */
#include "broker/access/address.h"

#include "common/base/limits.h"

#include <stdio.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static bool lets_in(const char *pattern, const char *address)
{
    struct address_list list = ADDRESS_LIST_EMPTY;
    struct err err = {0};
    struct host host;
    assert_true(host_parse(address, 1234, &host));
    if (address_list_add(&list, slice_of_cstr(pattern), &err) != STATUS_OK)
        fail_msg("\"%s\" was refused: %s", pattern, err.text);
    bool result = address_list_has(&list, &host);
    address_list_release(&list);
    return result;
}

struct row {
    const char *pattern;
    const char *inside;
    const char *outside; /* NULL: everybody is inside */
};

static void what_is_inside(void **state)
{
    static const struct row rows[] = {
        {"*", "1.2.3.4", NULL},
        {"*", "fe80::1", NULL},
        {"*.*.*.*", "fe80::1", NULL},
        {"*:*:*:*:*:*:*:*", "1.2.3.4", NULL},
        {"127.0.0.1", "127.0.0.1", "127.0.0.2"},
        {" 127.0.0.1\t", "127.0.0.1", "127.0.0.11"},
        {"127.0.0.1,127.0.0.2,127.0.0.3", "127.0.0.3", "127.0.0.4"},
        {"127.0.0.1,::1", "::1", "::2"},
        {"127.0.0.{1,2,3}", "127.0.0.1", "127.0.0.4"},
        {"127.0.0.{1,2,3}", "127.0.0.3", "127.0.0.0"},
        {"127.0.0.*", "127.0.0.0", "127.0.1.0"},
        {"127.0.0.*", "127.0.0.255", "128.0.0.255"},
        {"127.0.0.1-200", "127.0.0.1", "127.0.0.0"},
        {"127.0.0.1-200", "127.0.0.200", "127.0.0.201"},
        {"127.0.0.0-0", "127.0.0.0", "127.0.0.1"},
        {"127.0.*.*", "127.0.255.7", "127.1.0.7"},
        {"127.0.1-20.*", "127.0.20.9", "127.0.21.9"},
        {"127.1-150.*.*", "127.150.0.0", "127.151.0.0"},
        {"192.100-150.*.*", "192.130.0.2", "192.99.0.2"},
        {"10.1-3.7.8", "10.2.200.201", "10.4.7.8"}, /* what follows a range counts for nothing */
        {"::1", "::1", "::2"},
        {"::1", "0:0:0:0:0:0:0:1", "1::"},
        {"1050:0:0:0:5:600:300C:326b", "1050::5:600:300c:326B", "1050::5:600:300c:326a"},
        {"1050::0005:0600:300c:1,1050::0005:0600:300c:2", "1050::5:600:300c:2",
         "1050::5:600:300c:3"},
        {"1050::0005:0600:300c:{1,2,3}", "1050::5:600:300c:3", "1050::5:600:300c:4"},
        {"1050::0005:0600:300c:1-200", "1050::5:600:300c:200", "1050::5:600:300c:201"},
        {"1050::0005:0600:300c:*", "1050::5:600:300c:ffff", "1050::5:600:300d:0"},
        {"1050:0005:0600:300c:3261:*", "1050:5:600:300c:3261:abcd::", "1050:5:600:300c:3262::"},
        {"1050::0005:0600:300c:3261:1-20:*", "1050::5:600:300c:3261:20:7",
         "1050::5:600:300c:3261:21:7"},
        {"a:b:*", "a:b:c:d:e:f:1:2", "a:c:c:d:e:f:1:2"},
        {"a:b:1-f:*", "a:b:f::", "a:b:10::"},
        {"::ffff:10.0.0.1", "10.0.0.1", "10.0.0.2"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (!lets_in(rows[i].pattern, rows[i].inside))
            fail_msg("\"%s\" keeps out %s", rows[i].pattern, rows[i].inside);
        if (rows[i].outside != NULL && lets_in(rows[i].pattern, rows[i].outside))
            fail_msg("\"%s\" lets in %s", rows[i].pattern, rows[i].outside);
    }
}

static void a_blank_lets_in_nobody(void **state)
{
    (void)state;
    assert_false(lets_in("", "127.0.0.1"));
    assert_false(lets_in(" \t", "::1"));
    assert_false(lets_in("1.2.3.{}", "1.2.3.0"));
}

static void families_do_not_mix(void **state)
{
    (void)state;
    assert_false(lets_in("0.0.0.*", "::1"));
    assert_false(lets_in("0:0:*", "0.0.0.1"));
    assert_true(lets_in("1.2.3.*", "::ffff:1.2.3.4"));
}

static void what_is_refused(void **state)
{
    static const char *const patterns[] = {
        "256.0.0.1",
        "::1ggg",
        "1.2.3",
        "1.2.3.4.5",
        "localhost",
        "127.0.0.1,2,3}",
        "127.0.0.1, 127.0.0.2",
        "::1,2,3}",
        "192.168.{1}",
        "{192.168.1}",
        "{192.168.1.1}",
        "192.168.1.1{2}",
        "192.168.{1.2}",
        "192.168.1.{1",
        "fe80::{1:2}",
        "127.0.0.-1-200",
        "127.0.0.0-256",
        "127.0.0.9-1",
        "127.0.0.1-2-3",
        "127.0.0.1-",
        "127.0.0.-",
        "127.0.256.*",
        "127.x.0.*",
        "127.*",
        "127.0.*",
        "127.0.0.0.*",
        "*.0.0.1",
        "1-2.0.0.1",
        "1.2.3.4/24",
        "*::1",
        "a:*:b",
        "a:1-2:b",
        "a:b:1-2:3-4:*",
        "a:b:c-",
        "a:b:f-1",
        "a:b:g-h",
        "::*",
        "a::b::*",
        ":a:*",
        "a:b:c:d:e:f:1:2:*",
        "a:b:c:d:e:f::1:2:*",
        "12345:*",
        "*:*",
        "1.2.3.4:*",
    };
    (void)state;
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
        struct address_list list = ADDRESS_LIST_EMPTY;
        struct err err = {0};
        if (address_list_add(&list, slice_of_cstr(patterns[i]), &err) != STATUS_MALFORMED)
            fail_msg("\"%s\" was taken", patterns[i]);
        assert_non_null(strstr(err.text, patterns[i])); /* the message names it */
        address_list_release(&list);
    }
}

static void there_is_a_limit(void **state)
{
    struct address_list list = ADDRESS_LIST_EMPTY;
    struct err err = {0};
    (void)state;
    for (int i = 0; i < ACL_RANGES_MAX; i++) {
        char text[32];
        (void)snprintf(text, sizeof text, "10.%d.%d.*", i / 256, i % 256);
        assert_int_equal(address_list_add(&list, slice_of_cstr(text), &err), STATUS_OK);
    }
    assert_int_equal(address_list_add(&list, SLICE_LITERAL("11.0.0.*"), &err), STATUS_TOO_LARGE);
    address_list_release(&list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_inside),      cmocka_unit_test(a_blank_lets_in_nobody),
        cmocka_unit_test(families_do_not_mix), cmocka_unit_test(what_is_refused),
        cmocka_unit_test(there_is_a_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
