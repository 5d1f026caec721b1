/* SPDX-License-Identifier: Apache-2.0
 *
 * Bytes that are cut from the commit log are kept: recovery cannot know whether somebody will want
 * them, so nothing but zeros is ever thrown away. They lie in <root>/cut, one file for each piece,
 * named by the log position of its first byte (and .1, .2 ... when there is one of that name).
 * Nothing reads or deletes these files.
 */
#ifndef BROKER_STORE_ASIDE_H
#define BROKER_STORE_ASIDE_H

#include "broker/store/segment.h"

#include <limits.h>

/* Copy the segment's bytes from log position `pos` to `end` aside, durably.
 * kept     out: the path of the copy
 * returns  OK | FULL | BUSY | IO (nothing may be cut then) */
enum status aside_copy(struct vfs *vfs, const char *root, const struct segment *segment,
                       int64_t pos, int64_t end, char kept[PATH_MAX], struct err *err);

/* Move a segment's file, `path`, aside whole; its bytes are copied up to log position `end` when
 * `root` is on another file system. The file is gone from `path` afterwards; syncing its directory
 * is the caller's. */
enum status aside_move(struct vfs *vfs, const char *root, const struct segment *segment,
                       const char *path, int64_t end, char kept[PATH_MAX], struct err *err);

/* How many whole records, checksum included, stand between two positions of a segment, wherever
 * they begin. For the log line: whether messages are among what is cut. */
int64_t aside_whole_records(const struct segment *segment, int64_t pos, int64_t end);

#endif
