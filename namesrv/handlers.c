/* SPDX-License-Identifier: Apache-2.0
 *
 * Dispatch, the worker's tasks, and what happens without a request: closed connections, expiry.
 */
#include "namesrv/handlers.h"

#include "common/base/check.h"
#include "common/sys/log.h"
#include "namesrv/handlers_private.h"
#include "proto/ext_bind.h"

#include <stdlib.h>

/* Commands that may wait for the worker; each holds its request, so this also bounds memory. */
#define WORKER_QUEUE_MAX 1024

static handler *const table[] = {
    [REQUEST_PUT_KV_CONFIG] = answer_put_kv,
    [REQUEST_GET_KV_CONFIG] = answer_get_kv,
    [REQUEST_DELETE_KV_CONFIG] = answer_delete_kv,
    [REQUEST_REGISTER_BROKER] = answer_register_broker,
    [REQUEST_UNREGISTER_BROKER] = answer_unregister_broker,
    [REQUEST_GET_ROUTEINFO_BY_TOPIC] = answer_route,
    [REQUEST_GET_BROKER_CLUSTER_INFO] = answer_cluster_info,
    [REQUEST_WIPE_WRITE_PERM_OF_BROKER] = answer_wipe_write_permission,
    [REQUEST_GET_ALL_TOPIC_LIST_FROM_NAMESERVER] = answer_topics,
    [REQUEST_DELETE_TOPIC_IN_NAMESRV] = answer_delete_topic,
    [REQUEST_GET_KVLIST_BY_NAMESPACE] = answer_kv_namespace,
    [REQUEST_GET_TOPICS_BY_CLUSTER] = answer_cluster_topics,
    [REQUEST_GET_SYSTEM_TOPIC_LIST_FROM_NS] = answer_system_topics,
    [REQUEST_GET_UNIT_TOPIC_LIST] = answer_unit_topics,
    [REQUEST_GET_HAS_UNIT_SUB_TOPIC_LIST] = answer_unit_sub_topics,
    [REQUEST_GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST] = answer_unit_sub_not_unit_topics,
    [REQUEST_UPDATE_NAMESRV_CONFIG] = answer_update_config,
    [REQUEST_GET_NAMESRV_CONFIG] = answer_get_config,
    [REQUEST_QUERY_DATA_VERSION] = answer_query_data_version,
    [REQUEST_ADD_WRITE_PERM_OF_BROKER] = answer_add_write_permission,
};

static handler *find_handler(int32_t code)
{
    if (code < 0 || (size_t)code >= sizeof table / sizeof table[0])
        return NULL;
    return table[code];
}

/* Making answers. */

bool read_header(const struct call *call, ProtobufCMessage *message, struct response *out)
{
    const char *bad_field = "?";
    if (ext_to_message(&call->request->ext, call->arena, message, &bad_field) == STATUS_OK)
        return true;
    answer_error(call, out, RESPONSE_SYSTEM_ERROR,
                 "the custom field <%s> is missing or cannot be read", bad_field);
    return false;
}

void answer_error(const struct call *call, struct response *out, int32_t code, const char *format,
                  ...)
{
    va_list args;
    va_start(args, format);
    *out = (struct response){.code = code, .remark = arena_vprintf(call->arena, format, args)};
    va_end(args);
}

void answer_body(const struct call *call, struct response *out, struct buf *body)
{
    out->body = arena_copy(call->arena, buf_slice(body));
    buf_release(body);
}

void answer_header(const struct call *call, struct response *out, const void *message, size_t size)
{
    out->header = memcpy(arena_alloc(call->arena, size), message, size);
}

void handlers_answer(struct handlers *handlers, const struct call *call, struct response *out)
{
    *out = (struct response){.code = RESPONSE_SUCCESS};
    handler *answer = find_handler(call->request->code);
    if (answer == NULL)
        answer_error(call, out, RESPONSE_REQUEST_CODE_NOT_SUPPORTED,
                     " request type %d not supported", call->request->code);
    else
        answer(handlers, call, out);
}

/* Requests. */

struct task {
    struct worker_task task;
    struct handlers *handlers;
    struct call *call;
};

static void run_task(struct worker_task *base)
{
    struct task *task = (struct task *)(void *)base;
    struct response response;
    if (worker_pool_stopping(task->handlers->worker))
        answer_error(task->call, &response, RESPONSE_SYSTEM_BUSY,
                     "this name server is stopping, ask another one");
    else
        handlers_answer(task->handlers, task->call, &response);
    net_reply(call_reply_to(task->call), &response);
    call_free(task->call);
    free(task);
}

static void hand_to_worker(struct handlers *handlers, const struct call *call)
{
    struct call *copy = call_detach(call);
    if (copy == NULL) {
        net_reply_error(call_reply_to(call), RESPONSE_SYSTEM_BUSY,
                        "[OVERLOAD] too many bytes of requests are under way, try again later");
        return;
    }
    struct task *task = xcalloc(1, sizeof *task);
    *task = (struct task){.task = {.run = run_task}, .handlers = handlers, .call = copy};
    if (worker_submit(handlers->worker, &task->task))
        return;
    net_reply_error(call_reply_to(call), RESPONSE_SYSTEM_BUSY,
                    "[OVERLOAD] too many commands wait for the disk, try again later");
    call_free(copy);
    free(task);
}

