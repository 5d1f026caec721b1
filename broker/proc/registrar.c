/* SPDX-License-Identifier: Apache-2.0
 *
 * Registration with the name servers.
 *
 * One round = one body, built on the builder thread, then one call per name server from loop 0. A
 * round that is asked for while another is being built, or before the first name server has
 * answered it, follows it, once, however often it was asked for: `asked` counts requests, and a
 * round serves all that were asked before its body was built.
 *
 * Each name server goes at its own pace: one that has not answered the round before is passed over
 * and gets the newest body when it has. So one that hangs delays no other.
 *
 * Locks: `lock` guards the counters and the answers of the round (docs/locks.md: registrar).
 */
#include "broker/proc/registrar.h"

#include "broker/proc/master_words.h"
#include "common/base/check.h"
#include "common/base/crc32.h"
#include "common/sys/log.h"
#include "proto/body_json.h"
#include "proto/ext_bind.h"
#include "proto/header.pb-c.h"
#include "proto/register_body.h"

#include <stdio.h>
#include <stdlib.h>

#define NAME_SERVERS_MAX MASTER_WORDS_MAX
#define ADDRESS_BYTES 256
#define RETRY_MS 3000
#define PERIOD_MIN_MS 10000
#define PERIOD_MAX_MS 60000
#define UNREGISTER_TIMEOUT_MS 3000

struct name_server {
    struct registrar *registrar;
    char address[ADDRESS_BYTES];
    bool registered;           /* the last round reached it; for one log line per change */
    bool known;                /* `registered` means something */
    bool called;               /* a call is under way */
    bool missed;               /* a round came meanwhile */
    int64_t calling;           /* the requests that the call under way serves */
    int64_t served;            /* and the last one that has ended, well or not */
    char rival[ADDRESS_BYTES]; /* who else claims our name and id, as it says; empty: nobody */
};

/* Somebody who wants to know when their round is over. */
struct waiter {
    struct waiter *next;
    int64_t asked;
    void (*done)(void *ctx);
    void *ctx;
};

struct registrar {
    struct broker *broker;
    struct client *client; /* on loop 0 */
    struct loop_timer *timer;
    struct worker_pool *builder; /* one thread; at most one task, as `busy` says */
    struct worker_task build_task;
    struct loop_task send_task;
    struct loop_task stopped_task;

    pthread_mutex_t lock;
    int64_t asked; /* rounds asked for */
    int64_t built; /* those that had been asked for when the last body was built */
    bool busy;     /* a round is being built, or nobody has answered it yet */
    bool stopped;
    bool stopped_posted;
    struct waiter *waiters;

    /* the next round; touched by whoever has the baton: the builder, then loop 0 */
    struct buf next_body;
    bool next_compressed;

    /* the newest round; on loop 0 */
    int64_t serves;
    struct buf body;
    bool compressed;
    bool unanswered; /* nobody has answered it yet */
    bool order_due;  /* no name server has answered it well yet */

    struct master_words masters; /* a slave's; word i is of servers[i] */
    struct name_server servers[NAME_SERVERS_MAX];
    int server_count;
};

static void build_run(struct worker_task *task);
static void send_run(struct loop_task *task);
static void period_over(void *ctx);
static void stopped_run(struct loop_task *task);

enum status registrar_new(struct broker *broker, struct registrar **out, struct err *err)
{
    struct registrar *registrar = xcalloc(1, sizeof *registrar);
    enum status status = worker_pool_new("registrar", 1, 1, &registrar->builder, err);
    if (status != STATUS_OK) {
        free(registrar);
        return status;
    }
    struct net_options options = net_options_default();
    options.tls = broker_tls_for_calls(broker);
    registrar->broker = broker;
    registrar->client = client_new(broker->loops[0], &options);
    registrar->timer = loop_timer_new(broker->loops[0], period_over, registrar);
    registrar->build_task.run = build_run;
    registrar->send_task.run = send_run;
    registrar->stopped_task.run = stopped_run;
    CHECK(pthread_mutex_init(&registrar->lock, NULL) == 0);
    *out = registrar;
    return STATUS_OK;
}

