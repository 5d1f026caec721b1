/* SPDX-License-Identifier: Apache-2.0
 *
 * Timers: messages to be delivered at any millisecond (RocketMQ 5's TIMER_DELIVER_MS and its like).
 * They are stored in rmq_sys_wheel_timer, queue 0, with their time in TIMER_OUT_MS and their real
 * target in REAL_TOPIC and REAL_QID, and appended again to that target when due.
 *
 * A step function on one thread of its own (the caller's); only on masters. docs/timers.md tells
 * users about it, docs/decisions/0014-timer-buckets.md why it is as it is.
 */
#ifndef BROKER_STATE_TIMER_H
#define BROKER_STATE_TIMER_H

#include "broker/state/topic_stats.h"
#include "broker/store/store.h"
#include "common/base/arena.h"
#include "proto/body.pb-c.h"

struct timer;

struct timer_options {
    const char *folder;        /* STORE/timer */
    const char *progress_path; /* STORE/config/timerProgress.json */
    struct vfs *vfs;
    struct store *store;
    const struct clock *clock;
    struct topic_stats *topic_stats; /* deliveries are counted there; may be NULL */
    size_t window_max;               /* timers in memory at a time; 0: TIMER_SELECTION_MAX */
};

/* Load the progress and see which files are there. Where they are not what the progress says they
 * are made again by the first steps. All but strings are borrowed.
 * Faults as topics_load. */
MUST_CHECK enum status timer_load(const struct timer_options *options, struct timer **out,
                                  struct err *err);
void timer_free(struct timer *timer);

/* As delay_settle. */
void timer_settle(struct timer *timer);

/* Take in what has arrived, deliver what is due, in the order of the times; a bounded part of it
 * per call. One thread. What cannot be read or written is tried again after a second.
 * now_ms   wall clock
 * returns  milliseconds until the next step is useful, 0 when there is more to do now */
int64_t timer_step(struct timer *timer, int64_t now_ms);

/* Sleep between steps; until something arrives, or timer_wake, or `wait_ms` are over. */
void timer_wait(struct timer *timer, int64_t wait_ms);
void timer_wake(struct timer *timer);

/* store_listener.on_arrival: wakes when it is the timers' queue. */
void timer_on_arrival(struct timer *timer, const struct queue *queue);

/* May everything before that position leave the log? When pending timers lie there: not yet; they
 * are appended to the end of the log again by the next steps, and asking later says yes. Any
 * thread. */
bool timer_may_expire(struct timer *timer, int64_t end_pos);

struct timer_figures {
    int64_t pending;
    int64_t delivered;
    int64_t cancelled;
    int64_t rolled;
    int64_t dropped;      /* could never be delivered */
    int64_t behind;       /* messages of the queue not yet taken in */
    int64_t queue_offset; /* the next one */
    int64_t read_ms;      /* time of the last timer dealt with, 0: none */
    int64_t next_ms;      /* of the next one, 0: none is known */
};
/* Any thread. */
void timer_figures(struct timer *timer, struct timer_figures *out);

/* Pending timers of each topic; any thread. */
void timer_wrap_metrics(struct timer *timer, struct arena *arena,
                        TimerMetricsSerializeWrapper *out);

/* The progress for a slave's config/timerProgress.json (broker/state/timer_copy.h); any thread.
 * returns  how far its log must reach for it to be true */
int64_t timer_copy_progress(struct timer *timer, struct arena *arena, TimerProgress *out);

/* Write the progress when something changed since the last time; before that, make the timer files
 * durable and have the log flushed. Then remove files whose time is over. Worker threads only.
 * returns  OK | TIMEOUT | IO | FULL | BUSY */
MUST_CHECK enum status timer_persist(struct timer *timer, struct err *err);

/* The journal beside the progress: as offsets_journal_step, _is_due and _sync. It is also due when
 * retention waits for a save. */
MUST_CHECK enum status timer_journal_step(struct timer *timer, struct err *err);
bool timer_journal_is_due(struct timer *timer);
MUST_CHECK enum status timer_journal_sync(struct timer *timer, struct err *err);

#endif
