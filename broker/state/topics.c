/* SPDX-License-Identifier: Apache-2.0
 *
 * The topic table. Invariants: an entry, once made, lives until topics_free, because names are lent
 * out; a removed topic is an entry that does not `exist`. Every change moves the data version and
 * the change count together. `system` is filled by topics_load and never changes, so it is read
 * without the lock.
 *
 * Differs from 4.9.2: with autoCreateTopicEnable off, TBW102 is treated as not inheritable but its
 * stored perm is left alone, so switching the option on again needs no restart.
 * Source: RMQ broker/.../TopicConfigManager.java, common/.../TopicValidator.java.
 */
#include "broker/state/topics.h"

#include "broker/state/config_file.h"
#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/base/map.h"
#include "common/sys/log.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define SYSTEM_TOPIC_PREFIX SLICE_LITERAL("rmq_sys_")
#define REPLY_TOPIC_SUFFIX "_REPLY_TOPIC"
#define FILTER_SINGLE_TAG "SINGLE_TAG"
#define FILTER_MULTI_TAG "MULTI_TAG"
#define PERM_READ_WRITE (PERM_READ | PERM_WRITE)
/* With removed topics, whose entries stay until the next start. */
#define ENTRIES_MAX (4 * TOPICS_MAX)

struct topic {
    struct topic_config config;
    uint64_t created; /* the change that made it; 0: it was loaded, or comes at every boot */
    bool exists;
    char name[];
};

struct topics {
    pthread_mutex_t lock; /* docs/locks.md: topics */
    struct map table;     /* name -> struct topic */
    size_t count;         /* entries that exist */
    struct data_version version;
    uint64_t changes;
    const struct clock *clock;
    struct map system; /* name -> anything; fixed after the load */
    struct config_file file;
};

static void topics_lock(const struct topics *topics)
{
    CHECK(pthread_mutex_lock((pthread_mutex_t *)(uintptr_t)&topics->lock) == 0);
}

static void topics_unlock(const struct topics *topics)
{
    CHECK(pthread_mutex_unlock((pthread_mutex_t *)(uintptr_t)&topics->lock) == 0);
}

/* protobuf-c's strings are not const, though nobody writes to them. */
static char *lend(const char *text)
{
    return (char *)(uintptr_t)text;
}

/* --- the table, with the lock held --- */

static struct topic *find(const struct topics *topics, struct slice name)
{
    struct topic *topic = map_get(&topics->table, name);
    return topic != NULL && topic->exists ? topic : NULL;
}

/* The topic's entry with `config`; the caller counts the change. */
static struct topic *set(struct topics *topics, struct slice name,
                         const struct topic_config *config)
{
    struct topic *topic = map_get(&topics->table, name);
    if (topic == NULL) {
        topic = xmalloc(sizeof *topic + name.size + 1);
        memcpy(topic->name, name.data, name.size);
        topic->name[name.size] = 0;
        topic->exists = false;
        (void)map_put(&topics->table, name, topic);
    }
    if (!topic->exists) {
        topics->count++;
        topic->created = topics->changes + 1;
    }
    topic->exists = true;
    topic->config = *config;
    topic->config.name = topic->name;
    return topic;
}

static struct topic_config copy(const struct topics *topics, const struct topic *topic)
{
    struct topic_config config = topic->config;
    config.saved = topic->created <= atomic_load(&topics->file.saved_changes);
    return config;
}

static void changed(struct topics *topics)
{
    data_version_next(&topics->version, topics->clock);
    topics->changes++;
}

/* --- loading --- */

/* A topic names a folder of the store, which refuses some names (broker/store/queue_table.c). Names
 * that are only ugly, as a host name with dots is, are loaded: topic_name_fault is for new ones. */
static bool is_storable(struct slice name, const char *source)
{
    if (name.size > 0 && name.size <= TOPIC_BYTES_MAX && !slice_is(name, ".") &&
        !slice_is(name, "..") && memchr(name.data, '/', name.size) == NULL)
        return true;
    log_error("state", "topic left out, its name can not name a folder",
              "topic=\"%.*s\" bytes=%zu source=%s",
              (int)(name.size < TOPIC_BYTES_MAX ? name.size : TOPIC_BYTES_MAX),
              (const char *)name.data, name.size, source);
    return false;
}

