/* SPDX-License-Identifier: Apache-2.0
 *
 * Peers that cut a message of TLS's own in two, as no library does: records are made by hand here.
 *
 * Source of the rules: common/net/transport.h; RFC 8446, 4.6.3 (new keys), 5.2 and 7.1.
 */
#include "net_test.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

/* Makes records of TLS_AES_128_GCM_SHA256. */
struct sealer {
    uint8_t secret[32];
    uint8_t key[16];
    uint8_t iv[12];
    uint8_t next; /* number of the next record */
};

static struct sealer sealer;

static void take_secret(const SSL *ssl, const char *line)
{
    static const char label[] = "CLIENT_TRAFFIC_SECRET_0 ";
    (void)ssl;
    if (strncmp(line, label, sizeof label - 1) != 0)
        return;
    const char *hex = strrchr(line, ' ') + 1;
    for (size_t i = 0; i < sizeof sealer.secret; i++)
        assert_int_equal(sscanf(hex + 2 * i, "%2hhx", &sealer.secret[i]), 1);
}

/* HKDF-Expand-Label, for what one block holds. */
static void expand(const char *label, uint8_t *out, size_t size)
{
    uint8_t info[32] = {0, (uint8_t)size};
    uint8_t digest[32];
    int end = snprintf((char *)info + 3, sizeof info - 3, "tls13 %s", label) + 3;
    info[2] = (uint8_t)(end - 3);
    info[end + 1] = 1;
    assert_non_null(HMAC(EVP_sha256(), sealer.secret, sizeof sealer.secret, info, (size_t)end + 2,
                         digest, NULL));
    memcpy(out, digest, size);
}

/* Returns the record's size. type  of what is in it */
static size_t seal(const void *data, size_t size, uint8_t type, uint8_t *out)
{
    uint8_t nonce[12];
    int n = 0;
    size_t inner = size + 1;
    const uint8_t head[] = {0x17, 3, 3, 0, (uint8_t)(inner + 16)};
    assert_true(inner + 16 < 256);
    memcpy(nonce, sealer.iv, sizeof nonce);
    nonce[11] ^= sealer.next++;
    memcpy(out, head, sizeof head);
    uint8_t *at = out + sizeof head;
    EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
    assert_int_equal(EVP_EncryptInit_ex(cipher, EVP_aes_128_gcm(), NULL, sealer.key, nonce), 1);
    assert_int_equal(EVP_EncryptUpdate(cipher, NULL, &n, head, sizeof head), 1);
    assert_int_equal(EVP_EncryptUpdate(cipher, at, &n, data, (int)size), 1);
    assert_int_equal(EVP_EncryptUpdate(cipher, at + size, &n, &type, 1), 1);
    assert_int_equal(EVP_EncryptFinal_ex(cipher, at + inner, &n), 1);
    assert_int_equal(EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_AEAD_GET_TAG, 16, at + inner), 1);
    EVP_CIPHER_CTX_free(cipher);
    return sizeof head + inner + 16;
}

static void open_sealed(struct wire *wire, SSL_CTX *context, int port)
{
    wire_open(wire, port);
    wire->ssl = SSL_new(context);
    SSL_set_fd(wire->ssl, wire->fd);
    assert_int_equal(SSL_connect(wire->ssl), 1);
    sealer.next = 0;
    expand("key", sealer.key, sizeof sealer.key);
    expand("iv", sealer.iv, sizeof sealer.iv);
}

/* With half of "new keys" in its hands OpenSSL can not write: the peer is given up, not we. */
static void half_a_message_of_tls_costs_its_peer_only(void **state)
{
    (void)state;
    static const uint8_t new_keys[] = {24, 0, 0, 1, 0};
    struct tls_settings settings = {.test_mode = true};
    struct net_options options = net_options_default();
    struct fixture f;
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_keylog_callback(context, take_secret);
    assert_int_equal(SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256"), 1);
    assert_int_equal(tls_new(&settings, TLS_SIDE_SERVER, &options.tls, NULL), STATUS_OK);
    options.tls_mode = TLS_MODE_PERMISSIVE;
    fixture_start(&f, 1, &options);
    for (int whole = 0; whole < 2; whole++) {
        struct wire wire;
        struct answer answer;
        uint8_t bytes[600];
        struct buf frame = BUF_EMPTY;
        open_sealed(&wire, context, f.port);
        append_request(&frame, CODEC_ROCKETMQ, TEST_ECHO, 1, 0, "one");
        size_t size = seal(frame.data, frame.size, 23, bytes);
        size += seal(new_keys, whole ? 5 : 4, 22, bytes + size);
        assert_int_equal(send(wire.fd, bytes, size, MSG_NOSIGNAL), size);
        assert_int_equal(wire_receive(&wire, &answer), whole);
        assert_int_equal(server_stats(f.server).requests, whole + 1);
        buf_release(&frame);
        wire_close(&wire);
    }
    wait_until(server_stats(f.server).closed_tls == 1 && f.closed == 2);
    fixture_stop(&f);
    tls_free(options.tls);
    SSL_CTX_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(half_a_message_of_tls_costs_its_peer_only),
    };
    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
