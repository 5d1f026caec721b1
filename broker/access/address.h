/* SPDX-License-Identifier: Apache-2.0
 *
 * White lists of addresses, in RocketMQ's syntax:
 *
 *     (blank)                      nobody
 *     *  *.*.*.*  *:*:*:*:*:*:*:*  everybody
 *     10.0.0.1   fe80::1           one address
 *     10.0.0.1,10.0.0.2            several
 *     10.0.0.{1,2}  fe80::{1,2}    several that differ in their last part
 *     10.0.0.*   10.0.0.1-9        a range in the second, third or fourth part; what follows it
 *     10.0.*.*   10.0.1-9.*        counts for nothing
 *     a:b:*  a:b:1-ff  a:b:1-ff:*  the same for IPv6, in the last part, or the last but one before
 *                                  a *. The parts before it are those written: a:b:* asks for the
 *                                  first two. With :: among them they are seven (six before :*)
 *
 * What 4.9.2 takes and can never match, such as 10.0.999.*, is refused here.
 * Pure; a list is built by one thread and then only read.
 */
#ifndef BROKER_ACCESS_ADDRESS_H
#define BROKER_ACCESS_ADDRESS_H

#include "common/base/map.h"
#include "common/base/status.h"
#include "proto/message_id.h"

struct address_range;

struct address_list {
    bool everybody;
    struct map hosts; /* the address's 4 or 16 bytes */
    struct address_range *ranges;
    size_t range_count;
};

#define ADDRESS_LIST_EMPTY ((struct address_list){false, MAP_EMPTY, NULL, 0})

/* Add what one line says. On a failure the list may hold a part of it.
 * returns  OK | MALFORMED, with words in err | TOO_LARGE (more than ACL_RANGES_MAX ranges) */
MUST_CHECK enum status address_list_add(struct address_list *list, struct slice text,
                                        struct err *err);

/* The port of `peer` does not matter. */
bool address_list_has(const struct address_list *list, const struct host *peer);

void address_list_release(struct address_list *list);

#endif
