/* SPDX-License-Identifier: Apache-2.0
 *
 * mqprobe: small questions to running servers, for scripts and for a first try.
 *
 *     mqprobe quickstart --namesrv HOST:PORT [--count N]   send N messages and get them back
 *     mqprobe ready --broker HOST:PORT [--timeout S]       wait until the broker answers
 *     mqprobe ping --namesrv HOST:PORT [--timeout S]       wait until the name server answers
 *
 * With --tls at the end they speak TLS, and accept any certificate. Exit status 0 only when all of
 * it worked. quickstart does what a Java client does with an unknown topic: it takes the route of
 * TBW102, its first send creates the topic, and the topic's own route appears at the name server
 * soon after.
 */
#include "common/base/number.h"
#include "common/sys/clock.h"
#include "proto/record.h"
#include "tools/bench/payload.h"
#include "tools/bench/rpc.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define TOPIC "QuickStart"
#define GROUP "quickstart"
#define CALL_TIMEOUT_MS 5000
#define RETRY_PAUSE_MS 10
#define COUNT_MAX 1000000

enum { EXIT_FAILED = 1, EXIT_USAGE = 2 };

static const char *namesrv_address;
static const char *broker_address;
static int64_t count = 10;
static int64_t timeout_s = 30;

static int failed(const struct err *err)
{
    fprintf(stderr, "mqprobe: %s\n", err->text);
    return EXIT_FAILED;
}

static void pause_briefly(void)
{
    nanosleep(&(struct timespec){.tv_nsec = RETRY_PAUSE_MS * 1000000}, NULL);
}

static int64_t deadline_ms(void)
{
    return clock_monotonic_ms(clock_real()) + timeout_s * 1000;
}

static bool in_time(int64_t until_ms)
{
    return clock_monotonic_ms(clock_real()) < until_ms;
}

/* --- ready, ping --- */

/* Repeat one call on a fresh connection until any answer comes. */
static int wait_for(const char *address, int32_t code, const char *what)
{
    struct err err;
    int64_t started_ms = clock_monotonic_ms(clock_real());
    int64_t until_ms = deadline_ms();
    for (;;) {
        struct rpc rpc;
        struct rpc_answer answer;
        enum status status = rpc_open(&rpc, address, CODEC_JSON, CALL_TIMEOUT_MS, &err);
        if (status == STATUS_OK) {
            status = rpc_call(&rpc, code, NULL, SLICE_EMPTY, &answer, &err);
            rpc_close(&rpc);
        }
        if (status == STATUS_OK)
            break;
        if (!in_time(until_ms)) {
            fprintf(stderr, "mqprobe: the %s did not answer within %" PRId64 " s: %s\n", what,
                    timeout_s, err.text);
            return EXIT_FAILED;
        }
        pause_briefly();
    }
    printf("The %s at %s answers (after %" PRId64 " ms).\n", what, address,
           clock_monotonic_ms(clock_real()) - started_ms);
    return 0;
}

static int ready(void)
{
    return wait_for(broker_address, REQUEST_GET_BROKER_RUNTIME_INFO, "broker");
}

static int ping(void)
{
    return wait_for(namesrv_address, REQUEST_GET_BROKER_CLUSTER_INFO, "name server");
}

/* --- quickstart --- */

struct place {
    char broker_name[128];
    char address[RPC_ADDRESS_BYTES];
    int queue_count;
};

/* The first broker of a route that can be written to. */
static enum status choose_broker(const TopicRouteData *route, struct place *place, struct err *err)
{
    for (size_t i = 0; i < route->n_queue_datas; i++) {
        const QueueData *queues = route->queue_datas[i];
        const char *master = route_master(route, queues->broker_name);
        if (master == NULL || queues->write_queue_nums < 1)
            continue;
        snprintf(place->broker_name, sizeof place->broker_name, "%s", queues->broker_name);
        snprintf(place->address, sizeof place->address, "%s", master);
        place->queue_count = queues->write_queue_nums;
        return STATUS_OK;
    }
    return err_set(err, STATUS_NOT_FOUND,
                   "the name server %s knows no master broker that takes messages; is a broker "
                   "running with this name server's address?",
                   namesrv_address);
}

