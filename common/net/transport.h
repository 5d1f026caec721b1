/* SPDX-License-Identifier: Apache-2.0
 *
 * Where bytes enter and leave the process: the only modules that read and write the sockets of
 * connections. A connection works through a table of functions: plain (transport.c) or encrypted
 * (tls_transport.c). Whether a peer that was accepted speaks TLS is told by its first byte, 0x16.
 */
#ifndef COMMON_NET_TRANSPORT_H
#define COMMON_NET_TRANSPORT_H

#include "common/base/status.h"
#include "common/tls/tls.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct transport;

struct transport_ops {
    /* Fill `parts` from the front. An encrypted one wants room for TRANSPORT_READ_BYTES.
     * returns  OK (*got > 0) | BUSY (nothing now, readiness will tell) | CLOSED (end of stream) |
     *          UNSUPPORTED (the peer wants TLS or does not, and must not) | MALFORMED (what came
     *          is not TLS, or the handshake failed) | IO. transport->problem has the words for
     *          UNSUPPORTED and MALFORMED */
    enum status (*readv)(struct transport *transport, const struct iovec *parts, int count,
                         size_t *got);
    /* more     further bytes follow at once: none need to be on their way before those
     * returns  OK (*sent bytes have left, perhaps not all; an encrypted one may have made progress
     *          with none) | BUSY | CLOSED | IO | MALFORMED (what the peer has sent of TLS keeps an
     *          encrypted one from writing; transport->problem has the words) */
    enum status (*writev)(struct transport *transport, const struct iovec *parts, int count,
                          bool more, size_t *sent);
    /* Send bytes of a file, from the page cache.
     * returns  as writev; NOT_FOUND: the file cannot be read there (errno); TRUNCATED: those bytes
     *          are on the disk and are being read, try again in a moment (encrypted only) */
    enum status (*send_file)(struct transport *transport, int fd, int64_t offset, size_t size,
                             size_t *sent);
    void (*close)(struct transport *transport);
};

#define TRANSPORT_READ_BYTES ((size_t)128 * 1024)

struct transport {
    const struct transport_ops *ops;
    int fd;
    void *state;         /* of the encryption; of one that was accepted, its tls_io */
    const char *problem; /* see readv */
    bool opened;         /* by us */
    bool encrypted;
    bool handshaking;    /* until the handshake is done; it goes on by reading */
    bool read_again;     /* something is left to be read of which readiness does not tell */
    bool resetting;      /* see transport_reset_on_close */
    size_t unsent_bytes; /* memory of what is encrypted and not taken by the socket yet */
};

/* What the encrypted connections of a server or client share on one loop. */
struct tls_io;

/* tls  where contexts come from, borrowed; NULL with TLS_MODE_DISABLED */
struct tls_io *tls_io_new(struct tls *tls, enum tls_mode mode);
/* Requires that its transports are closed. */
void tls_io_free(struct tls_io *io);

/* Take over a connected, non-blocking socket: one that was accepted, whose first byte decides; or
 * one that we opened, which is encrypted when `io` is given.
 * io  NULL: plain only */
void transport_init_accepted(struct transport *transport, int fd, struct tls_io *io);
void transport_init_opened(struct transport *transport, int fd, struct tls_io *io);

/* Bytes have arrived that were not read yet. */
bool transport_has_unread(const struct transport *transport);
/* All that was sent has come to the peer's machine, or never will. */
bool transport_all_arrived(const struct transport *transport);
/* Let the close that follows reset the connection: the peer sees an error instead of the end. */
void transport_reset_on_close(struct transport *transport);

static inline enum status transport_readv(struct transport *transport, const struct iovec *parts,
                                          int count, size_t *got)
{
    return transport->ops->readv(transport, parts, count, got);
}

static inline enum status transport_writev(struct transport *transport, const struct iovec *parts,
                                           int count, bool more, size_t *sent)
{
    return transport->ops->writev(transport, parts, count, more, sent);
}

static inline enum status transport_send_file(struct transport *transport, int fd, int64_t offset,
                                              size_t size, size_t *sent)
{
    return transport->ops->send_file(transport, fd, offset, size, sent);
}

/* Writing `size` bytes has sent `sent` of them: may there be room for more? An encrypted one takes
 * no more than a piece at a time. */
static inline bool transport_has_room(const struct transport *transport, size_t sent, size_t size)
{
    return transport->encrypted ? transport->unsent_bytes == 0 : sent == size;
}

static inline void transport_close(struct transport *transport)
{
    transport->ops->close(transport);
}

#endif
