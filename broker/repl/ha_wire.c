/* SPDX-License-Identifier: Apache-2.0
 *
 * Sockets of replication. Invariant: `range` is released exactly once: when it has left, or when
 * the connection is closed.
 */
#include "broker/repl/ha_wire.h"

#include "broker/repl/ha_lookup.h"
#include "common/base/check.h"
#include "common/net/address.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINGER_MS 1000
#define SENDFILE_BYTES_MIN 16384 /* smaller blocks are copied: docs/decisions/0010-sendfile.md */

void ha_wire_init(struct ha_wire *wire, int fd, bool accepted, int wake_fd)
{
    *wire = (struct ha_wire){.wake_fd = wake_fd};
    int one = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (accepted)
        transport_init_accepted(&wire->transport, fd, NULL);
    else
        transport_init_opened(&wire->transport, fd, NULL);
}

static void drop_range(struct ha_wire *wire)
{
    if (wire->range.segment != NULL)
        log_range_release(&wire->range);
    wire->range = (struct log_range){NULL, 0, NULL};
    wire->range_sent = 0;
}

void ha_wire_close(struct ha_wire *wire)
{
    drop_range(wire);
    transport_close(&wire->transport);
}

/* --- connecting --- */

static enum status await_connection(int fd, int64_t patience_ms, int wake_fd)
{
    struct pollfd polled[2] = {{.fd = fd, .events = POLLOUT}, {.fd = wake_fd, .events = POLLIN}};
    int count = poll(polled, 2, (int)patience_ms);
    if (polled[1].revents != 0)
        return STATUS_CLOSED;
    if (count <= 0) {
        errno = ETIMEDOUT;
        return STATUS_TIMEOUT;
    }
    int error = 0;
    socklen_t size = sizeof error;
    CHECK(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0);
    errno = error;
    return error == 0 ? STATUS_OK : STATUS_IO;
}

static enum status connect_one(const struct address *address, int64_t patience_ms, int wake_fd,
                               int *out)
{
    int fd = socket(address->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd == -1)
        return STATUS_IO;
    enum status status = STATUS_OK;
    if (connect(fd, (const struct sockaddr *)&address->storage, address->size) == -1)
        status = errno == EINPROGRESS ? await_connection(fd, patience_ms, wake_fd) : STATUS_IO;
    if (status == STATUS_OK) {
        *out = fd;
        return STATUS_OK;
    }
    int saved = errno;
    (void)close(fd);
    errno = saved;
    return status;
}

enum status ha_wire_connect(const char *address, int64_t patience_ms, int wake_fd, int *fd,
                            struct err *err)
{
    char host[256];
    int port;
    struct address found[ADDRESSES_MAX];
    const char *problem = NULL;
    if (!net_address_split(address, host, sizeof host, &port))
        return err_set(err, STATUS_INVALID,
                       "\"%s\" is no address; write haMasterAddress as host:port", address);
    int count;
    enum status status = ha_lookup(host, port, wake_fd, found, &count, &problem);
    if (status == STATUS_INVALID)
        return err_set(err, status, "the address of %s can not be found: %s", address, problem);
    if (status != STATUS_OK)
        return err_set_errno(err, status, "the address of %s can not be looked up", address);
    status = STATUS_IO;
    for (int i = 0; i < count && status != STATUS_OK && status != STATUS_CLOSED; i++)
        status = connect_one(&found[i], patience_ms, wake_fd, fd);
    if (status == STATUS_OK)
        return STATUS_OK;
    return err_set_errno(err, status, "no connection to %s", address);
}

/* --- sending --- */

void ha_wire_send(struct ha_wire *wire, struct slice frame)
{
    CHECK(!ha_wire_busy(wire) && frame.size > 0 && frame.size <= sizeof wire->frame);
    memcpy(wire->frame, frame.data, frame.size);
    wire->frame_size = frame.size;
    wire->frame_sent = 0;
}

void ha_wire_send_block(struct ha_wire *wire, int64_t pos, const struct log_range *range)
{
    uint8_t head[HA_HEAD_BYTES];
    CHECK(range->size > 0 && range->size <= HA_BLOCK_BYTES_MAX);
    ha_head_encode(pos, (int32_t)range->size, head);
    ha_wire_send(wire, slice_of(head, sizeof head));
    wire->range = *range;
    wire->range_sent = 0;
}

static enum status flush_frame(struct ha_wire *wire)
{
    while (wire->frame_sent < wire->frame_size) {
        struct iovec part = {wire->frame + wire->frame_sent, wire->frame_size - wire->frame_sent};
        size_t sent = 0;
        enum status status =
            transport_writev(&wire->transport, &part, 1, wire->range.size > 0, &sent);
        if (status != STATUS_OK)
            return status;
        wire->frame_sent += sent;
    }
    return STATUS_OK;
}

