/* SPDX-License-Identifier: Apache-2.0
 *
 * How far groups have consumed their topics (AD-09, AD-15, AD-18; parts of AdminBrokerProcessor of
 * 4.9.2). On the worker pool, since store times are read from the log.
 */
#include "broker/proc/admin.h"
#include "broker/proc/broker.h"
#include "broker/proc/handlers.h"

#include "proto/header.pb-c.h"

#include <stdlib.h>
#include <string.h>

/* Offsets of one group, being gathered. */
struct gathering {
    struct broker *broker;
    struct arena *arena;
    struct slice group;
    ConsumeStats *body;
    size_t capacity; /* of body->offset_table */
};

static void add_offset(struct gathering *gathering, OffsetWrapperEntry *entry)
{
    ConsumeStats *body = gathering->body;
    body->offset_table = arena_grow(gathering->arena, body->offset_table, sizeof(void *),
                                    body->n_offset_table, &gathering->capacity);
    body->offset_table[body->n_offset_table++] = entry;
}

/* The offsets of `queues` queues, and the speed. */
static void gather_topic(struct gathering *gathering, const struct topic_config *topic,
                         int32_t queues)
{
    struct broker *broker = gathering->broker;
    struct slice name = slice_of_cstr(topic->name);
    for (int32_t id = 0; id < queues; id++) {
        struct admin_bounds bounds = admin_bounds_of(broker, topic->name, id);
        int64_t consumed = offsets_get(broker->offsets, name, gathering->group, id);
        OffsetWrapper *offset = arena_alloc(gathering->arena, sizeof *offset);
        OffsetWrapperEntry *entry = arena_alloc(gathering->arena, sizeof *entry);
        offset_wrapper__init(offset);
        offset_wrapper_entry__init(entry);
        offset->broker_offset = bounds.max_offset;
        offset->consumer_offset = consumed < 0 ? 0 : consumed;
        offset->last_timestamp = consumed > 0 ? admin_time_at(&bounds, consumed - 1, 0) : 0;
        entry->key = admin_message_queue(broker, gathering->arena, topic->name, id);
        entry->value = offset;
        add_offset(gathering, entry);
    }
    gathering->body->consume_tps +=
        topic_stats_get_tps(broker->topic_stats, name, gathering->group);
}

static void add_topic(void *ctx, struct slice name)
{
    struct gathering *gathering = ctx;
    struct topic_config topic;
    if (topics_get(gathering->broker->topics, name, &topic) &&
        admin_is_consumed(gathering->broker, gathering->group, name))
        gather_topic(gathering, &topic, topic.read_queues);
}

void handle_get_consume_stats(struct broker *broker, struct call *call)
{
    GetConsumeStatsRequestHeader header;
    ConsumeStats body;
    get_consume_stats_request_header__init(&header);
    consume_stats__init(&body);
    if (!call_bind(call, &header.base))
        return;
    struct gathering gathering = {broker, call->arena, slice_of_cstr(header.consumer_group), &body,
                                  0};
    if (header.topic != NULL && header.topic[0] != '\0')
        add_topic(&gathering, slice_of_cstr(header.topic));
    else
        offsets_topics_of(broker->offsets, gathering.group, add_topic, &gathering);
    call_succeed_body(call, NULL, &body.base);
}

/* --- all groups of the broker --- */

struct survey {
    struct broker *broker;
    struct arena *arena;
    bool only_ordered;
    const struct offset_key *keys; /* all that have offsets, by group */
    size_t key_count;
    ConsumeStatsList *list;
    ConsumeStatsListEntry *group; /* being gathered */
    size_t capacity;              /* of group->value */
};

static void push_stats(struct survey *survey, ConsumeStats *stats)
{
    ConsumeStatsListEntry *group = survey->group;
    group->value =
        arena_grow(survey->arena, group->value, sizeof(void *), group->n_value, &survey->capacity);
    group->value[group->n_value++] = stats;
}

static void survey_topic(struct survey *survey, struct slice name)
{
    struct topic_config topic;
    struct slice group = slice_of_cstr(survey->group->key);
    if (!topics_get(survey->broker->topics, name, &topic) ||
        (survey->only_ordered && !topic.order) || !admin_is_consumed(survey->broker, group, name))
        return;
    ConsumeStats *stats = arena_alloc(survey->arena, sizeof *stats);
    consume_stats__init(stats);
    struct gathering gathering = {survey->broker, survey->arena, group, stats, 0};
    gather_topic(&gathering, &topic, topic.write_queues);
    for (size_t i = 0; i < stats->n_offset_table; i++)
        survey->list->total_diff += stats->offset_table[i]->value->broker_offset -
                                    stats->offset_table[i]->value->consumer_offset;
    push_stats(survey, stats);
}

static int compare_group(const void *group, const void *key)
{
    struct slice wanted = *(const struct slice *)group;
    struct slice found = ((const struct offset_key *)key)->group;
    int order =
        memcmp(wanted.data, found.data, wanted.size < found.size ? wanted.size : found.size);
    return order != 0 ? order : (wanted.size > found.size) - (wanted.size < found.size);
}

static void survey_topics(struct survey *survey, struct slice group)
{
    const struct offset_key *end = survey->keys + survey->key_count;
    const struct offset_key *key =
        bsearch(&group, survey->keys, survey->key_count, sizeof *key, compare_group);
    if (key == NULL)
        return;
    while (key > survey->keys && slice_equal(key[-1].group, group))
        key--;
    for (; key < end && slice_equal(key->group, group); key++)
        survey_topic(survey, key->topic);
}

