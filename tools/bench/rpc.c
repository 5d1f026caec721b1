/* SPDX-License-Identifier: Apache-2.0
 *
 * Requests are numbered from 1; an answer with another number belongs to a call that timed out and
 * is skipped, as are requests of the server's own.
 */
#include "tools/bench/rpc.h"

#include "common/base/limits.h"
#include "common/base/number.h"
#include "common/sys/clock.h"
#include "proto/body_json.h"
#include "proto/ext_bind.h"
#include "proto/header.pb-c.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>

#define ARENA_BLOCK_BYTES 65536
#define READ_BYTES 65536

enum status rpc_open(struct rpc *rpc, const char *address, enum codec codec, int64_t timeout_ms,
                     struct err *err)
{
    memset(rpc, 0, sizeof *rpc);
    rpc->link.fd = -1;
    rpc->codec = codec;
    rpc->timeout_ms = timeout_ms;
    rpc->next_opaque = 1;
    snprintf(rpc->address, sizeof rpc->address, "%s", address);
    arena_init(&rpc->arena, ARENA_BLOCK_BYTES);
    enum status status = link_open(&rpc->link, address, timeout_ms, err);
    if (status != STATUS_OK)
        rpc_close(rpc);
    return status;
}

void rpc_close(struct rpc *rpc)
{
    link_close(&rpc->link);
    arena_release(&rpc->arena);
    buf_release(&rpc->out);
    buf_release(&rpc->in);
}

static enum status write_all(struct rpc *rpc, int64_t deadline_ms)
{
    size_t done = 0;
    while (done < rpc->out.size) {
        ssize_t wrote = link_send(&rpc->link, rpc->out.data + done, rpc->out.size - done);
        if (wrote > 0) {
            done += (size_t)wrote;
        } else if (errno == EAGAIN) {
            enum status status = link_await(&rpc->link, POLLOUT, deadline_ms);
            if (status != STATUS_OK)
                return status;
        } else if (errno != EINTR) {
            return STATUS_CLOSED;
        }
    }
    return STATUS_OK;
}

/* Read until one whole frame stands at the start of `in`. */
static enum status read_frame(struct rpc *rpc, struct frame *frame, int64_t deadline_ms)
{
    for (;;) {
        size_t needed = 0;
        enum status status = frame_split(buf_slice(&rpc->in), FRAME_BYTES_MAX, frame, &needed);
        if (status != STATUS_TRUNCATED)
            return status;
        uint8_t *room = buf_reserve(&rpc->in, READ_BYTES);
        ssize_t got = link_receive(&rpc->link, room, READ_BYTES);
        if (got > 0) {
            rpc->in.size += (size_t)got;
        } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
            return STATUS_CLOSED;
        } else {
            status = link_await(&rpc->link, POLLIN, deadline_ms);
            if (status != STATUS_OK)
                return status;
        }
    }
}

static void drop_frame(struct rpc *rpc, const struct frame *frame)
{
    size_t rest = rpc->in.size - frame->frame_bytes;
    memmove(rpc->in.data, rpc->in.data + frame->frame_bytes, rest);
    rpc->in.size = rest;
}

static enum status await_answer(struct rpc *rpc, int32_t opaque, struct rpc_answer *answer,
                                int64_t deadline_ms)
{
    for (;;) {
        struct frame frame;
        enum status status = read_frame(rpc, &frame, deadline_ms);
        if (status != STATUS_OK)
            return status;
        struct slice header = arena_copy(&rpc->arena, frame.header);
        struct slice body = arena_copy(&rpc->arena, frame.body);
        enum codec codec = frame.codec;
        drop_frame(rpc, &frame);
        status = command_decode(codec, header, &rpc->arena, &answer->command);
        if (status != STATUS_OK)
            return status;
        answer->body = body;
        if (command_is_response(&answer->command) && answer->command.opaque == opaque)
            return STATUS_OK;
    }
}

