/* SPDX-License-Identifier: Apache-2.0
 *
 * The address of this machine that a broker tells its clients when none is configured.
 */
#ifndef COMMON_CONF_LOCAL_ADDRESS_H
#define COMMON_CONF_LOCAL_ADDRESS_H

#include <stddef.h>

/* The one to use of the machine's IPv4 addresses without 127.0.0.1: the first that is neither
 * 127.* nor 192.168.*, else the first that is not 127.*, else "127.0.0.1". */
const char *local_address_choose(const char *const *addresses, size_t count);

#define LOCAL_ADDRESS_BYTES 16 /* "255.255.255.255" and a NUL */

/* The same over the interfaces that are up. */
void local_address_find(char out[LOCAL_ADDRESS_BYTES]);

#endif
