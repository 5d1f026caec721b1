/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of filters: group -> topic -> entry. Expressions are compiled without the lock; what
 * was found out before is looked at again afterwards.
 *
 * Invariants: a group exists exactly while it has entries; `bytes` is what entries take, `count`
 * how many there are. Dead filters make room for new ones when the table is full.
 *
 * Differs from 4.9.2: bounded; an expression of the file that does not compile is dropped instead
 * of letting everything pass; other bloom options do not throw the file away; a group that went
 * offline is noticed by filters_step.
 */
#include "broker/state/filters.h"

#include "broker/filter/bloom.h"
#include "broker/state/config_file.h"
#include "broker/state/subscription.h"
#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/base/map.h"
#include "common/sys/log.h"

#include <pthread.h>
#include <stdlib.h>

/* What maps and malloc add to an entry, roughly. */
#define OVERHEAD_BYTES 256
/* A loaded filter died so long ago, as 4.9.2 has it. */
#define LOADED_DEATH_MS 30000
/* A full table is searched for dead filters at most this often. */
#define PURGE_EVERY_MS 1000

/* Expressions of pulls that are remembered. A pull consumer asks with the same one again and again.
 */
#define RECENT_MAX 32

struct entry {
    struct consumer_filter *filter;
    int64_t born_ms;
    int64_t dead_ms; /* dead when >= born_ms */
    int64_t version;
    uint64_t seen; /* the group's heartbeat that named the topic last */
};

struct group {
    struct map topics; /* topic -> struct entry */
    uint64_t heartbeats;
};

struct filters {
    pthread_mutex_t lock; /* docs/locks.md: filters */
    struct map groups;    /* name -> struct group */
    size_t count;
    int64_t bytes;
    int64_t purged_ms;                          /* wall clock: a full table was searched */
    struct consumer_filter *recent[RECENT_MAX]; /* by the expression's hash */
    uint64_t changes;
    struct bloom_shape bloom;
    const struct clock *clock;
    struct config_file file;
};

static void filters_lock(struct filters *filters)
{
    CHECK(pthread_mutex_lock(&filters->lock) == 0);
}

static void filters_unlock(struct filters *filters)
{
    CHECK(pthread_mutex_unlock(&filters->lock) == 0);
}

static bool is_dead(const struct entry *entry)
{
    return entry->dead_ms >= entry->born_ms;
}

/* --- entries; with the lock held --- */

static void bury(struct filters *filters, struct entry *entry)
{
    int64_t now_ms = clock_wall_ms(filters->clock);
    if (is_dead(entry))
        return;
    entry->dead_ms = now_ms < entry->born_ms ? entry->born_ms : now_ms;
    filters->changes++;
}

static int64_t cost(const struct consumer_filter *filter, struct slice topic)
{
    return (int64_t)(sizeof(struct entry) + filter->bytes + topic.size) + OVERHEAD_BYTES;
}

static struct entry *find(const struct filters *filters, struct slice topic, struct slice group)
{
    const struct group *found = map_get(&filters->groups, group);
    return found == NULL ? NULL : map_get(&found->topics, topic);
}

static void remove_entry(struct filters *filters, struct group *group, struct slice topic)
{
    const struct entry *seen = map_get(&group->topics, topic);
    filters->bytes -= cost(seen->filter, topic);
    filters->count--;
    filters->changes++;
    struct entry *entry = map_remove(&group->topics, topic);
    consumer_filter_unref(entry->filter);
    free(entry);
}

static void free_group_if_unused(struct filters *filters, struct slice name)
{
    struct group *group = map_get(&filters->groups, name);
    if (group == NULL || group->topics.count > 0)
        return;
    (void)map_remove(&filters->groups, name);
    map_release(&group->topics);
    free(group);
}

/* Drop what had died by that time; INT64_MAX: everything that is dead. */
static size_t remove_dead(struct filters *filters, int64_t before_ms)
{
    size_t before = filters->count;
    size_t groups = 0;
    for (struct map_entry *at; (at = map_next(&filters->groups, &groups)) != NULL;) {
        struct group *group = at->value;
        size_t topics = 0;
        for (struct map_entry *of; (of = map_next(&group->topics, &topics)) != NULL;) {
            const struct entry *entry = of->value;
            if (is_dead(entry) && entry->dead_ms <= before_ms)
                remove_entry(filters, group, of->key);
        }
        free_group_if_unused(filters, at->key);
    }
    return before - filters->count;
}

