/* SPDX-License-Identifier: Apache-2.0
 *
 * Jobs wait in a list under `lock`; the thread takes them one by one, in order. A job is in the
 * list exactly as long as it may be taken back; so it stays there while the append of somebody else
 * holds the log's lock for long.
 */
#include "broker/proc/appender.h"

#include "common/base/check.h"
#include "common/sys/log.h"
#include "common/sys/thread.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

/* What tells of a slow disk, while it is under way. */
#define APPEND_LONG_MS 10
#define FLUSH_LONG_MS 200
/* An append that took this long makes the loops careful for a while. */
#define APPEND_SLOW_MS 50
#define CAREFUL_MS 2000
/* As in 4.9.2: longer ones count as a clock that was set. */
#define BUSY_MAX_MS 10000000

struct appender {
    struct broker *broker;
    pthread_t thread;
    pthread_mutex_t lock; /* docs/locks.md: appender */
    pthread_cond_t changed;
    struct list queue;
    bool stopping;
    _Atomic int64_t careful_until_ms; /* monotonic; 0: never yet */
};

static void lock(struct appender *appender)
{
    CHECK(pthread_mutex_lock(&appender->lock) == 0);
}

static void unlock(struct appender *appender)
{
    CHECK(pthread_mutex_unlock(&appender->lock) == 0);
}

static int64_t now_ms(const struct appender *appender)
{
    return clock_monotonic_ms(appender->broker->clock);
}

bool page_cache_busy(const struct broker *broker)
{
    int64_t busy_ms = store_append_busy_ms(broker->store);
    return busy_ms > broker->conf.osPageCacheBusyTimeOutMills && busy_ms < BUSY_MAX_MS;
}

bool appender_wanted(const struct appender *appender)
{
    const struct store *store = appender->broker->store;
    int64_t careful_until_ms = atomic_load(&appender->careful_until_ms);
    return store_append_busy_ms(store) > APPEND_LONG_MS ||
           store_flush_busy_ms(store) > FLUSH_LONG_MS ||
           (careful_until_ms != 0 && now_ms(appender) < careful_until_ms);
}

void appender_note(struct appender *appender, int64_t took_ms)
{
    static struct log_gate gate;
    int64_t suppressed;
    if (took_ms < APPEND_SLOW_MS)
        return;
    atomic_store(&appender->careful_until_ms, now_ms(appender) + CAREFUL_MS);
    if (log_gate_open(&gate, &suppressed))
        log_warn("send", "the disk of the commit log is slow to take what is written",
                 "append_ms=%lld suppressed=%lld", (long long)took_ms, (long long)suppressed);
}

static void await_turn(const struct appender *appender)
{
    const struct timespec pause = {0, 1000000};
    while (store_append_busy_ms(appender->broker->store) > APPEND_LONG_MS)
        (void)nanosleep(&pause, NULL);
}

/* Wait until there is a job; false when the appender is stopping and nothing waits. */
static bool await_job(struct appender *appender)
{
    lock(appender);
    while (list_empty(&appender->queue) && !appender->stopping)
        CHECK(pthread_cond_wait(&appender->changed, &appender->lock) == 0);
    bool found = !list_empty(&appender->queue);
    unlock(appender);
    return found;
}

/* The first job; NULL when those that were there have been taken back. */
static struct append_job *take(struct appender *appender)
{
    struct append_job *job = NULL;
    lock(appender);
    if (!list_empty(&appender->queue)) {
        job = list_entry(appender->queue.next, struct append_job, in_queue);
        list_remove(&job->in_queue);
    }
    unlock(appender);
    return job;
}

static void run(struct appender *appender, struct append_job *job)
{
    int64_t started_ms = now_ms(appender);
    job->results = store_append(appender->broker->store, job->batch);
    job->took_ms = now_ms(appender) - started_ms;
    appender_note(appender, job->took_ms);
    loop_post(job->loop, &job->done);
}

static void *work(void *arg)
{
    struct appender *appender = arg;
    while (await_job(appender)) {
        await_turn(appender);
        struct append_job *job = take(appender);
        if (job != NULL)
            run(appender, job);
    }
    return NULL;
}

void appender_free(struct appender *appender)
{
    CHECK(pthread_cond_destroy(&appender->changed) == 0);
    CHECK(pthread_mutex_destroy(&appender->lock) == 0);
    free(appender);
}

enum status appender_new(struct broker *broker, struct appender **out, struct err *err)
{
    struct appender *appender = xcalloc(1, sizeof *appender);
    appender->broker = broker;
    list_init(&appender->queue);
    CHECK(pthread_mutex_init(&appender->lock, NULL) == 0);
    CHECK(pthread_cond_init(&appender->changed, NULL) == 0);
    enum status status = thread_start(&appender->thread, "appender", work, appender, err);
    if (status == STATUS_OK)
        *out = appender;
    else
        appender_free(appender);
    return status;
}

void appender_stop(struct appender *appender)
{
    lock(appender);
    appender->stopping = true;
    CHECK(pthread_cond_signal(&appender->changed) == 0);
    unlock(appender);
    thread_join(appender->thread);
}

void appender_submit(struct appender *appender, struct append_job *job)
{
    lock(appender);
    bool stopped = appender->stopping;
    if (!stopped) {
        list_append(&appender->queue, &job->in_queue);
        CHECK(pthread_cond_signal(&appender->changed) == 0);
    }
    unlock(appender);
    if (stopped)
        run(appender, job);
}

bool appender_take_back(struct appender *appender, struct append_job *job)
{
    lock(appender);
    bool queued = !list_empty(&job->in_queue);
    list_remove(&job->in_queue);
    unlock(appender);
    return queued;
}
