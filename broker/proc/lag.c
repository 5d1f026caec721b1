/* SPDX-License-Identifier: Apache-2.0
 *
 * Source: RMQ 4.9.2 DefaultMessageStore.getMessage, PullMessageProcessor.readGetMessageResult,
 * BrokerController.protectBroker.
 */
#include "broker/proc/lag.h"

#include "common/sys/log.h"
#include "proto/record.h"

/* When the last message that was given had been stored. Its bytes are in memory, as all that is
 * given. */
static int64_t last_stored_ms(const struct get_result *got)
{
    const struct log_range *range = &got->ranges[got->range_count - 1];
    const uint8_t *record = range->data + range->size - (size_t)got->last_bytes;
    bool wide = (get_i32(record + RECORD_SYS_FLAG_AT) & SYS_FLAG_BORN_HOST_V6) != 0;
    return get_i64(record + RECORD_STORE_TIMESTAMP_AT(wide ? 20 : 8));
}

void lag_count(struct broker_loop *bl, struct slice topic, int32_t queue_id, struct slice group,
               const struct get_result *got, int64_t took_ms)
{
    const struct broker *broker = bl->broker;
    struct queue_read read = {.took_ms = took_ms, .fall_bytes = -1, .fall_ms = -1};
    bool looked = got->status == GET_FOUND || got->status == GET_NO_MATCHED_MESSAGE ||
                  got->status == GET_MESSAGE_WAS_REMOVING;
    if (!looked || group.size == 0)
        return;
    if (broker->conf.diskFallRecorded) {
        int64_t end_pos = store_appended_pos(broker->store);
        read.fall_bytes = end_pos > got->last_pos ? end_pos - got->last_pos : 0;
    }
    if (got->range_count > 0) {
        int64_t late_ms = clock_wall_ms(broker->clock) - last_stored_ms(got);
        read.fall_ms = late_ms > 0 ? late_ms : 0;
    }
    topic_stats_queue_got(bl->meters, topic, queue_id, group, &read);
}

void lag_stop_slow_groups(struct broker *broker, struct arena *arena)
{
    struct slow_group *slow = NULL;
    if (!broker->conf.disableConsumeIfConsumerReadSlowly)
        return;
    size_t count = topic_stats_slow_groups(broker->topic_stats,
                                           broker->conf.consumerFallbehindThreshold, arena, &slow);
    for (size_t i = 0; i < count; i++)
        if (groups_disable_consume(broker->groups, slow[i].group))
            log_warn("protection",
                     "[PROTECT_BROKER] a group reads too slowly; its consumeEnable is false now: "
                     "set it again with mqadmin updateSubGroup when it can follow",
                     "group=%.*s behind_bytes=%lld", SLICE_ARGS(slow[i].group),
                     (long long)slow[i].fall_bytes);
    arena_reset(arena);
}
