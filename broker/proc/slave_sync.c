/* SPDX-License-Identifier: Apache-2.0
 *
 * A round asks for everything, one answer after the other. It begins with GET_REPLICATED_TABLES;
 * a master that does not know that is one of 4.9.2 and is asked for each table, from then on
 * directly, and once in PROBE_ROUNDS it is tried again, because masters are replaced.
 *
 * Everything but `wanted`, `woken` and `posted` belongs to the loop. An answer of a round that
 * another master's has overtaken is dropped (struct question).
 * Source: RMQ broker/.../slave/SlaveSynchronize.java, BrokerController#handleSlaveSynchronize.
 */
#include "broker/proc/slave_sync.h"

#include "broker/proc/pending_table.h"
#include "broker/repl/replication.h"
#include "broker/state/request_modes.h"
#include "broker/state/timer_copy.h"
#include "common/base/check.h"
#include "common/base/number.h"
#include "common/sys/log.h"
#include "proto/body_json.h"
#include "proto/ext_bind.h"
#include "proto/header.pb-c.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#define FIRST_ROUND_MS 3000
#define PERIOD_MS 10000
#define ROUND_GAP_MS 100      /* between two rounds, however often the master says "changed" */
#define REST_FACTOR 10        /* and this many times what the last one took, for large tables */
#define PENDING_PERIOD_MS 500 /* between two looks whether the log has come far enough */
#define OFFSETS_PERIOD_MS 50  /* of offsets: under load the log is a little late all the time */
#define UNDECIDED_MS 500      /* between two looks whether this is a master to copy from */
#define TIMEOUT_MS 3000       /* 4.9.2's */
#define TABLES_TIMEOUT_MS 10000
#define PROBE_ROUNDS 6
#define WHOLE_PERIOD_MS 10000 /* between two copies of all offsets */
#define ADDRESS_BYTES 256
#define BOOT_ID_BYTES 64
#define NOTHING_KNOWN (-1)

/* Full tables of offsets with the longest names are some 70 MB. */
#define ANSWER_BYTES_MAX ((size_t)128 * 1024 * 1024)

/* Consumer offsets that wait for the log. */
struct pending_offsets {
    struct pending_table table;
    bool whole;
    int64_t version; /* what is known once they are taken */
};

struct question {
    struct slave_sync *sync;
    int64_t round;
};

enum kind {
    KIND_UNKNOWN,
    KIND_OURS,
    KIND_4_9_2,
};

struct slave_sync {
    struct broker *broker;
    struct loop *loop;
    struct client *client;
    struct loop_timer *timer;
    struct loop_task task;
    pthread_mutex_t lock; /* docs/locks.md: slave_sync */
    char wanted[ADDRESS_BYTES];
    bool woken;
    bool posted;

    char master[ADDRESS_BYTES];
    enum kind kind;
    int64_t round;         /* number of the newest one, which counts also when it is over */
    int64_t begun_ms;      /* when it began; monotonic, as the next two */
    int64_t rest_until_ms; /* no further one before that, whatever has changed */
    int64_t due_ms;        /* of the next one */
    bool asking;           /* it is under way */
    bool again;            /* something has changed since it began */
    int step;              /* of a round with 4.9.2 */
    int rounds_as_4_9_2;
    bool fast_port_fails;
    bool failed; /* something of this round */
    bool told;   /* `told_failed` means something: one line per change */
    bool told_failed;

    /* What is known of the master's tables, if it still is that boot. */
    char boot_id[BOOT_ID_BYTES];
    int64_t offsets_version;
    int64_t modes_version;
    uint64_t commits; /* offsets_commits when all of them were merged */
    int64_t whole_ms; /* when that was, last */

    struct pending_table delay;
    struct pending_table timers;
    struct pending_offsets offsets;
    struct buf delay_json; /* 4.9.2: until it is known how far the log must be */
    struct buf offsets_json;
    struct timer_copy *timer_copy;
};

static void begin_round(struct slave_sync *sync);
static void hurry(struct slave_sync *sync);
static void ask_next(struct slave_sync *sync);

static int64_t now_ms(const struct slave_sync *sync)
{
    return clock_monotonic_ms(loop_clock(sync->loop)); /* taking over takes its time in a turn */
}

