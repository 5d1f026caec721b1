/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of queue locks. An entry belongs to a client id; `conn` is the connection over which
 * that client asked last, and each connection has the list of its entries, so that a close costs
 * only what it releases. Invariant: an entry is in the table exactly when it is in one connection's
 * list; a connection without entries has no record.
 * Source: RMQ broker/.../RebalanceLockManager.java; the release on close is ours: there the next
 * client waits for the expiry.
 */
#include "broker/state/queue_locks.h"

#include "broker/state/conn_key.h"
#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/base/list.h"
#include "common/base/map.h"
#include "common/sys/log.h"

#include <pthread.h>
#include <stdlib.h>

/* Two length-prefixed names and the queue id. */
#define KEY_NAME_BYTES_MAX (GROUP_BYTES_MAX + 16)
#define KEY_BYTES_MAX (2 * (2 + KEY_NAME_BYTES_MAX) + 4)
#define CLIENT_ID_BYTES_MAX 1024

struct key {
    uint8_t bytes[KEY_BYTES_MAX];
    size_t size;
};

struct owner { /* a connection with locks */
    struct conn_ref conn;
    struct list entries;
};

struct entry {
    struct list in_owner;
    struct owner *owner;
    int64_t updated_ms;
    struct slice client_id; /* malloc'ed */
    size_t key_size;
    uint8_t key[];
};

struct queue_locks {
    pthread_mutex_t lock; /* docs/locks.md: queue_locks */
    int64_t max_live_ms;
    struct map table;  /* key -> struct entry */
    struct map owners; /* conn_key -> struct owner */
};

static void locks_lock(struct queue_locks *locks)
{
    CHECK(pthread_mutex_lock(&locks->lock) == 0);
}

static void locks_unlock(struct queue_locks *locks)
{
    CHECK(pthread_mutex_unlock(&locks->lock) == 0);
}

static void key_name(struct key *key, struct slice name)
{
    put_u16(key->bytes + key->size, (uint16_t)name.size);
    if (name.size != 0)
        memcpy(key->bytes + key->size + 2, name.data, name.size);
    key->size += 2 + name.size;
}

static bool key_make(struct slice group, struct slice topic, int32_t queue_id, struct key *key)
{
    if (group.size > KEY_NAME_BYTES_MAX || topic.size > KEY_NAME_BYTES_MAX)
        return false;
    key->size = 0;
    key_name(key, group);
    key_name(key, topic);
    put_i32(key->bytes + key->size, queue_id);
    key->size += 4;
    return true;
}

/* --- entries, with the lock held --- */

static struct slice copy_of(struct slice text)
{
    uint8_t *copy = xmalloc(text.size + 1);
    if (text.size != 0)
        memcpy(copy, text.data, text.size);
    return slice_of(copy, text.size);
}

static void leave_owner(struct queue_locks *locks, struct entry *entry)
{
    struct owner *owner = entry->owner;
    list_remove(&entry->in_owner);
    entry->owner = NULL;
    if (!list_empty(&owner->entries))
        return;
    struct conn_key key = conn_key(owner->conn);
    (void)map_remove(&locks->owners, conn_key_slice(&key));
    free(owner);
}

static void join_owner(struct queue_locks *locks, struct entry *entry, struct conn_ref conn)
{
    struct conn_key key = conn_key(conn);
    struct owner *owner = map_get(&locks->owners, conn_key_slice(&key));
    if (owner == NULL) {
        owner = xmalloc(sizeof *owner);
        owner->conn = conn;
        list_init(&owner->entries);
        (void)map_put(&locks->owners, conn_key_slice(&key), owner);
    }
    entry->owner = owner;
    list_append(&owner->entries, &entry->in_owner);
}

static void entry_free(struct queue_locks *locks, struct entry *entry)
{
    (void)map_remove(&locks->table, slice_of(entry->key, entry->key_size));
    leave_owner(locks, entry);
    free((void *)(uintptr_t)entry->client_id.data);
    free(entry);
}

static bool expired(const struct queue_locks *locks, const struct entry *entry, int64_t now_ms)
{
    return now_ms - entry->updated_ms > locks->max_live_ms;
}

