/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as a config file of the store: loading it takes it or refuses it as damaged. What is
 * taken as the file is taken as its .bak, too, and from there is saved; loading what was saved
 * gives the same table.
 *
 * Input: one byte, whose lowest two bits select topics.json, subscriptionGroup.json,
 * consumerOffset.json or delayOffset.json, then the file.
 */
#include "broker/state/delay.h"
#include "broker/state/groups.h"
#include "broker/state/offsets.h"
#include "broker/state/topics.h"
#include "common/base/check.h"
#include "common/sys/log.h"
#include "proto/body_json.h"
#include "test/unit/support/vfs_sim.h"

#include <stdlib.h>

#define PATH "/config/table.json"
#define BACKUP_PATH PATH ".bak"
#define LEVELS 3
#define NOW_MS INT64_C(1700000000000)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int64_t wall_ms(void *ctx)
{
    (void)ctx;
    return NOW_MS;
}

static int64_t monotonic_ns(void *ctx)
{
    (void)ctx;
    return NOW_MS * 1000000;
}

static const struct clock still_clock = {wall_ms, monotonic_ns, NULL};

/* --- the four tables --- */

/* A kind of table. `load` gives NULL when the file was refused; `show` appends the table as text,
 * in an order that depends on nothing else: as it is written, and as look-ups see it. */
struct kind {
    void *(*load)(struct vfs *vfs);
    void (*show)(void *table, struct arena *arena, struct buf *out);
    enum status (*persist)(void *table, struct err *err);
    void (*free)(void *table);
};

static void *loaded(enum status status, void *table, const struct err *err)
{
    CHECK(status == STATUS_OK || (status == STATUS_CORRUPT && err->text[0] != '\0'));
    return status == STATUS_OK ? table : NULL;
}

static void *load_topics(struct vfs *vfs)
{
    static const struct topics_options options = {
        .path = PATH,
        .cluster_name = "DefaultCluster",
        .broker_name = "broker-a",
        .trace_topic_name = "RMQ_SYS_TRACE_TOPIC",
        .default_queues = 8,
        .auto_create = true,
        .cluster_topic = true,
        .broker_topic = true,
    };
    struct topics *topics;
    struct err err = {.text = ""};
    enum status status = topics_load(&options, vfs, &still_clock, &topics, &err);
    return loaded(status, topics, &err);
}

static int compare_topics(const void *a, const void *b)
{
    return strcmp((*(TopicConfigEntry *const *)a)->key, (*(TopicConfigEntry *const *)b)->key);
}

static void show_topics(void *table, struct arena *arena, struct buf *out)
{
    TopicConfigSerializeWrapper body;
    topics_wrap(table, NULL, -1, arena, &body);
    if (body.n_topic_config_table > 0)
        qsort(body.topic_config_table, body.n_topic_config_table, sizeof(TopicConfigEntry *),
              compare_topics);
    body_encode(&body.base, BODY_PRETTY, out);
    for (size_t i = 0; i < body.n_topic_config_table; i++) {
        struct topic_config config;
        CHECK(topics_get(table, slice_of_cstr(body.topic_config_table[i]->key), &config));
        buf_printf(out, "%d %d %d %d %d %d\n", config.read_queues, config.write_queues, config.perm,
                   config.sys_flag, config.multi_tag, config.order);
    }
}

static enum status persist_topics(void *table, struct err *err)
{
    return topics_persist(table, err);
}

static void free_topics(void *table)
{
    topics_free(table);
}

static void *load_groups(struct vfs *vfs)
{
    struct groups *groups;
    struct err err = {.text = ""};
    enum status status = groups_load(PATH, vfs, &still_clock, &groups, &err);
    return loaded(status, groups, &err);
}

static int compare_groups(const void *a, const void *b)
{
    return strcmp((*(SubscriptionGroupConfigEntry *const *)a)->key,
                  (*(SubscriptionGroupConfigEntry *const *)b)->key);
}

static void show_groups(void *table, struct arena *arena, struct buf *out)
{
    SubscriptionGroupWrapper body;
    groups_wrap(table, arena, &body);
    if (body.n_subscription_group_table > 0)
        qsort(body.subscription_group_table, body.n_subscription_group_table,
              sizeof(SubscriptionGroupConfigEntry *), compare_groups);
    body_encode(&body.base, BODY_PRETTY, out);
    for (size_t i = 0; i < body.n_subscription_group_table; i++) {
        struct group_config config;
        struct slice name = slice_of_cstr(body.subscription_group_table[i]->key);
        CHECK(groups_get(table, name, false, &config));
        buf_printf(out, "%d %d %d %d %d %lld %lld %d\n", config.consume_enable,
                   config.consume_from_min_enable, config.consume_broadcast_enable,
                   config.retry_queues, config.retry_max_times, (long long)config.broker_id,
                   (long long)config.which_broker_when_consume_slowly,
                   config.notify_consumer_ids_changed);
    }
}

static enum status persist_groups(void *table, struct err *err)
{
    return groups_persist(table, err);
}

static void free_groups(void *table)
{
    groups_free(table);
}

static void *load_offsets(struct vfs *vfs)
{
    struct offsets *offsets;
    struct err err = {.text = ""};
    enum status status = offsets_load(PATH, vfs, &offsets, &err);
    return loaded(status, offsets, &err);
}