static void forget_versions(struct slave_sync *sync)
{
    sync->boot_id[0] = '\0';
    sync->offsets_version = NOTHING_KNOWN;
    sync->modes_version = NOTHING_KNOWN;
}

/* --- words --- */

/* A slave signs nothing; 4.9.2's does not either. */
static const char *mend_for(const char *cause)
{
    return strstr(cause, "AclException") != NULL
               ? "the master checks who asks (aclEnable): write this broker's address into "
                 "globalWhiteRemoteAddresses of its plain_acl.yml"
               : "see whether that is the master of this broker and can be reached from here";
}

static void complain(struct slave_sync *sync, const char *what, const char *cause)
{
    static struct log_gate gate;
    int64_t swallowed;
    sync->failed = true;
    if (sync->told && sync->told_failed)
        return;
    if (log_gate_open(&gate, &swallowed))
        log_error(
            "slave", "a table of the master could not be copied, will try again",
            "master=%s table=\"%s\" cause=\"%s\" mend=\"%s; until then the tables stay as they "
            "are\" others=%lld",
            sync->master, what, cause, mend_for(cause), (long long)swallowed);
}

static void tell_outcome(struct slave_sync *sync)
{
    if ((!sync->told || sync->told_failed) && !sync->failed)
        log_info("slave", "the tables follow the master's", "master=%s kind=%s", sync->master,
                 sync->kind == KIND_OURS ? "own" : "4.9.2");
    sync->told = true;
    sync->told_failed = sync->failed;
}

/* --- progress that the log has to reach --- */

/* It is about a log that the master does not have any more. */
static void forget_pending(struct slave_sync *sync)
{
    sync->delay.set = sync->timers.set = sync->offsets.table.set = false;
}

static bool is_ripe(const struct slave_sync *sync, const struct pending_table *pending)
{
    return pending_table_is_ripe(pending, store_appended_pos(sync->broker->store));
}

static void take_delay(struct slave_sync *sync, struct arena *arena)
{
    DelayOffsetSerializeWrapper body;
    if (!is_ripe(sync, &sync->delay))
        return;
    delay_offset_serialize_wrapper__init(&body);
    if (pending_table_take(&sync->delay, arena, &body.base, NULL) != STATUS_OK ||
        delay_adopt(sync->broker->delay, &body, sync->delay.proof_pos) != STATUS_OK)
        complain(sync, "delay offsets", "a level or an offset is impossible");
}

static void take_timers(struct slave_sync *sync, struct arena *arena)
{
    TimerProgress body;
    struct err err = {.text = "it is malformed"};
    if (!is_ripe(sync, &sync->timers))
        return;
    timer_progress__init(&body);
    if (pending_table_take(&sync->timers, arena, &body.base, NULL) != STATUS_OK ||
        timer_copy_save(sync->timer_copy, &body, sync->timers.proof_pos, &err) != STATUS_OK)
        complain(sync, "timers", err.text);
    else
        atomic_store(&sync->broker->master_timer_floor, body.floor_pos);
}

/* The slave has all of the log that these offsets may speak of. */
static void take_offsets(struct slave_sync *sync, const ConsumerOffsetSerializeWrapper *body,
                         bool whole, int64_t version)
{
    uint64_t commits = offsets_commits(sync->broker->offsets);
    if (offsets_merge(sync->broker->offsets, body, whole) != STATUS_OK)
        complain(sync, "consumer offsets", "there are more than this broker may keep");
    sync->offsets_version = version;
    if (!whole)
        return; /* what clients have committed here since is still there */
    sync->commits = commits;
    sync->whole_ms = now_ms(sync);
}

static void take_held_offsets(struct slave_sync *sync, struct arena *arena)
{
    struct pending_offsets *held = &sync->offsets;
    ConsumerOffsetSerializeWrapper body;
    struct err err = {0};
    if (!is_ripe(sync, &held->table))
        return;
    consumer_offset_serialize_wrapper__init(&body);
    if (pending_table_take(&held->table, arena, &body.base, &err) == STATUS_OK)
        take_offsets(sync, &body, held->whole, held->version);
    else
        complain(sync, "consumer offsets", err.text);
    if (held->table.more)
        hurry(sync);
}

