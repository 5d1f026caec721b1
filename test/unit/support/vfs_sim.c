/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of the simulated file layer. One lock around each call.
 */
#include "test/unit/support/vfs_sim.h"

#include "common/base/check.h"
#include "test/unit/support/vfs_sim_state.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

static struct sim *sim_of(struct vfs *vfs)
{
    return (struct sim *)(void *)vfs;
}

static void enter(struct sim *sim)
{
    CHECK(pthread_mutex_lock(&sim->lock) == 0);
}

static enum status leave(struct sim *sim, int error)
{
    CHECK(pthread_mutex_unlock(&sim->lock) == 0);
    errno = error;
    switch (error) {
    case 0:
        return STATUS_OK;
    case ENOENT:
    case ENOTDIR:
        return STATUS_NOT_FOUND;
    case EEXIST:
        return STATUS_EXISTS;
    case ENOSPC:
        return STATUS_FULL;
    case EMFILE:
    case EAGAIN:
        return STATUS_BUSY;
    default:
        return STATUS_IO;
    }
}

/* --- faults and watching --- */

/* True: the call is to fail, with errno in *error. */
static bool begin(struct sim *sim, enum sim_call call, const char *path, int *error)
{
    if ((sim->watched & call) != 0)
        sim->at(sim->at_ctx, call, path);
    enter(sim);
    *error = 0;
    if ((sim->fault.calls & call) == 0 || sim->held)
        return false;
    if (sim->fault.skip > 0) {
        sim->fault.skip--;
        return false;
    }
    if (sim->fault.count <= 0)
        return false;
    sim->fault.count--;
    sim->failed++;
    *error = sim->fault.error;
    return true;
}

static struct node *node_of(struct sim *sim, int fd)
{
    CHECK(fd >= 0 && fd < DESCRIPTORS && sim->open[fd] != NULL);
    return sim->open[fd];
}

static const char *path_of(struct sim *sim, int fd)
{
    return sim->watched == 0 ? "" : sim->open_path[fd];
}

/* --- the table: files --- */

static int open_node(struct sim *sim, const char *path, int flags, struct node **out)
{
    struct name *found = names_find(&sim->cache, path);
    if (found != NULL && (flags & VFS_EXCLUSIVE) != 0)
        return EEXIST;
    if (found != NULL && found->node->directory && (flags & VFS_WRITE) != 0)
        return EISDIR;
    if (found != NULL) {
        *out = found->node;
        if ((flags & VFS_TRUNCATE) != 0)
            node_resize(found->node, 0);
        return 0;
    }
    if ((flags & VFS_CREATE) == 0 || !parent_there(&sim->cache, path))
        return ENOENT;
    *out = node_new(sim, false);
    change_add(sim, CHANGE_LINK, path, NULL, *out);
    return 0;
}

static enum status sim_open(struct vfs *vfs, const char *path, int flags, int *fd)
{
    struct sim *sim = sim_of(vfs);
    int error;
    if (begin(sim, SIM_OPEN, path, &error))
        return leave(sim, error);
    int free_fd = 0;
    while (free_fd < DESCRIPTORS && sim->open[free_fd] != NULL)
        free_fd++;
    if (free_fd == DESCRIPTORS)
        return leave(sim, EMFILE);
    struct node *node = NULL;
    error = open_node(sim, path, flags, &node);
    if (error == 0) {
        sim->open[free_fd] = node;
        sim->open_path[free_fd] = xstrdup(path);
        *fd = free_fd;
    }
    return leave(sim, error);
}

static enum status sim_close(struct vfs *vfs, int fd)
{
    struct sim *sim = sim_of(vfs);
    enter(sim);
    struct node *node = node_of(sim, fd);
    if (node->locked_by == fd)
        node->locked_by = -1;
    sim->open[fd] = NULL;
    free(sim->open_path[fd]);
    sim->open_path[fd] = NULL;
    return leave(sim, 0);
}

