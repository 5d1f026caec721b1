/* SPDX-License-Identifier: Apache-2.0
 *
 * The KV configuration and the server's own options. What writes a file runs on the worker, which
 * has one thread; so a change is: copy the table, change the copy, write it to the file, show it.
 * Nobody ever reads a value that a crash could take back.
 */
#include "common/sys/log.h"
#include "namesrv/handlers_private.h"
#include "proto/header.pb-c.h"

/* Store `next` and make it the table, or free it and answer why not; true when it is stored. */
static bool replace_kv(struct handlers *handlers, const struct call *call, struct kv *next,
                       struct response *out)
{
    struct buf encoded = BUF_EMPTY;
    kv_encode(next, &encoded);
    struct err err = {STATUS_OK, 0, ""};
    enum status status =
        kv_store(handlers->options.vfs, handlers->options.kv_path, buf_slice(&encoded), &err);
    buf_release(&encoded);
    if (status != STATUS_OK) {
        kv_free(next);
        log_error("namesrv", "KV configuration not stored, the change is undone", "cause=\"%s\"",
                  err.text);
        answer_error(call, out, RESPONSE_SYSTEM_ERROR, "the change is not stored: %s", err.text);
        return false;
    }
    tables_lock(handlers);
    struct kv *old = handlers->kv;
    handlers->kv = next;
    tables_unlock(handlers);
    kv_free(old);
    return true;
}

void answer_put_kv(struct handlers *handlers, const struct call *call, struct response *out)
{
    PutKVConfigRequestHeader header = PUT_KVCONFIG_REQUEST_HEADER__INIT;
    if (!read_header(call, &header.base, out))
        return;
    struct slice namespace = slice_of_cstr(header.namespace_);
    struct slice key = slice_of_cstr(header.key);
    const char *before = kv_get(handlers->kv, namespace, key);
    bool changes = before == NULL || strcmp(before, header.value) != 0;
    struct kv *next = kv_copy(handlers->kv);
    enum status status = kv_put(next, namespace, key, slice_of_cstr(header.value));
    if (status != STATUS_OK) {
        kv_free(next);
        answer_error(call, out, RESPONSE_SYSTEM_ERROR,
                     "the KV configuration is full: it holds at most %d bytes", KV_BYTES_MAX);
        return;
    }
    if (replace_kv(handlers, call, next, out) && changes)
        log_info("namesrv", "KV value put", "namespace=%s key=%s", header.namespace_, header.key);
}

void answer_delete_kv(struct handlers *handlers, const struct call *call, struct response *out)
{
    DeleteKVConfigRequestHeader header = DELETE_KVCONFIG_REQUEST_HEADER__INIT;
    if (!read_header(call, &header.base, out))
        return;
    struct kv *next = kv_copy(handlers->kv);
    bool known = kv_delete(next, slice_of_cstr(header.namespace_), slice_of_cstr(header.key));
    if (!known) {
        kv_free(next);
        return;
    }
    if (replace_kv(handlers, call, next, out))
        log_info("namesrv", "KV value deleted", "namespace=%s key=%s", header.namespace_,
                 header.key);
}

void answer_get_kv(struct handlers *handlers, const struct call *call, struct response *out)
{
    GetKVConfigRequestHeader header = GET_KVCONFIG_REQUEST_HEADER__INIT;
    if (!read_header(call, &header.base, out))
        return;
    GetKVConfigResponseHeader answer = GET_KVCONFIG_RESPONSE_HEADER__INIT;
    tables_lock(handlers);
    const char *value =
        kv_get(handlers->kv, slice_of_cstr(header.namespace_), slice_of_cstr(header.key));
    if (value != NULL)
        answer.value = arena_cstr(call->arena, slice_of_cstr(value));
    tables_unlock(handlers);
    if (answer.value == NULL)
        answer_error(call, out, RESPONSE_QUERY_NOT_FOUND, "No config item, Namespace: %s Key: %s",
                     header.namespace_, header.key);
    answer_header(call, out, &answer, sizeof answer);
}

void answer_kv_namespace(struct handlers *handlers, const struct call *call, struct response *out)
{
    GetKVListByNamespaceRequestHeader header = GET_KVLIST_BY_NAMESPACE_REQUEST_HEADER__INIT;
    if (!read_header(call, &header.base, out))
        return;
    struct buf body = BUF_EMPTY;
    tables_lock(handlers);
    bool known = kv_encode_namespace(handlers->kv, slice_of_cstr(header.namespace_), &body);
    tables_unlock(handlers);
    if (known)
        answer_body(call, out, &body);
    else
        answer_error(call, out, RESPONSE_QUERY_NOT_FOUND, "No config item, Namespace: %s",
                     header.namespace_);
}

void answer_update_config(struct handlers *handlers, const struct call *call, struct response *out)
{
    if (call->body.size == 0)
        return;
    struct err err = {STATUS_OK, 0, ""};
    if (conf_update(handlers->options.conf, call->body, &err) != STATUS_OK) {
        answer_error(call, out, RESPONSE_SYSTEM_ERROR, "%s", err.text);
        return;
    }
    if (conf_rewrite_file(handlers->options.conf, handlers->options.config_path, &err) !=
        STATUS_OK) {
        log_error("namesrv", "options changed, but not stored", "cause=\"%s\"", err.text);
        answer_error(call, out, RESPONSE_SYSTEM_ERROR,
                     "the options are changed until the next start, but not stored: %s", err.text);
        return;
    }
    log_info("namesrv", "options changed", "file=%s", handlers->options.config_path);
}

void answer_get_config(struct handlers *handlers, const struct call *call, struct response *out)
{
    struct buf body = BUF_EMPTY;
    conf_list(handlers->options.conf, &body);
    answer_body(call, out, &body);
}