/* What a group has dealt with may have gone into the master's log once more, to be tried again, and
 * the offset says that it is done: it is true of a log that has come as far as the master's had.
 * version  of the master's table, which is known when they have been taken */
static void hold_offsets(struct slave_sync *sync, const ConsumerOffsetSerializeWrapper *body,
                         bool whole, int64_t version, int64_t proof_pos)
{
    struct pending_offsets *held = &sync->offsets;
    bool waits = held->table.set && held->table.proof_pos <= proof_pos;
    if (!waits && store_appended_pos(sync->broker->store) >= proof_pos) {
        held->table.set = held->table.more = false;
        take_offsets(sync, body, whole, version);
    } else if (pending_table_put(&held->table, &body->base, proof_pos)) {
        held->whole = whole;
        held->version = version;
    }
}

static void take_pending(struct slave_sync *sync)
{
    struct arena arena;
    arena_init(&arena, 4096);
    take_delay(sync, &arena);
    take_timers(sync, &arena);
    take_held_offsets(sync, &arena);
    arena_release(&arena);
}

/* --- tables --- */

static void take_topics(struct slave_sync *sync, const TopicConfigSerializeWrapper *body)
{
    struct topics *topics = sync->broker->topics;
    struct err err = {0};
    uint64_t changes;
    struct data_version version = topics_version(topics, &changes);
    if (body->data_version != NULL && body->data_version->counter == version.counter &&
        body->data_version->timestamp == version.timestamp_ms)
        return;
    if (topics_replace(topics, body, &err) != STATUS_OK) {
        complain(sync, "topics", err.text);
        return;
    }
    log_info("slave", "topics taken over", "master=%s topics=%zu counter=%lld", sync->master,
             body->n_topic_config_table, (long long)body->data_version->counter);
    if (topics_persist(topics, &err) != STATUS_OK) /* the housekeeper tries again */
        complain(sync, "topics", err.text);
}

static void take_groups(struct slave_sync *sync, const SubscriptionGroupWrapper *body)
{
    struct groups *groups = sync->broker->groups;
    struct err err = {0};
    uint64_t changes;
    struct data_version version = groups_version(groups, &changes);
    if (body->data_version != NULL && body->data_version->counter == version.counter &&
        body->data_version->timestamp == version.timestamp_ms)
        return;
    if (groups_replace(groups, body, &err) != STATUS_OK) {
        complain(sync, "subscription groups", err.text);
        return;
    }
    log_info("slave", "subscription groups taken over", "master=%s groups=%zu counter=%lld",
             sync->master, body->n_subscription_group_table,
             (long long)body->data_version->counter);
    if (groups_persist(groups, &err) != STATUS_OK)
        complain(sync, "subscription groups", err.text);
}

/* version  what is known from then on */
static void take_modes(struct slave_sync *sync, const MessageRequestModeSerializeWrapper *body,
                       int64_t version)
{
    struct err err = {0};
    sync->modes_version = version;
    if (request_modes_replace(sync->broker->request_modes, body, &err) == STATUS_OK &&
        request_modes_persist(sync->broker->request_modes, &err) == STATUS_OK)
        return;
    sync->modes_version = NOTHING_KNOWN; /* nobody else saves them */
    complain(sync, "request modes", err.text);
}

/* --- a master of our own --- */

static void take_all(struct slave_sync *sync, const ReplicatedTables *body)
{
    /* What waits for the log is about the log that the master had before it was started anew, of
     * which it may have lost the end. */
    if (strcmp(sync->boot_id, body->boot_id) != 0) {
        forget_pending(sync);
        sync->offsets_version = NOTHING_KNOWN;
    }
    if (body->topics != NULL)
        take_topics(sync, body->topics);
    if (body->groups != NULL)
        take_groups(sync, body->groups);
    if (body->modes != NULL)
        take_modes(sync, body->modes, body->modes_version);
    if (body->offsets != NULL)
        hold_offsets(sync, body->offsets, body->offsets_whole, body->offsets_version,
                     body->offsets_proof);
    else if (!sync->offsets.table.set)
        sync->offsets_version = body->offsets_version;
    if (body->delay != NULL)
        (void)pending_table_put(&sync->delay, &body->delay->base, body->delay_proof);
    if (body->timer != NULL)
        (void)pending_table_put(&sync->timers, &body->timer->base, body->timer_proof);
    else
        atomic_store(&sync->broker->master_timer_floor, INT64_MAX);
    (void)snprintf(sync->boot_id, sizeof sync->boot_id, "%s", body->boot_id);
}

