/* SPDX-License-Identifier: Apache-2.0
 *
 * The next timers in memory: a heap of at most TIMER_WINDOW_MAX entries, 40 bytes each, whatever
 * lies on disk. Pure; one thread.
 */
#ifndef BROKER_STATE_TIMER_WINDOW_H
#define BROKER_STATE_TIMER_WINDOW_H

#include "broker/state/timer_format.h"

#define TIMER_WINDOW_MAX 524288
/* A selection leaves room for those that come while it is worked through. */
#define TIMER_SELECTION_MAX (TIMER_WINDOW_MAX / 2)

struct timer_window {
    struct timer_entry *entries;
    size_t count;
    size_t capacity;
    size_t selection_max; /* TIMER_SELECTION_MAX; tests make it smaller */
};

void timer_window_init(struct timer_window *window);
void timer_window_release(struct timer_window *window);
void timer_window_clear(struct timer_window *window);

/* False: it is full, and nothing was added. */
bool timer_window_push(struct timer_window *window, const struct timer_entry *entry);

/* The entry with the smallest key; NULL when there is none. */
const struct timer_entry *timer_window_first(const struct timer_window *window);
void timer_window_pop(struct timer_window *window);

/* Choose the selection_max smallest of many: clear, offer each, end. No push, first or pop between.
 * timer_window_select_end returns whether any was left out: then all left out have larger keys than
 * *last. */
void timer_window_select(struct timer_window *window, const struct timer_entry *entry,
                         bool *left_out);
void timer_window_select_end(struct timer_window *window, struct timer_key *last);

#endif
