/* SPDX-License-Identifier: Apache-2.0
 *
 * GET_BROKER_RUNTIME_INFO: a table of strings that mqadmin and the dashboard take apart, so names
 * and formats are 4.9.2's (ST-05).
 */
#include "broker/proc/acks.h"
#include "broker/proc/broker.h"
#include "broker/proc/handlers.h"
#include "broker/proc/replica_watch.h"

#include "broker/repl/replication.h"
#include "common/sys/log.h"
#include "proto/header.pb-c.h"
#include "proto/json.h"

#include <stdio.h>

#define ENTRIES_MAX 128

struct info {
    struct broker *broker;
    struct arena *arena;
    KVTable table;
    StringEntry *entries[ENTRIES_MAX];
};

static void put(struct info *info, const char *key, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void put(struct info *info, const char *key, const char *format, ...)
{
    if (info->table.n_table == ENTRIES_MAX)
        return;
    va_list args;
    va_start(args, format);
    StringEntry *entry = arena_alloc(info->arena, sizeof *entry);
    string_entry__init(entry);
    entry->key = arena_cstr(info->arena, slice_of_cstr(key));
    entry->value = arena_vprintf(info->arena, format, args);
    va_end(args);
    info->entries[info->table.n_table++] = entry;
}

static void put_number(struct info *info, const char *key, int64_t value)
{
    put(info, key, "%lld", (long long)value);
}

/* As Java prints a double. */
static void put_double(struct info *info, const char *key, double value)
{
    struct buf text = BUF_EMPTY;
    json_write_double(&text, value);
    put(info, key, "%.*s", SLICE_ARGS(buf_slice(&text)));
    buf_release(&text);
}

static void put_text(struct info *info, const char *key,
                     void (*print)(const struct stats *stats, struct buf *out))
{
    struct buf text = BUF_EMPTY;
    print(info->broker->stats, &text);
    put(info, key, "%.*s", SLICE_ARGS(buf_slice(&text)));
    buf_release(&text);
}

/* "593 B", "2.4 KiB", "73.6 GiB": as Java's UtilAll prints sizes. */
static const char *human_bytes(struct info *info, int64_t bytes)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)bytes;
    int unit = -1;
    if (bytes < 1024)
        return arena_printf(info->arena, "%lld B", (long long)bytes);
    while (value >= 1024 && unit < 5) {
        value /= 1024;
        unit++;
    }
    return arena_printf(info->arena, "%.1f %s", value, units[unit]);
}

static void put_statistics(struct info *info, int64_t now_ms)
{
    struct stats_totals totals = stats_totals(info->broker->stats);
    int64_t seconds = (now_ms - totals.boot_ms) / 1000;
    put_number(info, "bootTimestamp", totals.boot_ms);
    put(info, "runtime", "[ %lld days, %lld hours, %lld minutes, %lld seconds ]",
        (long long)(seconds / 86400), (long long)(seconds / 3600 % 24),
        (long long)(seconds / 60 % 60), (long long)(seconds % 60));
    put_number(info, "putMessageEntireTimeMax", totals.put_time_max_ms);
    put_number(info, "getMessageEntireTimeMax", totals.get_time_max_ms);
    put_number(info, "putMessageTimesTotal", totals.put_times == 0 ? 1 : totals.put_times);
    put_number(info, "putMessageSizeTotal", totals.put_bytes);
    put_double(info, "putMessageAverageSize",
               (double)totals.put_bytes / (double)(totals.put_times == 0 ? 1 : totals.put_times));
    put_text(info, "putMessageDistributeTime", stats_put_distribution);
    put_text(info, "putTps", stats_put_tps);
    put_text(info, "getFoundTps", stats_get_found_tps);
    put_text(info, "getMissTps", stats_get_miss_tps);
    put_text(info, "getTotalTps", stats_get_total_tps);
    put_text(info, "getTransferedTps", stats_get_transferred_tps);
    put_number(info, "msgPutTotalYesterdayMorning", totals.put_yesterday_morning);
    put_number(info, "msgPutTotalTodayMorning", totals.put_today_morning);
    put_number(info, "msgPutTotalTodayNow", totals.put_times);
    put_number(info, "msgGetTotalYesterdayMorning", totals.got_yesterday_morning);
    put_number(info, "msgGetTotalTodayMorning", totals.got_today_morning);
    put_number(info, "msgGetTotalTodayNow", totals.got_messages);
}

