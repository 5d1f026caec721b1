/* SPDX-License-Identifier: Apache-2.0
 *
 * What the handlers_*.c share: the state, the answering functions, and how an answer is made.
 */
#ifndef NAMESRV_HANDLERS_PRIVATE_H
#define NAMESRV_HANDLERS_PRIVATE_H

#include "common/base/buf.h"
#include "common/sys/worker.h"
#include "namesrv/handlers.h"
#include "namesrv/kv.h"
#include "namesrv/route.h"
#include "proto/codes.h"

#include <pthread.h>

struct handlers {
    struct handlers_options options;
    struct worker_pool *worker;
    pthread_mutex_t tables; /* over route, and over which table kv points to */
    struct route *route;
    struct kv *kv; /* replaced as a whole, by the worker only */
};

static inline void tables_lock(struct handlers *handlers)
{
    (void)pthread_mutex_lock(&handlers->tables);
}

static inline void tables_unlock(struct handlers *handlers)
{
    (void)pthread_mutex_unlock(&handlers->tables);
}

/* One answering function: fills `out`, which comes as a plain SUCCESS without header or body. */
typedef void handler(struct handlers *handlers, const struct call *call, struct response *out);

/* handlers_broker.c */
handler answer_register_broker;
handler answer_unregister_broker;
handler answer_query_data_version;
handler answer_wipe_write_permission;
handler answer_add_write_permission;

/* handlers_route.c */
handler answer_route;
handler answer_cluster_info;
handler answer_topics;
handler answer_cluster_topics;
handler answer_system_topics;
handler answer_unit_topics;
handler answer_unit_sub_topics;
handler answer_unit_sub_not_unit_topics;
handler answer_delete_topic;

/* handlers_config.c */
handler answer_put_kv;
handler answer_get_kv;
handler answer_delete_kv;
handler answer_kv_namespace;
handler answer_update_config;
handler answer_get_config;

/* Fill `message`, initialised, from the call's ext fields. When a required one is missing or does
 * not parse, `out` becomes a SYSTEM_ERROR that names it, and the result is false. */
bool read_header(const struct call *call, ProtobufCMessage *message, struct response *out);

/* Turn `out` into an error with a printf'ed remark, without header and body. */
void answer_error(const struct call *call, struct response *out, int32_t code, const char *format,
                  ...) __attribute__((format(printf, 4, 5)));

/* Move `body` into the answer and release it. */
void answer_body(const struct call *call, struct response *out, struct buf *body);

/* A header message of the answer: a copy of `message` (of `size` bytes) that lives long enough. */
void answer_header(const struct call *call, struct response *out, const void *message, size_t size);

#endif
