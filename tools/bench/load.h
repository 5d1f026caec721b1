/* SPDX-License-Identifier: Apache-2.0
 *
 * The engine of the load generator: threads with epoll that keep many connections busy, sending or
 * pulling, and count what comes back.
 *
 * A load passes through phases, moved by its owner: WARM_UP (counted apart and thrown away),
 * MEASURE, DRAIN (nothing new is sent, answers under way are awaited), STOP. Counters of a worker
 * belong to its thread until load_join.
 */
#ifndef TOOLS_BENCH_LOAD_H
#define TOOLS_BENCH_LOAD_H

#include "tools/bench/histogram.h"
#include "tools/bench/ledger.h"
#include "tools/bench/payload.h"

#include <pthread.h>
#include <stdatomic.h>

enum load_phase {
    LOAD_WARM_UP,
    LOAD_MEASURE,
    LOAD_DRAIN,
    LOAD_STOP,
};

enum load_role {
    LOAD_PRODUCE,
    LOAD_CONSUME,
};

/* One queue as a consumer sees it. */
struct load_queue {
    const char *group;
    const char *topic;
    int id;       /* in its topic */
    int64_t next; /* offset to ask for */
    int64_t end;  /* done when `next` reaches it; -1: never */
    bool done;
    uint64_t asked_ns;
};

struct load_options {
    enum load_role role;
    bool warm_up;        /* begin in WARM_UP, otherwise in MEASURE */
    const char *address; /* of the broker */
    int connections;
    int in_flight; /* requests per connection; producers only */
    const char *const *topics;
    int queues_per_topic;
    int queues;     /* of all topics; number n is queue n % queues_per_topic of topic
                     * n / queues_per_topic, and by these numbers the ledger knows them */
    double rate;    /* messages per second over all workers; 0: as fast as answers come */
    int64_t count;  /* stop after so many messages; 0: no limit */
    bool reconnect; /* open lost connections again */
    const char *acknowledged_path; /* ledger to write, or NULL */
    struct send_shape send;
    struct pull_shape pull;
    bool check_crc;
    bool end_to_end;       /* consumers: latency from the mark's time, this run only */
    struct ledger *ledger; /* consumers: report what is found; needs one worker. May be NULL */
};

struct load_totals {
    uint64_t messages;
    uint64_t bytes; /* of bodies */
    uint64_t requests;
    uint64_t refused; /* answers with an error code */
    int32_t first_refusal;
    char first_remark[200];
    uint64_t unknown; /* messages whose answer never came */
    uint64_t lost_connections;
    uint64_t empty_pulls;
    uint64_t bad_crc;
    uint64_t bad_records;
    uint64_t out_of_order;   /* per stream and queue */
    uint64_t longest_gap_ns; /* between two successes */
    struct histogram latency;
};

struct load_worker;

struct load {
    const struct load_options *options;
    _Atomic int phase;
    _Atomic int64_t issued; /* messages sent, or received by consumers */
    _Atomic int running;    /* workers that have not finished */
    struct load_queue *queues;
    struct load_worker **workers;
    int worker_count;
};

/* Connect and start `threads` workers.
 * queues  consumers: the state of each queue, borrowed until load_join; NULL for producers
 * returns  OK | IO (a connection could not be opened) */
enum status load_start(struct load *load, const struct load_options *options,
                       struct load_queue *queues, int threads, struct err *err);

void load_set_phase(struct load *load, enum load_phase phase);

/* True when every worker has ended by itself: count or queue ends reached, all connections gone. */
bool load_finished(const struct load *load);

/* Messages so far, those of the warm-up too: it never goes back, so the difference of two looks is
 * what came between them. */
uint64_t load_messages(const struct load *load);

/* Wait for the workers and add up what they counted. Frees the load. */
void load_join(struct load *load, struct load_totals *out);

#endif
