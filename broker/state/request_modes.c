/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of request modes: one map over topic and group; the file nests them.
 * Source: RMQ 5.3.3 broker/.../MessageRequestModeManager.java.
 */
#include "broker/state/request_modes.h"

#include "broker/state/config_file.h"
#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/base/map.h"
#include "common/sys/log.h"

#include <pthread.h>
#include <stdlib.h>

#define MODE_POP "POP"
#define MODE_PULL "PULL"

struct request_modes {
    pthread_mutex_t lock; /* docs/locks.md: request_modes */
    struct map table;     /* topic NUL group -> struct request_mode */
    uint64_t changes;
    struct config_file file;
};

static void modes_lock(const struct request_modes *modes)
{
    CHECK(pthread_mutex_lock((pthread_mutex_t *)(uintptr_t)&modes->lock) == 0);
}

static void modes_unlock(const struct request_modes *modes)
{
    CHECK(pthread_mutex_unlock((pthread_mutex_t *)(uintptr_t)&modes->lock) == 0);
}

struct mode_key {
    uint8_t bytes[TOPIC_BYTES_MAX + 1 + GROUP_BYTES_MAX];
    size_t size;
};

static bool mode_key(struct slice topic, struct slice group, struct mode_key *out)
{
    if (topic.size == 0 || topic.size > TOPIC_BYTES_MAX || group.size == 0 ||
        group.size > GROUP_BYTES_MAX)
        return false;
    memcpy(out->bytes, topic.data, topic.size);
    out->bytes[topic.size] = 0;
    memcpy(out->bytes + topic.size + 1, group.data, group.size);
    out->size = topic.size + 1 + group.size;
    return true;
}

static enum status put(struct map *table, struct slice topic, struct slice group,
                       const struct request_mode *mode)
{
    struct mode_key key;
    if (!mode_key(topic, group, &key))
        return STATUS_INVALID;
    struct request_mode *entry = map_get(table, slice_of(key.bytes, key.size));
    if (entry == NULL && table->count >= REQUEST_MODES_MAX)
        return STATUS_BUSY;
    if (entry == NULL) {
        entry = xmalloc(sizeof *entry);
        (void)map_put(table, slice_of(key.bytes, key.size), entry);
    }
    *entry = *mode;
    return STATUS_OK;
}

static void table_release(struct map *table)
{
    size_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(table, &cursor)) != NULL;)
        free(entry->value);
    map_release(table);
}

enum status request_modes_put(struct request_modes *modes, struct slice topic, struct slice group,
                              const struct request_mode *mode)
{
    modes_lock(modes);
    enum status status = put(&modes->table, topic, group, mode);
    if (status == STATUS_OK)
        modes->changes++;
    modes_unlock(modes);
    return status;
}

bool request_modes_get(const struct request_modes *modes, struct slice topic, struct slice group,
                       struct request_mode *out)
{
    struct mode_key key;
    if (!mode_key(topic, group, &key))
        return false;
    modes_lock(modes);
    const struct request_mode *entry = map_get(&modes->table, slice_of(key.bytes, key.size));
    if (entry != NULL)
        *out = *entry;
    modes_unlock(modes);
    return entry != NULL;
}

/* --- the file --- */

static void fill(struct map *table, const MessageRequestModeSerializeWrapper *body)
{
    for (size_t i = 0; i < body->n_message_request_mode_map; i++) {
        const MessageRequestModeByTopicEntry *topic = body->message_request_mode_map[i];
        for (size_t j = 0; j < topic->value->n_table; j++) {
            const MessageRequestModeEntry *group = topic->value->table[j];
            struct request_mode mode = {.pop = strcmp(group->value->mode, MODE_POP) == 0,
                                        .share_queues = group->value->pop_share_queue_num};
            enum status status =
                put(table, slice_of_cstr(topic->key), slice_of_cstr(group->key), &mode);
            if (status != STATUS_OK)
                log_error("state", "request mode left out",
                          "topic=\"%s\" group=\"%s\" cause=\"%s\"", topic->key, group->key,
                          status_text(status));
        }
    }
}

enum status request_modes_load(const char *path, struct vfs *vfs, struct request_modes **out,
                               struct err *err)
{
    struct request_modes *modes = xcalloc(1, sizeof *modes);
    struct arena arena;
    MessageRequestModeSerializeWrapper body;
    enum config_source source;
    CHECK(pthread_mutex_init(&modes->lock, NULL) == 0);
    config_file_init(&modes->file, path, vfs);
    arena_init(&arena, 16384);
    enum status status = config_file_load(&modes->file, "request modes",
                                          &message_request_mode_serialize_wrapper__descriptor,
                                          &arena, &body.base, &source, err);
    if (status == STATUS_OK) {
        fill(&modes->table, &body);
        modes->changes = source == CONFIG_SOURCE_BACKUP;
        *out = modes;
    } else {
        request_modes_free(modes);
    }
    arena_release(&arena);
    return status;
}

