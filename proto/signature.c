/* SPDX-License-Identifier: Apache-2.0
 *
 * Requests are signed piece by piece, so nothing is copied. One HMAC context per signer is used
 * again and again: fetching one from OpenSSL costs more than a signature.
 *
 * Names are ordered by their bytes; Java orders them by UTF-16 units, which is the same for every
 * name that is not beyond the basic plane.
 */
#include "proto/signature.h"

#include "common/base/check.h"
#include "common/base/limits.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <stdlib.h>

#define DIGEST_BYTES 20
#define FIELD_UNSIGNED "_UNIQUE_KEY_QUERY"

struct signer {
    EVP_MAC_CTX *mac;
};

struct signer *signer_new(void)
{
    char digest[] = "SHA1";
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };
    EVP_MAC *hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    EVP_MAC_CTX *mac = hmac == NULL ? NULL : EVP_MAC_CTX_new(hmac);
    EVP_MAC_free(hmac);
    if (mac == NULL || EVP_MAC_CTX_set_params(mac, params) != 1 ||
        EVP_MAC_init(mac, (const unsigned char *)"probe", 5, NULL) != 1) {
        EVP_MAC_CTX_free(mac);
        return NULL;
    }
    struct signer *signer = xmalloc(sizeof *signer);
    signer->mac = mac;
    return signer;
}

void signer_free(struct signer *signer)
{
    if (signer != NULL)
        EVP_MAC_CTX_free(signer->mac);
    free(signer);
}

/* By name; of one name by their place, so that the last one stands last. */
static int compare_fields(const void *a, const void *b)
{
    const struct ext_field *one = *(const struct ext_field *const *)a;
    const struct ext_field *other = *(const struct ext_field *const *)b;
    size_t common = one->name.size < other->name.size ? one->name.size : other->name.size;
    int order = common == 0 ? 0 : memcmp(one->name.data, other->name.data, common);
    if (order == 0)
        order = (one->name.size > other->name.size) - (one->name.size < other->name.size);
    return order != 0 ? order : (one > other) - (one < other);
}

static void update(struct signer *signer, struct slice piece)
{
    if (piece.size > 0)
        CHECK(EVP_MAC_update(signer->mac, piece.data, piece.size) == 1);
}

static void update_fields(struct signer *signer, const struct ext_map *ext)
{
    const struct ext_field *fields[EXT_FIELDS_MAX];
    size_t count = 0;
    CHECK(ext->count <= EXT_FIELDS_MAX);
    for (uint32_t i = 0; i < ext->count; i++)
        if (!slice_is(ext->fields[i].name, FIELD_SIGNATURE) &&
            !slice_is(ext->fields[i].name, FIELD_UNSIGNED))
            fields[count++] = &ext->fields[i];
    qsort(fields, count, sizeof fields[0], compare_fields);
    for (size_t i = 0; i < count; i++)
        if (i + 1 == count || !slice_equal(fields[i]->name, fields[i + 1]->name))
            update(signer, fields[i]->value);
}

void signer_sign(struct signer *signer, struct slice secret_key, const struct ext_map *ext,
                 struct slice body, char out[SIGNATURE_TEXT_BYTES])
{
    unsigned char digest[DIGEST_BYTES];
    unsigned char text[SIGNATURE_TEXT_BYTES + 1];
    size_t size = 0;
    CHECK(EVP_MAC_init(signer->mac, secret_key.data, secret_key.size, NULL) == 1);
    update_fields(signer, ext);
    update(signer, body);
    CHECK(EVP_MAC_final(signer->mac, digest, &size, sizeof digest) == 1 && size == DIGEST_BYTES);
    CHECK(EVP_EncodeBlock(text, digest, DIGEST_BYTES) == SIGNATURE_TEXT_BYTES);
    memcpy(out, text, SIGNATURE_TEXT_BYTES);
}

bool signer_accepts(struct signer *signer, struct slice secret_key, const struct ext_map *ext,
                    struct slice body, struct slice signature)
{
    char expected[SIGNATURE_TEXT_BYTES];
    if (signature.size != sizeof expected)
        return false;
    signer_sign(signer, secret_key, ext, body, expected);
    return CRYPTO_memcmp(expected, signature.data, sizeof expected) == 0;
}
