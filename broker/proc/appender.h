/* SPDX-License-Identifier: Apache-2.0
 *
 * Appending for the loops while the disk is slow. As long as appends take microseconds a loop makes
 * them itself, and nothing waits. When the disk holds one up, the loop would stand still with all
 * its connections; so then batches go through a queue to a thread that may wait. It is the queue in
 * front of 4.9.2's send threads, which exists here only while it is needed
 * (docs/decisions/0011-overload.md).
 */
#ifndef BROKER_PROC_APPENDER_H
#define BROKER_PROC_APPENDER_H

#include "broker/proc/broker.h"
#include "common/base/list.h"

/* A batch to be appended. Embed it; it belongs to the appender from appender_submit until `done`
 * runs, or until it is taken back. */
struct append_job {
    struct loop_task done; /* posted to `loop`; `run` is the caller's */
    struct loop *loop;
    struct append_batch *batch;
    const struct append_result *results; /* from `done` on, until the batch is cleared */
    int64_t took_ms;
    struct list in_queue; /* the appender's; list_init before the first use */
};

struct appender;

enum status appender_new(struct broker *broker, struct appender **out, struct err *err);

/* Append what is still queued and end the thread. After the loops have stopped; the jobs' `done`
 * runs when they are settled. */
void appender_stop(struct appender *appender);
void appender_free(struct appender *appender);

/* Whether a loop should not append itself just now: an append or a flush has been under way for
 * long, or was not long ago. Cheap. Any thread, like all that follows. */
bool appender_wanted(const struct appender *appender);

/* An append of a loop's own took so long. */
void appender_note(struct appender *appender, int64_t took_ms);

/* Append the job's batch behind those submitted before; after appender_stop on this thread. */
void appender_submit(struct appender *appender, struct append_job *job);

/* True: it was still queued and is the caller's again, nothing of it was appended. */
bool appender_take_back(struct appender *appender, struct append_job *job);

/* The append under way has taken longer than osPageCacheBusyTimeOutMills: what 4.9.2 calls a busy
 * page cache. Sends are refused meanwhile. */
bool page_cache_busy(const struct broker *broker);
#define PAGE_CACHE_BUSY_REMARK                                                                    \
    "[REJECTREQUEST]system busy, start flow control for a while: the disk of the commit log has " \
    "not taken what is being written for %lld ms; look at its load and health"

#endif
