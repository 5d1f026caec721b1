/* SPDX-License-Identifier: Apache-2.0
 *
 * mqbench: load generator and checker for servers that speak the RocketMQ remoting protocol, ours
 * and Apache's alike. `mqbench --help` lists modes and options; test/bench/bench.py runs the
 * standard cases and compares.
 *
 * One broker per run: --broker names it, or --namesrv gives the master of the topic's route.
 */
#include "common/base/check.h"
#include "common/base/number.h"
#include "common/sys/clock.h"
#include "proto/body_json.h"
#include "tools/bench/report.h"
#include "tools/bench/rpc.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define CALL_TIMEOUT_MS 5000
#define RETRY_PAUSE_MS 1
#define WATCH_PAUSE_MS 2
#define CONNECTIONS_MAX 200000
#define IN_FLIGHT_MAX 100000
#define QUEUES_MAX 65536
#define THREADS_MAX 64
#define BATCH_MAX 4096
#define TOPIC_NUMBER_BYTES 24

enum { EXIT_FAILED = 1, EXIT_USAGE = 2 };

static struct {
    const char *mode;
    const char *broker;
    const char *namesrv;
    const char *topic;
    const char *group;
    const char *tags;
    const char *ledger;
    const char *label;
    enum codec codec;
    int64_t connections, in_flight, threads, topics, queues, groups, body_bytes, batch, count, last,
        pull_max, server_pid, slave_pid, launched_ms;
    double rate, warm_up_s, duration_s, timeout_s, hold_s;
    bool create, keys, no_unique, reconnect, until_end, from_end, commit, check_crc, json, tls;
} options = {
    .topic = "mqbench",
    .group = "mqbench",
    .label = "",
    .connections = 16,
    .in_flight = 32,
    .threads = 1,
    .topics = 1,
    .queues = 8,
    .groups = 1,
    .body_bytes = 1024,
    .batch = 1,
    .pull_max = 32,
    .duration_s = 10,
    .timeout_s = 60,
    .hold_s = 5,
    .commit = true,
    .check_crc = true,
};

static char master_address[RPC_ADDRESS_BYTES];
static const char **topics; /* options.topics of them */
static volatile sig_atomic_t interrupted;

static _Noreturn void fail(int exit_code, const char *text)
{
    fprintf(stderr, "mqbench: %s\n", text);
    exit(exit_code);
}

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

static int64_t now_ms(void)
{
    return clock_monotonic_ms(clock_real());
}

/* --- the server under test --- */

static void sample(struct process_usage *usage)
{
    struct err err;
    if (options.server_pid != 0 &&
        process_usage_read((int)options.server_pid, usage, &err) != STATUS_OK)
        fail(EXIT_FAILED, err.text);
    struct process_usage slave;
    if (options.slave_pid == 0)
        return;
    if (process_usage_read((int)options.slave_pid, &slave, &err) != STATUS_OK)
        fail(EXIT_FAILED, err.text);
    usage->user_s += slave.user_s;
    usage->system_s += slave.system_s;
}

/* The broker's address: given, or the topic's (or TBW102's) master in the route. */
static enum status find_broker(struct err *err)
{
    if (options.broker != NULL) {
        snprintf(master_address, sizeof master_address, "%s", options.broker);
        return STATUS_OK;
    }
    struct rpc namesrv;
    enum status status = rpc_open(&namesrv, options.namesrv, CODEC_JSON, CALL_TIMEOUT_MS, err);
    if (status != STATUS_OK)
        return status;
    TopicRouteData route;
    status = rpc_route(&namesrv, topics[0], &route, err);
    if (status == STATUS_NOT_FOUND)
        status = rpc_route(&namesrv, "TBW102", &route, err);
    const char *master = status == STATUS_OK ? route_master(&route, NULL) : NULL;
    if (master != NULL)
        snprintf(master_address, sizeof master_address, "%s", master);
    else if (status == STATUS_OK)
        status = err_set(err, STATUS_NOT_FOUND, "%s knows no master", options.namesrv);
    rpc_close(&namesrv);
    return status;
}

static void open_broker(struct rpc *broker)
{
    struct err err;
    if (find_broker(&err) != STATUS_OK ||
        rpc_open(broker, master_address, options.codec, CALL_TIMEOUT_MS, &err) != STATUS_OK)
        fail(EXIT_FAILED, err.text);
    for (int64_t i = 0; options.create && i < options.topics; i++)
        if (rpc_create_topic(broker, topics[i], (int)options.queues, &err) != STATUS_OK)
            fail(EXIT_FAILED, err.text);
}