/* What this slave's offsets are of the master's. When clients have committed here, all of them are
 * asked for again: the master's count, as with 4.9.2. */
static int64_t known_offsets(struct slave_sync *sync)
{
    if (sync->offsets.table
            .set) /* what is newer than these is not taken now, and need not be much */
        return sync->offsets.version;
    if (offsets_commits(sync->broker->offsets) != sync->commits &&
        now_ms(sync) - sync->whole_ms >= WHOLE_PERIOD_MS)
        return NOTHING_KNOWN;
    return sync->offsets_version;
}

static void call_master(struct slave_sync *sync, const char *address, int32_t code,
                        const ProtobufCMessage *header, int64_t timeout_ms, net_answer answer)
{
    struct question *question = xmalloc(sizeof *question);
    *question = (struct question){sync, sync->round};
    struct request request = {
        .code = code, .header = header, .codec = CODEC_JSON, .timeout_ms = timeout_ms};
    client_call(sync->client, address, &request, answer, question);
}

/* The question's round, when it is the newest; NULL: drop the answer. */
static struct slave_sync *answered_round(void *ctx)
{
    struct question *question = ctx;
    struct slave_sync *sync = question->round == question->sync->round ? question->sync : NULL;
    free(question);
    return sync;
}

/* For the next round, or for a look at what waits for the log. */
static void set_timer(struct slave_sync *sync)
{
    int64_t wait_ms = sync->due_ms - now_ms(sync);
    if ((sync->delay.set || sync->timers.set) && wait_ms > PENDING_PERIOD_MS)
        wait_ms = PENDING_PERIOD_MS;
    if (sync->offsets.table.set && wait_ms > OFFSETS_PERIOD_MS)
        wait_ms = OFFSETS_PERIOD_MS;
    loop_timer_set(sync->timer, wait_ms < 1 ? 1 : wait_ms);
}

/* The master says that something has changed: a round soon, unless one comes sooner. */
static void hurry(struct slave_sync *sync)
{
    int64_t soon_ms = now_ms(sync) + ROUND_GAP_MS;
    if (soon_ms < sync->rest_until_ms)
        soon_ms = sync->rest_until_ms;
    if (soon_ms < sync->due_ms)
        sync->due_ms = soon_ms;
}

static void end_round(struct slave_sync *sync)
{
    int64_t took_ms = now_ms(sync) - sync->begun_ms;
    sync->rest_until_ms = now_ms(sync) + REST_FACTOR * took_ms;
    sync->due_ms = sync->begun_ms + PERIOD_MS;
    sync->asking = false;
    take_pending(sync);
    tell_outcome(sync);
    if (sync->again)
        hurry(sync);
    set_timer(sync);
}

/* No answer, or one that says no. */
static void complain_of_answer(struct slave_sync *sync, const char *what, enum status status,
                               const struct command *response, struct arena *arena)
{
    complain(sync, what,
             status != STATUS_OK    ? status_text(status)
             : response->has_remark ? arena_cstr(arena, response->remark)
                                    : "it refuses, and does not say why");
}

static void ask_4_9_2(struct slave_sync *sync)
{
    sync->step = 0;
    ask_next(sync);
}

static void on_tables(void *ctx, enum status status, const struct command *response,
                      struct slice body, struct arena *arena)
{
    struct slave_sync *sync = answered_round(ctx);
    ReplicatedTables tables;
    struct err err = {0};
    if (sync == NULL)
        return;
    if (status == STATUS_OK && response->code == RESPONSE_REQUEST_CODE_NOT_SUPPORTED) {
        sync->kind = KIND_4_9_2;
        atomic_store(&sync->broker->master_timer_floor, INT64_MAX);
        forget_versions(sync);
        ask_4_9_2(sync);
        return;
    }
    replicated_tables__init(&tables);
    if (status != STATUS_OK || response->code != RESPONSE_SUCCESS)
        complain_of_answer(sync, "all", status, response, arena);
    else if (body_decode(body, arena, &tables.base, &err) != STATUS_OK)
        complain(sync, "all", err.text);
    else if (tables.boot_id[0] == '\0')
        complain(sync, "all", "the answer is not one to this question");
    else {
        sync->kind = KIND_OURS;
        take_all(sync, &tables);
    }
    end_round(sync);
}