void request_modes_free(struct request_modes *modes)
{
    table_release(&modes->table);
    config_file_release(&modes->file);
    CHECK(pthread_mutex_destroy(&modes->lock) == 0);
    free(modes);
}

static MessageRequestModeEntry *wrap_group(const char *topic, const char *group,
                                           const struct request_mode *mode, struct arena *arena)
{
    MessageRequestModeEntry *entry = arena_alloc(arena, sizeof *entry);
    SetMessageRequestModeRequestBody *value = arena_alloc(arena, sizeof *value);
    message_request_mode_entry__init(entry);
    set_message_request_mode_request_body__init(value);
    entry->key = (char *)(uintptr_t)group;
    entry->value = value;
    value->topic = (char *)(uintptr_t)topic;
    value->consumer_group = entry->key;
    value->mode = (char *)(uintptr_t)(mode->pop ? MODE_POP : MODE_PULL);
    value->pop_share_queue_num = mode->share_queues;
    return entry;
}

static MessageRequestModeByTopicEntry *wrap_topic(char *topic, size_t room, struct arena *arena)
{
    MessageRequestModeByTopicEntry *entry = arena_alloc(arena, sizeof *entry);
    MessageRequestModeByGroupMap *map = arena_alloc(arena, sizeof *map);
    message_request_mode_by_topic_entry__init(entry);
    message_request_mode_by_group_map__init(map);
    map->table = arena_alloc(arena, room * sizeof *map->table);
    entry->key = topic;
    entry->value = map;
    return entry;
}

/* With the lock held. Sorted, so that the groups of a topic follow one another. */
static void wrap(const struct request_modes *modes, struct arena *arena,
                 MessageRequestModeSerializeWrapper *out)
{
    size_t count = modes->table.count;
    struct map_entry **entries = map_sorted(&modes->table, arena);
    message_request_mode_serialize_wrapper__init(out);
    out->message_request_mode_map =
        arena_alloc(arena, (count + 1) * sizeof *out->message_request_mode_map);
    MessageRequestModeByTopicEntry *last = NULL;
    for (size_t i = 0; i < count; i++) {
        /* The key's first NUL ends the topic, the map's own the group. */
        char *topic = arena_cstr(arena, entries[i]->key);
        if (last == NULL || strcmp(last->key, topic) != 0) {
            size_t room = 1;
            size_t prefix = strlen(topic) + 1;
            while (i + room < count && entries[i + room]->key.size > prefix &&
                   memcmp(entries[i + room]->key.data, topic, prefix) == 0)
                room++;
            last = wrap_topic(topic, room, arena);
            out->message_request_mode_map[out->n_message_request_mode_map++] = last;
        }
        last->value->table[last->value->n_table++] =
            wrap_group(last->key, topic + strlen(topic) + 1, entries[i]->value, arena);
    }
}

uint64_t request_modes_wrap(const struct request_modes *modes, struct arena *arena,
                            MessageRequestModeSerializeWrapper *out)
{
    modes_lock(modes);
    uint64_t changes = modes->changes;
    wrap(modes, arena, out);
    modes_unlock(modes);
    return changes;
}

uint64_t request_modes_version(const struct request_modes *modes)
{
    modes_lock(modes);
    uint64_t changes = modes->changes;
    modes_unlock(modes);
    return changes;
}

static size_t count_of(const MessageRequestModeSerializeWrapper *body)
{
    size_t count = 0;
    for (size_t i = 0; i < body->n_message_request_mode_map; i++)
        count += body->message_request_mode_map[i]->value->n_table;
    return count;
}

enum status request_modes_replace(struct request_modes *modes,
                                  const MessageRequestModeSerializeWrapper *body, struct err *err)
{
    size_t count = count_of(body);
    struct map fresh = MAP_EMPTY;
    if (count > REQUEST_MODES_MAX)
        return err_set(err, STATUS_MALFORMED, "it has %zu request modes; %d are allowed", count,
                       REQUEST_MODES_MAX);
    fill(&fresh, body);
    modes_lock(modes);
    struct map before = modes->table;
    modes->table = fresh;
    modes->changes++;
    modes_unlock(modes);
    table_release(&before);
    return STATUS_OK;
}

static enum status snapshot(const void *table, struct arena *arena, uint64_t saved_changes,
                            uint64_t *changes, const ProtobufCMessage **message, struct err *err)
{
    (void)err;
    const struct request_modes *modes = table;
    MessageRequestModeSerializeWrapper *body = NULL;
    modes_lock(modes);
    *changes = modes->changes;
    if (*changes != saved_changes) {
        body = arena_alloc(arena, sizeof *body);
        wrap(modes, arena, body);
        *message = &body->base;
    }
    modes_unlock(modes);
    return STATUS_OK;
}

enum status request_modes_persist(struct request_modes *modes, struct err *err)
{
    return config_file_save(&modes->file, snapshot, modes, err);
}
