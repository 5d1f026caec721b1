/* SPDX-License-Identifier: Apache-2.0
 *
 * Shows where the settings of TLS come from, which goes before which, under which names, and what
 * of them is shown. Source: TlsSystemConfig and TlsHelper of RocketMQ 4.9.2; docs/tls.md.
 */
#include "common/conf/tls_conf.h"

#include "common/conf/broker_conf.h"
#include "common/conf/namesrv_conf.h"
#include "test/unit/support/folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char folder[FOLDER_BYTES];
static char file[FOLDER_BYTES + 32];

static struct broker_conf values;
static struct conf conf;
static int warnings;

static void count_warning(void *ctx, const char *text)
{
    (void)ctx;
    (void)text;
    warnings++;
}

static int begin(void **state)
{
    (void)state;
    (void)unsetenv("JAVA_OPT");
    (void)unsetenv("JAVA_OPT_EXT");
    (void)setenv("HOME", "/srv/someone", 1);
    folder_make("tls-conf", folder);
    (void)snprintf(file, sizeof file, "%s/tls.properties", folder);
    broker_conf_init(&values, &conf);
    warnings = 0;
    return 0;
}

static int end(void **state)
{
    (void)state;
    conf_release(&conf);
    folder_remove(folder);
    return 0;
}

static void write_file(const char *text)
{
    FILE *out = fopen(file, "w");
    assert_non_null(out);
    (void)fputs(text, out);
    assert_int_equal(fclose(out), 0);
}

static enum status load(struct err *err)
{
    return tls_conf_load_file(&conf, count_warning, NULL, err);
}

static void names_with_dots_and_without(void **state)
{
    (void)state;
    struct err err = {0};
    assert_int_equal(conf_set(&conf, "tls.server.need.client.auth", "require", "t", &err),
                     STATUS_OK);
    assert_int_equal(values.tlsServerNeedClientAuth, TLS_CLIENT_AUTH_REQUIRE);
    assert_int_equal(conf_set(&conf, "tlsServerMode", "enforcing", "t", &err), STATUS_OK);
    assert_int_equal(values.tlsServerMode, TLS_MODE_ENFORCING);
    static const char *const none[] = {"tls.server.mode.", "tls.server.mod", "tls.", "listen.port"};
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
        if (conf_set(&conf, none[i], "disabled", "t", &err) == STATUS_OK)
            fail_msg("%s is taken for a key", none[i]);
}

static void java_options_then_the_file(void **state)
{
    (void)state;
    struct err err = {0};
    (void)setenv("JAVA_OPT", "-Xmx1g -Dtls.server.keyPath=/a -Dtls.server.certPath=/b", 1);
    (void)setenv("JAVA_OPT_EXT", "-Dtls.server.keyPath=/c -Dtls.server.need.client.auth=OPTIONAL",
                 1);
    assert_int_equal(tls_conf_apply_environment(&conf, &err), STATUS_OK);
    assert_string_equal(values.tlsServerKeyPath, "/c");
    assert_string_equal(values.tlsServerCertPath, "/b");
    assert_int_equal(values.tlsServerNeedClientAuth, TLS_CLIENT_AUTH_OPTIONAL);
    assert_int_equal(conf_set(&conf, "tls.config.file", file, "t", &err), STATUS_OK);
    write_file("tls.server.certPath=/d\ntls.client.authServer=true\n"
               "tls.server.mode=disabled\nsomething=else\n");
    assert_int_equal(load(&err), STATUS_OK);
    assert_string_equal(values.tlsServerCertPath, "/d");
    assert_true(values.tlsClientAuthServer);
    assert_int_equal(values.tlsServerMode, TLS_MODE_PERMISSIVE);
    assert_int_equal(warnings, 2);
}

