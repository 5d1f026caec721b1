/* SPDX-License-Identifier: Apache-2.0
 *
 * Copies of the simulated file layer, power cuts, and looking at it from outside.
 */
#include "common/base/check.h"
#include "test/unit/support/vfs_sim_state.h"

#include <stdlib.h>
#include <string.h>

/* --- copies --- */

static struct node *copy_of(struct sim *sim, struct sim *copy, struct node **copies,
                            const struct node *node)
{
    if (node == NULL)
        return NULL;
    for (size_t i = 0; i < sim->node_count; i++) {
        if (sim->nodes[i] != node)
            continue;
        if (copies[i] == NULL) {
            copies[i] = node_new(copy, node->directory);
            node_copy(copies[i], node);
        }
        return copies[i];
    }
    CHECK(false);
    return NULL;
}

struct sim *sim_clone(struct sim *sim)
{
    struct sim *copy = sim_new();
    CHECK(pthread_mutex_lock(&sim->lock) == 0);
    struct node **copies = xcalloc(sim->node_count, sizeof(struct node *));
    for (size_t i = 0; i < sim->cache.count; i++)
        names_set(&copy->cache, sim->cache.list[i].path,
                  copy_of(sim, copy, copies, sim->cache.list[i].node));
    for (size_t i = 0; i < sim->disk.count; i++)
        names_set(&copy->disk, sim->disk.list[i].path,
                  copy_of(sim, copy, copies, sim->disk.list[i].node));
    copy->changes = xcalloc(sim->change_count + 1, sizeof *copy->changes);
    for (size_t i = 0; i < sim->change_count; i++) {
        const struct change *from = &sim->changes[i];
        copy->changes[copy->change_count++] = (struct change){
            .kind = from->kind,
            .path = xstrdup(from->path),
            .to = from->to == NULL ? NULL : xstrdup(from->to),
            .node = copy_of(sim, copy, copies, from->node),
        };
    }
    copy->last_node = copy_of(sim, copy, copies, sim->last_node);
    copy->last_offset = sim->last_offset;
    copy->last_bytes = sim->last_bytes;
    copy->clock = sim->clock;
    copy->used_percent = sim->used_percent;
    free(copies);
    CHECK(pthread_mutex_unlock(&sim->lock) == 0);
    return copy;
}

/* --- power cuts --- */

struct cutter {
    const struct sim_cut *cut;
    struct random random;
    uint32_t moment; /* LATER: writes with a stamp from here on are kept */
};

/* Is a change kept that is neither in a file's content nor has a stamp? `chance` of 4. */
static bool keeps(struct cutter *cutter, uint32_t chance)
{
    switch (cutter->cut->keep) {
    case SIM_KEEP_NONE:
        return false;
    case SIM_KEEP_SOME:
        return random_below(&cutter->random, 4) < chance;
    case SIM_KEEP_LATER:
        return random_below(&cutter->random, 2) == 0;
    default:
        return true;
    }
}

static bool keeps_sector(struct cutter *cutter, const struct sim *sim, const struct node *node,
                         size_t sector, uint32_t chance)
{
    if (node->stamps[sector] == STAMP_LOST)
        return false;
    int64_t first = sim->last_offset / SIM_SECTOR_BYTES;
    bool in_last = node == sim->last_node && (int64_t)sector >= first &&
                   (int64_t)sector < first + sim_last_write_sectors(sim);
    bool before_tear = (int64_t)sector < first + cutter->cut->torn_sectors;
    switch (cutter->cut->keep) {
    case SIM_KEEP_TORN:
        return !in_last || before_tear;
    case SIM_KEEP_ALONE:
        return in_last && before_tear;
    case SIM_KEEP_LATER:
        return node->stamps[sector] == 0 ? keeps(cutter, 2)
                                         : node->stamps[sector] >= cutter->moment;
    default:
        return keeps(cutter, chance);
    }
}

