/* SPDX-License-Identifier: Apache-2.0
 *
 * mqbroker: what is started in which order, and stopped in which order. Nothing else.
 *
 * Start: options, log, store (locks its folder, recovers), tables, loops, listeners, registration.
 * Stop:  unregister, so that clients go elsewhere; let held pulls go; stop reading and answer what
 *        is under way, for as long as shutdownTimeoutMillis allows; decline what the worker threads
 *        have not begun; join the loops; stop the clockwork; close the store; save the tables.
 * A second signal while stopping ends the process at once; what was acknowledged is in the log.
 */
#include "broker/proc/acks.h"
#include "broker/proc/appender.h"
#include "broker/proc/broker.h"
#include "broker/proc/housekeeper.h"
#include "broker/proc/notifier.h"
#include "broker/proc/parked_sends.h"
#include "broker/proc/pop.h"
#include "broker/proc/pull.h"
#include "broker/proc/registrar.h"
#include "broker/proc/replica_watch.h"
#include "broker/proc/role.h"
#include "broker/proc/send.h"
#include "broker/proc/store_owner.h"
#include "broker/proc/topic_maker.h"
#include "broker/proc/topic_routes.h"
#include "broker/proc/transaction_asker.h"
#include "broker/proc/undelivered.h"

#include "broker/repl/replicas.h"
#include "broker/repl/replication.h"
#include "broker/state/config_file.h"
#include "broker/state/pop_log.h"
#include "broker/state/pop_orders.h"
#include "broker/state/pop_revive.h"
#include "broker/state/request_modes.h"
#include "broker/state/transaction_ends.h"
#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/conf/broker_conf.h"
#include "common/conf/conf_options.h"
#include "common/conf/server_conf.h"
#include "common/sys/log.h"
#include "common/sys/process.h"

#include <malloc.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define PATH_BYTES 4096
#define WORKER_THREADS 4
#define WORKER_QUEUE_MAX 20000
#define ENDS_PATIENCE_MS 2000

enum {
    EXIT_OTHER = 1, /* a port in use, no thread left ... */
    /* 2: CONF_EXIT_USAGE */
    EXIT_STORE_IN_USE = 3,
    EXIT_STORE_DAMAGED = 4, /* or a part of it is missing */
    EXIT_FILES = 5,         /* cannot be read or written: permissions, space, the disk */
};

/* The exit statuses are part of the interface: docs/store.md and --help list them. */
static int exit_status_of(const struct err *err)
{
    switch (err->status) {
    case STATUS_INVALID:
    case STATUS_MALFORMED:
        return CONF_EXIT_USAGE;
    case STATUS_BUSY: /* with errno: for want of descriptors or memory */
        return err->sys_errno == 0 ? EXIT_STORE_IN_USE : EXIT_FILES;
    case STATUS_CORRUPT:
        return EXIT_STORE_DAMAGED;
    case STATUS_IO:
    case STATUS_FULL:
    case STATUS_NOT_FOUND:
        return EXIT_FILES;
    default:
        return EXIT_OTHER;
    }
}

static _Noreturn void die_with(int exit_status, const char *what, const struct err *err)
{
    log_error("broker", what, "cause=\"%s\"", err->text);
    (void)fprintf(stderr, "mqbroker: %s: %s\n", what, err->text);
    log_close();
    exit(exit_status);
}

/* A file, the store or a table of it; the status says what kind of trouble it is. */
static _Noreturn void die_of_files(const char *what, const struct err *err)
{
    die_with(exit_status_of(err), what, err);
}

static _Noreturn void die(const char *what, const struct err *err)
{
    die_with(EXIT_OTHER, what, err);
}

static void start_log(const struct broker_conf *conf)
{
    struct err err = {0};
    const char *path = conf->logFile;
    bool to_stdout = strcmp(path, "-") == 0;
    enum status status = to_stdout ? STATUS_OK : vfs_make_folder_of(vfs_posix(), path);
    if (status != STATUS_OK) {
        (void)err_set_errno(&err, status, "%s", path);
        die_with(EXIT_FILES, "the folder of the log can not be made; set logFile", &err);
    }
    struct log_options options = {
        .path = to_stdout ? NULL : path,
        .file_bytes = conf->logFileBytes,
        .kept_files = (int)conf->logFilesKept,
        .level = (enum log_level)conf->logLevel,
    };
    if (log_open(&options, &err) != STATUS_OK)
        die_with(EXIT_FILES, "the log can not be opened", &err);
}