static void ask_ours(struct slave_sync *sync)
{
    struct broker *broker = sync->broker;
    GetReplicatedTablesRequestHeader header;
    uint64_t changes;
    struct data_version topics = topics_version(broker->topics, &changes);
    struct data_version groups = groups_version(broker->groups, &changes);
    get_replicated_tables_request_header__init(&header);
    header.boot_id = sync->boot_id;
    header.broker_id = broker->conf.brokerId;
    header.broker_name = (char *)(uintptr_t)(const char *)broker->conf.brokerName;
    header.cluster_name = (char *)(uintptr_t)(const char *)broker->conf.brokerClusterName;
    header.topics_counter = topics.counter;
    header.topics_timestamp = topics.timestamp_ms;
    header.groups_counter = groups.counter;
    header.groups_timestamp = groups.timestamp_ms;
    header.offsets_version = known_offsets(sync);
    header.modes_version = sync->modes_version;
    call_master(sync, sync->master, REQUEST_GET_REPLICATED_TABLES, &header.base, TABLES_TIMEOUT_MS,
                on_tables);
}

/* --- a master of 4.9.2 --- */

static void read_topics(struct slave_sync *sync, struct slice body, struct arena *arena)
{
    TopicConfigSerializeWrapper topics;
    struct err err = {0};
    topic_config_serialize_wrapper__init(&topics);
    if (body_decode(body, arena, &topics.base, &err) == STATUS_OK)
        take_topics(sync, &topics);
    else
        complain(sync, "topics", err.text);
}

static void read_offsets(struct slave_sync *sync, struct slice body, struct arena *arena)
{
    (void)arena;
    buf_clear(&sync->offsets_json);
    buf_append(&sync->offsets_json, body.data, body.size);
}

static void read_delay(struct slave_sync *sync, struct slice body, struct arena *arena)
{
    (void)arena;
    buf_clear(&sync->delay_json);
    buf_append(&sync->delay_json, body.data, body.size);
}

/* How far the master's log was when the offsets had been read. */
static bool log_end_of(struct slice body, struct arena *arena, int64_t *out)
{
    KVTable table;
    kvtable__init(&table);
    if (body_decode(body, arena, &table.base, NULL) != STATUS_OK)
        return false;
    for (size_t i = 0; i < table.n_table; i++)
        if (strcmp(table.table[i]->key, "commitLogMaxOffset") == 0)
            return parse_i64(slice_of_cstr(table.table[i]->value), out) && *out >= 0;
    return false;
}

static void read_log_end(struct slave_sync *sync, struct slice body, struct arena *arena)
{
    DelayOffsetSerializeWrapper delay;
    ConsumerOffsetSerializeWrapper offsets;
    struct err err = {.text = "the runtime information has no commitLogMaxOffset"};
    int64_t end_pos = 0;
    bool known = log_end_of(body, arena, &end_pos);
    delay_offset_serialize_wrapper__init(&delay);
    consumer_offset_serialize_wrapper__init(&offsets);
    if (sync->delay_json.size != 0) {
        if (known &&
            body_decode(buf_slice(&sync->delay_json), arena, &delay.base, &err) == STATUS_OK)
            (void)pending_table_put(&sync->delay, &delay.base, end_pos);
        else
            complain(sync, "delay offsets", err.text);
    }
    if (sync->offsets_json.size != 0) {
        if (known &&
            body_decode(buf_slice(&sync->offsets_json), arena, &offsets.base, &err) == STATUS_OK)
            hold_offsets(sync, &offsets, false, NOTHING_KNOWN, end_pos);
        else
            complain(sync, "consumer offsets", err.text);
    }
    buf_clear(&sync->delay_json);
    buf_release(&sync->offsets_json);
}

static void read_groups(struct slave_sync *sync, struct slice body, struct arena *arena)
{
    SubscriptionGroupWrapper groups;
    struct err err = {0};
    subscription_group_wrapper__init(&groups);
    if (body_decode(body, arena, &groups.base, &err) == STATUS_OK)
        take_groups(sync, &groups);
    else
        complain(sync, "subscription groups", err.text);
}

