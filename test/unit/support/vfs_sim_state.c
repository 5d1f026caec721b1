/* SPDX-License-Identifier: Apache-2.0 */
#include "test/unit/support/vfs_sim_state.h"

#include "common/base/check.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* --- nodes --- */

/* Mapped memory is written by others while we copy it, as a kernel does. */
__attribute__((no_sanitize("thread"), noinline)) static void
copy_bytes(uint8_t *to, const uint8_t *from, size_t size)
{
    for (size_t i = 0; i < size; i++)
        ((volatile uint8_t *)to)[i] = from[i];
}

__attribute__((no_sanitize("thread"), noinline)) static bool
same_bytes(const uint8_t *a, const uint8_t *b, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (((const volatile uint8_t *)a)[i] != b[i])
            return false;
    }
    return true;
}

struct node *node_new(struct sim *sim, bool directory)
{
    struct node *node = xcalloc(1, sizeof *node);
    node->directory = directory;
    node->locked_by = -1;
    sim->nodes = xrealloc(sim->nodes, (sim->node_count + 1) * sizeof(struct node *));
    sim->nodes[sim->node_count++] = node;
    return node;
}

size_t sectors_of(size_t bytes)
{
    return (bytes + SIM_SECTOR_BYTES - 1) / SIM_SECTOR_BYTES;
}

static void grow(uint8_t **image, size_t *capacity, size_t size)
{
    size_t wanted = sectors_of(size) * SIM_SECTOR_BYTES;
    if (wanted <= *capacity)
        return;
    *image = xrealloc(*image, wanted);
    memset(*image + *capacity, 0, wanted - *capacity);
    *capacity = wanted;
}

void node_resize(struct node *node, size_t size)
{
    size_t before = sectors_of(node->capacity);
    if (size > node->capacity) {
        CHECK(node->maps == 0);
        grow(&node->cache, &node->capacity, size);
        size_t after = sectors_of(node->capacity);
        node->stamps = xrealloc(node->stamps, after * sizeof *node->stamps);
        memset(node->stamps + before, 0, (after - before) * sizeof *node->stamps);
    }
    if (size < node->size)
        memset(node->cache + size, 0, node->size - size);
    node->size = size;
}

/* What the disk has of a sector: zeros behind its end. */
void disk_sector(const struct node *node, size_t sector, uint8_t out[SIM_SECTOR_BYTES])
{
    size_t at = sector * SIM_SECTOR_BYTES;
    memset(out, 0, SIM_SECTOR_BYTES);
    if (at < node->disk_capacity)
        memcpy(out, node->disk + at, SIM_SECTOR_BYTES);
}

bool sector_dirty(const struct node *node, size_t sector)
{
    uint8_t disk[SIM_SECTOR_BYTES];
    disk_sector(node, sector, disk);
    return !same_bytes(node->cache + sector * SIM_SECTOR_BYTES, disk, SIM_SECTOR_BYTES);
}

void sector_to_disk(struct node *node, size_t sector)
{
    size_t at = sector * SIM_SECTOR_BYTES;
    grow(&node->disk, &node->disk_capacity, at + SIM_SECTOR_BYTES);
    copy_bytes(node->disk + at, node->cache + at, SIM_SECTOR_BYTES);
}

void disk_resize(struct node *node, size_t size)
{
    grow(&node->disk, &node->disk_capacity, size);
    if (size < node->disk_capacity)
        memset(node->disk + size, 0, node->disk_capacity - size);
    node->disk_size = size;
}

void node_sync(struct node *node)
{
    for (size_t i = 0; i < sectors_of(node->size); i++) {
        if (node->stamps[i] != STAMP_LOST && sector_dirty(node, i))
            sector_to_disk(node, i);
    }
    disk_resize(node, node->size);
}

/* A sync that fails: some of it arrives, the rest is never written any more. */
void node_sync_fails(struct sim *sim, struct node *node)
{
    for (size_t i = 0; i < sectors_of(node->size); i++) {
        if (node->stamps[i] == STAMP_LOST || !sector_dirty(node, i))
            continue;
        if (random_below(&sim->random, 2) == 0)
            sector_to_disk(node, i);
        else
            node->stamps[i] = STAMP_LOST;
    }
}

void node_write(struct sim *sim, struct node *node, size_t at, const void *data, size_t size)
{
    if (size == 0)
        return;
    if (at + size > node->size)
        node_resize(node, at + size);
    memcpy(node->cache + at, data, size);
    sim->clock++;
    for (size_t i = at / SIM_SECTOR_BYTES; i <= (at + size - 1) / SIM_SECTOR_BYTES; i++)
        node->stamps[i] = sim->clock;
}

