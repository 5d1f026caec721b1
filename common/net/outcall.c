/* SPDX-License-Identifier: Apache-2.0
 *
 * The table is a hash over the opaque's low bits, which a counter fills evenly. An answer counts
 * only when it comes over the connection that its request went to: no peer can answer for another.
 * Entries are kept for reuse, with their buffers.
 */
#include "common/net/outcall.h"

#include "common/base/check.h"
#include "common/base/limits.h"

#include <event2/event.h>
#include <stdatomic.h>
#include <stdlib.h>

#define FIRST_BUCKETS 64
#define UNUSED_MAX 1024
#define KEPT_FRAME_BYTES 4096
#define ARENA_BLOCK_BYTES 4096

/* RemotingCommand.requestId of 4.9.2 is one counter per process, too. */
static _Atomic uint32_t next_opaque;

void outcall_table_release(struct outcall_table *table)
{
    CHECK(table->count == 0);
    for (struct outcall *call = table->unused, *next; call != NULL; call = next) {
        next = call->chained;
        buf_release(&call->frame);
        free(call);
    }
    free(table->buckets);
    *table = (struct outcall_table){NULL, 0, 0, NULL, 0};
}

static struct outcall_table *table_of(const struct outcall *call)
{
    return &loop_conns(call->loop)->outcalls;
}

static struct outcall *entry_new(struct loop *loop)
{
    struct outcall_table *table = &loop_conns(loop)->outcalls;
    if (!loop_is_current(loop) || table->unused == NULL)
        return xcalloc(1, sizeof(struct outcall));
    struct outcall *call = table->unused;
    table->unused = call->chained;
    table->unused_count--;
    struct buf frame = call->frame;
    *call = (struct outcall){.frame = frame};
    return call;
}

static void entry_free(struct outcall *call)
{
    struct outcall_table *table = table_of(call);
    if (table->unused_count >= UNUSED_MAX) {
        buf_release(&call->frame);
        free(call);
        return;
    }
    buf_clear(&call->frame);
    if (call->frame.capacity > KEPT_FRAME_BYTES)
        buf_release(&call->frame);
    call->chained = table->unused;
    table->unused = call;
    table->unused_count++;
}

static enum status encode(const struct request *request, int32_t opaque, bool oneway,
                          struct arena *arena, struct buf *out)
{
    struct command command = {
        .code = request->code,
        .language = LANGUAGE_JAVA,
        .version = COMMAND_VERSION_4_9_2,
        .opaque = opaque,
        .flag = oneway ? COMMAND_FLAG_ONEWAY : 0,
        .ext = request->ext,
    };
    if (request->header != NULL) {
        command.ext = (struct ext_map){.present = true};
        ext_from_message(request->header, arena, &command.ext);
        for (uint32_t i = 0; i < request->ext.count; i++)
            ext_append(&command.ext, arena, request->ext.fields[i].name,
                       request->ext.fields[i].value);
    }
    enum status status = command_encode(request->codec, &command, request->body.size, out);
    if (status == STATUS_OK)
        buf_append_slice(out, request->body);
    return status;
}

struct outcall *outcall_new(struct loop *loop, const struct request *request, net_answer answer,
                            void *ctx, enum status *status)
{
    struct outcall *call = entry_new(loop);
    call->loop = loop;
    list_init(&call->in_list);
    call->opaque = (int32_t)atomic_fetch_add_explicit(&next_opaque, 1, memory_order_relaxed);
    call->timeout_ms = request->timeout_ms;
    call->answer = answer;
    call->ctx = ctx;
    if (loop_is_current(loop)) {
        struct arena *arena = &loop_conns(loop)->encode_arena;
        *status = encode(request, call->opaque, answer == NULL, arena, &call->frame);
        arena_reset(arena);
        return call;
    }
    struct arena arena;
    arena_init(&arena, ARENA_BLOCK_BYTES);
    *status = encode(request, call->opaque, answer == NULL, &arena, &call->frame);
    arena_release(&arena);
    return call;
}

static struct outcall **bucket_of(const struct outcall_table *table, int32_t opaque)
{
    return &table->buckets[(uint32_t)opaque & (table->bucket_count - 1)];
}

static void table_grow(struct outcall_table *table)
{
    struct outcall_table bigger = *table;
    bigger.bucket_count = table->bucket_count == 0 ? FIRST_BUCKETS : table->bucket_count * 2;
    bigger.buckets = xcalloc(bigger.bucket_count, sizeof(struct outcall *));
    for (size_t i = 0; i < table->bucket_count; i++) {
        for (struct outcall *call = table->buckets[i], *next; call != NULL; call = next) {
            next = call->chained;
            struct outcall **bucket = bucket_of(&bigger, call->opaque);
            call->chained = *bucket;
            *bucket = call;
        }
    }
    free(table->buckets);
    *table = bigger;
}

static void table_add(struct outcall_table *table, struct outcall *call)
{
    if (table->count == table->bucket_count)
        table_grow(table);
    struct outcall **bucket = bucket_of(table, call->opaque);
    call->chained = *bucket;
    *bucket = call;
    table->count++;
}

