/* SPDX-License-Identifier: Apache-2.0
 *
 * One file of the commit log: descriptor for writing, read-only mapping for reading, references.
 *
 * A segment lives from segment_create or segment_open until its last reference goes. The commit log
 * holds one; every log_range handed to a reader holds one, so the bytes stay mapped while a reply
 * is on its way. A deleted segment's file name goes at once, its blocks when the last reader is
 * done.
 */
#ifndef BROKER_STORE_SEGMENT_H
#define BROKER_STORE_SEGMENT_H

#include "common/base/status.h"
#include "common/sys/vfs.h"

#include <limits.h>
#include <stdatomic.h>

#define SEGMENT_NAME_BYTES 21 /* 20 digits and a NUL */

struct segment {
    int64_t base; /* log position of the first byte */
    int64_t size;
    const uint8_t *data; /* the whole file, read-only */
    int fd;
    const char *directory; /* borrowed from the log's paths */
    struct vfs *vfs;
    _Atomic int32_t references;
};

/* The file name of a segment, or of a consume queue file: 20 digits. */
void segment_name(int64_t base, char out[SEGMENT_NAME_BYTES]);

/* The reverse; false when the name is not 20 digits of a value that fits. */
bool segment_name_parse(const char *name, int64_t *base);

/* Where the segment's file lies. */
void segment_path(const struct segment *segment, char path[PATH_MAX]);

/* Make a new file of full size whose blocks are reserved. Its size is durable, the directory entry
 * only after sync_directory, which is the caller's.
 * directory  borrowed for the segment's life
 * returns  OK | FULL | IO (nothing is left behind) */
enum status segment_create(struct vfs *vfs, const char *directory, int64_t base, int64_t size,
                           struct segment **out, struct err *err);

/* Open a file that exists and has exactly `size` bytes. `directory` as above. */
enum status segment_open(struct vfs *vfs, const char *directory, int64_t base, int64_t size,
                         struct segment **out, struct err *err);

/* Give the file of a segment that holds nothing the name of another base: a new segment, beside the
 * old one, which is of no use any more. The name is durable after sync_directory, which is the
 * caller's.
 * returns  OK | BUSY, FULL, IO (nothing happened) */
enum status segment_move(const struct segment *segment, int64_t base, struct segment **out,
                         struct err *err);

static inline int64_t segment_end(const struct segment *segment)
{
    return segment->base + segment->size;
}

static inline void segment_hold(struct segment *segment)
{
    atomic_fetch_add_explicit(&segment->references, 1, memory_order_relaxed);
}

/* Give back one reference; the last one unmaps and closes. */
void segment_drop(struct segment *segment);

#endif
