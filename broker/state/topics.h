/* SPDX-License-Identifier: Apache-2.0
 *
 * The broker's topics: a table of configurations with a data version, kept in config/topics.json in
 * RocketMQ's format. Any thread; one lock (docs/locks.md: topics), held for a look-up or a change,
 * never over I/O.
 */
#ifndef BROKER_STATE_TOPICS_H
#define BROKER_STATE_TOPICS_H

#include "broker/state/data_version.h"
#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/base/status.h"
#include "common/sys/clock.h"
#include "common/sys/vfs.h"
#include "proto/body.pb-c.h"

#include <stdbool.h>

#define PERM_INHERIT 1
#define PERM_WRITE 2
#define PERM_READ 4

#define TOPIC_SYS_FLAG_UNIT 1
#define TOPIC_SYS_FLAG_UNIT_SUB 2

#define TOPIC_TBW102 "TBW102"
#define TOPIC_SCHEDULE "SCHEDULE_TOPIC_XXXX"
#define TOPIC_TIMER "rmq_sys_wheel_timer" /* RocketMQ 5 */
#define TOPIC_OFFSET_MOVED_EVENT "OFFSET_MOVED_EVENT"
#define TOPIC_TRANS_HALF "RMQ_SYS_TRANS_HALF_TOPIC"
#define TOPIC_TRANS_OP_HALF "RMQ_SYS_TRANS_OP_HALF_TOPIC"
#define TOPIC_TRANS_CHECK_MAX_TIME "TRANS_CHECK_MAX_TIME_TOPIC"
#define TOPIC_RETRY_PREFIX "%RETRY%"
#define TOPIC_DLQ_PREFIX "%DLQ%"

/* One topic, copied out of the table. */
struct topic_config {
    const char *name; /* the table's copy; valid until topics_free */
    int32_t read_queues;
    int32_t write_queues;
    int32_t perm;
    int32_t sys_flag;
    bool multi_tag; /* topicFilterType MULTI_TAG */
    bool order;
    bool saved; /* the topic is in the file: it survives a crash. Ignored by topics_put */
};

/* What decides which system topics exist and how topics are created. */
struct topics_options {
    const char *path; /* config/topics.json; borrowed */
    const char *cluster_name;
    const char *broker_name;
    const char *trace_topic_name;
    int32_t default_queues; /* defaultTopicQueueNums */
    bool auto_create;       /* autoCreateTopicEnable, at boot: whether TBW102 exists */
    bool cluster_topic;     /* clusterTopicEnable */
    bool broker_topic;      /* brokerTopicEnable */
    bool trace_topic;       /* traceTopicEnable */
};

struct topics;

/* Make the table with the system topics of 4.9.2 (behaviour: section 2.1) and load the file over
 * them. A damaged file falls back to its .bak with a loud line; when that is damaged too, the load
 * fails rather than start empty.
 * returns  OK | CORRUPT | IO */
MUST_CHECK enum status topics_load(const struct topics_options *options, struct vfs *vfs,
                                   const struct clock *clock, struct topics **out, struct err *err);
void topics_free(struct topics *topics);

bool topics_get(const struct topics *topics, struct slice name, struct topic_config *out);

/* Why a name is not allowed, as 4.9.2's remark (TP-03), or NULL when it is. */
const char *topic_name_fault(struct slice name);

/* System topics: those of the boot table, the RMQ_SYS_* constants, any rmq_sys_ prefix (TP-02). */
bool topics_is_system(const struct topics *topics, struct slice name);

/* Call `each` for the name of every system topic, whether it is in the table or not (AD-13). Names
 * have a NUL behind them and live until topics_free. */
void topics_walk_system(const struct topics *topics, void (*each)(void *ctx, struct slice name),
                        void *ctx);

/* Set a topic's configuration wholesale, creating it when needed; the data version moves.
 * config   its name is ignored
 * returns  OK | BUSY (TOPICS_MAX are there already) */
MUST_CHECK enum status topics_put(struct topics *topics, struct slice name,
                                  const struct topic_config *config);

/* Create a topic as a send does (TP-04): from default_topic, which must exist and be inheritable.
 * default_topic_queues  what the producer asks for; the default topic's write queues cap it
 * unit_sys_flag  sys flag of the new topic
 * auto_create    autoCreateTopicEnable now; without it TBW102 is not inheritable
 * returns  OK (also when it exists by now; *out is it) | NOT_FOUND | BUSY (TOPICS_MAX) */
MUST_CHECK enum status topics_create_on_send(struct topics *topics, struct slice name,
                                             struct slice default_topic,
                                             int32_t default_topic_queues, int32_t unit_sys_flag,
                                             bool auto_create, struct topic_config *out);

/* Create with fixed queues when it does not exist yet (retry and dead letter topics); *created
 * tells whether it was new.
 * returns  OK | BUSY (TOPICS_MAX; *out untouched) */
MUST_CHECK enum status topics_ensure(struct topics *topics, struct slice name, int32_t queues,
                                     int32_t perm, int32_t sys_flag, struct topic_config *out,
                                     bool *created);

/* False when there was none. */
bool topics_remove(struct topics *topics, struct slice name);

/* TP-10: topics named in the order table (name -> conf) get order = true, all others false; the
 * version moves only when something changed. */
void topics_set_order(struct topics *topics, const KVTable *order_table);

/* The data version moves without a change of topics (an update of brokerPermission, TP-11). */
void topics_touch_version(struct topics *topics);

/* The data version now, and a count that moves with every change. */
struct data_version topics_version(const struct topics *topics, uint64_t *changes);

/* Become what a master's table is: topics that are not in it go, the others are as they are there,
 * and the data version is the master's, as on 4.9.2's slaves. All of it or nothing.
 * returns  OK | MALFORMED (no data version, no topic, or more than TOPICS_MAX: that is no master's
 *          table; err says which) | BUSY (too many topics have come and gone since the start) */
MUST_CHECK enum status topics_replace(struct topics *topics,
                                      const TopicConfigSerializeWrapper *body, struct err *err);

/* Fill the wrapper for registration, code 21 and the file; memory from `arena`.
 * only        NULL: all topics; else just that one, with the full data version (TP-07)
 * perm_mask   -1, or brokerPermission when it lacks a right: topics are shown with that perm and
 *             with default filter type, sys flag and order (TP-11) */
void topics_wrap(const struct topics *topics, const char *only, int32_t perm_mask,
                 struct arena *arena, TopicConfigSerializeWrapper *out);

/* Write the file when something changed since the last time. Worker threads only.
 * returns  OK | IO | FULL */
MUST_CHECK enum status topics_persist(struct topics *topics, struct err *err);

#endif
