/* SPDX-License-Identifier: Apache-2.0
 *
 * mqnamesrv: options, log, tables, loops, server, signals; and the way back.
 *
 * Signals are taken by the main thread only. SIGTERM and SIGINT: stop accepting, answer what is
 * under way, end; a second one ends the process at once. SIGHUP: reopen the log. SIGPIPE: ignored.
 *
 * Stop order: connections drained, loops stopped, worker ended, server freed (its last connections
 * report to the handlers), handlers freed, loops freed (they run what was still posted).
 */
#include "common/base/check.h"
#include "common/conf/namesrv_conf.h"
#include "common/conf/server_conf.h"
#include "common/sys/log.h"
#include "namesrv/handlers.h"

#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXPIRY_START_MS 5000
#define EXPIRY_PERIOD_MS 10000
#define REPORT_START_MS 60000
#define REPORT_PERIOD_MS 600000

#define LOOPS_MAX 256

struct daemon {
    struct namesrv_conf values;
    struct conf conf;
    struct handlers *handlers;
    struct server *server;
    struct tls *tls;
    struct loop *loops[LOOPS_MAX];
    int loop_count;
    int started_count;
    struct loop_timer *expiry;
    struct loop_timer *report;
};

/* A name server holds little and gets a large registration now and then. Without this each thread
 * would keep an arena of its own, and each freed megabyte would stay in it. */
static void tame_malloc(void)
{
    (void)mallopt(M_ARENA_MAX, 2);
    (void)mallopt(M_MMAP_THRESHOLD, 256 * 1024);
    (void)mallopt(M_TRIM_THRESHOLD, 256 * 1024);
}

static enum status open_log(const struct daemon *daemon, struct err *err)
{
    const char *path = daemon->values.logFile;
    bool to_stdout = strcmp(path, "-") == 0;
    enum status status = to_stdout ? STATUS_OK : vfs_make_folder_of(vfs_posix(), path);
    if (status != STATUS_OK)
        return err_set_errno(err, status, "the folder of the log %s cannot be created; set logFile",
                             path);
    struct log_options options = {
        .path = to_stdout ? NULL : path,
        .file_bytes = daemon->values.logFileBytes,
        .kept_files = (int)daemon->values.logFilesKept,
        .level = (enum log_level)daemon->values.logLevel,
    };
    return log_open(&options, err);
}

static void on_expiry(void *ctx)
{
    struct daemon *daemon = ctx;
    handlers_expire(daemon->handlers);
    loop_timer_set(daemon->expiry, EXPIRY_PERIOD_MS);
}

static void on_report(void *ctx)
{
    struct daemon *daemon = ctx;
    handlers_report(daemon->handlers);
    loop_timer_set(daemon->report, REPORT_PERIOD_MS);
}

static struct net_options net_options_of(const struct namesrv_conf *values)
{
    struct net_options options = net_options_default();
    options.frame_bytes_max = (size_t)values->frameMaxLength;
    options.connections_max = (int)values->maxConnections;
    options.in_flight_bytes_max = (size_t)values->maxInFlightBytes;
    options.output_high_water_bytes = (size_t)values->outputHighWaterBytes;
    options.queued_output_bytes_max = (size_t)values->maxQueuedOutputBytes;
    options.idle_ms = values->serverChannelMaxIdleTimeSeconds * 1000;
    options.send_buffer_bytes = (int)values->serverSocketSndBufSize;
    options.receive_buffer_bytes = (int)values->serverSocketRcvBufSize;
    return options;
}

static enum status make_tls(struct daemon *daemon, struct err *err)
{
    const struct tls_settings settings = namesrv_conf_tls(&daemon->values);
    if (daemon->values.tlsServerMode == TLS_MODE_DISABLED)
        return STATUS_OK;
    enum status status = tls_new(&settings, TLS_SIDE_SERVER, &daemon->tls, err);
    return status == STATUS_OK ? tls_start(daemon->tls, err) : status;
}

static enum status listen_on_port(struct daemon *daemon, int *bound_port, struct err *err)
{
    int port = (int)daemon->values.listenPort;
    struct err detail = {STATUS_OK, 0, ""};
    enum status status =
        server_listen(daemon->server, daemon->values.bindAddress, port, 0, bound_port, &detail);
    if (status == STATUS_EXISTS)
        return err_set(err, status,
                       "port %d is taken by another process; end that one (ss -ltnp 'sport = :%d' "
                       "names it) or set listenPort",
                       port, port);
    if (status != STATUS_OK)
        return err_set(err, status, "%.400s", detail.text);
    return STATUS_OK;
}