/* Decide for every change of a name; what follows a lost one of the same name is lost, too. */
static void cut_names(struct sim *sim, struct cutter *cutter)
{
    uint32_t chance = random_below(&cutter->random, 5);
    for (size_t i = 0; i < sim->change_count; i++) {
        struct change *change = &sim->changes[i];
        change->chosen = keeps(cutter, chance);
        for (size_t j = 0; j < i && change->chosen; j++)
            change->chosen = sim->changes[j].chosen || !change_waits_for(change, &sim->changes[j]);
    }
    changes_to_disk(sim);
    for (size_t i = 0; i < sim->change_count; i++) {
        free(sim->changes[i].path);
        free(sim->changes[i].to);
    }
    sim->change_count = 0;
    for (bool again = true; again;) {
        again = false;
        for (size_t i = sim->disk.count; i-- > 0;) {
            if (strcmp(sim->disk.list[i].path, "/") != 0 &&
                !parent_there(&sim->disk, sim->disk.list[i].path)) {
                names_remove(&sim->disk, sim->disk.list[i].path);
                again = true;
            }
        }
    }
}

static void cut_node(struct sim *sim, struct node *node, struct cutter *cutter)
{
    CHECK(node->maps == 0);
    uint32_t chance = random_below(&cutter->random, 5);
    size_t size = node->size;
    if (node->size != node->disk_size && !keeps(cutter, chance))
        size = node->disk_size;
    /* A file may have become shorter in the cache: sectors behind its end are zeros there. */
    size_t longest = node->size > node->disk_size ? node->size : node->disk_size;
    node_resize(node, longest);
    for (size_t i = 0; i < sectors_of(longest); i++) {
        if (sector_dirty(node, i) && keeps_sector(cutter, sim, node, i, chance))
            sector_to_disk(node, i);
    }
    disk_resize(node, size);
    node_resize(node, size);
    for (size_t i = 0; i < sectors_of(size); i++) {
        disk_sector(node, i, node->cache + i * SIM_SECTOR_BYTES);
        node->stamps[i] = 0;
    }
}

void sim_power_cut(struct sim *sim, const struct sim_cut *cut)
{
    struct cutter cutter = {cut, {cut->seed}, 0};
    cutter.moment = random_below(&cutter.random, sim->clock + 2);
    cut_names(sim, &cutter);
    /* In the order of names, so that a seed decides the same every time. */
    names_sort(&sim->disk);
    names_clear(&sim->cache);
    for (size_t i = 0; i < sim->disk.count; i++) {
        struct node *node = sim->disk.list[i].node;
        if (!node->directory)
            cut_node(sim, node, &cutter);
        names_set(&sim->cache, sim->disk.list[i].path, node);
    }
    sim->last_node = NULL;
    sim->last_bytes = 0;
}

/* --- from outside --- */

uint8_t *sim_bytes(struct sim *sim, const char *path, size_t *size)
{
    struct name *found = names_find(&sim->cache, path);
    if (found == NULL || found->node->directory)
        return NULL;
    *size = found->node->size;
    return found->node->cache;
}

void sim_each_file(struct sim *sim, void (*each)(void *ctx, const char *path, size_t size),
                   void *ctx)
{
    names_sort(&sim->cache);
    for (size_t i = 0; i < sim->cache.count; i++) {
        if (!sim->cache.list[i].node->directory)
            each(ctx, sim->cache.list[i].path, sim->cache.list[i].node->size);
    }
}

void sim_resize(struct sim *sim, const char *path, size_t size)
{
    struct name *found = names_find(&sim->cache, path);
    struct node *node = found == NULL ? node_new(sim, false) : found->node;
    if (found == NULL)
        change_add(sim, CHANGE_LINK, path, NULL, node);
    node_resize(node, size);
}

void sim_remove(struct sim *sim, const char *path)
{
    struct name *found = names_find(&sim->cache, path);
    CHECK(found != NULL);
    change_add(sim, CHANGE_UNLINK, path, NULL, found->node);
}

static void mix(uint64_t *digest, const void *data, size_t size)
{
    const uint8_t *bytes = data;
    for (size_t i = 0; i < size; i++)
        *digest = (*digest ^ bytes[i]) * 0x100000001B3U;
}

uint64_t sim_digest(struct sim *sim)
{
    uint64_t digest = 0xCBF29CE484222325U;
    names_sort(&sim->cache);
    for (size_t i = 0; i < sim->cache.count; i++) {
        const struct name *name = &sim->cache.list[i];
        mix(&digest, name->path, strlen(name->path) + 1);
        mix(&digest, &name->node->size, sizeof name->node->size);
        mix(&digest, name->node->cache, name->node->size);
    }
    return digest;
}
