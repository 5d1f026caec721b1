/* SPDX-License-Identifier: Apache-2.0
 *
 * Meters by key. One map per table, all under one lock; views keep maps of their own, without
 * locks, that are thrown away when `generation` shows that a meter was recycled.
 *
 * The samples of all meters are taken at the same instants, so a window keeps the instants once and
 * each meter only its totals at them: the sample with number n lies in place n % size. A meter
 * starts with zeros at the newest instant before its birth.
 */
#include "broker/state/topic_stats.h"

#include "common/base/buf.h"
#include "common/base/check.h"
#include "common/base/map.h"
#include "common/base/number.h"
#include "common/sys/log.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum table {
    TABLE_PUT,
    TABLE_GET,
    TABLE_BACK,
    TABLE_QUEUE_GET, /* messages: milliseconds */
    TABLE_COUNT,
};

enum window_name {
    WINDOW_MINUTE,
    WINDOW_HOUR,
    WINDOW_DAY,
    WINDOW_COUNT,
};

#define SAMPLES_MINUTE 7
#define SAMPLES_HOUR 7
#define SAMPLES_DAY 25
#define SAMPLES_LARGEST SAMPLES_DAY

static const struct shape {
    int64_t interval_ms;
    int size;  /* samples kept */
    int first; /* where they start among a meter's samples */
} shapes[WINDOW_COUNT] = {
    {10000, SAMPLES_MINUTE, 0},
    {600000, SAMPLES_HOUR, SAMPLES_MINUTE},
    {3600000, SAMPLES_DAY, SAMPLES_MINUTE + SAMPLES_HOUR},
};

struct totals {
    int64_t messages;
    int64_t bytes;
    int64_t requests;
};

struct meter {
    /* Any thread, relaxed. */
    _Atomic int64_t messages;
    _Atomic int64_t bytes;
    _Atomic int64_t requests;
    _Atomic int64_t fall_bytes; /* of a queue that a group reads */
    _Atomic int64_t fall_ms;

    /* Under topic_stats.lock. */
    int64_t born[WINDOW_COUNT]; /* number of the sample before the first */
    struct totals samples[SAMPLES_MINUTE + SAMPLES_HOUR + SAMPLES_DAY];
    struct meter *next_free;
};

struct window {
    int64_t newest; /* number of the newest sample */
    int64_t taken_ms[SAMPLES_LARGEST];
};

struct topic_stats {
    char *cluster_name;
    struct meter broker_put;
    struct meter broker_got;
    _Atomic uint64_t generation; /* moves when views must ask again */

    pthread_mutex_t lock; /* docs/locks.md: topic_stats; for all below */
    struct map tables[TABLE_COUNT];
    size_t count; /* meters in the tables */
    struct meter *free_meters;
    bool full; /* a search for idle meters would find none before the next sample */
    struct window windows[WINDOW_COUNT];
};

struct topic_stats_view {
    struct topic_stats *stats;
    uint64_t generation;
    struct map puts;
    struct map gets;
    struct map queue_gets;
    /* The last topic put to, by its address: names of topics live as long as the topics' table, and
     * most turns write to few. */
    const uint8_t *last_name;
    size_t last_size;
    struct meter *last_meter;
    struct buf key;
};

/* What a view keeps for keys that have no meter. */
static struct meter none;

static void stats_lock(const struct topic_stats *stats)
{
    CHECK(pthread_mutex_lock((pthread_mutex_t *)(uintptr_t)&stats->lock) == 0);
}

static void stats_unlock(const struct topic_stats *stats)
{
    CHECK(pthread_mutex_unlock((pthread_mutex_t *)(uintptr_t)&stats->lock) == 0);
}

static struct totals totals_of(const struct meter *meter)
{
    return (struct totals){
        atomic_load_explicit(&meter->messages, memory_order_relaxed),
        atomic_load_explicit(&meter->bytes, memory_order_relaxed),
        atomic_load_explicit(&meter->requests, memory_order_relaxed),
    };
}

static void meter_add(struct meter *meter, int64_t messages, int64_t bytes, int64_t requests)
{
    (void)atomic_fetch_add_explicit(&meter->messages, messages, memory_order_relaxed);
    (void)atomic_fetch_add_explicit(&meter->bytes, bytes, memory_order_relaxed);
    (void)atomic_fetch_add_explicit(&meter->requests, requests, memory_order_relaxed);
}

static struct totals *sample_at(struct meter *meter, enum window_name window, int64_t number)
{
    return &meter->samples[shapes[window].first + number % shapes[window].size];
}

