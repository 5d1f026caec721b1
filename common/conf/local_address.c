/* SPDX-License-Identifier: Apache-2.0
 *
 * The machine's own address. 192.168.* comes last because it is often a bridge for virtual
 * machines. Source: the order of preference of RocketMQ's RemotingUtil.getLocalAddress.
 */
#include "common/conf/local_address.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#define ADDRESSES_MAX 256

const char *local_address_choose(const char *const *addresses, size_t count)
{
    const char *second_choice = NULL;
    for (size_t i = 0; i < count; i++) {
        if (strncmp(addresses[i], "127.", 4) == 0)
            continue;
        if (strncmp(addresses[i], "192.168.", 8) != 0)
            return addresses[i];
        if (second_choice == NULL)
            second_choice = addresses[i];
    }
    return second_choice == NULL ? "127.0.0.1" : second_choice;
}

void local_address_find(char out[LOCAL_ADDRESS_BYTES])
{
    char texts[ADDRESSES_MAX][LOCAL_ADDRESS_BYTES];
    const char *addresses[ADDRESSES_MAX];
    size_t count = 0;
    struct ifaddrs *interfaces = NULL;
    if (getifaddrs(&interfaces) != 0)
        interfaces = NULL;
    for (const struct ifaddrs *at = interfaces; at != NULL && count < ADDRESSES_MAX;
         at = at->ifa_next) {
        if (at->ifa_addr == NULL || at->ifa_addr->sa_family != AF_INET ||
            !(at->ifa_flags & IFF_UP) || (at->ifa_flags & IFF_LOOPBACK))
            continue;
        struct sockaddr_in address;
        memcpy(&address, at->ifa_addr, sizeof address);
        if (inet_ntop(AF_INET, &address.sin_addr, texts[count], LOCAL_ADDRESS_BYTES) == NULL)
            continue;
        addresses[count] = texts[count];
        count++;
    }
    (void)snprintf(out, LOCAL_ADDRESS_BYTES, "%s", local_address_choose(addresses, count));
    if (interfaces != NULL)
        freeifaddrs(interfaces);
}
