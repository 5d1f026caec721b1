/* SPDX-License-Identifier: Apache-2.0
 *
 * Answering calls, and carrying them over to other threads.
 *
 * On the connection's loop an answer is encoded straight into the connection's output. Elsewhere
 * it becomes a task with the encoded frame, posted to the loop. Either way the connection is looked
 * up there: an answer for one that has gone only releases its parts.
 */
#include "common/net/conn.h"

#include "common/base/check.h"
#include "common/net/loop_private.h"
#include "proto/codes.h"
#include "proto/ext_bind.h"

#include <stdio.h>
#include <stdlib.h>

#define REMARK_BYTES_MAX 1024
#define ARENA_BLOCK_BYTES 4096
/* Room for an ordinary header; a guess that only decides where a chunk of output ends. */
#define HEADER_BYTES_EXPECTED 512

struct reply_to call_reply_to(const struct call *call)
{
    return (struct reply_to){
        .conn = call->conn,
        .opaque = call->request->opaque,
        .codec = call->codec,
        .oneway = command_is_oneway(call->request),
    };
}

/* --- encoding --- */

static size_t body_size(const struct response *response)
{
    size_t size = response->body.size;
    for (size_t i = 0; i < response->part_count; i++)
        size += response->parts[i].size;
    return size;
}

/* Append the frame up to the parts of the body. */
static enum status encode(struct reply_to to, const struct response *response, struct arena *arena,
                          struct buf *out)
{
    struct command command = {
        .code = response->code,
        .language = LANGUAGE_JAVA,
        .version = COMMAND_VERSION_4_9_2,
        .opaque = to.opaque,
        .flag = COMMAND_FLAG_RESPONSE,
        .remark = slice_of_cstr(response->remark),
        .has_remark = response->remark != NULL,
        .ext = response->ext,
    };
    command.ext.present = response->ext.present || response->ext.count > 0;
    if (response->header != NULL) {
        /* A header without fields still makes an extFields member, as in 4.9.2. */
        command.ext = (struct ext_map){.present = true};
        ext_from_message(response->header, arena, &command.ext);
        for (uint32_t i = 0; i < response->ext.count; i++)
            ext_append(&command.ext, arena, response->ext.fields[i].name,
                       response->ext.fields[i].value);
    }
    enum status status = command_encode(to.codec, &command, body_size(response), out);
    if (status == STATUS_OK)
        buf_append_slice(out, response->body);
    return status;
}

static void release_parts(const struct body_part *parts, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (parts[i].release != NULL)
            parts[i].release(parts[i].owner);
}

/* Encode; when the answer does not fit its codec, encode an error instead.
 * returns  whether the parts belong behind it */
static bool encode_or_error(struct reply_to to, const struct response *response,
                            struct arena *arena, struct buf *out)
{
    size_t before = out->size;
    if (encode(to, response, arena, out) == STATUS_OK)
        return true;
    out->size = before;
    const struct response error = {.code = RESPONSE_SYSTEM_ERROR,
                                   .remark = "the answer does not fit into a command header"};
    CHECK(encode(to, &error, arena, out) == STATUS_OK);
    return false;
}

/* --- on the loop --- */

static void append_parts(struct conn *conn, const struct body_part *parts, size_t count)
{
    for (size_t i = 0; i < count; i++)
        output_append_part(&conn->output, &conn->table->pool, &parts[i]);
}

static void reply_here(struct reply_to to, const struct response *response)
{
    struct conn *conn = conn_find(to.conn);
    if (conn == NULL) {
        release_parts(response->parts, response->part_count);
        return;
    }
    bool expected = conn_call_finished(conn, to.opaque);
    DCHECK(expected);
    if (!expected) {
        release_parts(response->parts, response->part_count);
        return;
    }
    struct conn_table *table = conn->table;
    struct buf *out =
        output_open(&conn->output, &table->pool, HEADER_BYTES_EXPECTED + response->body.size);
    size_t before = out->size;
    bool with_parts = encode_or_error(to, response, &table->encode_arena, out);
    arena_reset(&table->encode_arena);
    output_appended(&conn->output, &table->pool, out, before);
    if (with_parts)
        append_parts(conn, response->parts, response->part_count);
    else
        release_parts(response->parts, response->part_count);
    conn_output_added(conn);
}

static void decline_here(struct reply_to to)
{
    struct conn *conn = conn_find(to.conn);
    if (conn == NULL)
        return;
    bool expected = conn_call_finished(conn, to.opaque);
    DCHECK(expected);
    (void)expected;
}

/* --- from elsewhere --- */

/* An answer on its way to the loop. Without a frame it is a call declined, or the parts of an
 * answer that is not sent. */
struct reply_task {
    struct loop_task task;
    struct reply_to to;
    struct buf frame;
    size_t part_count;
    struct body_part parts[];
};

static void run_reply(struct loop_task *task)
{
    struct reply_task *reply = list_entry(task, struct reply_task, task);
    struct conn *conn = reply->to.oneway ? NULL : conn_find(reply->to.conn);
    bool expected = conn != NULL && conn_call_finished(conn, reply->to.opaque);
    DCHECK(conn == NULL || expected);
    if (expected && reply->frame.size > 0) {
        output_append_buf(&conn->output, &conn->table->pool, &reply->frame);
        append_parts(conn, reply->parts, reply->part_count);
        conn_output_added(conn);
    } else {
        release_parts(reply->parts, reply->part_count);
    }
    buf_release(&reply->frame);
    free(reply);
}

