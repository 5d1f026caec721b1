/* SPDX-License-Identifier: Apache-2.0
 *
 * A store over the simulated file layer, a record of everything that was sent to it, and the proof
 * that it holds what it must. Everything happens on the caller's thread: the steps that the store's
 * own threads would do are called one by one, so that a seed decides everything.
 *
 * What is proved after any end of a store, from outside:
 *     - every message that was durable when the power went (its end lies at or before
 *       store_flushed_pos) is there, byte for byte, at its position and queue offset
 *     - what is there was sent, is there once, and has nothing missing in front of it
 *     - each queue leads to exactly the messages of the log, in order, without a gap, and each key
 *       to its message
 *     - the next message gets the next offset
 *
 * A failure names the seed; CRASH_SEED=<number> runs that one alone, CRASH_LOG=1 shows the store's
 * own log, CRASH_SECONDS=<n> has the tests go on for so long.
 */
#ifndef TEST_UNIT_SUPPORT_CRASH_KIT_H
#define TEST_UNIT_SUPPORT_CRASH_KIT_H

#include "broker/store/store_internal.h"
#include "test/unit/support/random.h"
#include "test/unit/support/vfs_sim.h"

#define CRASH_TOPICS 4
#define CRASH_QUEUES 2
#define CRASH_ROOT "/store"
#define CRASH_LOG_FOLDER "/store/commitlog"

enum sent_state {
    SENT_UNDER_WAY, /* no answer yet */
    SENT_ACCEPTED,  /* PUT_OK */
    SENT_REFUSED,
    SENT_LOST, /* was never durable, and is not there after a power cut */
};

/* One message; its number is its place in the list and the start of its body. */
struct sent {
    uint32_t body_bytes;
    uint8_t topic;
    uint8_t queue_id;
    int32_t sys_flag;
    bool wide_host; /* IPv6 */
    enum sent_state state;
    int64_t pos;
    int64_t end_pos;
    int64_t queue_offset;
    int64_t store_timestamp_ms;
};

struct crash {
    uint64_t seed;
    const char *what; /* for failures: what is being tried */
    int64_t point;    /* the same: how many calls into it */
    struct random random;
    struct clock clock;
    int64_t now_ms;
    struct store_options options;
    struct sim *sim;
    struct store *store; /* NULL: not open */
    struct append_batch *batch;
    struct sent *sent;
    size_t sent_count;
    size_t sent_capacity;
    int64_t durable_pos;        /* what was durable before the store was closed or lost */
    bool deleted[CRASH_TOPICS]; /* the topic was deleted at some time */
    int64_t gone[CRASH_TOPICS]; /* its messages before this position may be in no queue */
    int64_t failed;             /* calls that failed in layers that were left behind */
    bool began_late;            /* a slave's log that does not have its master's first messages */
    bool faults;                /* calls may fail, refused messages may have arrived */
};

/* The seeds of one run: CRASH_SEED alone, or numbers from a random start until `seconds` are over
 * (CRASH_SECONDS, when set). */
struct crash_seeds {
    uint64_t next;
    int64_t deadline_ms;
    int64_t count;
    bool one;
};
void crash_seeds_begin(struct crash_seeds *seeds, const char *test, double seconds);
bool crash_seeds_next(struct crash_seeds *seeds, uint64_t *seed);
void crash_seeds_end(const struct crash_seeds *seeds, const char *test, int64_t checks);

/* An empty disk, and how a store lies on it. */
void crash_init(struct crash *crash, uint64_t seed);
void crash_release(struct crash *crash);

/* The same test on a copy of the disk as a killed process leaves it; not open. */
void crash_copy(struct crash *copy, struct crash *crash);

/* Open. The status is OK, or the text says why not. */
enum status crash_try_open(struct crash *crash, struct err *err);
void crash_open(struct crash *crash); /* must succeed */
void crash_close(struct crash *crash);

/* One step of a random workload: batches, flushes, rounds of dispatch, syncs, checkpoints, topics
 * deleted, old segments deleted, clean ends, kills. */
void crash_step(struct crash *crash);

/* What is durable now. */
int64_t crash_durable_pos(const struct crash *crash);

/* Lose the store's memory and, as `cut` says, what is not on the disk (NULL: nothing is lost). */
void crash_cut(struct crash *crash, const struct sim_cut *cut);

/* Of an open store, directly after opening: prove the above; `durable_pos` as it was before. From
 * then on the record of messages says what is there. */
void crash_verify(struct crash *crash, int64_t durable_pos);

/* The disk is nearly full for a while: a round of cleaning, and the queues' part of it. */
void crash_delete_old(struct crash *crash);

/* crash_verify, then messages to each queue, dispatched and flushed, a cut that keeps nothing, and
 * crash_verify. */
void crash_verify_thoroughly(struct crash *crash, int64_t durable_pos);

/* Append `count` messages in one batch. */
void crash_put(struct crash *crash, size_t count);
void crash_dispatch(struct crash *crash);

/* Fail the test, naming the seed. */
_Noreturn void crash_fail(const struct crash *crash, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
