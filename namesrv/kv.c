/* SPDX-License-Identifier: Apache-2.0
 *
 * The key-value table and its file: {"configTable":{namespace:{key:value}}}.
 *
 * 4.9.2 replaces the file by deleting and renaming, so that a crash may leave the backup alone;
 * hence a missing file with a backup beside it is loaded from the backup.
 */
#include "namesrv/kv.h"

#include "common/base/check.h"
#include "common/base/map.h"
#include "proto/body.pb-c.h"
#include "proto/body_json.h"

#include <stdlib.h>
#include <string.h>

#define TREE_BLOCK_BYTES 16384

struct kv {
    struct map namespaces; /* name -> struct kv_namespace */
    size_t bytes;          /* of all names, keys and values */
};

struct kv_namespace {
    struct map values; /* key -> NUL-terminated value */
};

struct kv *kv_new(void)
{
    return xcalloc(1, sizeof(struct kv));
}

static void kv_clear(struct kv *kv)
{
    size_t cursor = 0;
    for (struct map_entry *n; (n = map_next(&kv->namespaces, &cursor)) != NULL;) {
        struct kv_namespace *namespace = n->value;
        size_t inner = 0;
        for (struct map_entry *e; (e = map_next(&namespace->values, &inner)) != NULL;)
            free(e->value);
        map_release(&namespace->values);
        free(namespace);
    }
    map_release(&kv->namespaces);
    kv->bytes = 0;
}

void kv_free(struct kv *kv)
{
    if (kv == NULL)
        return;
    kv_clear(kv);
    free(kv);
}

static struct kv_namespace *add_namespace(struct kv *kv, struct slice name)
{
    struct kv_namespace *namespace = map_get(&kv->namespaces, name);
    if (namespace == NULL) {
        namespace = xcalloc(1, sizeof *namespace);
        (void)map_put(&kv->namespaces, name, namespace);
        kv->bytes += name.size;
    }
    return namespace;
}

/* What a new namespace and key would add. */
static size_t added_bytes(const struct kv *kv, struct slice namespace, struct slice key)
{
    const struct kv_namespace *found = map_get(&kv->namespaces, namespace);
    if (found == NULL)
        return namespace.size + key.size;
    return map_get(&found->values, key) == NULL ? key.size : 0;
}

static void drop_empty_namespaces(struct kv *kv, struct slice except)
{
    size_t cursor = 0;
    for (struct map_entry *n; (n = map_next(&kv->namespaces, &cursor)) != NULL;) {
        struct kv_namespace *namespace = n->value;
        if (namespace->values.count != 0 || slice_is(n->key, KV_ORDER_TOPICS) ||
            slice_equal(n->key, except))
            continue;
        kv->bytes -= n->key.size;
        (void)map_remove(&kv->namespaces, n->key);
        map_release(&namespace->values);
        free(namespace);
    }
}

static bool has_room(const struct kv *kv, struct slice namespace, struct slice key,
                     struct slice value)
{
    return kv->bytes + added_bytes(kv, namespace, key) + value.size <= KV_BYTES_MAX;
}

enum status kv_put(struct kv *kv, struct slice namespace, struct slice key, struct slice value)
{
    if (!has_room(kv, namespace, key, value))
        drop_empty_namespaces(kv, namespace);
    if (!has_room(kv, namespace, key, value))
        return STATUS_FULL;
    char *copy = xmalloc(value.size + 1);
    if (value.size != 0)
        memcpy(copy, value.data, value.size);
    copy[value.size] = '\0';
    char *before = map_put(&add_namespace(kv, namespace)->values, key, copy);
    kv->bytes += value.size;
    if (before == NULL)
        kv->bytes += key.size;
    else
        kv->bytes -= strlen(before);
    free(before);
    return STATUS_OK;
}