/* Groups without offsets are listed too, with nothing in them. */
static ConsumeStatsMap *survey_group(struct survey *survey, char *name)
{
    ConsumeStatsMap *map = arena_alloc(survey->arena, sizeof *map);
    consume_stats_map__init(map);
    survey->group = arena_alloc(survey->arena, sizeof *survey->group);
    survey->capacity = 0;
    consume_stats_list_entry__init(survey->group);
    survey->group->key = name;
    survey_topics(survey, slice_of_cstr(name));
    map->n_groups = 1;
    map->groups = arena_alloc(survey->arena, sizeof(ConsumeStatsListEntry *));
    map->groups[0] = survey->group;
    return map;
}

void handle_get_broker_consume_stats(struct broker *broker, struct call *call)
{
    GetConsumeStatsInBrokerHeader header;
    ConsumeStatsList list;
    SubscriptionGroupWrapper groups;
    get_consume_stats_in_broker_header__init(&header);
    consume_stats_list__init(&list);
    subscription_group_wrapper__init(&groups);
    if (!call_bind(call, &header.base))
        return;
    groups_wrap(broker->groups, call->arena, &groups);
    size_t count = groups.n_subscription_group_table;
    struct offset_key *keys;
    struct survey survey = {.broker = broker,
                            .arena = call->arena,
                            .only_ordered = header.is_order,
                            .key_count = offsets_keys(broker->offsets, call->arena, &keys),
                            .list = &list};
    survey.keys = keys;
    list.broker_addr = broker->address;
    list.consume_stats_list =
        arena_alloc(call->arena, (count + 1) * sizeof *list.consume_stats_list);
    for (size_t i = 0; i < count; i++)
        list.consume_stats_list[list.n_consume_stats_list++] =
            survey_group(&survey, groups.subscription_group_table[i]->key);
    call_succeed_body(call, NULL, &list.base);
}

/* --- correction --- */

struct correction {
    struct broker *broker;
    struct arena *arena;
    const char *topic;
    struct slice left_out; /* comma-separated groups */
    IntOffsetEntry **entries;
    size_t count;
    size_t capacity;
};

static IntOffsetEntry *correction_find(const struct correction *correction, int32_t queue_id)
{
    for (size_t i = 0; i < correction->count; i++)
        if (correction->entries[i]->key == queue_id)
            return correction->entries[i];
    return NULL;
}

static void correction_push(struct correction *correction, IntOffsetEntry *entry)
{
    correction->entries = arena_grow(correction->arena, correction->entries, sizeof(void *),
                                     correction->count, &correction->capacity);
    correction->entries[correction->count++] = entry;
}

static bool is_listed(struct slice list, struct slice name)
{
    while (list.size > 0) {
        const uint8_t *comma = memchr(list.data, ',', list.size);
        size_t size = comma == NULL ? list.size : (size_t)(comma - list.data);
        if (slice_equal(slice_of(list.data, size), name))
            return true;
        list = slice_from(list, comma == NULL ? size : size + 1);
    }
    return false;
}

/* Lower the corrections to the group's offsets; those that the queue has left behind are void. */
static void correct_by_group(void *ctx, struct slice group)
{
    struct correction *correction = ctx;
    IntOffsetEntry **offsets = NULL;
    if (is_listed(correction->left_out, group))
        return;
    size_t count = offsets_of(correction->broker->offsets, slice_of_cstr(correction->topic), group,
                              correction->arena, &offsets);
    for (size_t i = 0; i < count; i++) {
        int32_t queue_id = offsets[i]->key;
        if (offsets[i]->value <
            admin_bounds_of(correction->broker, correction->topic, queue_id).min_offset)
            continue;
        IntOffsetEntry *known = correction_find(correction, queue_id);
        if (known == NULL)
            correction_push(correction, offsets[i]);
        else if (offsets[i]->value < known->value)
            known->value = offsets[i]->value;
    }
}

void handle_query_correction_offset(struct broker *broker, struct call *call)
{
    QueryCorrectionOffsetHeader header;
    QueryCorrectionOffsetBody body;
    query_correction_offset_header__init(&header);
    query_correction_offset_body__init(&body);
    if (!call_bind(call, &header.base))
        return;
    struct correction correction = {.broker = broker, .arena = call->arena, .topic = header.topic};
    if (header.filter_groups != NULL)
        correction.left_out = slice_of_cstr(header.filter_groups);
    offsets_groups_of(broker->offsets, slice_of_cstr(header.topic), correct_by_group, &correction);
    /* A compared group that lags behind all others needs no correction. */
    IntOffsetEntry **compared = NULL;
    size_t count = offsets_of(broker->offsets, slice_of_cstr(header.topic),
                              slice_of_cstr(header.compare_group), call->arena, &compared);
    for (size_t i = 0; i < count; i++) {
        IntOffsetEntry *known = correction_find(&correction, compared[i]->key);
        if (known != NULL && known->value > compared[i]->value)
            known->value = INT64_MAX;
    }
    body.n_correction_offsets = correction.count;
    body.correction_offsets = correction.entries;
    call_succeed_body(call, NULL, &body.base);
}
