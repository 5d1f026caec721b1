/* SPDX-License-Identifier: Apache-2.0
 *
 * Sockets, looked up and connected within a time; with TLS the handshake belongs to it.
 */
#include "tools/bench/link.h"

#include "common/base/check.h"
#include "common/sys/clock.h"
#include "common/tls/tls_context.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HOST_BYTES 256

static SSL_CTX *context; /* NULL: links are plain */

enum status link_use_tls(struct err *err)
{
    const struct tls_settings settings = {.test_mode = true};
    const struct tls_contents none = {0};
    return tls_context_new(&settings, TLS_CLIENT, &none, &context, err);
}

/* --- connecting --- */

static enum status address_split(const char *address, char host[HOST_BYTES], const char **port,
                                 struct err *err)
{
    const char *colon = strrchr(address, ':');
    size_t host_bytes = colon == NULL ? 0 : (size_t)(colon - address);
    if (colon == NULL || colon[1] == '\0' || host_bytes == 0 || host_bytes >= HOST_BYTES)
        return err_set(err, STATUS_INVALID, "\"%s\" is not an address; write HOST:PORT", address);
    if (address[0] == '[' && colon[-1] == ']') {
        address++;
        host_bytes -= 2;
    }
    memcpy(host, address, host_bytes);
    host[host_bytes] = '\0';
    *port = colon + 1;
    return STATUS_OK;
}

enum status link_await(const struct link *link, short events, int64_t deadline_ms)
{
    for (;;) {
        int64_t left_ms = deadline_ms - clock_monotonic_ms(clock_real());
        if (left_ms < 0)
            left_ms = 0;
        struct pollfd poller = {.fd = link->fd, .events = events};
        int ready = poll(&poller, 1, (int)left_ms);
        if (ready > 0)
            return STATUS_OK;
        if (ready == 0)
            return STATUS_TIMEOUT;
        if (errno != EINTR)
            return STATUS_IO;
    }
}

static enum status connect_one(const struct addrinfo *info, int64_t deadline_ms, struct link *link)
{
    link->fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (link->fd == -1)
        return STATUS_IO;
    enum status status = STATUS_OK;
    if (connect(link->fd, info->ai_addr, info->ai_addrlen) == -1) {
        status = errno == EINPROGRESS ? link_await(link, POLLOUT, deadline_ms) : STATUS_IO;
        int error = 0;
        socklen_t error_bytes = sizeof error;
        if (status == STATUS_OK &&
            (getsockopt(link->fd, SOL_SOCKET, SO_ERROR, &error, &error_bytes) == -1 ||
             error != 0)) {
            errno = error;
            status = STATUS_IO;
        }
    }
    if (status != STATUS_OK) {
        int kept = errno;
        link_close(link);
        errno = kept;
        return status;
    }
    int on = 1;
    (void)setsockopt(link->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return STATUS_OK;
}

static enum status shake_hands(struct link *link, const char *address, int64_t deadline_ms,
                               struct err *err)
{
    SSL *ssl = SSL_new(context);
    CHECK(ssl != NULL && SSL_set_fd(ssl, link->fd) == 1);
    link->ssl = ssl;
    ERR_clear_error();
    for (;;) {
        int result = SSL_connect(ssl);
        if (result == 1)
            return STATUS_OK;
        int want = SSL_get_error(ssl, result);
        if (want != SSL_ERROR_WANT_READ && want != SSL_ERROR_WANT_WRITE) {
            const char *reason = ERR_reason_error_string(ERR_peek_error());
            return err_set(err, STATUS_IO, "%s: the TLS handshake failed: %s", address,
                           reason == NULL ? "the connection was closed" : reason);
        }
        enum status status =
            link_await(link, want == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, deadline_ms);
        if (status != STATUS_OK)
            return err_set(err, status, "%s: the TLS handshake is not done in time", address);
    }
}

enum status link_open(struct link *link, const char *address, int64_t timeout_ms, struct err *err)
{
    char host[HOST_BYTES];
    const char *port = NULL;
    *link = (struct link){-1, NULL};
    enum status status = address_split(address, host, &port, err);
    if (status != STATUS_OK)
        return status;
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found;
    int failure = getaddrinfo(host, port, &hints, &found);
    if (failure != 0)
        return err_set(err, STATUS_INVALID, "address %s: %s", address, gai_strerror(failure));
    int64_t deadline_ms = clock_monotonic_ms(clock_real()) + timeout_ms;
    status = STATUS_IO;
    for (const struct addrinfo *i = found; i != NULL && status != STATUS_OK; i = i->ai_next)
        status = connect_one(i, deadline_ms, link);
    freeaddrinfo(found);
    if (status == STATUS_TIMEOUT)
        return err_set(err, status, "no connection to %s within %lld ms", address,
                       (long long)timeout_ms);
    if (status != STATUS_OK)
        return err_set_errno(err, status, "cannot connect to %s", address);
    if (context != NULL)
        status = shake_hands(link, address, deadline_ms, err);
    if (status != STATUS_OK)
        link_close(link);
    return status;
}

void link_close(struct link *link)
{
    SSL_free(link->ssl);
    if (link->fd != -1)
        (void)close(link->fd);
    *link = (struct link){-1, NULL};
}

/* --- bytes --- */

static ssize_t failed(const SSL *ssl, int result)
{
    int want = SSL_get_error(ssl, result);
    if (want == SSL_ERROR_ZERO_RETURN)
        return 0;
    errno = want == SSL_ERROR_WANT_READ || want == SSL_ERROR_WANT_WRITE ? EAGAIN : ECONNRESET;
    return -1;
}

ssize_t link_send(struct link *link, const void *data, size_t size)
{
    if (link->ssl == NULL)
        return send(link->fd, data, size, MSG_NOSIGNAL);
    size_t sent = 0;
    ERR_clear_error();
    int result = SSL_write_ex(link->ssl, data, size, &sent);
    return result == 1 ? (ssize_t)sent : failed(link->ssl, result);
}

ssize_t link_receive(struct link *link, void *data, size_t size)
{
    if (link->ssl == NULL)
        return recv(link->fd, data, size, 0);
    size_t got = 0;
    ERR_clear_error();
    while (got < size) {
        size_t n = 0;
        int result = SSL_read_ex(link->ssl, (uint8_t *)data + got, size - got, &n);
        if (result != 1) /* an end behind bytes shows again at the next call */
            return got > 0 ? (ssize_t)got : failed(link->ssl, result);
        got += n;
    }
    return (ssize_t)got;
}