void registrar_free(struct registrar *registrar)
{
    loop_timer_free(registrar->timer);
    client_free(registrar->client);
    buf_release(&registrar->next_body);
    buf_release(&registrar->body);
    pthread_mutex_destroy(&registrar->lock);
    free(registrar);
}

/* --- rounds --- */

/* Start a round when one is due and none is under way. The lock is held. */
static void start_round(struct registrar *registrar)
{
    if (registrar->busy || registrar->stopped || registrar->asked == registrar->built)
        return;
    registrar->busy = worker_submit(registrar->builder, &registrar->build_task);
}

void registrar_announce(struct registrar *registrar)
{
    pthread_mutex_lock(&registrar->lock);
    registrar->asked++;
    start_round(registrar);
    pthread_mutex_unlock(&registrar->lock);
}

void registrar_announce_then(struct registrar *registrar, void (*done)(void *ctx), void *ctx)
{
    struct waiter *waiter = xmalloc(sizeof *waiter);
    pthread_mutex_lock(&registrar->lock);
    *waiter = (struct waiter){registrar->waiters, ++registrar->asked, done, ctx};
    registrar->waiters = waiter;
    start_round(registrar);
    if (registrar->stopped && !registrar->stopped_posted) {
        registrar->stopped_posted = true;
        loop_post(registrar->broker->loops[0], &registrar->stopped_task);
    }
    pthread_mutex_unlock(&registrar->lock);
}

/* Take out the waiters that are served up to `served`. The lock is held. */
static struct waiter *served_waiters(struct registrar *registrar, int64_t served)
{
    struct waiter *out = NULL;
    for (struct waiter **link = &registrar->waiters; *link != NULL;) {
        struct waiter *waiter = *link;
        if (waiter->asked > served) {
            link = &waiter->next;
            continue;
        }
        *link = waiter->next;
        waiter->next = out;
        out = waiter;
    }
    return out;
}

static void waiters_done(struct waiter *waiters)
{
    for (struct waiter *next; waiters != NULL; waiters = next) {
        next = waiters->next;
        waiters->done(waiters->ctx);
        free(waiters);
    }
}

/* Rounds are over: tell who waited. On loop 0. */
static void tell_waiters(struct registrar *registrar, int64_t served)
{
    pthread_mutex_lock(&registrar->lock);
    struct waiter *waiters = served_waiters(registrar, served);
    pthread_mutex_unlock(&registrar->lock);
    waiters_done(waiters);
}

/* No round comes any more. */
static void stopped_run(struct loop_task *task)
{
    struct registrar *registrar =
        (struct registrar *)(void *)((char *)task - offsetof(struct registrar, stopped_task));
    pthread_mutex_lock(&registrar->lock);
    registrar->stopped_posted = false;
    pthread_mutex_unlock(&registrar->lock);
    tell_waiters(registrar, INT64_MAX);
}

/* TP-11: what the topics are shown with. */
static int32_t shown_perm(const struct broker *broker)
{
    int32_t perm = (int32_t)broker->conf.brokerPermission;
    int32_t both = PERM_READ | PERM_WRITE;
    return (perm & both) == both ? -1 : perm;
}

/* On the builder: the body of this round. */
static void build_run(struct worker_task *task)
{
    struct registrar *registrar =
        (struct registrar *)(void *)((char *)task - offsetof(struct registrar, build_task));
    struct broker *broker = registrar->broker;
    pthread_mutex_lock(&registrar->lock);
    registrar->built = registrar->asked;
    pthread_mutex_unlock(&registrar->lock);

    struct arena arena;
    TopicConfigSerializeWrapper topics;
    RegisterBrokerBody body;
    arena_init(&arena, 64 * 1024);
    topic_config_serialize_wrapper__init(&topics);
    register_broker_body__init(&body);
    topics_wrap(broker->topics, NULL, shown_perm(broker), &arena, &topics);
    body.topic_config_serialize_wrapper = &topics;
    buf_clear(&registrar->next_body);
    registrar->next_compressed = broker->conf.compressedRegister;
    if (registrar->next_compressed)
        register_body_deflate(&body, &registrar->next_body);
    else
        body_encode(&body.base, BODY_COMPACT, &registrar->next_body);
    arena_release(&arena);
    loop_post(broker->loops[0], &registrar->send_task);
}