static void put_store(struct info *info)
{
    struct store *store = info->broker->store;
    struct store_disk disk = store_disk(store);
    struct log_range range;
    struct record record;
    int64_t earliest_ms = -1;
    char why[256];
    if (store_read_record(store, store_min_pos(store), &range) == STATUS_OK) {
        if (record_decode(slice_of(range.data, range.size), RECORD_CHECK_FRAME, &record) ==
            STATUS_OK)
            earliest_ms = record.store_timestamp_ms;
        log_range_release(&range);
    }
    put_number(info, "commitLogMinOffset", store_min_pos(store));
    put_number(info, "commitLogMaxOffset", store_appended_pos(store));
    put_number(info, "dispatchBehindBytes",
               store_appended_pos(store) - store_dispatched_pos(store));
    put(info, "remainHowManyDataToFlush", "%s",
        human_bytes(info, store_appended_pos(store) - store_flushed_pos(store)));
    put_number(info, "earliestMessageTimeStamp", earliest_ms);
    put(info, "commitLogDiskRatio", "%.2f", store_disk_ratio(disk.commit_log_percent));
    put(info,
        arena_printf(info->arena, "commitLogDiskRatio_%s",
                     (const char *)info->broker->conf.storePathCommitLog),
        "%.2f", store_disk_ratio(disk.commit_log_percent));
    put(info, "consumeQueueDiskRatio", "%.2f", store_disk_ratio(disk.queues_percent));
    put(info, "commitLogDirCapacity", "Total : %s, Free : %s.", human_bytes(info, disk.total_bytes),
        human_bytes(info, disk.free_bytes));
    put(info, "storeWritable", "%s",
        store_writable(store, why, sizeof why) ? "true" : arena_printf(info->arena, "%s", why));
    put_number(info, "dispatchMaxBuffer", 0);
    put_number(info, "pageCacheLockTimeMills", store_append_busy_ms(store));
    put_number(info, "flushTimeMills", store_flush_busy_ms(store));
    put_number(info, "remainTransientStoreBufferNumbs", INT32_MAX);
}

/* Not of 4.9.2: what the store's cold readers did. */
static void put_cold_reads(struct info *info)
{
    struct store_cold cold = store_cold(info->broker->store);
    put_number(info, "coldReads", cold.reads);
    put_number(info, "coldReadsWaiting", cold.waiting);
    put_number(info, "coldReadBytes", cold.read_bytes);
    put_number(info, "coldReadBytesKept", cold.kept_bytes);
    put_number(info, "coldReadBytesDropped", cold.dropped_bytes);
    put_number(info, "coldReadFailures", cold.failures);
}

static void put_delays(struct info *info)
{
    struct broker *broker = info->broker;
    for (int level = 1; level <= broker->delay_level_count; level++) {
        struct queue *queue =
            store_queue(broker->store, SLICE_LITERAL(TOPIC_SCHEDULE), level - 1, false);
        if (queue == NULL)
            continue;
        put(info, arena_printf(info->arena, "scheduleMessageOffset_%d", level), "%lld,%lld",
            (long long)delay_offset(broker->delay, level), (long long)queue_max_offset(queue));
    }
}

/* The keys of RocketMQ 5, and ours. */
static void put_timers(struct info *info)
{
    struct broker *broker = info->broker;
    struct timer_figures figures = {.pending = 0};
    int64_t now_ms = clock_wall_ms(broker->clock);
    if (broker->timer == NULL)
        return;
    timer_figures(broker->timer, &figures);
    int64_t late_ms =
        figures.next_ms == 0 || figures.next_ms > now_ms ? 0 : now_ms - figures.next_ms;
    put_number(info, "timerReadBehind", late_ms / 1000);
    put_number(info, "timerOffsetBehind", figures.behind);
    put_number(info, "timerCongestNum", figures.pending);
    put_number(info, "timersDelivered", figures.delivered);
    put_number(info, "timersCancelled", figures.cancelled);
    put_number(info, "timersRolled", figures.rolled);
    put_number(info, "timersDropped", figures.dropped);
}

/* 4.9.2's thread pools are loops here: nothing waits in front of them, except sends while the disk
 * is slow. */
static void put_pools(struct info *info)
{
    const struct broker_conf *conf = &info->broker->conf;
    int64_t total = 0;
    int64_t now_ms = clock_monotonic_ms(info->broker->clock);
    int64_t oldest_ms = now_ms;
    for (int i = 0; i < info->broker->loop_count; i++) {
        int64_t sends;
        int64_t since_ms;
        acks_queue(info->broker->per_loop[i].acks, &sends, &since_ms);
        total += sends;
        if (since_ms != 0 && since_ms < oldest_ms)
            oldest_ms = since_ms;
    }
    put_number(info, "sendThreadPoolQueueSize", total);
    put_number(info, "sendThreadPoolQueueCapacity", conf->sendThreadPoolQueueCapacity);
    put_number(info, "sendThreadPoolQueueHeadWaitTimeMills", now_ms - oldest_ms);
    put_number(info, "pullThreadPoolQueueSize", 0);
    put_number(info, "pullThreadPoolQueueCapacity", conf->pullThreadPoolQueueCapacity);
    put_number(info, "pullThreadPoolQueueHeadWaitTimeMills", 0);
    put_number(info, "queryThreadPoolQueueSize", 0);
    put_number(info, "queryThreadPoolQueueCapacity", conf->queryThreadPoolQueueCapacity);
    put_number(info, "queryThreadPoolQueueHeadWaitTimeMills", 0);
    put_number(info, "EndTransactionQueueSize", 0);
    put_number(info, "EndTransactionThreadPoolQueueCapacity",
               conf->endTransactionPoolQueueCapacity);
    put_number(info, "startAcceptSendRequestTimeStamp", conf->startAcceptSendRequestTimeStamp);
}