struct topic_stats *topic_stats_new(const char *cluster_name, int64_t boot_wall_ms)
{
    struct topic_stats *stats = xcalloc(1, sizeof *stats);
    CHECK(pthread_mutex_init(&stats->lock, NULL) == 0);
    stats->cluster_name = xstrdup(cluster_name);
    for (int i = 0; i < WINDOW_COUNT; i++)
        stats->windows[i].taken_ms[0] = boot_wall_ms;
    return stats;
}

void topic_stats_free(struct topic_stats *stats)
{
    for (int i = 0; i < TABLE_COUNT; i++) {
        size_t cursor = 0;
        struct map_entry *entry;
        while ((entry = map_next(&stats->tables[i], &cursor)) != NULL)
            free(entry->value);
        map_release(&stats->tables[i]);
    }
    while (stats->free_meters != NULL) {
        struct meter *meter = stats->free_meters;
        stats->free_meters = meter->next_free;
        free(meter);
    }
    CHECK(pthread_mutex_destroy(&stats->lock) == 0);
    free(stats->cluster_name);
    free(stats);
}

/* --- meters, with the lock held --- */

static void meter_reset(struct topic_stats *stats, struct meter *meter)
{
    atomic_store_explicit(&meter->messages, 0, memory_order_relaxed);
    atomic_store_explicit(&meter->bytes, 0, memory_order_relaxed);
    atomic_store_explicit(&meter->requests, 0, memory_order_relaxed);
    atomic_store_explicit(&meter->fall_bytes, 0, memory_order_relaxed);
    atomic_store_explicit(&meter->fall_ms, 0, memory_order_relaxed);
    memset(meter->samples, 0, sizeof meter->samples);
    for (int i = 0; i < WINDOW_COUNT; i++)
        meter->born[i] = stats->windows[i].newest;
}

/* Remove what map_next has just returned. */
static void recycle(struct topic_stats *stats, struct map *table, const struct map_entry *entry)
{
    struct meter *meter = entry->value;
    (void)map_remove(table, entry->key);
    meter->next_free = stats->free_meters;
    stats->free_meters = meter;
    stats->count--;
    stats->full = false;
    (void)atomic_fetch_add(&stats->generation, 1);
}

/* True when nothing was counted for a whole day. */
static bool is_idle(const struct topic_stats *stats, struct meter *meter)
{
    int64_t newest = stats->windows[WINDOW_DAY].newest;
    int64_t oldest = newest - (SAMPLES_DAY - 1);
    struct totals now = totals_of(meter);
    return oldest >= meter->born[WINDOW_DAY] &&
           sample_at(meter, WINDOW_DAY, oldest)->messages == now.messages &&
           sample_at(meter, WINDOW_DAY, oldest)->requests == now.requests;
}

static bool has_room(const struct topic_stats *stats, enum table table)
{
    return stats->count < METERS_MAX &&
           (table != TABLE_QUEUE_GET || stats->tables[table].count < QUEUE_METERS_MAX);
}

static void recycle_idle(struct topic_stats *stats, enum table wanted)
{
    for (int i = 0; i < TABLE_COUNT; i++) {
        size_t cursor = 0;
        struct map_entry *entry;
        while ((entry = map_next(&stats->tables[i], &cursor)) != NULL)
            if (is_idle(stats, entry->value))
                recycle(stats, &stats->tables[i], entry);
    }
    if (has_room(stats, wanted))
        return;
    stats->full = true;
    log_warn("stats", "too many topics, groups or queues to count all of them",
             "counted=%zu; new ones have no statistics until others are idle for a day",
             stats->count);
}

/* The key's meter, made when needed; NULL when there is no room. */
static struct meter *find_or_make(struct topic_stats *stats, enum table table, struct slice key)
{
    struct meter *meter = map_get(&stats->tables[table], key);
    if (meter != NULL)
        return meter;
    if (!has_room(stats, table) && !stats->full)
        recycle_idle(stats, table);
    if (!has_room(stats, table))
        return NULL;
    meter = stats->free_meters;
    if (meter == NULL)
        meter = xcalloc(1, sizeof *meter);
    else
        stats->free_meters = meter->next_free;
    meter_reset(stats, meter);
    (void)map_put(&stats->tables[table], key, meter);
    stats->count++;
    return meter;
}

/* --- counting --- */

struct topic_stats_view *topic_stats_view_new(struct topic_stats *stats)
{
    struct topic_stats_view *view = xcalloc(1, sizeof *view);
    view->stats = stats;
    return view;
}

void topic_stats_view_free(struct topic_stats_view *view)
{
    map_release(&view->puts);
    map_release(&view->gets);
    map_release(&view->queue_gets);
    buf_release(&view->key);
    free(view);
}