/* Read the list of name servers again: it may have been updated. On loop 0. */
static void read_addresses(struct registrar *registrar)
{
    const char *rest = registrar->broker->conf.namesrvAddr;
    int count = 0;
    while (*rest != '\0' && count < NAME_SERVERS_MAX) {
        size_t size = strcspn(rest, ";");
        struct name_server *server = &registrar->servers[count];
        if (size > 0 && size < ADDRESS_BYTES) {
            if (strncmp(server->address, rest, size) != 0 || server->address[size] != '\0') {
                memcpy(server->address, rest, size);
                server->address[size] = '\0';
                server->known = false;
                server->rival[0] = '\0';
                master_words_set(&registrar->masters, (size_t)count, false, NULL, NULL);
            }
            server->registrar = registrar;
            count++;
        }
        rest += size;
        rest += *rest == ';';
    }
    registrar->server_count = count;
    registrar->masters.count = (size_t)count;
}

/* The farewell is on its way: nothing may be registered behind it. */
static bool is_stopped(struct registrar *registrar)
{
    pthread_mutex_lock(&registrar->lock);
    bool stopped = registrar->stopped;
    pthread_mutex_unlock(&registrar->lock);
    return stopped;
}

static void set_timer(struct registrar *registrar, int64_t ms)
{
    if (!is_stopped(registrar))
        loop_timer_set(registrar->timer, ms);
}

static int64_t period(const struct broker *broker)
{
    int64_t period_ms = broker->conf.registerNameServerPeriod;
    return period_ms < PERIOD_MIN_MS   ? PERIOD_MIN_MS
           : period_ms > PERIOD_MAX_MS ? PERIOD_MAX_MS
                                       : period_ms;
}

/* The next round may be built. On loop 0. */
static void round_over(struct registrar *registrar)
{
    registrar->unanswered = false;
    pthread_mutex_lock(&registrar->lock);
    registrar->busy = false;
    start_round(registrar);
    pthread_mutex_unlock(&registrar->lock);
}

/* Requests that every name server has been told of, or could not be. */
static int64_t served_by_all(const struct registrar *registrar)
{
    int64_t served = registrar->serves;
    for (int i = 0; i < registrar->server_count; i++)
        if (registrar->servers[i].served < served)
            served = registrar->servers[i].served;
    return served;
}

static void note_outcome(struct name_server *server, enum status status, int32_t code,
                         const char *remark)
{
    bool registered = status == STATUS_OK && code == RESPONSE_SUCCESS;
    if (server->known && server->registered == registered)
        return;
    server->known = true;
    server->registered = registered;
    if (registered)
        log_info("registrar", "registered", "name_server=%s", server->address);
    else if (status == STATUS_OK)
        log_warn("registrar", "name server refused the registration",
                 "name_server=%s code=%d remark=\"%s\"", server->address, (int)code, remark);
    else
        log_warn("registrar", "name server not reached, will try again", "name_server=%s cause=%s",
                 server->address, status_name(status));
}

/* TP-10: the order configuration that came back with a registration. The first name server to
 * answer a round decides, as in 4.9.2, so that several that differ do not undo one another. */
static void take_order_table(struct registrar *registrar, struct slice body, struct arena *arena)
{
    KVTable table;
    if (!registrar->order_due)
        return;
    registrar->order_due = false;
    kvtable__init(&table);
    if (body.size > 0 && body_decode(body, arena, &table.base, NULL) == STATUS_OK)
        topics_set_order(registrar->broker->topics, &table);
}

/* Our own name servers tell a broker that another one registers under its name and id. */
static void note_rival(struct name_server *server, const struct command *response,
                       struct arena *arena)
{
    const struct broker *broker = server->registrar->broker;
    struct slice value = SLICE_EMPTY;
    (void)ext_find(&response->ext, SLICE_LITERAL("rivalAddr"), &value);
    const char *rival = value.size < ADDRESS_BYTES ? arena_cstr(arena, value) : "";
    if (strcmp(rival, server->rival) == 0)
        return;
    (void)snprintf(server->rival, sizeof server->rival, "%s", rival);
    if (rival[0] != '\0')
        log_error("registrar", "another broker registers under this one's name and id",
                  "broker=%s id=%lld address=%s other=%s name_server=%s mend=\"give one of them "
                  "another brokerName or brokerId: clients reach whichever registered last\"",
                  (const char *)broker->conf.brokerName, (long long)broker->conf.brokerId,
                  broker->address, rival, server->address);
}

