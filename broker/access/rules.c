/* SPDX-License-Identifier: Apache-2.0
 *
 * Rules are as 4.9.2's: a name that the account lists goes by what is listed, another one by the
 * account's default for topics or groups; an administrator whose account lists nothing may do all.
 * Source: RMQ acl/.../PlainPermissionManager.java, Permission.java.
 */
#include "broker/access/rules.h"

#include "common/base/check.h"

#include <stdlib.h>

struct access_rules *access_rules_new(void)
{
    struct access_rules *rules = xcalloc(1, sizeof *rules);
    atomic_init(&rules->references, 1);
    arena_init(&rules->arena, 4096);
    get_broker_cluster_acl_config_response_body__init(&rules->shown);
    return rules;
}

void access_rules_hold(struct access_rules *rules)
{
    atomic_fetch_add(&rules->references, 1);
}

void access_rules_release(struct access_rules *rules)
{
    if (rules == NULL || atomic_fetch_sub(&rules->references, 1) != 1)
        return;
    size_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&rules->accounts, &cursor)) != NULL;) {
        struct access_account *account = entry->value;
        address_list_release(&account->white);
        map_release(&account->rights);
    }
    map_release(&rules->accounts);
    address_list_release(&rules->white);
    arena_release(&rules->arena);
    free(rules);
}

unsigned access_bits(struct slice text)
{
    if (slice_is(text, "PUB"))
        return ACCESS_PUB;
    if (slice_is(text, "SUB"))
        return ACCESS_SUB;
    if (slice_is(text, "PUB|SUB") || slice_is(text, "SUB|PUB"))
        return ACCESS_PUB | ACCESS_SUB;
    return ACCESS_DENY;
}

const struct access_account *access_rules_account(const struct access_rules *rules,
                                                  struct slice access_key)
{
    return map_get(&rules->accounts, access_key);
}

bool access_account_may(const struct access_account *account, struct slice resource, unsigned right)
{
    if (account->admin && account->rights.count == 0)
        return true;
    bool is_group = slice_starts_with(resource, SLICE_LITERAL(ACCESS_GROUP_PREFIX));
    unsigned bits = is_group ? account->default_group : account->default_topic;
    const void *listed = map_get(&account->rights, resource);
    if (listed != NULL)
        bits = (unsigned)(uintptr_t)listed;
    return (bits & ACCESS_DENY) == 0 && (bits & right) != 0;
}
