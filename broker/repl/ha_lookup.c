/* SPDX-License-Identifier: Apache-2.0
 *
 * As common/net/resolve.c, for one who has no loop. The look-up belongs to two holders, the thread
 * and who waits for it; whoever lets go last frees it. The thread is not joined.
 */
#include "broker/repl/ha_lookup.h"

#include "common/base/check.h"
#include "common/sys/thread.h"

#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct lookup {
    pthread_mutex_t lock;
    int holders;      /* under the lock */
    int done_fd;      /* an eventfd: what follows is there */
    atomic_bool done; /* the same, for the order of memory */
    struct address found[ADDRESSES_MAX];
    int count;
    const char *problem;
    int port;
    char host[256];
};

static void let_go(struct lookup *lookup)
{
    CHECK(pthread_mutex_lock(&lookup->lock) == 0);
    bool last = --lookup->holders == 0;
    CHECK(pthread_mutex_unlock(&lookup->lock) == 0);
    if (!last)
        return;
    (void)close(lookup->done_fd);
    CHECK(pthread_mutex_destroy(&lookup->lock) == 0);
    free(lookup);
}

static void *look_up(void *arg)
{
    struct lookup *lookup = arg;
    uint64_t one = 1;
    lookup->count =
        address_lookup(lookup->host, lookup->port, false, false, lookup->found, &lookup->problem);
    atomic_store(&lookup->done, true);
    CHECK(write(lookup->done_fd, &one, sizeof one) == (ssize_t)sizeof one);
    let_go(lookup);
    return NULL;
}

/* NULL: no descriptor or no thread */
static struct lookup *start(const char *host, int port)
{
    struct lookup *lookup = xcalloc(1, sizeof *lookup);
    pthread_t thread;
    CHECK(strlen(host) < sizeof lookup->host);
    memcpy(lookup->host, host, strlen(host) + 1);
    lookup->port = port;
    lookup->holders = 2;
    CHECK(pthread_mutex_init(&lookup->lock, NULL) == 0);
    lookup->done_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (lookup->done_fd != -1 &&
        thread_start(&thread, "ha-lookup", look_up, lookup, NULL) == STATUS_OK) {
        CHECK(pthread_detach(thread) == 0);
        return lookup;
    }
    if (lookup->done_fd != -1)
        (void)close(lookup->done_fd);
    CHECK(pthread_mutex_destroy(&lookup->lock) == 0);
    free(lookup);
    return NULL;
}

/* returns  false: woken before */
static bool await(const struct lookup *lookup, int wake_fd)
{
    struct pollfd polled[2] = {{.fd = lookup->done_fd, .events = POLLIN},
                               {.fd = wake_fd, .events = POLLIN}};
    while (poll(polled, 2, -1) <= 0)
        continue;
    return polled[0].revents != 0;
}

enum status ha_lookup(const char *host, int port, int wake_fd, struct address found[ADDRESSES_MAX],
                      int *count, const char **problem)
{
    *count = address_lookup(host, port, true, false, found, problem);
    if (*count > 0) /* a number */
        return STATUS_OK;
    struct lookup *lookup = start(host, port);
    if (lookup == NULL)
        return STATUS_BUSY;
    enum status status = STATUS_CLOSED;
    if (await(lookup, wake_fd) && atomic_load(&lookup->done)) {
        *count = lookup->count;
        *problem = lookup->problem;
        memcpy(found, lookup->found, sizeof lookup->found);
        status = *count > 0 ? STATUS_OK : STATUS_INVALID;
    }
    let_go(lookup);
    return status;
}
