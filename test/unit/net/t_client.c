/* SPDX-License-Identifier: Apache-2.0
 *
 * Calls of our own, in both directions: over connections that a client opens on demand and keeps,
 * and from a server to the peer that opened the connection. Every call ends exactly once: by its
 * answer, its time-out, or the end of the connection.
 *
 * Source of the rules: common/net/net.h; RM-12 (calls to clients) of RocketMQ 4.9.2's
 * Broker2Client and NettyRemotingAbstract.
 */
#include "net_test.h"

#include <netdb.h>

/* --- running things on a loop --- */

struct errand {
    struct loop_task task;
    void (*run)(void *arg);
    void *arg;
    _Atomic int done;
};

static void run_errand(struct loop_task *task)
{
    struct errand *errand = (struct errand *)(void *)task;
    errand->run(errand->arg);
    errand->done = 1;
}

static void on_loop(struct loop *loop, void (*run)(void *arg), void *arg)
{
    struct errand errand = {.task = {NULL, run_errand}, .run = run, .arg = arg};
    loop_post(loop, &errand.task);
    wait_until(errand.done);
}

/* --- a client beside the fixture's server --- */

static struct loop *client_loop;
static struct client *client;

static void make_client(void *arg)
{
    struct net_options options = net_options_default();
    client = client_new(client_loop, &options);
    if (arg != NULL)
        client_serve(client, *(struct service *)arg);
}

static void client_start(struct service *service)
{
    assert_int_equal(loop_new("client", 0, clock_real(), &client_loop, NULL), STATUS_OK);
    assert_int_equal(loop_start(client_loop, NULL), STATUS_OK);
    on_loop(client_loop, make_client, service);
}

static void free_client(void *arg)
{
    (void)arg;
    client_free(client);
    client = NULL;
}

static void client_stop(void)
{
    if (client != NULL)
        on_loop(client_loop, free_client, NULL);
    loop_stop(client_loop);
    loop_free(client_loop);
}

/* --- calls whose end is recorded --- */

struct wanted {
    char address[300];
    int32_t code;
    char body[64];
    int64_t timeout_ms;
    enum codec codec;
    bool oneway;
    bool retry; /* once, from inside the answer */
    _Atomic int ends;
    enum status status;
    int32_t answer_code;
    char answer[64];
};

static void make_call(void *arg);

static void call_ended(void *ctx, enum status status, const struct command *response,
                       struct slice body, struct arena *arena)
{
    struct wanted *wanted = ctx;
    CHECK(loop_is_current(client_loop));
    CHECK((status == STATUS_OK) == (response != NULL) && (response == NULL || arena != NULL));
    if (wanted->retry) {
        wanted->retry = false;
        make_call(wanted);
        return;
    }
    wanted->status = status;
    if (response != NULL) {
        wanted->answer_code = response->code;
        (void)snprintf(wanted->answer, sizeof wanted->answer, "%.*s", SLICE_ARGS(body));
    }
    wanted->ends++;
}

static void make_call(void *arg)
{
    struct wanted *wanted = arg;
    struct request request = {.code = wanted->code,
                              .body = slice_of_cstr(wanted->body),
                              .codec = wanted->codec,
                              .timeout_ms = wanted->timeout_ms};
    int ends_before = wanted->ends;
    client_call(client, wanted->address, &request, wanted->oneway ? NULL : call_ended, wanted);
    CHECK(wanted->ends == ends_before);
}

static struct wanted want(int port, int32_t code, const char *body)
{
    struct wanted wanted = {.code = code, .timeout_ms = WAIT_MS, .codec = CODEC_JSON};
    (void)snprintf(wanted.address, sizeof wanted.address, "127.0.0.1:%d", port);
    (void)snprintf(wanted.body, sizeof wanted.body, "%s", body);
    return wanted;
}

static void set_address(struct wanted *wanted, const char *address)
{
    (void)snprintf(wanted->address, sizeof wanted->address, "%s", address);
}

static void call_and_wait(struct wanted *wanted)
{
    on_loop(client_loop, make_call, wanted);
    wait_until(wanted->ends > 0);
}

static void calls_share_a_connection_and_get_their_own_answers(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 1, NULL);
    client_start(NULL);
    struct wanted *calls = calloc(300, sizeof *calls);
    for (int i = 0; i < 300; i++) {
        char body[32];
        (void)snprintf(body, sizeof body, "call %d", i);
        calls[i] = want(f.port, i % 3 == 0 ? TEST_THREAD : TEST_ECHO, body);
        calls[i].codec = i % 2 == 0 ? CODEC_JSON : CODEC_ROCKETMQ;
        on_loop(client_loop, make_call, &calls[i]);
    }
    for (int i = 0; i < 300; i++) {
        wait_until(calls[i].ends == 1);
        assert_int_equal(calls[i].status, STATUS_OK);
        assert_string_equal(calls[i].answer, calls[i].body);
    }
    assert_int_equal(server_stats(f.server).accepted, 1);
    free(calls);
    client_stop();
    fixture_stop(&f);
}

