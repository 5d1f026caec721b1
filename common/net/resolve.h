/* SPDX-License-Identifier: Apache-2.0
 *
 * Looking up host names without holding up a loop: getaddrinfo in a thread of its own.
 */
#ifndef COMMON_NET_RESOLVE_H
#define COMMON_NET_RESOLVE_H

#include "common/net/address.h"

struct resolve;

/* Start a look-up. On the loop; `done` is called there once, with count 0 and a problem when
 * nothing was found, unless the look-up is cancelled before. NULL when no thread could be had. */
struct resolve *resolve_start(struct loop *loop, const char *host, int port,
                              void (*done)(void *ctx, const struct address *found, int count,
                                           const char *problem),
                              void *ctx);

/* `done` will not be called. On the loop, or after it has stopped. Does not wait. */
void resolve_cancel(struct resolve *resolve);

#endif
