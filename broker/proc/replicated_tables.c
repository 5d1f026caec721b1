/* SPDX-License-Identifier: Apache-2.0
 *
 * GET_REPLICATED_TABLES, our own: a slave tells which versions of the tables it has and gets what
 * it lacks, of all of them with one request. 4.9.2's slaves use 21, 43, 45 and 201, each with the
 * whole table (admin_topics.c, admin_groups.c).
 */
#include "broker/proc/broker.h"
#include "broker/proc/handlers.h"

#include "broker/state/request_modes.h"
#include "proto/header.pb-c.h"

static bool is_ours(struct broker *broker, struct call *call,
                    const GetReplicatedTablesRequestHeader *header)
{
    if (broker_is_slave(broker)) {
        call_fail(call, RESPONSE_SYSTEM_ERROR,
                  "the broker[%s] is a slave itself, it has no tables to give; its registration as "
                  "a master may be an old one",
                  broker->address);
        return false;
    }
    if (strcmp(header->cluster_name, broker->conf.brokerClusterName) == 0 &&
        strcmp(header->broker_name, broker->conf.brokerName) == 0 && header->broker_id > 0)
        return true;
    call_fail(call, RESPONSE_NO_PERMISSION,
              "this is %s of %s, no master for slave %lld of %s of %s; set brokerClusterName and "
              "brokerName of the slave to those of its master",
              (const char *)broker->conf.brokerName, (const char *)broker->conf.brokerClusterName,
              (long long)header->broker_id, header->broker_name, header->cluster_name);
    return false;
}

static void wrap_configs(struct broker *broker, const GetReplicatedTablesRequestHeader *header,
                         struct arena *arena, ReplicatedTables *out)
{
    uint64_t changes;
    struct data_version topics = topics_version(broker->topics, &changes);
    struct data_version groups = groups_version(broker->groups, &changes);
    if (topics.counter != header->topics_counter ||
        topics.timestamp_ms != header->topics_timestamp) {
        out->topics = arena_alloc(arena, sizeof *out->topics);
        topics_wrap(broker->topics, NULL, -1, arena, out->topics);
    }
    if (groups.counter != header->groups_counter ||
        groups.timestamp_ms != header->groups_timestamp) {
        out->groups = arena_alloc(arena, sizeof *out->groups);
        groups_wrap(broker->groups, arena, out->groups);
    }
}

static void wrap_modes(struct broker *broker, int64_t known, struct arena *arena,
                       ReplicatedTables *out)
{
    out->modes_version = (int64_t)request_modes_version(broker->request_modes);
    if (known == out->modes_version)
        return;
    out->modes = arena_alloc(arena, sizeof *out->modes);
    out->modes_version = (int64_t)request_modes_wrap(broker->request_modes, arena, out->modes);
}

static void wrap_progress(struct broker *broker, struct arena *arena, ReplicatedTables *out)
{
    out->delay = arena_alloc(arena, sizeof *out->delay);
    out->delay_proof = delay_wrap_proof(broker->delay, arena, out->delay);
    if (broker->timer != NULL) {
        out->timer = arena_alloc(arena, sizeof *out->timer);
        out->timer_proof = timer_copy_progress(broker->timer, arena, out->timer);
    }
}

void handle_get_replicated_tables(struct broker *broker, struct call *call)
{
    GetReplicatedTablesRequestHeader header;
    ReplicatedTables body;
    ConsumerOffsetSerializeWrapper offsets;
    bool whole = false;
    get_replicated_tables_request_header__init(&header);
    replicated_tables__init(&body);
    if (!call_bind(call, &header.base) || !is_ours(broker, call, &header))
        return;
    bool same_boot = header.boot_id != NULL && strcmp(header.boot_id, broker->boot_id) == 0;
    body.boot_id = broker->boot_id;
    /* Progress first: what it says of the log is then true of the tables behind it, too. */
    wrap_progress(broker, call->arena, &body);
    wrap_configs(broker, &header, call->arena, &body);
    wrap_modes(broker, same_boot ? header.modes_version : -1, call->arena, &body);
    body.offsets_version = offsets_wrap_since(
        broker->offsets, same_boot ? header.offsets_version : -1, call->arena, &offsets, &whole);
    body.offsets_whole = whole;
    body.offsets_proof = store_appended_pos(broker->store);
    if (whole || offsets.n_offset_table > 0)
        body.offsets = &offsets;
    call_succeed_body(call, NULL, &body.base);
}