static void add_system(struct topics *topics, const char *name)
{
    (void)map_put(&topics->system, slice_of_cstr(name), topics);
}

static void boot_topic(struct topics *topics, const char *name, int32_t queues, int32_t perm)
{
    struct topic_config config = {.read_queues = queues, .write_queues = queues, .perm = perm};
    add_system(topics, name);
    if (is_storable(slice_of_cstr(name), "options"))
        (void)set(topics, slice_of_cstr(name), &config);
}

static void boot_topics(struct topics *topics, const struct topics_options *options)
{
    static const char *const constants[] = {TOPIC_TBW102,         TOPIC_SCHEDULE,
                                            "BenchmarkTest",      TOPIC_TRANS_HALF,
                                            TOPIC_TRANS_OP_HALF,  TOPIC_TRANS_CHECK_MAX_TIME,
                                            "RMQ_SYS_TRACE_TOPIC"};
    for (size_t i = 0; i < sizeof constants / sizeof constants[0]; i++)
        add_system(topics, constants[i]);

    boot_topic(topics, "SELF_TEST_TOPIC", 1, PERM_READ_WRITE);
    if (options->auto_create)
        boot_topic(topics, TOPIC_TBW102, options->default_queues, PERM_READ_WRITE | PERM_INHERIT);
    boot_topic(topics, "BenchmarkTest", 1024, PERM_READ_WRITE);
    boot_topic(topics, options->cluster_name, 16,
               PERM_INHERIT | (options->cluster_topic ? PERM_READ_WRITE : 0));
    boot_topic(topics, options->broker_name, 1,
               PERM_INHERIT | (options->broker_topic ? PERM_READ_WRITE : 0));
    boot_topic(topics, TOPIC_OFFSET_MOVED_EVENT, 1, PERM_READ_WRITE);
    boot_topic(topics, TOPIC_SCHEDULE, 18, PERM_READ_WRITE);
    if (options->trace_topic)
        boot_topic(topics, options->trace_topic_name, 1, PERM_READ_WRITE);

    struct buf reply = BUF_EMPTY;
    buf_printf(&reply, "%s" REPLY_TOPIC_SUFFIX, options->cluster_name);
    buf_append_byte(&reply, 0);
    boot_topic(topics, (const char *)reply.data, 1, PERM_READ_WRITE);
    buf_release(&reply);
}

static struct topic_config config_of(const TopicConfig *value)
{
    return (struct topic_config){
        .read_queues = value->read_queue_nums,
        .write_queues = value->write_queue_nums,
        .perm = value->perm,
        .sys_flag = value->topic_sys_flag,
        .multi_tag = strcmp(value->topic_filter_type, FILTER_MULTI_TAG) == 0,
        .order = value->order,
    };
}

static void merge_body(struct topics *topics, const TopicConfigSerializeWrapper *body)
{
    for (size_t i = 0; i < body->n_topic_config_table; i++) {
        const TopicConfigEntry *entry = body->topic_config_table[i];
        if (!is_storable(slice_of_cstr(entry->key), topics->file.path))
            continue;
        struct topic_config config = config_of(entry->value);
        (void)set(topics, slice_of_cstr(entry->key), &config);
    }
    data_version_assign(&topics->version, body->data_version);
}

/* What is there after the load needs no saving: it was in the file, or comes at every boot. */
static void nothing_is_new(struct topics *topics)
{
    size_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&topics->table, &cursor)) != NULL;)
        ((struct topic *)entry->value)->created = 0;
}

enum status topics_load(const struct topics_options *options, struct vfs *vfs,
                        const struct clock *clock, struct topics **out, struct err *err)
{
    struct topics *topics = xcalloc(1, sizeof *topics);
    struct arena arena;
    TopicConfigSerializeWrapper body;
    enum config_source source;

    CHECK(pthread_mutex_init(&topics->lock, NULL) == 0);
    topics->clock = clock;
    topics->version = data_version_first(clock);
    config_file_init(&topics->file, options->path, vfs);
    boot_topics(topics, options);

    arena_init(&arena, 65536);
    enum status status =
        config_file_load(&topics->file, "topics", &topic_config_serialize_wrapper__descriptor,
                         &arena, &body.base, &source, err);
    if (status == STATUS_OK) {
        merge_body(topics, &body);
        nothing_is_new(topics);
        topics->changes = source != CONFIG_SOURCE_MAIN;
        log_info("state", "topics loaded", "topics=%zu counter=%lld", topics->count,
                 (long long)topics->version.counter);
        *out = topics;
    } else {
        topics_free(topics);
    }
    arena_release(&arena);
    return status;
}

