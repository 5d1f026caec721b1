/* SPDX-License-Identifier: Apache-2.0
 *
 * The keeper thread: what must be done now and then and may wait on disk, so that it can hold up
 * neither a group commit nor dispatch: making the next segment ahead of need, syncing consume
 * queues and index, the checkpoint, deleting what is old, watching the disk.
 *
 * A checkpoint is due every flush_queues_thorough_interval_ms. It is also due whenever the log has
 * grown by checkpoint_bytes since the last one, because a start after a crash reads the log behind
 * it; but then only so often that the syncs take at most a quarter of the time.
 */
#ifndef BROKER_STORE_KEEPER_H
#define BROKER_STORE_KEEPER_H

#include "broker/store/checkpoint.h"
#include "broker/store/retention.h"
#include "broker/store/sleeper.h"
#include "broker/store/store.h"

#include <pthread.h>

struct keeper {
    struct store *store;
    pthread_t thread;
    bool running;   /* for keeper_start and keeper_stop */
    bool on_thread; /* for what the thread does, and recovery and the end without it */
    _Atomic bool stop;
    _Atomic bool checkpoint_wanted;
    struct sleeper sleeper;

    /* Monotonic ms of the last time. */
    int64_t queues_ms;
    int64_t thorough_ms;
    int64_t retry_ms;    /* of the last failed attempt to make a segment */
    bool prepare_failed; /* then the next one waits */

    int64_t index_timestamp_ms; /* of the last index sync */
    struct checkpoint pending;  /* true as soon as the log is flushed up to its durable_pos ... */
    bool is_pending;            /* ... and then written */
    int64_t checkpoint_pos;     /* durable_pos of the checkpoint on disk, 0: none that counts */
    int64_t begun_pos;          /* durable_pos of the last one begun */
    int64_t checkpoint_rest_ms; /* monotonic: none for the sake of checkpoint_bytes before it */
    int64_t seen_pos;           /* end of the log at the last step */
    struct queue **dirty;       /* kept for the next round */
    size_t dirty_capacity;
    struct queue_sync_target *targets; /* of the dirty queues */
    size_t target_capacity;
    struct retention retention;
};

void keeper_init(struct keeper *keeper, struct store *store);
void keeper_release(struct keeper *keeper);
enum status keeper_start(struct keeper *keeper, struct err *err);
void keeper_stop(struct keeper *keeper);

/* Wake the keeper: a segment was used up. */
static inline void keeper_notify(struct keeper *keeper)
{
    sleeper_wake(&keeper->sleeper, SLEEP_NAP);
}

/* Have a checkpoint written soon, as when a topic was deleted: a crash would bring back the entries
 * of its records behind the last one. */
static inline void keeper_want_checkpoint(struct keeper *keeper)
{
    atomic_store(&keeper->checkpoint_wanted, true);
    sleeper_wake(&keeper->sleeper, SLEEP_NAP);
}

/* Sync the consume queues with at least a few pages of new entries; `thorough`: all of them and the
 * index, then write the checkpoint. On the keeper thread, or when it is not running.
 * returns  OK | BUSY (not all is durable yet; the checkpoint follows when it is) | IO */
enum status keeper_sync(struct keeper *keeper, bool thorough);

#endif
