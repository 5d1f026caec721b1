/* SPDX-License-Identifier: Apache-2.0
 *
 * One entry for each group that was told within the last NOTICE_INTERVAL_MS, in the order in which
 * they were told. When an entry's time is over it goes, or, if the group has changed meanwhile, its
 * group is told and the entry stays for another interval.
 *
 * Invariants: an entry is in the list and in the map, or in neither; told_ms does not fall along
 * the list. Memory is bounded by the groups that can change within an interval, and those by
 * CLIENTS_BYTES_MAX.
 */
#include "broker/state/notices.h"

#include "common/base/check.h"
#include "common/base/list.h"
#include "common/base/map.h"

#include <pthread.h>
#include <stdlib.h>

struct entry {
    struct list in_order;
    int64_t told_ms;
    bool changed; /* since then */
    bool always;
    struct slice group; /* behind the struct */
};

struct notices {
    pthread_mutex_t lock; /* docs/locks.md: notices */
    struct map entries;   /* group -> struct entry */
    struct list in_order; /* told longest ago first */
};

struct notices *notices_new(void)
{
    struct notices *notices = xcalloc(1, sizeof *notices);
    CHECK(pthread_mutex_init(&notices->lock, NULL) == 0);
    list_init(&notices->in_order);
    return notices;
}

static void entry_remove(struct notices *notices, struct entry *entry)
{
    (void)map_remove(&notices->entries, entry->group);
    list_remove(&entry->in_order);
    free(entry);
}

void notices_free(struct notices *notices)
{
    while (!list_empty(&notices->in_order))
        entry_remove(notices, list_entry(notices->in_order.next, struct entry, in_order));
    map_release(&notices->entries);
    CHECK(pthread_mutex_destroy(&notices->lock) == 0);
    free(notices);
}

/* When an entry that is put at the end of the list counts as told: threads read the clock before
 * they have the lock, so that the last one may be ahead. */
static int64_t told_now(const struct notices *notices, int64_t now_ms)
{
    if (list_empty(&notices->in_order))
        return now_ms;
    const struct entry *last = list_entry(notices->in_order.prev, struct entry, in_order);
    return last->told_ms > now_ms ? last->told_ms : now_ms;
}

static void entry_add(struct notices *notices, struct slice group, int64_t now_ms)
{
    struct entry *entry = xcalloc(1, sizeof *entry + group.size);
    uint8_t *name = (uint8_t *)(entry + 1);
    memcpy(name, group.data, group.size);
    entry->group = slice_of(name, group.size);
    entry->told_ms = told_now(notices, now_ms);
    list_append(&notices->in_order, &entry->in_order);
    (void)map_put(&notices->entries, entry->group, entry);
}

bool notices_changed(struct notices *notices, struct slice group, bool always, int64_t now_ms,
                     bool *awake)
{
    CHECK(pthread_mutex_lock(&notices->lock) == 0);
    struct entry *entry = map_get(&notices->entries, group);
    bool tell_now = entry == NULL;
    *awake = list_empty(&notices->in_order);
    if (tell_now) {
        entry_add(notices, group, now_ms);
    } else {
        entry->changed = true;
        entry->always |= always;
    }
    CHECK(pthread_mutex_unlock(&notices->lock) == 0);
    return tell_now;
}

/* With the lock held: the first entry's time is over. True: its group is to be told. */
static bool entry_is_due(struct notices *notices, struct entry *entry, int64_t now_ms,
                         struct arena *arena, struct notice *out)
{
    if (!entry->changed) {
        entry_remove(notices, entry);
        return false;
    }
    *out = (struct notice){arena_copy(arena, entry->group), entry->always};
    list_remove(&entry->in_order);
    entry->told_ms = told_now(notices, now_ms);
    entry->changed = false;
    entry->always = false;
    list_append(&notices->in_order, &entry->in_order);
    return true;
}

int64_t notices_step(struct notices *notices, int64_t now_ms, struct arena *arena,
                     struct notice **due, size_t *count)
{
    int64_t wait_ms = -1;
    *count = 0;
    CHECK(pthread_mutex_lock(&notices->lock) == 0);
    *due = arena_alloc(arena, (notices->entries.count + 1) * sizeof **due);
    while (!list_empty(&notices->in_order)) {
        struct entry *first = list_entry(notices->in_order.next, struct entry, in_order);
        wait_ms = first->told_ms + NOTICE_INTERVAL_MS - now_ms;
        if (wait_ms > 0)
            break;
        *count += entry_is_due(notices, first, now_ms, arena, &(*due)[*count]);
        wait_ms = -1;
    }
    CHECK(pthread_mutex_unlock(&notices->lock) == 0);
    return wait_ms;
}
