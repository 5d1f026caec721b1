/* SPDX-License-Identifier: Apache-2.0
 *
 * The folders that the commit log's files lie in: storePathCommitLog, one folder or several with
 * commas between them, and readOnlyCommitLogStorePaths, whose files are read and deleted when they
 * expire, but never added to. The table never changes once it is made; any thread.
 *
 * Source: RocketMQ store/.../MultiPathMappedFileQueue.java. Its splitter may be set by the property
 * rocketmq.broker.multiPathSplitter; here it is always the comma.
 */
#ifndef BROKER_STORE_LOG_PATHS_H
#define BROKER_STORE_LOG_PATHS_H

#include "common/base/status.h"
#include "common/sys/vfs.h"

#include <stdbool.h>

#define STORE_PATH_TAIL_BYTES 256 /* room for topic, queue id and file name behind a folder */

struct log_path {
    char *directory;
    bool read_only;
    bool takes_none; /* the last file could not be made in it; the caller's */
};

struct log_paths {
    struct log_path *at; /* by name, bytewise, each once */
    size_t count;
};

/* Take the two lists apart. Blanks around a folder and empty pieces are left out; a folder that is
 * in both lists is read-only.
 * read_only  may be NULL
 * returns    OK | INVALID (no folder that may be written, or a name that is too long) */
enum status log_paths_parse(struct log_paths *paths, const char *writable, const char *read_only,
                            struct err *err);
void log_paths_release(struct log_paths *paths);

/* In which folders file `number` of the log (its position / its size) is to be made, the best
 * first: 4.9.2's round robin over the folders that may be written and are not fuller than
 * `full_percent` (diskSpaceCleanForciblyRatio), then over those that are. Behind them come those
 * that have no room for the file's `bytes`, or that cannot be looked at: 4.9.2 goes on trying there
 * and accepts no messages. May wait on disk. out      room for paths->count returns  how many, at
 * least one */
size_t log_paths_order(const struct log_paths *paths, struct vfs *vfs, int64_t number,
                       int64_t bytes, int full_percent, struct log_path **out);

/* 4.9.2's percentage of a file system in use: rounded up, of what ordinary users can use; -1 when
 * it cannot be read. */
int log_path_used_percent(struct vfs *vfs, const char *directory, struct vfs_space *space);

#endif
