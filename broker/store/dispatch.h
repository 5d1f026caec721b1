/* SPDX-License-Identifier: Apache-2.0
 *
 * The dispatcher: follows the log and turns records into queue entries and index entries.
 *
 * It works in rounds of bounded size. A round reads records from the log's mapping, gathers their
 * queue entries, writes each queue's run with one pwritev, inserts the keys into the index, then
 * publishes the queues' new ends and reports arrivals, then moves dispatched_pos.
 *
 * Sleeping. While somebody waits for messages of any queue, an append wakes it at once. While
 * nobody waits it only naps, so that appenders need not wake it; after a while without traffic it
 * sleeps until the next append.
 *
 * Rounds on loops. Waking a thread costs more than dispatching a message. So the loop that has
 * appended a few messages which somebody waits for runs the round itself, if that is quick: nobody
 * is at it, and no file has to be opened, made or read (dispatcher_try_round). It leaves the index
 * out, whose pages may be on disk: the thread follows up to where the loops have come, some
 * milliseconds later (indexed_pos).
 *
 * dispatch_lock is held during a round; whoever deletes or expires queue files takes it too. Loops
 * only try it. index_lock is held while keys are put into the index; within dispatch_lock, if both
 * are.
 */
#ifndef BROKER_STORE_DISPATCH_H
#define BROKER_STORE_DISPATCH_H

#include "broker/store/commitlog.h"
#include "broker/store/consumequeue.h"
#include "broker/store/queue_ends.h"
#include "broker/store/sleeper.h"

/* A round ends after so many records or bytes ... */
#define DISPATCH_ROUND_RECORDS 1024
#define DISPATCH_ROUND_BYTES (1024 * 1024)
/* ... unless they went to very many queues, few to each: every queue costs a write, so that when
 * dispatch is behind it pays to gather more, up to this. */
#define DISPATCH_WIDE_QUEUES 256
#define DISPATCH_WIDE_RUN 8 /* entries of a queue that are worth a write */
#define DISPATCH_WIDE_RECORDS 16384
#define DISPATCH_WIDE_BYTES (16 * 1024 * 1024)
/* Queues that get their first file in one round; each costs some directories and a file. */
#define DISPATCH_NEW_QUEUES 256
/* The most that a loop takes upon itself. */
#define DISPATCH_QUICK_RECORDS 64
#define DISPATCH_QUICK_BYTES (256 * 1024)

struct dispatch_item;

struct dispatcher {
    struct store *store;
    pthread_t thread;
    bool running;
    _Atomic bool stop;
    struct sleeper sleeper;
    _Atomic int32_t interest; /* sum over all queues */

    pthread_mutex_t index_lock;
    struct segment *index_segment; /* the one being read for the index alone; held */
    _Atomic int64_t indexed_pos;   /* the keys of all records before it were put into the index */

    pthread_mutex_t lock;    /* dispatch_lock */
    struct segment *segment; /* the one being read; held */
    int64_t queues_from;     /* records before it go to the index only (recovery) */
    int64_t verified_from;   /* recovery has not verified the records before it */
    int64_t last_pos;        /* of the last record before dispatched_pos, -1: not known */
    bool index_skipping;     /* no index file can be made: keys are left out */
    _Atomic int64_t dispatched_pos;
    _Atomic int64_t dispatched_timestamp_ms;

    struct dispatch_item *items; /* the round's queue entries */
    size_t item_count;
    uint8_t *staging; /* the same, sorted by queue */
    struct queue **touched;
    struct queue **arrived; /* those of the last round that was not a loop's, being reported */
    size_t touched_count;
    size_t new_count; /* of touched: without a file so far */
};

void dispatcher_init(struct dispatcher *dispatcher, struct store *store);
void dispatcher_release(struct dispatcher *dispatcher);

enum status dispatcher_start(struct dispatcher *dispatcher, struct err *err);

/* Dispatch what is in the log (unless writing has failed), then end the thread. */
void dispatcher_stop(struct dispatcher *dispatcher);

/* Where recovery has the dispatcher start. */
struct dispatch_start {
    int64_t pos;
    int64_t queues_from; /* records before it are put into the index only */
    int64_t
        verified_from; /* records before it may be unreadable: they are left out, with a report */
    int64_t last_pos;  /* of the last record before `pos`, -1: not known */
};
void dispatcher_seek(struct dispatcher *dispatcher, const struct dispatch_start *start);

/* How far dispatch has come, all of one moment. */
struct dispatch_mark {
    int64_t pos;          /* dispatched_pos */
    int64_t last_pos;     /* of the last record before it, -1: not known */
    int64_t timestamp_ms; /* store time of that record */
    struct queue_ends queue_ends;
};
void dispatcher_mark(struct dispatcher *dispatcher, struct dispatch_mark *out);

/* One round, and what the index lacks; also used by recovery, without the thread.
 * returns  OK | NOT_FOUND (nothing to do) | FULL, BUSY (no space, no descriptors; nothing was
 *          published; repeat later) | CORRUPT (a record in the log cannot be read) | IO */
enum status dispatcher_round(struct dispatcher *dispatcher);

/* A round for a thread that must not wait. False: something is left for the thread, which is to be
 * woken. */
bool dispatcher_try_round(struct dispatcher *dispatcher);

/* Put into the index what has been dispatched without it; false: there was nothing. May wait for
 * the disk. */
bool dispatcher_index(struct dispatcher *dispatcher);

/* Records were appended. */
static inline void dispatcher_notify(struct dispatcher *dispatcher)
{
    bool waited_for = atomic_load_explicit(&dispatcher->interest, memory_order_seq_cst) > 0;
    sleeper_wake(&dispatcher->sleeper, waited_for ? SLEEP_NAP : SLEEP_DEEP);
}

/* The same on a loop, which dispatches them itself if it can. */
static inline void dispatcher_try(struct dispatcher *dispatcher)
{
    bool waited_for = atomic_load_explicit(&dispatcher->interest, memory_order_seq_cst) > 0;
    if (waited_for && dispatcher_try_round(dispatcher))
        sleeper_wake(&dispatcher->sleeper, SLEEP_DEEP); /* for the index */
    else
        dispatcher_notify(dispatcher);
}

#endif