/* Queues of all topics, numbered as load.h says. */
static int queue_count(void)
{
    return (int)(options.topics * options.queues);
}

/* Where a consumer starts in a queue that holds min..max. */
static int64_t first_offset(int64_t min, int64_t max, bool from_end)
{
    if (from_end)
        return max;
    int64_t last = options.last / queue_count();
    return options.last > 0 && max - min > last ? max - last : min;
}

/* Lives as long as the process. */
static const char *group_name(int64_t number)
{
    static char **names;
    if (options.groups == 1)
        return options.group;
    if (names == NULL)
        names = xcalloc((size_t)options.groups, sizeof *names);
    if (names[number] == NULL) {
        size_t bytes = strlen(options.group) + TOPIC_NUMBER_BYTES;
        names[number] = xcalloc(1, bytes);
        snprintf(names[number], bytes, "%s-%" PRId64, options.group, number);
    }
    return names[number];
}

/* The queues as each group sees them, group after group. */
static struct load_queue *read_queues(struct rpc *broker, bool from_end, bool until_end)
{
    struct load_queue *queues =
        xcalloc((size_t)queue_count() * (size_t)options.groups, sizeof *queues);
    const char *group = group_name(0);
    for (int i = 0; i < queue_count(); i++) {
        const char *topic = topics[i / options.queues];
        int id = i % (int)options.queues;
        struct err err;
        int64_t min;
        int64_t max;
        if (rpc_queue_bounds(broker, topic, id, &min, &max, &err) != STATUS_OK)
            fail(EXIT_FAILED, err.text);
        queues[i] = (struct load_queue){.group = group,
                                        .topic = topic,
                                        .id = id,
                                        .next = first_offset(min, max, from_end),
                                        .end = until_end ? max : -1};
        queues[i].done = until_end && queues[i].next >= max;
    }
    for (int64_t number = 1; number < options.groups; number++) {
        struct load_queue *of_group = &queues[number * queue_count()];
        group = group_name(number);
        memcpy(of_group, queues, (size_t)queue_count() * sizeof *queues);
        for (int i = 0; i < queue_count(); i++)
            of_group[i].group = group;
    }
    return queues;
}

/* --- runs --- */

static uint32_t new_run(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint32_t)now.tv_nsec ^ (uint32_t)now.tv_sec * 2654435761U ^ (uint32_t)getpid() << 16;
}

static struct load_options load_options_of(enum load_role role, uint32_t run)
{
    return (struct load_options){
        .role = role,
        .address = master_address,
        .connections = (int)options.connections,
        .in_flight = (int)options.in_flight,
        .topics = topics,
        .queues_per_topic = (int)options.queues,
        .queues = queue_count() * (role == LOAD_CONSUME ? (int)options.groups : 1),
        .rate = role == LOAD_PRODUCE ? options.rate : 0,
        .count = options.count,
        .reconnect = options.reconnect,
        .acknowledged_path = role == LOAD_PRODUCE ? options.ledger : NULL,
        .check_crc = options.check_crc,
        .send = {.codec = options.codec,
                 .group = options.group,
                 .tags = options.tags,
                 .keys = options.keys,
                 .no_unique = options.no_unique,
                 .body_bytes = (size_t)options.body_bytes,
                 .batch = (int)options.batch,
                 .run = run},
        .pull = {.codec = options.codec,
                 .tags = options.tags,
                 .max_messages = (int)options.pull_max,
                 .commit = options.commit,
                 .suspend_ms = 15000},
    };
}

/* A load and what it needs while it runs. */
struct job {
    struct load load;
    struct load_options options;
    struct load_queue *queues; /* consumers; NULL for producers */
};

static void start(struct job *job)
{
    struct err err;
    job->options.warm_up = options.warm_up_s > 0;
    if (load_start(&job->load, &job->options, job->queues, (int)options.threads, &err) != STATUS_OK)
        fail(EXIT_FAILED, err.text);
}

static void warm_up(struct job *job, struct job *side)
{
    int64_t until_ms = now_ms() + (int64_t)(options.warm_up_s * 1000);
    while (now_ms() < until_ms && !interrupted && !load_finished(&job->load))
        pause_ms(WATCH_PAUSE_MS);
    load_set_phase(&job->load, LOAD_MEASURE);
    if (side != NULL)
        load_set_phase(&side->load, LOAD_MEASURE);
    pause_ms(WATCH_PAUSE_MS);
}