static const struct {
    int32_t code;
    const char *what;
    void (*read)(struct slave_sync *sync, struct slice body, struct arena *arena);
} steps[] = {
    {REQUEST_GET_ALL_TOPIC_CONFIG, "topics", read_topics}, /* the first one: by the fast port */
    {REQUEST_GET_ALL_CONSUMER_OFFSET, "consumer offsets", read_offsets},
    {REQUEST_GET_ALL_DELAY_OFFSET, "delay offsets", read_delay},
    {REQUEST_GET_BROKER_RUNTIME_INFO, "end of the log", read_log_end},
    {REQUEST_GET_ALL_SUBSCRIPTIONGROUP_CONFIG, "subscription groups", read_groups},
};
#define STEPS ((int)(sizeof steps / sizeof steps[0]))

static void on_answer(void *ctx, enum status status, const struct command *response,
                      struct slice body, struct arena *arena)
{
    struct slave_sync *sync = answered_round(ctx);
    if (sync == NULL)
        return;
    if (status != STATUS_OK && sync->step == 0 && !sync->fast_port_fails) {
        sync->fast_port_fails = true; /* the main port then */
        ask_next(sync);
        return;
    }
    if (status == STATUS_OK && response->code == RESPONSE_SUCCESS)
        steps[sync->step].read(sync, body, arena);
    else
        complain_of_answer(sync, steps[sync->step].what, status, response, arena);
    sync->step++;
    /* One that is not reached would make each step wait for its time-out. */
    if (sync->step < STEPS && status == STATUS_OK)
        ask_next(sync);
    else
        end_round(sync);
}

/* "ip:port" -> "ip:port-2"; false: it has no such port. */
static bool fast_address(const char *address, char out[ADDRESS_BYTES])
{
    char host[ADDRESS_BYTES];
    int port = 0;
    if (!net_address_split(address, host, sizeof host, &port) || port <= 2)
        return false;
    int size = snprintf(out, ADDRESS_BYTES, strchr(host, ':') != NULL ? "[%s]:%d" : "%s:%d", host,
                        port - 2);
    return size > 0 && size < ADDRESS_BYTES;
}

static void ask_next(struct slave_sync *sync)
{
    char fast[ADDRESS_BYTES];
    bool by_fast_port =
        sync->step == 0 && !sync->fast_port_fails && fast_address(sync->master, fast);
    call_master(sync, by_fast_port ? fast : sync->master, steps[sync->step].code, NULL, TIMEOUT_MS,
                on_answer);
}

/* --- rounds --- */

static void begin_round(struct slave_sync *sync)
{
    sync->round++;
    sync->begun_ms = now_ms(sync);
    sync->asking = true;
    sync->again = false;
    sync->failed = false;
    if (sync->kind == KIND_4_9_2 && ++sync->rounds_as_4_9_2 % PROBE_ROUNDS != 0) {
        ask_4_9_2(sync);
        return;
    }
    if (sync->kind == KIND_4_9_2)
        sync->fast_port_fails = false;
    ask_ours(sync);
}

/* Tables go with the log. A master that came back with another store, or with none, is one that
 * replication refuses; until it has decided, nothing is taken from a master that it has lost. */
static bool follows_its_log(const struct slave_sync *sync)
{
    struct replication_slave_state state;
    if (sync->broker->replication == NULL)
        return true;
    replication_slave_state(sync->broker->replication, &state);
    return !state.refused && (state.connected || state.heard_ms == 0);
}

static void on_timer(void *ctx)
{
    struct slave_sync *sync = ctx;
    if (sync->asking || sync->master[0] == '\0')
        return;
    if (now_ms(sync) < sync->due_ms) {
        take_pending(sync);
        set_timer(sync);
    } else if (follows_its_log(sync)) {
        begin_round(sync);
    } else {
        loop_timer_set(sync->timer, UNDECIDED_MS);
    }
}