void topics_free(struct topics *topics)
{
    size_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&topics->table, &cursor)) != NULL;)
        free(entry->value);
    map_release(&topics->table);
    map_release(&topics->system);
    config_file_release(&topics->file);
    CHECK(pthread_mutex_destroy(&topics->lock) == 0);
    free(topics);
}

/* --- look-ups --- */

bool topics_get(const struct topics *topics, struct slice name, struct topic_config *out)
{
    topics_lock(topics);
    const struct topic *topic = find(topics, name);
    if (topic != NULL)
        *out = copy(topics, topic);
    topics_unlock(topics);
    return topic != NULL;
}

static bool is_blank(struct slice text)
{
    for (size_t i = 0; i < text.size; i++)
        if (text.data[i] != ' ' && (text.data[i] < 0x09 || text.data[i] > 0x0D))
            return false;
    return true;
}

static bool is_name_byte(uint8_t byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
           (byte >= '0' && byte <= '9') || byte == '%' || byte == '|' || byte == '_' || byte == '-';
}

const char *topic_name_fault(struct slice name)
{
    if (is_blank(name))
        return "The specified topic is blank.";
    for (size_t i = 0; i < name.size; i++)
        if (!is_name_byte(name.data[i]))
            return "The specified topic contains illegal characters, allowing only "
                   "^[%|a-zA-Z0-9_-]+$";
    if (name.size > TOPIC_BYTES_MAX)
        return "The specified topic is longer than topic max length.";
    return NULL;
}

bool topics_is_system(const struct topics *topics, struct slice name)
{
    return slice_starts_with(name, SYSTEM_TOPIC_PREFIX) || map_get(&topics->system, name) != NULL;
}

void topics_walk_system(const struct topics *topics, void (*each)(void *ctx, struct slice name),
                        void *ctx)
{
    size_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&topics->system, &cursor)) != NULL;)
        each(ctx, entry->key);
}

/* --- changes --- */

/* Set a topic, within the bound, and take a copy of it. */
static enum status put_new(struct topics *topics, struct slice name,
                           const struct topic_config *config, struct topic_config *out)
{
    static struct log_gate full_gate;
    int64_t suppressed;
    bool is_new = find(topics, name) == NULL;
    if ((is_new && topics->count >= TOPICS_MAX) ||
        (topics->table.count >= ENTRIES_MAX && map_get(&topics->table, name) == NULL)) {
        if (log_gate_open(&full_gate, &suppressed))
            log_warn("state", "topic refused, the table is full", "topic=%.*s max=%d refused=%lld",
                     SLICE_ARGS(name), TOPICS_MAX, (long long)suppressed + 1);
        return STATUS_BUSY;
    }
    *out = copy(topics, set(topics, name, config));
    changed(topics);
    return STATUS_OK;
}

static void log_topic(const char *what, const struct topic_config *config)
{
    log_info("state", what, "topic=%s read=%d write=%d perm=%d sys_flag=%d", config->name,
             config->read_queues, config->write_queues, config->perm, config->sys_flag);
}

enum status topics_put(struct topics *topics, struct slice name, const struct topic_config *config)
{
    struct topic_config stored;
    topics_lock(topics);
    enum status status = put_new(topics, name, config, &stored);
    topics_unlock(topics);
    if (status == STATUS_OK)
        log_topic("topic set", &stored);
    return status;
}

enum status topics_create_on_send(struct topics *topics, struct slice name,
                                  struct slice default_topic, int32_t default_topic_queues,
                                  int32_t unit_sys_flag, bool auto_create, struct topic_config *out)
{
    enum status status = STATUS_OK;
    bool created = false;
    topics_lock(topics);
    const struct topic *existing = find(topics, name);
    const struct topic *parent = find(topics, default_topic);
    if (existing != NULL) {
        *out = copy(topics, existing);
    } else if (parent == NULL || (parent->config.perm & PERM_INHERIT) == 0 ||
               (!auto_create && slice_is(default_topic, TOPIC_TBW102))) {
        status = STATUS_NOT_FOUND;
    } else {
        int32_t queues = parent->config.write_queues;
        if (default_topic_queues < queues)
            queues = default_topic_queues;
        if (queues < 0)
            queues = 0;
        struct topic_config config = {
            .read_queues = queues,
            .write_queues = queues,
            .perm = parent->config.perm & ~PERM_INHERIT,
            .sys_flag = unit_sys_flag,
            .multi_tag = parent->config.multi_tag,
        };
        status = put_new(topics, name, &config, out);
        created = status == STATUS_OK;
    }
    topics_unlock(topics);
    if (created)
        log_topic("topic created by a send", out);
    return status;
}

