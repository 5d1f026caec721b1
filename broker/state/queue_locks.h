/* SPDX-License-Identifier: Apache-2.0
 *
 * Which client of a group consumes a queue in order (LOCK_BATCH_MQ): memory only, expires after
 * 60 s, released at once when the owner's connection closes. Any thread; one lock (docs/locks.md:
 * queue_locks).
 */
#ifndef BROKER_STATE_QUEUE_LOCKS_H
#define BROKER_STATE_QUEUE_LOCKS_H

#include "common/base/bytes.h"
#include "common/net/net.h"

#define QUEUE_LOCK_MAX_LIVE_MS 60000

struct queue_locks;
struct queue_locks *queue_locks_new(int64_t max_live_ms);
void queue_locks_free(struct queue_locks *locks);

/* Lock or refresh: true when `client_id` has it now (it was free, its own, or expired).
 * now_ms  monotonic, so that a step of the wall clock moves no lock */
bool queue_locks_try(struct queue_locks *locks, struct slice group, struct slice topic,
                     int32_t queue_id, struct slice client_id, struct conn_ref conn,
                     int64_t now_ms);
void queue_locks_unlock(struct queue_locks *locks, struct slice group, struct slice topic,
                        int32_t queue_id, struct slice client_id);
void queue_locks_closed(struct queue_locks *locks, struct conn_ref conn);

/* Forget expired locks; called now and then so that the table stays small. */
void queue_locks_expire(struct queue_locks *locks, int64_t now_ms);

#endif
