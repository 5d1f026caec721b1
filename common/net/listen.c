/* SPDX-License-Identifier: Apache-2.0
 *
 * Listeners: of one address, or of every one, IPv6 and IPv4.
 */
#include "common/net/listen.h"

#include "common/base/check.h"
#include "common/net/address.h"

#include <errno.h>
#include <netinet/in.h>
#include <unistd.h>

#define BACKLOG 1024 /* as 4.9.2 */

static void set_buffers(int fd, const struct listen_buffers *buffers)
{
    /* On the listener, because the window scale is agreed upon before accept returns. */
    int send_bytes = buffers->send_bytes;
    int receive_bytes = buffers->receive_bytes;
    if (send_bytes > 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send_bytes, sizeof send_bytes);
    if (receive_bytes > 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof receive_bytes);
}

/* returns  the descriptor, or -1 with errno */
static int open_listener(const struct address *address, bool dual_stack,
                         const struct listen_buffers *buffers)
{
    int family = address->storage.ss_family;
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd == -1)
        return -1;
    int one = 1;
    int v6_only = dual_stack ? 0 : 1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    set_buffers(fd, buffers);
    if ((family == AF_INET6 &&
         setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6_only, sizeof v6_only) == -1) ||
        bind(fd, (const struct sockaddr *)&address->storage, address->size) == -1 ||
        listen(fd, BACKLOG) == -1) {
        int saved = errno;
        (void)close(fd);
        errno = saved;
        return -1;
    }
    return fd;
}

static bool is_missing_ipv6(int error)
{
    return error == EAFNOSUPPORT || error == EADDRNOTAVAIL || error == EPROTONOSUPPORT;
}

/* Every address: one IPv6 socket that takes IPv4 too; IPv4 alone where there is no IPv6. */
static int open_any(int port, const struct listen_buffers *buffers)
{
    struct sockaddr_in6 v6 = {
        .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port), .sin6_addr = IN6ADDR_ANY_INIT};
    struct address address = {.size = sizeof v6};
    memcpy(&address.storage, &v6, sizeof v6);
    int fd = open_listener(&address, true, buffers);
    if (fd != -1 || !is_missing_ipv6(errno))
        return fd;
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    memset(&address.storage, 0, sizeof address.storage);
    memcpy(&address.storage, &v4, sizeof v4);
    address.size = sizeof v4;
    return open_listener(&address, false, buffers);
}

static int port_of(int fd)
{
    struct sockaddr_storage bound;
    socklen_t size = sizeof bound;
    CHECK(getsockname(fd, (struct sockaddr *)&bound, &size) == 0);
    return address_to_host(&bound).port;
}

static enum status listen_failed(const char *host, int port, struct err *err)
{
    if (errno == EADDRINUSE)
        return err_set_errno(err, STATUS_EXISTS,
                             "port %d is taken; stop the other server or choose another port",
                             port);
    return err_set_errno(err, STATUS_IO, "cannot listen on %s port %d", host, port);
}

enum status listen_open(const char *host, int port, struct listen_buffers buffers, int *fd,
                        int *bound_port, struct err *err)
{
    bool any = host == NULL || *host == '\0';
    const char *name = any ? "every address" : host;
    if (port < 0 || port > 65535)
        return err_set(err, STATUS_INVALID, "cannot listen on %s port %d: no such port", name,
                       port);
    if (any) {
        *fd = open_any(port, &buffers);
    } else {
        struct address found[ADDRESSES_MAX];
        const char *problem;
        if (address_lookup(host, port, false, true, found, &problem) == 0)
            return err_set(err, STATUS_INVALID, "cannot listen on %s: %s", host, problem);
        *fd = open_listener(&found[0], false, &buffers);
    }
    if (*fd == -1)
        return listen_failed(name, port, err);
    if (bound_port != NULL)
        *bound_port = port_of(*fd);
    return STATUS_OK;
}
