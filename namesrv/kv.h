/* SPDX-License-Identifier: Apache-2.0
 *
 * The key-value configuration of a name server: namespace -> key -> value, the only thing it keeps
 * over a restart. Tools put the order configuration of topics here (KV_ORDER_TOPICS).
 *
 * The table is pure state without a lock: the caller serialises the calls on one table. Loading and
 * storing are apart from it, so that a caller can encode under its lock and write outside of it.
 *
 * Source: RMQ namesrv/.../KVConfigManager.java
 */
#ifndef NAMESRV_KV_H
#define NAMESRV_KV_H

#include "common/base/buf.h"
#include "common/base/status.h"
#include "common/sys/vfs.h"

/* The namespace that brokers are told of with every registration. */
#define KV_ORDER_TOPICS "ORDER_TOPIC_CONFIG"

/* Bytes of all namespaces, keys and values together. A registration's answer carries a namespace
 * whole, so it must stay far below a frame. */
#define KV_BYTES_MAX (4 * 1024 * 1024)

/* Largest file that is loaded: every byte escaped as six, and the punctuation. */
#define KV_FILE_BYTES_MAX (8 * KV_BYTES_MAX)

struct kv;

struct kv *kv_new(void);
void kv_free(struct kv *kv);

/* A table of its own with the same contents; for changing it while others read this one. */
struct kv *kv_copy(const struct kv *kv);

/* Set a value; drops empty namespaces when there is no room. returns  OK | FULL (KV_BYTES_MAX) */
enum status kv_put(struct kv *kv, struct slice namespace, struct slice key, struct slice value);

/* Take a value out; false when there was none. The namespace stays, empty, as in 4.9.2, until its
 * room is needed; that of KV_ORDER_TOPICS always, for brokers learn from the empty table that no
 * topic is ordered any more. */
bool kv_delete(struct kv *kv, struct slice namespace, struct slice key);

/* The value, valid until the next change, or NULL. */
const char *kv_get(const struct kv *kv, struct slice namespace, struct slice key);

/* Values over all namespaces. */
size_t kv_entries(const struct kv *kv);

/* Write the KVTable of a namespace, keys sorted, behind `out`; false when there is no such
 * namespace. */
bool kv_encode_namespace(const struct kv *kv, struct slice namespace, struct buf *out);

/* Write everything in the form of the file (one line of JSON, as 4.9.2 writes it). */
void kv_encode(const struct kv *kv, struct buf *out);

/* Where the table came from. */
enum kv_source {
    KV_FRESH,  /* there was no file, or an empty one */
    KV_FILE,   /* the file itself */
    KV_BACKUP, /* its .bak, because the file is damaged or missing */
};

/* Fill a new table from `path`, or from path.bak when that one is damaged.
 * err      filled when not OK, and also for KV_BACKUP and for an empty file: what is wrong with
 *          the file; err->text is "" when all is well
 * returns  OK | CORRUPT (the file is damaged and there is no good backup) | TOO_LARGE | IO */
enum status kv_load(struct kv *kv, struct vfs *vfs, const char *path, enum kv_source *source,
                    struct err *err);

/* Write what kv_encode made, keeping the last version as path.bak; the folder is created.
 * returns  OK | FULL | IO; on failure the old file is still there */
enum status kv_store(struct vfs *vfs, const char *path, struct slice encoded, struct err *err);

#endif