static enum status start(struct daemon *daemon, int *bound_port, struct err *err)
{
    enum status status = open_log(daemon, err);
    if (status != STATUS_OK)
        return status;
    const struct handlers_options options = {
        .conf = &daemon->conf,
        .values = &daemon->values,
        .clock = clock_real(),
        .vfs = vfs_posix(),
        .kv_path = daemon->values.kvConfigPath,
        .config_path = daemon->values.configStorePath,
    };
    status = handlers_new(&options, &daemon->handlers, err);
    for (int i = 0; status == STATUS_OK && i < (int)daemon->values.serverSelectorThreads; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "loop-%d", i);
        status = loop_new(name, i, clock_real(), &daemon->loops[i], err);
        if (status == STATUS_OK)
            daemon->loop_count++;
    }
    if (status == STATUS_OK)
        status = make_tls(daemon, err);
    if (status != STATUS_OK)
        return status;
    struct net_options net = net_options_of(&daemon->values);
    net.tls = daemon->tls;
    net.tls_mode = (enum tls_mode)daemon->values.tlsServerMode;
    daemon->server =
        server_new(daemon->loops, daemon->loop_count, handlers_service(daemon->handlers), &net);
    status = listen_on_port(daemon, bound_port, err);
    if (status != STATUS_OK)
        return status;
    daemon->expiry = loop_timer_new(daemon->loops[0], on_expiry, daemon);
    daemon->report = loop_timer_new(daemon->loops[0], on_report, daemon);
    loop_timer_set(daemon->expiry, EXPIRY_START_MS);
    loop_timer_set(daemon->report, REPORT_START_MS);
    for (int i = 0; status == STATUS_OK && i < daemon->loop_count; i++) {
        status = loop_start(daemon->loops[i], err);
        if (status == STATUS_OK)
            daemon->started_count++;
    }
    return status;
}

/* Also after a start that failed half-way. */
static void stop(struct daemon *daemon)
{
    if (daemon->started_count > 0 && daemon->started_count == daemon->loop_count)
        server_drain(daemon->server, daemon->values.shutdownTimeoutMillis);
    for (int i = 0; i < daemon->started_count; i++)
        loop_stop(daemon->loops[i]);
    if (daemon->handlers != NULL)
        handlers_stop(daemon->handlers);
    if (daemon->expiry != NULL)
        loop_timer_free(daemon->expiry);
    if (daemon->report != NULL)
        loop_timer_free(daemon->report);
    server_free(daemon->server);
    handlers_free(daemon->handlers);
    for (int i = 0; i < daemon->loop_count; i++)
        loop_free(daemon->loops[i]);
    tls_free(daemon->tls);
    log_close();
    conf_release(&daemon->conf);
}

static void end_at_once(int signal)
{
    _exit(128 + signal);
}

static void take_signals(sigset_t *set)
{
    (void)signal(SIGPIPE, SIG_IGN);
    (void)sigemptyset(set);
    (void)sigaddset(set, SIGTERM);
    (void)sigaddset(set, SIGINT);
    (void)sigaddset(set, SIGHUP);
    CHECK(pthread_sigmask(SIG_BLOCK, set, NULL) == 0);
}

/* Returns when the process shall end; from then on a further signal ends it at once. */
static void wait_for_end(const sigset_t *set)
{
    for (;;) {
        int number = 0;
        if (sigwait(set, &number) != 0)
            continue;
        if (number == SIGHUP) {
            log_reopen();
            log_info("namesrv", "log reopened", "%s", "");
            continue;
        }
        log_info("namesrv", "stopping", "signal=%s", strsignal(number));
        break;
    }
    struct sigaction action = {.sa_handler = end_at_once};
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGINT, &action, NULL);
    (void)signal(SIGHUP, SIG_IGN);
    CHECK(pthread_sigmask(SIG_UNBLOCK, set, NULL) == 0);
}

int main(int argc, char **argv)
{
    static struct daemon daemon; /* conf wants an address that stays */
    int exit_code = 0;
    if (!namesrv_conf_boot(argc, argv, &daemon.values, &daemon.conf, &exit_code))
        return exit_code;
    tame_malloc();
    sigset_t signals;
    take_signals(&signals);

    struct err err = {STATUS_OK, 0, ""};
    int port = 0;
    if (start(&daemon, &port, &err) != STATUS_OK) {
        (void)fprintf(stderr, "mqnamesrv: %s\n", err.text);
        log_error("namesrv", "start failed", "cause=\"%s\"", err.text);
        stop(&daemon);
        return 1;
    }
    const char *type = conf_serialize_type();
    (void)printf("The Name Server boot success. serializeType=%s\n", type);
    (void)fflush(stdout);
    log_info("namesrv", "The Name Server boot success", "serializeType=%s port=%d version=%s", type,
             port, COMETMQ_VERSION);
    wait_for_end(&signals);
    stop(&daemon);
    return 0;
}
