/* SPDX-License-Identifier: Apache-2.0
 *
 * How far consumers are behind: the account of each read (GROUP_GET_LATENCY, GROUP_GET_FALL_SIZE,
 * GROUP_GET_FALL_TIME; PL-23), and the protection against those that read too slowly (LC-04).
 */
#ifndef BROKER_PROC_LAG_H
#define BROKER_PROC_LAG_H

#include "broker/proc/broker.h"

/* A group has read from a queue. On the loop.
 * took_ms  -1: not to be counted */
void lag_count(struct broker_loop *bl, struct slice topic, int32_t queue_id, struct slice group,
               const struct get_result *got, int64_t took_ms);

/* With disableConsumeIfConsumerReadSlowly: stop the groups that are further behind than
 * consumerFallbehindThreshold. They stay stopped until their configuration is set anew, as
 * in 4.9.2; a start changes that only when the groups have not been saved since. The housekeeper,
 * every LAG_PERIOD_MS. */
#define LAG_PERIOD_MS 180000
void lag_stop_slow_groups(struct broker *broker, struct arena *arena);

#endif
