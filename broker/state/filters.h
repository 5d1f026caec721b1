/* SPDX-License-Identifier: Apache-2.0
 *
 * The filters of consumer groups, by topic and group, as heartbeats state them: compiled once for
 * each new expression, kept for a while after the group has gone, and saved in
 * config/consumerFilter.json in 4.9.2's form. Any thread; one lock (docs/locks.md: filters).
 *
 * Source: RMQ broker/.../ConsumerFilterManager.java, ConsumerFilterData.java.
 */
#ifndef BROKER_STATE_FILTERS_H
#define BROKER_STATE_FILTERS_H

#include "broker/state/consumer_filter.h"
#include "common/base/arena.h"
#include "common/sys/clock.h"
#include "common/sys/vfs.h"
#include "proto/body.pb-c.h"

struct filters;

struct filters_options {
    const char *path;        /* of consumerFilter.json; copied */
    int bloom_error_percent; /* maxErrorRateOfBloomFilter */
    int64_t bloom_expected;  /* expectConsumerNumUseFilter */
};

/* Load the table. Its groups count as gone until they are heard of. A filter that does not compile
 * is left out, and a file that cannot be read as one is begun anew, with an error in the log: both
 * come back with heartbeats.
 * returns  OK | IO */
enum status filters_load(const struct filters_options *options, struct vfs *vfs,
                         const struct clock *clock, struct filters **out, struct err *err);
void filters_free(struct filters *filters);

/* The subscriptions of a group, from its heartbeat: those of other types than TAG become its
 * filters when they are new or have a greater version. An expression that does not compile takes
 * the place of the one before, and leaves none. Filters of topics that are not subscribed to any
 * more die. At most HEARTBEAT_COMPILE_BYTES_MAX of new expressions are taken at a time, and one;
 * the next heartbeat brings the others. */
void filters_heartbeat(struct filters *filters, const ConsumerData *data);

/* The filter of a topic and group (a reference for the caller), or NULL.
 * version  out: of the subscription that stated it last; may be NULL */
struct consumer_filter *filters_get(struct filters *filters, struct slice topic, struct slice group,
                                    int64_t *version);

/* The filter of an expression that a pull brings along, which belongs to no group: compiled, unless
 * it was lately. Reference of one.
 * returns  as consumer_filter_new */
MUST_CHECK enum status filters_compile(struct filters *filters, const char *expression_type,
                                       const char *expression, struct consumer_filter **out,
                                       struct err *err);

/* Filters of groups that are not online die, and those that have been dead for long are dropped.
 * is_online  called without a lock held */
void filters_step(struct filters *filters, int64_t dead_max_ms,
                  bool (*is_online)(void *ctx, struct slice group), void *ctx);

/* One entry of the file, for people (QUERY_CONSUME_QUEUE), in the arena; NULL when there is none.
 */
ConsumerFilterData *filters_wrap(struct filters *filters, struct slice topic, struct slice group,
                                 struct arena *arena);

/* Save when something has changed. May wait on disk.
 * returns  OK | IO | FULL | BUSY; the next call tries again */
MUST_CHECK enum status filters_persist(struct filters *filters, struct err *err);

#endif
