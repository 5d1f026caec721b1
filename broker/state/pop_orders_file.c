/* SPDX-License-Identifier: Apache-2.0
 *
 * config/consumerOrderInfo.json, as 5.3.3 writes and reads it.
 */
#include "broker/state/pop_orders_private.h"

#include "common/base/check.h"
#include "common/sys/log.h"
#include "proto/body.pb-c.h"

#include <stdlib.h>

#define COPIED_AT_ONCE 128 /* answers: 100 KB */

/* --- reading --- */

/* The offsets; false when there can be no such answer. */
static bool read_offsets(const OrderInfo *info, struct answer *out)
{
    if (info->n_o == 0 || info->n_o > POP_MESSAGES_MAX || info->o[0] < 0)
        return false;
    out->count = (int)info->n_o;
    out->offsets[0] = info->o[0];
    for (int i = 1; i < out->count; i++)
        if (__builtin_add_overflow(info->o[0], info->o[i], &out->offsets[i]) ||
            out->offsets[i] <= out->offsets[i - 1])
            return false;
    return true;
}

static void read_times(const OrderInfo *info, struct answer *out)
{
    int64_t visible_ms;
    out->pop_time_ms = info->pop_time;
    out->invisible_ms = info->has_i ? info->i : 0;
    if (__builtin_add_overflow(out->pop_time_ms, out->invisible_ms, &visible_ms))
        visible_ms = INT64_MAX;
    for (int i = 0; i < out->count; i++) {
        out->visible_ms[i] = visible_ms;
        for (size_t k = 0; k < info->n_ot; k++)
            if (info->ot[k]->key == out->offsets[i])
                out->visible_ms[i] = info->ot[k]->value;
        for (size_t k = 0; k < info->n_oc; k++)
            if (info->oc[k]->key == out->offsets[i] && info->oc[k]->value > 0)
                out->given_before[i] = info->oc[k]->value;
    }
}

/* The file may be older than the group's offset: what lies before that is acknowledged.
 * returns  false: all of it is; there was another answer since, or what follows is free */
static bool read_acks(const struct pop_orders *orders, const struct pop_order_queue *queue,
                      const OrderInfo *info, struct answer *out)
{
    int64_t stored = offsets_get(orders->offsets, queue->topic, queue->group, queue->queue_id);
    out->acked = (uint32_t)info->cm;
    for (int i = 0; i < out->count; i++)
        if (out->offsets[i] < stored)
            out->acked |= UINT32_C(1) << i;
    return out->offsets[out->count - 1] >= stored;
}

/* False: there can be no such answer, or one too many. */
static bool read_answer(struct pop_orders *orders, const struct pop_order_queue *queue,
                        const OrderInfo *info)
{
    struct pop_order_key key;
    struct answer answer = {0};
    if (queue->topic.size == 0 || queue->group.size == 0 || queue->queue_id < 0 ||
        !pop_order_key(queue, &key) || !read_offsets(info, &answer) ||
        orders->table.count >= POP_QUEUES_MAX)
        return false;
    read_times(info, &answer);
    if (!read_acks(orders, queue, info, &answer))
        return true;
    if (info->a != NULL) {
        size_t size = strlen(info->a);
        answer.attempt_bytes = size < ATTEMPT_BYTES_MAX ? size : ATTEMPT_BYTES_MAX;
        memcpy(answer.attempt, info->a, answer.attempt_bytes);
    }
    struct answer *copy = xmalloc(sizeof *copy);
    *copy = answer;
    free(map_put(&orders->table, slice_of(key.bytes, key.size), copy));
    return true;
}