static bool has_room(const struct filters *filters, int64_t more_bytes)
{
    return filters->count < FILTERS_MAX && filters->bytes + more_bytes <= FILTERS_BYTES_MAX;
}

/* Room for one more entry; dead ones go for it. */
static bool make_room(struct filters *filters, int64_t more_bytes)
{
    int64_t now_ms = clock_wall_ms(filters->clock);
    if (has_room(filters, more_bytes))
        return true;
    if (now_ms >= filters->purged_ms && now_ms - filters->purged_ms < PURGE_EVERY_MS)
        return false;
    filters->purged_ms = now_ms;
    (void)remove_dead(filters, INT64_MAX);
    return has_room(filters, more_bytes);
}

/* Put an entry in; takes over the reference. False: there is no room. */
static bool put(struct filters *filters, struct slice topic, struct slice group_name,
                const struct entry *entry)
{
    if (!make_room(filters, cost(entry->filter, topic)))
        return false;
    struct group *group = map_get(&filters->groups, group_name);
    if (group == NULL) {
        group = xcalloc(1, sizeof *group);
        (void)map_put(&filters->groups, group_name, group);
    }
    if (map_get(&group->topics, topic) != NULL)
        remove_entry(filters, group, topic);
    struct entry *copy = xmalloc(sizeof *copy);
    *copy = *entry;
    copy->seen = group->heartbeats;
    (void)map_put(&group->topics, topic, copy);
    filters->bytes += cost(copy->filter, topic);
    filters->count++;
    filters->changes++;
    return true;
}

/* --- heartbeats --- */

static void refuse(const ConsumerData *data, const SubscriptionData *body, const char *cause)
{
    static struct log_gate gate;
    int64_t suppressed;
    if (log_gate_open(&gate, &suppressed))
        log_warn("state", "filter of a heartbeat not taken",
                 "group=%.255s topic=%.127s cause=\"%s\" others=%lld", data->group_name,
                 body->topic, cause, (long long)suppressed);
}

static void tell_new(const ConsumerData *data, const SubscriptionData *body,
                     const struct consumer_filter *filter)
{
    static struct log_gate gate;
    int64_t suppressed;
    size_t ignored = sql_filter_ignored(filter->compiled);
    if (!log_gate_open(&gate, &suppressed))
        return;
    if (ignored == 0)
        log_info("state", "filter of a group", "group=%.255s topic=%.127s others=%lld",
                 data->group_name, body->topic, (long long)suppressed);
    else
        log_warn("state", "filter of a group, a part of which is ignored",
                 "group=%.255s topic=%.127s from_character=%zu others=%lld "
                 "mend=\"what stands there is no part of the expression, as in RocketMQ; LIKE and "
                 "arithmetic do not exist\"",
                 data->group_name, body->topic, ignored, (long long)suppressed);
}

/* With the lock held: what a subscription means for the entry that is there.
 * returns  true: it must be compiled */
static bool refresh(struct filters *filters, struct entry *entry, const SubscriptionData *body)
{
    if (entry == NULL)
        return true;
    if (body->sub_version > entry->version) {
        if (!consumer_filter_is(entry->filter, body->expression_type, body->sub_string))
            return true;
        entry->version = body->sub_version;
        filters->changes++;
    }
    if (body->sub_version == entry->version && is_dead(entry)) {
        entry->dead_ms = 0;
        filters->changes++;
    }
    return false;
}

/* A new expression. */
static void replace(struct filters *filters, const ConsumerData *data, const SubscriptionData *body)
{
    struct slice group = slice_of_cstr(data->group_name);
    struct slice topic = slice_of_cstr(body->topic);
    struct entry made = {.born_ms = clock_wall_ms(filters->clock), .version = body->sub_version};
    struct err err = {0};
    enum status status =
        consumer_filter_new(body->expression_type, body->sub_string, &made.filter, &err);
    filters_lock(filters);
    struct entry *entry = find(filters, topic, group);
    bool wanted = refresh(filters, entry, body); /* unless another heartbeat was faster */
    if (wanted && status != STATUS_OK && entry != NULL) {
        remove_entry(filters, map_get(&filters->groups, group), topic);
        free_group_if_unused(filters, group);
    }
    bool taken = wanted && status == STATUS_OK && put(filters, topic, group, &made);
    if (taken)
        made.filter = consumer_filter_ref(made.filter);
    filters_unlock(filters);
    if (taken)
        tell_new(data, body, made.filter);
    else if (wanted)
        refuse(data, body, status == STATUS_OK ? "the table of filters is full" : err.text);
    consumer_filter_unref(made.filter);
}

