/* SPDX-License-Identifier: Apache-2.0
 *
 * Files are read once and used from memory, so that what was compared is what is used. OpenSSL's
 * queue of errors is empty before and after each function.
 */
#include "common/tls/tls_context.h"

#include "common/base/check.h"
#include "common/sys/vfs.h"
#include "common/tls/self_signed.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#define FILE_BYTES_MAX ((size_t)1024 * 1024)
/* What a peer may send as its chain of certificates; bounds the memory of a handshake. */
#define PEER_CHAIN_BYTES_MAX (64 * 1024)
/* The same for clients whose certificates are not checked. Parsed they take some eight times that.
 */
#define STRANGERS_CHAIN_BYTES_MAX (16 * 1024)

struct names {
    const char *files[TLS_FILES];
    const char *password;
};

static const struct names names_of[] = {
    [TLS_SERVER] = {{"tls.server.certPath", "tls.server.keyPath", "tls.server.trustCertPath"},
                    "tls.server.keyPassword"},
    [TLS_CLIENT] = {{"tls.client.certPath", "tls.client.keyPath", "tls.client.trustCertPath"},
                    "tls.client.keyPassword"},
};

/* One side's making. */
struct maker {
    const struct tls_settings *settings;
    const struct tls_side *side;
    const struct names *names;
    const struct tls_contents *contents;
    enum tls_role role;
    SSL_CTX *context;
    struct err *err;
};

/* OpenSSL's last words; empties its queue. */
static const char *ssl_reason(void)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    ERR_clear_error();
    return reason == NULL ? "unknown cause" : reason;
}

static enum status out_of_memory(const struct maker *maker)
{
    return err_set(maker->err, STATUS_INVALID, "OpenSSL can not set it up: %s", ssl_reason());
}

/* --- files --- */

const char *tls_file_path(const struct tls_settings *settings, enum tls_role role,
                          enum tls_file file)
{
    const struct tls_side *side = &settings->sides[role];
    if (settings->test_mode)
        return "";
    switch (file) {
    case TLS_FILE_CERT:
        return side->cert_path;
    case TLS_FILE_KEY:
        return side->key_path;
    case TLS_FILE_TRUST:
        return side->verify ? side->trust_path : "";
    case TLS_FILES:
        break;
    }
    return "";
}

static enum status read_one(const char *name, const char *path, char **data, size_t *size,
                            struct err *err)
{
    enum status status = vfs_read_file(vfs_posix(), path, FILE_BYTES_MAX, data, size);
    if (status == STATUS_OK)
        return status;
    *data = NULL;
    *size = 0;
    if (status == STATUS_TOO_LARGE)
        return err_set(err, STATUS_INVALID, "%s = %s: longer than 1 MiB; is it really that file?",
                       name, path);
    return err_set_errno(err, STATUS_INVALID,
                         "%s = %s can not be read; correct the path or the file's permissions",
                         name, path);
}