static void fill(struct pop_orders *orders, const ConsumerOrderInfoManager *body)
{
    for (size_t i = 0; i < body->n_table; i++) {
        const OrderInfosEntry *entry = body->table[i];
        const char *at = strchr(entry->key, '@');
        struct slice topic = slice_of(entry->key, at == NULL ? 0 : (size_t)(at - entry->key));
        struct slice group = at == NULL ? SLICE_EMPTY : slice_of_cstr(at + 1);
        for (size_t k = 0; k < entry->n_value; k++) {
            const struct pop_order_queue queue = {topic, group, entry->value[k]->key};
            if (!read_answer(orders, &queue, entry->value[k]->value))
                log_error("state", "answer of a pop in order left out: it can not be",
                          "key=\"%.400s\" queue=%d", entry->key, (int)queue.queue_id);
        }
    }
}

enum status pop_orders_load(const char *path, struct vfs *vfs, struct offsets *offsets,
                            struct pop_orders **out, struct err *err)
{
    struct pop_orders *orders = xcalloc(1, sizeof *orders);
    struct arena arena;
    ConsumerOrderInfoManager body;
    enum config_source source;
    CHECK(pthread_mutex_init(&orders->lock, NULL) == 0);
    orders->offsets = offsets;
    config_file_init(&orders->file, path, vfs);
    arena_init(&arena, 16384);
    enum status status = config_file_load(&orders->file, "answers of pops in order",
                                          &consumer_order_info_manager__descriptor, &arena,
                                          &body.base, &source, err);
    if (status == STATUS_OK) {
        fill(orders, &body);
        orders->changes = source == CONFIG_SOURCE_BACKUP;
        *out = orders;
    } else {
        pop_orders_free(orders);
    }
    arena_release(&arena);
    return status;
}

/* --- writing --- */

static void wrap_messages(const struct answer *answer, struct arena *arena, OrderInfo *out)
{
    size_t count = (size_t)answer->count;
    out->o = arena_alloc(arena, count * sizeof *out->o);
    out->oc = arena_alloc(arena, count * sizeof *out->oc);
    out->ot = arena_alloc(arena, count * sizeof *out->ot);
    out->n_o = count;
    for (size_t i = 0; i < count; i++) {
        out->o[i] = answer->offsets[i] - (i == 0 ? 0 : answer->offsets[0]);
        if (answer->given_before[i] > 0) {
            LongIntEntry *entry = arena_alloc(arena, sizeof *entry);
            long_int_entry__init(entry);
            entry->key = answer->offsets[i];
            entry->value = answer->given_before[i];
            out->oc[out->n_oc++] = entry;
        }
        if (answer->visible_ms[i] - answer->pop_time_ms != answer->invisible_ms) {
            LongLongEntry *entry = arena_alloc(arena, sizeof *entry);
            long_long_entry__init(entry);
            entry->key = answer->offsets[i];
            entry->value = answer->visible_ms[i];
            out->ot[out->n_ot++] = entry;
        }
    }
}

static OrderInfoEntry *wrap_answer(int32_t queue_id, const struct answer *answer,
                                   struct arena *arena)
{
    OrderInfoEntry *entry = arena_alloc(arena, sizeof *entry);
    OrderInfo *info = arena_alloc(arena, sizeof *info);
    order_info_entry__init(entry);
    order_info__init(info);
    entry->key = queue_id;
    entry->value = info;
    if (answer->attempt_bytes > 0)
        info->a = arena_cstr(arena, slice_of(answer->attempt, answer->attempt_bytes));
    info->cm = answer->acked;
    info->has_i = true;
    info->i = answer->invisible_ms;
    info->l = answer->pop_time_ms;
    info->pop_time = answer->pop_time_ms;
    wrap_messages(answer, arena, info);
    return entry;
}

/* The part of a key in front of the queue id. */
static struct slice names_of(const struct map_entry *entry)
{
    return slice_of(entry->key.data, entry->key.size - 5);
}

static OrderInfosEntry *wrap_group(struct slice names, size_t room, struct arena *arena)
{
    OrderInfosEntry *entry = arena_alloc(arena, sizeof *entry);
    order_infos_entry__init(entry);
    entry->key = arena_cstr(arena, names);
    entry->key[strlen(entry->key)] = '@'; /* in place of the NUL behind the topic */
    entry->value = arena_alloc(arena, room * sizeof *entry->value);
    return entry;
}