static enum status flush_range(struct ha_wire *wire, size_t *log_bytes)
{
    const struct log_range *range = &wire->range;
    int fd = -1;
    int64_t offset = 0;
    if (range->size > 0)
        log_range_file(range, &fd, &offset);
    while (wire->range_sent < range->size) {
        size_t rest = range->size - wire->range_sent;
        size_t sent = 0;
        enum status status = transport_send_file(&wire->transport, fd,
                                                 offset + (int64_t)wire->range_sent, rest, &sent);
        if (status != STATUS_OK)
            return status;
        wire->range_sent += sent;
        *log_bytes += sent;
    }
    return STATUS_OK;
}

/* A head and a few messages: gathered and copied, which costs one call instead of two. */
static enum status flush_small(struct ha_wire *wire, size_t *log_bytes)
{
    struct iovec parts[2] = {
        {wire->frame, wire->frame_size},
        {(void *)(uintptr_t)wire->range.data, wire->range.size},
    };
    size_t sent = 0;
    enum status status = transport_writev(&wire->transport, parts, 2, false, &sent);
    if (status != STATUS_OK)
        return status;
    wire->frame_sent = sent < wire->frame_size ? sent : wire->frame_size;
    wire->range_sent = sent - wire->frame_sent;
    *log_bytes += wire->range_sent;
    return STATUS_OK;
}

enum status ha_wire_flush(struct ha_wire *wire, size_t *log_bytes)
{
    enum status status = STATUS_OK;
    *log_bytes = 0;
    if (wire->frame_sent == 0 && wire->range.size > 0 && wire->range.size < SENDFILE_BYTES_MIN)
        status = flush_small(wire, log_bytes);
    if (status == STATUS_OK)
        status = flush_frame(wire);
    if (status == STATUS_OK)
        status = flush_range(wire, log_bytes);
    if (status == STATUS_OK) {
        drop_range(wire);
        wire->frame_size = wire->frame_sent = 0;
    }
    return status;
}

/* --- receiving and waiting --- */

enum status ha_wire_read(struct ha_wire *wire, void *memory, size_t size, size_t *got)
{
    struct iovec part = {memory, size};
    return transport_readv(&wire->transport, &part, 1, got);
}

static int poll_timeout(int64_t timeout_ms)
{
    if (timeout_ms < 0)
        return -1;
    return timeout_ms > 3600000 ? 3600000 : (int)timeout_ms;
}

static void clear_wake(int wake_fd)
{
    uint64_t count;
    ssize_t n = read(wake_fd, &count, sizeof count);
    CHECK(n == (ssize_t)sizeof count || errno == EAGAIN || errno == EINTR);
}

void ha_wire_wait(struct ha_wire *wire, bool for_writing, int64_t timeout_ms)
{
    struct pollfd polled[2] = {
        {.fd = wire->transport.fd, .events = (short)(POLLIN | (for_writing ? POLLOUT : 0))},
        {.fd = wire->wake_fd, .events = POLLIN}};
    if (poll(polled, 2, poll_timeout(timeout_ms < 0 ? 0 : timeout_ms)) > 0 &&
        polled[1].revents != 0)
        clear_wake(wire->wake_fd);
}

void ha_wake_wait(int wake_fd, int64_t timeout_ms)
{
    struct pollfd polled = {.fd = wake_fd, .events = POLLIN};
    if (poll(&polled, 1, poll_timeout(timeout_ms)) > 0)
        clear_wake(wake_fd);
}

void ha_wake(int wake_fd)
{
    uint64_t one = 1;
    ssize_t n = write(wake_fd, &one, sizeof one);
    CHECK(n == (ssize_t)sizeof one || errno == EAGAIN);
}

void ha_wire_linger(struct ha_wire *wire)
{
    char thrown_away[4096];
    size_t got;
    const int64_t until_ms = clock_monotonic_ms(clock_real()) + LINGER_MS;
    (void)shutdown(wire->transport.fd, SHUT_WR);
    for (int64_t rest_ms = LINGER_MS; rest_ms > 0;
         rest_ms = until_ms - clock_monotonic_ms(clock_real())) {
        struct pollfd polled = {.fd = wire->transport.fd, .events = POLLIN};
        if (poll(&polled, 1, (int)rest_ms) <= 0 ||
            ha_wire_read(wire, thrown_away, sizeof thrown_away, &got) != STATUS_OK)
            return;
    }
}