static bool is_filtered(const SubscriptionData *body)
{
    return body->topic != NULL && body->topic[0] != '\0' && body->expression_type != NULL &&
           body->expression_type[0] != '\0' &&
           strcmp(body->expression_type, EXPRESSION_TYPE_TAG) != 0 && body->sub_string != NULL &&
           body->sub_string[0] != '\0' && strlen(body->topic) <= TOPIC_BYTES_MAX;
}

/* Topics that the heartbeat does not name are not subscribed to any more. */
static void bury_others(struct filters *filters, const ConsumerData *data)
{
    size_t cursor = 0;
    filters_lock(filters);
    struct group *group = map_get(&filters->groups, slice_of_cstr(data->group_name));
    if (group != NULL) {
        group->heartbeats++;
        for (size_t i = 0; i < data->n_subscription_data_set; i++) {
            struct entry *entry =
                map_get(&group->topics, slice_of_cstr(data->subscription_data_set[i]->topic));
            if (entry != NULL)
                entry->seen = group->heartbeats;
        }
        for (struct map_entry *at; (at = map_next(&group->topics, &cursor)) != NULL;) {
            struct entry *entry = at->value;
            if (entry->seen != group->heartbeats)
                bury(filters, entry);
        }
    }
    filters_unlock(filters);
}

void filters_heartbeat(struct filters *filters, const ConsumerData *data)
{
    size_t size = strlen(data->group_name);
    size_t compiled_bytes = 0;
    if (size == 0 || size > GROUP_BYTES_MAX)
        return;
    for (size_t i = 0; i < data->n_subscription_data_set; i++) {
        const SubscriptionData *body = data->subscription_data_set[i];
        if (!is_filtered(body))
            continue;
        filters_lock(filters);
        bool new = refresh(
            filters, find(filters, slice_of_cstr(body->topic), slice_of_cstr(data->group_name)),
            body);
        filters_unlock(filters);
        size_t bytes = strlen(body->sub_string);
        if (!new || (compiled_bytes > 0 && compiled_bytes + bytes > HEARTBEAT_COMPILE_BYTES_MAX))
            continue;
        replace(filters, data, body);
        compiled_bytes += bytes;
    }
    bury_others(filters, data);
}

/* --- use --- */

struct consumer_filter *filters_get(struct filters *filters, struct slice topic, struct slice group,
                                    int64_t *version)
{
    struct consumer_filter *filter = NULL;
    filters_lock(filters);
    const struct entry *entry = find(filters, topic, group);
    if (entry != NULL) {
        filter = consumer_filter_ref(entry->filter);
        if (version != NULL)
            *version = entry->version;
    }
    filters_unlock(filters);
    return filter;
}

enum status filters_compile(struct filters *filters, const char *expression_type,
                            const char *expression, struct consumer_filter **out, struct err *err)
{
    struct consumer_filter **slot =
        &filters->recent[hash_bytes(slice_of_cstr(expression)) % RECENT_MAX];
    filters_lock(filters);
    bool known = *slot != NULL && consumer_filter_is(*slot, expression_type, expression);
    if (known)
        *out = consumer_filter_ref(*slot);
    filters_unlock(filters);
    if (known)
        return STATUS_OK;
    enum status status = consumer_filter_new(expression_type, expression, out, err);
    if (status != STATUS_OK)
        return status;
    filters_lock(filters);
    struct consumer_filter *before = *slot;
    *slot = consumer_filter_ref(*out);
    filters_unlock(filters);
    consumer_filter_unref(before);
    return STATUS_OK;
}

/* With the lock held. */
static void bury_group(struct filters *filters, struct slice name)
{
    struct group *group = map_get(&filters->groups, name);
    size_t cursor = 0;
    if (group == NULL)
        return;
    for (struct map_entry *at; (at = map_next(&group->topics, &cursor)) != NULL;)
        bury(filters, at->value);
}

void filters_step(struct filters *filters, int64_t dead_max_ms,
                  bool (*is_online)(void *ctx, struct slice group), void *ctx)
{
    struct arena arena;
    size_t count = 0;
    size_t cursor = 0;
    arena_init(&arena, 4096);
    filters_lock(filters);
    struct slice *names = arena_alloc(&arena, filters->groups.count * sizeof *names);
    for (struct map_entry *at; (at = map_next(&filters->groups, &cursor)) != NULL;)
        names[count++] = arena_copy(&arena, at->key);
    filters_unlock(filters);
    size_t offline = 0;
    for (size_t i = 0; i < count; i++)
        if (!is_online(ctx, names[i]))
            names[offline++] = names[i];
    filters_lock(filters);
    for (size_t i = 0; i < offline; i++)
        bury_group(filters, names[i]);
    size_t dropped = remove_dead(filters, clock_wall_ms(filters->clock) - dead_max_ms);
    filters_unlock(filters);
    if (dropped > 0)
        log_info("state", "filters dropped, their consumers have been away for long", "filters=%zu",
                 dropped);
    arena_release(&arena);
}

