/* SPDX-License-Identifier: Apache-2.0
 *
 * Contexts made from settings, what is said when they can not be made, and their renewal while
 * files change. What contexts are good for shows in handshakes between two of them in memory.
 *
 * Source of the rules: TlsHelper and TlsSystemConfig of RocketMQ 4.9.2; where we differ,
 * docs/tls.md.
 */
#include "common/base/check.h"
#include "common/sys/log.h"
#include "common/tls/tls.h"
#include "test/unit/support/certificates.h"
#include "test/unit/support/folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[FOLDER_BYTES];

/* A path in the folder; one of eight that are valid at a time. */
static const char *in_folder(const char *name)
{
    static char paths[8][256];
    static int next;
    char *path = paths[next++ % 8];
    (void)snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static int setup(void **state)
{
    (void)state;
    folder_make("tls", folder);
    certificate_make(folder, "ca", NULL, KEY_P256, NULL);
    certificate_make(folder, "other-ca", NULL, KEY_P256, NULL);
    certificate_make(folder, "server", "ca", KEY_RSA_2048, NULL);
    certificate_make(folder, "client", "ca", KEY_P256, "secret");
    certificate_make(folder, "stranger", "other-ca", KEY_P256, NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    folder_remove(folder);
    return 0;
}

/* The texts are kept. */
static struct tls_side side(const char *name, const char *password, const char *trust)
{
    static char texts[32][300];
    static int next;
    struct tls_side made = {"", password, "", "", trust != NULL};
    const char **fields[] = {&made.cert_path, &made.key_path, &made.trust_path};
    const char *names[] = {name, name, trust};
    const char *endings[] = {"cert", "key", "cert"};
    for (int i = 0; i < 3; i++) {
        if (names[i] == NULL)
            continue;
        char *text = texts[next++ % 32];
        (void)snprintf(text, sizeof texts[0], "%s/%s.%s", folder, names[i], endings[i]);
        *fields[i] = text;
    }
    return made;
}

static struct tls_settings settings_of(struct tls_side server, struct tls_side client)
{
    return (struct tls_settings){.sides = {server, client}};
}

/* --- two of them --- */

static bool shake(SSL *one, SSL *other)
{
    for (int i = 0; i < 20; i++) {
        int first = SSL_do_handshake(one);
        int second = SSL_do_handshake(other);
        if (first == 1 && second == 1) {
            /* With TLS 1.3 a client is done before the server has looked at its certificate. */
            char byte;
            return SSL_write(other, "x", 1) == 1 && SSL_read(one, &byte, 1) == 1;
        }
        if ((first != 1 && SSL_get_error(one, first) != SSL_ERROR_WANT_READ) ||
            (second != 1 && SSL_get_error(other, second) != SSL_ERROR_WANT_READ))
            return false;
    }
    return false;
}

/* Of the last agreement: does the server hold a certificate of the client's? */
static bool server_holds_one;

/* Do they come to terms? name  out: whose certificate the client was shown; may be NULL */
static bool agree(SSL_CTX *server, SSL_CTX *client, int version, char name[64])
{
    SSL *accepting = SSL_new(server);
    SSL *connecting = SSL_new(client);
    BIO *near;
    BIO *far;
    assert_int_equal(BIO_new_bio_pair(&near, 0, &far, 0), 1);
    SSL_set_bio(accepting, near, near);
    SSL_set_bio(connecting, far, far);
    SSL_set_accept_state(accepting);
    SSL_set_connect_state(connecting);
    if (version != 0)
        SSL_set_max_proto_version(connecting, version);
    bool good = shake(connecting, accepting);
    if (name != NULL && good)
        X509_NAME_get_text_by_NID(X509_get_subject_name(SSL_get0_peer_certificate(connecting)),
                                  NID_commonName, name, 64);
    server_holds_one = SSL_get0_peer_certificate(accepting) != NULL;
    SSL_free(accepting);
    SSL_free(connecting);
    ERR_clear_error();
    return good;
}

static struct tls *make(const struct tls_settings *settings)
{
    struct tls *tls;
    struct err err = {0};
    if (tls_new(settings, TLS_SIDE_SERVER | TLS_SIDE_CLIENT, &tls, &err) != STATUS_OK)
        fail_msg("%s", err.text);
    return tls;
}

static bool agree_as(const struct tls_settings *settings, int version)
{
    struct tls *tls = make(settings);
    SSL_CTX *server = tls_context(tls, TLS_SERVER);
    SSL_CTX *client = tls_context(tls, TLS_CLIENT);
    bool good = agree(server, client, version, NULL);
    SSL_CTX_free(server);
    SSL_CTX_free(client);
    tls_free(tls);
    return good;
}

static void test_mode_needs_nothing(void **state)
{
    (void)state;
    struct tls_side none = side(NULL, "", NULL);
    struct tls_settings settings = settings_of(none, none);
    settings.test_mode = true;
    assert_true(agree_as(&settings, 0));
    assert_true(agree_as(&settings, TLS1_2_VERSION));
    assert_false(agree_as(&settings, TLS1_1_VERSION));
}

/* Anybody could have a server keep half a megabyte for each connection. */
static void test_mode_keeps_no_certificates(void **state)
{
    (void)state;
    struct tls_side none = side(NULL, "", NULL);
    struct tls_settings with_files = settings_of(none, side("client", "secret", NULL));
    struct tls_settings in_test_mode = settings_of(none, none);
    in_test_mode.test_mode = true;
    struct tls *client = NULL;
    struct tls *server = make(&in_test_mode);
    assert_int_equal(tls_new(&with_files, TLS_SIDE_CLIENT, &client, NULL), STATUS_OK);
    SSL_CTX *accepting = tls_context(server, TLS_SERVER);
    SSL_CTX *connecting = tls_context(client, TLS_CLIENT);
    assert_true(agree(accepting, connecting, 0, NULL));
    assert_false(server_holds_one);
    SSL_CTX_free(accepting);
    SSL_CTX_free(connecting);
    tls_free(client);
    tls_free(server);
}

static void certificates_are_checked_where_that_is_wanted(void **state)
{
    (void)state;
    struct tls_side none = side(NULL, "", NULL);
    struct tls_settings settings = settings_of(side("server", "", NULL), none);
    assert_true(agree_as(&settings, 0)); /* nobody looks */
    settings.sides[TLS_CLIENT] = side(NULL, "", "ca");
    assert_true(agree_as(&settings, 0));
    assert_true(agree_as(&settings, TLS1_2_VERSION));
    settings.sides[TLS_CLIENT] = side(NULL, "", "other-ca");
    assert_false(agree_as(&settings, 0));
    /* The certificate itself may be what is trusted. */
    settings.sides[TLS_CLIENT] = side(NULL, "", "server");
    assert_true(agree_as(&settings, 0));
}

static void clients_are_asked_for_certificates(void **state)
{
    (void)state;
    const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    struct tls_side none = side(NULL, "", NULL);
    struct tls_side known = side("client", "secret", NULL);
    struct tls_side unknown = side("stranger", "", NULL);
    const struct {
        enum tls_client_auth asked;
        bool checked;
        bool without;
        bool with_known;
        bool with_unknown;
    } cases[] = {
        {TLS_CLIENT_AUTH_NONE, true, true, true, true},
        {TLS_CLIENT_AUTH_OPTIONAL, false, true, true, true},
        {TLS_CLIENT_AUTH_OPTIONAL, true, true, true, false},
        {TLS_CLIENT_AUTH_REQUIRE, false, false, true, true},
        {TLS_CLIENT_AUTH_REQUIRE, true, false, true, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct tls_side server = side("server", "", cases[i].checked ? "ca" : NULL);
        struct tls_settings settings = settings_of(server, none);
        settings.client_auth = cases[i].asked;
        for (int v = 0; v < 2; v++) {
            settings.sides[TLS_CLIENT] = none;
            assert_int_equal(agree_as(&settings, versions[v]), cases[i].without);
            settings.sides[TLS_CLIENT] = known;
            assert_int_equal(agree_as(&settings, versions[v]), cases[i].with_known);
            /* It is kept only where it matters. */
            assert_int_equal(server_holds_one,
                             cases[i].asked == TLS_CLIENT_AUTH_REQUIRE ||
                                 (cases[i].asked == TLS_CLIENT_AUTH_OPTIONAL && cases[i].checked));
            settings.sides[TLS_CLIENT] = unknown;
            assert_int_equal(agree_as(&settings, versions[v]), cases[i].with_unknown);
        }
    }
}

/* --- what is said --- */

static void expect_refusal(const struct tls_settings *settings, enum tls_role role,
                           const char *first, const char *second)
{
    struct err err = {0};
    assert_int_equal(tls_settings_check(settings, role, &err), STATUS_INVALID);
    if (strstr(err.text, first) == NULL || strstr(err.text, second) == NULL)
        fail_msg("\"%s\" names neither \"%s\" nor \"%s\"", err.text, first, second);
}

static void write_file(const char *name, const char *text)
{
    FILE *file = fopen(in_folder(name), "w");
    assert_non_null(file);
    (void)fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void words_name_the_file_and_the_mend(void **state)
{
    (void)state;
    struct tls_side none = side(NULL, "", NULL);
    struct tls_settings settings = settings_of(none, none);
    assert_int_equal(tls_settings_check(&settings, TLS_CLIENT, NULL), STATUS_OK);
    expect_refusal(&settings, TLS_SERVER, "tls.server.certPath", "is not set");
    settings.sides[TLS_SERVER].cert_path = in_folder("server.cert");
    expect_refusal(&settings, TLS_SERVER, "tls.server.keyPath", "is not set");

    settings.sides[TLS_SERVER] = side("missing", "", NULL);
    expect_refusal(&settings, TLS_SERVER, "tls.server.certPath", "missing.cert");
    settings.sides[TLS_SERVER] = side("server", "", NULL);
    settings.sides[TLS_SERVER].key_path = in_folder("stranger.key");
    expect_refusal(&settings, TLS_SERVER, "stranger.key does not belong to the certificate",
                   "server.cert");
    settings.sides[TLS_SERVER].key_path = in_folder("server.cert");
    expect_refusal(&settings, TLS_SERVER, "tls.server.keyPath", "no private key");
    settings.sides[TLS_SERVER].cert_path = in_folder("server.key");
    expect_refusal(&settings, TLS_SERVER, "tls.server.certPath", "no usable certificate");

    settings.sides[TLS_CLIENT] = side("client", "", NULL);
    expect_refusal(&settings, TLS_CLIENT, "the key is encrypted", "tls.client.keyPassword");
    settings.sides[TLS_CLIENT] = side("client", "wrong", NULL);
    expect_refusal(&settings, TLS_CLIENT, "can not be decrypted", "tls.client.keyPassword");
    settings.sides[TLS_CLIENT] = side("client", "secret", NULL);
    assert_int_equal(tls_settings_check(&settings, TLS_CLIENT, NULL), STATUS_OK);

    write_file("nonsense", "this is no certificate\n");
    settings.sides[TLS_CLIENT].verify = true;
    settings.sides[TLS_CLIENT].trust_path = in_folder("nonsense");
    expect_refusal(&settings, TLS_CLIENT, "tls.client.trustCertPath", "nonsense");
    write_file("broken", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    settings.sides[TLS_CLIENT].trust_path = in_folder("broken");
    expect_refusal(&settings, TLS_CLIENT, "tls.client.trustCertPath", "broken");
    /* Not looked at by a side that checks nobody. */
    settings.sides[TLS_CLIENT].verify = false;
    assert_int_equal(tls_settings_check(&settings, TLS_CLIENT, NULL), STATUS_OK);
}

/* --- renewal --- */

static void copy_file(const char *from, const char *to)
{
    char *data = NULL;
    size_t size = 0;
    FILE *in = fopen(in_folder(from), "r");
    FILE *out = open_memstream(&data, &size);
    for (int c; (c = fgetc(in)) != EOF;)
        (void)fputc(c, out);
    (void)fclose(in);
    (void)fclose(out);
    write_file(to, data);
    free(data);
}

static void install(const char *name)
{
    char file[64];
    (void)snprintf(file, sizeof file, "%s.cert", name);
    copy_file(file, "used.cert");
    (void)snprintf(file, sizeof file, "%s.key", name);
    copy_file(file, "used.key");
}

static void expect_shown(struct tls *tls, const char *name)
{
    char shown[64] = "";
    SSL_CTX *server = tls_context(tls, TLS_SERVER);
    SSL_CTX *client = tls_context(tls, TLS_CLIENT);
    assert_true(agree(server, client, 0, shown));
    assert_string_equal(shown, name);
    SSL_CTX_free(server);
    SSL_CTX_free(client);
}

static void look_twice(struct tls *tls)
{
    tls_look(tls);
    tls_look(tls);
}

static void changed_files_are_used(void **state)
{
    (void)state;
    install("server");
    struct tls_settings settings = settings_of(side("used", "", NULL), side(NULL, "", NULL));
    struct tls *tls = make(&settings);
    expect_shown(tls, "server");
    look_twice(tls);
    expect_shown(tls, "server");

    /* One of the two: they do not fit, and that may be for a moment only. */
    copy_file("stranger.cert", "used.cert");
    look_twice(tls);
    expect_shown(tls, "server");
    copy_file("stranger.key", "used.key");
    tls_look(tls);
    expect_shown(tls, "server"); /* it may still be being written */
    tls_look(tls);
    expect_shown(tls, "stranger");

    /* What can not be used changes nothing, nor does a file that is away. */
    write_file("used.cert", "-----BEGIN");
    look_twice(tls);
    expect_shown(tls, "stranger");
    assert_int_equal(unlink(in_folder("used.key")), 0);
    look_twice(tls);
    expect_shown(tls, "stranger");
    install("server");
    look_twice(tls);
    expect_shown(tls, "server");

    /* A renewed certificate for the same key. */
    copy_file("server.cert", "used.cert");
    look_twice(tls);
    expect_shown(tls, "server");
    tls_free(tls);
}

static void a_changed_trust_file_is_used(void **state)
{
    (void)state;
    install("server");
    copy_file("ca.cert", "trusted.cert");
    struct tls_settings settings =
        settings_of(side("used", "", "trusted"), side("client", "secret", NULL));
    settings.client_auth = TLS_CLIENT_AUTH_REQUIRE;
    struct tls *tls = make(&settings);
    expect_shown(tls, "server");
    copy_file("other-ca.cert", "trusted.cert");
    look_twice(tls);
    SSL_CTX *server = tls_context(tls, TLS_SERVER);
    SSL_CTX *client = tls_context(tls, TLS_CLIENT);
    assert_false(agree(server, client, 0, NULL));
    SSL_CTX_free(server);
    SSL_CTX_free(client);
    tls_free(tls);
}

static void the_thread_looks(void **state)
{
    (void)state;
    install("server");
    struct tls_settings settings = settings_of(side("used", "", NULL), side(NULL, "", NULL));
    struct tls *tls = make(&settings);
    assert_int_equal(tls_start(tls, NULL), STATUS_OK);
    install("stranger");
    char shown[64] = "";
    for (int i = 0; i < 1200 && strcmp(shown, "stranger") != 0; i++) {
        SSL_CTX *server = tls_context(tls, TLS_SERVER);
        SSL_CTX *client = tls_context(tls, TLS_CLIENT);
        assert_true(agree(server, client, 0, shown));
        SSL_CTX_free(server);
        SSL_CTX_free(client);
        (void)usleep(50000);
    }
    assert_string_equal(shown, "stranger");
    tls_stop(tls);
    tls_free(tls);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mode_needs_nothing),
        cmocka_unit_test(test_mode_keeps_no_certificates),
        cmocka_unit_test(certificates_are_checked_where_that_is_wanted),
        cmocka_unit_test(clients_are_asked_for_certificates),
        cmocka_unit_test(words_name_the_file_and_the_mend),
        cmocka_unit_test(changed_files_are_used),
        cmocka_unit_test(a_changed_trust_file_is_used),
        cmocka_unit_test(the_thread_looks),
    };
    return cmocka_run_group_tests_name("tls", tests, setup, teardown);
}
