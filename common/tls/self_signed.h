/* SPDX-License-Identifier: Apache-2.0
 *
 * The certificate of tls.test.mode.enable: made in memory, trusted by nobody, for clients that
 * accept any.
 */
#ifndef COMMON_TLS_SELF_SIGNED_H
#define COMMON_TLS_SELF_SIGNED_H

#include <openssl/ssl.h>
#include <stdbool.h>

/* Make a key and a certificate and let the context use them. False: OpenSSL's queue says why. */
bool self_signed_use(SSL_CTX *context);

#endif
