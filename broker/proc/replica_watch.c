/* SPDX-License-Identifier: Apache-2.0
 *
 * What has to be remembered of each slave between two looks, by the number of its connection. That
 * a slave has come or gone is in the log already, with the reason, by the thread that serves it.
 * As in 4.9.2 the log also says every minute how far behind the slaves are, when there are some.
 */
#include "broker/proc/replica_watch.h"

#include "common/base/check.h"
#include "common/sys/log.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

/* Source: RMQ 4.9.2 BrokerController.printMasterAndSlaveDiff. */
#define TELL_FIRST_MS 10000
#define TELL_PERIOD_MS 60000

enum told {
    TOLD_NOTHING, /* it is on its way to the end of the log for the first time */
    TOLD_IN_SYNC,
    TOLD_BEHIND,
};

struct watched {
    uint64_t number;
    int64_t sent_pos;
    int64_t bytes_per_second;
    int64_t fell_ms; /* wall clock: when it was seen too far behind; 0: not since it was in sync */
    bool in_sync;
    enum told told;
};

struct replica_watch {
    struct broker *broker;
    int64_t tell_ms;      /* monotonic */
    int64_t looked_ms;    /* the same */
    pthread_mutex_t lock; /* docs/locks.md: replica_watch */
    struct watched watched[REPLICAS_MAX];
    size_t count;
};

static void lock(struct replica_watch *watch)
{
    CHECK(pthread_mutex_lock(&watch->lock) == 0);
}

static void unlock(struct replica_watch *watch)
{
    CHECK(pthread_mutex_unlock(&watch->lock) == 0);
}

struct replica_watch *replica_watch_new(struct broker *broker)
{
    struct replica_watch *watch = xcalloc(1, sizeof *watch);
    watch->broker = broker;
    watch->looked_ms = clock_monotonic_ms(broker->clock);
    watch->tell_ms = watch->looked_ms + TELL_FIRST_MS;
    CHECK(pthread_mutex_init(&watch->lock, NULL) == 0);
    return watch;
}

void replica_watch_free(struct replica_watch *watch)
{
    CHECK(pthread_mutex_destroy(&watch->lock) == 0);
    free(watch);
}

/* Under the lock. NULL: it has come since the last look. */
static const struct watched *find(const struct replica_watch *watch, uint64_t number)
{
    for (size_t i = 0; i < watch->count; i++)
        if (watch->watched[i].number == number)
            return &watch->watched[i];
    return NULL;
}

static void view(const struct broker *broker, const struct replica_state *state, int64_t now_ms,
                 struct replica_view *out)
{
    int64_t end_pos = store_appended_pos(broker->store);
    int64_t since_ms = state->caught_up_ms > 0 ? state->caught_up_ms : state->joined_ms;
    *out = (struct replica_view){.state = *state};
    if (end_pos > state->acked_pos) {
        out->behind_bytes = end_pos - state->acked_pos;
        out->behind_ms = now_ms > since_ms ? now_ms - since_ms : 0;
    }
}

/* How the slave is now. before  NULL: not seen yet */
static struct watched judge(const struct replica_watch *watch, const struct watched *before,
                            const struct replica_view *seen, int64_t now_ms, int64_t elapsed_ms)
{
    const struct replica_state *state = &seen->state;
    struct watched now = {.number = state->number, .sent_pos = state->sent_pos};
    if (before != NULL) {
        now = *before;
        now.sent_pos = state->sent_pos;
        if (elapsed_ms > 0)
            now.bytes_per_second = (state->sent_pos - before->sent_pos) * 1000 / elapsed_ms;
    }
    if (seen->behind_bytes >= watch->broker->conf.haSlaveFallbehindMax) {
        now.in_sync = false;
        now.fell_ms = now_ms;
    } else if (state->caught_up_ms > 0 && state->caught_up_ms >= now.fell_ms) {
        now.in_sync = true;
        now.fell_ms = 0;
    }
    return now;
}

