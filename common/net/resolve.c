/* SPDX-License-Identifier: Apache-2.0
 *
 * One short-lived thread per look-up. It is the one kind of thread that is not joined: a resolver
 * that gets no answer waits for many seconds and cannot be interrupted, and shutting down must not
 * wait for it. So the look-up belongs to two holders, the thread and the loop's side; whoever lets
 * go last frees it. The thread posts to the loop only under the lock and only while it is not
 * cancelled, hence never to a loop that has been freed.
 */
#include "common/net/resolve.h"

#include "common/base/check.h"
#include "common/sys/thread.h"

#include <stdlib.h>

struct resolve {
    struct loop_task task;
    struct loop *loop;
    void (*done)(void *ctx, const struct address *found, int count, const char *problem);
    void *ctx;
    pthread_mutex_t lock;
    int holders; /* under the lock, as the two below */
    bool posted;
    bool cancelled;
    struct address found[ADDRESSES_MAX];
    int count;
    const char *problem;
    int port;
    char host[256];
};

/* Unlock and let go; the last one frees. */
static void unlock_and_drop(struct resolve *resolve, bool drop)
{
    if (drop)
        resolve->holders--;
    bool last = resolve->holders == 0;
    CHECK(pthread_mutex_unlock(&resolve->lock) == 0);
    if (!last)
        return;
    CHECK(pthread_mutex_destroy(&resolve->lock) == 0);
    free(resolve);
}

static void lock(struct resolve *resolve)
{
    CHECK(pthread_mutex_lock(&resolve->lock) == 0);
}

static void *look_up(void *arg)
{
    struct resolve *resolve = arg;
    const char *problem = NULL;
    int count =
        address_lookup(resolve->host, resolve->port, false, false, resolve->found, &problem);
    lock(resolve);
    resolve->count = count;
    resolve->problem = problem;
    if (!resolve->cancelled) {
        resolve->posted = true;
        loop_post(resolve->loop, &resolve->task);
    }
    unlock_and_drop(resolve, true);
    return NULL;
}

static void report(struct loop_task *task)
{
    struct resolve *resolve = (struct resolve *)(void *)task;
    lock(resolve);
    bool cancelled = resolve->cancelled;
    CHECK(pthread_mutex_unlock(&resolve->lock) == 0);
    if (!cancelled)
        resolve->done(resolve->ctx, resolve->found, resolve->count, resolve->problem);
    lock(resolve);
    unlock_and_drop(resolve, true);
}

struct resolve *resolve_start(struct loop *loop, const char *host, int port,
                              void (*done)(void *ctx, const struct address *found, int count,
                                           const char *problem),
                              void *ctx)
{
    struct resolve *resolve = xcalloc(1, sizeof *resolve);
    CHECK(strlen(host) < sizeof resolve->host);
    CHECK(pthread_mutex_init(&resolve->lock, NULL) == 0);
    resolve->task.run = report;
    resolve->loop = loop;
    resolve->done = done;
    resolve->ctx = ctx;
    resolve->holders = 2;
    resolve->port = port;
    memcpy(resolve->host, host, strlen(host) + 1);
    pthread_t thread;
    if (thread_start(&thread, "resolve", look_up, resolve, NULL) != STATUS_OK) {
        CHECK(pthread_mutex_destroy(&resolve->lock) == 0);
        free(resolve);
        return NULL;
    }
    CHECK(pthread_detach(thread) == 0);
    return resolve;
}

void resolve_cancel(struct resolve *resolve)
{
    lock(resolve);
    resolve->cancelled = true;
    /* What was posted lets go of the loop's hold when it runs. */
    unlock_and_drop(resolve, !resolve->posted);
}