int64_t broker_hot_bytes(const struct broker *broker)
{
    int64_t ram = (int64_t)sysconf(_SC_PHYS_PAGES) * (int64_t)sysconf(_SC_PAGESIZE);
    return ram / 100 * broker->conf.accessMessageInMemoryMaxRatio;
}

static void open_store(struct broker *broker)
{
    const struct broker_conf *conf = &broker->conf;
    struct err err = {0};
    if (delay_levels_parse(conf->messageDelayLevel, broker->delay_levels_ms,
                           &broker->delay_level_count, &err) != STATUS_OK)
        die_with(CONF_EXIT_USAGE, "messageDelayLevel can not be read", &err);
    struct store_options options = {
        .root = conf->storePathRootDir,
        .commit_log = conf->storePathCommitLog,
        .read_only_commit_logs = conf->readOnlyCommitLogStorePaths,
        .segment_bytes = conf->mappedFileSizeCommitLog,
        .queue_file_bytes = conf->mappedFileSizeConsumeQueue,
        .index_slots = (int32_t)conf->maxHashSlotNum,
        .index_entries = (int32_t)conf->maxIndexNum,
        .index_enable = conf->messageIndexEnable,
        .record_bytes_max = (int32_t)conf->maxMessageSize,
        .check_crc_on_recover = conf->checkCRCOnRecover,
        .role = broker->slave ? STORE_ROLE_SLAVE : STORE_ROLE_MASTER,
        .flush = conf->flushDiskType == FLUSH_DISK_SYNC ? STORE_FLUSH_SYNC : STORE_FLUSH_ASYNC,
        .flush_interval_ms = conf->flushIntervalCommitLog,
        .flush_timed = conf->flushCommitLogTimed,
        .flush_least_pages = (int32_t)conf->flushCommitLogLeastPages,
        .flush_thorough_interval_ms = conf->flushCommitLogThoroughInterval,
        .flush_queues_interval_ms = conf->flushIntervalConsumeQueue,
        .flush_queues_least_pages = (int32_t)conf->flushConsumeQueueLeastPages,
        .flush_queues_thorough_interval_ms = conf->flushConsumeQueueThoroughInterval,
        .checkpoint_bytes = CHECKPOINT_BYTES,
        .delay_levels_ms = broker->delay_levels_ms,
        .delay_level_count = broker->delay_level_count,
        .cold_read_threads = (int)conf->coldReadThreads,
        .cold_read_cache_bytes = conf->coldReadCacheBytes,
    };
    broker_set_retention(conf, &options);
    broker_set_pull_limits(broker, &options);
    if (store_open(&options, broker->vfs, broker->clock, &broker->store, &err) != STATUS_OK)
        die_of_files("the store can not be opened", &err);
}

static void open_access(struct broker *broker)
{
    struct err err = {0};
    if (!broker->conf.aclEnable)
        return;
    if (access_control_open(broker->conf.aclPlainFile, broker->vfs, broker->clock, &broker->access,
                            &err) != STATUS_OK)
        die_of_files("aclEnable=true, but the accounts can not be loaded", &err);
}

/* --check */
static enum status check_files(const void *values, struct err *err)
{
    const struct broker_conf *conf = values;
    return conf->aclEnable ? access_control_check(conf->aclPlainFile, vfs_posix(), err) : STATUS_OK;
}

static const char *config_path(const struct broker *broker, char out[PATH_BYTES], const char *file)
{
    (void)snprintf(out, PATH_BYTES, "%s/config/%s", (const char *)broker->conf.storePathRootDir,
                   file);
    return out;
}