/* How much of a failing write arrives: up to the end of some sector. */
static size_t short_write(struct sim *sim, int64_t offset, size_t total)
{
    int64_t end = offset + random_below(&sim->random, (uint32_t)total + 1);
    end -= end % SIM_SECTOR_BYTES;
    return end <= offset ? 0 : (size_t)(end - offset);
}

static enum status sim_pwritev(struct vfs *vfs, int fd, const struct iovec *parts, int count,
                               int64_t offset)
{
    struct sim *sim = sim_of(vfs);
    int error;
    size_t total = 0;
    for (int i = 0; i < count; i++)
        total += parts[i].iov_len;
    size_t bytes = total;
    if (begin(sim, SIM_WRITE, path_of(sim, fd), &error))
        bytes = short_write(sim, offset, total);
    struct node *node = node_of(sim, fd);
    sim->last_node = node;
    sim->last_offset = offset;
    sim->last_bytes = (int64_t)bytes;
    size_t at = (size_t)offset;
    for (int i = 0; i < count && bytes > 0; i++) {
        size_t size = parts[i].iov_len < bytes ? parts[i].iov_len : bytes;
        node_write(sim, node, at, parts[i].iov_base, size);
        at += size;
        bytes -= size;
    }
    return leave(sim, error);
}

static enum status sim_pread(struct vfs *vfs, int fd, void *data, size_t size, int64_t offset,
                             size_t *got)
{
    struct sim *sim = sim_of(vfs);
    int error;
    if (begin(sim, SIM_READ, path_of(sim, fd), &error))
        return leave(sim, error);
    struct node *node = node_of(sim, fd);
    size_t at = (size_t)offset;
    *got = at >= node->size ? 0 : node->size - at < size ? node->size - at : size;
    if (*got > 0)
        memcpy(data, node->cache + at, *got);
    return leave(sim, 0);
}

static enum status sync_node(struct sim *sim, struct node *node, bool fails)
{
    if (fails)
        node_sync_fails(sim, node);
    else
        node_sync(node);
    (void)leave(sim, fails ? EIO : 0);
    return fails ? STATUS_IO : STATUS_OK;
}

static enum status sim_fdatasync(struct vfs *vfs, int fd)
{
    struct sim *sim = sim_of(vfs);
    int error;
    bool fails = begin(sim, SIM_SYNC, path_of(sim, fd), &error);
    return sync_node(sim, node_of(sim, fd), fails);
}

/* On its way to the disk is not there: a power cut may still drop it. */
static enum status sim_write_out(struct vfs *vfs, int fd, int64_t offset, int64_t size)
{
    struct sim *sim = sim_of(vfs);
    int error;
    (void)offset;
    (void)size;
    bool fails = begin(sim, SIM_SYNC, path_of(sim, fd), &error);
    if (fails)
        node_sync_fails(sim, node_of(sim, fd));
    (void)leave(sim, fails ? EIO : 0);
    return fails ? STATUS_IO : STATUS_OK;
}

static enum status sim_set_size(struct vfs *vfs, int fd, int64_t size, bool shrink)
{
    struct sim *sim = sim_of(vfs);
    int error;
    if (begin(sim, SIM_SIZE, path_of(sim, fd), &error))
        return leave(sim, error);
    struct node *node = node_of(sim, fd);
    if (shrink || (size_t)size > node->size)
        node_resize(node, (size_t)size);
    return leave(sim, 0);
}

static enum status sim_allocate(struct vfs *vfs, int fd, int64_t size)
{
    return sim_set_size(vfs, fd, size, false);
}

static enum status sim_truncate(struct vfs *vfs, int fd, int64_t size)
{
    return sim_set_size(vfs, fd, size, true);
}

