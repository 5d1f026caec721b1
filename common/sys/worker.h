/* SPDX-License-Identifier: Apache-2.0
 *
 * A small pool of threads for work that may wait on disk: admin commands, scans, persistence.
 *
 * Clients are served in turn, each its tasks in order, and one client never has all the threads, so
 * that nobody waits for more than a task of the others, however many those have asked for.
 *
 * Every task that was accepted is run exactly once, so its owner always hears of it. Towards the
 * end of the process the queue may be long; worker_pool_stop then asks the tasks that are left to
 * give up, and how one does that is its own matter:
 *
 *     static void run(struct worker_task *task)
 *     {
 *         struct scan *scan = list_entry(task, struct scan, task);
 *         if (worker_pool_stopping(scan->pool))
 *             answer SYSTEM_BUSY
 *         else
 *             ...
 *         free what the task owns, in both cases
 *     }
 */
#ifndef COMMON_SYS_WORKER_H
#define COMMON_SYS_WORKER_H

#include "common/base/status.h"

#include <stdbool.h>
#include <stdint.h>

struct worker_pool;

struct worker_task {
    struct worker_task *next;
    /* Called once, on a thread of the pool; may free the owner. */
    void (*run)(struct worker_task *task);
    uint64_t client; /* who waits for it; 0: nobody, or all; then there is no bound on threads */
};

/* queue_max  tasks that may wait; more are refused, except some of clients that have few */
enum status worker_pool_new(const char *name, int threads, int64_t queue_max,
                            struct worker_pool **out, struct err *err);

/* Any thread. False when the queue is full or the pool is stopping: `run` is not called. */
bool worker_submit(struct worker_pool *pool, struct worker_task *task);

/* Accept nothing more, and tell the tasks that are left, and those that run, to give up. Any
 * thread; waits for nothing. Without it worker_pool_free takes as long as the queue's work does. */
void worker_pool_stop(struct worker_pool *pool);

/* True once worker_pool_stop was called: a task asks this first, a long one also on its way. */
bool worker_pool_stopping(const struct worker_pool *pool);

/* Accept nothing more, run every task that was accepted, then join and free. */
void worker_pool_free(struct worker_pool *pool);

#endif
