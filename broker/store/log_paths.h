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

/* A folder fuller than this takes no new files as long as another does not; 4.9.2's
 * diskSpaceCleanForciblyRatio. */
#define LOG_PATH_FULL_PERCENT 85

#define STORE_PATH_TAIL_BYTES 256 /* room for topic, queue id and file name behind a folder */

struct log_path {
    char *directory;
    bool read_only;
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

/* Where file `number` of the log (its position / its size) is to be made: 4.9.2's round robin over
 * the folders that may be written and are not full, over all that may be written when all are full.
 * As long as another has, none is chosen that has no room for the file's `bytes`, or that cannot be
 * looked at: 4.9.2 goes on trying there and accepts no messages. May wait on disk. */
const char *log_paths_choose(const struct log_paths *paths, struct vfs *vfs, int64_t number,
                             int64_t bytes);

/* 4.9.2's percentage of a file system in use: rounded up, of what ordinary users can use; -1 when
 * it cannot be read. */
int log_path_used_percent(struct vfs *vfs, const char *directory, struct vfs_space *space);

#endif