static enum status sim_zero(struct vfs *vfs, int fd, int64_t offset, int64_t size, bool keep_blocks)
{
    struct sim *sim = sim_of(vfs);
    (void)keep_blocks;
    int error;
    if (begin(sim, SIM_ZERO, path_of(sim, fd), &error))
        return leave(sim, error);
    struct node *node = node_of(sim, fd);
    CHECK(offset >= 0 && size >= 0 && (size_t)(offset + size) <= node->size);
    uint8_t *zeros = xcalloc(1, (size_t)size + 1);
    node_write(sim, node, (size_t)offset, zeros, (size_t)size);
    free(zeros);
    return leave(sim, 0);
}

static enum status sim_find_data(struct vfs *vfs, int fd, int64_t offset, int64_t *found)
{
    struct sim *sim = sim_of(vfs);
    int error;
    if (begin(sim, SIM_READ, path_of(sim, fd), &error))
        return leave(sim, error);
    struct node *node = node_of(sim, fd);
    size_t at = (size_t)offset;
    while (at < node->size && node->cache[at] == 0)
        at++;
    if (at >= node->size)
        return leave(sim, ENOENT);
    size_t sector = at / SIM_SECTOR_BYTES * SIM_SECTOR_BYTES;
    *found = sector > (size_t)offset ? (int64_t)sector : offset;
    return leave(sim, 0);
}

static enum status sim_map(struct vfs *vfs, int fd, size_t size, bool writable, void **memory)
{
    struct sim *sim = sim_of(vfs);
    (void)writable;
    int error;
    if (begin(sim, SIM_READ, path_of(sim, fd), &error))
        return leave(sim, error);
    struct node *node = node_of(sim, fd);
    CHECK(size > 0 && size <= node->size); /* beyond it a real mapping would kill the process */
    node->maps++;
    *memory = node->cache;
    return leave(sim, 0);
}

static struct node *mapped_node(struct sim *sim, const void *memory)
{
    for (size_t i = 0; i < sim->node_count; i++) {
        if (sim->nodes[i]->maps > 0 && sim->nodes[i]->cache == memory)
            return sim->nodes[i];
    }
    CHECK(false);
    return NULL;
}

static enum status sim_unmap(struct vfs *vfs, void *memory, size_t size)
{
    struct sim *sim = sim_of(vfs);
    (void)size;
    enter(sim);
    mapped_node(sim, memory)->maps--;
    return leave(sim, 0);
}

static enum status sim_sync_map(struct vfs *vfs, void *memory, size_t size)
{
    struct sim *sim = sim_of(vfs);
    (void)size;
    int error;
    bool fails = begin(sim, SIM_SYNC, "(mapping)", &error);
    return sync_node(sim, mapped_node(sim, memory), fails);
}

static enum status sim_advise(struct vfs *vfs, int fd, int64_t offset, int64_t size,
                              enum vfs_advice advice)
{
    struct sim *sim = sim_of(vfs);
    (void)offset;
    (void)size;
    enter(sim);
    struct node *node = node_of(sim, fd);
    for (size_t i = 0; i < sectors_of(node->size) && advice == VFS_ADVICE_DONT_NEED; i++) {
        if (node->stamps[i] != STAMP_LOST)
            continue;
        disk_sector(node, i, node->cache + i * SIM_SECTOR_BYTES);
        node->stamps[i] = 0;
    }
    return leave(sim, 0);
}

static enum status sim_lock(struct vfs *vfs, int fd)
{
    struct sim *sim = sim_of(vfs);
    enter(sim);
    struct node *node = node_of(sim, fd);
    if (node->locked_by != -1 && node->locked_by != fd)
        return leave(sim, EAGAIN);
    node->locked_by = fd;
    return leave(sim, 0);
}

/* --- the table: names --- */

static enum status sim_stat(struct vfs *vfs, const char *path, struct vfs_stat *out)
{
    struct sim *sim = sim_of(vfs);
    int error;
    if (begin(sim, SIM_READ, path, &error))
        return leave(sim, error);
    struct name *found = names_find(&sim->cache, path);
    if (found == NULL)
        return leave(sim, ENOENT);
    *out = (struct vfs_stat){(int64_t)found->node->size, 0, found->node->directory};
    return leave(sim, 0);
}

