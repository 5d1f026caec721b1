/* SPDX-License-Identifier: Apache-2.0
 *
 * Subscription groups: what each consumer group may do, kept in config/subscriptionGroup.json. Any
 * thread; one lock (docs/locks.md: groups).
 */
#ifndef BROKER_STATE_GROUPS_H
#define BROKER_STATE_GROUPS_H

#include "broker/state/data_version.h"
#include "common/base/arena.h"
#include "common/base/status.h"
#include "common/sys/clock.h"
#include "common/sys/vfs.h"
#include "proto/body.pb-c.h"

#include <stdbool.h>

struct group_config {
    bool consume_enable;
    bool consume_from_min_enable;
    bool consume_broadcast_enable;
    int32_t retry_queues;
    int32_t retry_max_times;
    int64_t broker_id;
    int64_t which_broker_when_consume_slowly;
    bool notify_consumer_ids_changed;
};

struct groups;

/* The groups of 4.9.2's boot table and those of the file. Faults as topics_load. */
MUST_CHECK enum status groups_load(const char *path, struct vfs *vfs, const struct clock *clock,
                                   struct groups **out, struct err *err);
void groups_free(struct groups *groups);

/* auto_create  autoCreateSubscriptionGroup: an unknown group is made with defaults (also always for
 *              names that start with CID_RMQ_SYS_)
 * returns  false when there is none, or when it could not be made because its name is empty or
 *          longer than GROUP_BYTES_MAX, or GROUPS_MAX are there already */
bool groups_get(struct groups *groups, struct slice name, bool auto_create,
                struct group_config *out);

/* Set a group's configuration wholesale, creating it when needed; the data version moves.
 * returns  OK | BUSY (GROUPS_MAX are there already) */
MUST_CHECK enum status groups_put(struct groups *groups, struct slice name,
                                  const struct group_config *config);

/* Set consumeEnable=false, in memory: the file is not written for it.
 * returns  false: there is no such group, or it is so already */
bool groups_disable_consume(struct groups *groups, struct slice name);

/* False when there was none. */
bool groups_remove(struct groups *groups, struct slice name);

struct group_config group_config_default(void);
void group_config_from_body(const SubscriptionGroupConfig *body, struct group_config *out);

/* The data version now, and a count that moves with every change. */
struct data_version groups_version(const struct groups *groups, uint64_t *changes);

/* Become what a master's table is, as topics_replace.
 * returns  OK | MALFORMED (no data version, no group, or more than GROUPS_MAX) */
MUST_CHECK enum status groups_replace(struct groups *groups, const SubscriptionGroupWrapper *body,
                                      struct err *err);

/* The table of code 201 and of the file; memory from `arena`. */
void groups_wrap(const struct groups *groups, struct arena *arena, SubscriptionGroupWrapper *out);
/* Write the file when something changed since the last time. Worker threads only.
 * returns  OK | IO | FULL */
MUST_CHECK enum status groups_persist(struct groups *groups, struct err *err);

#endif