/* --- bodies --- */

/* With the lock held. */
static ConsumerFilterData *wrap_entry(const struct filters *filters, struct slice topic,
                                      struct slice group, const struct entry *entry,
                                      struct arena *arena)
{
    ConsumerFilterData *data = arena_alloc(arena, sizeof *data);
    BloomFilterData *bloom = arena_alloc(arena, sizeof *bloom);
    char *member = arena_printf(arena, "%.*s#%.*s", SLICE_ARGS(group), SLICE_ARGS(topic));
    bloom_filter_data__init(bloom);
    bloom->bit_num = filters->bloom.bits;
    bloom->n_bit_pos = (size_t)filters->bloom.hashes;
    bloom->bit_pos = arena_alloc(arena, BLOOM_HASHES_MAX * sizeof *bloom->bit_pos);
    bloom_positions(&filters->bloom, slice_of_cstr(member), bloom->bit_pos);
    consumer_filter_data__init(data);
    data->bloom_filter_data = bloom;
    data->born_time = entry->born_ms;
    data->client_version = entry->version;
    data->consumer_group = arena_cstr(arena, group);
    data->dead = is_dead(entry);
    data->dead_time = entry->dead_ms;
    data->expression = arena_cstr(arena, slice_of_cstr(entry->filter->expression));
    data->expression_type = arena_cstr(arena, slice_of_cstr(entry->filter->expression_type));
    data->topic = arena_cstr(arena, topic);
    return data;
}

ConsumerFilterData *filters_wrap(struct filters *filters, struct slice topic, struct slice group,
                                 struct arena *arena)
{
    ConsumerFilterData *data = NULL;
    filters_lock(filters);
    const struct entry *entry = find(filters, topic, group);
    if (entry != NULL)
        data = wrap_entry(filters, topic, group, entry, arena);
    filters_unlock(filters);
    return data;
}

static int by_topic_and_group(const void *a, const void *b)
{
    const ConsumerFilterData *left = *(ConsumerFilterData *const *)a;
    const ConsumerFilterData *right = *(ConsumerFilterData *const *)b;
    int order = strcmp(left->topic, right->topic);
    return order != 0 ? order : strcmp(left->consumer_group, right->consumer_group);
}

/* The file's form: entries of one topic together. */
static void wrap_topics(ConsumerFilterData **all, size_t count, struct arena *arena,
                        ConsumerFilterManager *body)
{
    FilterDataMapByTopicEntry *topic = NULL;
    qsort(all, count, sizeof(ConsumerFilterData *), by_topic_and_group);
    body->filter_data_by_topic = arena_alloc(arena, (count + 1) * sizeof topic);
    ConsumerFilterDataEntry **entries = arena_alloc(arena, (count + 1) * sizeof *entries);
    for (size_t i = 0; i < count; i++) {
        if (topic == NULL || strcmp(topic->key, all[i]->topic) != 0) {
            topic = arena_alloc(arena, sizeof *topic);
            filter_data_map_by_topic_entry__init(topic);
            topic->key = all[i]->topic;
            topic->value = arena_alloc(arena, sizeof *topic->value);
            filter_data_map_by_topic__init(topic->value);
            topic->value->topic = topic->key;
            topic->value->group_filter_data = &entries[i];
            body->filter_data_by_topic[body->n_filter_data_by_topic++] = topic;
        }
        entries[i] = arena_alloc(arena, sizeof **entries);
        consumer_filter_data_entry__init(entries[i]);
        entries[i]->key = all[i]->consumer_group;
        entries[i]->value = all[i];
        topic->value->n_group_filter_data++;
    }
}