static enum status sim_rename(struct vfs *vfs, const char *from, const char *to)
{
    struct sim *sim = sim_of(vfs);
    int error;
    if (begin(sim, SIM_NAMES, from, &error))
        return leave(sim, error);
    struct name *found = names_find(&sim->cache, from);
    if (found == NULL || !parent_there(&sim->cache, to))
        return leave(sim, ENOENT);
    CHECK(!found->node->directory);
    change_add(sim, CHANGE_RENAME, from, to, found->node);
    return leave(sim, 0);
}

static bool is_empty(const struct names *names, const char *path)
{
    for (size_t i = 0; i < names->count; i++) {
        if (lies_in(names->list[i].path, path))
            return false;
    }
    return true;
}

static enum status remove_name(struct vfs *vfs, const char *path, bool directory)
{
    struct sim *sim = sim_of(vfs);
    int error;
    if (begin(sim, SIM_NAMES, path, &error))
        return leave(sim, error);
    struct name *found = names_find(&sim->cache, path);
    if (found == NULL)
        return leave(sim, ENOENT);
    if (found->node->directory != directory)
        return leave(sim, directory ? ENOTDIR : EISDIR);
    if (directory && !is_empty(&sim->cache, path))
        return leave(sim, ENOTEMPTY);
    change_add(sim, CHANGE_UNLINK, path, NULL, found->node);
    return leave(sim, 0);
}

static enum status sim_unlink(struct vfs *vfs, const char *path)
{
    return remove_name(vfs, path, false);
}

static enum status sim_rmdir(struct vfs *vfs, const char *path)
{
    return remove_name(vfs, path, true);
}

static int make_directory(struct sim *sim, const char *path)
{
    struct name *found = names_find(&sim->cache, path);
    if (found == NULL)
        change_add(sim, CHANGE_LINK, path, NULL, node_new(sim, true));
    else if (!found->node->directory)
        return EIO;
    return 0;
}

static enum status sim_mkdirs(struct vfs *vfs, const char *path)
{
    struct sim *sim = sim_of(vfs);
    int error;
    if (begin(sim, SIM_NAMES, path, &error))
        return leave(sim, error);
    char partial[PATH_MAX];
    size_t size = strlen(path);
    CHECK(size < sizeof partial && path[0] == '/');
    for (size_t i = 1; i <= size && error == 0; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        memcpy(partial, path, i);
        partial[i] = '\0';
        error = make_directory(sim, partial);
    }
    return leave(sim, error);
}

static enum status sim_sync_directory(struct vfs *vfs, const char *path)
{
    struct sim *sim = sim_of(vfs);
    int error;
    if (begin(sim, SIM_SYNC_DIR, path, &error)) {
        (void)leave(sim, error);
        return STATUS_IO;
    }
    struct name *found = names_find(&sim->cache, path);
    if (found == NULL || !found->node->directory)
        return leave(sim, ENOENT);
    for (size_t i = 0; i < sim->change_count; i++) {
        struct change *change = &sim->changes[i];
        change->chosen =
            lies_in(change->path, path) || (change->to != NULL && lies_in(change->to, path));
    }
    changes_to_disk(sim);
    return leave(sim, 0);
}

static enum status sim_list(struct vfs *vfs, const char *path,
                            void (*each)(void *ctx, const char *name, bool is_directory), void *ctx)
{
    struct sim *sim = sim_of(vfs);
    int error;
    if (begin(sim, SIM_READ, path, &error))
        return leave(sim, error);
    struct name *found = names_find(&sim->cache, path);
    if (found == NULL || !found->node->directory)
        return leave(sim, ENOENT);
    struct names inside = {NULL, 0, 0};
    for (size_t i = 0; i < sim->cache.count; i++) {
        if (lies_in(sim->cache.list[i].path, path))
            names_set(&inside, sim->cache.list[i].path, sim->cache.list[i].node);
    }
    (void)leave(sim, 0);
    names_sort(&inside);
    for (size_t i = 0; i < inside.count; i++)
        each(ctx, strrchr(inside.list[i].path, '/') + 1, inside.list[i].node->directory);
    names_clear(&inside);
    return STATUS_OK;
}

