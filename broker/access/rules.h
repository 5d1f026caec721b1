/* SPDX-License-Identifier: Apache-2.0
 *
 * What plain_acl.yml says, ready to be asked: who is let in without an account, the accounts, and
 * what each may do. Immutable once built, and counted, so that any thread may read it for as long
 * as it holds a count. Nothing here waits or takes a lock.
 */
#ifndef BROKER_ACCESS_RULES_H
#define BROKER_ACCESS_RULES_H

#include "broker/access/address.h"
#include "common/base/arena.h"
#include "proto/body.pb-c.h"

#include <stdatomic.h>

/* Bits; the numbers are 4.9.2's. DENY goes before the others. */
#define ACCESS_DENY 1U
#define ACCESS_PUB 4U
#define ACCESS_SUB 8U

/* Stands before a group's name where topics and groups share a table. */
#define ACCESS_GROUP_PREFIX "%RETRY%"

struct access_account {
    struct slice access_key;
    struct slice secret_key;
    struct address_list white; /* from there the account needs no signature, and may do all */
    bool admin;
    unsigned default_topic;
    unsigned default_group;
    struct map rights; /* topic, or prefix and group -> the bits */
};

struct access_rules {
    _Atomic int64_t references;
    struct arena arena;        /* holds all that follows but the maps' own memory */
    struct address_list white; /* globalWhiteRemoteAddresses: from there everything is allowed */
    struct map accounts;       /* accessKey -> struct access_account */
    bool has_version;          /* the file says which version it is */
    int64_t counter;
    int64_t timestamp_ms;
    GetBrokerClusterAclConfigResponseBody shown; /* the file as it is shown, with secret keys */
};

/* Empty rules, with one reference, for who fills them. */
struct access_rules *access_rules_new(void);
void access_rules_hold(struct access_rules *rules);
void access_rules_release(struct access_rules *rules); /* NULL is fine */

/* "PUB", "SUB", "PUB|SUB", "SUB|PUB"; anything else is DENY. */
unsigned access_bits(struct slice text);

/* NULL: there is none. */
const struct access_account *access_rules_account(const struct access_rules *rules,
                                                  struct slice access_key);

/* May the account use the topic, or the group when the name begins with ACCESS_GROUP_PREFIX?
 * right  ACCESS_PUB or ACCESS_SUB */
bool access_account_may(const struct access_account *account, struct slice resource,
                        unsigned right);

#endif
