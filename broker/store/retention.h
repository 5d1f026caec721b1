/* SPDX-License-Identifier: Apache-2.0
 *
 * Deleting what is old and refusing messages before the disk is full.
 *
 * A round begins every cleanResourceInterval. Segments go oldest first, never the last one, when
 * the log is larger than commitLogBytesMax; or when it is the hour (deleteWhen), the disk is fuller
 * than diskMaxUsedSpaceRatio or an administrator asked for it, and the file was last written
 * fileReservedTime ago. When the disk is fuller than diskSpaceCleanForciblyRatio as well, the age
 * does not matter (cleanFileForciblyEnable), and a file goes even with messages that the broker has
 * still to deliver (store_listener.undelivered), which otherwise stay whatever the reason; an error
 * tells of it. At most RETENTION_FILES_PER_ROUND go in a round, with
 * a pause between them; the queue entries and index files that pointed only there go at its end.
 * The disks are looked at every RETENTION_WATCH_MS: above diskSpaceWarningLevelRatio, or with less
 * than diskFreeBytesMin free, messages are refused.
 *
 * All of it is done in short steps on the keeper thread, so that nothing else there waits.
 *
 * Source: RocketMQ store/.../DefaultMessageStore.java (CleanCommitLogService,
 * CleanConsumeQueueService). The limits in bytes are ours.
 */
#ifndef BROKER_STORE_RETENTION_H
#define BROKER_STORE_RETENTION_H

#include "broker/store/queue_table.h"
#include "broker/store/store.h"

#include <stdatomic.h>

#define RETENTION_FORCE_PERCENT 85  /* diskSpaceCleanForciblyRatio when it is not set */
#define RETENTION_REFUSE_PERCENT 90 /* diskSpaceWarningLevelRatio when it is not set */
#define RETENTION_FILES_PER_ROUND 10
#define RETENTION_MANUAL_ROUNDS 20
#define RETENTION_WATCH_MS 1000
#define RETENTION_TELL_MS 60000   /* between two lines about undelivered messages */
#define RETENTION_ASK_MS 500      /* whether the listener still needs a file */
#define RETENTION_WALK_QUEUES 256 /* looked at in one step */

struct retention {
    struct store *store;
    pthread_mutex_t lock; /* guards store->options as far as store_set_retention changes them */

    /* Monotonic ms. */
    int64_t watch_ms; /* the last look at the disks */
    int64_t round_ms; /* the beginning of the last round */
    int64_t next_ms;  /* the round's or the walk's next step */
    int64_t stuck_ms; /* a file could not be deleted; 0: none */

    bool in_round;
    bool manual; /* this round was asked for */
    bool waits;  /* it ended for want of a checkpoint, and goes on in the next one */
    bool asks;   /* it ended because the listener still needs the file: soon again */
    int removed; /* files in this round */

    int64_t lost_files; /* with undelivered messages, since the last line about it */
    char lost_what[80]; /* in the last one */
    int64_t told_lost_ms;
    int64_t told_kept_ms;
    bool in_walk; /* through the queues, after a round that deleted something */
    struct queue_walk walk;
    int64_t walk_pos; /* entries of records before it go */
    bool walk_again;  /* the file of some queue could not be opened */

    _Atomic bool round_wanted;      /* do not wait for the interval */
    _Atomic int manual_rounds;      /* still to come, at whatever hour */
    _Atomic int commit_log_percent; /* -1: cannot be read */
    _Atomic int queues_percent;
    _Atomic int64_t total_bytes;
    _Atomic int64_t free_bytes;
};

void retention_init(struct retention *retention, struct store *store);
void retention_release(struct retention *retention);

/* From now on. */
void retention_start(struct retention *retention, int64_t now_ms);

/* Look at the disks and set or clear the refusal. */
void retention_watch_disk(struct retention *retention);

/* Do what is due, at most one segment or some queues.
 * now_ms   monotonic
 * returns  the ms until something may be due again */
int64_t retention_step(struct retention *retention, int64_t now_ms);

/* diskSpaceCleanForciblyRatio, set or not. Pure. */
int retention_force_percent(const struct store_options *limits);

/* Is the local hour of wall_ms among those of delete_when ("04" or "03;04;23")? Pure. */
bool retention_hour_matches(const char *delete_when, int64_t wall_ms);

#endif
