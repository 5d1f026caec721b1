/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of subscription groups. Every change moves the data version and the change count
 * together.
 * Source: RMQ broker/.../SubscriptionGroupManager.java, common/.../SubscriptionGroupConfig.java.
 */
#include "broker/state/groups.h"

#include "broker/state/config_file.h"
#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/base/map.h"
#include "common/sys/log.h"

#include <pthread.h>
#include <stdlib.h>

#define SYSTEM_GROUP_PREFIX SLICE_LITERAL("CID_RMQ_SYS_")

struct groups {
    pthread_mutex_t lock; /* docs/locks.md: groups */
    struct map table;     /* name -> struct group_config */
    struct data_version version;
    uint64_t changes;
    const struct clock *clock;
    struct config_file file;
};

static void groups_lock(const struct groups *groups)
{
    CHECK(pthread_mutex_lock((pthread_mutex_t *)(uintptr_t)&groups->lock) == 0);
}

static void groups_unlock(const struct groups *groups)
{
    CHECK(pthread_mutex_unlock((pthread_mutex_t *)(uintptr_t)&groups->lock) == 0);
}

struct group_config group_config_default(void)
{
    return (struct group_config){
        .consume_enable = true,
        .consume_from_min_enable = true,
        .consume_broadcast_enable = true,
        .retry_queues = 1,
        .retry_max_times = 16,
        .broker_id = 0,
        .which_broker_when_consume_slowly = 1,
        .notify_consumer_ids_changed = true,
    };
}

void group_config_from_body(const SubscriptionGroupConfig *body, struct group_config *out)
{
    *out = (struct group_config){
        .consume_enable = body->consume_enable,
        .consume_from_min_enable = body->consume_from_min_enable,
        .consume_broadcast_enable = body->consume_broadcast_enable,
        .retry_queues = body->retry_queue_nums,
        .retry_max_times = body->retry_max_times,
        .broker_id = body->broker_id,
        .which_broker_when_consume_slowly = body->which_broker_when_consume_slowly,
        .notify_consumer_ids_changed = body->notify_consumer_ids_changed_enable,
    };
}

/* --- the table, with the lock held --- */

static void set(struct groups *groups, struct slice name, const struct group_config *config)
{
    struct group_config *group = map_get(&groups->table, name);
    if (group == NULL) {
        group = xmalloc(sizeof *group);
        (void)map_put(&groups->table, name, group);
    }
    *group = *config;
}

static void changed(struct groups *groups)
{
    data_version_next(&groups->version, groups->clock);
    groups->changes++;
}

static enum status put_new(struct groups *groups, struct slice name,
                           const struct group_config *config)
{
    static struct log_gate full_gate;
    int64_t suppressed;
    if (groups->table.count >= GROUPS_MAX && map_get(&groups->table, name) == NULL) {
        if (log_gate_open(&full_gate, &suppressed))
            log_warn("state", "group refused, the table is full", "group=%.*s max=%d refused=%lld",
                     SLICE_ARGS(name), GROUPS_MAX, (long long)suppressed + 1);
        return STATUS_BUSY;
    }
    set(groups, name, config);
    changed(groups);
    return STATUS_OK;
}

/* --- loading --- */

static void boot_groups(struct groups *groups)
{
    static const char *const names[] = {
        "TOOLS_CONSUMER",  "FILTERSRV_CONSUMER",    "SELF_TEST_C_GROUP", "CID_ONS-HTTP-PROXY",
        "CID_ONSAPI_PULL", "CID_ONSAPI_PERMISSION", "CID_ONSAPI_OWNER",
    };
    struct group_config config = group_config_default();
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        set(groups, slice_of_cstr(names[i]), &config);
}

static void merge_body(struct groups *groups, const SubscriptionGroupWrapper *body)
{
    for (size_t i = 0; i < body->n_subscription_group_table; i++) {
        struct group_config config;
        group_config_from_body(body->subscription_group_table[i]->value, &config);
        set(groups, slice_of_cstr(body->subscription_group_table[i]->key), &config);
    }
    data_version_assign(&groups->version, body->data_version);
}