enum status topics_ensure(struct topics *topics, struct slice name, int32_t queues, int32_t perm,
                          int32_t sys_flag, struct topic_config *out, bool *created)
{
    struct topic_config config = {
        .read_queues = queues, .write_queues = queues, .perm = perm, .sys_flag = sys_flag};
    enum status status = STATUS_OK;
    *created = false;
    topics_lock(topics);
    const struct topic *existing = find(topics, name);
    if (existing != NULL) {
        *out = copy(topics, existing);
    } else {
        status = put_new(topics, name, &config, out);
        *created = status == STATUS_OK;
    }
    topics_unlock(topics);
    if (*created)
        log_topic("topic created", out);
    return status;
}

bool topics_remove(struct topics *topics, struct slice name)
{
    topics_lock(topics);
    struct topic *topic = find(topics, name);
    if (topic != NULL) {
        topic->exists = false;
        topics->count--;
        changed(topics);
    }
    topics_unlock(topics);
    if (topic != NULL)
        log_info("state", "topic removed", "topic=%s", topic->name);
    return topic != NULL;
}

void topics_set_order(struct topics *topics, const KVTable *order_table)
{
    struct map ordered = MAP_EMPTY;
    for (size_t i = 0; i < order_table->n_table; i++)
        (void)map_put(&ordered, slice_of_cstr(order_table->table[i]->key), topics);

    size_t flipped = 0;
    size_t cursor = 0;
    topics_lock(topics);
    for (struct map_entry *entry; (entry = map_next(&topics->table, &cursor)) != NULL;) {
        struct topic *topic = entry->value;
        bool order = map_get(&ordered, entry->key) != NULL;
        if (topic->exists && topic->config.order != order) {
            topic->config.order = order;
            flipped++;
        }
    }
    if (flipped != 0)
        changed(topics);
    topics_unlock(topics);
    map_release(&ordered);
    if (flipped != 0)
        log_info("state", "order flags changed", "topics=%zu", flipped);
}

void topics_touch_version(struct topics *topics)
{
    topics_lock(topics);
    changed(topics);
    topics_unlock(topics);
}

struct data_version topics_version(const struct topics *topics, uint64_t *changes)
{
    topics_lock(topics);
    struct data_version version = topics->version;
    *changes = topics->changes;
    topics_unlock(topics);
    return version;
}

/* Topics of the table that are not among the `named` go. The lock is held. */
static void remove_others(struct topics *topics, const struct map *named)
{
    size_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&topics->table, &cursor)) != NULL;) {
        struct topic *topic = entry->value;
        if (topic->exists && map_get(named, entry->key) == NULL) {
            topic->exists = false;
            topics->count--;
        }
    }
}

/* The lock is held. */
static enum status replace(struct topics *topics, const struct map *named,
                           const DataVersion *version)
{
    size_t cursor = 0;
    size_t fresh = 0;
    for (struct map_entry *entry; (entry = map_next(named, &cursor)) != NULL;)
        fresh += map_get(&topics->table, entry->key) == NULL;
    if (topics->table.count + fresh > ENTRIES_MAX)
        return STATUS_BUSY;
    remove_others(topics, named);
    cursor = 0;
    for (struct map_entry *entry; (entry = map_next(named, &cursor)) != NULL;) {
        struct topic_config config = config_of(entry->value);
        (void)set(topics, entry->key, &config);
    }
    topics->changes++;
    data_version_assign(&topics->version, version);
    return STATUS_OK;
}