enum status tls_contents_read(const struct tls_settings *settings, enum tls_role role,
                              struct tls_contents *contents, struct err *err)
{
    *contents = (struct tls_contents){0};
    for (int i = 0; i < TLS_FILES; i++) {
        const char *path = tls_file_path(settings, role, (enum tls_file)i);
        if (path[0] == '\0')
            continue;
        enum status status =
            read_one(names_of[role].files[i], path, &contents->data[i], &contents->sizes[i], err);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

void tls_contents_release(struct tls_contents *contents)
{
    for (int i = 0; i < TLS_FILES; i++) {
        if (contents->data[i] != NULL)
            OPENSSL_cleanse(contents->data[i], contents->sizes[i]);
        free(contents->data[i]);
    }
    *contents = (struct tls_contents){0};
}

static const char *path_of(const struct maker *maker, enum tls_file file)
{
    return tls_file_path(maker->settings, maker->role, file);
}

static BIO *open_contents(const struct maker *maker, enum tls_file file)
{
    BIO *bio = BIO_new_mem_buf(maker->contents->data[file], (int)maker->contents->sizes[file]);
    CHECK(bio != NULL);
    return bio;
}

/* The end of the certificates of a file, and not a damaged one. */
static bool no_more_pem(void)
{
    unsigned long error = ERR_peek_last_error();
    bool end = ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE;
    if (end)
        ERR_clear_error();
    return end;
}

/* --- our certificate and key --- */

static enum status bad_certificate(const struct maker *maker, enum tls_file file)
{
    return err_set(maker->err, STATUS_INVALID,
                   "%s = %s: no usable certificate (%s); it has to be X.509 in PEM form, "
                   "-----BEGIN CERTIFICATE-----",
                   maker->names->files[file], path_of(maker, file), ssl_reason());
}

static enum status use_certificates(const struct maker *maker)
{
    BIO *bio = open_contents(maker, TLS_FILE_CERT);
    X509 *own = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    bool good = own != NULL && SSL_CTX_use_certificate(maker->context, own) == 1;
    X509_free(own);
    while (good) {
        X509 *next = PEM_read_bio_X509(bio, NULL, NULL, NULL);
        if (next == NULL) {
            good = no_more_pem();
            break;
        }
        good = SSL_CTX_add0_chain_cert(maker->context, next) == 1;
        if (!good)
            X509_free(next);
    }
    BIO_free(bio);
    return good ? STATUS_OK : bad_certificate(maker, TLS_FILE_CERT);
}

struct password {
    const char *text;
    bool asked; /* the key is encrypted */
};

static int give_password(char *out, int size, int writing, void *arg)
{
    (void)writing;
    struct password *password = arg;
    size_t length = strlen(password->text);
    password->asked = true;
    if (length == 0 || length > (size_t)size)
        return -1;
    memcpy(out, password->text, length);
    return (int)length;
}

static enum status bad_key(const struct maker *maker, const struct password *password)
{
    const char *name = maker->names->files[TLS_FILE_KEY];
    const char *path = path_of(maker, TLS_FILE_KEY);
    const char *reason = ssl_reason();
    if (password->asked && password->text[0] == '\0')
        return err_set(maker->err, STATUS_INVALID, "%s = %s: the key is encrypted; set %s", name,
                       path, maker->names->password);
    if (password->asked)
        return err_set(maker->err, STATUS_INVALID,
                       "%s = %s: the key can not be decrypted (%s); is %s right?", name, path,
                       reason, maker->names->password);
    return err_set(maker->err, STATUS_INVALID,
                   "%s = %s: no private key (%s); it has to be in PEM form, "
                   "-----BEGIN PRIVATE KEY-----",
                   name, path, reason);
}

static enum status use_key(const struct maker *maker)
{
    struct password password = {maker->side->key_password, false};
    BIO *bio = open_contents(maker, TLS_FILE_KEY);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, give_password, &password);
    BIO_free(bio);
    if (key == NULL)
        return bad_key(maker, &password);
    bool good = SSL_CTX_use_PrivateKey(maker->context, key) == 1 &&
                SSL_CTX_check_private_key(maker->context) == 1;
    EVP_PKEY_free(key);
    if (good)
        return STATUS_OK;
    return err_set(maker->err, STATUS_INVALID,
                   "%s = %s does not belong to the certificate in %s = %s; the first "
                   "certificate in that file has to be the key's",
                   maker->names->files[TLS_FILE_KEY], path_of(maker, TLS_FILE_KEY),
                   maker->names->files[TLS_FILE_CERT], path_of(maker, TLS_FILE_CERT));
}

static enum status use_identity(const struct maker *maker)
{
    bool certificate = path_of(maker, TLS_FILE_CERT)[0] != '\0';
    bool key = path_of(maker, TLS_FILE_KEY)[0] != '\0';
    if (maker->role == TLS_SERVER && maker->settings->test_mode)
        return self_signed_use(maker->context) ? STATUS_OK : out_of_memory(maker);
    if (maker->role == TLS_CLIENT && !certificate && !key)
        return STATUS_OK;
    if (!certificate || !key)
        return err_set(maker->err, STATUS_INVALID,
                       "%s is not set, and tls.test.mode.enable is false; set it%s",
                       maker->names->files[certificate ? TLS_FILE_KEY : TLS_FILE_CERT],
                       maker->role == TLS_SERVER ? ", or tls.server.mode = disabled" : "");
    enum status status = use_certificates(maker);
    return status == STATUS_OK ? use_key(maker) : status;
}

/* --- whom we trust --- */

static int accept_any(X509_STORE_CTX *store, void *arg)
{
    (void)store;
    (void)arg;
    return 1;
}

static enum status trust_file(const struct maker *maker)
{
    X509_STORE *store = SSL_CTX_get_cert_store(maker->context);
    BIO *bio = open_contents(maker, TLS_FILE_TRUST);
    int count = 0;
    bool good = true;
    while (good) {
        X509 *certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
        if (certificate == NULL) {
            good = count > 0 && no_more_pem();
            break;
        }
        count++;
        good = X509_STORE_add_cert(store, certificate) == 1 &&
               SSL_CTX_add_client_CA(maker->context, certificate) == 1;
        X509_free(certificate);
    }
    BIO_free(bio);
    return good ? STATUS_OK : bad_certificate(maker, TLS_FILE_TRUST);
}

/* Certificates of clients are asked for only where they matter: OpenSSL keeps what a client has
 * shown, parsed, for as long as its connection stands, and anybody can show a long chain. */
static int verify_mode(const struct maker *maker, bool checks)
{
    enum tls_client_auth asked =
        maker->settings->test_mode ? TLS_CLIENT_AUTH_NONE : maker->settings->client_auth;
    if (maker->role == TLS_CLIENT)
        return SSL_VERIFY_PEER;
    if (asked == TLS_CLIENT_AUTH_REQUIRE)
        return SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    return checks && asked == TLS_CLIENT_AUTH_OPTIONAL ? SSL_VERIFY_PEER : SSL_VERIFY_NONE;
}

static enum status use_trust(const struct maker *maker)
{
    SSL_CTX *context = maker->context;
    bool checks = maker->side->verify && !maker->settings->test_mode;
    SSL_CTX_set_verify(context, verify_mode(maker, checks), NULL);
    if (!checks) {
        SSL_CTX_set_cert_verify_callback(context, accept_any, NULL);
        if (maker->role == TLS_SERVER)
            SSL_CTX_set_max_cert_list(context, STRANGERS_CHAIN_BYTES_MAX);
        return STATUS_OK;
    }
    /* As Java does: any trusted certificate ends a chain, be it a root or not. */
    (void)X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(context), X509_V_FLAG_PARTIAL_CHAIN);
    if (path_of(maker, TLS_FILE_TRUST)[0] != '\0')
        return trust_file(maker);
    return SSL_CTX_set_default_verify_paths(context) == 1 ? STATUS_OK : out_of_memory(maker);
}