/* Forget what was seen when some of it may be gone. */
static void view_refresh(struct topic_stats_view *view)
{
    uint64_t generation = atomic_load_explicit(&view->stats->generation, memory_order_relaxed);
    if (generation == view->generation)
        return;
    view->generation = generation;
    map_release(&view->puts);
    map_release(&view->gets);
    map_release(&view->queue_gets);
    view->puts = MAP_EMPTY;
    view->gets = MAP_EMPTY;
    view->queue_gets = MAP_EMPTY;
    view->last_name = NULL;
}

static struct meter *view_find(struct topic_stats_view *view, struct map *seen, enum table table,
                               struct slice key)
{
    struct meter *meter = map_get(seen, key);
    if (meter == NULL) {
        struct topic_stats *stats = view->stats;
        stats_lock(stats);
        meter = find_or_make(stats, table, key);
        bool full = stats->full;
        stats_unlock(stats);
        if (meter == NULL && full) {
            /* Ask again only after something was recycled; keep no more than the tables may. */
            if (seen->count < METERS_MAX)
                (void)map_put(seen, key, &none);
            return NULL;
        }
        (void)map_put(seen, key, meter);
    }
    return meter == &none ? NULL : meter;
}

struct meter *topic_stats_put_meter(struct topic_stats_view *view, struct slice topic)
{
    view_refresh(view);
    if (view->last_name != topic.data || view->last_size != topic.size) {
        view->last_meter = view_find(view, &view->puts, TABLE_PUT, topic);
        view->last_name = topic.data;
        view->last_size = topic.size;
    }
    return view->last_meter;
}

void topic_stats_put(struct topic_stats_view *view, struct meter *meter, int64_t messages,
                     int64_t bytes, int64_t requests)
{
    if (meter != NULL)
        meter_add(meter, messages, bytes, requests);
    meter_add(&view->stats->broker_put, messages, bytes, 0);
}

static void join_key(struct buf *key, struct slice topic, struct slice group)
{
    buf_clear(key);
    buf_append_slice(key, topic);
    buf_append_byte(key, '@');
    buf_append_slice(key, group);
}

void topic_stats_got(struct topic_stats_view *view, struct slice topic, struct slice group,
                     int64_t messages, int64_t bytes)
{
    view_refresh(view);
    join_key(&view->key, topic, group);
    struct meter *meter = view_find(view, &view->gets, TABLE_GET, buf_slice(&view->key));
    if (meter != NULL)
        meter_add(meter, messages, bytes, 1);
    meter_add(&view->stats->broker_got, messages, bytes, 0);
}

void topic_stats_queue_got(struct topic_stats_view *view, struct slice topic, int32_t queue_id,
                           struct slice group, const struct queue_read *read)
{
    char text[I64_TEXT_BYTES];
    view_refresh(view);
    buf_clear(&view->key);
    buf_append_slice(&view->key, slice_of(text, format_i64(queue_id, text)));
    buf_append_byte(&view->key, '@');
    buf_append_slice(&view->key, topic);
    buf_append_byte(&view->key, '@');
    buf_append_slice(&view->key, group);
    struct meter *meter =
        view_find(view, &view->queue_gets, TABLE_QUEUE_GET, buf_slice(&view->key));
    if (meter == NULL)
        return;
    if (read->took_ms >= 0)
        meter_add(meter, read->took_ms, 0, 1);
    if (read->fall_bytes >= 0)
        atomic_store_explicit(&meter->fall_bytes, read->fall_bytes, memory_order_relaxed);
    if (read->fall_ms >= 0)
        atomic_store_explicit(&meter->fall_ms, read->fall_ms, memory_order_relaxed);
}

void topic_stats_sent_back(struct topic_stats *stats, struct slice topic, struct slice group,
                           struct slice stored_topic, int64_t bytes)
{
    struct buf key = BUF_EMPTY;
    join_key(&key, topic, group);
    stats_lock(stats);
    struct meter *back = find_or_make(stats, TABLE_BACK, buf_slice(&key));
    if (back != NULL)
        meter_add(back, 1, bytes, 1);
    struct meter *put = find_or_make(stats, TABLE_PUT, stored_topic);
    if (put != NULL)
        meter_add(put, 1, bytes, 1);
    stats_unlock(stats);
    buf_release(&key);
}