enum status groups_load(const char *path, struct vfs *vfs, const struct clock *clock,
                        struct groups **out, struct err *err)
{
    struct groups *groups = xcalloc(1, sizeof *groups);
    struct arena arena;
    SubscriptionGroupWrapper body;
    enum config_source source;

    CHECK(pthread_mutex_init(&groups->lock, NULL) == 0);
    groups->clock = clock;
    groups->version = data_version_first(clock);
    config_file_init(&groups->file, path, vfs);
    boot_groups(groups);

    arena_init(&arena, 65536);
    enum status status =
        config_file_load(&groups->file, "subscription groups",
                         &subscription_group_wrapper__descriptor, &arena, &body.base, &source, err);
    if (status == STATUS_OK) {
        merge_body(groups, &body);
        groups->changes = source != CONFIG_SOURCE_MAIN;
        log_info("state", "subscription groups loaded", "groups=%zu counter=%lld",
                 groups->table.count, (long long)groups->version.counter);
        *out = groups;
    } else {
        groups_free(groups);
    }
    arena_release(&arena);
    return status;
}

void groups_free(struct groups *groups)
{
    size_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&groups->table, &cursor)) != NULL;)
        free(entry->value);
    map_release(&groups->table);
    config_file_release(&groups->file);
    CHECK(pthread_mutex_destroy(&groups->lock) == 0);
    free(groups);
}

/* --- use --- */

bool groups_get(struct groups *groups, struct slice name, bool auto_create,
                struct group_config *out)
{
    bool created = false;
    groups_lock(groups);
    const struct group_config *group = map_get(&groups->table, name);
    bool found = group != NULL;
    if (found) {
        *out = *group;
    } else if ((auto_create || slice_starts_with(name, SYSTEM_GROUP_PREFIX)) && name.size > 0 &&
               name.size <= GROUP_BYTES_MAX) {
        *out = group_config_default();
        created = put_new(groups, name, out) == STATUS_OK;
    }
    groups_unlock(groups);
    if (created)
        log_info("state", "subscription group created", "group=%.*s", SLICE_ARGS(name));
    return found || created;
}

enum status groups_put(struct groups *groups, struct slice name, const struct group_config *config)
{
    groups_lock(groups);
    enum status status = put_new(groups, name, config);
    groups_unlock(groups);
    if (status == STATUS_OK)
        log_info("state", "subscription group set",
                 "group=%.*s consume=%d broadcast=%d retry_queues=%d retry_max=%d",
                 SLICE_ARGS(name), config->consume_enable, config->consume_broadcast_enable,
                 config->retry_queues, config->retry_max_times);
    return status;
}

bool groups_disable_consume(struct groups *groups, struct slice name)
{
    groups_lock(groups);
    struct group_config *group = map_get(&groups->table, name);
    bool enabled = group != NULL && group->consume_enable;
    if (enabled) {
        group->consume_enable = false;
        data_version_next(&groups->version, groups->clock);
    }
    groups_unlock(groups);
    return enabled;
}

bool groups_remove(struct groups *groups, struct slice name)
{
    groups_lock(groups);
    struct group_config *group = map_remove(&groups->table, name);
    if (group != NULL)
        changed(groups);
    groups_unlock(groups);
    if (group != NULL)
        log_info("state", "subscription group removed", "group=%.*s", SLICE_ARGS(name));
    free(group);
    return group != NULL;
}

struct data_version groups_version(const struct groups *groups, uint64_t *changes)
{
    groups_lock(groups);
    struct data_version version = groups->version;
    *changes = groups->changes;
    groups_unlock(groups);
    return version;
}

static bool is_possible(struct slice name)
{
    if (name.size > 0 && name.size <= GROUP_BYTES_MAX)
        return true;
    log_warn("state", "group of the master left out, its name is impossible", "bytes=%zu",
             name.size);
    return false;
}

/* Groups of the table that are not among the `named` go. The lock is held. */
static void remove_others(struct groups *groups, const struct map *named)
{
    size_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&groups->table, &cursor)) != NULL;)
        if (map_get(named, entry->key) == NULL)
            free(map_remove(&groups->table, entry->key));
}