/* Sorted, so that the queues of a group follow one another. */
static void wrap(const struct map *table, struct arena *arena, ConsumerOrderInfoManager *out)
{
    size_t count = table->count;
    struct map_entry **entries = map_sorted(table, arena);
    consumer_order_info_manager__init(out);
    out->table = arena_alloc(arena, (count + 1) * sizeof *out->table);
    for (size_t i = 0; i < count;) {
        struct slice names = names_of(entries[i]);
        size_t end = i;
        while (end < count && slice_equal(names_of(entries[end]), names))
            end++;
        OrderInfosEntry *group = wrap_group(names, end - i, arena);
        out->table[out->n_table++] = group;
        for (; i < end; i++)
            group->value[group->n_value++] = wrap_answer(
                get_i32(entries[i]->key.data + names.size + 1), entries[i]->value, arena);
    }
}

struct copied {
    struct slice key;
    struct answer *answer;
};

/* Some answers, copied into the arena; how many, fewer than COPIED_AT_ONCE when those were the last
 * ones. With the lock held. */
static size_t copy_some(const struct pop_orders *orders, size_t *cursor, struct arena *arena,
                        struct copied *out)
{
    size_t count = 0;
    while (count < COPIED_AT_ONCE) {
        const struct map_entry *entry = map_next(&orders->table, cursor);
        if (entry == NULL)
            break;
        struct answer *answer = arena_alloc(arena, sizeof *answer);
        memcpy(answer, entry->value, sizeof *answer);
        out[count++] = (struct copied){arena_copy(arena, entry->key), answer};
    }
    return count;
}

/* Copy the table in pieces, so that loops wait for the lock no longer than for anything else. What
 * comes or goes meanwhile may be missed: it is one more change, which the next save has. A map that
 * was arranged anew is walked again.
 * out  its values are the arena's
 * returns  orders->changes before */
static uint64_t copy_table(struct pop_orders *orders, struct arena *arena, struct map *out)
{
    struct copied some[COPIED_AT_ONCE];
    const struct map_entry *entries = NULL;
    uint64_t changes = 0;
    size_t cursor = 0;
    size_t count;
    do {
        CHECK(pthread_mutex_lock(&orders->lock) == 0);
        if (entries == NULL)
            changes = orders->changes;
        if (orders->table.entries != entries)
            cursor = 0;
        entries = orders->table.entries;
        count = copy_some(orders, &cursor, arena, some);
        CHECK(pthread_mutex_unlock(&orders->lock) == 0);
        for (size_t i = 0; i < count; i++)
            (void)map_put(out, some[i].key, some[i].answer);
    } while (count == COPIED_AT_ONCE);
    return changes;
}

static bool has_changed(struct pop_orders *orders, uint64_t saved_changes)
{
    CHECK(pthread_mutex_lock(&orders->lock) == 0);
    bool changed = orders->changes != saved_changes;
    CHECK(pthread_mutex_unlock(&orders->lock) == 0);
    return changed;
}

static enum status snapshot(const void *table, struct arena *arena, uint64_t saved_changes,
                            uint64_t *changes, const ProtobufCMessage **message, struct err *err)
{
    (void)err;
    struct pop_orders *orders = (struct pop_orders *)(uintptr_t)table;
    struct map copy = MAP_EMPTY;
    *changes = saved_changes;
    if (!has_changed(orders, saved_changes))
        return STATUS_OK;
    *changes = copy_table(orders, arena, &copy);
    ConsumerOrderInfoManager *body = arena_alloc(arena, sizeof *body);
    wrap(&copy, arena, body);
    *message = &body->base;
    map_release(&copy);
    return STATUS_OK;
}

enum status pop_orders_persist(struct pop_orders *orders, struct err *err)
{
    return config_file_save(&orders->file, snapshot, orders, err);
}
