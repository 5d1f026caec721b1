/* SPDX-License-Identifier: Apache-2.0
 *
 * GET_BROKER_CONFIG and UPDATE_BROKER_CONFIG (AD-02, AD-03). On the worker pool: an update is
 * written into the configuration file before it is answered.
 */
#include "broker/proc/broker.h"
#include "broker/proc/handlers.h"
#include "broker/proc/registrar.h"

#include "common/sys/log.h"
#include "proto/header.pb-c.h"

#include <stdatomic.h>

void handle_get_broker_config(struct broker *broker, struct call *call)
{
    GetBrokerConfigResponseHeader header;
    struct buf text = BUF_EMPTY;
    get_broker_config_response_header__init(&header);
    header.version = arena_printf(call->arena, "{\"counter\":%lld,\"timestamp\":%lld}",
                                  (long long)atomic_load(&broker->conf_changes),
                                  (long long)atomic_load(&broker->conf_changed_ms));
    conf_list(&broker->conf_table, &text);
    struct response response = {
        .code = RESPONSE_SUCCESS, .header = &header.base, .body = buf_slice(&text)};
    net_reply(call_reply_to(call), &response);
    buf_release(&text);
}

void handle_update_broker_config(struct broker *broker, struct call *call)
{
    struct err err = {0};
    int64_t permission = broker->conf.brokerPermission;
    if (conf_update(&broker->conf_table, call->body, &err) != STATUS_OK) {
        call_fail(call, RESPONSE_SYSTEM_ERROR, "nothing was changed: %s", err.text);
        return;
    }
    atomic_fetch_add(&broker->conf_changes, 1);
    atomic_store(&broker->conf_changed_ms, clock_wall_ms(broker->clock));
    if (conf_rewrite_file(&broker->conf_table, broker->conf_path, &err) != STATUS_OK) {
        call_fail(call, RESPONSE_SYSTEM_ERROR,
                  "the change is in force, but lost at the next start: %s", err.text);
        return;
    }
    char peer[HOST_TEXT_BYTES];
    host_format(&call->peer, peer);
    log_info("conf", "configuration changed by an administrator", "by=%s file=%s", peer,
             broker->conf_path);
    if (permission != broker->conf.brokerPermission) {
        topics_touch_version(broker->topics); /* TP-11 */
        registrar_announce(broker->registrar);
    }
    call_succeed(call, NULL);
}
