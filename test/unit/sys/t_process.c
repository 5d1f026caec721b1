/* SPDX-License-Identifier: Apache-2.0
 *
 * What the machine allows: descriptors are raised to the hard limit and no further, and are then
 * really to be had.
 */
#include "common/sys/process.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static void descriptors_are_raised(void **state)
{
    (void)state;
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    rlim_t hard = limit.rlim_max < 256 ? limit.rlim_max : 256;
    limit = (struct rlimit){64, hard};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(process_descriptors_max(), 64);
    assert_int_equal(fcntl(0, F_DUPFD, 100), -1);
    assert_int_equal(process_raise_descriptors(), (int64_t)hard);
    assert_int_equal(process_raise_descriptors(), (int64_t)hard);
    int fd = fcntl(0, F_DUPFD, 100);
    assert_true(fd >= 100);
    assert_int_equal(close(fd), 0);
}

static void mappings_are_known(void **state)
{
    (void)state;
    assert_true(process_mappings_max() >= 1000);
}

static void the_run_of_the_machine_has_a_name(void **state)
{
    (void)state;
    char first[MACHINE_BOOT_BYTES];
    char second[MACHINE_BOOT_BYTES];
    process_machine_boot(first);
    process_machine_boot(second);
    assert_string_equal(first, second);
    assert_null(strchr(first, '\n'));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(descriptors_are_raised),
        cmocka_unit_test(mappings_are_known),
        cmocka_unit_test(the_run_of_the_machine_has_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