/* What the name servers say of this slave's master may have changed. */
static void follow(struct registrar *registrar)
{
    struct master_words *masters = &registrar->masters;
    bool disagreed = masters->disagree;
    enum master_change change = master_words_decide(masters);
    if (masters->disagree && !disagreed)
        log_error("registrar", "the name servers name different masters for this slave",
                  "broker=%s followed=%s mend=\"see which of them register with each name server: "
                  "only one may be %s with id 0\"",
                  (const char *)registrar->broker->conf.brokerName, masters->followed.master,
                  (const char *)registrar->broker->conf.brokerName);
    if (change != MASTER_SAME)
        broker_follow(registrar->broker, masters->followed.master, masters->followed.ha_address);
}

static void take_master(struct name_server *server, const struct command *response,
                        struct arena *arena)
{
    struct registrar *registrar = server->registrar;
    RegisterBrokerResponseHeader header;
    register_broker_response_header__init(&header);
    bool heard =
        response != NULL && ext_to_message(&response->ext, arena, &header.base, NULL) == STATUS_OK;
    master_words_set(&registrar->masters, (size_t)(server - registrar->servers), heard,
                     header.master_addr, header.ha_server_addr);
    follow(registrar);
}

/* A slave that comes first, or whose master has gone, asks again soon: its master is told of in the
 * answers to its own registrations only. */
static bool lacks_master(const struct registrar *registrar)
{
    return broker_is_slave(registrar->broker) && registrar->masters.followed.master[0] == '\0';
}

static void call_server(struct name_server *server);

static void answered(void *ctx, enum status status, const struct command *response,
                     struct slice body, struct arena *arena)
{
    struct name_server *server = ctx;
    struct registrar *registrar = server->registrar;
    bool ok = status == STATUS_OK && response->code == RESPONSE_SUCCESS;
    note_outcome(server, status, response == NULL ? 0 : response->code,
                 response != NULL && response->has_remark ? arena_cstr(arena, response->remark)
                                                          : "");
    server->called = false;
    server->served = server->calling;
    if (ok)
        note_rival(server, response, arena);
    if (broker_is_slave(registrar->broker))
        take_master(server, ok ? response : NULL, arena);
    if (ok && server->calling == registrar->serves)
        take_order_table(registrar, body, arena);
    if (!ok || lacks_master(registrar))
        set_timer(registrar, RETRY_MS);
    if (server->missed)
        call_server(server);
    if (registrar->unanswered)
        round_over(registrar);
    tell_waiters(registrar, served_by_all(registrar));
}

/* Bring the newest body to a name server, now or when it has answered the one before. */
static void call_server(struct name_server *server)
{
    struct registrar *registrar = server->registrar;
    struct broker *broker = registrar->broker;
    RegisterBrokerRequestHeader header;
    server->missed = server->called;
    if (server->called || is_stopped(registrar))
        return;
    register_broker_request_header__init(&header);
    header.broker_name = (char *)(uintptr_t)(const char *)broker->conf.brokerName;
    header.broker_addr = broker->address;
    header.cluster_name = (char *)(uintptr_t)(const char *)broker->conf.brokerClusterName;
    header.ha_server_addr = broker->ha_address;
    header.broker_id = broker->conf.brokerId;
    header.has_compressed = true;
    header.compressed = registrar->compressed;
    header.has_body_crc32 = true;
    header.body_crc32 = (int32_t)rocketmq_crc32(buf_slice(&registrar->body));
    struct request request = {
        .code = REQUEST_REGISTER_BROKER,
        .header = &header.base,
        .body = buf_slice(&registrar->body),
        .codec = CODEC_JSON,
        .timeout_ms = broker->conf.registerBrokerTimeoutMills,
    };
    server->called = true;
    server->calling = registrar->serves;
    registrar->unanswered = true;
    client_call(registrar->client, server->address, &request, answered, server);
}

