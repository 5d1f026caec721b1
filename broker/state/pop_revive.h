/* SPDX-License-Identifier: Apache-2.0
 *
 * The keeper of popped messages, a step function for one thread: it writes checkpoints and
 * acknowledgements into the revive log, delivers messages again whose invisible time is over, moves
 * the groups' offsets, and after a start reads the log back into the ledger. Only on masters; a
 * slave has the log in its copy of the commit log.
 *
 * A message comes again in the pop retry topic of its topic and group, "%RETRY%group_topic", queue
 * 0, with reconsumeTimes one higher and everything else as it was (5.3.3 without
 * enableRetryTopicV2). There is no last time: clients give up by acknowledging, as 5.3.3's do.
 */
#ifndef BROKER_STATE_POP_REVIVE_H
#define BROKER_STATE_POP_REVIVE_H

#include "broker/state/groups.h"
#include "broker/state/pop_ledger.h"
#include "broker/state/topics.h"
#include "broker/store/store.h"
#include "proto/pop_handle.h"

struct pop_revive_options {
    struct store *store; /* all are borrowed */
    struct pop_ledger *ledger;
    struct topics *topics;
    struct groups *groups;
    struct offsets *offsets;
    const char *log_topic; /* rmq_sys_REVIVE_LOG_<cluster> */
    const char *broker_name;
    struct host store_host;
    enum pop_retry retry; /* how the topics are named that messages come again through */
    /* A retry topic was made, and messages follow: tell the name servers, and those who wait for
     * messages of the topic and group. On the keeper's thread; may be NULL. */
    void (*on_topic)(void *ctx, struct slice topic, struct slice group, struct slice retry_topic);
    void *ctx;
};

struct pop_revive;
struct pop_revive *pop_revive_new(const struct pop_revive_options *options);
void pop_revive_free(struct pop_revive *revive);

/* Do what is due, a bounded amount per call.
 * now_ms   wall clock
 * returns  milliseconds until the next step is useful, 0 when there is more to do now */
int64_t pop_revive_step(struct pop_revive *revive, int64_t now_ms);

/* Nobody pops or acknowledges any more: write everything that is open into the log. Before
 * store_stop. */
void pop_revive_finish(struct pop_revive *revive, int64_t now_ms);

/* Let the offsets follow what is durable; once more after store_stop. */
void pop_revive_settle(struct pop_revive *revive, int64_t now_ms);

/* Messages delivered again so far; any thread. */
int64_t pop_revive_count(const struct pop_revive *revive);

#endif