enum status topics_replace(struct topics *topics, const TopicConfigSerializeWrapper *body,
                           struct err *err)
{
    if (body->data_version == NULL || body->n_topic_config_table == 0)
        return err_set(err, STATUS_MALFORMED, "it has no %s",
                       body->data_version == NULL ? "dataVersion" : "topic");
    if (body->n_topic_config_table > TOPICS_MAX)
        return err_set(err, STATUS_MALFORMED, "it has %zu topics; %d are allowed",
                       body->n_topic_config_table, TOPICS_MAX);
    struct map named = MAP_EMPTY;
    for (size_t i = 0; i < body->n_topic_config_table; i++) {
        const TopicConfigEntry *entry = body->topic_config_table[i];
        if (is_storable(slice_of_cstr(entry->key), "master"))
            (void)map_put(&named, slice_of_cstr(entry->key), entry->value);
    }
    topics_lock(topics);
    enum status status = replace(topics, &named, body->data_version);
    topics_unlock(topics);
    map_release(&named);
    if (status != STATUS_OK)
        return err_set(
            err, status,
            "more than %d topics have come and gone since the start; restart this broker",
            ENTRIES_MAX);
    return STATUS_OK;
}

/* --- snapshots --- */

static TopicConfigEntry *wrap_one(const struct topic *topic, int32_t perm_mask, struct arena *arena)
{
    TopicConfigEntry *entry = arena_alloc(arena, sizeof *entry);
    TopicConfig *value = arena_alloc(arena, sizeof *value);
    bool as_stored = perm_mask == -1;
    topic_config_entry__init(entry);
    topic_config__init(value);
    entry->key = lend(topic->name);
    entry->value = value;
    value->topic_name = lend(topic->name);
    value->read_queue_nums = topic->config.read_queues;
    value->write_queue_nums = topic->config.write_queues;
    value->perm = as_stored ? topic->config.perm : perm_mask;
    value->order = as_stored && topic->config.order;
    value->topic_sys_flag = as_stored ? topic->config.sys_flag : 0;
    value->topic_filter_type =
        lend(as_stored && topic->config.multi_tag ? FILTER_MULTI_TAG : FILTER_SINGLE_TAG);
    return entry;
}

/* With the lock held. */
static void wrap(const struct topics *topics, const char *only, int32_t perm_mask,
                 struct arena *arena, TopicConfigSerializeWrapper *out)
{
    topic_config_serialize_wrapper__init(out);
    out->data_version = data_version_wrap(&topics->version, arena);
    size_t room = only == NULL ? topics->count : 1;
    out->topic_config_table = arena_alloc(arena, room * sizeof *out->topic_config_table);
    if (only != NULL) {
        const struct topic *topic = find(topics, slice_of_cstr(only));
        if (topic != NULL)
            out->topic_config_table[out->n_topic_config_table++] =
                wrap_one(topic, perm_mask, arena);
        return;
    }
    size_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&topics->table, &cursor)) != NULL;) {
        const struct topic *topic = entry->value;
        if (topic->exists)
            out->topic_config_table[out->n_topic_config_table++] =
                wrap_one(topic, perm_mask, arena);
    }
}

static int by_key(const void *a, const void *b)
{
    return strcmp((*(TopicConfigEntry *const *)a)->key, (*(TopicConfigEntry *const *)b)->key);
}

static void sort(TopicConfigSerializeWrapper *body)
{
    qsort(body->topic_config_table, body->n_topic_config_table, sizeof *body->topic_config_table,
          by_key);
}

void topics_wrap(const struct topics *topics, const char *only, int32_t perm_mask,
                 struct arena *arena, TopicConfigSerializeWrapper *out)
{
    topics_lock(topics);
    wrap(topics, only, perm_mask, arena, out);
    topics_unlock(topics);
    sort(out);
}

static enum status snapshot(const void *table, struct arena *arena, uint64_t saved_changes,
                            uint64_t *changes, const ProtobufCMessage **message, struct err *err)
{
    (void)err;
    const struct topics *topics = table;
    TopicConfigSerializeWrapper *body = NULL;
    topics_lock(topics);
    *changes = topics->changes;
    if (*changes != saved_changes) {
        body = arena_alloc(arena, sizeof *body);
        wrap(topics, NULL, -1, arena, body);
    }
    topics_unlock(topics);
    if (body != NULL) {
        sort(body);
        *message = &body->base;
    }
    return STATUS_OK;
}

enum status topics_persist(struct topics *topics, struct err *err)
{
    return config_file_save(&topics->file, snapshot, topics, err);
}
