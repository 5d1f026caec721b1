/* SPDX-License-Identifier: Apache-2.0
 *
 * How far the timers have come, and how that is kept: config/timerProgress.json, saved every
 * flushDelayOffsetInterval, and its journal, written every 50 ms.
 *
 * The thread of the timers changes its own copy and publishes it at the end of each step, when all
 * of it is true. Others read what was published.
 *
 * What it means, `done` being the key of the last timer dealt with:
 *     - every message of the queue before `covered` with a key up to `done` has been delivered,
 *       cancelled or can never be delivered
 *     - every other one before `covered` is in the timer files, or is taken in again: what the
 *       saved file calls files_offset is the first that may not durably be there
 *     - messages at `covered` or behind it count as new
 *     - entries of records before floor_pos are void, for their messages were appended again; and,
 *       of buckets behind roll_bucket, those before roll_pos; and of that bucket itself the first
 *       roll_entries of the file
 */
#ifndef BROKER_STATE_TIMER_PROGRESS_H
#define BROKER_STATE_TIMER_PROGRESS_H

#include "broker/state/config_file.h"
#include "broker/state/timer_files.h"
#include "broker/store/store.h"
#include "common/base/map.h"
#include "common/sys/clock.h"
#include "proto/body.pb-c.h"

#include <stdatomic.h>

struct timer_state {
    int64_t covered;
    struct timer_key done;
    int64_t floor_pos;
    int64_t roll_pos; /* 0: nothing is rolled just now */
    int64_t roll_bucket;
    int64_t roll_entries;
};

/* Pending timers of one topic. */
struct timer_topic {
    int64_t count;
    int64_t changed_ms;
    int64_t journaled; /* the journal's thread */
    int64_t delta;     /* the timers' thread: since it published last */
    struct timer_topic *next_changed;
};

struct timer_progress {
    struct store *store;
    const struct clock *clock;
    struct timer_files *files;
    struct config_file file;
    struct buf block;
    struct timer_state journaled;
    bool journal_all; /* the last block could not be written: the next one says everything */
    /* Under the file's lock: what becomes saved_cursor and saved_floor. */
    int64_t being_saved_cursor;
    int64_t being_saved_floor;
    bool files_failed; /* a sync of them has failed: they count for nothing at the next start */

    pthread_mutex_t lock; /* docs/locks.md: timer_progress; for what was published */
    struct timer_state state;
    int64_t cursor;    /* the next message to take in */
    int64_t proof_pos; /* the log must reach this for `state` to be true */
    uint64_t changes;  /* the version of what was published: a block of the journal that is older
                          than  the file says nothing */
    struct map topics; /* name -> struct timer_topic */

    _Atomic int64_t saved_cursor; /* of the state that is durably saved */
    _Atomic int64_t saved_floor;
    atomic_bool save_wanted; /* without waiting for the interval */

    struct timer_topic *changed; /* the timers' thread */
    int64_t files_offset;        /* as loaded: where taking in begins again */
    bool files_lost;             /* some are missing: from the beginning of the queue */
    int64_t end_pos;             /* of the log at the load */
};

MUST_CHECK enum status timer_progress_load(struct timer_progress *progress, const char *path,
                                           struct vfs *vfs, struct err *err);
void timer_progress_release(struct timer_progress *progress);

/* --- the timers' thread --- */

/* The counter of a topic; valid until the release. */
struct timer_topic *timer_progress_topic(struct timer_progress *progress, struct slice name);
void timer_progress_count(struct timer_progress *progress, struct timer_topic *topic,
                          int64_t delta);
void timer_progress_publish(struct timer_progress *progress, const struct timer_state *state,
                            int64_t cursor, int64_t proof_pos);

/* --- others --- */

MUST_CHECK enum status timer_progress_save(struct timer_progress *progress, struct err *err);
MUST_CHECK enum status timer_progress_journal(struct timer_progress *progress, struct err *err);
void timer_progress_wrap(struct timer_progress *progress, struct arena *arena,
                         TimerMetricsSerializeWrapper *out);
/* What was published, for a slave: without files, which it makes from its own log.
 * returns  how far the log must reach for it to be true */
int64_t timer_progress_copy(struct timer_progress *progress, struct arena *arena,
                            TimerProgress *out);
int64_t timer_progress_pending(struct timer_progress *progress);

#endif
