/* SPDX-License-Identifier: Apache-2.0
 *
 * Plain sockets, and the decision about the first byte. A TLS ClientHello starts with the record
 * type 0x16; as the length of a remoting frame that byte would mean 352 MiB and more, so no frame
 * is mistaken for it.
 */
#include "common/net/tls_transport.h"

#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#define TLS_FIRST_BYTE 0x16

static enum status status_of_errno(void)
{
    switch (errno) {
    case EAGAIN:
        return STATUS_BUSY;
    case ECONNRESET:
    case EPIPE:
        return STATUS_CLOSED;
    default:
        return STATUS_IO;
    }
}

static enum status plain_readv(struct transport *transport, const struct iovec *parts, int count,
                               size_t *got)
{
    ssize_t n;
    do
        n = count == 1 ? recv(transport->fd, parts[0].iov_base, parts[0].iov_len, 0)
                       : readv(transport->fd, parts, count);
    while (n == -1 && errno == EINTR);
    if (n == -1)
        return status_of_errno();
    *got = (size_t)n;
    return n == 0 ? STATUS_CLOSED : STATUS_OK;
}

static enum status plain_writev(struct transport *transport, const struct iovec *parts, int count,
                                bool more, size_t *sent)
{
    struct msghdr message = {.msg_iov = (struct iovec *)(void *)(size_t)parts,
                             .msg_iovlen = (size_t)count};
    ssize_t n;
    do
        n = sendmsg(transport->fd, &message, MSG_NOSIGNAL | (more ? MSG_MORE : 0));
    while (n == -1 && errno == EINTR);
    if (n == -1)
        return status_of_errno();
    *sent = (size_t)n;
    return n == 0 ? STATUS_BUSY : STATUS_OK;
}

/* A peer that is gone raises SIGPIPE here, which the daemons ignore. */
static enum status plain_send_file(struct transport *transport, int fd, int64_t offset, size_t size,
                                   size_t *sent)
{
    off_t at = offset;
    ssize_t n;
    do
        n = sendfile(transport->fd, fd, &at, size);
    while (n == -1 && errno == EINTR);
    if (n == -1) {
        enum status status = status_of_errno();
        return status == STATUS_IO && errno == EIO ? STATUS_NOT_FOUND : status;
    }
    *sent = (size_t)n;
    if (n == 0)
        errno = EIO; /* the file was cut by somebody */
    return n == 0 ? STATUS_NOT_FOUND : STATUS_OK;
}

static void plain_close(struct transport *transport)
{
    (void)close(transport->fd);
    transport->fd = -1;
}

static const struct transport_ops plain_ops = {plain_readv, plain_writev, plain_send_file,
                                               plain_close};

static enum status turn_away(struct transport *transport, const char *problem)
{
    transport->problem = problem;
    return STATUS_UNSUPPORTED;
}

/* The first read of an accepted connection: look at one byte, then become plain or encrypted. */
static enum status first_readv(struct transport *transport, const struct iovec *parts, int count,
                               size_t *got)
{
    unsigned char first;
    ssize_t n;
    do
        n = recv(transport->fd, &first, 1, MSG_PEEK);
    while (n == -1 && errno == EINTR);
    if (n == -1)
        return status_of_errno();
    if (n == 0)
        return STATUS_CLOSED;
    struct tls_io *io = transport->state;
    if (first == TLS_FIRST_BYTE) {
        if (io == NULL || io->mode == TLS_MODE_DISABLED)
            return turn_away(transport, "the peer wants TLS, which is switched off here");
        tls_transport_begin(transport, io, TLS_SERVER);
        return STATUS_BUSY;
    }
    if (io != NULL && io->mode == TLS_MODE_ENFORCING)
        return turn_away(transport,
                         "the peer does not speak TLS, which tls.server.mode = enforcing "
                         "demands");
    transport->ops = &plain_ops;
    transport->state = NULL;
    return plain_readv(transport, parts, count, got);
}

static const struct transport_ops accepted_ops = {first_readv, plain_writev, plain_send_file,
                                                  plain_close};

void transport_init_accepted(struct transport *transport, int fd, struct tls_io *io)
{
    *transport = (struct transport){.ops = &accepted_ops, .fd = fd, .state = io};
}

void transport_init_opened(struct transport *transport, int fd, struct tls_io *io)
{
    *transport = (struct transport){.ops = &plain_ops, .fd = fd, .opened = true};
    if (io != NULL)
        tls_transport_begin(transport, io, TLS_CLIENT);
}

/* --- at the end --- */

bool transport_has_unread(const struct transport *transport)
{
    int bytes = 0;
    return transport->read_again || (ioctl(transport->fd, FIONREAD, &bytes) == 0 && bytes > 0);
}

bool transport_all_arrived(const struct transport *transport)
{
    int bytes = 0;
    if (ioctl(transport->fd, SIOCOUTQ, &bytes) != 0 || bytes == 0)
        return true;
    /* What a peer that is gone has not confirmed stays counted. */
    struct pollfd gone = {.fd = transport->fd};
    return poll(&gone, 1, 0) == 1 && (gone.revents & (POLLERR | POLLHUP)) != 0;
}

void transport_reset_on_close(struct transport *transport)
{
    struct linger none = {.l_onoff = 1, .l_linger = 0};
    transport->resetting = true;
    (void)setsockopt(transport->fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
}