/* On loop 0: the next round is built. */
static void send_run(struct loop_task *task)
{
    struct registrar *registrar =
        (struct registrar *)(void *)((char *)task - offsetof(struct registrar, send_task));
    struct buf sent = registrar->body;
    registrar->body = registrar->next_body;
    registrar->next_body = sent;
    registrar->compressed = registrar->next_compressed;
    pthread_mutex_lock(&registrar->lock);
    registrar->serves = registrar->built;
    pthread_mutex_unlock(&registrar->lock);
    registrar->order_due = true;
    read_addresses(registrar);
    set_timer(registrar, period(registrar->broker));
    for (int i = 0; i < registrar->server_count; i++)
        call_server(&registrar->servers[i]);
    if (!registrar->unanswered) {
        round_over(registrar);
        tell_waiters(registrar, served_by_all(registrar));
    }
}

static void period_over(void *ctx)
{
    /* Comes first when the worker pool has no room for the round. */
    set_timer(ctx, RETRY_MS);
    registrar_announce(ctx);
}

void registrar_start(struct registrar *registrar)
{
    registrar_announce(registrar);
}

/* --- the farewell --- */

struct farewell {
    struct loop_task task;
    struct registrar *registrar;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int due; /* answers, plus one for the task itself */
};

static void farewell_done(struct farewell *farewell)
{
    pthread_mutex_lock(&farewell->lock);
    farewell->due--;
    pthread_cond_signal(&farewell->changed);
    pthread_mutex_unlock(&farewell->lock);
}

static void unregistered(void *ctx, enum status status, const struct command *response,
                         struct slice body, struct arena *arena)
{
    (void)body;
    (void)arena;
    if (status != STATUS_OK || response->code != RESPONSE_SUCCESS)
        log_warn("registrar", "a name server was not told of the shutdown",
                 "cause=%s; its route disappears by itself when the connection closes",
                 status_name(status));
    farewell_done(ctx);
}

static void farewell_run(struct loop_task *task)
{
    struct farewell *farewell = (struct farewell *)(void *)task;
    struct registrar *registrar = farewell->registrar;
    struct broker *broker = registrar->broker;
    UnRegisterBrokerRequestHeader header;
    loop_timer_cancel(registrar->timer);
    tell_waiters(registrar, INT64_MAX);
    un_register_broker_request_header__init(&header);
    header.broker_name = (char *)(uintptr_t)(const char *)broker->conf.brokerName;
    header.broker_addr = broker->address;
    header.cluster_name = (char *)(uintptr_t)(const char *)broker->conf.brokerClusterName;
    header.broker_id = broker->conf.brokerId;
    struct request request = {.code = REQUEST_UNREGISTER_BROKER,
                              .header = &header.base,
                              .codec = CODEC_JSON,
                              .timeout_ms = UNREGISTER_TIMEOUT_MS};
    read_addresses(registrar);
    pthread_mutex_lock(&farewell->lock);
    farewell->due += registrar->server_count;
    pthread_mutex_unlock(&farewell->lock);
    for (int i = 0; i < registrar->server_count; i++)
        client_call(registrar->client, registrar->servers[i].address, &request, unregistered,
                    farewell);
    farewell_done(farewell);
}

void registrar_stop(struct registrar *registrar)
{
    pthread_mutex_lock(&registrar->lock);
    registrar->stopped = true;
    pthread_mutex_unlock(&registrar->lock);
    struct farewell farewell = {.registrar = registrar, .due = 1};
    farewell.task.run = farewell_run;
    CHECK(pthread_mutex_init(&farewell.lock, NULL) == 0);
    CHECK(pthread_cond_init(&farewell.changed, NULL) == 0);
    loop_post(registrar->broker->loops[0], &farewell.task);
    /* Every call ends within UNREGISTER_TIMEOUT_MS, so this wait is bounded. */
    pthread_mutex_lock(&farewell.lock);
    while (farewell.due > 0)
        pthread_cond_wait(&farewell.changed, &farewell.lock);
    pthread_mutex_unlock(&farewell.lock);
    pthread_cond_destroy(&farewell.changed);
    pthread_mutex_destroy(&farewell.lock);
    worker_pool_free(registrar->builder);
}