static void one_way_calls_arrive(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 1, NULL);
    client_start(NULL);
    struct wanted oneway = want(f.port, TEST_ECHO, "");
    oneway.oneway = true;
    on_loop(client_loop, make_call, &oneway); /* waits for the connection */
    struct wanted asked = want(f.port, TEST_ECHO, "");
    call_and_wait(&asked);
    on_loop(client_loop, make_call, &oneway); /* goes at once */
    wait_until(f.requests == 3);
    assert_int_equal(oneway.ends, 0);
    assert_int_equal(server_stats(f.server).calls_under_way, 0);
    client_stop();
    fixture_stop(&f);
}

static void a_call_without_an_answer_times_out(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 1, NULL);
    client_start(NULL);
    struct wanted never = want(f.port, TEST_DECLINE, "");
    never.timeout_ms = 60;
    int64_t started_ms = test_now_ms();
    call_and_wait(&never);
    assert_int_equal(never.status, STATUS_TIMEOUT);
    assert_in_range(test_now_ms() - started_ms, 50, WAIT_MS);
    /* An answer that comes too late is dropped; the connection stays. */
    struct wanted late = want(f.port, TEST_SLOW, "late");
    late.timeout_ms = 1;
    call_and_wait(&late);
    assert_int_equal(late.status, STATUS_TIMEOUT);
    struct wanted slow = want(f.port, TEST_SLOW, "in time");
    call_and_wait(&slow);
    assert_string_equal(slow.answer, "in time");
    assert_int_equal(late.ends, 1);
    assert_int_equal(server_stats(f.server).accepted, 1);
    client_stop();
    fixture_stop(&f);
}

static void addresses_that_lead_nowhere_fail(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 1, NULL);
    client_start(NULL);
    /* A port that was free a moment ago. */
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    struct wanted refused = want(ntohs(address.sin_port), TEST_ECHO, "");
    call_and_wait(&refused);
    assert_int_equal(refused.status, STATUS_IO);
    (void)close(fd);

    static const char *const malformed[] = {"",           "nothing", "host:",   "host:0",
                                            "host:70000", ":80",     "[::1:80", "host:80x"};
    for (size_t i = 0; i < sizeof malformed / sizeof *malformed; i++) {
        struct wanted bad = want(0, TEST_ECHO, "");
        set_address(&bad, malformed[i]);
        call_and_wait(&bad);
        assert_int_equal(bad.status, STATUS_INVALID);
    }
    struct wanted unknown = want(0, TEST_ECHO, "");
    set_address(&unknown, "no-such-host.invalid:9876");
    call_and_wait(&unknown);
    assert_int_equal(unknown.status, STATUS_IO);
    /* A bare machine may have no /etc/hosts, and then no localhost either. */
    struct addrinfo *found = NULL;
    if (getaddrinfo("localhost", NULL, NULL, &found) == 0) {
        struct wanted named = want(0, TEST_ECHO, "by name");
        (void)snprintf(named.address, sizeof named.address, "localhost:%d", f.port);
        call_and_wait(&named);
        assert_string_equal(named.answer, "by name");
        freeaddrinfo(found);
    }
    client_stop();
    fixture_stop(&f);
}

static void pending_calls_fail_when_the_connection_drops_and_the_next_reconnects(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 1, NULL);
    client_start(NULL);
    struct wanted held[3];
    for (int i = 0; i < 3; i++) {
        held[i] = want(f.port, TEST_HOLD, "");
        /* One of them calls again from inside its answer: over a new connection. */
        if (i == 1) {
            held[i].retry = true;
            held[i].timeout_ms = 200;
        }
        on_loop(client_loop, make_call, &held[i]);
    }
    wait_until(f.held_count == 3);
    net_close(f.last_conn, "the test wants it");
    for (int i = 0; i < 3; i++) {
        wait_until(held[i].ends == 1);
        assert_int_equal(held[i].status, i == 1 ? STATUS_TIMEOUT : STATUS_CLOSED);
    }
    struct wanted next = want(f.port, TEST_ECHO, "again");
    call_and_wait(&next);
    assert_string_equal(next.answer, "again");
    assert_int_equal(server_stats(f.server).accepted, 2);
    client_stop();
    fixture_stop(&f);
}