static enum status sim_space(struct vfs *vfs, const char *path, struct vfs_space *out)
{
    struct sim *sim = sim_of(vfs);
    (void)path;
    enter(sim);
    *out = (struct vfs_space){1000000, 10000 * (100 - sim->used_percent)};
    return leave(sim, 0);
}

/* --- life --- */

struct sim *sim_new(void)
{
    static const struct vfs_ops ops = {
        .open = sim_open,
        .close = sim_close,
        .pwritev = sim_pwritev,
        .pread = sim_pread,
        .fdatasync = sim_fdatasync,
        .write_out = sim_write_out,
        .allocate = sim_allocate,
        .truncate = sim_truncate,
        .map = sim_map,
        .unmap = sim_unmap,
        .sync_map = sim_sync_map,
        .advise = sim_advise,
        .stat = sim_stat,
        .rename = sim_rename,
        .unlink = sim_unlink,
        .rmdir = sim_rmdir,
        .mkdirs = sim_mkdirs,
        .sync_directory = sim_sync_directory,
        .list = sim_list,
        .lock = sim_lock,
        .space = sim_space,
        .zero = sim_zero,
        .find_data = sim_find_data,
    };
    struct sim *sim = xcalloc(1, sizeof *sim);
    sim->vfs.ops = &ops;
    CHECK(pthread_mutex_init(&sim->lock, NULL) == 0);
    struct node *root = node_new(sim, true);
    names_set(&sim->cache, "/", root);
    names_set(&sim->disk, "/", root);
    return sim;
}

void sim_free(struct sim *sim)
{
    names_clear(&sim->cache);
    names_clear(&sim->disk);
    for (size_t i = 0; i < sim->change_count; i++) {
        free(sim->changes[i].path);
        free(sim->changes[i].to);
    }
    free(sim->changes);
    for (size_t i = 0; i < sim->node_count; i++) {
        free(sim->nodes[i]->cache);
        free(sim->nodes[i]->disk);
        free(sim->nodes[i]->stamps);
        free(sim->nodes[i]);
    }
    free(sim->nodes);
    for (size_t i = 0; i < DESCRIPTORS; i++)
        free(sim->open_path[i]);
    CHECK(pthread_mutex_destroy(&sim->lock) == 0);
    free(sim);
}

struct vfs *sim_vfs(struct sim *sim)
{
    return &sim->vfs;
}

void sim_watch(struct sim *sim, unsigned calls,
               void (*at)(void *ctx, enum sim_call call, const char *path), void *ctx)
{
    sim->watched = at == NULL ? 0 : calls;
    sim->at = at;
    sim->at_ctx = ctx;
}

void sim_fail(struct sim *sim, const struct sim_fault *fault)
{
    sim->fault = *fault;
    sim->random.state = fault->seed;
    sim->failed = 0;
}

void sim_hold_faults(struct sim *sim, bool held)
{
    sim->held = held;
}

int64_t sim_failed(const struct sim *sim)
{
    return sim->failed;
}

void sim_used_percent(struct sim *sim, int percent)
{
    sim->used_percent = percent;
}

int64_t sim_last_write_sectors(const struct sim *sim)
{
    if (sim->last_node == NULL || sim->last_bytes == 0)
        return 0;
    return (sim->last_offset + sim->last_bytes - 1) / SIM_SECTOR_BYTES -
           sim->last_offset / SIM_SECTOR_BYTES + 1;
}