static void bad_files_are_told(void **state)
{
    (void)state;
    struct err err = {0};
    assert_int_equal(load(&err), STATUS_OK); /* the default's name need not be there */
    assert_int_equal(conf_set(&conf, "tls.config.file", file, "t", &err), STATUS_OK);
    assert_int_equal(load(&err), STATUS_INVALID);
    assert_non_null(strstr(err.text, file));
    write_file("# a comment\ntls.server.authClient=perhaps\n");
    assert_int_equal(load(&err), STATUS_INVALID);
    assert_non_null(strstr(err.text, "tls.properties:2"));
    write_file("tls.server.keyPath=\\u00\n");
    assert_int_equal(load(&err), STATUS_MALFORMED);
    assert_non_null(strstr(err.text, file));
    (void)setenv("JAVA_OPT", "-Dtls.server.mode=strict", 1);
    assert_int_equal(tls_conf_apply_environment(&conf, &err), STATUS_INVALID);
    assert_non_null(strstr(err.text, "-Dtls.server.mode in JAVA_OPT"));
}

/* useTLS, else tls.enable, else whether the server enforces it. */
static void whether_calls_use_it(void **state)
{
    (void)state;
    static const struct {
        const char *use;
        const char *enable;
        const char *mode;
        bool used;
    } cases[] = {
        {NULL, NULL, NULL, false},
        {NULL, NULL, "enforcing", true},
        {NULL, "true", NULL, true},
        {NULL, "false", "enforcing", false},
        {"false", "true", "enforcing", false},
        {"true", "false", "disabled", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct err err = {0};
        conf_release(&conf);
        broker_conf_init(&values, &conf);
        if (cases[i].use != NULL)
            assert_int_equal(conf_set(&conf, "useTLS", cases[i].use, "t", &err), STATUS_OK);
        if (cases[i].enable != NULL)
            assert_int_equal(conf_set(&conf, "tls.enable", cases[i].enable, "t", &err), STATUS_OK);
        if (cases[i].mode != NULL)
            assert_int_equal(conf_set(&conf, "tls.server.mode", cases[i].mode, "t", &err),
                             STATUS_OK);
        if (broker_conf_finish(&conf, NULL, NULL, &err) != STATUS_OK)
            fail_msg("%s", err.text);
        assert_int_equal(values.useTLS, cases[i].used);
    }
}

static void passwords_are_shown_nowhere(void **state)
{
    (void)state;
    struct err err = {0};
    struct buf out = BUF_EMPTY;
    assert_int_equal(conf_set(&conf, "tls.server.keyPassword", "sesame", "t", &err), STATUS_OK);
    conf_list(&conf, &out);
    conf_print(&conf, false, &out);
    assert_null(memmem(out.data, out.size, "sesame", 6));
    assert_non_null(memmem(out.data, out.size, "tlsServerKeyPassword = *", 24));
    buf_release(&out);
}

/* The name server knows nothing of calls, and takes a file that both servers read. */
static void the_name_server_passes_over_clients_settings(void **state)
{
    (void)state;
    struct err err = {0};
    struct namesrv_conf of_name_server;
    struct conf other;
    namesrv_conf_init(&of_name_server, &other);
    (void)setenv("JAVA_OPT", "-Dtls.enable=true -Dtls.client.authServer=true", 1);
    assert_int_equal(tls_conf_apply_environment(&other, &err), STATUS_OK);
    assert_int_equal(conf_set(&other, "tls.config.file", file, "t", &err), STATUS_OK);
    write_file("tls.client.keyPath=/k\ntls.server.keyPath=/s\n");
    assert_int_equal(tls_conf_load_file(&other, count_warning, NULL, &err), STATUS_OK);
    assert_string_equal(of_name_server.tlsServerKeyPath, "/s");
    assert_int_equal(warnings, 0);
    conf_release(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(names_with_dots_and_without, begin, end),
        cmocka_unit_test_setup_teardown(java_options_then_the_file, begin, end),
        cmocka_unit_test_setup_teardown(bad_files_are_told, begin, end),
        cmocka_unit_test_setup_teardown(whether_calls_use_it, begin, end),
        cmocka_unit_test_setup_teardown(passwords_are_shown_nowhere, begin, end),
        cmocka_unit_test_setup_teardown(the_name_server_passes_over_clients_settings, begin, end),
    };
    return cmocka_run_group_tests_name("tls_conf", tests, NULL, NULL);
}
