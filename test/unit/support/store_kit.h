/* SPDX-License-Identifier: Apache-2.0
 *
 * A store in a folder of its own for one test, over a file layer that can be told to fail and a
 * wall clock that can be set. Every function fails the running test when it cannot do what it says.
 */
#ifndef TEST_UNIT_SUPPORT_STORE_KIT_H
#define TEST_UNIT_SUPPORT_STORE_KIT_H

#include "broker/store/store.h"
#include "test/unit/support/folder.h"

#include <stdatomic.h>

#define KIT_DESCRIPTORS 1024
#define KIT_MAPS 1024

/* Which files a fault applies to. */
enum kit_target {
    KIT_NOTHING,
    KIT_COMMIT_LOG,
    KIT_QUEUES,
    KIT_EVERYTHING,
};

/* A file layer over the real one; the faults may be set while the store runs. */
struct kit_vfs {
    struct vfs vfs; /* first: the store sees only this */
    struct vfs_ops ops;
    _Atomic int kinds[KIT_DESCRIPTORS];    /* enum kit_target of each open descriptor */
    _Atomic int write_target;              /* pwritev on these files fails ... */
    _Atomic int write_errno;               /* ... with this, */
    _Atomic int write_torn;                /* after writing that many bytes of it */
    _Atomic int sync_target;               /* fdatasync on these files fails with EIO; for those of
                                              queues syncing the file system does, too */
    _Atomic int allocate_target;           /* allocate fails with ENOSPC */
    _Atomic int open_target;               /* open fails with EMFILE */
    _Atomic int unlink_target;             /* unlink fails with EPERM */
    _Atomic int unlink_failures;           /* how often it did */
    _Atomic int space_percent;             /* 0: as it is; -1: cannot be read */
    _Atomic int64_t syncs;                 /* fdatasyncs of commit log files that succeeded */
    _Atomic int64_t filesystem_syncs;      /* that succeeded */
    _Atomic int64_t queue_descriptors;     /* of consume queue files that are open */
    _Atomic int64_t queue_descriptors_top; /* the most of them at a time */
    _Atomic int64_t writes;                /* pwritevs to commit log files */

    /* What is in memory: as it is, or, with a target, all but this. */
    _Atomic int cold_target;       /* mappings of these files are said not to be in memory */
    _Atomic int64_t cold_from;     /* from this offset in each file on */
    _Atomic int64_t asked;         /* how often that was asked */
    _Atomic int read_target;       /* pread on these files fails with EIO ... */
    _Atomic int64_t read_bad_from; /* ... when it comes to a byte in [read_bad_from, ... */
    _Atomic int64_t read_bad_to;   /* ... read_bad_to) */
    _Atomic bool read_held;        /* preads of commit log files wait until it is false again */
    _Atomic int reading;           /* preads of commit log files that have begun */
    struct {
        _Atomic uintptr_t memory; /* 0: unused */
        _Atomic size_t size;
        _Atomic int kind; /* enum kit_target */
    } maps[KIT_MAPS];
};

struct kit {
    char folder[FOLDER_BYTES];
    char root[FOLDER_BYTES + 8];
    char commit_log[FOLDER_BYTES + 24];
    struct store_options options; /* may be changed before kit_open */
    struct kit_vfs vfs;
    struct clock clock;
    _Atomic int64_t wall_ms; /* 0: the machine's */
    struct store *store;
    struct append_batch *batch;
};

/* Small files: 64 KiB segments, 30 entries per consume queue file, 64 slots, 256 index entries;
 * background work at long intervals, so that tests decide when it happens. */
void kit_init(struct kit *kit, const char *test);

/* The same, with a copy of a folder of test data as the store. */
void kit_init_copy(struct kit *kit, const char *test, const char *source);

/* Close what is open and remove the folder. */
void kit_release(struct kit *kit);

void kit_open(struct kit *kit);
void kit_start(struct kit *kit); /* kit_open and store_start */
void kit_close(struct kit *kit);

/* Open, expecting a refusal with that status whose text contains `text`. */
void kit_open_fails(struct kit *kit, enum status status, const char *text);

/* A record for the queue, with the clock's time as born time; slices are borrowed. */
struct record kit_record(struct slice topic, int32_t queue_id, struct slice body,
                         struct slice properties);

/* Append one message; its result. */
struct append_result kit_put(struct kit *kit, const char *topic, int32_t queue_id, const char *body,
                             const char *properties);

/* The same `count` times in one batch, bodies of body_bytes that differ; all must be accepted. */
void kit_put_many(struct kit *kit, const char *topic, int32_t queue_id, size_t body_bytes,
                  int count);

/* Wait until everything appended is dispatched. */
void kit_dispatched(struct kit *kit);

/* Poll `condition` every millisecond; fails the test after a minute. */
void kit_wait(bool (*condition)(void *ctx), void *ctx);

struct queue *kit_queue(struct kit *kit, const char *topic, int32_t queue_id);

/* Read a queue from `from` to its end by pulls and check each record's queue, queue offset and
 * position. Returns how many there were. */
int64_t kit_read_queue(struct kit *kit, struct queue *queue, int64_t from);

/* Paths below the store. */
void kit_path(const struct kit *kit, const char *name, char path[256]);

/* Remove a file or folder below the store. */
void kit_remove(const struct kit *kit, const char *name);

/* A kit over a copy of the store's folder as it is now: what kill -9 leaves. Options are those of
 * `kit`, faults are not. */
void kit_crash(const struct kit *kit, struct kit *after);

/* Copy a folder with all it holds; overwrite bytes of a file; set its size. */
void kit_copy(const char *from, const char *to);
void kit_poke(const char *path, int64_t at, const void *bytes, size_t size);
void kit_resize(const char *path, int64_t size);
bool kit_exists(const char *path);

#endif