static void begin(struct job *job, struct job *side)
{
    if (side != NULL)
        start(side);
    start(job);
}

/* Start, warm up, measure, and join. `side` is a consumer that runs along (tail) and whose messages
 * are the ones counted, or NULL. */
static void run(struct job *job, struct job *side, struct report *report)
{
    static struct load_totals totals;
    static struct load_totals sends;
    struct load *counted = side != NULL ? &side->load : &job->load;
    uint64_t counted_before = 0;
    if (options.warm_up_s > 0) {
        begin(job, side);
        warm_up(job, side);
        counted_before = load_messages(counted);
    }
    sample(&report->cost.before);
    double own_before_s = process_own_cpu_s();
    int64_t from_ns = clock_monotonic_ns(clock_real());
    if (options.warm_up_s <= 0)
        begin(job, side);
    bool bounded = options.count > 0 || options.until_end;
    int64_t limit_ns = (int64_t)((bounded ? options.timeout_s : options.duration_s) * 1e9);
    while (clock_monotonic_ns(clock_real()) - from_ns < limit_ns && !interrupted &&
           !load_finished(&job->load))
        pause_ms(WATCH_PAUSE_MS);
    report->wall_s = (double)(clock_monotonic_ns(clock_real()) - from_ns) / 1e9;
    report->messages = load_messages(counted) - counted_before;
    report->own_cpu_s = process_own_cpu_s() - own_before_s;
    sample(&report->cost.after);
    report->cost.known = options.server_pid != 0;
    load_set_phase(&job->load, LOAD_DRAIN);
    load_join(&job->load, &totals);
    report->totals = &totals;
    if (side != NULL) {
        load_set_phase(&side->load, LOAD_DRAIN);
        sends = totals;
        load_join(&side->load, &totals);
        report->sends = &sends;
    }
}

static int finish(struct report *report)
{
    report->mode = options.mode;
    report->label = options.label;
    if (options.json)
        report_json(report);
    else
        report_text(report);
    const struct load_totals *totals = report->totals;
    bool sound = totals->bad_crc == 0 && totals->bad_records == 0 && totals->refused == 0 &&
                 (options.reconnect || totals->lost_connections == 0);
    if (report->sends != NULL)
        sound = sound && report->sends->refused == 0 && report->sends->lost_connections == 0;
    if (options.count > 0 && report->messages < (uint64_t)options.count && !options.until_end)
        sound = sound && options.reconnect;
    return sound && report->messages > 0 ? 0 : EXIT_FAILED;
}

static int mode_produce(void)
{
    struct rpc broker;
    open_broker(&broker);
    rpc_close(&broker);
    struct job job = {.options = load_options_of(LOAD_PRODUCE, new_run())};
    struct report report = {0};
    run(&job, NULL, &report);
    return finish(&report);
}

/* One heartbeat for many groups: they are known, and have their retry topics. */
static void join_groups(struct rpc *broker, const struct load_queue *queues)
{
    char client_id[] = "127.0.0.1@mqbench";
    ConsumerData *groups = xcalloc((size_t)options.groups, sizeof *groups);
    ConsumerData **set = xcalloc((size_t)options.groups, sizeof *set);
    SubscriptionData subscription = SUBSCRIPTION_DATA__INIT;
    SubscriptionData *subscriptions[] = {&subscription};
    subscription.topic = (char *)(uintptr_t)topics[0];
    subscription.sub_string = (char *)(uintptr_t) "*";
    subscription.sub_version = 1;
    for (int64_t i = 0; i < options.groups; i++) {
        consumer_data__init(&groups[i]);
        groups[i].group_name = (char *)(uintptr_t)queues[i * queue_count()].group;
        groups[i].consume_type = (char *)(uintptr_t) "CONSUME_PASSIVELY";
        groups[i].message_model = (char *)(uintptr_t) "CLUSTERING";
        groups[i].consume_from_where = (char *)(uintptr_t) "CONSUME_FROM_LAST_OFFSET";
        groups[i].n_subscription_data_set = 1;
        groups[i].subscription_data_set = subscriptions;
        set[i] = &groups[i];
    }
    HeartbeatData data = HEARTBEAT_DATA__INIT;
    data.client_i_d = client_id;
    data.n_consumer_data_set = (size_t)options.groups;
    data.consumer_data_set = set;
    struct buf body = BUF_EMPTY;
    struct rpc_answer answer;
    struct err err;
    body_encode(&data.base, BODY_COMPACT, &body);
    if (rpc_expect(broker, REQUEST_HEART_BEAT, NULL, buf_slice(&body), &answer, &err) != STATUS_OK)
        fail(EXIT_FAILED, err.text);
    buf_release(&body);
    free(set);
    free(groups);
}