/* A line for each change; not for one that has never been in sync. */
static void tell_change(const struct replica_watch *watch, const struct replica_view *seen,
                        struct watched *now)
{
    char address[HOST_TEXT_BYTES];
    host_format(&seen->state.identity.address, address);
    if (now->in_sync && now->told != TOLD_IN_SYNC) {
        now->told = TOLD_IN_SYNC;
        log_info("replication", "slave is in sync", "slave=%s brokerId=%lld acked=%lld", address,
                 (long long)seen->state.identity.broker_id, (long long)seen->state.acked_pos);
    } else if (!now->in_sync && seen->state.caught_up_ms > 0 && now->told != TOLD_BEHIND) {
        now->told = TOLD_BEHIND;
        log_warn(
            "replication", "slave fell behind: SYNC_MASTER does not wait for it until it is nearer",
            "slave=%s brokerId=%lld behind_bytes=%lld behind_ms=%lld haSlaveFallbehindMax=%lld",
            address, (long long)seen->state.identity.broker_id, (long long)seen->behind_bytes,
            (long long)seen->behind_ms, (long long)watch->broker->conf.haSlaveFallbehindMax);
    }
}

/* Words as 4.9.2's. */
static void tell_all(const struct replica_watch *watch, const struct replica_view *seen,
                     size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char address[HOST_TEXT_BYTES];
        char text[128];
        host_format(&seen[i].state.identity.address, address);
        (void)snprintf(text, sizeof text, "Slave fall behind master: %lld bytes",
                       (long long)seen[i].behind_bytes);
        log_info("replication", text, "slave=%s brokerId=%lld behind_ms=%lld in_sync=%s", address,
                 (long long)seen[i].state.identity.broker_id, (long long)seen[i].behind_ms,
                 watch->watched[i].in_sync ? "true" : "false");
    }
}

static int by_number(const void *a, const void *b)
{
    uint64_t first = ((const struct replica_state *)a)->number;
    uint64_t second = ((const struct replica_state *)b)->number;
    return first < second ? -1 : first > second;
}

static size_t states(const struct replica_watch *watch, struct replica_state *out)
{
    size_t count = replicas_list(watch->broker->replicas, out);
    qsort(out, count, sizeof *out, by_number);
    return count;
}

void replica_watch_step(struct replica_watch *watch)
{
    const struct clock *clock = watch->broker->clock;
    struct replica_state list[REPLICAS_MAX];
    struct replica_view seen[REPLICAS_MAX];
    struct watched now[REPLICAS_MAX];
    int64_t wall_ms = clock_wall_ms(clock);
    int64_t mono_ms = clock_monotonic_ms(clock);
    size_t count = states(watch, list);
    for (size_t i = 0; i < count; i++) { /* only this thread changes what it reads here */
        const struct watched *before = find(watch, list[i].number);
        view(watch->broker, &list[i], wall_ms, &seen[i]);
        now[i] = judge(watch, before, &seen[i], wall_ms, mono_ms - watch->looked_ms);
        tell_change(watch, &seen[i], &now[i]);
    }
    lock(watch);
    memcpy(watch->watched, now, count * sizeof *now);
    watch->count = count;
    unlock(watch);
    watch->looked_ms = mono_ms;
    if (mono_ms < watch->tell_ms)
        return;
    watch->tell_ms = mono_ms + TELL_PERIOD_MS;
    tell_all(watch, seen, count);
}

size_t replica_watch_list(struct replica_watch *watch, struct replica_view *out)
{
    struct replica_state list[REPLICAS_MAX];
    int64_t now_ms = clock_wall_ms(watch->broker->clock);
    size_t count = states(watch, list);
    lock(watch);
    for (size_t i = 0; i < count; i++) {
        const struct watched *known = find(watch, list[i].number);
        view(watch->broker, &list[i], now_ms, &out[i]);
        out[i].bytes_per_second = known != NULL ? known->bytes_per_second : 0;
        out[i].in_sync = out[i].behind_bytes < watch->broker->conf.haSlaveFallbehindMax &&
                         (known != NULL ? known->in_sync : list[i].caught_up_ms > 0);
    }
    unlock(watch);
    return count;
}
