/* SPDX-License-Identifier: Apache-2.0
 *
 * The insides of the timers, for their own files: timer.c (start, taking in, steps),
 * timer_deliver.c, timer_roll.c.
 *
 * `state`, `cursor` and all that is not an atomic belongs to the thread of the steps.
 *     - Taking in reads the queue from `cursor` on and writes entries into the files. Nothing is
 *       delivered before it has come to replay_end, so that what a crash has it take in twice is
 *       not met half delivered.
 *     - `window` holds every entry of the files with a key behind `done` and up to `limit`.
 */
#ifndef BROKER_STATE_TIMER_INTERNAL_H
#define BROKER_STATE_TIMER_INTERNAL_H

#include "broker/state/timer.h"
#include "broker/state/timer_files.h"
#include "broker/state/timer_message.h"
#include "broker/state/timer_progress.h"
#include "broker/state/timer_window.h"
#include "broker/store/sleeper.h"

#include <stdatomic.h>

#define TIMER_IDLE_MS 1000
#define TIMER_RETRY_MS 1000
#define TIMER_READ_TRIES 10
#define TIMER_INTAKE_MAX 1024
#define TIMER_BATCH_MAX 256
#define TIMER_BATCH_BYTES_MAX (4 * 1024 * 1024)
/* Cancels remembered for the second that is being delivered. */
#define TIMER_CANCELS_MAX 1000000

enum timer_outcome {
    TIMER_ADDED,     /* to the batch that is appended now */
    TIMER_FILED,     /* taken in: goes into the files */
    TIMER_PASSED,    /* nothing to do */
    TIMER_CANCELLED, /* a cancel was meant for it */
    TIMER_DROPPED,   /* can never be delivered */
    TIMER_LATER,     /* not now */
};

/* One timer on its way through a step. */
struct timer_item {
    struct timer_entry entry;
    enum timer_outcome outcome;
    struct timer_topic *topic;
    int64_t end_pos; /* of its record in the log */
};

/* A cancel whose slot has begun. */
struct timer_cancel {
    int64_t slot;
    uint32_t hash;
    int64_t pos;
};

struct timer {
    struct store *store;
    struct topic_stats *topic_stats;
    struct queue *queue;
    struct append_batch *batch;
    struct timer_files files;
    struct timer_window window;
    struct timer_progress progress;
    struct sleeper sleeper;
    atomic_bool woken;

    struct timer_state state;
    int64_t cursor;
    int64_t replay_end;
    int64_t proof_pos;
    bool settled;
    bool failed; /* in this step */
    int64_t not_before_ms;
    int read_failures; /* in a row, of one message */
    struct timer_key limit;
    bool look; /* the files may hold entries behind `limit` */

    struct timer_cancel *cancels;
    size_t cancel_count;
    size_t cancel_capacity;
    bool cancels_sorted;

    struct timer_item items[TIMER_INTAKE_MAX];
    struct timer_item *sorted[TIMER_INTAKE_MAX];
    struct buf key;
    struct buf other_key;
    struct buf properties;
    struct buf entries;

    _Atomic int64_t delivered;
    _Atomic int64_t cancelled;
    _Atomic int64_t rolled;
    _Atomic int64_t dropped;
    _Atomic int64_t next_ms; /* of the next timer known; 0: none */
    int64_t roll_cap; /* nothing pending lies before it, but for what is rolled; 0: not known */
    _Atomic int64_t roll_wanted; /* 0: nothing; everything before it wants to leave the log */
};

/* Read the record at `pos` and what it asks for.
 * range    out: to be released when the outcome is TIMER_ADDED; TIMER_DROPPED has been logged
 * returns  TIMER_ADDED (read) | TIMER_DROPPED | TIMER_LATER | TIMER_PASSED (no such record) */
enum timer_outcome timer_read(struct timer *timer, int64_t pos, struct log_range *range,
                              struct record *record, struct timer_message *message);

/* The same for an entry of the files: TIMER_PASSED also when the record there is not its own, which
 * is so when a power cut has shortened the log. */
enum timer_outcome timer_read_entry(struct timer *timer, const struct timer_entry *entry,
                                    struct log_range *range, struct record *record,
                                    struct timer_message *message);

/* Make the record deliverable and put it into the batch. */
enum timer_outcome timer_add(struct timer *timer, struct record *record,
                             const struct timer_message *message, int64_t now_ms);

/* Append the batch, which holds the items of outcome TIMER_ADDED among the first `count`.
 * returns  how many of the items are done with; fewer than `count` after a failure */
size_t timer_append(struct timer *timer, struct timer_item *items, size_t count);

/* Void: its message was appended again. */
bool timer_is_void(const struct timer *timer, const struct timer_entry *entry);

/* The window and the limit begin anew behind `done`. */
void timer_forget_window(struct timer *timer);

/* Take everything in again, for a bucket was damaged and is put aside. */
void timer_rebuild(struct timer *timer, int64_t bucket);

void timer_add_cancel(struct timer *timer, const struct timer_entry *entry);

/* Deliver what is due. returns  ms until something is due */
int64_t timer_deliver(struct timer *timer, int64_t now_ms);

/* Append again what lies in the part of the log that shall go. True: there is more to do now. */
bool timer_roll(struct timer *timer);

#endif
