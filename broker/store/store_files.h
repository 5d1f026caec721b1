/* SPDX-License-Identifier: Apache-2.0
 *
 * The files of a store, found without opening it: segments, queue files, index files, marks. For
 * tools that look into a store which may be damaged, read-only, or in use by a broker. Nothing is
 * created, changed or locked.
 *
 * One thread. Paths are borrowed from nobody: the catalogue has copies.
 */
#ifndef BROKER_STORE_STORE_FILES_H
#define BROKER_STORE_STORE_FILES_H

#include "broker/store/index_format.h"
#include "common/base/bytes.h"
#include "common/base/status.h"
#include "common/sys/vfs.h"

#include <limits.h>

#define INDEX_SLOTS_DEFAULT 5000000    /* maxHashSlotNum of 4.9.2 */
#define INDEX_ENTRIES_DEFAULT 20000000 /* maxIndexNum of 4.9.2 */

struct store_files_options {
    const char *root;
    const char *commit_log;   /* one directory or several, separated by commas; NULL: in root */
    int64_t segment_bytes;    /* 0: the size that most segments have */
    int64_t queue_file_bytes; /* 0: the size that most queue files have */
    int32_t index_slots;      /* 0: the default, when the files have the size that follows from */
    int32_t index_entries;    /* it; the geometry is not known otherwise */
};

struct found_file {
    int64_t base;  /* what the name says: position, or byte offset in the queue */
    int64_t size;  /* what it has on disk */
    int directory; /* segments: number of the commit log directory */
};

struct found_queue {
    char *topic;
    int32_t id;
    struct found_file *files; /* ascending by base */
    size_t file_count;
};

struct found_index {
    char *name;
    int64_t size;
};

/* A name that no file of a store has, or a file that cannot be examined. */
struct found_stranger {
    char *path;
    char *why;
};

struct store_files {
    struct vfs *vfs;
    char *root;
    char **directories; /* of the commit log */
    size_t directory_count;
    struct found_file *segments; /* ascending by base */
    size_t segment_count;
    int64_t segment_bytes;      /* 0: there are none and nothing was said */
    struct found_queue *queues; /* ascending by topic, then id */
    size_t queue_count;
    int64_t queue_file_bytes;
    struct found_index *indexes; /* oldest first */
    size_t index_count;
    int32_t index_slots; /* 0: not known */
    int32_t index_entries;
    struct found_stranger *strangers;
    size_t stranger_count;
    bool has_checkpoint;
    bool aborted; /* the mark of a run that has not ended */
    bool in_use;  /* a broker has the store locked right now */
};

/* Look at a store.
 * returns  OK | NOT_FOUND (no such directory, or nothing of a store in it) | INVALID (a path is too
 *          long) | IO (cannot be listed) */
enum status store_files_find(const struct store_files_options *options, struct vfs *vfs,
                             struct store_files **out, struct err *err);
void store_files_free(struct store_files *files);

/* Position of the first byte of the log, and behind the last; 0 when there is no segment. */
int64_t store_files_log_begin(const struct store_files *files);
int64_t store_files_log_limit(const struct store_files *files);

/* The segment that holds a position, or NULL. */
const struct found_file *store_files_segment(const struct store_files *files, int64_t pos);

/* The queue of topic and id, or NULL. */
const struct found_queue *store_files_queue(const struct store_files *files, struct slice topic,
                                            int32_t id);

void store_files_segment_path(const struct store_files *files, const struct found_file *segment,
                              char path[PATH_MAX]);
void store_files_queue_path(const struct store_files *files, const struct found_queue *queue,
                            int64_t base, char path[PATH_MAX]);
void store_files_index_path(const struct store_files *files, const struct found_index *index,
                            char path[PATH_MAX]);

/* Is the store in use by another process? False as well when there is no lock file. */
bool store_files_in_use(struct vfs *vfs, const char *root);

#endif
