/* SPDX-License-Identifier: Apache-2.0
 *
 * Requests of brokers: registration, farewell, version query, and the write permission that an
 * administrator takes from them or gives back.
 *
 * A registration is parsed outside the lock, and its topics only when they matter: the outline of
 * the body holds the data version, which is compared first.
 */
#include "common/base/crc32.h"
#include "common/sys/log.h"
#include "namesrv/handlers_private.h"
#include "namesrv/outline.h"
#include "proto/body_json.h"
#include "proto/header.pb-c.h"
#include "proto/register_body.h"

/* MQVersion ordinal of 3.0.11: from there on the body of a registration is a RegisterBrokerBody,
 * before it was the topic table alone. */
#define VERSION_3_0_11 37

static bool checksum_matches(const struct call *call, const RegisterBrokerRequestHeader *header)
{
    return !header->has_body_crc32 || header->body_crc32 == 0 ||
           (uint32_t)header->body_crc32 == rocketmq_crc32(call->body);
}

static bool names_are_there(const struct call *call, const RegisterBrokerRequestHeader *header,
                            struct response *out)
{
    const char *empty = header->broker_name[0] == '\0'    ? "brokerName"
                        : header->broker_addr[0] == '\0'  ? "brokerAddr"
                        : header->cluster_name[0] == '\0' ? "clusterName"
                                                          : NULL;
    if (empty == NULL)
        return true;
    answer_error(call, out, RESPONSE_SYSTEM_ERROR, "the custom field <%s> is empty", empty);
    return false;
}

/* The body's JSON into the message, whichever of the two forms it has. */
static enum status decode_json(const struct call *call, struct slice json, RegisterBrokerBody *body,
                               struct err *err)
{
    if (call->request->version >= VERSION_3_0_11)
        return body_decode(json, call->arena, &body->base, err);
    TopicConfigSerializeWrapper *wrapper = arena_alloc(call->arena, sizeof *wrapper);
    topic_config_serialize_wrapper__init(wrapper);
    body->topic_config_serialize_wrapper = wrapper;
    return body_decode(json, call->arena, &wrapper->base, err);
}

static void take_body(struct handlers *handlers, const RegisterBrokerBody *body,
                      struct route_registration *registration)
{
    const TopicConfigSerializeWrapper *wrapper = body->topic_config_serialize_wrapper;
    registration->filter_servers = body->filter_server_list;
    registration->filter_server_count = body->n_filter_server_list;
    registration->topics = wrapper == NULL ? NULL : wrapper->topic_config_table;
    registration->topic_count = wrapper == NULL ? 0 : wrapper->n_topic_config_table;
    if (wrapper != NULL && wrapper->data_version != NULL)
        registration->version = (struct route_version){wrapper->data_version->counter,
                                                       wrapper->data_version->timestamp};
    else /* as a new DataVersion of 4.9.2: it differs from all before */
        registration->version = (struct route_version){0, clock_wall_ms(handlers->options.clock)};
}

static void log_registered(const struct route_registration *r, const struct route_registered *done)
{
    if (done->address_is_new)
        log_info("namesrv", "broker registered",
                 "cluster=%.*s broker=%.*s id=%lld address=%.*s ha=%.*s",
                 SLICE_ARGS(r->cluster_name), SLICE_ARGS(r->broker_name), (long long)r->broker_id,
                 SLICE_ARGS(r->broker_addr), SLICE_ARGS(r->ha_server_addr));
    if (done->rival_is_new)
        log_error("namesrv", "two brokers claim the same name and id",
                  "cluster=%.*s broker=%.*s id=%lld address=%.*s other=%.*s mend=\"whichever "
                  "registers last gets the clients; give one of them another %s\"",
                  SLICE_ARGS(r->cluster_name), SLICE_ARGS(r->broker_name), (long long)r->broker_id,
                  SLICE_ARGS(r->broker_addr), SLICE_ARGS(done->rival),
                  r->broker_id == ROUTE_MASTER_ID ? "brokerName, or make it a slave" : "brokerId");
    if (done->topics_added != 0 || done->topics_changed != 0)
        log_info("namesrv", "topics registered", "broker=%.*s added=%zu changed=%zu",
                 SLICE_ARGS(r->broker_name), done->topics_added, done->topics_changed);
    static struct log_gate refused_gate;
    int64_t suppressed = 0;
    if (done->topics_refused != 0 && log_gate_open(&refused_gate, &suppressed))
        log_error("namesrv", "topics refused, a limit of the route table is reached",
                  "broker=%.*s refused=%zu suppressed=%lld", SLICE_ARGS(r->broker_name),
                  done->topics_refused, (long long)suppressed);
}