/* Another master, or none any more. */
static void change_master(struct slave_sync *sync, const char *master)
{
    log_info("slave", master[0] == '\0' ? "the name servers know no master" : "following a master",
             "master=%s before=%s", master, sync->master);
    memcpy(sync->master, master, strlen(master) + 1);
    sync->due_ms = now_ms(sync) + (sync->round == 0 ? FIRST_ROUND_MS : ROUND_GAP_MS);
    sync->rest_until_ms = 0;
    sync->kind = KIND_UNKNOWN;
    sync->round++; /* answers on their way are of another one */
    sync->asking = false;
    sync->fast_port_fails = false;
    sync->told = false;
    forget_pending(sync);
    buf_clear(&sync->delay_json);
    buf_clear(&sync->offsets_json);
    forget_versions(sync);
}

static void on_task(struct loop_task *task)
{
    struct slave_sync *sync =
        (struct slave_sync *)(void *)((char *)task - offsetof(struct slave_sync, task));
    char wanted[ADDRESS_BYTES];
    pthread_mutex_lock(&sync->lock);
    memcpy(wanted, sync->wanted, sizeof wanted);
    bool woken = sync->woken;
    sync->woken = false;
    sync->posted = false;
    pthread_mutex_unlock(&sync->lock);
    if (strcmp(wanted, sync->master) != 0)
        change_master(sync, wanted);
    if (sync->master[0] == '\0') {
        loop_timer_cancel(sync->timer);
        return;
    }
    if (woken && sync->kind == KIND_4_9_2)
        sync->kind = KIND_UNKNOWN; /* only our own say so */
    if (woken && sync->asking)
        sync->again = true;
    else if (woken)
        hurry(sync);
    if (!sync->asking)
        set_timer(sync);
}

/* --- outside --- */

enum status slave_sync_start(struct broker *broker, struct slave_sync **out, struct err *err)
{
    struct slave_sync *sync = xcalloc(1, sizeof *sync);
    struct net_options options = net_options_default();
    options.tls = broker_tls_for_calls(broker);
    char path[PATH_MAX];
    options.frame_bytes_max = ANSWER_BYTES_MAX;
    options.connections_max = 4;
    sync->broker = broker;
    sync->task.run = on_task;
    sync->whole_ms = -WHOLE_PERIOD_MS;
    forget_versions(sync);
    enum status status =
        loop_new("slave-sync", broker->loop_count, broker->clock, &sync->loop, err);
    if (status != STATUS_OK) {
        free(sync);
        return status;
    }
    CHECK(pthread_mutex_init(&sync->lock, NULL) == 0);
    (void)snprintf(path, sizeof path, "%s/config/timerProgress.json",
                   (const char *)broker->conf.storePathRootDir);
    sync->timer_copy = timer_copy_new(path, broker->vfs, broker->store);
    sync->client = client_new(sync->loop, &options);
    sync->timer = loop_timer_new(sync->loop, on_timer, sync);
    status = loop_start(sync->loop, err);
    if (status != STATUS_OK) {
        slave_sync_stop(sync);
        return status;
    }
    *out = sync;
    return STATUS_OK;
}

void slave_sync_stop(struct slave_sync *sync)
{
    loop_stop(sync->loop);
    sync->round++; /* drops the answers that client_free gives */
    client_free(sync->client);
    loop_settle(sync->loop);
    loop_timer_free(sync->timer);
    loop_free(sync->loop);
    timer_copy_free(sync->timer_copy);
    pending_table_release(&sync->delay);
    pending_table_release(&sync->timers);
    pending_table_release(&sync->offsets.table);
    buf_release(&sync->delay_json);
    buf_release(&sync->offsets_json);
    CHECK(pthread_mutex_destroy(&sync->lock) == 0);
    free(sync);
}

/* The lock is held. */
static void post(struct slave_sync *sync)
{
    if (sync->posted)
        return;
    sync->posted = true;
    loop_post(sync->loop, &sync->task);
}

void slave_sync_follow(struct slave_sync *sync, const char *master)
{
    if (master == NULL || strlen(master) >= ADDRESS_BYTES ||
        strcmp(master, sync->broker->address) == 0)
        master = "";
    pthread_mutex_lock(&sync->lock);
    if (strcmp(master, sync->wanted) != 0) {
        memcpy(sync->wanted, master, strlen(master) + 1);
        post(sync);
    }
    pthread_mutex_unlock(&sync->lock);
}

void slave_sync_wake(struct slave_sync *sync)
{
    pthread_mutex_lock(&sync->lock);
    sync->woken = true;
    post(sync);
    pthread_mutex_unlock(&sync->lock);
}