void topic_stats_delivered(struct topic_stats *stats, struct slice from, struct slice topic,
                           int64_t bytes)
{
    struct buf key = BUF_EMPTY;
    stats_lock(stats);
    if (from.size != 0) {
        join_key(&key, from, SLICE_LITERAL("SCHEDULE_CONSUMER"));
        struct meter *got = find_or_make(stats, TABLE_GET, buf_slice(&key));
        if (got != NULL)
            meter_add(got, 1, bytes, 1);
    }
    struct meter *put = find_or_make(stats, TABLE_PUT, topic);
    if (put != NULL)
        meter_add(put, 1, bytes, 1);
    stats_unlock(stats);
    meter_add(&stats->broker_put, 1, bytes, 1);
    buf_release(&key);
}

/* --- keeping --- */

static void sample_meter(struct meter *meter, enum window_name window, int64_t number)
{
    *sample_at(meter, window, number) = totals_of(meter);
}

static void take_samples(struct topic_stats *stats, enum window_name name, int64_t wall_ms)
{
    struct window *window = &stats->windows[name];
    int64_t number = ++window->newest;
    window->taken_ms[number % shapes[name].size] = wall_ms;
    sample_meter(&stats->broker_put, name, number);
    sample_meter(&stats->broker_got, name, number);
    for (int i = 0; i < TABLE_COUNT; i++) {
        size_t cursor = 0;
        struct map_entry *entry;
        while ((entry = map_next(&stats->tables[i], &cursor)) != NULL)
            sample_meter(entry->value, name, number);
    }
}

void topic_stats_step(struct topic_stats *stats, int64_t wall_ms)
{
    bool look_for_room = false;
    stats_lock(stats);
    for (int i = 0; i < WINDOW_COUNT; i++) {
        const struct window *window = &stats->windows[i];
        int64_t last_ms = window->taken_ms[window->newest % shapes[i].size];
        /* Also when the clock was set back. */
        if (wall_ms - last_ms >= shapes[i].interval_ms || wall_ms < last_ms) {
            take_samples(stats, (enum window_name)i, wall_ms);
            look_for_room = true;
        }
    }
    if (look_for_room && stats->full) {
        stats->full = false;
        (void)atomic_fetch_add(&stats->generation, 1);
    }
    stats_unlock(stats);
}

/* --- deleting --- */

/* Topic and group of a key: names of topics and groups have no '@'.
 * group  empty: the key has none */
static void split_key(enum table table, struct slice key, struct slice *topic, struct slice *group)
{
    const uint8_t *at = memchr(key.data, '@', key.size);
    if (table == TABLE_QUEUE_GET) {
        key = slice_from(key, (size_t)(at - key.data) + 1);
        at = memchr(key.data, '@', key.size);
    }
    size_t topic_size = at == NULL ? key.size : (size_t)(at - key.data);
    *topic = slice_of(key.data, topic_size);
    *group = at == NULL ? SLICE_EMPTY : slice_from(key, topic_size + 1);
}

/* Recycle the keys of a table that are of the topic, or of the group, `name`. */
static void recycle_named(struct topic_stats *stats, enum table table, struct slice name,
                          bool is_topic)
{
    size_t cursor = 0;
    struct map_entry *entry;
    while ((entry = map_next(&stats->tables[table], &cursor)) != NULL) {
        struct slice topic;
        struct slice group;
        split_key(table, entry->key, &topic, &group);
        if (slice_equal(is_topic ? topic : group, name))
            recycle(stats, &stats->tables[table], entry);
    }
}

void topic_stats_topic_deleted(struct topic_stats *stats, struct slice topic)
{
    stats_lock(stats);
    for (int i = 0; i < TABLE_COUNT; i++)
        recycle_named(stats, (enum table)i, topic, true);
    stats_unlock(stats);
}

void topic_stats_group_deleted(struct topic_stats *stats, struct slice group)
{
    if (group.size == 0)
        return;
    stats_lock(stats);
    recycle_named(stats, TABLE_GET, group, false);
    recycle_named(stats, TABLE_BACK, group, false);
    recycle_named(stats, TABLE_QUEUE_GET, group, false);
    stats_unlock(stats);
}

/* --- reading, with the lock held --- */

static struct stats_figure figure_of(const struct topic_stats *stats, struct meter *meter,
                                     enum window_name name, bool bytes)
{
    const struct window *window = &stats->windows[name];
    int size = shapes[name].size;
    int64_t last = window->newest;
    int64_t first = last - (size - 1) > meter->born[name] ? last - (size - 1) : meter->born[name];
    struct stats_figure figure = {0};
    if (first == last)
        return figure;
    const struct totals *end = sample_at(meter, name, last);
    const struct totals *start = sample_at(meter, name, first);
    int64_t took_ms = window->taken_ms[last % size] - window->taken_ms[first % size];
    int64_t requests = end->requests - start->requests;
    figure.sum = bytes ? end->bytes - start->bytes : end->messages - start->messages;
    if (took_ms > 0)
        figure.tps = (double)figure.sum * 1000 / (double)took_ms;
    if (requests > 0)
        figure.average = (double)figure.sum / (double)requests;
    return figure;
}

