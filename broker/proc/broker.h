/* SPDX-License-Identifier: Apache-2.0
 *
 * The broker as its processors see it: the parts it is made of, and what each loop keeps for
 * itself. main.c builds it; nothing here owns threads.
 */
#ifndef BROKER_PROC_BROKER_H
#define BROKER_PROC_BROKER_H

#include "broker/access/access_control.h"
#include "broker/state/clients.h"
#include "broker/state/delay.h"
#include "broker/state/filters.h"
#include "broker/state/groups.h"
#include "broker/state/hold.h"
#include "broker/state/offsets.h"
#include "broker/state/queue_locks.h"
#include "broker/state/stats.h"
#include "broker/state/store_identity.h"
#include "broker/state/timer.h"
#include "broker/state/topic_stats.h"
#include "broker/state/topics.h"
#include "broker/store/store.h"
#include "common/conf/broker_conf.h"
#include "common/net/net.h"
#include "common/sys/worker.h"
#include "proto/codes.h"

#include <pthread.h>

/* Versions of clients (MQVersion), as heartbeats and requests state them. */
#define VERSION_3_0_7 16
#define VERSION_3_1_8 62
#define VERSION_3_4_9 121

#define PORT_TAG_MAIN 0
#define PORT_TAG_FAST 1

struct acks;
struct appender;
struct notifier;
struct parked_sends;
struct pop_ledger;
struct pop_orders;
struct pop_polls;
struct pop_revive;
struct registrar;
struct replicas;
struct replication;
struct replica_watch;
struct request_modes;
struct slave_sync;
struct table_changes;
struct topic_maker;
struct topic_routes;
struct transaction_asker;
struct transaction_ends;

/* What one loop keeps for itself; used on that loop only. */
struct broker_loop {
    struct broker *broker;
    struct loop *loop;
    struct hold_table *holds;
    struct hold_table *pops; /* pops that wait or read; only parked */
    uint32_t next_revive_queue;
    struct append_batch *batch;  /* what this turn's sends have put together; of `acks` */
    struct acks *acks;           /* sends in `batch`, and those that wait for disk or slave */
    struct parked_sends *parked; /* sends whose topic is being created */
    struct topic_stats_view *meters;
    struct access_view access;
    struct buf scratch; /* one message's property string */
    uint64_t random;    /* never 0; chooses queues for sends that name none */
};

struct broker {
    struct broker_conf conf;
    struct conf conf_table; /* over `conf` */
    const char *conf_path;  /* the file that UPDATE_BROKER_CONFIG rewrites */
    const struct clock *clock;
    struct vfs *vfs;
    int64_t boot_ms;  /* wall clock */
    char boot_id[32]; /* of this start; no other one has the same */

    struct host store_host; /* brokerIP1:listenPort, in every record and message id */
    char address[HOST_TEXT_BYTES];
    char ha_address[HOST_TEXT_BYTES];
    bool slave;
    struct store_identity identity; /* of the store; its use is this broker's role */

    struct access_control *access; /* NULL: aclEnable=false, everybody may do all */
    struct store *store;
    struct topics *topics;
    struct groups *groups;
    struct offsets *offsets;
    struct clients *clients;
    struct notifier *notifier;
    struct filters *filters;
    struct queue_locks *queue_locks;
    struct delay *delay; /* on a slave: its master's progress */
    struct timer *timer; /* NULL on a slave, and with timerWheelEnable=false */
    /* On a slave: what lies before it in the log holds no timer that its master has still to
     * deliver; 0 until the master has said so. */
    _Atomic int64_t master_timer_floor;
    int64_t popped_pos; /* undelivered.c: where the oldest popped message was, and when that was */
    int64_t popped_ms;  /* looked up; 0: never */
    struct stats *stats;
    struct replicas *replicas; /* who follows this broker's log; nobody on a slave */
    struct replication *replication;
    struct replica_watch *replica_watch;
    struct topic_stats *topic_stats;
    struct pop_ledger *pop_ledger; /* the next four: NULL on a slave */
    struct pop_orders *pop_orders;
    struct pop_revive *pop_revive;
    struct pop_polls *pop_polls;
    struct request_modes *request_modes;
    struct topic_routes *topic_routes;
    int64_t delay_levels_ms[DELAY_LEVELS_MAX];
    int delay_level_count;

