/* SPDX-License-Identifier: Apache-2.0
 *
 * What the name server answers: every request of proto/command.def whose server is NAMESRV, over
 * one route table and one KV table.
 *
 * Threads: requests whose executor is LOOP are answered on the connection's loop, those of WORKER
 * (they write files) on the single thread of a pool of this module. Both tables are guarded by one
 * lock, `tables` (docs/locks.md), held for look-ups and changes in memory and for encoding small
 * answers; never over parsing a registration, over I/O, or while another lock is taken. Only the
 * worker changes the KV table, so it may read it unlocked; it stores the new table in its file
 * before it shows it to anybody.
 */
#ifndef NAMESRV_HANDLERS_H
#define NAMESRV_HANDLERS_H

#include "common/conf/conf.h"
#include "common/conf/namesrv_conf.h"
#include "common/net/net.h"
#include "common/sys/clock.h"
#include "common/sys/vfs.h"

struct handlers;

/* All borrowed, for the life of the handlers. */
struct handlers_options {
    struct conf *conf;
    const struct namesrv_conf *values;
    const struct clock *clock;
    struct vfs *vfs;
    const char *kv_path;     /* of the KV configuration; loaded by handlers_new */
    const char *config_path; /* where UPDATE_NAMESRV_CONFIG writes the options */
};

/* returns  OK | CORRUPT, TOO_LARGE, IO (the KV file; err tells what to do) */
enum status handlers_new(const struct handlers_options *options, struct handlers **out,
                         struct err *err);

/* Refuse what waits for the worker, complete what it is at, and end it. No request may arrive any
 * more: call it when the loops have stopped and before the server, which counts the calls, is
 * freed. */
void handlers_stop(struct handlers *handlers);

/* Does that too. After the server, whose last connections still report their end. */
void handlers_free(struct handlers *handlers);

/* The callbacks for server_new. */
struct service handlers_service(struct handlers *handlers);

/* Answer one request, on whatever thread this is; handlers_service decides that. Never waits but
 * for a disk, and for that only in commands of the worker.
 * out  zeroed by this function; its texts and parts live in call->arena or are released through
 *      their body_part */
void handlers_answer(struct handlers *handlers, const struct call *call, struct response *out);

/* Drop brokers that have been silent too long and close their connections; call every 10 s. */
void handlers_expire(struct handlers *handlers);

/* Log the sizes of the tables; call every 10 min. */
void handlers_report(struct handlers *handlers);

#endif