static void freeing_a_client_fails_what_is_pending(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 1, NULL);
    client_start(NULL);
    struct wanted held = want(f.port, TEST_HOLD, "");
    held.retry = true; /* a call made while the client is being freed fails, too */
    on_loop(client_loop, make_call, &held);
    wait_until(f.held_count == 1);
    struct wanted waiting = want(0, TEST_ECHO, "");
    set_address(&waiting, "another-name.invalid:9876");
    on_loop(client_loop, make_call, &waiting);
    on_loop(client_loop, free_client, NULL);
    wait_until(held.ends == 1);
    wait_until(waiting.ends == 1);
    assert_int_equal(held.status, STATUS_CLOSED);
    assert_true(waiting.status == STATUS_CLOSED || waiting.status == STATUS_IO);
    wait_until(server_stats(f.server).connections == 0);
    client_stop();
    fixture_stop(&f);
}

/* A listener whose backlog is full answers no SYN: what an unreachable host looks like. */
static void connecting_takes_three_seconds_at_most(void **state)
{
    (void)state;
    client_start(NULL);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(listener, 0), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
    int fillers[4];
    for (int i = 0; i < 4; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)connect(fillers[i], (struct sockaddr *)&address, sizeof address);
    }
    struct wanted brief = want(ntohs(address.sin_port), TEST_ECHO, "");
    struct wanted patient = brief;
    brief.timeout_ms = 50;
    int64_t started_ms = test_now_ms();
    on_loop(client_loop, make_call, &patient);
    call_and_wait(&brief);
    assert_int_equal(brief.status, STATUS_TIMEOUT);
    wait_until(patient.ends == 1);
    assert_int_equal(patient.status, STATUS_IO);
    assert_in_range(test_now_ms() - started_ms, 2900, WAIT_MS);
    for (int i = 0; i < 4; i++)
        (void)close(fillers[i]);
    (void)close(listener);
    client_stop();
}

/* --- from the server to its client --- */

static void answer_call(struct wire *wire, enum codec codec, int32_t opaque, const char *body)
{
    struct command command = {.opaque = opaque, .flag = COMMAND_FLAG_RESPONSE};
    struct buf frame = BUF_EMPTY;
    assert_int_equal(command_encode(codec, &command, strlen(body), &frame), STATUS_OK);
    buf_append_cstr(&frame, body);
    wire_send(wire, frame.data, frame.size);
    buf_release(&frame);
}

static void a_server_calls_its_client(void **state)
{
    (void)state;
    static const enum codec codecs[] = {CODEC_JSON, CODEC_ROCKETMQ};
    struct fixture f;
    fixture_start(&f, 1, NULL);
    struct wire wire;
    wire_open(&wire, f.port);
    for (int i = 0; i < 2; i++) {
        struct answer request;
        wire_request(&wire, codecs[i], TEST_CALL_BACK, 77, "");
        assert_true(wire_receive(&wire, &request));
        assert_false(command_is_response(&request.command));
        assert_false(command_is_oneway(&request.command));
        assert_int_equal(request.command.code, 1000);
        assert_false(request.command.ext.present && codecs[i] == CODEC_JSON);
        assert_true(slice_is(request.body, "from the server"));
        answer_call(&wire, codecs[i], request.command.opaque, "from the client");
        struct answer answer;
        assert_true(wire_receive(&wire, &answer));
        assert_int_equal(answer.command.opaque, 77);
        assert_true(slice_is(answer.body, "OK from the client"));
    }
    wire_close(&wire);
    fixture_stop(&f);
}

static void only_the_peer_that_was_asked_can_answer(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 1, NULL);
    f.call_back_timeout_ms = 300;
    struct wire asked;
    struct wire other;
    wire_open(&asked, f.port);
    wire_open(&other, f.port);
    struct answer request;
    wire_request(&asked, CODEC_JSON, TEST_CALL_BACK, 77, "");
    assert_true(wire_receive(&asked, &request));
    int32_t opaque = request.command.opaque;
    answer_call(&other, CODEC_JSON, opaque, "not from you");
    answer_call(&asked, CODEC_JSON, opaque + 12345, "not that");
    wait_until(server_stats(f.server).answers_unexpected == 2);
    struct answer answer;
    assert_true(wire_receive(&asked, &answer));
    assert_true(slice_is(answer.body, "TIMEOUT "));
    answer_call(&asked, CODEC_JSON, opaque, "too late");
    wait_until(server_stats(f.server).answers_unexpected == 3);
    wire_ask(&other, CODEC_JSON, TEST_ECHO, 1, "alive", &answer);
    wire_ask(&asked, CODEC_JSON, TEST_ECHO, 1, "alive", &answer);
    wire_close(&asked);
    wire_close(&other);
    fixture_stop(&f);
}

static _Atomic int closed_answers;

