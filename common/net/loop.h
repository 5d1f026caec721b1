/* SPDX-License-Identifier: Apache-2.0
 *
 * An I/O loop: one thread, one event base, and everything pinned to it. Work proceeds in turns: all
 * ready events are handled, then the turn-end hooks run (a broker appends what the turn received in
 * one write), then connections with queued output are written, each by one system call. Where tasks
 * were posted, they follow, and hooks and writing once more.
 *
 * Nothing on a loop may wait: no disk flush, no cold read, no lock held over I/O.
 */
#ifndef COMMON_NET_LOOP_H
#define COMMON_NET_LOOP_H

#include "common/base/status.h"
#include "common/sys/clock.h"

#include <stdbool.h>
#include <stddef.h>

struct event_base;
struct loop;

/* index  position in the daemon's array of loops; lets modules keep one slot per loop */
enum status loop_new(const char *name, int index, const struct clock *clock, struct loop **out,
                     struct err *err);
void loop_free(struct loop *loop);

/* Run in a thread of its own; loop_stop asks it to end after the current turn and joins it. */
enum status loop_start(struct loop *loop, struct err *err);
void loop_stop(struct loop *loop);

/* Run the tasks that are left, on the calling thread, which counts as the loop's meanwhile. After
 * loop_stop, so that the owners of tasks can be freed before the loop is. */
void loop_settle(struct loop *loop);

int loop_index(const struct loop *loop);
bool loop_is_current(const struct loop *loop);
const struct clock *loop_clock(const struct loop *loop);
struct event_base *loop_event_base(struct loop *loop);

/* Monotonic milliseconds, read once per turn. On the loop only. */
int64_t loop_now_ms(const struct loop *loop);

/* A task posted to a loop. Embed it; `run` is called once on the loop, and may free the owner.
 * Tasks from one thread run in the order posted. A task must not be posted again before it ran. */
struct loop_task {
    struct loop_task *next;
    void (*run)(struct loop_task *task);
};

/* Any thread. Tasks posted after loop_stop are dropped without running, except that loop_free runs
 * what is left so that owners can free themselves. */
void loop_post(struct loop *loop, struct loop_task *task);

/* A hook at the end of every turn and behind its tasks, in order of registration; at most 16.
 * Before loop_start or on the loop. */
void loop_on_turn_end(struct loop *loop, void (*hook)(void *ctx), void *ctx);

/* Timers, on the loop only (or before loop_start). */
struct loop_timer;
struct loop_timer *loop_timer_new(struct loop *loop, void (*fire)(void *ctx), void *ctx);
void loop_timer_set(struct loop_timer *timer, int64_t delay_ms); /* one shot; replaces */
void loop_timer_cancel(struct loop_timer *timer);
void loop_timer_free(struct loop_timer *timer);

#endif