static int mode_consume(void)
{
    struct rpc broker;
    open_broker(&broker);
    struct job job = {.options = load_options_of(LOAD_CONSUME, 0),
                      .queues = read_queues(&broker, options.from_end, options.until_end)};
    if (options.groups > 1)
        join_groups(&broker, job.queues);
    struct report report = {0};
    run(&job, NULL, &report);
    rpc_close(&broker);
    free(job.queues);
    return finish(&report);
}

static int mode_tail(void)
{
    if (options.rate <= 0)
        fail(EXIT_USAGE, "tail needs --rate");
    struct rpc broker;
    open_broker(&broker);
    uint32_t run_number = new_run();
    struct job consumer = {.options = load_options_of(LOAD_CONSUME, run_number),
                           .queues = read_queues(&broker, true, false)};
    struct job producer = {.options = load_options_of(LOAD_PRODUCE, run_number)};
    rpc_close(&broker);
    consumer.options.end_to_end = true;
    consumer.options.count = 0;
    struct report report = {0};
    run(&producer, &consumer, &report);
    free(consumer.queues);
    return finish(&report);
}

static int mode_verify(void)
{
    struct err err;
    struct ledger ledger;
    if (options.ledger == NULL)
        fail(EXIT_USAGE, "verify needs --acked-log FILE, as written by mqbench produce");
    if (ledger_load(&ledger, options.ledger, &err) != STATUS_OK)
        fail(EXIT_FAILED, err.text);
    struct rpc broker;
    open_broker(&broker);
    options.until_end = true;
    options.threads = 1;
    options.commit = false;
    options.count = 0;
    struct job job = {.options = load_options_of(LOAD_CONSUME, 0),
                      .queues = read_queues(&broker, false, true)};
    rpc_close(&broker);
    job.options.ledger = &ledger;
    struct report report = {.complete = true};
    run(&job, NULL, &report);
    for (int i = 0; i < queue_count(); i++)
        report.complete = report.complete && job.queues[i].done;
    struct ledger_summary summary = ledger_summary(&ledger);
    report.ledger = &summary;
    int code = finish(&report);
    if (summary.acknowledged == 0)
        fail(EXIT_FAILED, "the ledger holds no acknowledged message, so nothing was verified");
    bool sound =
        report.complete && summary.lost == 0 && summary.duplicated == 0 && summary.moved == 0;
    free(job.queues);
    ledger_release(&ledger);
    return sound ? code : EXIT_FAILED;
}

static bool heartbeat(struct rpc *rpc, int index)
{
    char client_id[64];
    char group[] = "mqbench";
    snprintf(client_id, sizeof client_id, "127.0.0.1@idle@%d", index);
    ProducerData producer = PRODUCER_DATA__INIT;
    ProducerData *producers[] = {&producer};
    producer.group_name = group;
    HeartbeatData data = HEARTBEAT_DATA__INIT;
    data.client_i_d = client_id;
    data.n_producer_data_set = 1;
    data.producer_data_set = producers;
    struct buf body = BUF_EMPTY;
    body_encode(&data.base, BODY_COMPACT, &body);
    struct rpc_answer answer;
    enum status status = rpc_expect(rpc, REQUEST_HEART_BEAT, NULL, buf_slice(&body), &answer, NULL);
    buf_release(&body);
    return status == STATUS_OK;
}