static struct meter *find(const struct topic_stats *stats, struct slice table, struct slice key,
                          bool *bytes)
{
    static const struct {
        const char *name;
        enum table table;
        bool bytes;
    } names[] = {
        {"TOPIC_PUT_NUMS", TABLE_PUT, false},   {"TOPIC_PUT_SIZE", TABLE_PUT, true},
        {"GROUP_GET_NUMS", TABLE_GET, false},   {"GROUP_GET_SIZE", TABLE_GET, true},
        {"SNDBCK_PUT_NUMS", TABLE_BACK, false}, {"GROUP_GET_LATENCY", TABLE_QUEUE_GET, false},
    };
    *bytes = false;
    if (slice_is(table, "BROKER_PUT_NUMS") || slice_is(table, "BROKER_GET_NUMS")) {
        const struct meter *meter =
            slice_is(table, "BROKER_PUT_NUMS") ? &stats->broker_put : &stats->broker_got;
        return slice_is(key, stats->cluster_name) ? (struct meter *)(uintptr_t)meter : NULL;
    }
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (!slice_is(table, names[i].name))
            continue;
        *bytes = names[i].bytes;
        return map_get(&stats->tables[names[i].table], key);
    }
    return NULL;
}

static bool read_gauge(const struct topic_stats *stats, struct slice key, bool bytes,
                       struct stats_figures *out)
{
    stats_lock(stats);
    const struct meter *meter = map_get(&stats->tables[TABLE_QUEUE_GET], key);
    if (meter != NULL)
        out->minute.sum = atomic_load(bytes ? &meter->fall_bytes : &meter->fall_ms);
    stats_unlock(stats);
    out->hour = out->day = out->minute;
    return meter != NULL;
}

bool topic_stats_read(const struct topic_stats *stats, struct slice table, struct slice key,
                      struct stats_figures *out)
{
    bool bytes = slice_is(table, "GROUP_GET_FALL_SIZE");
    *out = (struct stats_figures){.minute = {0}};
    if (bytes || slice_is(table, "GROUP_GET_FALL_TIME"))
        return read_gauge(stats, key, bytes, out);
    stats_lock(stats);
    struct meter *meter = find(stats, table, key, &bytes);
    bool found = meter != NULL && (totals_of(meter).messages > 0 || totals_of(meter).requests > 0);
    if (found) {
        out->minute = figure_of(stats, meter, WINDOW_MINUTE, bytes);
        out->hour = figure_of(stats, meter, WINDOW_HOUR, bytes);
        out->day = figure_of(stats, meter, WINDOW_DAY, bytes);
    }
    stats_unlock(stats);
    return found;
}

double topic_stats_get_tps(const struct topic_stats *stats, struct slice topic, struct slice group)
{
    struct stats_figures figures;
    struct buf key = BUF_EMPTY;
    join_key(&key, topic, group);
    bool found =
        topic_stats_read(stats, SLICE_LITERAL("GROUP_GET_NUMS"), buf_slice(&key), &figures);
    buf_release(&key);
    return found ? figures.minute.tps : 0;
}

size_t topic_stats_slow_groups(const struct topic_stats *stats, int64_t fall_bytes,
                               struct arena *arena, struct slow_group **out)
{
    size_t count = 0;
    size_t capacity = 0;
    size_t cursor = 0;
    const struct map_entry *entry;
    *out = NULL;
    stats_lock(stats);
    while ((entry = map_next(&stats->tables[TABLE_QUEUE_GET], &cursor)) != NULL) {
        const struct meter *meter = entry->value;
        struct slice topic;
        struct slice group;
        int64_t behind = atomic_load_explicit(&meter->fall_bytes, memory_order_relaxed);
        if (behind <= fall_bytes)
            continue;
        split_key(TABLE_QUEUE_GET, entry->key, &topic, &group);
        *out = arena_grow(arena, *out, sizeof **out, count, &capacity);
        (*out)[count++] = (struct slow_group){arena_copy(arena, group), behind};
    }
    stats_unlock(stats);
    return count;
}

size_t topic_stats_count(const struct topic_stats *stats)
{
    stats_lock(stats);
    size_t count = stats->count;
    stats_unlock(stats);
    return count;
}
