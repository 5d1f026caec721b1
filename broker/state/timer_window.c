/* SPDX-License-Identifier: Apache-2.0
 *
 * One array, two heaps: while a selection is made the largest key is on top, so that it can give
 * way; at its end the array is sorted, which is a heap with the smallest on top.
 */
#include "broker/state/timer_window.h"

#include "common/base/check.h"

#include <stdlib.h>

#define CAPACITY_FIRST 1024

void timer_window_init(struct timer_window *window)
{
    *window = (struct timer_window){.selection_max = TIMER_SELECTION_MAX};
}

void timer_window_release(struct timer_window *window)
{
    free(window->entries);
}

void timer_window_clear(struct timer_window *window)
{
    window->count = 0;
}

/* Does `a` belong above `b`? */
static bool above(const struct timer_entry *a, const struct timer_entry *b, bool largest_first)
{
    int order = timer_key_compare(a->key, b->key);
    return largest_first ? order > 0 : order < 0;
}

static void swap(struct timer_entry *a, struct timer_entry *b)
{
    struct timer_entry copy = *a;
    *a = *b;
    *b = copy;
}

static void sift_up(struct timer_window *window, bool largest_first)
{
    struct timer_entry *entries = window->entries;
    for (size_t i = window->count - 1; i > 0;) {
        size_t parent = (i - 1) / 2;
        if (!above(&entries[i], &entries[parent], largest_first))
            return;
        swap(&entries[i], &entries[parent]);
        i = parent;
    }
}

static void sift_down(struct timer_window *window, bool largest_first)
{
    struct timer_entry *entries = window->entries;
    for (size_t i = 0;;) {
        size_t child = 2 * i + 1;
        if (child >= window->count)
            return;
        if (child + 1 < window->count && above(&entries[child + 1], &entries[child], largest_first))
            child++;
        if (!above(&entries[child], &entries[i], largest_first))
            return;
        swap(&entries[child], &entries[i]);
        i = child;
    }
}

static bool push(struct timer_window *window, const struct timer_entry *entry, bool largest_first)
{
    if (window->count == window->capacity) {
        if (window->capacity == TIMER_WINDOW_MAX)
            return false;
        window->capacity = window->capacity == 0 ? CAPACITY_FIRST : window->capacity * 2;
        window->entries = xrealloc(window->entries, window->capacity * sizeof *window->entries);
    }
    window->entries[window->count++] = *entry;
    sift_up(window, largest_first);
    return true;
}

bool timer_window_push(struct timer_window *window, const struct timer_entry *entry)
{
    return push(window, entry, false);
}

const struct timer_entry *timer_window_first(const struct timer_window *window)
{
    return window->count == 0 ? NULL : &window->entries[0];
}

void timer_window_pop(struct timer_window *window)
{
    CHECK(window->count > 0);
    window->entries[0] = window->entries[--window->count];
    sift_down(window, false);
}

void timer_window_select(struct timer_window *window, const struct timer_entry *entry,
                         bool *left_out)
{
    if (window->count < window->selection_max) {
        CHECK(push(window, entry, true));
        return;
    }
    *left_out = true;
    if (timer_key_compare(entry->key, window->entries[0].key) >= 0)
        return;
    window->entries[0] = *entry;
    sift_down(window, true);
}

static int by_key(const void *a, const void *b)
{
    return timer_key_compare(((const struct timer_entry *)a)->key,
                             ((const struct timer_entry *)b)->key);
}

void timer_window_select_end(struct timer_window *window, struct timer_key *last)
{
    if (window->count == 0)
        return;
    qsort(window->entries, window->count, sizeof *window->entries, by_key);
    *last = window->entries[window->count - 1].key;
}
