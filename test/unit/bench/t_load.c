/* SPDX-License-Identifier: Apache-2.0
 *
 * The load engine against a server that does nothing but accept what it is sent: what is counted
 * as messages, what as warm-up, and that sends go round all queues of all topics.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/limits.h"
#include "common/sys/thread.h"
#include "proto/codes.h"
#include "proto/command.h"
#include "tools/bench/load.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define TOPICS 3
#define QUEUES_PER_TOPIC 2
#define BATCH 4
#define COUNT 240
#define WARM_UP_MESSAGES 1000

static struct {
    int listener;
    char address[64];
    pthread_t thread;
    _Atomic int seen[TOPICS][QUEUES_PER_TOPIC]; /* requests */
    _Atomic int strangers;                      /* to any other queue */
} server;

static const char *const topics[TOPICS] = {"t-0", "t-1", "t-2"};

static void note_request(const struct command *command)
{
    struct slice topic = SLICE_EMPTY;
    struct slice queue = SLICE_EMPTY;
    if (!ext_find(&command->ext, SLICE_LITERAL("b"), &topic) ||
        !ext_find(&command->ext, SLICE_LITERAL("e"), &queue) || queue.size != 1 ||
        topic.size != 3 || memcmp(topic.data, "t-", 2) != 0) {
        atomic_fetch_add(&server.strangers, 1);
        return;
    }
    unsigned topic_number = topic.data[2] - (unsigned)'0';
    unsigned queue_number = queue.data[0] - (unsigned)'0';
    if (topic_number < TOPICS && queue_number < QUEUES_PER_TOPIC)
        atomic_fetch_add(&server.seen[topic_number][queue_number], 1);
    else
        atomic_fetch_add(&server.strangers, 1);
}

static void answer(int fd, const struct frame *frame)
{
    struct arena arena;
    arena_init(&arena, 4096);
    struct command request;
    struct buf out = BUF_EMPTY;
    if (command_decode(frame->codec, frame->header, &arena, &request) == STATUS_OK) {
        note_request(&request);
        struct command response = {.code = RESPONSE_SUCCESS,
                                   .language = LANGUAGE_JAVA,
                                   .opaque = request.opaque,
                                   .flag = COMMAND_FLAG_RESPONSE};
        if (command_encode(frame->codec, &response, 0, &out) == STATUS_OK &&
            send(fd, out.data, out.size, MSG_NOSIGNAL) != (ssize_t)out.size)
            atomic_fetch_add(&server.strangers, 1);
    }
    buf_release(&out);
    arena_release(&arena);
}

/* One connection at a time, until the listener is shut down. */
static void *serve(void *unused)
{
    (void)unused;
    int fd;
    while ((fd = accept(server.listener, NULL, NULL)) != -1) {
        struct buf in = BUF_EMPTY;
        ssize_t got;
        while ((got = recv(fd, buf_reserve(&in, 65536), 65536, 0)) > 0) {
            in.size += (size_t)got;
            struct slice rest = buf_slice(&in);
            struct frame frame;
            while (frame_split(rest, FRAME_BYTES_MAX, &frame, NULL) == STATUS_OK) {
                answer(fd, &frame);
                rest = slice_from(rest, frame.frame_bytes);
            }
            memmove(in.data, rest.data, rest.size);
            in.size = rest.size;
        }
        buf_release(&in);
        close(fd);
    }
    return NULL;
}

static int start_server(void **state)
{
    (void)state;
    memset(&server, 0, sizeof server);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    server.listener = socket(AF_INET, SOCK_STREAM, 0);
    if (server.listener == -1 ||
        bind(server.listener, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(server.listener, 16) != 0 ||
        getsockname(server.listener, (struct sockaddr *)&address, &size) != 0)
        return -1;
    snprintf(server.address, sizeof server.address, "127.0.0.1:%d", ntohs(address.sin_port));
    struct err err;
    return thread_start(&server.thread, "server", serve, NULL, &err) == STATUS_OK ? 0 : -1;
}

static int stop_server(void **state)
{
    (void)state;
    shutdown(server.listener, SHUT_RDWR);
    thread_join(server.thread);
    close(server.listener);
    return 0;
}

static struct load_options options_of(int batch)
{
    return (struct load_options){
        .role = LOAD_PRODUCE,
        .address = server.address,
        .connections = 1,
        .in_flight = 8,
        .topics = topics,
        .queues_per_topic = QUEUES_PER_TOPIC,
        .queues = TOPICS * QUEUES_PER_TOPIC,
        .send = {.codec = CODEC_JSON, .group = "g", .body_bytes = 100, .batch = batch},
    };
}

static void pause_briefly(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
}

static void sends_go_round_all_queues_of_all_topics(void **state)
{
    (void)state;
    struct load_options options = options_of(BATCH);
    options.count = COUNT;
    struct load load;
    struct err err;
    assert_int_equal(load_start(&load, &options, NULL, 1, &err), STATUS_OK);
    while (!load_finished(&load))
        pause_briefly();
    static struct load_totals totals;
    load_join(&load, &totals);
    assert_int_equal(totals.messages, COUNT);
    assert_int_equal(totals.requests, COUNT / BATCH);
    assert_int_equal(totals.latency.count, COUNT / BATCH);
    assert_int_equal(totals.refused + totals.unknown + totals.lost_connections, 0);
    assert_int_equal(server.strangers, 0);
    for (int t = 0; t < TOPICS; t++)
        for (int q = 0; q < QUEUES_PER_TOPIC; q++)
            assert_int_equal(server.seen[t][q], COUNT / BATCH / TOPICS / QUEUES_PER_TOPIC);
}

static uint64_t requests_seen(void)
{
    uint64_t sum = 0;
    for (int t = 0; t < TOPICS; t++)
        for (int q = 0; q < QUEUES_PER_TOPIC; q++)
            sum += (uint64_t)server.seen[t][q];
    return sum;
}

/* A rate is the difference of two looks. When the counter went back at the end of the warm-up, a
 * first look that came too early gave a rate near 2^64. */
static void the_counter_goes_on_when_the_warm_up_ends(void **state)
{
    (void)state;
    struct load_options options = options_of(1);
    options.warm_up = true;
    struct load load;
    struct err err;
    assert_int_equal(load_start(&load, &options, NULL, 1, &err), STATUS_OK);
    while (load_messages(&load) < WARM_UP_MESSAGES && !load_finished(&load))
        pause_briefly();
    uint64_t last = load_messages(&load);
    load_set_phase(&load, LOAD_MEASURE);
    bool went_back = false;
    while (last < 2 * WARM_UP_MESSAGES && !went_back && !load_finished(&load)) {
        uint64_t now = load_messages(&load);
        went_back = now < last;
        last = now;
    }
    load_set_phase(&load, LOAD_DRAIN);
    static struct load_totals totals;
    load_join(&load, &totals);
    assert_false(went_back);
    /* The warm-up is not in the totals. */
    assert_true(totals.messages > 0);
    assert_true(totals.messages + WARM_UP_MESSAGES <= requests_seen());
    assert_int_equal(totals.latency.count, totals.messages);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(sends_go_round_all_queues_of_all_topics, start_server,
                                        stop_server),
        cmocka_unit_test_setup_teardown(the_counter_goes_on_when_the_warm_up_ends, start_server,
                                        stop_server),
    };
    payload_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