static void answer_registered(struct handlers *handlers, const struct call *call,
                              const struct route_registered *done, struct response *out)
{
    RegisterBrokerResponseHeader header = REGISTER_BROKER_RESPONSE_HEADER__INIT;
    if (done->master_addr.size != 0) {
        header.master_addr = arena_cstr(call->arena, done->master_addr);
        header.ha_server_addr = arena_cstr(call->arena, done->ha_server_addr);
    }
    answer_header(call, out, &header, sizeof header);
    if (done->rival.size != 0) /* our own; others do not look at it */
        ext_append(&out->ext, call->arena, SLICE_LITERAL("rivalAddr"), done->rival);
    struct buf body = BUF_EMPTY;
    tables_lock(handlers);
    (void)kv_encode_namespace(handlers->kv, SLICE_LITERAL(KV_ORDER_TOPICS), &body);
    tables_unlock(handlers);
    answer_body(call, out, &body);
}

static void finish_registration(struct handlers *handlers, const struct call *call,
                                const struct route_registration *registration, enum status status,
                                const struct route_registered *done, struct response *out)
{
    if (status == STATUS_OK) {
        log_registered(registration, done);
        answer_registered(handlers, call, done, out);
        return;
    }
    static struct log_gate gate;
    int64_t suppressed = 0;
    if (log_gate_open(&gate, &suppressed))
        log_error("namesrv", "registration refused", "broker=%.*s cause=%s suppressed=%lld",
                  SLICE_ARGS(registration->broker_name), status_name(status),
                  (long long)suppressed);
    answer_error(call, out, RESPONSE_SYSTEM_ERROR, "the route table refuses this broker: %s",
                 status_text(status));
}

/* Register from the outline if no topics are wanted; true when that settled it. */
static bool register_by_outline(struct handlers *handlers, const struct call *call,
                                struct route_registration *registration, struct response *out)
{
    struct slice outline;
    if (!outline_cut(call->body, call->arena, &outline))
        return false;
    RegisterBrokerBody body = REGISTER_BROKER_BODY__INIT;
    if (decode_json(call, outline, &body, NULL) != STATUS_OK)
        return false;
    take_body(handlers, &body, registration);

    struct route_registered done;
    enum status status = STATUS_OK;
    tables_lock(handlers);
    bool settled = !route_wants_topics(handlers->route, registration);
    if (settled)
        status = route_register(handlers->route, registration, call->arena, &done);
    tables_unlock(handlers);
    if (settled)
        finish_registration(handlers, call, registration, status, &done, out);
    return settled;
}

static bool read_body(struct handlers *handlers, const struct call *call, bool compressed,
                      struct route_registration *registration, struct response *out)
{
    if (call->body.size == 0) {
        registration->version = (struct route_version){0, 0};
        return true;
    }
    RegisterBrokerBody body = REGISTER_BROKER_BODY__INIT;
    struct err err = {STATUS_OK, 0, ""};
    /* The deflated form came after 3.0.11, as the header field that announces it. */
    enum status status = compressed ? register_body_inflate(call->body, call->arena, &body, &err)
                                    : decode_json(call, call->body, &body, &err);
    if (status != STATUS_OK) {
        answer_error(call, out, RESPONSE_SYSTEM_ERROR, "Failed to decode RegisterBrokerBody: %s",
                     err.text);
        return false;
    }
    take_body(handlers, &body, registration);
    return true;
}

void answer_register_broker(struct handlers *handlers, const struct call *call,
                            struct response *out)
{
    RegisterBrokerRequestHeader header = REGISTER_BROKER_REQUEST_HEADER__INIT;
    if (!read_header(call, &header.base, out) || !names_are_there(call, &header, out))
        return;
    if (!checksum_matches(call, &header)) {
        static struct log_gate gate;
        int64_t suppressed = 0;
        if (log_gate_open(&gate, &suppressed))
            log_warn("namesrv", "registration with a wrong checksum",
                     "broker=%s address=%s suppressed=%lld", header.broker_name, header.broker_addr,
                     (long long)suppressed);
        answer_header(call, out,
                      &(RegisterBrokerResponseHeader)REGISTER_BROKER_RESPONSE_HEADER__INIT,
                      sizeof(RegisterBrokerResponseHeader));
        out->code = RESPONSE_SYSTEM_ERROR;
        out->remark = "crc32 not match";
        return;
    }
    struct route_registration registration = {
        .cluster_name = slice_of_cstr(header.cluster_name),
        .broker_name = slice_of_cstr(header.broker_name),
        .broker_addr = slice_of_cstr(header.broker_addr),
        .ha_server_addr = slice_of_cstr(header.ha_server_addr),
        .broker_id = header.broker_id,
        /* A body without the list counts as one with an empty list, as in 4.9.2. */
        .has_filter_servers = call->request->version >= VERSION_3_0_11,
        .conn = call->conn,
        .now_ms = clock_monotonic_ms(handlers->options.clock),
    };
    bool compressed =
        header.has_compressed && header.compressed && call->request->version >= VERSION_3_0_11;
    if (!compressed && call->body.size != 0 &&
        register_by_outline(handlers, call, &registration, out))
        return;
    if (!read_body(handlers, call, compressed, &registration, out))
        return;
    struct route_registered done;
    tables_lock(handlers);
    enum status status = route_register(handlers->route, &registration, call->arena, &done);
    tables_unlock(handlers);
    finish_registration(handlers, call, &registration, status, &done, out);
}

