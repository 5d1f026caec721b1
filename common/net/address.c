/* SPDX-License-Identifier: Apache-2.0
 *
 * Socket addresses; look-ups through getaddrinfo.
 */
#include "common/net/address.h"

#include "common/base/number.h"

#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>

struct host address_to_host(const struct sockaddr_storage *storage)
{
    struct host host = {.ip_bytes = 4};
    if (storage->ss_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, storage, sizeof v4);
        memcpy(host.ip, &v4.sin_addr, 4);
        host.port = ntohs(v4.sin_port);
    } else if (storage->ss_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, storage, sizeof v6);
        host.port = ntohs(v6.sin6_port);
        if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) {
            memcpy(host.ip, v6.sin6_addr.s6_addr + 12, 4);
        } else {
            host.ip_bytes = 16;
            memcpy(host.ip, v6.sin6_addr.s6_addr, 16);
        }
    }
    return host;
}

int address_lookup(const char *host, int port, bool numeric_only, bool passive,
                   struct address out[ADDRESSES_MAX], const char **problem)
{
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
        .ai_flags =
            AI_NUMERICSERV | (numeric_only ? AI_NUMERICHOST : 0) | (passive ? AI_PASSIVE : 0),
    };
    char service[16];
    (void)snprintf(service, sizeof service, "%d", port);
    struct addrinfo *found = NULL;
    int error = getaddrinfo(host, service, &hints, &found);
    if (error != 0) {
        *problem = gai_strerror(error);
        return 0;
    }
    int count = 0;
    for (const struct addrinfo *info = found; info != NULL && count < ADDRESSES_MAX;
         info = info->ai_next) {
        memcpy(&out[count].storage, info->ai_addr, info->ai_addrlen);
        out[count++].size = info->ai_addrlen;
    }
    freeaddrinfo(found);
    return count;
}

bool net_address_split(const char *address, char *host, size_t host_bytes, int *port)
{
    const char *colon = strrchr(address, ':');
    if (colon == NULL)
        return false;
    struct slice name = slice_of(address, (size_t)(colon - address));
    if (name.size >= 2 && name.data[0] == '[') {
        if (name.data[name.size - 1] != ']')
            return false;
        name = slice_of(name.data + 1, name.size - 2);
    }
    int32_t number;
    if (name.size == 0 || name.size >= host_bytes ||
        !parse_i32(slice_of_cstr(colon + 1), &number) || number < 1 || number > 65535)
        return false;
    memcpy(host, name.data, name.size);
    host[name.size] = '\0';
    *port = number;
    return true;
}