/* --- the whole --- */

static bool set_protocol(SSL_CTX *context)
{
    (void)SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    (void)SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                           SSL_OP_NO_TICKET | SSL_OP_CIPHER_SERVER_PREFERENCE);
    (void)SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_max_cert_list(context, PEER_CHAIN_BYTES_MAX);
    return SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) == 1 &&
           SSL_CTX_set_num_tickets(context, 0) == 1;
}

enum status tls_context_new(const struct tls_settings *settings, enum tls_role role,
                            const struct tls_contents *contents, SSL_CTX **out, struct err *err)
{
    struct maker maker = {settings, &settings->sides[role], &names_of[role], contents, role, NULL,
                          err};
    ERR_clear_error();
    maker.context = SSL_CTX_new(role == TLS_SERVER ? TLS_server_method() : TLS_client_method());
    if (maker.context == NULL)
        return out_of_memory(&maker);
    enum status status = set_protocol(maker.context) ? STATUS_OK : out_of_memory(&maker);
    if (status == STATUS_OK)
        status = use_identity(&maker);
    if (status == STATUS_OK)
        status = use_trust(&maker);
    ERR_clear_error();
    if (status == STATUS_OK)
        *out = maker.context;
    else
        SSL_CTX_free(maker.context);
    return status;
}

enum status tls_settings_check(const struct tls_settings *settings, enum tls_role role,
                               struct err *err)
{
    struct tls_contents contents;
    SSL_CTX *context;
    enum status status = tls_contents_read(settings, role, &contents, err);
    if (status == STATUS_OK)
        status = tls_context_new(settings, role, &contents, &context, err);
    if (status == STATUS_OK)
        SSL_CTX_free(context);
    tls_contents_release(&contents);
    return status;
}
