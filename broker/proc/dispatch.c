/* SPDX-License-Identifier: Apache-2.0
 *
 * From a request code to its processor. The table is made from BROKER_HANDLERS; whether a command
 * runs on the loop or on the worker pool is a column of command.def.
 *
 * Also the small helpers that every processor uses to read its header and to answer.
 */
#include "broker/proc/access_check.h"
#include "broker/proc/broker.h"
#include "broker/proc/handlers.h"

#include "common/base/buf.h"
#include "common/base/check.h"
#include "proto/body_json.h"
#include "proto/ext_bind.h"

#include <stdlib.h>

static broker_handler handlers[COMMAND_SLOTS] = {
#define X(name, function) [COMMAND_SLOT(REQUEST_##name)] = function,
    BROKER_HANDLERS(X)
#undef X
};

struct detached {
    struct worker_task task;
    struct broker *broker;
    struct call *call;
    broker_handler handler;
};

static void detached_run(struct worker_task *task)
{
    struct detached *detached = (struct detached *)(void *)task;
    if (worker_pool_stopping(detached->broker->workers))
        call_fail(detached->call, RESPONSE_SYSTEM_BUSY, "the broker is stopping; ask another one");
    else
        detached->handler(detached->broker, detached->call);
    call_free(detached->call);
    free(detached);
}

void handle_on_worker(struct broker *broker, struct call *call, broker_handler handler)
{
    struct call *copy = call_detach(call);
    if (copy != NULL) {
        struct detached *detached = xmalloc(sizeof *detached);
        *detached = (struct detached){
            .task = {.run = detached_run, .client = 1 + broker_client(broker, call->conn)},
            .broker = broker,
            .call = copy,
            .handler = handler,
        };
        if (worker_submit(broker->workers, &detached->task))
            return;
        free(detached);
        call_free(copy);
    }
    call_fail(call, RESPONSE_SYSTEM_BUSY,
              "[OVERLOAD]system busy, start flow control for a while: too many commands wait for "
              "the broker's worker threads; try again later");
}

void broker_on_request(void *ctx, struct call *call)
{
    struct broker *broker = ctx;
    int32_t code = call->request->code;
    /* The only way in: before this nothing is looked up, and nothing answered. */
    if (broker->access != NULL && !access_check(broker, call))
        return;
    int32_t slot = command_slot(code);
    broker_handler handler = slot < 0 ? NULL : handlers[slot];
    if (handler == NULL) {
        call_fail(call, RESPONSE_REQUEST_CODE_NOT_SUPPORTED, " request type %d not supported",
                  (int)code);
        return;
    }
    /* What a consumer commits is kept: it costs nothing, and less is delivered again. */
    if (call->draining && code != REQUEST_UPDATE_CONSUMER_OFFSET) {
        call_fail(call, RESPONSE_SERVICE_NOT_AVAILABLE,
                  "service not available now: the broker is shutting down; ask another one");
        return;
    }
    const struct command_info *info = command_info(code);
    CHECK(info != NULL);
    if (info->executor == EXECUTOR_WORKER)
        handle_on_worker(broker, call, handler);
    else
        handler(broker, call);
}

uint64_t broker_client(const struct broker *broker, struct conn_ref conn)
{
    return (uint64_t)conn.slot * (uint64_t)broker->loop_count + (uint64_t)loop_index(conn.loop);
}

struct broker_loop *broker_loop_of(struct broker *broker, const struct call *call)
{
    struct loop *loop = call->conn.loop;
    DCHECK(loop_is_current(loop));
    return &broker->per_loop[loop_index(loop)];
}

/* xorshift64*: a system call per send would cost more than the send. */
uint32_t broker_loop_random(struct broker_loop *bl, uint32_t below)
{
    uint64_t x = bl->random;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    bl->random = x;
    uint64_t high = (x * UINT64_C(0x2545F4914F6CDD1D)) >> 32;
    return (uint32_t)((high * below) >> 32);
}

static void fail(const struct call *call, int32_t code, bool with_fields, const char *format,
                 va_list args) __attribute__((format(printf, 4, 0)));

static void fail(const struct call *call, int32_t code, bool with_fields, const char *format,
                 va_list args)
{
    struct response response = {.code = code, .remark = arena_vprintf(call->arena, format, args)};
    response.ext.present = with_fields;
    net_reply(call_reply_to(call), &response);
}

void call_fail(const struct call *call, int32_t code, const char *format, ...)
{
    const struct command_info *info = command_info(call->request->code);
    va_list args;
    va_start(args, format);
    /* RM-04: an answer made with a header class has extFields, be they empty. */
    fail(call, code, info != NULL && info->has_response_header, format, args);
    va_end(args);
}

/* For faults that 4.9.2 throws as exceptions: their answers have no header. */
static void fail_bare(const struct call *call, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void fail_bare(const struct call *call, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fail(call, RESPONSE_SYSTEM_ERROR, false, format, args);
    va_end(args);
}

static bool is_spare(const char *const *spare, const char *field)
{
    for (; spare != NULL && *spare != NULL; spare++)
        if (strcmp(*spare, field) == 0)
            return true;
    return false;
}

bool call_bind_lenient(struct call *call, ProtobufCMessage *header, const char *const *spare)
{
    struct ext_map ext = call->request->ext;
    const char *field = NULL;
    while (ext_to_message(&ext, call->arena, header, &field) != STATUS_OK) {
        if (!is_spare(spare, field))
            return call_bind(call, header);
        /* The last of two fields counts, so that this also replaces what does not parse. */
        ext_append(&ext, call->arena, slice_of_cstr(field), SLICE_LITERAL("0"));
    }
    return true;
}

bool call_bind(struct call *call, ProtobufCMessage *header)
{
    const char *field = NULL;
    enum status status = ext_to_message(&call->request->ext, call->arena, header, &field);
    if (status == STATUS_OK)
        return true;
    fail_bare(call, "the field <%s> of %s is missing or is not of its type; send it and try again",
              field == NULL ? "?" : field, header->descriptor->short_name);
    return false;
}

bool call_decode_body(struct call *call, ProtobufCMessage *body)
{
    struct err err = {0};
    if (body_decode(call->body, call->arena, body, &err) == STATUS_OK)
        return true;
    fail_bare(call, "the request's body is not a %s: %s", body->descriptor->short_name, err.text);
    return false;
}

void call_succeed(const struct call *call, const ProtobufCMessage *header)
{
    struct response response = {.code = RESPONSE_SUCCESS, .header = header};
    net_reply(call_reply_to(call), &response);
}

void call_succeed_body(const struct call *call, const ProtobufCMessage *header,
                       const ProtobufCMessage *body)
{
    struct buf json = BUF_EMPTY;
    body_encode(body, BODY_COMPACT, &json);
    struct response response = {
        .code = RESPONSE_SUCCESS, .header = header, .body = buf_slice(&json)};
    net_reply(call_reply_to(call), &response);
    buf_release(&json);
}