static void show_offsets(void *table, struct arena *arena, struct buf *out)
{
    ConsumerOffsetSerializeWrapper body;
    struct offset_key *keys;
    offsets_wrap(table, arena, &body);
    body_encode(&body.base, BODY_PRETTY, out);
    size_t count = offsets_keys(table, arena, &keys);
    for (size_t i = 0; i < count; i++) {
        IntOffsetEntry **entries;
        size_t queues = offsets_of(table, keys[i].topic, keys[i].group, arena, &entries);
        for (size_t j = 0; j < queues; j++) {
            CHECK(offsets_get(table, keys[i].topic, keys[i].group, entries[j]->key) ==
                  entries[j]->value);
            buf_printf(out, "%.*s %.*s %d %lld\n", SLICE_ARGS(keys[i].topic),
                       SLICE_ARGS(keys[i].group), entries[j]->key, (long long)entries[j]->value);
        }
    }
}

static enum status persist_offsets(void *table, struct err *err)
{
    return offsets_persist(table, err);
}

static void free_offsets(void *table)
{
    offsets_free(table);
}

/* What the delayed messages ask of a store: an empty one without threads, opened once. */
static struct store *empty_store(void)
{
    static struct store *store;
    static const int64_t levels_ms[] = {1000};
    static const struct store_options options = {
        .root = "/store",
        .commit_log = "/store/commitlog",
        .segment_bytes = 4096,
        .queue_file_bytes = 600,
        .flush_least_pages = 4,
        .flush_queues_least_pages = 2,
        .index_slots = 16,
        .index_entries = 64,
        .record_bytes_max = 4096,
        .role = STORE_ROLE_MASTER,
        .flush = STORE_FLUSH_ASYNC,
        .flush_interval_ms = 1000,
        .flush_thorough_interval_ms = 10000,
        .flush_queues_interval_ms = 1000,
        .flush_queues_thorough_interval_ms = 60000,
        .file_reserved_hours = 72,
        .delete_when = "",
        .disk_max_used_percent = 75,
        .clean_interval_ms = 10000,
        .delay_levels_ms = levels_ms,
        .delay_level_count = 1,
        .memory_bytes_hot = 1 << 20,
        .transfer_bytes_memory = 262144,
        .transfer_count_memory = 32,
        .transfer_bytes_disk = 65536,
        .transfer_count_disk = 8,
    };
    struct err err;
    if (store == NULL)
        CHECK(store_open(&options, sim_vfs(sim_new()), &still_clock, &store, &err) == STATUS_OK);
    return store;
}

static void *load_delay(struct vfs *vfs)
{
    static const int64_t levels_ms[LEVELS] = {1000, 5000, 10000};
    struct delay *delay;
    struct err err = {.text = ""};
    enum status status = delay_load(PATH, vfs, empty_store(), levels_ms, LEVELS, &delay, &err);
    return loaded(status, delay, &err);
}

static void show_delay(void *table, struct arena *arena, struct buf *out)
{
    DelayOffsetSerializeWrapper body;
    delay_wrap(table, arena, &body);
    body_encode(&body.base, BODY_PRETTY, out);
    for (int level = 1; level <= LEVELS; level++)
        buf_printf(out, "%lld\n", (long long)delay_offset(table, level));
}

static enum status persist_delay(void *table, struct err *err)
{
    return delay_persist(table, err);
}

static void free_delay(void *table)
{
    delay_free(table);
}

static const struct kind kinds[4] = {
    {load_topics, show_topics, persist_topics, free_topics},
    {load_groups, show_groups, persist_groups, free_groups},
    {load_offsets, show_offsets, persist_offsets, free_offsets},
    {load_delay, show_delay, persist_delay, free_delay},
};

/* --- the target --- */

/* False: the file was refused. */
static bool load_and_show(const struct kind *kind, struct vfs *vfs, bool save, struct buf *shown)
{
    struct arena arena;
    struct err err;
    void *table = kind->load(vfs);
    if (table == NULL)
        return false;
    arena_init(&arena, 4096);
    kind->show(table, &arena, shown);
    arena_release(&arena);
    if (save)
        CHECK(kind->persist(table, &err) == STATUS_OK);
    kind->free(table);
    return true;
}

static struct sim *sim_with(const char *path, struct slice file)
{
    size_t size;
    struct sim *sim = sim_new();
    CHECK(sim_vfs(sim)->ops->mkdirs(sim_vfs(sim), "/config") == STATUS_OK);
    sim_resize(sim, path, file.size);
    if (file.size > 0)
        memcpy(sim_bytes(sim, path, &size), file.data, file.size);
    return sim;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    const struct kind *kind = &kinds[data[0] & 3];
    struct slice file = slice_of(data + 1, size - 1);
    struct buf as_file = BUF_EMPTY;
    struct buf as_backup = BUF_EMPTY;
    struct buf as_saved = BUF_EMPTY;
    log_set_level((enum log_level)(-1)); /* damaged files are what this is about */

    struct sim *sim = sim_with(PATH, file);
    bool taken = load_and_show(kind, sim_vfs(sim), false, &as_file);
    sim_free(sim);

    sim = sim_with(BACKUP_PATH, file);
    CHECK(load_and_show(kind, sim_vfs(sim), true, &as_backup) == taken);
    CHECK(slice_equal(buf_slice(&as_backup), buf_slice(&as_file)));
    if (taken) {
        sim_remove(sim, BACKUP_PATH);
        CHECK(sim_bytes(sim, PATH, &size) != NULL);
        CHECK(load_and_show(kind, sim_vfs(sim), false, &as_saved));
        CHECK(slice_equal(buf_slice(&as_saved), buf_slice(&as_file)));
    }
    sim_free(sim);
    buf_release(&as_file);
    buf_release(&as_backup);
    buf_release(&as_saved);
    return 0;
}