bool kv_delete(struct kv *kv, struct slice namespace, struct slice key)
{
    struct kv_namespace *found = map_get(&kv->namespaces, namespace);
    char *value = found == NULL ? NULL : map_remove(&found->values, key);
    if (value == NULL)
        return false;
    kv->bytes -= key.size + strlen(value);
    free(value);
    return true;
}

struct kv *kv_copy(const struct kv *kv)
{
    struct kv *copy = kv_new();
    size_t cursor = 0;
    for (struct map_entry *n; (n = map_next(&kv->namespaces, &cursor)) != NULL;) {
        const struct kv_namespace *namespace = n->value;
        (void)add_namespace(copy, n->key);
        size_t inner = 0;
        for (struct map_entry *e; (e = map_next(&namespace->values, &inner)) != NULL;)
            CHECK(kv_put(copy, n->key, e->key, slice_of_cstr(e->value)) == STATUS_OK);
    }
    return copy;
}

const char *kv_get(const struct kv *kv, struct slice namespace, struct slice key)
{
    const struct kv_namespace *found = map_get(&kv->namespaces, namespace);
    return found == NULL ? NULL : map_get(&found->values, key);
}

size_t kv_entries(const struct kv *kv)
{
    size_t count = 0;
    size_t cursor = 0;
    for (struct map_entry *n; (n = map_next(&kv->namespaces, &cursor)) != NULL;)
        count += ((const struct kv_namespace *)n->value)->values.count;
    return count;
}

/* Encoding: sorted, so that two files can be compared. */

static StringEntry **value_trees(const struct kv_namespace *namespace, struct arena *arena)
{
    struct map_entry **sorted = map_sorted(&namespace->values, arena);
    StringEntry **trees = arena_alloc(arena, namespace->values.count * sizeof(StringEntry *));
    for (size_t i = 0; i < namespace->values.count; i++) {
        trees[i] = arena_alloc(arena, sizeof(StringEntry));
        string_entry__init(trees[i]);
        trees[i]->key = (char *)(uintptr_t)sorted[i]->key.data;
        trees[i]->value = sorted[i]->value;
    }
    return trees;
}

bool kv_encode_namespace(const struct kv *kv, struct slice namespace, struct buf *out)
{
    const struct kv_namespace *found = map_get(&kv->namespaces, namespace);
    if (found == NULL)
        return false;
    struct arena arena;
    arena_init(&arena, TREE_BLOCK_BYTES);
    KVTable table = KVTABLE__INIT;
    table.n_table = found->values.count;
    table.table = value_trees(found, &arena);
    body_encode(&table.base, BODY_COMPACT, out);
    arena_release(&arena);
    return true;
}

void kv_encode(const struct kv *kv, struct buf *out)
{
    struct arena arena;
    arena_init(&arena, TREE_BLOCK_BYTES);
    KVConfigSerializeWrapper wrapper = KVCONFIG_SERIALIZE_WRAPPER__INIT;
    struct map_entry **sorted = map_sorted(&kv->namespaces, &arena);
    wrapper.n_config_table = kv->namespaces.count;
    wrapper.config_table =
        arena_alloc(&arena, wrapper.n_config_table * sizeof *wrapper.config_table);
    for (size_t i = 0; i < wrapper.n_config_table; i++) {
        const struct kv_namespace *namespace = sorted[i]->value;
        StringTableEntry *entry = arena_alloc(&arena, sizeof *entry);
        string_table_entry__init(entry);
        entry->key = (char *)(uintptr_t)sorted[i]->key.data;
        entry->n_value = namespace->values.count;
        entry->value = value_trees(namespace, &arena);
        wrapper.config_table[i] = entry;
    }
    body_encode(&wrapper.base, BODY_COMPACT, out);
    arena_release(&arena);
}

/* The file. */