static bool any_timers(const struct broker *broker)
{
    const struct queue *queue = store_queue(broker->store, SLICE_LITERAL(TOPIC_TIMER), 0, false);
    return broker->conf.timerWheelEnable && queue != NULL &&
           queue_max_offset(queue) > queue_min_offset(queue);
}

/* A file that is written when a store is begun, and is missing from one with messages, has been
 * lost. Groups are not among them: 4.9.2 writes their file with the first group. */
static void expect_files(const struct broker *broker)
{
    static const struct {
        const char *file;
        const char *loss;
    } needed[] = {
        {"topics.json", "no topic is known, and no message can be read"},
        {"consumerOffset.json", "every consumer begins anew, and reads messages twice or not at "
                                "all"},
        {"delayOffset.json", "every delayed message that is still there is delivered again"},
        {"timerProgress.json", "every timer that is still there is delivered again"},
    };
    char path[PATH_BYTES];
    struct err err = {0};
    bool any = store_appended_pos(broker->store) > store_min_pos(broker->store);
    bool any_delayed = false;
    for (int i = 0; i < broker->delay_level_count; i++) {
        const struct queue *queue =
            store_queue(broker->store, slice_of_cstr(TOPIC_SCHEDULE), i, false);
        any_delayed |= queue != NULL && queue_max_offset(queue) > queue_min_offset(queue);
    }
    for (size_t i = 0; any && i < sizeof needed / sizeof needed[0]; i++) {
        if ((strcmp(needed[i].file, "delayOffset.json") == 0 && !any_delayed) ||
            (strcmp(needed[i].file, "timerProgress.json") == 0 && !any_timers(broker)))
            continue;
        if (config_file_expect(broker->vfs, config_path(broker, path, needed[i].file),
                               needed[i].loss, &err) != STATUS_OK) {
            store_close(broker->store); /* the log is all right; no crash is left behind */
            die_with(err.status == STATUS_NOT_FOUND ? EXIT_STORE_DAMAGED : exit_status_of(&err),
                     "a table of the store has been lost", &err);
        }
    }
}

static bool is_there(const struct broker *broker, const char *file)
{
    char path[PATH_BYTES];
    struct vfs_stat st;
    return broker->vfs->ops->stat(broker->vfs, config_path(broker, path, file), &st) == STATUS_OK;
}

/* From the beginning there are files, so that missing ones mean a loss. Before the first message is
 * taken; a store that has some goes on without. */
static void save_first_tables(struct broker *broker)
{
    struct err err = {0};
    enum status status = STATUS_OK;
    if (!is_there(broker, "topics.json"))
        status = topics_persist(broker->topics, &err);
    if (status == STATUS_OK && !is_there(broker, "subscriptionGroup.json"))
        status = groups_persist(broker->groups, &err);
    if (status == STATUS_OK && !is_there(broker, "consumerOffset.json"))
        status = offsets_persist(broker->offsets, &err);
    if (status == STATUS_OK && !is_there(broker, "delayOffset.json"))
        status = delay_persist(broker->delay, &err);
    if (status == STATUS_OK && broker->timer != NULL && !is_there(broker, "timerProgress.json"))
        status = timer_persist(broker->timer, &err);
    if (status == STATUS_OK)
        return;
    if (store_appended_pos(broker->store) == store_min_pos(broker->store))
        die("the tables of the store can not be written", &err);
    log_error("broker", "table not saved, will try again", "cause=\"%s\"", err.text);
}

static void load_timers(struct broker *broker)
{
    struct err err = {0};
    char path[PATH_BYTES];
    char folder[PATH_BYTES];
    (void)snprintf(folder, sizeof folder, "%s/timer", (const char *)broker->conf.storePathRootDir);
    struct timer_options options = {
        .folder = folder,
        .progress_path = config_path(broker, path, "timerProgress.json"),
        .vfs = broker->vfs,
        .store = broker->store,
        .clock = broker->clock,
        .topic_stats = broker->topic_stats,
    };
    if (timer_load(&options, &broker->timer, &err) != STATUS_OK)
        die_of_files("the timers of the store can not be loaded", &err);
}