enum status rpc_call(struct rpc *rpc, int32_t code, const ProtobufCMessage *header,
                     struct slice body, struct rpc_answer *answer, struct err *err)
{
    arena_reset(&rpc->arena);
    buf_clear(&rpc->out);
    struct command request = {
        .code = code,
        .language = LANGUAGE_JAVA,
        .version = COMMAND_VERSION_4_9_2,
        .opaque = rpc->next_opaque++,
    };
    if (header != NULL)
        ext_from_message(header, &rpc->arena, &request.ext);
    enum status status = command_encode(rpc->codec, &request, body.size, &rpc->out);
    int64_t deadline_ms = clock_monotonic_ms(clock_real()) + rpc->timeout_ms;
    if (status == STATUS_OK) {
        buf_append_slice(&rpc->out, body);
        status = write_all(rpc, deadline_ms);
    }
    if (status == STATUS_OK)
        status = await_answer(rpc, request.opaque, answer, deadline_ms);
    if (status != STATUS_OK) {
        const struct command_info *info = command_info(code);
        return err_set(err, status, "%s to %s: %s", info == NULL ? "?" : info->name, rpc->address,
                       status_text(status));
    }
    return STATUS_OK;
}

enum status rpc_expect(struct rpc *rpc, int32_t code, const ProtobufCMessage *header,
                       struct slice body, struct rpc_answer *answer, struct err *err)
{
    enum status status = rpc_call(rpc, code, header, body, answer, err);
    if (status != STATUS_OK || answer->command.code == RESPONSE_SUCCESS)
        return status;
    const struct command_info *info = command_info(code);
    return err_set(err, STATUS_INVALID, "%s answered %s with code %d (%s): %.*s", rpc->address,
                   info == NULL ? "?" : info->name, answer->command.code,
                   response_name(answer->command.code), SLICE_ARGS(answer->command.remark));
}

enum status rpc_create_topic(struct rpc *broker, const char *topic, int queue_count,
                             struct err *err)
{
    char name[TOPIC_BYTES_MAX + 1];
    char default_topic[] = "TBW102";
    char filter[] = "SINGLE_TAG";
    snprintf(name, sizeof name, "%s", topic);
    CreateTopicRequestHeader header = CREATE_TOPIC_REQUEST_HEADER__INIT;
    header.topic = name;
    header.default_topic = default_topic;
    header.read_queue_nums = queue_count;
    header.write_queue_nums = queue_count;
    header.perm = 6;
    header.topic_filter_type = filter;
    header.has_topic_sys_flag = 1;
    struct rpc_answer answer;
    return rpc_expect(broker, REQUEST_UPDATE_AND_CREATE_TOPIC, &header.base, SLICE_EMPTY, &answer,
                      err);
}

static enum status ask_offset(struct rpc *broker, int32_t code, const char *topic, int queue_id,
                              int64_t *out, struct err *err)
{
    char name[TOPIC_BYTES_MAX + 1];
    snprintf(name, sizeof name, "%s", topic);
    GetMaxOffsetRequestHeader header = GET_MAX_OFFSET_REQUEST_HEADER__INIT;
    header.topic = name;
    header.queue_id = queue_id;
    struct rpc_answer answer;
    enum status status = rpc_expect(broker, code, &header.base, SLICE_EMPTY, &answer, err);
    if (status != STATUS_OK)
        return status;
    struct slice text;
    if (!ext_find(&answer.command.ext, SLICE_LITERAL("offset"), &text) || !parse_i64(text, out))
        return err_set(err, STATUS_MALFORMED, "%s answered without an offset", broker->address);
    return STATUS_OK;
}

enum status rpc_queue_bounds(struct rpc *broker, const char *topic, int queue_id, int64_t *min,
                             int64_t *max, struct err *err)
{
    enum status status = ask_offset(broker, REQUEST_GET_MIN_OFFSET, topic, queue_id, min, err);
    if (status == STATUS_OK)
        status = ask_offset(broker, REQUEST_GET_MAX_OFFSET, topic, queue_id, max, err);
    return status;
}