static enum status fill(struct kv *kv, const KVConfigSerializeWrapper *wrapper)
{
    for (size_t n = 0; n < wrapper->n_config_table; n++) {
        const StringTableEntry *table = wrapper->config_table[n];
        struct slice namespace = slice_of_cstr(table->key);
        (void)add_namespace(kv, namespace);
        if (kv->bytes > KV_BYTES_MAX)
            return STATUS_FULL;
        for (size_t i = 0; i < table->n_value; i++) {
            enum status status = kv_put(kv, namespace, slice_of_cstr(table->value[i]->key),
                                        slice_of_cstr(table->value[i]->value));
            if (status != STATUS_OK)
                return status;
        }
    }
    return STATUS_OK;
}

/* returns  OK | NOT_FOUND (missing or empty) | CORRUPT | TOO_LARGE | IO */
static enum status load_one(struct kv *kv, struct vfs *vfs, const char *path, struct err *err)
{
    char *data = NULL;
    size_t size = 0;
    enum status status = vfs_read_file(vfs, path, KV_FILE_BYTES_MAX, &data, &size);
    if (status == STATUS_NOT_FOUND)
        return status;
    if (status == STATUS_TOO_LARGE)
        return err_set(err, status, "%s is larger than %d bytes", path, KV_FILE_BYTES_MAX);
    if (status != STATUS_OK)
        return err_set_errno(err, status, "cannot read %s", path);
    if (size == 0) {
        free(data);
        return err_set(err, STATUS_NOT_FOUND, "%s is empty", path);
    }
    struct arena arena;
    arena_init(&arena, TREE_BLOCK_BYTES);
    KVConfigSerializeWrapper wrapper = KVCONFIG_SERIALIZE_WRAPPER__INIT;
    struct err detail = {STATUS_OK, 0, ""};
    status = body_decode(slice_of(data, size), &arena, &wrapper.base, &detail);
    if (status != STATUS_OK)
        status = err_set(err, STATUS_CORRUPT, "%s is damaged: %s", path, detail.text);
    else if ((status = fill(kv, &wrapper)) != STATUS_OK)
        status = err_set(err, STATUS_TOO_LARGE, "%s holds more than %d bytes of keys and values",
                         path, KV_BYTES_MAX);
    arena_release(&arena);
    free(data);
    return status;
}

static char *sibling(const char *path, const char *suffix)
{
    size_t size = strlen(path);
    char *name = xmalloc(size + strlen(suffix) + 1);
    memcpy(name, path, size);
    memcpy(name + size, suffix, strlen(suffix) + 1);
    return name;
}

enum status kv_load(struct kv *kv, struct vfs *vfs, const char *path, enum kv_source *source,
                    struct err *err)
{
    *err = (struct err){STATUS_OK, 0, ""};
    *source = KV_FILE;
    enum status status = load_one(kv, vfs, path, err);
    if (status != STATUS_CORRUPT && status != STATUS_NOT_FOUND)
        return status;

    kv_clear(kv);
    char *backup = sibling(path, ".bak");
    struct err detail = {STATUS_OK, 0, ""};
    enum status backup_status = load_one(kv, vfs, backup, &detail);
    free(backup);
    if (backup_status == STATUS_OK) {
        *source = KV_BACKUP;
        if (err->text[0] == '\0')
            (void)err_set(err, STATUS_NOT_FOUND, "%s is missing", path);
        return STATUS_OK;
    }
    kv_clear(kv);
    if (status == STATUS_NOT_FOUND && backup_status == STATUS_NOT_FOUND) {
        *source = KV_FRESH;
        return STATUS_OK;
    }
    if (status == STATUS_NOT_FOUND)
        *err = detail;
    return err->status;
}

enum status kv_store(struct vfs *vfs, const char *path, struct slice encoded, struct err *err)
{
    enum status status = vfs_make_folder_of(vfs, path);
    if (status != STATUS_OK)
        return err_set_errno(err, status, "cannot create the folder of %s", path);
    status = vfs_replace_file(vfs, path, encoded.data, encoded.size, true);
    if (status != STATUS_OK)
        return err_set_errno(err, status, "cannot write %s", path);
    return STATUS_OK;
}