static void load_tables(struct broker *broker)
{
    const struct broker_conf *conf = &broker->conf;
    struct err err = {0};
    char path[PATH_BYTES];
    struct topics_options topics = {
        .path = config_path(broker, path, "topics.json"),
        .cluster_name = conf->brokerClusterName,
        .broker_name = conf->brokerName,
        .trace_topic_name = conf->msgTraceTopicName,
        .default_queues = (int32_t)conf->defaultTopicQueueNums,
        .auto_create = conf->autoCreateTopicEnable,
        .cluster_topic = conf->clusterTopicEnable,
        .broker_topic = conf->brokerTopicEnable,
        .trace_topic = conf->traceTopicEnable,
    };
    if (topics_load(&topics, broker->vfs, broker->clock, &broker->topics, &err) != STATUS_OK ||
        groups_load(config_path(broker, path, "subscriptionGroup.json"), broker->vfs, broker->clock,
                    &broker->groups, &err) != STATUS_OK ||
        offsets_load(config_path(broker, path, "consumerOffset.json"), broker->vfs,
                     &broker->offsets, &err) != STATUS_OK ||
        request_modes_load(config_path(broker, path, "messageRequestMode.json"), broker->vfs,
                           &broker->request_modes, &err) != STATUS_OK)
        die_of_files("a table of the store can not be loaded", &err);
    if (delay_load(config_path(broker, path, "delayOffset.json"), broker->vfs, broker->store,
                   broker->delay_levels_ms, broker->delay_level_count, &broker->delay,
                   &err) != STATUS_OK)
        die_of_files("the delay table of the store can not be loaded", &err);
    struct filters_options filters = {
        .path = config_path(broker, path, "consumerFilter.json"),
        .bloom_error_percent = (int)conf->maxErrorRateOfBloomFilter,
        .bloom_expected = conf->expectConsumerNumUseFilter,
    };
    if (filters_load(&filters, broker->vfs, broker->clock, &broker->filters, &err) != STATUS_OK)
        die_of_files("the filters of consumers can not be loaded", &err);
    broker->topic_stats = topic_stats_new(conf->brokerClusterName, broker->boot_ms);
    if (conf->enableScheduleMessageStats)
        delay_set_stats(broker->delay, broker->topic_stats);
    if (!broker->slave && conf->timerWheelEnable)
        load_timers(broker);
    broker->clients = clients_new();
    broker->queue_locks = queue_locks_new(QUEUE_LOCK_MAX_LIVE_MS);
    broker->stats = stats_new(broker->boot_ms);
    broker->replicas = replicas_new(broker->clock, acks_on_watermark, broker);
    broker->replica_watch = replica_watch_new(broker);
}

/* Before anything is appended. */
static void take_over_store(struct broker *broker)
{
    struct err err = {0};
    if (store_owner_begin(broker, &err) != STATUS_OK)
        die_of_files("the store can not be taken over", &err);
}

static void make_pops(struct broker *broker)
{
    static char log_topic[PATH_BYTES];
    struct err err = {0};
    char path[PATH_BYTES];
    if (broker->slave)
        return;
    (void)snprintf(log_topic, sizeof log_topic, POP_LOG_TOPIC_PREFIX "%s",
                   (const char *)broker->conf.brokerClusterName);
    broker->pop_ledger = pop_ledger_new(broker->offsets);
    if (pop_orders_load(config_path(broker, path, "consumerOrderInfo.json"), broker->vfs,
                        broker->offsets, &broker->pop_orders, &err) != STATUS_OK)
        die_of_files("a table of the store can not be loaded", &err);
    broker->pop_polls = pop_polls_new(broker->store);
    struct pop_revive_options options = {
        .store = broker->store,
        .ledger = broker->pop_ledger,
        .topics = broker->topics,
        .groups = broker->groups,
        .offsets = broker->offsets,
        .log_topic = log_topic,
        .broker_name = broker->conf.brokerName,
        .store_host = broker->store_host,
        .retry = broker->conf.enableRetryTopicV2 ? POP_RETRY_V2 : POP_RETRY_V1,
        .on_topic = pop_on_retry_topic,
        .ctx = broker,
    };
    broker->pop_revive = pop_revive_new(&options);
}