enum status rpc_route(struct rpc *namesrv, const char *topic, TopicRouteData *route,
                      struct err *err)
{
    char name[TOPIC_BYTES_MAX + 1];
    snprintf(name, sizeof name, "%s", topic);
    GetRouteInfoRequestHeader header = GET_ROUTE_INFO_REQUEST_HEADER__INIT;
    header.topic = name;
    struct rpc_answer answer;
    enum status status =
        rpc_call(namesrv, REQUEST_GET_ROUTEINFO_BY_TOPIC, &header.base, SLICE_EMPTY, &answer, err);
    if (status != STATUS_OK)
        return status;
    if (answer.command.code == RESPONSE_TOPIC_NOT_EXIST)
        return err_set(err, STATUS_NOT_FOUND, "%s knows no route for topic %s", namesrv->address,
                       topic);
    if (answer.command.code != RESPONSE_SUCCESS)
        return err_set(err, STATUS_INVALID, "%s answered the route query for %s with code %d: %.*s",
                       namesrv->address, topic, answer.command.code,
                       SLICE_ARGS(answer.command.remark));
    topic_route_data__init(route);
    return body_decode(answer.body, &namesrv->arena, &route->base, err);
}

const char *route_master(const TopicRouteData *route, const char *broker_name)
{
    for (size_t i = 0; i < route->n_broker_datas; i++) {
        const BrokerData *broker = route->broker_datas[i];
        if (broker_name != NULL && strcmp(broker->broker_name, broker_name) != 0)
            continue;
        for (size_t k = 0; k < broker->n_broker_addrs; k++)
            if (broker->broker_addrs[k]->key == 0)
                return broker->broker_addrs[k]->value;
    }
    return NULL;
}

enum status rpc_send(struct rpc *broker, const char *group, const char *topic, int queue_id,
                     struct slice properties, struct slice body, struct rpc_answer *answer,
                     struct err *err)
{
    SendMessageRequestHeaderV2 header = SEND_MESSAGE_REQUEST_HEADER_V2__INIT;
    char group_text[GROUP_BYTES_MAX + 1];
    char topic_text[TOPIC_BYTES_MAX + 1];
    char properties_text[1024];
    char default_topic[] = "TBW102";
    snprintf(group_text, sizeof group_text, "%s", group);
    snprintf(topic_text, sizeof topic_text, "%s", topic);
    snprintf(properties_text, sizeof properties_text, "%.*s", SLICE_ARGS(properties));
    header.a = group_text;
    header.b = topic_text;
    header.c = default_topic;
    header.d = 4;
    header.e = queue_id;
    header.g = clock_wall_ms(clock_real());
    header.i = properties_text;
    header.has_j = header.has_k = header.has_m = 1;
    return rpc_call(broker, REQUEST_SEND_MESSAGE_V2, &header.base, body, answer, err);
}

enum status rpc_pull(struct rpc *broker, const char *group, const char *topic, int queue_id,
                     int64_t offset, int max_messages, struct rpc_answer *answer, struct err *err)
{
    enum { WITH_SUBSCRIPTION = 4 };
    char group_text[GROUP_BYTES_MAX + 1];
    char topic_text[TOPIC_BYTES_MAX + 1];
    char expression[] = "*";
    char expression_type[] = "TAG";
    snprintf(group_text, sizeof group_text, "%s", group);
    snprintf(topic_text, sizeof topic_text, "%s", topic);
    PullMessageRequestHeader header = PULL_MESSAGE_REQUEST_HEADER__INIT;
    header.consumer_group = group_text;
    header.topic = topic_text;
    header.queue_id = queue_id;
    header.queue_offset = offset;
    header.max_msg_nums = max_messages;
    header.sys_flag = WITH_SUBSCRIPTION;
    header.subscription = expression;
    header.expression_type = expression_type;
    return rpc_call(broker, REQUEST_PULL_MESSAGE, &header.base, SLICE_EMPTY, answer, err);
}
