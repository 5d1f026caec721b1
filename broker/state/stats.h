/* SPDX-License-Identifier: Apache-2.0
 *
 * Counters of the broker for runtime info and logs: how much was put and got, how fast, since when.
 * Counting is one relaxed atomic addition; rates come from samples taken by stats_step.
 */
#ifndef BROKER_STATE_STATS_H
#define BROKER_STATE_STATS_H

#include "common/base/buf.h"

#include <stdbool.h>
#include <stdint.h>

struct stats;
struct stats *stats_new(int64_t boot_wall_ms);
void stats_free(struct stats *stats);

/* Any thread. */
void stats_put(struct stats *stats, int64_t messages, int64_t bytes);
/* Time a put took from the frame's arrival to the end of the append (the distribution of
 * putMessageDistributeTime); weighs `messages`. */
void stats_put_time(struct stats *stats, int64_t messages, int64_t took_ms);
void stats_get(struct stats *stats, bool found, int64_t messages);
void stats_get_time(struct stats *stats, int64_t took_ms);

/* Take a sample when one is due (every second), roll the day's counters at local midnight; one
 * thread at a time. */
void stats_step(struct stats *stats, int64_t wall_ms);

/* "10 s 60 s 600 s" averages as ST-04 prints them, e.g. "12.5 3.0 0.9"; a window that has not
 * passed yet is left empty, or 0.0 in the total. Appended to `out`; any thread. */
void stats_put_tps(const struct stats *stats, struct buf *out);
void stats_get_found_tps(const struct stats *stats, struct buf *out);
void stats_get_miss_tps(const struct stats *stats, struct buf *out);
void stats_get_total_tps(const struct stats *stats, struct buf *out);
void stats_get_transferred_tps(const struct stats *stats, struct buf *out);
/* How many puts took how long in the last whole minute: "[<=0ms]:5 [0~10ms]:1 ... [10s~]:0 ". */
void stats_put_distribution(const struct stats *stats, struct buf *out);

struct stats_totals {
    int64_t boot_ms;
    int64_t put_times, put_bytes, put_time_max_ms, get_time_max_ms;
    int64_t put_today_morning, put_yesterday_morning, got_today_morning, got_yesterday_morning;
    int64_t got_messages;
};
struct stats_totals stats_totals(const struct stats *stats);

#endif
