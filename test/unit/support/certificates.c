/* SPDX-License-Identifier: Apache-2.0
 *
 * By libcrypto, so that the unit tests need no other program.
 */
#include "test/unit/support/certificates.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define PATH_BYTES 512

static FILE *open_file(const char *folder, const char *name, const char *ending, const char *mode)
{
    char path[PATH_BYTES];
    int size = snprintf(path, sizeof path, "%s/%s.%s", folder, name, ending);
    assert_true(size > 0 && (size_t)size < sizeof path);
    FILE *file = fopen(path, mode);
    assert_non_null(file);
    return file;
}

static void add_constraint(X509 *certificate, const char *value)
{
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints, value);
    assert_non_null(extension);
    assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

static X509 *new_certificate(const char *name, EVP_PKEY *key, bool authority)
{
    uint64_t serial = 0;
    X509 *certificate = X509_new();
    X509_NAME *subject = X509_get_subject_name(certificate);
    assert_int_equal(RAND_bytes((unsigned char *)&serial, sizeof serial), 1);
    ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), serial >> 1);
    X509_set_version(certificate, X509_VERSION_3);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600L * 24 * 365);
    assert_int_equal(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                                                (const unsigned char *)name, -1, -1, 0),
                     1);
    X509_set_pubkey(certificate, key);
    add_constraint(certificate, authority ? "critical,CA:TRUE" : "CA:FALSE");
    return certificate;
}

static void sign(X509 *certificate, EVP_PKEY *key, const char *folder, const char *authority)
{
    if (authority == NULL) {
        X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
        assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
        return;
    }
    FILE *file = open_file(folder, authority, "cert", "r");
    X509 *issuer = PEM_read_X509(file, NULL, NULL, NULL);
    (void)fclose(file);
    file = open_file(folder, authority, "key", "r");
    EVP_PKEY *issuer_key = PEM_read_PrivateKey(file, NULL, NULL, NULL);
    (void)fclose(file);
    assert_non_null(issuer);
    assert_non_null(issuer_key);
    X509_set_issuer_name(certificate, X509_get_subject_name(issuer));
    assert_true(X509_sign(certificate, issuer_key, EVP_sha256()) > 0);
    X509_free(issuer);
    EVP_PKEY_free(issuer_key);
}

void certificate_make(const char *folder, const char *name, const char *authority,
                      enum key_kind kind, const char *password)
{
    EVP_PKEY *key = kind == KEY_P256 ? EVP_EC_gen("P-256") : EVP_RSA_gen(2048);
    assert_non_null(key);
    X509 *certificate = new_certificate(name, key, authority == NULL);
    sign(certificate, key, folder, authority);
    FILE *file = open_file(folder, name, "cert", "w");
    assert_int_equal(PEM_write_X509(file, certificate), 1);
    assert_int_equal(fclose(file), 0);
    file = open_file(folder, name, "key", "w");
    const char *word = password == NULL ? "" : password;
    assert_int_equal(PEM_write_PKCS8PrivateKey(file, key,
                                               password == NULL ? NULL : EVP_aes_256_cbc(), word,
                                               (int)strlen(word), NULL, NULL),
                     1);
    assert_int_equal(fclose(file), 0);
    X509_free(certificate);
    EVP_PKEY_free(key);
}