static int mode_idle(void)
{
    struct rpc broker;
    open_broker(&broker);
    struct report_cost cost = {.known = options.server_pid != 0};
    pause_ms(200);
    sample(&cost.before);
    struct link *links = xcalloc((size_t)options.connections, sizeof *links);
    struct link own = broker.link;
    int opened = 0;
    int greeted = 0;
    struct err err;
    for (; opened < options.connections; opened++) {
        if (link_open(&links[opened], master_address, CALL_TIMEOUT_MS, &err) != STATUS_OK) {
            fprintf(stderr, "mqbench: connection %d: %s\n", opened, err.text);
            break;
        }
        /* One call structure serves all: only its socket is exchanged. */
        broker.link = links[opened];
        buf_clear(&broker.in);
        greeted += heartbeat(&broker, opened);
    }
    broker.link = own;
    struct process_usage settled = {0};
    sample(&settled);
    int64_t until_ms = now_ms() + (int64_t)(options.hold_s * 1000);
    while (now_ms() < until_ms && !interrupted)
        pause_ms(20);
    sample(&cost.after);
    double idle_cpu_pct =
        100 * (process_cpu_s(&cost.after) - process_cpu_s(&settled)) / options.hold_s;
    double bytes =
        opened == 0 ? 0 : (double)(cost.after.rss_kb - cost.before.rss_kb) * 1024 / opened;
    if (options.json) {
        printf("{\"mode\":\"idle\",\"connections\":%d,\"heartbeats\":%d,\"rss_before_kb\":%" PRId64
               ",\"rss_after_kb\":%" PRId64 ",\"bytes_per_connection\":%.0f,\"idle_cpu_pct\":%.2f",
               opened, greeted, cost.before.rss_kb, cost.after.rss_kb, bytes, idle_cpu_pct);
        report_cost_json(&cost, 0, 0);
        puts("}");
    } else {
        printf("idle     %d connections, %d heartbeats answered; RSS %.1f -> %.1f MB = %.0f bytes "
               "per connection; %.2f %% CPU while idle\n",
               opened, greeted, (double)cost.before.rss_kb / 1024, (double)cost.after.rss_kb / 1024,
               bytes, idle_cpu_pct);
    }
    for (int i = 0; i < opened; i++)
        link_close(&links[i]);
    free(links);
    rpc_close(&broker);
    return greeted == options.connections ? 0 : EXIT_FAILED;
}

/* One attempt of `ready`: find, connect, create the topic, send. */
static enum status try_send(struct err *err)
{
    struct rpc broker;
    enum status status = find_broker(err);
    if (status == STATUS_OK)
        status = rpc_open(&broker, master_address, options.codec, CALL_TIMEOUT_MS, err);
    if (status != STATUS_OK)
        return status;
    if (options.create)
        status = rpc_create_topic(&broker, topics[0], (int)options.queues, err);
    struct rpc_answer answer;
    if (status == STATUS_OK)
        status = rpc_send(&broker, options.group, topics[0], 0, SLICE_LITERAL("WAIT\001true"),
                          SLICE_LITERAL("ready"), &answer, err);
    if (status == STATUS_OK && answer.command.code != RESPONSE_SUCCESS)
        status = err_set(err, STATUS_INVALID, "the send was answered with code %d: %.*s",
                         answer.command.code, SLICE_ARGS(answer.command.remark));
    rpc_close(&broker);
    return status;
}

static int mode_ready(void)
{
    int64_t launched_ms =
        options.launched_ms > 0 ? options.launched_ms : clock_wall_ms(clock_real());
    int64_t until_ms = now_ms() + (int64_t)(options.timeout_s * 1000);
    struct err err;
    enum status status;
    while ((status = try_send(&err)) != STATUS_OK && now_ms() < until_ms && !interrupted)
        pause_ms(RETRY_PAUSE_MS);
    if (status != STATUS_OK)
        fail(EXIT_FAILED, err.text);
    int64_t accepted_ms = clock_wall_ms(clock_real());
    int64_t took_ms = accepted_ms - launched_ms;
    struct report_cost cost = {.known = options.server_pid != 0};
    sample(&cost.after);
    if (options.json) {
        printf("{\"mode\":\"ready\",\"ready_ms\":%" PRId64 ",\"accepted_at_ms\":%" PRId64, took_ms,
               accepted_ms);
        report_cost_json(&cost, 0, (double)took_ms / 1000);
        puts("}");
    } else {
        printf("ready    first send accepted after %" PRId64 " ms\n", took_ms);
        report_cost_text(&cost, 0, (double)took_ms / 1000);
    }
    return 0;
}

/* --- the command line --- */