/* Wait for a route of `topic`; `other` (may be NULL) will do as well. */
static enum status await_route(struct rpc *namesrv, const char *topic, const char *other,
                               struct place *place, struct err *err)
{
    int64_t until_ms = deadline_ms();
    for (;;) {
        TopicRouteData route;
        enum status status = rpc_route(namesrv, topic, &route, err);
        if (status == STATUS_NOT_FOUND && other != NULL)
            status = rpc_route(namesrv, other, &route, err);
        if (status == STATUS_OK)
            return choose_broker(&route, place, err);
        if (status != STATUS_NOT_FOUND)
            return status;
        if (!in_time(until_ms))
            return err_set(err, status,
                           "the name server %s still has no route for topic %s after %" PRId64
                           " s; is a broker running with this name server's address, and may it "
                           "create topics (autoCreateTopicEnable)?",
                           namesrv_address, topic, timeout_s);
        pause_briefly();
    }
}

static enum status send_all(struct rpc *broker, const struct place *place, uint32_t run,
                            struct err *err)
{
    int queue_count = place->queue_count < 4 ? place->queue_count : 4;
    for (int64_t i = 0; i < count; i++) {
        uint8_t body[64];
        struct payload_mark mark = {.run = run, .sequence = (uint64_t)i};
        payload_write(body, sizeof body, &mark);
        struct rpc_answer answer;
        enum status status =
            rpc_send(broker, GROUP, TOPIC, (int)(i % queue_count), SLICE_LITERAL("WAIT\001true"),
                     slice_of(body, sizeof body), &answer, err);
        if (status != STATUS_OK)
            return status;
        if (answer.command.code != RESPONSE_SUCCESS)
            return err_set(err, STATUS_INVALID,
                           "the broker %s refused message %" PRId64 " with code %d (%s): %.*s",
                           place->address, i + 1, answer.command.code,
                           response_name(answer.command.code), SLICE_ARGS(answer.command.remark));
        struct slice id = SLICE_EMPTY;
        ext_find(&answer.command.ext, SLICE_LITERAL("msgId"), &id);
        if (i == 0 || i == count - 1)
            printf("  sent message %" PRId64 " of %" PRId64 ", id %.*s\n", i + 1, count,
                   SLICE_ARGS(id));
    }
    return STATUS_OK;
}

/* Mark the messages of this run found in a pull's body; returns how many were new. */
static int64_t mark_found(struct slice records, uint32_t run, bool *found)
{
    int64_t fresh = 0;
    struct record record;
    while (records.size > 0 && record_decode(records, RECORD_CHECK_CRC, &record) == STATUS_OK) {
        struct payload_mark mark;
        if (payload_read(record.body, &mark) && mark.run == run &&
            mark.sequence < (uint64_t)count && !found[mark.sequence]) {
            found[mark.sequence] = true;
            fresh++;
        }
        records = slice_from(records, (size_t)record.size);
    }
    return fresh;
}

/* One pull; moves *offset on. */
static enum status pull(struct rpc *broker, int queue_id, int64_t *offset, uint32_t run,
                        bool *found, int64_t *found_count, struct err *err)
{
    struct rpc_answer answer;
    enum status status = rpc_pull(broker, GROUP, TOPIC, queue_id, *offset, 32, &answer, err);
    if (status != STATUS_OK)
        return status;
    switch (answer.command.code) {
    case RESPONSE_SUCCESS:
        *found_count += mark_found(answer.body, run, found);
        break;
    case RESPONSE_PULL_NOT_FOUND:
    case RESPONSE_PULL_RETRY_IMMEDIATELY:
    case RESPONSE_PULL_OFFSET_MOVED:
        break;
    default:
        return err_set(err, STATUS_INVALID, "the broker refused a pull with code %d (%s): %.*s",
                       answer.command.code, response_name(answer.command.code),
                       SLICE_ARGS(answer.command.remark));
    }
    struct slice next;
    if (ext_find(&answer.command.ext, SLICE_LITERAL("nextBeginOffset"), &next))
        parse_i64(next, offset);
    return STATUS_OK;
}

