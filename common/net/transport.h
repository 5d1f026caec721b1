/* SPDX-License-Identifier: Apache-2.0
 *
 * Where bytes enter and leave the process: the only module that reads and writes the sockets of
 * connections. A connection works through a table of functions, so that an encrypted transport can
 * stand in for the plain one. Whether a peer that was accepted speaks TLS is told by its first
 * byte, 0x16.
 */
#ifndef COMMON_NET_TRANSPORT_H
#define COMMON_NET_TRANSPORT_H

#include "common/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct transport;

struct transport_ops {
    /* Fill `parts` from the front.
     * returns  OK (*got > 0) | BUSY (nothing now, readiness will tell) | CLOSED (end of stream) |
     *          UNSUPPORTED (the peer wants TLS and there is none) | IO */
    enum status (*readv)(struct transport *transport, const struct iovec *parts, int count,
                         size_t *got);
    /* more     further bytes follow at once: none need to be on their way before those
     * returns  OK (*sent > 0, perhaps not all) | BUSY | CLOSED | IO */
    enum status (*writev)(struct transport *transport, const struct iovec *parts, int count,
                          bool more, size_t *sent);
    /* Send bytes of a file, from the page cache. NULL: this transport has to see them.
     * returns  as writev; NOT_FOUND: the file cannot be read there (errno) */
    enum status (*send_file)(struct transport *transport, int fd, int64_t offset, size_t size,
                             size_t *sent);
    void (*close)(struct transport *transport);
};

struct transport {
    const struct transport_ops *ops;
    int fd;
    void *state; /* of the encryption; NULL for plain sockets */
};

/* Take over a connected, non-blocking socket: one that was accepted, whose first byte decides; or
 * one that we opened. */
void transport_init_accepted(struct transport *transport, int fd);
void transport_init_opened(struct transport *transport, int fd);

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

static inline bool transport_sends_files(const struct transport *transport)
{
    return transport->ops->send_file != NULL;
}

static inline enum status transport_send_file(struct transport *transport, int fd, int64_t offset,
                                              size_t size, size_t *sent)
{
    return transport->ops->send_file(transport, fd, offset, size, sent);
}

static inline void transport_close(struct transport *transport)
{
    transport->ops->close(transport);
}

#endif
