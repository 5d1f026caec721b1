/* SPDX-License-Identifier: Apache-2.0
 *
 * Deleting what is old and refusing messages before the disk is full.
 *
 * Segments go oldest first, never the last one, when it is the hour (deleteWhen) or the disk is
 * fuller than diskMaxUsedSpaceRatio, and the file was last written fileReservedTime ago; above
 * RETENTION_FORCE_PERCENT the age does not matter (cleanFileForciblyEnable). At most
 * RETENTION_FILES_PER_ROUND per round, with a pause between them. Then the queue entries and index
 * files that pointed only there go. Above RETENTION_REFUSE_PERCENT messages are refused.
 *
 * Source: RocketMQ store/.../DefaultMessageStore.java (CleanCommitLogService).
 */
#ifndef BROKER_STORE_RETENTION_H
#define BROKER_STORE_RETENTION_H

#include "broker/store/store.h"

#include <stdatomic.h>

#define RETENTION_FORCE_PERCENT 85
#define RETENTION_REFUSE_PERCENT 90
#define RETENTION_FILES_PER_ROUND 10
#define RETENTION_PAUSE_MS 100

struct retention {
    struct store *store;
    int removed; /* files in this round */
    bool more;   /* the round goes on after a pause */
    _Atomic int commit_log_percent;
    _Atomic int queues_percent;
    _Atomic int64_t total_bytes;
    _Atomic int64_t free_bytes;
};

void retention_init(struct retention *retention, struct store *store);

/* Look at the disks and set or clear the refusal. */
void retention_watch_disk(struct retention *retention);

/* Watch the disk, then delete at most one segment and what pointed into it. */
void retention_step(struct retention *retention);

/* Is the local hour of wall_ms among those of delete_when ("04" or "03;04;23")? Pure. */
bool retention_hour_matches(const char *delete_when, int64_t wall_ms);

#endif