static enum status pull_all(struct rpc *broker, const struct place *place, uint32_t run,
                            int64_t *found_count, struct err *err)
{
    bool *found = calloc((size_t)count, sizeof *found);
    int64_t *offsets = calloc((size_t)place->queue_count, sizeof *offsets);
    enum status status =
        found == NULL || offsets == NULL ? err_set(err, STATUS_FULL, "out of memory") : STATUS_OK;
    int64_t until_ms = deadline_ms();
    while (status == STATUS_OK && *found_count < count && in_time(until_ms)) {
        int64_t before = *found_count;
        for (int i = 0; i < place->queue_count && status == STATUS_OK; i++)
            status = pull(broker, i, &offsets[i], run, found, found_count, err);
        if (*found_count == before)
            pause_briefly();
    }
    free(found);
    free(offsets);
    if (status == STATUS_OK && *found_count < count)
        status = err_set(err, STATUS_TIMEOUT,
                         "only %" PRId64 " of %" PRId64 " messages came back within %" PRId64 " s",
                         *found_count, count, timeout_s);
    return status;
}

static enum status round_trip(struct rpc *namesrv, struct err *err)
{
    struct place place;
    enum status status = await_route(namesrv, TOPIC, "TBW102", &place, err);
    if (status != STATUS_OK)
        return status;
    printf("The name server %s leads to broker %s at %s.\n", namesrv_address, place.broker_name,
           place.address);
    struct rpc broker;
    status = rpc_open(&broker, place.address, CODEC_JSON, CALL_TIMEOUT_MS, err);
    if (status != STATUS_OK)
        return status;
    printf("Sending %" PRId64 " messages to topic %s:\n", count, TOPIC);
    uint32_t run = (uint32_t)clock_wall_ms(clock_real()) ^ (uint32_t)getpid() << 16;
    int64_t found_count = 0;
    status = send_all(&broker, &place, run, err);
    if (status == STATUS_OK)
        status = await_route(namesrv, TOPIC, NULL, &place, err);
    if (status == STATUS_OK)
        status = pull_all(&broker, &place, run, &found_count, err);
    if (status == STATUS_OK)
        printf("All %" PRId64 " messages came back from %d queues.\n", found_count,
               place.queue_count);
    rpc_close(&broker);
    return status;
}

static int quickstart(void)
{
    struct err err;
    struct rpc namesrv;
    payload_init();
    if (rpc_open(&namesrv, namesrv_address, CODEC_JSON, CALL_TIMEOUT_MS, &err) != STATUS_OK)
        return failed(&err);
    enum status status = round_trip(&namesrv, &err);
    rpc_close(&namesrv);
    return status == STATUS_OK ? 0 : failed(&err);
}

/* --- the command line --- */

static int usage(FILE *out, int code)
{
    fputs("usage: mqprobe quickstart --namesrv HOST:PORT [--count N] [--timeout SECONDS]\n"
          "       mqprobe ready --broker HOST:PORT [--timeout SECONDS]\n"
          "       mqprobe ping --namesrv HOST:PORT [--timeout SECONDS]\n"
          "each with --tls at its end to speak TLS (any certificate is accepted)\n",
          out);
    return code;
}

static bool take_option(const char *name, const char *value)
{
    if (strcmp(name, "--namesrv") == 0)
        namesrv_address = value;
    else if (strcmp(name, "--broker") == 0)
        broker_address = value;
    else if (strcmp(name, "--count") == 0)
        return parse_i64(slice_of_cstr(value), &count) && count >= 1 && count <= COUNT_MAX;
    else if (strcmp(name, "--timeout") == 0)
        return parse_i64(slice_of_cstr(value), &timeout_s) && timeout_s >= 0 && timeout_s <= 86400;
    else
        return false;
    return true;
}

int main(int argc, char **argv)
{
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0))
        return usage(stdout, 0);
    struct err err;
    if (argc > 2 && strcmp(argv[argc - 1], "--tls") == 0) {
        argc--;
        if (link_use_tls(&err) != STATUS_OK)
            return failed(&err);
    }
    if (argc < 2 || argc % 2 != 0)
        return usage(stderr, EXIT_USAGE);
    for (int i = 2; i < argc; i += 2) {
        if (!take_option(argv[i], argv[i + 1])) {
            fprintf(stderr, "mqprobe: %s %s is not an option\n", argv[i], argv[i + 1]);
            return usage(stderr, EXIT_USAGE);
        }
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (strcmp(argv[1], "quickstart") == 0 && namesrv_address != NULL)
        return quickstart();
    if (strcmp(argv[1], "ready") == 0 && broker_address != NULL)
        return ready();
    if (strcmp(argv[1], "ping") == 0 && namesrv_address != NULL)
        return ping();
    return usage(stderr, EXIT_USAGE);
}
