/* SPDX-License-Identifier: Apache-2.0
 *
 * The worker pool: a lane for each client, first in, first out, under one lock that is never held
 * while a task runs. Invariants: `waiting` counts the tasks of all lanes; a client's lane has fewer
 * tasks running than there are threads, if there are several.
 */
#include "common/sys/worker.h"

#include "common/base/check.h"
#include "common/sys/thread.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define LANES 65 /* lane 0 is that of no client; more clients than the others are share them */

struct lane {
    struct worker_task *first;
    struct worker_task **last; /* where the next task is linked */
    int64_t waiting;
    int running;
};

struct worker_pool {
    pthread_mutex_t lock;
    pthread_cond_t changed; /* a task was queued, or closed was set */
    struct lane lanes[LANES];
    size_t next_lane; /* whose turn it is */
    int64_t waiting;
    int64_t queue_max;
    int64_t lane_places;  /* that a lane has however many tasks wait */
    bool closed;          /* accepts nothing more; threads end when the lanes are empty */
    atomic_bool stopping; /* tasks shall give up */
    int thread_count;
    pthread_t threads[];
};

static struct lane *lane_of(struct worker_pool *pool, const struct worker_task *task)
{
    return &pool->lanes[task->client == 0 ? 0 : 1 + task->client % (LANES - 1)];
}

static bool may_run(const struct worker_pool *pool, const struct lane *lane)
{
    bool all_but_one = lane != &pool->lanes[0] && pool->thread_count > 1 && !pool->closed;
    return lane->first != NULL && !(all_but_one && lane->running >= pool->thread_count - 1);
}

/* The lane whose turn it is of those that may run a task; NULL: none may. */
static struct lane *next_lane(struct worker_pool *pool)
{
    for (size_t i = 0; i < LANES && pool->waiting > 0; i++) {
        struct lane *lane = &pool->lanes[pool->next_lane];
        pool->next_lane = (pool->next_lane + 1) % LANES;
        if (may_run(pool, lane))
            return lane;
    }
    return NULL;
}

/* The next task, and its lane; NULL when the pool is closed and nothing waits any more. Whoever has
 * run one looks here for another, so that a lane whose task has ended goes on.
 * done  the lane of the task that the thread has run, NULL: none */
static struct worker_task *next_task(struct worker_pool *pool, struct lane *done, struct lane **out)
{
    CHECK(pthread_mutex_lock(&pool->lock) == 0);
    if (done != NULL)
        done->running--;
    struct lane *lane;
    while ((lane = next_lane(pool)) == NULL && !pool->closed)
        CHECK(pthread_cond_wait(&pool->changed, &pool->lock) == 0);
    struct worker_task *task = NULL;
    if (lane != NULL) {
        task = lane->first;
        lane->first = task->next;
        if (lane->first == NULL)
            lane->last = &lane->first;
        lane->waiting--;
        lane->running++;
        pool->waiting--;
    }
    CHECK(pthread_mutex_unlock(&pool->lock) == 0);
    *out = lane;
    return task;
}

static void *work(void *arg)
{
    struct worker_pool *pool = arg;
    struct lane *lane = NULL;
    for (struct worker_task *task; (task = next_task(pool, lane, &lane)) != NULL;)
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
    for (size_t i = 0; i < LANES; i++)
        pool->lanes[i].last = &pool->lanes[i].first;
    pool->queue_max = queue_max;
    pool->lane_places = queue_max / LANES;
    for (int i = 0; i < threads; i++) {
        char thread_name[32];
        (void)snprintf(thread_name, sizeof thread_name, "%.10s-%d", name, i);
        thread_name[15] = '\0';
        enum status status = thread_start(&pool->threads[i], thread_name, work, pool, err);
        CHECK(pthread_mutex_lock(&pool->lock) == 0);
        pool->thread_count += status == STATUS_OK;
        CHECK(pthread_mutex_unlock(&pool->lock) == 0);
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
    struct lane *lane = lane_of(pool, task);
    CHECK(pthread_mutex_lock(&pool->lock) == 0);
    bool accepted =
        !pool->closed && (pool->waiting < pool->queue_max || lane->waiting < pool->lane_places);
    if (accepted) {
        task->next = NULL;
        *lane->last = task;
        lane->last = &task->next;
        lane->waiting++;
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
