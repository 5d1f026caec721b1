/* SPDX-License-Identifier: Apache-2.0
 *
 * Invariants: COLD_PACE_BYTES_MIN <= limit <= COLD_PACE_BYTES_MAX; `under_way` is the sum of what
 * was begun and not ended; a read that finds nothing under way never waits.
 */
#include "broker/store/cold_pace.h"

#include "common/base/check.h"

#include <string.h>

/* A piece that took longer halves the limit; one that took less than the other lets it grow. */
#define SLOW_NS INT64_C(3000000)
#define QUICK_NS INT64_C(1500000)
#define GROWTH_BYTES ((size_t)128 * 1024)

/* Messages count as being written this long after the log has grown. */
#define WRITTEN_NS INT64_C(1000000000)

void cold_pace_init(struct cold_pace *pace)
{
    memset(pace, 0, sizeof *pace);
    pace->limit = COLD_PACE_BYTES_MAX;
    pace->log_end = -1;
    CHECK(pthread_mutex_init(&pace->lock, NULL) == 0);
    CHECK(pthread_cond_init(&pace->freed, NULL) == 0);
}

void cold_pace_release(struct cold_pace *pace)
{
    CHECK(pace->under_way == 0);
    (void)pthread_cond_destroy(&pace->freed);
    (void)pthread_mutex_destroy(&pace->lock);
}

/* What may be under way at this time. Lock held. */
static size_t limit_at(struct cold_pace *pace, int64_t log_end, int64_t now_ns)
{
    if (log_end != pace->log_end) {
        pace->log_end = log_end;
        pace->moved_ns = now_ns;
    }
    if (now_ns - pace->moved_ns > WRITTEN_NS)
        pace->limit = COLD_PACE_BYTES_MAX;
    return pace->limit;
}

size_t cold_pace_begin(struct cold_pace *pace, size_t wanted, int64_t log_end, int64_t now_ns)
{
    DCHECK(wanted > 0);
    (void)pthread_mutex_lock(&pace->lock);
    size_t limit = limit_at(pace, log_end, now_ns);
    size_t bytes = wanted < limit ? wanted : limit;
    while (pace->under_way != 0 && pace->under_way + bytes > pace->limit)
        (void)pthread_cond_wait(&pace->freed, &pace->lock);
    pace->under_way += bytes;
    (void)pthread_mutex_unlock(&pace->lock);
    return bytes;
}

void cold_pace_end(struct cold_pace *pace, size_t bytes, int64_t took_ns)
{
    (void)pthread_mutex_lock(&pace->lock);
    DCHECK(pace->under_way >= bytes);
    pace->under_way -= bytes;
    if (took_ns > SLOW_NS)
        pace->limit /= 2;
    else if (took_ns < QUICK_NS)
        pace->limit += GROWTH_BYTES;
    if (pace->limit < COLD_PACE_BYTES_MIN)
        pace->limit = COLD_PACE_BYTES_MIN;
    if (pace->limit > COLD_PACE_BYTES_MAX)
        pace->limit = COLD_PACE_BYTES_MAX;
    (void)pthread_cond_broadcast(&pace->freed);
    (void)pthread_mutex_unlock(&pace->lock);
}

bool cold_pace_is_free(struct cold_pace *pace)
{
    (void)pthread_mutex_lock(&pace->lock);
    bool is_free = pace->limit == COLD_PACE_BYTES_MAX;
    (void)pthread_mutex_unlock(&pace->lock);
    return is_free;
}
