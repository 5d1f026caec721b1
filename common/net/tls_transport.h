/* SPDX-License-Identifier: Apache-2.0
 *
 * The encrypted transport: OpenSSL over sockets that never wait. Bytes of the socket are read by
 * one system call into memory that all connections of a loop share, decrypted into the caller's
 * pieces, and what was encrypted leaves by one system call as well; a connection that is idle holds
 * no buffer.
 *
 * Invariants: behind a read OpenSSL holds no more than the beginning of a record, so that readiness
 * of the socket tells of everything that is left to be read. Bytes count as sent when the socket
 * has taken what they became, so that the caller's queue is the only one, but for one piece that is
 * under way.
 */
#ifndef COMMON_NET_TLS_TRANSPORT_H
#define COMMON_NET_TLS_TRANSPORT_H

#include "common/base/buf.h"
#include "common/net/transport.h"

struct tls_io {
    struct tls *tls;
    enum tls_mode mode;
    /* The rest is used within one call on a transport. */
    uint8_t *memory; /* NULL until the first TLS connection */
    struct slice in; /* read from the socket, not decrypted yet */
    struct buf out;  /* encrypted, not given to the socket yet */
};

/* Turn a transport into an encrypted one; nothing of the connection has been read or written. The
 * next reads make the handshake; while `handshaking` is set writing is BUSY.
 * role  which part we have in it */
void tls_transport_begin(struct transport *transport, struct tls_io *io, enum tls_role role);

#endif
