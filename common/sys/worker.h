/* SPDX-License-Identifier: Apache-2.0
 *
 * A small pool of threads for work that may wait on disk: admin commands, scans, persistence.
 */
#ifndef COMMON_SYS_WORKER_H
#define COMMON_SYS_WORKER_H

#include "common/base/status.h"

#include <stdbool.h>
#include <stdint.h>

struct worker_pool;

struct worker_task {
    struct worker_task *next;
    void (*run)(struct worker_task *task); /* called once; may free the owner */
};

/* queue_max  tasks that may wait; more are refused */
enum status worker_pool_new(const char *name, int threads, int64_t queue_max,
                            struct worker_pool **out, struct err *err);

/* Any thread. False when the queue is full or the pool is stopping. */
bool worker_submit(struct worker_pool *pool, struct worker_task *task);

/* Run every task that was accepted, then join and free. */
void worker_pool_free(struct worker_pool *pool);

#endif