static void post_reply(struct reply_to to, const struct response *response)
{
    size_t count = response == NULL ? 0 : response->part_count;
    if (to.oneway && count == 0)
        return;
    struct reply_task *reply = xcalloc(1, sizeof *reply + count * sizeof(struct body_part));
    reply->task.run = run_reply;
    reply->to = to;
    reply->part_count = count;
    if (count > 0)
        memcpy(reply->parts, response->parts, count * sizeof(struct body_part));
    if (response != NULL && !to.oneway) {
        struct arena arena;
        arena_init(&arena, ARENA_BLOCK_BYTES);
        if (!encode_or_error(to, response, &arena, &reply->frame)) {
            /* The frame says that there is no body: send the parts' owners another task. */
            reply->part_count = 0;
            post_reply((struct reply_to){.conn = to.conn, .oneway = true}, response);
        }
        arena_release(&arena);
    }
    loop_post(to.conn.loop, &reply->task);
}

/* --- the public functions --- */

void net_reply(struct reply_to to, const struct response *response)
{
    if (to.conn.loop == NULL)
        release_parts(response->parts, response->part_count);
    else if (!loop_is_current(to.conn.loop))
        post_reply(to, response);
    else if (to.oneway)
        release_parts(response->parts, response->part_count);
    else
        reply_here(to, response);
}

void net_reply_error(struct reply_to to, int32_t code, const char *format, ...)
{
    char remark[REMARK_BYTES_MAX];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(remark, sizeof remark, format, args);
    va_end(args);
    net_reply(to, &(struct response){.code = code, .remark = remark});
}

void net_decline(struct reply_to to)
{
    if (to.oneway || to.conn.loop == NULL)
        return;
    if (loop_is_current(to.conn.loop))
        decline_here(to);
    else
        post_reply(to, NULL);
}

/* --- calls that outlive their handler --- */

struct detached_call {
    struct call call; /* first: it is what the caller holds */
    struct loop_task free_task;
    struct command request;
    struct arena arena;
    struct conn_totals *totals; /* NULL when the connection was gone already */
    int64_t counted_bytes;
};

static size_t bytes_of(const struct call *call)
{
    const struct command *request = call->request;
    size_t size = sizeof(struct detached_call) + call->body.size + request->remark.size;
    for (uint32_t i = 0; i < request->ext.count; i++)
        size += sizeof(struct ext_field) + request->ext.fields[i].name.size +
                request->ext.fields[i].value.size;
    return size;
}

struct call *call_detach(const struct call *call)
{
    struct conn *conn = conn_find(call->conn);
    struct conn_totals *totals = conn == NULL ? NULL : conn->group->totals;
    int64_t bytes = (int64_t)bytes_of(call);
    if (totals != NULL && atomic_fetch_add(&totals->in_flight_bytes, bytes) + bytes >
                              (int64_t)totals->options.in_flight_bytes_max) {
        atomic_fetch_sub(&totals->in_flight_bytes, bytes);
        return NULL;
    }
    if (conn != NULL)
        conn_call_detached(conn);
    struct detached_call *copy = xcalloc(1, sizeof *copy);
    arena_init(&copy->arena, ARENA_BLOCK_BYTES);
    copy->totals = totals;
    copy->counted_bytes = bytes;
    copy->call = *call;
    copy->request = *call->request;
    copy->call.request = &copy->request;
    copy->call.arena = &copy->arena;
    copy->call.body = arena_copy(&copy->arena, call->body);
    copy->request.remark = arena_copy(&copy->arena, call->request->remark);
    copy->request.ext = (struct ext_map){.present = call->request->ext.present};
    for (uint32_t i = 0; i < call->request->ext.count; i++)
        ext_append(&copy->request.ext, &copy->arena,
                   arena_copy(&copy->arena, call->request->ext.fields[i].name),
                   arena_copy(&copy->arena, call->request->ext.fields[i].value));
    return &copy->call;
}

/* On the loop, where its connection counts it. */
static void free_detached(struct detached_call *copy)
{
    struct conn *conn = copy->totals == NULL ? NULL : conn_find(copy->call.conn);
    if (conn != NULL)
        conn_call_freed(conn);
    free(copy);
}

static void run_free(struct loop_task *task)
{
    free_detached(list_entry(task, struct detached_call, free_task));
}

void call_free(struct call *call)
{
    if (call == NULL)
        return;
    struct detached_call *copy = (struct detached_call *)(void *)call;
    arena_release(&copy->arena);
    if (copy->totals != NULL)
        atomic_fetch_sub(&copy->totals->in_flight_bytes, copy->counted_bytes);
    if (copy->totals == NULL || loop_is_current(call->conn.loop)) {
        free_detached(copy);
        return;
    }
    copy->free_task.run = run_free;
    loop_post(call->conn.loop, &copy->free_task);
}

/* --- closing --- */

struct close_task {
    struct loop_task task;
    struct conn_ref conn;
    char reason[128];
};

static void run_close(struct loop_task *task)
{
    struct close_task *closing = list_entry(task, struct close_task, task);
    struct conn *conn = conn_find(closing->conn);
    if (conn != NULL)
        conn_end(conn, CONN_END_ASKED, closing->reason);
    free(closing);
}

void net_close(struct conn_ref conn, const char *reason)
{
    if (conn.loop == NULL)
        return;
    if (loop_is_current(conn.loop)) {
        struct conn *found = conn_find(conn);
        if (found != NULL)
            conn_end(found, CONN_END_ASKED, reason);
        return;
    }
    struct close_task *closing = xcalloc(1, sizeof *closing);
    closing->task.run = run_close;
    closing->conn = conn;
    (void)snprintf(closing->reason, sizeof closing->reason, "%s", reason);
    loop_post(conn.loop, &closing->task);
}
