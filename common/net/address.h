/* SPDX-License-Identifier: Apache-2.0
 *
 * Socket addresses: between the kernel's form and ours.
 */
#ifndef COMMON_NET_ADDRESS_H
#define COMMON_NET_ADDRESS_H

#include "common/net/net.h"

#include <sys/socket.h>

#define ADDRESSES_MAX 8 /* of one name */

struct address {
    struct sockaddr_storage storage;
    socklen_t size;
};

/* An IPv4 address that came over a dual-stack socket (::ffff:a.b.c.d) becomes a 4-byte one. */
struct host address_to_host(const struct sockaddr_storage *storage);

/* Look a host up. numeric_only  never waits, and fails for names
 * returns  how many addresses were found, at most ADDRESSES_MAX; 0 with *problem, static text */
int address_lookup(const char *host, int port, bool numeric_only, bool passive,
                   struct address out[ADDRESSES_MAX], const char **problem);

#endif
