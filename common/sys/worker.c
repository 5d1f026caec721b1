/* SPDX-License-Identifier: Apache-2.0
 *
 * The worker pool: one queue, first in, first out, under one lock that is never held while a task
 * runs. Invariant: `waiting` counts the tasks of the queue and never exceeds `queue_max`.
 */
#include "common/sys/worker.h"

#include "common/base/check.h"
#include "common/sys/thread.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

struct worker_pool {
    pthread_mutex_t lock;
    pthread_cond_t changed; /* a task was queued, or closed was set */
    struct worker_task *first;
    struct worker_task **last; /* where the next task is linked */
    int64_t waiting;
    int64_t queue_max;
    bool closed;          /* accepts nothing more; threads end when the queue is empty */
    atomic_bool stopping; /* tasks shall give up */
    int thread_count;
    pthread_t threads[];
};

/* The next task; NULL when the pool is closed and nothing waits any more. */
static struct worker_task *next_task(struct worker_pool *pool)
{
    CHECK(pthread_mutex_lock(&pool->lock) == 0);
    while (pool->first == NULL && !pool->closed)
        CHECK(pthread_cond_wait(&pool->changed, &pool->lock) == 0);
    struct worker_task *task = pool->first;
    if (task != NULL) {
        pool->first = task->next;
        if (pool->first == NULL)
            pool->last = &pool->first;
        pool->waiting--;
    }
    CHECK(pthread_mutex_unlock(&pool->lock) == 0);
    return task;
}

static void *work(void *arg)
{
    struct worker_pool *pool = arg;
    for (struct worker_task *task; (task = next_task(pool)) != NULL;)
        task->run(task);
    return NULL;
}

enum status worker_pool_new(const char *name, int threads, int64_t queue_max,
                            struct worker_pool **out, struct err *err)
{
    CHECK(threads > 0 && queue_max > 0);
    struct worker_pool *pool = xcalloc(1, sizeof *pool + (size_t)threads * sizeof(pthread_t));
    CHECK(pthread_mutex_init(&pool->lock, NULL) == 0);
    CHECK(pthread_cond_init(&pool->changed, NULL) == 0);
    pool->last = &pool->first;
    pool->queue_max = queue_max;
    for (; pool->thread_count < threads; pool->thread_count++) {
        char thread_name[32];
        (void)snprintf(thread_name, sizeof thread_name, "%.10s-%d", name, pool->thread_count);
        thread_name[15] = '\0';
        enum status status =
            thread_start(&pool->threads[pool->thread_count], thread_name, work, pool, err);
        if (status != STATUS_OK) {
            worker_pool_free(pool);
            return status;
        }
    }
    *out = pool;
    return STATUS_OK;
}

bool worker_submit(struct worker_pool *pool, struct worker_task *task)
{
    CHECK(pthread_mutex_lock(&pool->lock) == 0);
    bool accepted = !pool->closed && pool->waiting < pool->queue_max;
    if (accepted) {
        task->next = NULL;
        *pool->last = task;
        pool->last = &task->next;
        pool->waiting++;
        CHECK(pthread_cond_signal(&pool->changed) == 0);
    }
    CHECK(pthread_mutex_unlock(&pool->lock) == 0);
    return accepted;
}

static void close_pool(struct worker_pool *pool)
{
    CHECK(pthread_mutex_lock(&pool->lock) == 0);
    pool->closed = true;
    CHECK(pthread_cond_broadcast(&pool->changed) == 0);
    CHECK(pthread_mutex_unlock(&pool->lock) == 0);
}

void worker_pool_stop(struct worker_pool *pool)
{
    atomic_store(&pool->stopping, true);
    close_pool(pool);
}

bool worker_pool_stopping(const struct worker_pool *pool)
{
    return atomic_load(&pool->stopping);
}

void worker_pool_free(struct worker_pool *pool)
{
    close_pool(pool);
    for (int i = 0; i < pool->thread_count; i++)
        thread_join(pool->threads[i]);
    CHECK(pthread_cond_destroy(&pool->changed) == 0);
    CHECK(pthread_mutex_destroy(&pool->lock) == 0);
    free(pool);
}