static void put_slave(struct info *info, size_t number, const struct replica_view *view)
{
    const struct replica_state *state = &view->state;
    char address[HOST_TEXT_BYTES];
    host_format(&state->identity.address, address);
    put(info, arena_printf(info->arena, "slave.%zu", number),
        "brokerId=%s address=%s %s behindBytes=%lld behindSeconds=%.3f acked=%lld sent=%lld "
        "bytesPerSecond=%lld reports=%s joined=%lld",
        state->identity.broker_id < 0
            ? "?"
            : arena_printf(info->arena, "%lld", (long long)state->identity.broker_id),
        address, view->in_sync ? "inSync" : "notInSync", (long long)view->behind_bytes,
        (double)view->behind_ms / 1000, (long long)state->acked_pos, (long long)state->sent_pos,
        (long long)view->bytes_per_second, state->identity.flushes ? "disk" : "pageCache",
        (long long)state->joined_ms);
}

/* Not of 4.9.2, which shows nothing of its slaves but in its log. */
static void put_slaves(struct info *info)
{
    struct broker *broker = info->broker;
    struct replica_view list[REPLICAS_MAX];
    size_t count = replica_watch_list(broker->replica_watch, list);
    int64_t in_sync = 0;
    for (size_t i = 0; i < count; i++)
        in_sync += list[i].in_sync;
    put_number(info, "slaves", (int64_t)count);
    put_number(info, "slavesInSync", in_sync);
    put_number(info, "slaveAckedOffset", replicas_acked_pos(broker->replicas));
    put_number(info, "slaveFallBehindBytes",
               store_appended_pos(broker->store) - replicas_acked_pos(broker->replicas));
    for (size_t i = 0; i < count; i++)
        put_slave(info, i + 1, &list[i]);
}

static void put_master(struct info *info)
{
    struct broker *broker = info->broker;
    struct replication_slave_state state;
    int64_t now_ms = clock_wall_ms(broker->clock);
    int64_t end_pos = store_appended_pos(broker->store);
    replication_slave_state(broker->replication, &state);
    put(info, "masterHaAddress", "%s", state.master);
    put(info, "masterConnection", "%s%s%s",
        state.connected ? "connected"
        : state.refused ? "refused"
                        : "notConnected",
        state.why[0] == '\0' || state.connected ? "" : ": ", state.connected ? "" : state.why);
    put_number(info, "masterConnectionSince", state.since_ms);
    if (state.connected)
        put_number(info, "masterProtocol", state.protocol);
    if (state.master_end_pos >= 0)
        put_number(info, "masterBehindBytes",
                   state.master_end_pos > end_pos ? state.master_end_pos - end_pos : 0);
    if (state.heard_ms > 0)
        put(info, "masterHeardSecondsAgo", "%.3f", (double)(now_ms - state.heard_ms) / 1000);
}

static void put_replication(struct info *info)
{
    static const char *const roles[] = {[BROKER_ROLE_ASYNC_MASTER] = "ASYNC_MASTER",
                                        [BROKER_ROLE_SYNC_MASTER] = "SYNC_MASTER",
                                        [BROKER_ROLE_SLAVE] = "SLAVE"};
    put(info, "brokerRole", "%s", roles[info->broker->conf.brokerRole]);
    if (broker_is_slave(info->broker))
        put_master(info);
    else
        put_slaves(info);
}

void handle_get_broker_runtime_info(struct broker *broker, struct call *call)
{
    struct info info = {.broker = broker, .arena = call->arena};
    struct net_stats net = server_stats(broker->server);
    kvtable__init(&info.table);
    info.table.table = info.entries;
    put_statistics(&info, clock_wall_ms(broker->clock));
    put_store(&info);
    put_cold_reads(&info);
    put_delays(&info);
    put_timers(&info);
    put_pools(&info);
    put_replication(&info);
    put(&info, "brokerVersionDesc", "V4_9_2");
    put_number(&info, "brokerVersion", COMMAND_VERSION_4_9_2);
    put(&info, "cometmqVersion", "%s", COMETMQ_VERSION);
    put_number(&info, "connections", net.connections);
    put_number(&info, "connectionsClosedMalformed", net.closed_malformed);
    put_number(&info, "inFlightBytes", net.in_flight_bytes);
    call_succeed_body(call, NULL, &info.table.base);
}
