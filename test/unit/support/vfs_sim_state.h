/* SPDX-License-Identifier: Apache-2.0
 *
 * The insides of the simulated file layer, for its own files.
 *
 * Two lists of names, cache and disk, lead to nodes; a node has two images of its content. Changes
 * of names that are not on disk yet wait in a list, oldest first. Nodes are kept until the end:
 * something may still be mapped or open without having a name.
 */
#ifndef TEST_UNIT_SUPPORT_VFS_SIM_STATE_H
#define TEST_UNIT_SUPPORT_VFS_SIM_STATE_H

#include "test/unit/support/random.h"
#include "test/unit/support/vfs_sim.h"

#include <pthread.h>

#define DESCRIPTORS 4096
#define STAMP_LOST UINT32_MAX /* a failed sync has dropped what was written here */

struct node {
    bool directory;
    uint8_t *cache;
    size_t size;
    size_t capacity; /* whole sectors */
    uint8_t *disk;
    size_t disk_size;
    size_t disk_capacity;
    uint32_t *stamps; /* per sector of the cache: when it was written last */
    int maps;
    int locked_by; /* -1: nobody */
};

struct name {
    char *path;
    struct node *node;
};

struct names {
    struct name *list;
    size_t count;
    size_t capacity;
};

enum change_kind {
    CHANGE_LINK,
    CHANGE_UNLINK,
    CHANGE_RENAME,
};

struct change {
    enum change_kind kind;
    char *path;
    char *to; /* RENAME */
    struct node *node;
    bool chosen;
};

struct sim {
    struct vfs vfs; /* first */
    pthread_mutex_t lock;
    struct names cache;
    struct names disk;
    struct change *changes;
    size_t change_count;
    struct node **nodes;
    size_t node_count;
    struct node *open[DESCRIPTORS];
    char *open_path[DESCRIPTORS];
    uint32_t clock; /* counts writes */
    struct node *last_node;
    int64_t last_offset;
    int64_t last_bytes;
    int used_percent;

    unsigned watched;
    void (*at)(void *ctx, enum sim_call call, const char *path);
    void *at_ctx;
    struct sim_fault fault;
    bool held; /* no faults for now */
    struct random random;
    int64_t failed;
};

/* --- nodes --- */

struct node *node_new(struct sim *sim, bool directory);
size_t sectors_of(size_t bytes);
void node_resize(struct node *node, size_t size);
void node_write(struct sim *sim, struct node *node, size_t at, const void *data, size_t size);
/* What the disk has of a sector: zeros behind its end. */
void disk_sector(const struct node *node, size_t sector, uint8_t out[SIM_SECTOR_BYTES]);
bool sector_dirty(const struct node *node, size_t sector);
void sector_to_disk(struct node *node, size_t sector);
void disk_resize(struct node *node, size_t size);
void node_sync(struct node *node);
/* A sync that fails: some of it arrives, the rest is never written any more. */
void node_sync_fails(struct sim *sim, struct node *node);
/* The cache's image into another node, which is new. */
void node_copy(struct node *to, const struct node *from);

/* --- names --- */

struct name *names_find(const struct names *names, const char *path);
void names_remove(struct names *names, const char *path);
void names_set(struct names *names, const char *path, struct node *node);
void names_clear(struct names *names);
void names_sort(struct names *names);
bool lies_in(const char *path, const char *directory);
bool parent_there(const struct names *names, const char *path);

/* --- changes of names --- */

/* In the cache at once, on the disk later. */
void change_add(struct sim *sim, enum change_kind kind, const char *path, const char *to,
                struct node *node);
/* Changes of one name keep their order; a folder goes after what was in it, and before what is in a
 * new one of that name. */
bool change_waits_for(const struct change *later, const struct change *earlier);
/* Bring the chosen changes to the disk; those that others of the same name wait for, too. */
void changes_to_disk(struct sim *sim);

#endif