static void table_remove(struct outcall_table *table, struct outcall *call)
{
    struct outcall **link = bucket_of(table, call->opaque);
    while (*link != call)
        link = &(*link)->chained;
    *link = call->chained;
    table->count--;
}

void outcall_finish(struct outcall *call, enum status status, const struct command *response,
                    struct slice body, struct arena *arena)
{
    list_remove(&call->in_list);
    if (call->conn != NULL) {
        table_remove(table_of(call), call);
        call->conn->outcall_count--;
        call->conn->outcall_bytes -= call->sent_bytes;
    }
    if (event_initialized(&call->timer))
        CHECK(event_del(&call->timer) == 0);
    net_answer answer = call->answer;
    void *ctx = call->ctx;
    entry_free(call);
    if (answer != NULL)
        answer(ctx, status, response, body, arena);
}

static void fail(struct outcall *call, enum status status)
{
    outcall_finish(call, status, NULL, SLICE_EMPTY, NULL);
}

static void timed_out(int fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    fail(arg, STATUS_TIMEOUT);
}

void outcall_start_timer(struct outcall *call)
{
    int64_t timeout_ms = call->timeout_ms < 0 ? 0 : call->timeout_ms;
    struct timeval delay = {(time_t)(timeout_ms / 1000), (suseconds_t)(timeout_ms % 1000 * 1000)};
    CHECK(event_assign(&call->timer, loop_event_base(call->loop), -1, 0, timed_out, call) == 0);
    CHECK(event_add(&call->timer, &delay) == 0);
}

/* A peer that is behind with reading is not sent one-way requests; others in a bounded number, as
 * it may well catch up before their time is over. */
static bool takes_call(const struct conn *conn, const struct outcall *call)
{
    if ((conn->pauses & CONN_PAUSE_OUTPUT) == 0)
        return true;
    return call->answer != NULL &&
           conn->outcall_bytes + call->frame.size <= CONNECTION_OUTCALL_BYTES_MAX;
}

void outcall_send(struct outcall *call, struct conn *conn)
{
    list_remove(&call->in_list);
    if (!takes_call(conn, call)) {
        outcall_fail_later(call, STATUS_BUSY);
        return;
    }
    call->sent_bytes = call->frame.size;
    output_append_buf(&conn->output, &conn->table->pool, &call->frame);
    conn_output_added(conn);
    if (call->answer == NULL) {
        fail(call, STATUS_OK);
        return;
    }
    call->conn = conn;
    list_append(&conn->outcalls, &call->in_list);
    conn->outcall_count++;
    conn->outcall_bytes += call->sent_bytes;
    table_add(table_of(call), call);
    if (!event_initialized(&call->timer))
        outcall_start_timer(call);
}

static void fail_task(struct loop_task *task)
{
    struct outcall *call = list_entry(task, struct outcall, task);
    fail(call, call->failure);
}

void outcall_fail_later(struct outcall *call, enum status failure)
{
    if (event_initialized(&call->timer))
        CHECK(event_del(&call->timer) == 0);
    call->failure = failure;
    call->task.run = fail_task;
    loop_post(call->loop, &call->task);
}

void outcalls_fail(struct list *calls, enum status status)
{
    while (!list_empty(calls))
        fail(list_entry(calls->next, struct outcall, in_list), status);
}

bool outcall_complete(struct conn *conn, const struct command *response, struct slice body,
                      struct arena *arena)
{
    struct outcall_table *table = &conn->table->outcalls;
    if (table->count == 0)
        return false;
    struct outcall *call = *bucket_of(table, response->opaque);
    while (call != NULL && (call->opaque != response->opaque || call->conn != conn))
        call = call->chained;
    if (call == NULL)
        return false;
    outcall_finish(call, STATUS_OK, response, body, arena);
    return true;
}

/* --- calls to peers that opened the connection --- */

bool net_takes_calls(struct conn_ref ref)
{
    const struct conn *conn = conn_find(ref);
    return conn != NULL && !conn->group->draining && (conn->pauses & CONN_PAUSE_OUTPUT) == 0;
}

static void send_or_fail(struct outcall *call)
{
    struct conn *conn = conn_find(call->target);
    /* While draining nobody waits for peers. */
    if (conn == NULL || conn->group->draining)
        outcall_fail_later(call, STATUS_CLOSED);
    else if (call->answer != NULL && conn->outcall_count >= CONNECTION_OUTCALLS_MAX)
        outcall_fail_later(call, STATUS_BUSY);
    else
        outcall_send(call, conn);
}

static void send_task(struct loop_task *task)
{
    send_or_fail(list_entry(task, struct outcall, task));
}

void net_call(struct conn_ref conn, const struct request *request, net_answer answer, void *ctx)
{
    if (conn.loop == NULL) {
        if (answer != NULL)
            answer(ctx, STATUS_CLOSED, NULL, SLICE_EMPTY, NULL);
        return;
    }
    enum status status;
    struct outcall *call = outcall_new(conn.loop, request, answer, ctx, &status);
    call->target = conn;
    if (status != STATUS_OK) {
        outcall_fail_later(call, status);
    } else if (loop_is_current(conn.loop)) {
        send_or_fail(call);
    } else {
        call->task.run = send_task;
        loop_post(conn.loop, &call->task);
    }
}