void node_copy(struct node *to, const struct node *from)
{
    node_resize(to, from->size);
    copy_bytes(to->cache, from->cache, from->size);
    if (from->size > 0)
        memcpy(to->stamps, from->stamps, sectors_of(from->size) * sizeof *to->stamps);
    grow(&to->disk, &to->disk_capacity, from->disk_capacity);
    if (from->disk_capacity > 0)
        memcpy(to->disk, from->disk, from->disk_capacity);
    to->disk_size = from->disk_size;
}

/* --- names --- */

struct name *names_find(const struct names *names, const char *path)
{
    for (size_t i = 0; i < names->count; i++) {
        if (strcmp(names->list[i].path, path) == 0)
            return &names->list[i];
    }
    return NULL;
}

void names_remove(struct names *names, const char *path)
{
    struct name *found = names_find(names, path);
    if (found == NULL)
        return;
    free(found->path);
    *found = names->list[--names->count];
}

void names_set(struct names *names, const char *path, struct node *node)
{
    struct name *found = names_find(names, path);
    if (found != NULL) {
        found->node = node;
        return;
    }
    if (names->count == names->capacity) {
        names->capacity = names->capacity == 0 ? 32 : names->capacity * 2;
        names->list = xrealloc(names->list, names->capacity * sizeof *names->list);
    }
    names->list[names->count++] = (struct name){xstrdup(path), node};
}

void names_clear(struct names *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->list[i].path);
    free(names->list);
    *names = (struct names){NULL, 0, 0};
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct name *)a)->path, ((const struct name *)b)->path);
}

void names_sort(struct names *names)
{
    if (names->count > 0)
        qsort(names->list, names->count, sizeof *names->list, by_path);
}

static size_t parent_bytes(const char *path)
{
    size_t size = (size_t)(strrchr(path, '/') - path);
    return size == 0 ? 1 : size;
}

bool lies_in(const char *path, const char *directory)
{
    size_t size = parent_bytes(path);
    return strlen(directory) == size && memcmp(path, directory, size) == 0 &&
           strcmp(path, "/") != 0;
}

bool parent_there(const struct names *names, const char *path)
{
    char parent[PATH_MAX];
    size_t size = parent_bytes(path);
    CHECK(size < sizeof parent);
    memcpy(parent, path, size);
    parent[size] = '\0';
    struct name *found = names_find(names, parent);
    return found != NULL && found->node->directory;
}

/* --- changes of names --- */

static void change_apply(struct names *names, const struct change *change)
{
    if (change->kind == CHANGE_LINK) {
        names_set(names, change->path, change->node);
    } else if (change->kind == CHANGE_UNLINK) {
        names_remove(names, change->path);
    } else {
        names_remove(names, change->path);
        names_set(names, change->to, change->node);
    }
}

void change_add(struct sim *sim, enum change_kind kind, const char *path, const char *to,
                struct node *node)
{
    struct change change = {kind, xstrdup(path), to == NULL ? NULL : xstrdup(to), node, false};
    sim->changes = xrealloc(sim->changes, (sim->change_count + 1) * sizeof *sim->changes);
    sim->changes[sim->change_count++] = change;
    change_apply(&sim->cache, &change);
}

static bool change_names(const struct change *change, const char *path)
{
    return path != NULL && (strcmp(change->path, path) == 0 ||
                            (change->to != NULL && strcmp(change->to, path) == 0));
}

static bool removes_folder_around(const struct change *folder, const struct change *other)
{
    return folder->kind == CHANGE_UNLINK && folder->node->directory &&
           (lies_in(other->path, folder->path) ||
            (other->to != NULL && lies_in(other->to, folder->path)));
}

bool change_waits_for(const struct change *later, const struct change *earlier)
{
    return change_names(later, earlier->path) || change_names(later, earlier->to) ||
           removes_folder_around(later, earlier) || removes_folder_around(earlier, later);
}

/* Bring the chosen changes to the disk; those that others of the same name wait for, too. */
void changes_to_disk(struct sim *sim)
{
    for (size_t i = sim->change_count; i-- > 0;) {
        for (size_t j = 0; j < i && sim->changes[i].chosen; j++)
            sim->changes[j].chosen |= change_waits_for(&sim->changes[i], &sim->changes[j]);
    }
    size_t left = 0;
    for (size_t i = 0; i < sim->change_count; i++) {
        struct change *change = &sim->changes[i];
        if (!change->chosen) {
            sim->changes[left++] = *change;
            continue;
        }
        change_apply(&sim->disk, change);
        free(change->path);
        free(change->to);
    }
    sim->change_count = left;
}