    struct worker_pool *workers;
    struct hold_tables *holds;
    struct hold_tables *pop_holds;
    struct registrar *registrar;
    struct slave_sync *slave_sync;       /* NULL on a master */
    struct table_changes *table_changes; /* NULL on a slave */
    struct topic_maker *topic_maker;
    struct appender *appender;
    struct transaction_asker *transaction_asker; /* NULL on a slave, as is the next */
    struct transaction_ends *transaction_ends;
    struct server *server;
    struct tls *tls; /* NULL when neither clients nor this broker's calls may use it */
    int loop_count;
    struct loop **loops;
    struct broker_loop *per_loop;

    /* Appends from worker threads share one batch. */
    pthread_mutex_t worker_batch_lock;
    struct append_batch *worker_batch;

    _Atomic int64_t conf_changes;    /* the version of GET_BROKER_CONFIG: its counter */
    _Atomic int64_t conf_changed_ms; /* and its timestamp, at first the start's */
    _Atomic bool stopping;
};

/* Does it follow a master now? What differs by role asks this. Any thread. */
static inline bool broker_is_slave(const struct broker *broker)
{
    return broker->slave;
}

/* For the connections that this broker opens to others; NULL: plain ones. */
static inline struct tls *broker_tls_for_calls(const struct broker *broker)
{
    return broker->conf.useTLS ? broker->tls : NULL;
}

/* A slave has heard who its master is. Its log is followed at ha_address unless haMasterAddress
 * says another; of its tables copies are kept as long as `master` is not empty. Any thread. */
void broker_follow(struct broker *broker, const char *master, const char *ha_address);

/* The slot of the loop that a call came in on. Only while on that loop. */
struct broker_loop *broker_loop_of(struct broker *broker, const struct call *call);

/* A number for the client behind a connection, for those who serve clients in turn. Any thread. */
uint64_t broker_client(const struct broker *broker, struct conn_ref conn);

/* A number below `below`, 0 when that is 0, for choices that need no secrecy. On the loop. */
uint32_t broker_loop_random(struct broker_loop *bl, uint32_t below);

/* The service of the server: look the command up in the table of processors and run it here or on
 * the worker pool. */
void broker_on_request(void *broker, struct call *call);
void broker_on_close(void *broker, struct conn_ref conn, const struct host *peer);

/* store_listener.on_arrival: wake the pulls that wait for the queue. */
void broker_on_arrival(void *broker, struct queue *queue);

/* store_listener.may_expire: timers may still need that part of the log. */
bool broker_may_expire(void *broker, int64_t end_pos);

/* Messages within this many bytes of the end of the log count as "in memory" (40 % of the RAM, by
 * accessMessageInMemoryMaxRatio). */
int64_t broker_hot_bytes(const struct broker *broker);

/* Fill in the part of the store's options that may change while it runs: what is deleted and
 * refused when (store_set_retention). */
void broker_set_retention(const struct broker_conf *conf, struct store_options *options);
/* The same for what one pull may carry (store_set_pull_limits). */
void broker_set_pull_limits(const struct broker *broker, struct store_options *options);

/* Fill a header message from the call's ext fields. When a required field is missing or does not
 * parse, the call is answered with SYSTEM_ERROR naming it, and false returned. */
bool call_bind(struct call *call, ProtobufCMessage *header);

/* The same, for a header some of whose required fields this call may do without: 4.9.2 only notices
 * that a field is missing when it uses it.
 * spare  the names of the fields that stay 0, ended by NULL */
bool call_bind_lenient(struct call *call, ProtobufCMessage *header, const char *const *spare);

/* Decode the call's JSON body, or answer SYSTEM_ERROR and return false. */
bool call_decode_body(struct call *call, ProtobufCMessage *body);

/* Answers of common shapes. */
void call_succeed(const struct call *call, const ProtobufCMessage *header);
void call_succeed_body(const struct call *call, const ProtobufCMessage *header,
                       const ProtobufCMessage *body);
void call_fail(const struct call *call, int32_t code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The end that 4.9.2 adds to remarks which have a page in its FAQ. */
#define SEE_FAQ "\nSee http://rocketmq.apache.org/docs/faq/ for further details."

#endif
