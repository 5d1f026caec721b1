/* SPDX-License-Identifier: Apache-2.0
 *
 * GET_BROKER_HA_STATUS (907), by which RocketMQ 5's `mqadmin haStatus` shows the slaves of a
 * master, and how a slave gets on. Source: DefaultHAService.getRuntimeInfo of 5.3.3.
 */
#include "broker/proc/broker.h"
#include "broker/proc/handlers.h"
#include "broker/proc/replica_watch.h"

#include "broker/repl/replication.h"
#include "proto/body.pb-c.h"

static HAConnectionRuntimeInfo *connection(struct arena *arena, const struct replica_view *view)
{
    HAConnectionRuntimeInfo *info = arena_alloc(arena, sizeof *info);
    char address[HOST_TEXT_BYTES];
    haconnection_runtime_info__init(info);
    host_format(&view->state.identity.address, address);
    info->addr = arena_cstr(arena, slice_of_cstr(address));
    info->diff = view->behind_bytes;
    info->in_sync = view->in_sync;
    info->slave_ack_offset = view->state.acked_pos;
    info->transfer_from_where = view->state.sent_pos;
    info->transferred_byte_in_second = view->bytes_per_second;
    return info;
}

static void show_slaves(struct broker *broker, struct arena *arena, HARuntimeInfo *out)
{
    struct replica_view list[REPLICAS_MAX];
    size_t count = replica_watch_list(broker->replica_watch, list);
    out->master = true;
    out->master_commit_log_max_offset = store_appended_pos(broker->store);
    out->n_ha_connection_info = count;
    out->ha_connection_info = arena_alloc(arena, REPLICAS_MAX * sizeof(void *));
    for (size_t i = 0; i < count; i++) {
        out->ha_connection_info[i] = connection(arena, &list[i]);
        out->in_sync_slave_nums += list[i].in_sync;
    }
}

static void show_master(struct broker *broker, struct arena *arena, HAClientRuntimeInfo *out)
{
    struct replication_slave_state state;
    replication_slave_state(broker->replication, &state);
    if (state.master[0] != '\0')
        out->master_addr = arena_cstr(arena, slice_of_cstr(state.master));
    out->last_read_timestamp = state.heard_ms;
    out->last_write_timestamp = state.heard_ms; /* every block is reported at once */
    out->master_flush_offset = 0;               /* of 5.x's protocol */
    out->max_offset = store_appended_pos(broker->store);
}

void handle_get_broker_ha_status(struct broker *broker, struct call *call)
{
    HARuntimeInfo body;
    HAClientRuntimeInfo client;
    haruntime_info__init(&body);
    haclient_runtime_info__init(&client);
    body.ha_client_runtime_info = &client;
    if (broker_is_slave(broker))
        show_master(broker, call->arena, &client);
    else
        show_slaves(broker, call->arena, &body);
    call_succeed_body(call, NULL, &body.base);
}
