/* SPDX-License-Identifier: Apache-2.0
 *
 * How groups consume topics when their clients leave it to the broker: pull or pop
 * (SET_MESSAGE_REQUEST_MODE), kept in config/messageRequestMode.json as 5.3.3 does. Any thread; one
 * lock (docs/locks.md: request_modes).
 */
#ifndef BROKER_STATE_REQUEST_MODES_H
#define BROKER_STATE_REQUEST_MODES_H

#include "common/base/arena.h"
#include "common/base/bytes.h"
#include "common/base/status.h"
#include "common/sys/vfs.h"
#include "proto/body.pb-c.h"

#include <stdbool.h>

struct request_mode {
    bool pop;
    int share_queues; /* popShareQueueNum; 0 or less: every consumer pops all queues */
};

struct request_modes;

/* Faults as topics_load. */
MUST_CHECK enum status request_modes_load(const char *path, struct vfs *vfs,
                                          struct request_modes **out, struct err *err);
void request_modes_free(struct request_modes *modes);

/* False: none was set. */
bool request_modes_get(const struct request_modes *modes, struct slice topic, struct slice group,
                       struct request_mode *out);

/* returns  OK | INVALID (an empty or overlong name) | BUSY (REQUEST_MODES_MAX are there) */
MUST_CHECK enum status request_modes_put(struct request_modes *modes, struct slice topic,
                                         struct slice group, const struct request_mode *mode);

/* A count that moves with every change, and the table of the file; memory from `arena`. */
uint64_t request_modes_wrap(const struct request_modes *modes, struct arena *arena,
                            MessageRequestModeSerializeWrapper *out);
uint64_t request_modes_version(const struct request_modes *modes);

/* Become what a master's table is. Impossible names are left out.
 * returns  OK | MALFORMED (more than REQUEST_MODES_MAX; nothing is changed) */
MUST_CHECK enum status request_modes_replace(struct request_modes *modes,
                                             const MessageRequestModeSerializeWrapper *body,
                                             struct err *err);

/* Write the file when something changed since the last time. Worker threads only.
 * returns  OK | IO | FULL */
MUST_CHECK enum status request_modes_persist(struct request_modes *modes, struct err *err);

#endif