/* "ip:port" of a configured address, as Java prints it and registers it. */
static void set_address(const char *ip, int port, char out[HOST_TEXT_BYTES])
{
    (void)snprintf(out, HOST_TEXT_BYTES, strchr(ip, ':') != NULL ? "[%s]:%d" : "%s:%d", ip, port);
}

static void set_addresses(struct broker *broker)
{
    const struct broker_conf *conf = &broker->conf;
    struct err err = {0};
    if (!host_parse(conf->brokerIP1, (int)conf->listenPort, &broker->store_host)) {
        (void)err_set(&err, STATUS_INVALID,
                      "\"%s\" is not an IPv4 or IPv6 address; message ids hold this address, so "
                      "write a number, not a name",
                      (const char *)conf->brokerIP1);
        die_with(CONF_EXIT_USAGE, "brokerIP1 can not be used", &err);
    }
    set_address(conf->brokerIP1, (int)conf->listenPort, broker->address);
    set_address(conf->brokerIP2, (int)conf->haListenPort, broker->ha_address);
}

static void make_tls(struct broker *broker)
{
    const struct broker_conf *conf = &broker->conf;
    const struct tls_settings settings = broker_conf_tls(conf);
    struct err err = {0};
    int sides = (conf->tlsServerMode == TLS_MODE_DISABLED ? 0 : TLS_SIDE_SERVER) |
                (conf->useTLS ? TLS_SIDE_CLIENT : 0);
    if (sides == 0)
        return;
    if (tls_new(&settings, sides, &broker->tls, &err) != STATUS_OK)
        die_with(CONF_EXIT_USAGE, "TLS can not be set up", &err);
    if (tls_start(broker->tls, &err) != STATUS_OK)
        die("a thread can not be started", &err);
}

static void make_loops(struct broker *broker)
{
    struct err err = {0};
    broker->loop_count = (int)broker->conf.serverSelectorThreads;
    broker->loops = xcalloc((size_t)broker->loop_count, sizeof(struct loop *));
    broker->per_loop = xcalloc((size_t)broker->loop_count, sizeof *broker->per_loop);
    struct hold_callbacks *callbacks =
        xcalloc((size_t)broker->loop_count, sizeof(struct hold_callbacks));
    struct hold_callbacks *pop_callbacks =
        xcalloc((size_t)broker->loop_count, sizeof(struct hold_callbacks));
    for (int i = 0; i < broker->loop_count; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "io-%d", i);
        if (loop_new(name, i, broker->clock, &broker->loops[i], &err) != STATUS_OK)
            die("an I/O loop can not be made", &err);
        callbacks[i] = (struct hold_callbacks){&broker->per_loop[i], pull_on_arrival,
                                               pull_on_expire, pull_on_drop, pull_tags};
        pop_callbacks[i] = (struct hold_callbacks){.ctx = &broker->per_loop[i],
                                                   .on_arrival = pop_on_arrival,
                                                   .on_expire = pop_on_expire,
                                                   .on_drop = pop_on_drop};
    }
    broker->holds = hold_tables_new(broker->loops, broker->loop_count, callbacks);
    broker->pop_holds = hold_tables_new(broker->loops, broker->loop_count, pop_callbacks);
    free(pop_callbacks);
    free(callbacks);
    for (int i = 0; i < broker->loop_count; i++) {
        struct broker_loop *bl = &broker->per_loop[i];
        bl->broker = broker;
        bl->loop = broker->loops[i];
        bl->random = (uint64_t)arc4random() << 32 | arc4random() | 1;
        bl->holds = hold_tables_get(broker->holds, i);
        bl->pops = hold_tables_get(broker->pop_holds, i);
        bl->next_revive_queue = (uint32_t)i;
        bl->acks = acks_new(bl);
        bl->parked = parked_sends_new(bl, send_resume);
        bl->meters = topic_stats_view_new(broker->topic_stats);
    }
    broker->notifier = notifier_new(broker);
    broker->worker_batch = append_batch_new(broker->store);
    CHECK(pthread_mutex_init(&broker->worker_batch_lock, NULL) == 0);
    if (worker_pool_new("worker", WORKER_THREADS, WORKER_QUEUE_MAX, &broker->workers, &err) !=
        STATUS_OK)
        die("the worker threads can not be started", &err);
    if (topic_maker_new(broker, &broker->topic_maker, &err) != STATUS_OK ||
        appender_new(broker, &broker->appender, &err) != STATUS_OK ||
        registrar_new(broker, &broker->registrar, &err) != STATUS_OK)
        die("a thread can not be started", &err);
    broker->topic_routes = topic_routes_new(broker);
    if (!broker->slave) {
        broker->transaction_ends = transaction_ends_new();
        broker->transaction_asker = transaction_asker_new(broker);
    }
}

