/* SPDX-License-Identifier: Apache-2.0
 *
 * Counters and their samples. The counters only grow; a sample is a copy of them once a second, and
 * ten minutes of samples are kept in a ring. Rates are differences of samples, and the distribution
 * of put times is that of the last whole minute, as in 4.9.2.
 * Source: RMQ store/.../StoreStatsService.java, BrokerStats.java.
 */
#include "broker/state/stats.h"

#include "common/base/check.h"
#include "proto/json.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#define SAMPLE_INTERVAL_MS 1000
#define SAMPLES_MAX 601 /* ten minutes, both ends */
#define DISTRIBUTION_INTERVAL_MS 60000
#define BUCKETS 13

static const struct bucket {
    const char *name;
    int64_t below_ms;
} buckets[BUCKETS] = {
    {"[<=0ms]", 1},        {"[0~10ms]", 10},     {"[10~50ms]", 50},    {"[50~100ms]", 100},
    {"[100~200ms]", 200},  {"[200~500ms]", 500}, {"[500ms~1s]", 1000}, {"[1~2s]", 2000},
    {"[2~3s]", 3000},      {"[3~4s]", 4000},     {"[4~5s]", 5000},     {"[5~10s]", 10000},
    {"[10s~]", INT64_MAX},
};

enum counter {
    COUNTER_PUT,
    COUNTER_GET_FOUND,
    COUNTER_GET_MISS,
    COUNTER_TRANSFERRED,
    COUNTER_COUNT,
};

struct sample {
    int64_t wall_ms;
    int64_t totals[COUNTER_COUNT];
};

struct stats {
    /* Any thread, relaxed. */
    _Atomic int64_t totals[COUNTER_COUNT];
    _Atomic int64_t put_bytes;
    _Atomic int64_t put_time_max_ms;
    _Atomic int64_t get_time_max_ms;
    _Atomic int64_t put_times[BUCKETS];

    int64_t boot_ms;

    pthread_mutex_t lock; /* docs/locks.md: stats; for all below */
    struct sample samples[SAMPLES_MAX];
    size_t sample_count; /* ever taken; the newest is at (sample_count - 1) % SAMPLES_MAX */
    int64_t distribution_ms;
    int64_t put_times_before[BUCKETS]; /* totals when the running minute began */
    int64_t put_times_minute[BUCKETS]; /* of the last whole minute */
    int64_t today;                     /* day number in local time */
    int64_t put_today_morning, put_yesterday_morning, got_today_morning, got_yesterday_morning;
};

static void stats_lock(const struct stats *stats)
{
    CHECK(pthread_mutex_lock((pthread_mutex_t *)(uintptr_t)&stats->lock) == 0);
}

static void stats_unlock(const struct stats *stats)
{
    CHECK(pthread_mutex_unlock((pthread_mutex_t *)(uintptr_t)&stats->lock) == 0);
}

static int64_t day_of(int64_t wall_ms)
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm local;
    CHECK(localtime_r(&seconds, &local) != NULL);
    return (int64_t)local.tm_year * 366 + local.tm_yday;
}

static void add(_Atomic int64_t *counter, int64_t more)
{
    (void)atomic_fetch_add_explicit(counter, more, memory_order_relaxed);
}