static void count_closed(void *ctx, enum status status, const struct command *response,
                         struct slice body, struct arena *arena)
{
    (void)ctx;
    (void)response;
    (void)body;
    (void)arena;
    CHECK(status == STATUS_CLOSED);
    closed_answers++;
}

static void calls_to_a_peer_that_goes_fail_at_once(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 1, NULL);
    struct wire wire;
    wire_open(&wire, f.port);
    struct answer answer;
    wire_ask(&wire, CODEC_JSON, TEST_ECHO, 1, "", &answer);
    closed_answers = 0;
    struct request request = {.code = 1000, .codec = CODEC_JSON, .timeout_ms = 60000};
    for (int i = 0; i < 100; i++)
        net_call(f.last_conn, &request, count_closed, NULL);
    for (int i = 0; i < 100; i++)
        assert_true(wire_receive(&wire, &answer));
    wire_close(&wire);
    wait_until(closed_answers == 100);
    fixture_stop(&f);
}

static _Atomic int busy_answers;

static void count_busy(void *ctx, enum status status, const struct command *response,
                       struct slice body, struct arena *arena)
{
    (void)ctx;
    (void)response;
    (void)body;
    (void)arena;
    if (status == STATUS_BUSY)
        busy_answers++;
}

static void calls_to_a_peer_that_does_not_read_are_refused(void **state)
{
    (void)state;
    struct fixture f;
    struct net_options options = net_options_default();
    options.output_high_water_bytes = 100000;
    options.send_buffer_bytes = 65536;
    fixture_start(&f, 1, &options);
    struct wire wire;
    wire_open(&wire, f.port);
    struct answer answer;
    wire_ask(&wire, CODEC_JSON, TEST_ECHO, 1, "", &answer);
    char *body = calloc(1, 1000000);
    busy_answers = 0;
    struct request request = {
        .code = 1000, .body = slice_of(body, 1000000), .codec = CODEC_JSON, .timeout_ms = 60000};
    for (int i = 0; i < 20; i++)
        net_call(f.last_conn, &request, count_busy, NULL);
    wait_until(busy_answers >= 10);
    free(body);
    wire_close(&wire);
    wait_until(f.closed == 1);
    fixture_stop(&f);
}

static void a_client_serves_or_says_that_it_does_not(void **state)
{
    (void)state;
    for (int serves = 0; serves < 2; serves++) {
        struct fixture f;
        fixture_start(&f, 1, NULL);
        struct service service = {NULL, test_on_request, NULL};
        client_start(serves ? &service : NULL);
        struct wanted wanted = want(f.port, TEST_CALL_BACK, "");
        call_and_wait(&wanted);
        assert_int_equal(wanted.status, STATUS_OK);
        assert_string_equal(wanted.answer, serves ? "OK from the server" : "OK ");
        client_stop();
        fixture_stop(&f);
    }
}

static void addresses_are_split(void **state)
{
    (void)state;
    char host[256];
    int port;
    assert_true(net_address_split("broker-a:10911", host, sizeof host, &port));
    assert_string_equal(host, "broker-a");
    assert_int_equal(port, 10911);
    assert_true(net_address_split("[fe80::1]:1", host, sizeof host, &port));
    assert_string_equal(host, "fe80::1");
    assert_int_equal(port, 1);
    assert_true(net_address_split("0:0:0:0:0:0:0:1:9876", host, sizeof host, &port));
    assert_string_equal(host, "0:0:0:0:0:0:0:1");
    assert_int_equal(port, 9876);
    char longer[400];
    memset(longer, 'h', sizeof longer);
    memcpy(longer + 300, ":80", 4);
    assert_false(net_address_split(longer, host, sizeof host, &port));
    assert_false(net_address_split("[]:80", host, sizeof host, &port));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_share_a_connection_and_get_their_own_answers),
        cmocka_unit_test(one_way_calls_arrive),
        cmocka_unit_test(a_call_without_an_answer_times_out),
        cmocka_unit_test(addresses_that_lead_nowhere_fail),
        cmocka_unit_test(pending_calls_fail_when_the_connection_drops_and_the_next_reconnects),
        cmocka_unit_test(freeing_a_client_fails_what_is_pending),
        cmocka_unit_test(connecting_takes_three_seconds_at_most),
        cmocka_unit_test(a_server_calls_its_client),
        cmocka_unit_test(only_the_peer_that_was_asked_can_answer),
        cmocka_unit_test(calls_to_a_peer_that_goes_fail_at_once),
        cmocka_unit_test(calls_to_a_peer_that_does_not_read_are_refused),
        cmocka_unit_test(a_client_serves_or_says_that_it_does_not),
        cmocka_unit_test(addresses_are_split),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