static void listen_on(struct broker *broker, int port, int tag)
{
    struct err err = {0};
    if (server_listen(broker->server, broker->conf.bindAddress, port, tag, NULL, &err) != STATUS_OK)
        die("a port can not be opened; another broker may be running here, else set listenPort",
            &err);
}

static void make_server(struct broker *broker)
{
    const struct broker_conf *conf = &broker->conf;
    struct net_options options = net_options_default();
    options.frame_bytes_max = (size_t)conf->frameMaxLength;
    options.connections_max = (int)conf->maxConnections;
    options.in_flight_bytes_max = (size_t)conf->maxInFlightBytes;
    options.output_high_water_bytes = (size_t)conf->outputHighWaterBytes;
    options.idle_ms = conf->serverChannelMaxIdleTimeSeconds * 1000;
    options.tls_mode = (enum tls_mode)conf->tlsServerMode;
    options.tls = options.tls_mode == TLS_MODE_DISABLED ? NULL : broker->tls;
    options.send_buffer_bytes = (int)conf->serverSocketSndBufSize;
    options.receive_buffer_bytes = (int)conf->serverSocketRcvBufSize;
    struct service service = {broker, broker_on_request, broker_on_close};
    broker->server = server_new(broker->loops, broker->loop_count, service, &options);
    listen_on(broker, (int)conf->listenPort, PORT_TAG_MAIN);
    listen_on(broker, (int)conf->listenPort - 2, PORT_TAG_FAST);
}

static void on_appended(void *arg)
{
    const struct broker *broker = arg;
    replication_appended(broker->replication);
}

static void on_flushed(void *arg)
{
    const struct broker *broker = arg;
    acks_on_watermark(arg);
    replication_flushed(broker->replication);
}

static void start_replication(struct broker *broker)
{
    const struct broker_conf *conf = &broker->conf;
    struct err err = {0};
    struct replication_options options = {
        .store = broker->store,
        .clock = broker->clock,
        .replicas = broker->replicas,
        .cluster_name = conf->brokerClusterName,
        .broker_name = conf->brokerName,
        .broker_id = conf->brokerId,
        .store_id = broker->identity.id,
        .begun_by_cluster = broker->identity.cluster_name,
        .begun_by_broker = broker->identity.broker_name,
        .segment_bytes = conf->mappedFileSizeCommitLog,
        .slave = broker->slave,
        .sync_flush = conf->flushDiskType == FLUSH_DISK_SYNC,
        .bind_address = conf->bindAddress,
        .port = (int)conf->haListenPort,
        .transfer_bytes = conf->haTransferBatchSize,
        .heartbeat_ms = conf->haSendHeartbeatInterval,
        .silence_ms = conf->haHousekeepingInterval,
        .on_changed = role_tables_changed,
        .ctx = broker,
    };
    if (replication_start(&options, &broker->replication, &err) != STATUS_OK)
        die("replication can not be started; another broker may be running here, else set "
            "haListenPort",
            &err);
}

/* Mostly a matter of milliseconds; those that are sent before it is over are refused. */
static void await_transaction_ends(const struct broker *broker)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    for (int i = 0; i < ENDS_PATIENCE_MS && broker->transaction_ends != NULL &&
                    !transaction_ends_ready(broker->transaction_ends);
         i++)
        (void)nanosleep(&pause, NULL);
}

