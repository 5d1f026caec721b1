/* SPDX-License-Identifier: Apache-2.0
 *
 * Requests that an administrator sends through the broker to a consumer (CL-10): the broker finds
 * the consumer's connection, passes the request on and hands the answer back.
 */
#include "broker/proc/broker.h"
#include "broker/proc/handlers.h"

#include "common/base/check.h"
#include "proto/ext_bind.h"
#include "proto/header.pb-c.h"
#include "proto/signature.h"

#include <stdlib.h>
#include <string.h>

#define RELAY_TIMEOUT_MS 10000

struct relay {
    struct reply_to to;
    char group[256];
    char client_id[256];
};

/* The consumer has answered, or will not. On its loop. */
static void relayed(void *ctx, enum status status, const struct command *response,
                    struct slice body, struct arena *arena)
{
    struct relay *relay = ctx;
    if (status == STATUS_OK) {
        struct response answer = {
            .code = response->code,
            .remark = response->has_remark ? arena_cstr(arena, response->remark) : NULL,
            .ext = response->ext,
            .body = body,
        };
        net_reply(relay->to, &answer);
    } else if (status == STATUS_TIMEOUT) {
        net_reply_error(relay->to, RESPONSE_CONSUME_MSG_TIMEOUT,
                        "consumer <%s> <%s> Timeout: no answer within %d ms", relay->group,
                        relay->client_id, RELAY_TIMEOUT_MS);
    } else {
        net_reply_error(relay->to, RESPONSE_SYSTEM_ERROR, "invoke consumer <%s> <%s> failed: %s",
                        relay->group, relay->client_id,
                        status == STATUS_BUSY
                            ? "too many requests wait for its answer, or it does not read them"
                            : "its connection closed");
    }
    free(relay);
}

/* The fields without who has asked and his signature, which are nobody's business but ours: who has
 * them could ask the same again. */
static struct ext_map without_signature(const struct ext_map *ext, struct arena *arena)
{
    struct ext_map out = {.present = ext->present};
    for (uint32_t i = 0; i < ext->count; i++) {
        struct slice name = ext->fields[i].name;
        if (!slice_is(name, FIELD_ACCESS_KEY) && !slice_is(name, FIELD_SIGNATURE) &&
            !slice_is(name, FIELD_SECURITY_TOKEN))
            ext_append(&out, arena, name, ext->fields[i].value);
    }
    return out;
}

/* Pass the call on, with its fields and `body`. */
static void pass_on(struct broker *broker, struct call *call, const char *group,
                    const char *client_id, struct ext_map ext, struct slice body)
{
    struct client_info client;
    if (!clients_find_consumer(broker->clients, slice_of_cstr(group), slice_of_cstr(client_id),
                               &client, call->arena)) {
        call_fail(call, RESPONSE_SYSTEM_ERROR, "The Consumer <%s> <%s> not online", group,
                  client_id);
        return;
    }
    if (client.version < VERSION_3_1_8) { /* can not answer */
        call_fail(call, RESPONSE_SYSTEM_ERROR,
                  "The Consumer <%s> Version <%d> too low to finish, please upgrade it to "
                  "V3_1_8_SNAPSHOT",
                  client_id, (int)client.version);
        return;
    }
    struct relay *relay = xcalloc(1, sizeof *relay);
    relay->to = call_reply_to(call);
    (void)strncpy(relay->group, group, sizeof relay->group - 1);
    (void)strncpy(relay->client_id, client_id, sizeof relay->client_id - 1);
    struct request request = {
        .code = call->request->code,
        .ext = without_signature(&ext, call->arena),
        .body = body,
        .codec = CODEC_JSON, /* what every client reads, whatever the tool speaks */
        .timeout_ms = RELAY_TIMEOUT_MS,
    };
    net_call(client.conn, &request, relayed, relay);
}

void handle_get_consumer_running_info(struct broker *broker, struct call *call)
{
    GetConsumerRunningInfoRequestHeader header;
    get_consumer_running_info_request_header__init(&header);
    if (call_bind(call, &header.base))
        pass_on(broker, call, header.consumer_group, header.client_id, call->request->ext,
                call->body);
}

void handle_consume_message_directly(struct broker *broker, struct call *call)
{
    ConsumeMessageDirectlyResultRequestHeader header;
    struct log_range range;
    struct host host;
    int64_t pos = 0;
    consume_message_directly_result_request_header__init(&header);
    if (!call_bind(call, &header.base))
        return;
    if (header.client_id == NULL || header.msg_id == NULL ||
        !message_id_parse(slice_of_cstr(header.msg_id), &host, &pos) ||
        store_read_record(broker->store, pos, &range) != STATUS_OK) {
        call_fail(call, RESPONSE_SYSTEM_ERROR,
                  "no message has the msgId <%s>, or clientId is "
                  "missing",
                  header.msg_id == NULL ? "" : header.msg_id);
        return;
    }
    struct ext_map ext = call->request->ext;
    ext_append(&ext, call->arena, SLICE_LITERAL("brokerName"),
               slice_of_cstr(broker->conf.brokerName));
    struct slice record = arena_copy(call->arena, slice_of(range.data, range.size));
    log_range_release(&range);
    pass_on(broker, call, header.consumer_group, header.client_id, ext, record);
}