/* Give a free or expired entry, or its own, to the client. */
static void grant(struct queue_locks *locks, struct entry *entry, struct slice client_id,
                  struct conn_ref conn, int64_t now_ms)
{
    if (!slice_equal(entry->client_id, client_id)) {
        free((void *)(uintptr_t)entry->client_id.data);
        entry->client_id = copy_of(client_id);
    }
    if (!conn_ref_equal(entry->owner->conn, conn)) {
        leave_owner(locks, entry);
        join_owner(locks, entry, conn);
    }
    entry->updated_ms = now_ms;
}

static bool add(struct queue_locks *locks, struct slice key, struct slice client_id,
                struct conn_ref conn, int64_t now_ms)
{
    static struct log_gate full_gate;
    int64_t suppressed;
    if (locks->table.count >= QUEUE_LOCKS_MAX) {
        if (log_gate_open(&full_gate, &suppressed))
            log_warn("state", "queue lock refused, the table is full",
                     "client=%.*s max=%d refused=%lld", SLICE_ARGS(client_id), QUEUE_LOCKS_MAX,
                     (long long)suppressed + 1);
        return false;
    }
    struct entry *entry = xmalloc(sizeof *entry + key.size);
    memcpy(entry->key, key.data, key.size);
    entry->key_size = key.size;
    entry->client_id = copy_of(client_id);
    entry->updated_ms = now_ms;
    list_init(&entry->in_owner);
    join_owner(locks, entry, conn);
    (void)map_put(&locks->table, key, entry);
    return true;
}

/* --- use --- */

struct queue_locks *queue_locks_new(int64_t max_live_ms)
{
    struct queue_locks *locks = xcalloc(1, sizeof *locks);
    CHECK(pthread_mutex_init(&locks->lock, NULL) == 0);
    locks->max_live_ms = max_live_ms;
    return locks;
}

void queue_locks_free(struct queue_locks *locks)
{
    size_t cursor = 0;
    for (struct map_entry *at; (at = map_next(&locks->table, &cursor)) != NULL;)
        entry_free(locks, at->value);
    map_release(&locks->table);
    map_release(&locks->owners);
    CHECK(pthread_mutex_destroy(&locks->lock) == 0);
    free(locks);
}

bool queue_locks_try(struct queue_locks *locks, struct slice group, struct slice topic,
                     int32_t queue_id, struct slice client_id, struct conn_ref conn, int64_t now_ms)
{
    struct key key;
    bool granted = true;
    if (client_id.size > CLIENT_ID_BYTES_MAX || !key_make(group, topic, queue_id, &key))
        return false;
    struct slice key_slice = slice_of(key.bytes, key.size);
    locks_lock(locks);
    struct entry *entry = map_get(&locks->table, key_slice);
    if (entry == NULL)
        granted = add(locks, key_slice, client_id, conn, now_ms);
    else if (slice_equal(entry->client_id, client_id) || expired(locks, entry, now_ms))
        grant(locks, entry, client_id, conn, now_ms);
    else
        granted = false;
    locks_unlock(locks);
    return granted;
}

void queue_locks_unlock(struct queue_locks *locks, struct slice group, struct slice topic,
                        int32_t queue_id, struct slice client_id)
{
    struct key key;
    if (!key_make(group, topic, queue_id, &key))
        return;
    locks_lock(locks);
    struct entry *entry = map_get(&locks->table, slice_of(key.bytes, key.size));
    if (entry != NULL && slice_equal(entry->client_id, client_id))
        entry_free(locks, entry);
    locks_unlock(locks);
}

void queue_locks_closed(struct queue_locks *locks, struct conn_ref conn)
{
    struct conn_key key = conn_key(conn);
    size_t released = 0;
    locks_lock(locks);
    /* The owner's record goes with its last entry. */
    for (struct owner *owner; (owner = map_get(&locks->owners, conn_key_slice(&key))) != NULL;
         released++)
        entry_free(locks, list_entry(owner->entries.next, struct entry, in_owner));
    locks_unlock(locks);
    if (released != 0)
        log_info("state", "queue locks released by a close", "locks=%zu", released);
}

void queue_locks_expire(struct queue_locks *locks, int64_t now_ms)
{
    size_t cursor = 0;
    locks_lock(locks);
    for (struct map_entry *at; (at = map_next(&locks->table, &cursor)) != NULL;)
        if (expired(locks, at->value, now_ms))
            entry_free(locks, at->value);
    locks_unlock(locks);
}
