/* SPDX-License-Identifier: Apache-2.0
 *
 * How much each topic got and each group was given, per minute, hour and day: the tables behind
 * VIEW_BROKER_STATS_DATA (ST-01 to ST-03) and consumeTps.
 *
 *     TOPIC_PUT_NUMS, TOPIC_PUT_SIZE     topic, under its stored name
 *     GROUP_GET_NUMS, GROUP_GET_SIZE     topic@group
 *     SNDBCK_PUT_NUMS                    topic@group
 *     GROUP_GET_LATENCY                  queueId@topic@group: milliseconds of reading
 *     BROKER_PUT_NUMS, BROKER_GET_NUMS   the cluster's name
 *
 * and the gauges GROUP_GET_FALL_SIZE and GROUP_GET_FALL_TIME of queueId@topic@group: how many bytes
 * of the log and how many milliseconds the group was behind when it read last. 4.9.2 writes them
 * into a log only; here they can be read like the tables, as the sum.
 *
 * Each key has a meter: totals that only grow, and samples of them every 10 s, 10 min and 1 h. A
 * figure is the difference of the newest and the oldest kept sample, so that a minute's figure lags
 * up to 10 s, as in 4.9.2.
 *
 * Counting is a few relaxed additions. Finding the meter takes no lock either once a view, of which
 * each loop has one, has seen the key. Meters are recycled, never freed, so a reference that
 * outlives its key (a topic deleted in this very moment) is harmless: a few messages are counted
 * for another key. At most METERS_MAX keys; when they are all in use, those idle for a day make
 * room, and further keys are not counted.
 * Source: RMQ store/.../stats/BrokerStatsManager.java, common/.../stats/StatsItem.java.
 */
#ifndef BROKER_STATE_TOPIC_STATS_H
#define BROKER_STATE_TOPIC_STATS_H

#include "common/base/arena.h"
#include "common/base/bytes.h"

#include <stdbool.h>
#include <stdint.h>

/* Keys over all tables, and those with a queue among them; a meter takes about 1 KiB. */
#define METERS_MAX 50000
#define QUEUE_METERS_MAX 20000

struct topic_stats;
struct meter;

/* cluster_name  the key of the broker's own totals; copied */
struct topic_stats *topic_stats_new(const char *cluster_name, int64_t boot_wall_ms);
void topic_stats_free(struct topic_stats *stats);

/* --- counting on a loop --- */

/* One thread's way to the meters. */
struct topic_stats_view;
struct topic_stats_view *topic_stats_view_new(struct topic_stats *stats);
void topic_stats_view_free(struct topic_stats_view *view);

/* The meter of what is put to `topic`; NULL when there is no room for one more. Use it within the
 * turn.
 * topic  its memory keeps this name for the life of the view, as names of topics.h do */
struct meter *topic_stats_put_meter(struct topic_stats_view *view, struct slice topic);

/* Count `requests` sends that stored `messages` records of `bytes`.
 * meter  may be NULL: only the broker's total counts */
void topic_stats_put(struct topic_stats_view *view, struct meter *meter, int64_t messages,
                     int64_t bytes, int64_t requests);

/* Count a pull that was answered with messages. */
void topic_stats_got(struct topic_stats_view *view, struct slice topic, struct slice group,
                     int64_t messages, int64_t bytes);

/* How a group's read of a queue went. */
struct queue_read {
    int64_t took_ms;    /* -1: not to be counted */
    int64_t fall_bytes; /* -1: as before; the same for fall_ms */
    int64_t fall_ms;
};
void topic_stats_queue_got(struct topic_stats_view *view, struct slice topic, int32_t queue_id,
                           struct slice group, const struct queue_read *read);

/* --- counting elsewhere; any thread --- */

/* A message that a consumer could not process: it was put to stored_topic as `bytes`. */
void topic_stats_sent_back(struct topic_stats *stats, struct slice topic, struct slice group,
                           struct slice stored_topic, int64_t bytes);

/* A delayed message was put to its topic, as `bytes`.
 * from  where it waited: counted as read from there by the group SCHEDULE_CONSUMER (RT-15); may be
 *       empty */
void topic_stats_delivered(struct topic_stats *stats, struct slice from, struct slice topic,
                           int64_t bytes);

/* --- keeping; any thread --- */

/* Take the samples that are due; one thread at a time. */
void topic_stats_step(struct topic_stats *stats, int64_t wall_ms);

/* Forget the meters of a deleted topic or group. */
void topic_stats_topic_deleted(struct topic_stats *stats, struct slice topic);
void topic_stats_group_deleted(struct topic_stats *stats, struct slice group);

/* --- reading; any thread --- */

struct stats_figure {
    int64_t sum;
    double tps;
    double average; /* per request */
};

struct stats_figures {
    struct stats_figure minute, hour, day;
};

/* The figures of a key of one of the tables above. False when there is no such table, or nothing
 * was counted for the key. */
bool topic_stats_read(const struct topic_stats *stats, struct slice table, struct slice key,
                      struct stats_figures *out);

/* Messages of `topic` given to `group` per second over the last minute. */
double topic_stats_get_tps(const struct topic_stats *stats, struct slice topic, struct slice group);

struct slow_group {
    struct slice group; /* in the arena */
    int64_t fall_bytes;
};

/* The groups that were further behind than that when they read last, in any queue; some may come
 * more than once.
 * out  in the arena
 * returns  how many */
size_t topic_stats_slow_groups(const struct topic_stats *stats, int64_t fall_bytes,
                               struct arena *arena, struct slow_group **out);

/* Meters in use. */
size_t topic_stats_count(const struct topic_stats *stats);

#endif