static const struct {
    const char *name;
    int (*run)(void);
    const char *help;
} modes[] = {
    {"produce", mode_produce, "send; with --rate as an open loop"},
    {"consume", mode_consume, "pull, check CRC and order"},
    {"tail", mode_tail, "send at --rate and pull at the end: end-to-end latency"},
    {"verify", mode_verify, "read all back and compare with the --acked-log of produce"},
    {"idle", mode_idle, "open --conns connections, one heartbeat each: bytes per connection"},
    {"ready", mode_ready, "try until the first send is accepted"},
};

enum option_type { TEXT, WHOLE, REAL, YES, NO, CODEC };

/* Every option: where it goes, and for WHOLE the range it must lie in. */
static const struct {
    const char *name;
    enum option_type type;
    void *into;
    int64_t min, max;
    const char *help;
} table[] = {
    {"broker", TEXT, &options.broker, 0, 0, "HOST:PORT of the broker"},
    {"namesrv", TEXT, &options.namesrv, 0, 0, "HOST:PORT of a name server, instead of --broker"},
    {"topic", TEXT, &options.topic, 0, 0, "default mqbench"},
    {"topics", WHOLE, &options.topics, 1, QUEUES_MAX, "spread over so many: TOPIC-0, TOPIC-1 ..."},
    {"queues", WHOLE, &options.queues, 1, QUEUES_MAX, "queues of each topic, default 8"},
    {"create", YES, &options.create, 0, 0, "create the topics first"},
    {"group", TEXT, &options.group, 0, 0, "producer or consumer group, default mqbench"},
    {"groups", WHOLE, &options.groups, 1, QUEUES_MAX,
     "consume: as so many groups GROUP-0, GROUP-1 ..., each all queues; with a heartbeat"},
    {"conns", WHOLE, &options.connections, 1, CONNECTIONS_MAX, "connections, default 16"},
    {"inflight", WHOLE, &options.in_flight, 1, IN_FLIGHT_MAX, "requests each, default 32"},
    {"threads", WHOLE, &options.threads, 1, THREADS_MAX, "of this program, default 1"},
    {"size", WHOLE, &options.body_bytes, PAYLOAD_MARK_BYTES, PAYLOAD_BYTES_MAX,
     "bytes of a body, default 1024"},
    {"batch", WHOLE, &options.batch, 1, BATCH_MAX, "messages per send, default 1"},
    {"serial", CODEC, &options.codec, 0, 0, "json (default) or rocketmq headers"},
    {"tags", TEXT, &options.tags, 0, 0, "TAGS property; consume: tags subscribed to"},
    {"keys", YES, &options.keys, 0, 0, "a KEYS property in every message"},
    {"no-unique-key", YES, &options.no_unique, 0, 0, "no UNIQ_KEY property: nothing to index"},
    {"rate", REAL, &options.rate, 0, 0, "messages per second; latency from the due time"},
    {"warmup", REAL, &options.warm_up_s, 0, 0, "seconds not counted, default 0"},
    {"duration", REAL, &options.duration_s, 0, 0, "seconds, default 10"},
    {"count", WHOLE, &options.count, 0, INT64_MAX, "stop after so many messages"},
    {"timeout", REAL, &options.timeout_s, 0, 0, "seconds, with --count, --until-end; default 60"},
    {"until-end", YES, &options.until_end, 0, 0, "consume what is there, then stop"},
    {"from-end", YES, &options.from_end, 0, 0, "consume only what arrives"},
    {"last", WHOLE, &options.last, 0, INT64_MAX, "consume: start so many messages before the end"},
    {"pull-max", WHOLE, &options.pull_max, 1, 10000, "messages per pull, default 32"},
    {"no-commit", NO, &options.commit, 0, 0, "do not store the consumer's offsets"},
    {"no-crc", NO, &options.check_crc, 0, 0, "do not check bodies"},
    {"acked-log", TEXT, &options.ledger, 0, 0, "ledger of acknowledged messages"},
    {"reconnect", YES, &options.reconnect, 0, 0, "open lost connections again"},
    {"hold", REAL, &options.hold_s, 0, 0, "idle: seconds, default 5"},
    {"launched-at", WHOLE, &options.launched_ms, 0, INT64_MAX,
     "ready: wall clock ms to count from"},
    {"server-pid", WHOLE, &options.server_pid, 1, INT32_MAX, "report CPU and memory of it"},
    {"slave-pid", WHOLE, &options.slave_pid, 1, INT32_MAX, "count its CPU with the server's"},
    {"tls", YES, &options.tls, 0, 0, "speak TLS, and accept any certificate"},
    {"label", TEXT, &options.label, 0, 0, "text for the report"},
    {"json", YES, &options.json, 0, 0, "report as one JSON object"},
};