static void start_threads(struct broker *broker, struct housekeeper **keeper)
{
    struct err err = {0};
    struct store_listener listener = {.ctx = broker,
                                      .on_arrival = broker_on_arrival,
                                      .on_appended = on_appended,
                                      .on_flushed = on_flushed,
                                      .may_expire = broker_may_expire,
                                      .undelivered = undelivered_before};
    start_replication(broker);
    store_set_listener(broker->store, listener);
    /* A slave appends as soon as it knows its master: not before the store has its listener. */
    if (store_start(broker->store, &err) != STATUS_OK || role_start(broker, &err) != STATUS_OK ||
        housekeeper_start(broker, keeper, &err) != STATUS_OK)
        die("a thread can not be started", &err);
    await_transaction_ends(broker);
    for (int i = 0; i < broker->loop_count; i++)
        if (loop_start(broker->loops[i], &err) != STATUS_OK)
            die("an I/O loop can not be started", &err);
}

static void announce_boot(const struct broker *broker)
{
    const struct broker_conf *conf = &broker->conf;
    const char *name_servers = conf->namesrvAddr;
    char text[1024];
    (void)snprintf(text, sizeof text, "The broker[%s, %s] boot success. serializeType=%s%s%s",
                   (const char *)conf->brokerName, broker->address, conf_serialize_type(),
                   name_servers[0] == '\0' ? "" : " and name server is ", name_servers);
    log_info("broker", text, "pid=%d version=%s", (int)getpid(), COMETMQ_VERSION);
    (void)printf("%s\n", text);
    (void)fflush(stdout);
}

/* --- stopping --- */

struct release_task {
    struct loop_task task;
    struct broker_loop *bl;
};

static void release_held(struct loop_task *task)
{
    struct release_task *release = (struct release_task *)(void *)task;
    hold_expire_all(release->bl->holds);
    hold_expire_all(release->bl->pops);
    free(release);
}

static void stop(struct broker *broker, struct housekeeper *keeper)
{
    log_info("broker", "stopping", "connections=%lld",
             (long long)server_stats(broker->server).connections);
    registrar_stop(broker->registrar);
    /* From here on no pull is held. Not before, or clients would ask again and again meanwhile. */
    atomic_store(&broker->stopping, true);
    for (int i = 0; i < broker->loop_count; i++) {
        struct release_task *release = xcalloc(1, sizeof *release);
        release->task.run = release_held;
        release->bl = &broker->per_loop[i];
        loop_post(broker->loops[i], &release->task);
    }
    server_drain(broker->server, broker->conf.shutdownTimeoutMillis);
    topic_maker_stop(broker->topic_maker);
    worker_pool_stop(broker->workers);
    worker_pool_free(broker->workers);
    for (int i = 0; i < broker->loop_count; i++)
        loop_stop(broker->loops[i]);
    appender_stop(broker->appender);
    housekeeper_stop(keeper);
    replication_stop(broker->replication); /* slaves get what is left first */
    role_stop(broker);
    store_stop(broker->store);
    housekeeper_free(keeper);
    /* What the store and the workers still posted; nobody posts any more, but the other loops to
     * the first one. */
    for (int i = broker->loop_count - 1; i >= 0; i--)
        loop_settle(broker->loops[i]);
}

