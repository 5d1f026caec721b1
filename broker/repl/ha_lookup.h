/* SPDX-License-Identifier: Apache-2.0
 *
 * Looking up a master's host name, in a thread of its own: a resolver that gets no answer waits for
 * many seconds and cannot be interrupted, and neither stopping nor another master waits for it.
 */
#ifndef BROKER_REPL_HA_LOOKUP_H
#define BROKER_REPL_HA_LOOKUP_H

#include "common/base/status.h"
#include "common/net/address.h"

/* Wait for the addresses of `host`, or until wake_fd is written to.
 * *count  out: how many were found, more than 0 when OK
 * returns  OK | INVALID (none: *problem says why) | CLOSED (woken) | BUSY (no thread, no
 * descriptor)
 */
enum status ha_lookup(const char *host, int port, int wake_fd, struct address found[ADDRESSES_MAX],
                      int *count, const char **problem);

#endif