#define MODE_COUNT (sizeof modes / sizeof modes[0])
#define OPTION_COUNT (sizeof table / sizeof table[0])

static void print_help(void)
{
    puts("usage: mqbench MODE [OPTION...]\n\nmodes:");
    for (size_t i = 0; i < MODE_COUNT; i++)
        printf("  %-14s %s\n", modes[i].name, modes[i].help);
    puts("\noptions:");
    for (size_t i = 0; i < OPTION_COUNT; i++)
        printf("  --%-12s %s\n", table[i].name, table[i].help);
}

static bool set_option(size_t index, const char *text)
{
    int64_t whole;
    char *end;
    switch (table[index].type) {
    case TEXT:
        *(const char **)table[index].into = text;
        return true;
    case WHOLE:
        if (!parse_i64(slice_of_cstr(text), &whole) || whole < table[index].min ||
            whole > table[index].max)
            return false;
        *(int64_t *)table[index].into = whole;
        return true;
    case REAL:
        errno = 0;
        *(double *)table[index].into = strtod(text, &end);
        return errno == 0 && *end == '\0' && end != text && *(double *)table[index].into >= 0;
    case CODEC:
        *(enum codec *)table[index].into = strcmp(text, "json") == 0 ? CODEC_JSON : CODEC_ROCKETMQ;
        return strcmp(text, "json") == 0 || strcmp(text, "rocketmq") == 0;
    case YES:
    case NO:
        *(bool *)table[index].into = table[index].type == YES;
        return true;
    }
    return false;
}

static void read_options(int argc, char **argv)
{
    struct option longs[OPTION_COUNT + 2] = {{0}};
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        bool flag = table[i].type == YES || table[i].type == NO;
        longs[i] = (struct option){table[i].name, flag ? no_argument : required_argument, NULL,
                                   (int)i + 256};
    }
    longs[OPTION_COUNT] = (struct option){"help", no_argument, NULL, 'h'};
    int found;
    while ((found = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
        if (found == 'h') {
            print_help();
            exit(0);
        }
        if (found < 256)
            exit(EXIT_USAGE);
        if (!set_option((size_t)found - 256, optarg)) {
            fprintf(stderr, "mqbench: --%s %s is not a value this option can take\n",
                    table[found - 256].name, optarg);
            exit(EXIT_USAGE);
        }
    }
    if (optind == argc - 1)
        options.mode = argv[optind];
    if (options.mode == NULL)
        fail(EXIT_USAGE, "name one mode; mqbench --help lists them");
}

static void name_topics(void)
{
    topics = xcalloc((size_t)options.topics, sizeof *topics);
    for (int64_t i = 0; i < options.topics; i++) {
        size_t bytes = strlen(options.topic) + TOPIC_NUMBER_BYTES;
        char *name = xcalloc(1, bytes);
        if (options.topics == 1)
            snprintf(name, bytes, "%s", options.topic);
        else
            snprintf(name, bytes, "%s-%" PRId64, options.topic, i);
        topics[i] = name;
    }
}

static void raise_file_limit(void)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    size_t mode = 0;
    while (mode < MODE_COUNT && strcmp(options.mode, modes[mode].name) != 0)
        mode++;
    if (mode == MODE_COUNT)
        fail(EXIT_USAGE, "no such mode; mqbench --help lists them");
    if ((options.broker == NULL) == (options.namesrv == NULL))
        fail(EXIT_USAGE, "name the server: either --broker or --namesrv HOST:PORT");
    if ((options.body_bytes + 400) * options.batch > PAYLOAD_BYTES_MAX * 3)
        fail(EXIT_USAGE, "--size times --batch is more than one frame holds");
    if (options.warm_up_s > 0 && (options.count > 0 || options.until_end))
        fail(EXIT_USAGE, "--warmup goes with --duration, not with --count or --until-end");
    if (options.topics * options.queues * options.groups > QUEUES_MAX)
        fail(EXIT_USAGE,
             "--topics times --queues times --groups is more than this program handles");
    name_topics();
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    raise_file_limit();
    payload_init();
    struct err err;
    if (options.tls && link_use_tls(&err) != STATUS_OK)
        fail(EXIT_FAILED, err.text);
    return modes[mode].run();
}
