/* SPDX-License-Identifier: Apache-2.0
 *
 * A file layer in memory that knows what the page cache shows and what the disk has, so that a test
 * can cut the power at any moment and look at what is left, or have any call fail.
 *
 * The model, which is stricter than the file systems we know:
 *     - a write, allocate, truncate or zero changes the cache; fdatasync and sync_map bring the
 *       file's content and size to the disk, and nothing else
 *     - a file that is made, renamed or removed stays so only once its directory was synced
 *     - at a power cut every sector (512 bytes) of a file that differs between cache and disk is
 *       kept or lost by itself; so is a change of size, and so is every change of a directory,
 *       except that changes of one name keep their order and a rename is whole. A file with no
 *       name left, or in a folder with none, is gone
 *     - a sync that fails drops what it should have written: the cache goes on showing it, later
 *       syncs pass it over, as with Linux
 *     - space is what the test says, locks are those of open descriptors
 * Memory that `map` gives out is the cache itself. Paths are absolute; "/" is there.
 *
 * Calls may come from any thread. sim_clone too; everything else from one thread at a time, while
 * nobody uses the layer.
 */
#ifndef TEST_UNIT_SUPPORT_VFS_SIM_H
#define TEST_UNIT_SUPPORT_VFS_SIM_H

#include "common/sys/vfs.h"

#define SIM_SECTOR_BYTES 512

struct sim;

/* The calls of the table, as bits. */
enum sim_call {
    SIM_OPEN = 1,
    SIM_WRITE = 2,  /* pwritev */
    SIM_SYNC = 4,   /* fdatasync, sync_map */
    SIM_SIZE = 8,   /* allocate, truncate */
    SIM_ZERO = 16,  /* zero */
    SIM_NAMES = 32, /* rename, unlink, rmdir, mkdirs */
    SIM_SYNC_DIR = 64 /* sync_directory */,
    SIM_READ = 128, /* pread, map, stat, list, find_data */
};
#define SIM_CHANGES \
    (SIM_OPEN | SIM_WRITE | SIM_SYNC | SIM_SIZE | SIM_ZERO | SIM_NAMES | SIM_SYNC_DIR)

struct sim *sim_new(void);
void sim_free(struct sim *sim);
struct vfs *sim_vfs(struct sim *sim);

/* Be called before every call among `calls` is carried out: between two of them nothing changes,
 * except through a writable mapping. NULL: no longer. */
void sim_watch(struct sim *sim, unsigned calls,
               void (*at)(void *ctx, enum sim_call call, const char *path), void *ctx);

/* A copy: cache, disk and what lies between them; no open descriptor, mapping, lock, fault or
 * watcher. What a process leaves that was killed. */
struct sim *sim_clone(struct sim *sim);

/* What a power cut keeps of what has not reached the disk. */
enum sim_keep {
    SIM_KEEP_ALL,
    SIM_KEEP_NONE,
    SIM_KEEP_SOME,  /* each by itself, with chances that differ from file to file */
    SIM_KEEP_LATER, /* what was changed after some moment, nothing that was before it */
    SIM_KEEP_TORN,  /* all but the last write, of which only the first torn_sectors */
    SIM_KEEP_ALONE, /* nothing but the first torn_sectors of the last write, and the names */
};
struct sim_cut {
    enum sim_keep keep;
    uint64_t seed; /* decides for SOME and LATER */
    int64_t torn_sectors;
};
void sim_power_cut(struct sim *sim, const struct sim_cut *cut);

/* Sectors that the last write touched. */
int64_t sim_last_write_sectors(const struct sim *sim);

/* Have calls fail: of those among `calls` the first `skip` are carried out, the next `count` fail
 * with `error`. A failing write brings some of its bytes into the cache. */
struct sim_fault {
    unsigned calls;
    int64_t skip;
    int64_t count;
    int error; /* errno: ENOSPC, EIO, EMFILE ... */
    uint64_t seed;
};
void sim_fail(struct sim *sim, const struct sim_fault *fault);
/* No faults while `held`; they go on where they were. */
void sim_hold_faults(struct sim *sim, bool held);
/* How many calls have failed by it. */
int64_t sim_failed(const struct sim *sim);

/* How full the disk is. */
void sim_used_percent(struct sim *sim, int percent);

/* --- looking and damaging from outside, without faults and watchers --- */

/* The bytes of a file as the cache shows them, NULL when there is none. Valid until the next call;
 * may be changed by tests that damage. */
uint8_t *sim_bytes(struct sim *sim, const char *path, size_t *size);

/* Call `each` for every file, in the order of their paths. */
void sim_each_file(struct sim *sim, void (*each)(void *ctx, const char *path, size_t size),
                   void *ctx);

/* Give a file a size, making it when it is not there; new bytes are zero. */
void sim_resize(struct sim *sim, const char *path, size_t size);
void sim_remove(struct sim *sim, const char *path);

/* A number that two layers share only when all their names and files are the same in the cache. */
uint64_t sim_digest(struct sim *sim);

#endif