enum status groups_replace(struct groups *groups, const SubscriptionGroupWrapper *body,
                           struct err *err)
{
    if (body->data_version == NULL || body->n_subscription_group_table == 0)
        return err_set(err, STATUS_MALFORMED, "it has no %s",
                       body->data_version == NULL ? "dataVersion" : "group");
    if (body->n_subscription_group_table > GROUPS_MAX)
        return err_set(err, STATUS_MALFORMED, "it has %zu groups; %d are allowed",
                       body->n_subscription_group_table, GROUPS_MAX);
    struct map named = MAP_EMPTY;
    size_t cursor = 0;
    for (size_t i = 0; i < body->n_subscription_group_table; i++) {
        const SubscriptionGroupConfigEntry *entry = body->subscription_group_table[i];
        if (is_possible(slice_of_cstr(entry->key)))
            (void)map_put(&named, slice_of_cstr(entry->key), entry->value);
    }
    groups_lock(groups);
    remove_others(groups, &named);
    for (struct map_entry *entry; (entry = map_next(&named, &cursor)) != NULL;) {
        struct group_config config;
        group_config_from_body(entry->value, &config);
        set(groups, entry->key, &config);
    }
    groups->changes++;
    data_version_assign(&groups->version, body->data_version);
    groups_unlock(groups);
    map_release(&named);
    return STATUS_OK;
}

/* --- snapshots --- */

static SubscriptionGroupConfigEntry *wrap_one(struct slice name, const struct group_config *group,
                                              struct arena *arena)
{
    SubscriptionGroupConfigEntry *entry = arena_alloc(arena, sizeof *entry);
    SubscriptionGroupConfig *value = arena_alloc(arena, sizeof *value);
    subscription_group_config_entry__init(entry);
    subscription_group_config__init(value);
    entry->key = arena_cstr(arena, name);
    entry->value = value;
    value->group_name = entry->key;
    value->consume_enable = group->consume_enable;
    value->consume_from_min_enable = group->consume_from_min_enable;
    value->consume_broadcast_enable = group->consume_broadcast_enable;
    value->retry_queue_nums = group->retry_queues;
    value->retry_max_times = group->retry_max_times;
    value->broker_id = group->broker_id;
    value->which_broker_when_consume_slowly = group->which_broker_when_consume_slowly;
    value->notify_consumer_ids_changed_enable = group->notify_consumer_ids_changed;
    return entry;
}

/* With the lock held. */
static void wrap(const struct groups *groups, struct arena *arena, SubscriptionGroupWrapper *out)
{
    subscription_group_wrapper__init(out);
    out->data_version = data_version_wrap(&groups->version, arena);
    out->subscription_group_table =
        arena_alloc(arena, groups->table.count * sizeof *out->subscription_group_table);
    size_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&groups->table, &cursor)) != NULL;)
        out->subscription_group_table[out->n_subscription_group_table++] =
            wrap_one(entry->key, entry->value, arena);
}

static int by_key(const void *a, const void *b)
{
    return strcmp((*(SubscriptionGroupConfigEntry *const *)a)->key,
                  (*(SubscriptionGroupConfigEntry *const *)b)->key);
}

static void sort(SubscriptionGroupWrapper *body)
{
    qsort(body->subscription_group_table, body->n_subscription_group_table,
          sizeof *body->subscription_group_table, by_key);
}

void groups_wrap(const struct groups *groups, struct arena *arena, SubscriptionGroupWrapper *out)
{
    groups_lock(groups);
    wrap(groups, arena, out);
    groups_unlock(groups);
    sort(out);
}

static enum status snapshot(const void *table, struct arena *arena, uint64_t saved_changes,
                            uint64_t *changes, const ProtobufCMessage **message, struct err *err)
{
    (void)err;
    const struct groups *groups = table;
    SubscriptionGroupWrapper *body = NULL;
    groups_lock(groups);
    *changes = groups->changes;
    if (*changes != saved_changes) {
        body = arena_alloc(arena, sizeof *body);
        wrap(groups, arena, body);
    }
    groups_unlock(groups);
    if (body != NULL) {
        sort(body);
        *message = &body->base;
    }
    return STATUS_OK;
}

enum status groups_persist(struct groups *groups, struct err *err)
{
    return config_file_save(&groups->file, snapshot, groups, err);
}
