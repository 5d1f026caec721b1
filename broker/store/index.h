/* SPDX-License-Identifier: Apache-2.0
 *
 * The index: a list of index files, the newest of which grows.
 *
 * The files are mapped writable, which is the one exception to the rule that all writing goes
 * through pwritev. Blocks are reserved before a file is written, also in one that 4.9.2 made
 * sparse: a page that finds no space on disk would kill the process. The index can be built again
 * from the log, so a crash costs nothing but the time to repair it.
 *
 * The dispatch thread inserts. Any thread may look up: it takes references under `lock` and walks
 * without it.
 */
#ifndef BROKER_STORE_INDEX_H
#define BROKER_STORE_INDEX_H

#include "broker/store/index_format.h"
#include "common/base/status.h"
#include "common/sys/clock.h"
#include "common/sys/vfs.h"

#include <pthread.h>
#include <stdatomic.h>

#define INDEX_NAME_BYTES 18 /* yyyyMMddHHmmssSSS and a NUL */

struct index_file {
    struct vfs *vfs;
    struct index_view view;
    char name[INDEX_NAME_BYTES];
    _Atomic bool dirty;
    _Atomic int32_t references;
};

struct index {
    struct vfs *vfs;
    const struct clock *clock;
    char *directory;
    bool doubt_page_cache; /* the last run ended with a failed write or sync */
    int32_t slots;
    int32_t entries;

    struct index_file *current; /* dispatch thread's; NULL: none, or full */
    int64_t last_pos;           /* of the last record inserted, -1: none */
    int64_t retry_ms;           /* monotonic; when a file could not be made, not before this */
    bool names_unsynced; /* files were synced, and the directory could not be: index_sync's */

    pthread_mutex_t lock;
    struct index_file **files; /* oldest first */
    size_t file_count;
    size_t file_capacity;
};

void index_init(struct index *index, const char *root, int32_t slots, int32_t entries,
                struct vfs *vfs, const struct clock *clock);
void index_release(struct index *index);

/* What is known to be on disk. */
struct index_durable {
    bool all;    /* the last run was closed; the rest is not looked at */
    int64_t pos; /* the entries of all records before it; -1: not known, but */
    int64_t
        timestamp_ms; /* those up to this time in files that are full, as 4.9.2 has it; 0: none */
};

/* Open the files. Those that may have entries that are not durable, or that are not whole, are
 * repaired.
 * resume_pos  out: records from here on are missing in the index; INT64_MAX: none are
 * returns     OK | CORRUPT (a file of the wrong size) | IO */
enum status index_load(struct index *index, const struct index_durable *durable, int64_t log_end,
                       int64_t *resume_pos, struct err *err);

/* Insert the keys of one record (hashes by index_key_hash). A record at or before last_pos is there
 * already.
 * returns  OK | FULL | BUSY | IO (no file could be made; the rest of the keys was left out) */
enum status index_put(struct index *index, const int32_t *hashes, size_t count, int64_t pos,
                      int64_t timestamp_ms);

/* Store time of the first record in the file that grows; INT64_MAX when none does. */
int64_t index_growing_since(struct index *index);

/* Sync what is dirty; *synced_ms is the index's end timestamp then, untouched when it is empty.
 * returns  OK | BUSY (try again later) | IO (never try again) */
enum status index_sync(struct index *index, int64_t *synced_ms);

/* Delete the files all of whose records lie before min_pos; never the last. */
void index_expire(struct index *index, int64_t min_pos);

/* See store_query_index. */
int index_query(struct index *index, int32_t key_hash, int max_count, int64_t begin_ms,
                int64_t end_ms, int64_t *out, int64_t *last_timestamp_ms, int64_t *last_pos);

#endif