static int64_t get(const _Atomic int64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void raise_to(_Atomic int64_t *maximum, int64_t value)
{
    int64_t seen = get(maximum);
    while (value > seen && !atomic_compare_exchange_weak_explicit(
                               maximum, &seen, value, memory_order_relaxed, memory_order_relaxed))
        continue;
}

struct stats *stats_new(int64_t boot_wall_ms)
{
    struct stats *stats = xcalloc(1, sizeof *stats);
    CHECK(pthread_mutex_init(&stats->lock, NULL) == 0);
    stats->boot_ms = boot_wall_ms;
    stats->distribution_ms = boot_wall_ms;
    stats->today = day_of(boot_wall_ms);
    return stats;
}

void stats_free(struct stats *stats)
{
    CHECK(pthread_mutex_destroy(&stats->lock) == 0);
    free(stats);
}

/* --- counting --- */

void stats_put(struct stats *stats, int64_t messages, int64_t bytes)
{
    add(&stats->totals[COUNTER_PUT], messages);
    add(&stats->put_bytes, bytes);
}

void stats_put_time(struct stats *stats, int64_t messages, int64_t took_ms)
{
    int bucket = 0;
    while (took_ms >= buckets[bucket].below_ms && bucket < BUCKETS - 1)
        bucket++;
    add(&stats->put_times[bucket], messages);
    raise_to(&stats->put_time_max_ms, took_ms);
}

void stats_get(struct stats *stats, bool found, int64_t messages)
{
    add(&stats->totals[found ? COUNTER_GET_FOUND : COUNTER_GET_MISS], 1);
    add(&stats->totals[COUNTER_TRANSFERRED], messages);
}

void stats_get_time(struct stats *stats, int64_t took_ms)
{
    raise_to(&stats->get_time_max_ms, took_ms);
}

/* --- sampling, with the lock held --- */

/* `age` samples before the newest; NULL when so many were not taken or kept. */
static const struct sample *sample_at(const struct stats *stats, size_t age)
{
    if (age >= stats->sample_count || age >= SAMPLES_MAX)
        return NULL;
    return &stats->samples[(stats->sample_count - 1 - age) % SAMPLES_MAX];
}

static void take_sample(struct stats *stats, int64_t wall_ms)
{
    struct sample *sample = &stats->samples[stats->sample_count % SAMPLES_MAX];
    sample->wall_ms = wall_ms;
    for (int i = 0; i < COUNTER_COUNT; i++)
        sample->totals[i] = get(&stats->totals[i]);
    stats->sample_count++;
}

static void roll_distribution(struct stats *stats, int64_t wall_ms)
{
    stats->distribution_ms = wall_ms;
    for (int i = 0; i < BUCKETS; i++) {
        int64_t total = get(&stats->put_times[i]);
        stats->put_times_minute[i] = total - stats->put_times_before[i];
        stats->put_times_before[i] = total;
    }
}

static void roll_day(struct stats *stats, int64_t today)
{
    stats->today = today;
    stats->put_yesterday_morning = stats->put_today_morning;
    stats->got_yesterday_morning = stats->got_today_morning;
    stats->put_today_morning = get(&stats->totals[COUNTER_PUT]);
    stats->got_today_morning = get(&stats->totals[COUNTER_TRANSFERRED]);
}

/* True when `interval_ms` has passed, or the clock was set back. */
static bool due(int64_t since_ms, int64_t wall_ms, int64_t interval_ms)
{
    return wall_ms - since_ms >= interval_ms || wall_ms < since_ms;
}

void stats_step(struct stats *stats, int64_t wall_ms)
{
    stats_lock(stats);
    const struct sample *newest = sample_at(stats, 0);
    if (newest == NULL || due(newest->wall_ms, wall_ms, SAMPLE_INTERVAL_MS)) {
        take_sample(stats, wall_ms);
        int64_t today = day_of(wall_ms);
        if (today > stats->today) /* not again after a step back over midnight */
            roll_day(stats, today);
    }
    if (due(stats->distribution_ms, wall_ms, DISTRIBUTION_INTERVAL_MS))
        roll_distribution(stats, wall_ms);
    stats_unlock(stats);
}

/* --- reading --- */

/* With the lock held: per second over the last `seconds` samples; false when there are too few. */
static bool rate(const struct stats *stats, enum counter counter, size_t seconds, double *out)
{
    const struct sample *last = sample_at(stats, 0);
    const struct sample *first = sample_at(stats, seconds);
    if (first == NULL)
        return false;
    double total = (double)(last->totals[counter] - first->totals[counter]);
    int64_t took_ms = last->wall_ms - first->wall_ms;
    *out = took_ms <= 0 ? 0 : total / (double)took_ms * 1000;
    return true;
}

static const size_t windows[] = {10, 60, 600};

/* A window without enough samples yet is left empty, as in 4.9.2. */
static void print_rates(const struct stats *stats, enum counter counter, struct buf *out)
{
    stats_lock(stats);
    for (size_t i = 0; i < sizeof windows / sizeof windows[0]; i++) {
        double value;
        if (i != 0)
            buf_append_byte(out, ' ');
        if (rate(stats, counter, windows[i], &value))
            json_write_double(out, value);
    }
    stats_unlock(stats);
}

void stats_put_tps(const struct stats *stats, struct buf *out)
{
    print_rates(stats, COUNTER_PUT, out);
}

void stats_get_found_tps(const struct stats *stats, struct buf *out)
{
    print_rates(stats, COUNTER_GET_FOUND, out);
}

void stats_get_miss_tps(const struct stats *stats, struct buf *out)
{
    print_rates(stats, COUNTER_GET_MISS, out);
}

void stats_get_transferred_tps(const struct stats *stats, struct buf *out)
{
    print_rates(stats, COUNTER_TRANSFERRED, out);
}

/* The one that 4.9.2 prints as 0.0 when there are too few samples. */
void stats_get_total_tps(const struct stats *stats, struct buf *out)
{
    stats_lock(stats);
    for (size_t i = 0; i < sizeof windows / sizeof windows[0]; i++) {
        double found = 0;
        double miss = 0;
        if (i != 0)
            buf_append_byte(out, ' ');
        (void)rate(stats, COUNTER_GET_FOUND, windows[i], &found);
        (void)rate(stats, COUNTER_GET_MISS, windows[i], &miss);
        json_write_double(out, found + miss);
    }
    stats_unlock(stats);
}

void stats_put_distribution(const struct stats *stats, struct buf *out)
{
    stats_lock(stats);
    for (int i = 0; i < BUCKETS; i++)
        buf_printf(out, "%s:%lld ", buckets[i].name, (long long)stats->put_times_minute[i]);
    stats_unlock(stats);
}

struct stats_totals stats_totals(const struct stats *stats)
{
    struct stats_totals totals = {
        .boot_ms = stats->boot_ms,
        .put_times = get(&stats->totals[COUNTER_PUT]),
        .put_bytes = get(&stats->put_bytes),
        .put_time_max_ms = get(&stats->put_time_max_ms),
        .get_time_max_ms = get(&stats->get_time_max_ms),
        .got_messages = get(&stats->totals[COUNTER_TRANSFERRED]),
    };
    stats_lock(stats);
    totals.put_today_morning = stats->put_today_morning;
    totals.put_yesterday_morning = stats->put_yesterday_morning;
    totals.got_today_morning = stats->got_today_morning;
    totals.got_yesterday_morning = stats->got_yesterday_morning;
    stats_unlock(stats);
    return totals;
}