void answer_unregister_broker(struct handlers *handlers, const struct call *call,
                              struct response *out)
{
    UnRegisterBrokerRequestHeader header = UN_REGISTER_BROKER_REQUEST_HEADER__INIT;
    if (!read_header(call, &header.base, out))
        return;
    tables_lock(handlers);
    bool known = route_unregister(handlers->route, slice_of_cstr(header.cluster_name),
                                  slice_of_cstr(header.broker_name),
                                  slice_of_cstr(header.broker_addr), header.broker_id);
    tables_unlock(handlers);
    if (known)
        log_info("namesrv", "broker unregistered", "cluster=%s broker=%s id=%lld address=%s",
                 header.cluster_name, header.broker_name, (long long)header.broker_id,
                 header.broker_addr);
}

void answer_query_data_version(struct handlers *handlers, const struct call *call,
                               struct response *out)
{
    QueryDataVersionRequestHeader header = QUERY_DATA_VERSION_REQUEST_HEADER__INIT;
    if (!read_header(call, &header.base, out))
        return;
    DataVersion version = DATA_VERSION__INIT;
    struct err err = {STATUS_OK, 0, ""};
    if (body_decode(call->body, call->arena, &version.base, &err) != STATUS_OK) {
        answer_error(call, out, RESPONSE_SYSTEM_ERROR, "Failed to decode DataVersion: %s",
                     err.text);
        return;
    }
    bool known = false;
    struct route_version stored = {0, 0};
    tables_lock(handlers);
    bool changed =
        route_query_version(handlers->route, slice_of_cstr(header.broker_addr),
                            (struct route_version){version.counter, version.timestamp},
                            clock_monotonic_ms(handlers->options.clock), &known, &stored);
    tables_unlock(handlers);
    QueryDataVersionResponseHeader answer = QUERY_DATA_VERSION_RESPONSE_HEADER__INIT;
    answer.changed = changed;
    answer_header(call, out, &answer, sizeof answer);
    if (!known)
        return;
    version.counter = stored.counter;
    version.timestamp = stored.timestamp;
    struct buf body = BUF_EMPTY;
    body_encode(&version.base, BODY_COMPACT, &body);
    answer_body(call, out, &body);
}

void answer_wipe_write_permission(struct handlers *handlers, const struct call *call,
                                  struct response *out)
{
    WipeWritePermOfBrokerRequestHeader header = WIPE_WRITE_PERM_OF_BROKER_REQUEST_HEADER__INIT;
    if (!read_header(call, &header.base, out))
        return;
    tables_lock(handlers);
    size_t changed = 0;
    size_t topics =
        route_wipe_write_permission(handlers->route, slice_of_cstr(header.broker_name), &changed);
    tables_unlock(handlers);
    if (changed != 0)
        log_info("namesrv", "write permission wiped", "broker=%s topics=%zu changed=%zu",
                 header.broker_name, topics, changed);
    WipeWritePermOfBrokerResponseHeader answer = WIPE_WRITE_PERM_OF_BROKER_RESPONSE_HEADER__INIT;
    answer.wipe_topic_count = (int32_t)topics;
    answer_header(call, out, &answer, sizeof answer);
}

void answer_add_write_permission(struct handlers *handlers, const struct call *call,
                                 struct response *out)
{
    AddWritePermOfBrokerRequestHeader header = ADD_WRITE_PERM_OF_BROKER_REQUEST_HEADER__INIT;
    if (!read_header(call, &header.base, out))
        return;
    tables_lock(handlers);
    size_t changed = 0;
    size_t topics =
        route_add_write_permission(handlers->route, slice_of_cstr(header.broker_name), &changed);
    tables_unlock(handlers);
    if (changed != 0)
        log_info("namesrv", "write permission added", "broker=%s topics=%zu changed=%zu",
                 header.broker_name, topics, changed);
    AddWritePermOfBrokerResponseHeader answer = ADD_WRITE_PERM_OF_BROKER_RESPONSE_HEADER__INIT;
    answer.add_topic_count = (int32_t)topics;
    answer_header(call, out, &answer, sizeof answer);
}
