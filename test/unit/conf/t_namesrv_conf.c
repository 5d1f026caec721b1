/* SPDX-License-Identifier: Apache-2.0
 *
 * Shows the name server's table and what is worked out after loading. Source: behaviour rules
 * NS-15, NS-33 (docs/configuration.md); test/data/conf/defaults-4.9.2.tsv.
 */
#include "common/conf/namesrv_conf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

static void fail_on_warning(void *ctx, const char *text)
{
    (void)ctx;
    fail_msg("%s", text);
}

static int set_up(void **state)
{
    (void)state;
    return setenv("HOME", "/srv/someone", 1);
}

static void test_defaults(void **state)
{
    (void)state;
    struct namesrv_conf values;
    struct conf conf;
    namesrv_conf_init(&values, &conf);
    assert_int_equal(namesrv_conf_finish(&conf, fail_on_warning, NULL, NULL), STATUS_OK);
    assert_int_equal(values.listenPort, 9876);
    assert_int_equal(values.serverSocketSndBufSize, 65535);
    assert_int_equal(values.serverChannelMaxIdleTimeSeconds, 120);
    assert_false(values.orderMessageEnable);
    assert_false(values.clusterTest);
    assert_string_equal(values.productEnvName, "center");
    assert_string_equal(values.kvConfigPath, "/srv/someone/namesrv/kvConfig.json");
    assert_string_equal(values.configStorePath, "/srv/someone/namesrv/namesrv.properties");
    assert_string_equal(values.logFile, "/srv/someone/logs/rocketmqlogs/namesrv.log");
    conf_release(&conf);
}

static void test_the_sample_file(void **state)
{
    (void)state;
    struct namesrv_conf values;
    struct conf conf;
    struct err err = {0};
    namesrv_conf_init(&values, &conf);
    assert_int_equal(conf_load_file(&conf, "conf/namesrv.conf", fail_on_warning, NULL, &err),
                     STATUS_OK);
    assert_int_equal(namesrv_conf_finish(&conf, fail_on_warning, NULL, &err), STATUS_OK);
    assert_int_equal(values.listenPort, 9876);
    assert_string_equal(values.configStorePath, conf_file_path(&conf));
    conf_release(&conf);
}

static void test_updates(void **state)
{
    (void)state;
    struct namesrv_conf values;
    struct conf conf;
    struct err err = {0};
    namesrv_conf_init(&values, &conf);
    assert_int_equal(
        conf_update(&conf, SLICE_LITERAL("orderMessageEnable=true\nlistenPort=1"), &err),
        STATUS_OK);
    assert_true(values.orderMessageEnable);
    assert_int_equal(values.listenPort, 9876);
    assert_int_equal(conf_update(&conf, SLICE_LITERAL("orderMessageEnable=maybe"), &err),
                     STATUS_INVALID);
    assert_true(values.orderMessageEnable);
    conf_release(&conf);
}

static void test_boot(void **state)
{
    (void)state;
    struct namesrv_conf values;
    struct conf conf;
    int exit_code = -1;
    char word[] = "mqnamesrv", n[] = "-n", addr[] = "ignored", wrong[] = "--wrong";
    char *good[] = {word, n, addr, NULL};
    char *bad[] = {word, wrong, NULL};
    assert_true(namesrv_conf_boot(3, good, &values, &conf, &exit_code));
    conf_release(&conf);
    assert_false(namesrv_conf_boot(2, bad, &values, &conf, &exit_code));
    assert_int_equal(exit_code, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_the_sample_file),
        cmocka_unit_test(test_updates),
        cmocka_unit_test(test_boot),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