static enum status snapshot(const void *table, struct arena *arena, uint64_t saved_changes,
                            uint64_t *changes, const ProtobufCMessage **message, struct err *err)
{
    (void)err;
    struct filters *filters = (struct filters *)(uintptr_t)table;
    ConsumerFilterData **all = NULL;
    size_t count = 0;
    size_t groups = 0;
    filters_lock(filters);
    *changes = filters->changes;
    if (*changes != saved_changes) {
        all = arena_alloc(arena, (filters->count + 1) * sizeof *all);
        for (struct map_entry *at; (at = map_next(&filters->groups, &groups)) != NULL;) {
            const struct group *group = at->value;
            size_t topics = 0;
            for (struct map_entry *of; (of = map_next(&group->topics, &topics)) != NULL;)
                all[count++] = wrap_entry(filters, of->key, at->key, of->value, arena);
        }
    }
    filters_unlock(filters);
    if (all == NULL)
        return STATUS_OK;
    ConsumerFilterManager *body = arena_alloc(arena, sizeof *body);
    consumer_filter_manager__init(body);
    wrap_topics(all, count, arena, body);
    *message = &body->base;
    return STATUS_OK;
}

enum status filters_persist(struct filters *filters, struct err *err)
{
    return config_file_save(&filters->file, snapshot, filters, err);
}

/* --- loading --- */

static void load_one(struct filters *filters, const char *topic, const char *group,
                     const ConsumerFilterData *data)
{
    struct err err = {0};
    struct entry entry = {
        .born_ms = data->born_time, .dead_ms = data->dead_time, .version = data->client_version};
    size_t topic_bytes = strlen(topic);
    size_t group_bytes = strlen(group);
    if (topic_bytes == 0 || topic_bytes > TOPIC_BYTES_MAX || group_bytes == 0 ||
        group_bytes > GROUP_BYTES_MAX)
        return;
    if (consumer_filter_new(data->expression_type, data->expression, &entry.filter, &err) !=
        STATUS_OK) {
        log_warn("state", "a stored filter does not compile, left out",
                 "group=%s topic=%s cause=\"%s\"", group, topic, err.text);
        return;
    }
    if (!is_dead(&entry)) {
        entry.dead_ms = clock_wall_ms(filters->clock) - LOADED_DEATH_MS;
        if (entry.dead_ms < entry.born_ms)
            entry.dead_ms = entry.born_ms;
    }
    if (!put(filters, slice_of(topic, topic_bytes), slice_of(group, group_bytes), &entry))
        consumer_filter_unref(entry.filter);
}

static void load_body(struct filters *filters, const ConsumerFilterManager *body)
{
    for (size_t i = 0; i < body->n_filter_data_by_topic; i++) {
        const FilterDataMapByTopicEntry *topic = body->filter_data_by_topic[i];
        for (size_t j = 0; j < topic->value->n_group_filter_data; j++)
            load_one(filters, topic->key, topic->value->group_filter_data[j]->key,
                     topic->value->group_filter_data[j]->value);
    }
}

enum status filters_load(const struct filters_options *options, struct vfs *vfs,
                         const struct clock *clock, struct filters **out, struct err *err)
{
    struct filters *filters = xcalloc(1, sizeof *filters);
    struct arena arena;
    ConsumerFilterManager body;
    enum config_source source;
    CHECK(pthread_mutex_init(&filters->lock, NULL) == 0);
    filters->clock = clock;
    filters->bloom = bloom_shape_of(options->bloom_error_percent, options->bloom_expected);
    filters->purged_ms = INT64_MIN / 2;
    config_file_init(&filters->file, options->path, vfs);
    arena_init(&arena, 65536);
    enum status status =
        config_file_load(&filters->file, "consumer filters", &consumer_filter_manager__descriptor,
                         &arena, &body.base, &source, err);
    if (status == STATUS_OK || status == STATUS_CORRUPT) {
        if (status == STATUS_OK)
            load_body(filters, &body);
        else
            log_error("state", "the stored filters are lost; heartbeats bring them back",
                      "cause=\"%s\"", err->text);
        /* That the groups have gone is no news: it is the same after the next start. */
        filters->changes = status != STATUS_OK || source == CONFIG_SOURCE_BACKUP;
        log_info("state", "consumer filters loaded", "filters=%zu", filters->count);
        status = STATUS_OK;
        *out = filters;
    } else {
        filters_free(filters);
    }
    arena_release(&arena);
    return status;
}

void filters_free(struct filters *filters)
{
    size_t cursor = 0;
    for (struct map_entry *at; (at = map_next(&filters->groups, &cursor)) != NULL;)
        bury_group(filters, at->key);
    (void)remove_dead(filters, INT64_MAX);
    CHECK(filters->count == 0 && filters->bytes == 0);
    for (size_t i = 0; i < RECENT_MAX; i++)
        consumer_filter_unref(filters->recent[i]);
    map_release(&filters->groups);
    config_file_release(&filters->file);
    CHECK(pthread_mutex_destroy(&filters->lock) == 0);
    free(filters);
}
