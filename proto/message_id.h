/* SPDX-License-Identifier: Apache-2.0
 *
 * Host addresses as RocketMQ stores them, and the offset message id made of one.
 */
#ifndef PROTO_MESSAGE_ID_H
#define PROTO_MESSAGE_ID_H

#include "common/base/bytes.h"

/* An IPv4 or IPv6 address with a port: bornHost and storeHost of a record. */
struct host {
    uint8_t ip[16];   /* network order; the first 4 bytes for IPv4 */
    uint8_t ip_bytes; /* 4 or 16 */
    int32_t port;
};

#define HOST_TEXT_BYTES 56 /* "[ipv6]:port" and a NUL */

/* "127.0.0.1:10911" or "[0:0:0:0:0:0:0:1]:10911": as Java (since 14; older ones leave out the
 * brackets) prints a socket address, without its slash. NUL-terminated. */
void host_format(const struct host *host, char out[HOST_TEXT_BYTES]);

/* The reverse for a numeric address without its port ("127.0.0.1", "::1"); false when it is none.
 */
bool host_parse(const char *ip, int32_t port, struct host *out);

#define MESSAGE_ID_TEXT_BYTES 56 /* 32 characters for IPv4; no NUL counted */

/* Upper-case hex of ip, port (int32) and commit log offset (int64); returns 32 or 56. */
size_t message_id_format(const struct host *store_host, int64_t commit_log_offset,
                         char out[MESSAGE_ID_TEXT_BYTES]);

/* The reverse; false when `text` is not 32 or 56 hex digits. */
bool message_id_parse(struct slice text, struct host *store_host, int64_t *commit_log_offset);

#endif