static void on_request(void *ctx, struct call *call)
{
    struct handlers *handlers = ctx;
    const struct command_info *info = command_info(call->request->code);
    if (info != NULL && info->server == SERVER_NAMESRV && info->executor == EXECUTOR_WORKER) {
        if (call->draining)
            net_reply_error(call_reply_to(call), RESPONSE_SERVICE_NOT_AVAILABLE,
                            "service not available now: this name server is shutting down; ask "
                            "another one");
        else
            hand_to_worker(handlers, call);
        return;
    }
    /* Also while draining: a client that is refused a route does not ask another name server. */
    struct response response;
    handlers_answer(handlers, call, &response);
    net_reply(call_reply_to(call), &response);
}

/* Lost brokers. */

static void log_gone(const char *what, const struct route_gone *gone)
{
    log_warn("namesrv", what, "address=%s broker=%s name_dropped=%s topics=%zu", gone->address,
             gone->broker_name, gone->name_dropped ? "true" : "false", gone->topics);
}

static void on_close(void *ctx, struct conn_ref conn, const struct host *peer)
{
    struct handlers *handlers = ctx;
    char text[HOST_TEXT_BYTES];
    host_format(peer, text);
    struct route_gone gone;
    tables_lock(handlers);
    bool lost = route_close(handlers->route, conn, slice_of_cstr(text), &gone);
    tables_unlock(handlers);
    if (lost)
        log_gone("broker disconnected", &gone);
}

struct service handlers_service(struct handlers *handlers)
{
    return (struct service){.ctx = handlers, .on_request = on_request, .on_close = on_close};
}

void handlers_expire(struct handlers *handlers)
{
    int64_t now_ms = clock_monotonic_ms(handlers->options.clock);
    for (;;) {
        struct route_gone gone;
        tables_lock(handlers);
        bool expired = route_expire(handlers->route, now_ms, &gone);
        tables_unlock(handlers);
        if (!expired)
            return;
        log_gone("broker expired", &gone);
        if (gone.conn.generation != 0)
            net_close(gone.conn, "its broker has not registered for too long");
    }
}

void handlers_report(struct handlers *handlers)
{
    tables_lock(handlers);
    struct route_counts counts = route_count(handlers->route);
    size_t kv_count = kv_entries(handlers->kv);
    tables_unlock(handlers);
    log_info("namesrv", "tables",
             "clusters=%zu brokers=%zu addresses=%zu topics=%zu queues=%zu kv=%zu", counts.clusters,
             counts.brokers, counts.addresses, counts.topics, counts.queues, kv_count);
}

/* Life. */

static enum status load_kv(struct handlers *handlers, struct err *err)
{
    const char *path = handlers->options.kv_path;
    enum kv_source source = KV_FRESH;
    struct err detail;
    enum status status = kv_load(handlers->kv, handlers->options.vfs, path, &source, &detail);
    if (status != STATUS_OK)
        return err_set(err, status,
                       "the KV configuration cannot be loaded: %.300s; repair the file or move it "
                       "away",
                       detail.text);
    if (source == KV_BACKUP)
        log_error("namesrv", "KV CONFIGURATION LOADED FROM ITS BACKUP, the last change may be lost",
                  "file=%s.bak cause=\"%s\"", path, detail.text);
    else if (detail.text[0] != '\0')
        log_warn("namesrv", "KV configuration starts empty", "cause=\"%s\"", detail.text);
    return STATUS_OK;
}

enum status handlers_new(const struct handlers_options *options, struct handlers **out,
                         struct err *err)
{
    struct handlers *handlers = xcalloc(1, sizeof *handlers);
    handlers->options = *options;
    CHECK(pthread_mutex_init(&handlers->tables, NULL) == 0);
    handlers->route = route_new();
    handlers->kv = kv_new();
    enum status status = load_kv(handlers, err);
    if (status == STATUS_OK)
        status = worker_pool_new("namesrv-worker", 1, WORKER_QUEUE_MAX, &handlers->worker, err);
    if (status != STATUS_OK) {
        handlers_free(handlers);
        return status;
    }
    *out = handlers;
    return STATUS_OK;
}

void handlers_stop(struct handlers *handlers)
{
    if (handlers->worker == NULL)
        return;
    worker_pool_stop(handlers->worker);
    worker_pool_free(handlers->worker);
    handlers->worker = NULL;
}

void handlers_free(struct handlers *handlers)
{
    if (handlers == NULL)
        return;
    handlers_stop(handlers);
    route_free(handlers->route);
    kv_free(handlers->kv);
    (void)pthread_mutex_destroy(&handlers->tables);
    free(handlers);
}
