/* SPDX-License-Identifier: Apache-2.0
 *
 * OpenSSL's contexts made from RocketMQ's settings (TlsSystemConfig and TlsHelper of 4.9.2): which
 * certificate this process shows, and which ones of its peers it accepts. TLS 1.2 and 1.3, no
 * renegotiation, no resumption. Host names are not compared with certificates, as in 4.9.2.
 *
 * Any thread; nothing here is shared. Making a context reads files and may wait.
 */
#ifndef COMMON_TLS_TLS_CONTEXT_H
#define COMMON_TLS_TLS_CONTEXT_H

#include "common/base/status.h"

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>

/* Order and names of tls.server.mode. */
enum tls_mode {
    TLS_MODE_DISABLED,   /* who wants TLS is turned away */
    TLS_MODE_PERMISSIVE, /* both */
    TLS_MODE_ENFORCING,  /* who does not speak TLS is turned away */
};

/* Order and names of tls.server.need.client.auth. */
enum tls_client_auth {
    TLS_CLIENT_AUTH_NONE,     /* clients are not asked for a certificate */
    TLS_CLIENT_AUTH_OPTIONAL, /* those that have one show it; as NONE when nobody checks it */
    TLS_CLIENT_AUTH_REQUIRE,
};

enum tls_role {
    TLS_SERVER, /* of connections that were accepted */
    TLS_CLIENT, /* of those that we open */
};

/* Texts are "" when unset; borrowed by everything that takes them. */
struct tls_side {
    const char *key_path; /* PEM: PKCS#8, with or without a password, or one of the older forms */
    const char *key_password;
    const char *cert_path;  /* PEM: our certificate, then those up to the root */
    const char *trust_path; /* PEM; "": the system's */
    bool verify;            /* else any certificate is accepted */
};

struct tls_settings {
    bool test_mode; /* the server's certificate is made here; all certificates are accepted */
    enum tls_client_auth client_auth;
    struct tls_side sides[2]; /* by enum tls_role */
};

/* What is in the files of one side, empty where none is named. */
enum tls_file {
    TLS_FILE_CERT,
    TLS_FILE_KEY,
    TLS_FILE_TRUST,
    TLS_FILES,
};

struct tls_contents {
    char *data[TLS_FILES]; /* malloc'ed */
    size_t sizes[TLS_FILES];
};

/* The path of a file of one side, "" when there is none. In test mode there are none. */
const char *tls_file_path(const struct tls_settings *settings, enum tls_role role,
                          enum tls_file file);

/* Read the files of one side.
 * returns  OK | INVALID; err names the setting, the file, the cause and the mend. `contents` is to
 *          be released either way */
enum status tls_contents_read(const struct tls_settings *settings, enum tls_role role,
                              struct tls_contents *contents, struct err *err);
void tls_contents_release(struct tls_contents *contents);

/* Make a context; SSL_CTX_free it.
 * returns  as tls_contents_read */
enum status tls_context_new(const struct tls_settings *settings, enum tls_role role,
                            const struct tls_contents *contents, SSL_CTX **context,
                            struct err *err);

/* Can the files of this side be used? Reads them and makes a context for a look.
 * returns  as tls_contents_read */
enum status tls_settings_check(const struct tls_settings *settings, enum tls_role role,
                               struct err *err);

#endif
