/* SPDX-License-Identifier: Apache-2.0
 *
 * The threads that serve pulls whose messages are not in memory (struct cold_read, store.h).
 *
 * Reads wait in lanes by client, which are served in turn: a client with thousands of queues to
 * catch up on delays another client's read by one of its own for each, not by all of them. And a
 * few of every lane are taken in even when COLD_READS_MAX wait: nobody can take all places.
 */
#ifndef BROKER_STORE_COLD_READER_H
#define BROKER_STORE_COLD_READER_H

#include "broker/store/store.h"
#include "common/base/limits.h"

#include <pthread.h>

/* Clients beyond this number share lanes. */
#define COLD_LANES 64
/* Reads of one lane that are taken in however many wait. */
#define COLD_LANE_READS (COLD_READS_MAX / COLD_LANES)
#define COLD_THREADS_MAX 64

struct cold_reader {
    struct store *store;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* a read was added, or closed was set */
    struct list lanes[COLD_LANES];
    int64_t waiting_in[COLD_LANES];
    size_t next_lane;
    int64_t waiting;
    bool closed; /* nothing more is taken in; what waits is given up */
    int thread_count;
    pthread_t threads[COLD_THREADS_MAX];
    _Atomic int64_t reads;
};

void cold_reader_init(struct cold_reader *reader, struct store *store);
void cold_reader_release(struct cold_reader *reader);
enum status cold_reader_start(struct cold_reader *reader, int threads, struct err *err);

/* Give up what waits (CLOSED), wait for what is being read, join. */
void cold_reader_stop(struct cold_reader *reader);

/* returns  OK | BUSY (COLD_READS_MAX wait, and many of the same lane) | CLOSED (not running) */
enum status cold_reader_add(struct cold_reader *reader, struct cold_read *read);

int64_t cold_reader_waiting(struct cold_reader *reader);

#endif
