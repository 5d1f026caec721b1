/* SPDX-License-Identifier: Apache-2.0
 *
 * The signature of a request, as RocketMQ's AclClientRPCHook makes it: the Base64 of HMAC-SHA1, by
 * the account's secret key, over the values of all ext fields, in the order of their names, and the
 * body behind them, without anything between. Not signed are the signature itself and
 * _UNIQUE_KEY_QUERY, which clients add afterwards. Of two fields of one name the last counts.
 *
 * A signer belongs to one thread at a time. The rest is pure.
 */
#ifndef PROTO_SIGNATURE_H
#define PROTO_SIGNATURE_H

#include "proto/command.h"

#define FIELD_ACCESS_KEY "AccessKey"
#define FIELD_SIGNATURE "Signature"
#define FIELD_SECURITY_TOKEN "SecurityToken" /* signed, and else without a meaning */

#define SIGNATURE_TEXT_BYTES 28 /* the Base64 of 20 bytes */

struct signer;

/* NULL when OpenSSL offers no HMAC-SHA1 here. */
struct signer *signer_new(void);
void signer_free(struct signer *signer); /* NULL is fine */

/* The signature of a request with these fields and this body.
 * ext  at most EXT_FIELDS_MAX fields
 * out  no NUL behind it */
void signer_sign(struct signer *signer, struct slice secret_key, const struct ext_map *ext,
                 struct slice body, char out[SIGNATURE_TEXT_BYTES]);

/* Is `signature` that of the request? Takes as long for one that is nearly right as for others. */
bool signer_accepts(struct signer *signer, struct slice secret_key, const struct ext_map *ext,
                    struct slice body, struct slice signature);

#endif