static void tear_down(struct broker *broker)
{
    registrar_free(broker->registrar);
    topic_routes_free(broker->topic_routes);
    topic_maker_free(broker->topic_maker);
    appender_free(broker->appender);
    for (int i = 0; i < broker->loop_count; i++) {
        parked_sends_free(broker->per_loop[i].parked);
        acks_free(broker->per_loop[i].acks);
        topic_stats_view_free(broker->per_loop[i].meters);
        access_view_release(&broker->per_loop[i].access);
        buf_release(&broker->per_loop[i].scratch);
    }
    append_batch_free(broker->worker_batch);
    notifier_free(broker->notifier);
    hold_tables_free(broker->holds);
    hold_tables_free(broker->pop_holds);
    server_free(broker->server);
    for (int i = 0; i < broker->loop_count; i++)
        loop_free(broker->loops[i]);
    free(broker->loops);
    free(broker->per_loop);
    if (broker->transaction_asker != NULL)
        transaction_asker_free(broker->transaction_asker);
    if (broker->transaction_ends != NULL)
        transaction_ends_free(broker->transaction_ends);
    delay_free(broker->delay);
    if (broker->timer != NULL)
        timer_free(broker->timer);
    if (!broker->slave) {
        pop_revive_free(broker->pop_revive);
        pop_polls_free(broker->pop_polls);
        pop_orders_free(broker->pop_orders);
        pop_ledger_free(broker->pop_ledger);
    }
    store_close(broker->store);
    replication_free(broker->replication);
    tls_free(broker->tls);
    replica_watch_free(broker->replica_watch);
    replicas_free(broker->replicas);
    topic_stats_free(broker->topic_stats);
    stats_free(broker->stats);
    queue_locks_free(broker->queue_locks);
    clients_free(broker->clients);
    filters_free(broker->filters);
    request_modes_free(broker->request_modes);
    offsets_free(broker->offsets);
    groups_free(broker->groups);
    topics_free(broker->topics);
    access_control_free(broker->access);
    pthread_mutex_destroy(&broker->worker_batch_lock);
    free((void *)(uintptr_t)broker->conf_path);
    conf_release(&broker->conf_table);
}

static void block_signals(sigset_t *set)
{
    (void)signal(SIGPIPE, SIG_IGN);
    (void)sigemptyset(set);
    (void)sigaddset(set, SIGTERM);
    (void)sigaddset(set, SIGINT);
    (void)sigaddset(set, SIGHUP);
    CHECK(pthread_sigmask(SIG_BLOCK, set, NULL) == 0);
}

static void wait_for_stop(const sigset_t *set)
{
    int signal_number = 0;
    while (sigwait(set, &signal_number) != 0 || signal_number == SIGHUP)
        log_reopen();
    log_info("broker", "signal received", "signal=%d", signal_number);
    /* From here on the default action: a second signal ends the process. */
    sigset_t again = *set;
    (void)sigdelset(&again, SIGHUP);
    CHECK(pthread_sigmask(SIG_UNBLOCK, &again, NULL) == 0);
}

int main(int argc, char **argv)
{
    static struct broker broker;
    struct housekeeper *keeper = NULL;
    sigset_t signals;
    int exit_code = 0;
    /* One heap arena per core is enough, and keeps the resident memory small. */
    (void)mallopt(M_ARENA_MAX, 2);
    if (!broker_conf_boot(argc, argv, &broker.conf, &broker.conf_table, check_files, &exit_code))
        return exit_code;
    block_signals(&signals);
    broker.clock = clock_real();
    broker.vfs = vfs_posix();
    broker.boot_ms = clock_wall_ms(broker.clock);
    (void)snprintf(broker.boot_id, sizeof broker.boot_id, "%llx-%08x", (long long)broker.boot_ms,
                   arc4random());
    atomic_store(&broker.conf_changed_ms, broker.boot_ms);
    broker.conf_path = broker_conf_rewrite_path(&broker.conf_table);
    broker.slave = broker.conf.brokerRole == BROKER_ROLE_SLAVE;
    start_log(&broker.conf);
    log_info("broker", "limits of the machine", "descriptors=%lld mappings=%lld",
             (long long)process_raise_descriptors(), (long long)process_mappings_max());
    set_addresses(&broker);
    open_access(&broker);
    open_store(&broker);
    if (!broker.slave) /* a slave has its tables from the master */
        expect_files(&broker);
    load_tables(&broker);
    take_over_store(&broker);
    save_first_tables(&broker);
    make_pops(&broker);
    make_tls(&broker);
    make_loops(&broker);
    make_server(&broker);
    start_threads(&broker, &keeper);
    registrar_start(broker.registrar);
    announce_boot(&broker);
    wait_for_stop(&signals);
    stop(&broker, keeper);
    tear_down(&broker);
    log_info("broker", "stopped", "%s", "");
    log_close();
    return 0;
}
