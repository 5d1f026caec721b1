/* SPDX-License-Identifier: Apache-2.0
 *
 * The orderly end of a server: nothing new is accepted, calls under way are finished, whoever sends
 * meanwhile gets an answer to everything or a reset, calls of our own fail, connections are closed,
 * and a call that is never answered holds it up no longer than the time-out. Source of the rules:
 * common/net/net.h.
 */
#include "net_test.h"

#include <fcntl.h>
#include <netinet/tcp.h>

static void calls_under_way_are_finished(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 2, NULL);
    struct wire wires[4];
    for (int i = 0; i < 4; i++) {
        wire_open(&wires[i], f.port);
        wire_request(&wires[i], CODEC_JSON, TEST_SLOW, i, "finished");
        if (i == 3)
            wire_request(&wires[i], CODEC_JSON, TEST_PARTS, 30, "1 3000000");
    }
    wait_until(f.requests == 5);
    server_drain(f.server, 10000);
    assert_int_equal(server_stats(f.server).connections, 0);
    assert_int_equal(server_stats(f.server).calls_under_way, 0);
    assert_int_equal(f.closed, 4);
    for (int i = 0; i < 4; i++)
        wire_close(&wires[i]);
    server_drain(f.server, 10000); /* again: nothing to do */
    fixture_stop(&f);
}

struct drain {
    struct server *server;
    int64_t timeout_ms;
    _Atomic int done;
};

static void *drain(void *arg)
{
    struct drain *draining = arg;
    server_drain(draining->server, draining->timeout_ms);
    draining->done = 1;
    return NULL;
}

static bool can_connect(int port)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    bool connected = connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
    (void)close(fd);
    return connected;
}

static void requests_that_come_late_are_answered_too(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 1, NULL);
    struct wire wire;
    wire_open(&wire, f.port);
    struct buf frames = BUF_EMPTY;
    append_request(&frames, CODEC_JSON, TEST_SLOW, 1, 0, "under way");
    append_request(&frames, CODEC_JSON, TEST_PARTS, 2, 0, "1 2000000");
    wire_send(&wire, frames.data, frames.size);
    wait_until(f.requests == 2);
    struct drain draining = {.server = f.server, .timeout_ms = 10000};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, drain, &draining), 0);
    wait_until(!can_connect(f.port));
    buf_clear(&frames);
    for (int i = 0; i < 50; i++)
        append_request(&frames, CODEC_JSON, TEST_ECHO, 10 + i, 0, "too late");
    append_request(&frames, CODEC_JSON, TEST_ECHO, 70, COMMAND_FLAG_ONEWAY, "too late");
    wire_send(&wire, frames.data, frames.size);
    bool seen[70] = {false};
    int count = 0;
    struct answer answer;
    while (wire_receive(&wire, &answer)) {
        int32_t opaque = answer.command.opaque;
        assert_in_range(opaque, 1, 69);
        assert_false(seen[opaque]);
        seen[opaque] = true;
        count++;
        assert_int_equal(answer.command.code, opaque < 10 ? 0 : RESPONSE_SERVICE_NOT_AVAILABLE);
    }
    assert_int_equal(count, 52);
    wire_close(&wire);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(f.requests, 2);
    buf_release(&frames);
    fixture_stop(&f);
}

/* How the stream ends for the peer, whatever comes before. */
static bool is_reset(const struct wire *wire)
{
    char bytes[65536];
    ssize_t n;
    do
        n = recv(wire->fd, bytes, sizeof bytes, 0);
    while (n > 0);
    assert_true(n == 0 || errno == ECONNRESET);
    return n == -1;
}

/* Send requests until the connection has ended, at most `window` of them without an answer,
 * whatever the answers say. Returns whether everything has an answer that left before the server's
 * end of stream came. */
static bool insist(struct wire *wire, int32_t window, bool *reset)
{
    struct buf out = BUF_EMPTY;
    int32_t asked = 0; /* have left as a whole */
    int32_t made = 0;
    int32_t answered = 0;
    bool ended = false;
    *reset = false;
    (void)fcntl(wire->fd, F_SETFL, O_NONBLOCK);
    for (;;) {
        bool more = !ended && out.size == 0;
        for (int i = 0; i < 20 && more && made - answered < window; i++)
            append_request(&out, CODEC_JSON, TEST_ECHO, ++made, 0, "again");
        struct pollfd ready = {.fd = wire->fd, .events = POLLIN};
        if (out.size > 0)
            ready.events |= POLLOUT;
        assert_int_equal(poll(&ready, 1, WAIT_MS), 1);
        ssize_t n = recv(wire->fd, buf_reserve(&wire->in, 65536), 65536, 0);
        *reset |= n == -1 && errno != EAGAIN;
        if (n == 0 || (n == -1 && errno != EAGAIN))
            break;
        wire->in.size += n > 0 ? (size_t)n : 0;
        struct frame frame;
        while (wire->in.size > 0 &&
               frame_split(buf_slice(&wire->in), 1 << 20, &frame, NULL) == STATUS_OK) {
            wire->in.size -= frame.frame_bytes;
            memmove(wire->in.data, wire->in.data + frame.frame_bytes, wire->in.size);
            answered++;
        }
        if (out.size == 0)
            continue;
        n = send(wire->fd, out.data, out.size, MSG_NOSIGNAL);
        *reset |= n == -1 && errno != EAGAIN; /* reading may only tell the end then */
        uint8_t state = 0;
        socklen_t size = sizeof state;
        (void)getsockopt(wire->fd, IPPROTO_TCP, TCP_INFO, &state, &size);
        ended |= state != TCP_ESTABLISHED;
        out.size -= n > 0 ? (size_t)n : 0;
        memmove(out.data, out.data + (n > 0 ? n : 0), out.size);
        if (ended)
            buf_clear(&out);
        else if (out.size == 0)
            asked = made;
    }
    buf_release(&out);
    return answered >= asked;
}

static bool insist_while_draining(int32_t window)
{
    struct fixture f;
    fixture_start(&f, 1, NULL);
    struct wire wire;
    wire_open(&wire, f.port);
    struct answer answer;
    wire_ask(&wire, CODEC_JSON, TEST_ECHO, 1000, "", &answer);
    wire.in.size = wire.used = 0;
    struct drain draining = {.server = f.server, .timeout_ms = 10 * WAIT_MS};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, drain, &draining), 0);
    bool reset;
    bool all_answered = insist(&wire, window, &reset);
    assert_true(all_answered || reset);
    assert_int_equal(pthread_join(thread, NULL), 0);
    wire_close(&wire);
    fixture_stop(&f);
    return reset;
}

static void a_peer_that_waits_for_answers_gets_them_all(void **state)
{
    (void)state;
    (void)insist_while_draining(1);
    (void)insist_while_draining(20);
}

static void a_peer_that_does_not_wait_for_answers_is_reset(void **state)
{
    (void)state;
    assert_true(insist_while_draining(INT32_MAX));
}

static void half_a_request_ends_with_a_reset(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 1, NULL);
    struct wire wire;
    wire_open(&wire, f.port);
    struct buf frames = BUF_EMPTY;
    append_request(&frames, CODEC_JSON, TEST_ECHO, 1, 0, "whole");
    size_t whole = frames.size;
    append_request(&frames, CODEC_JSON, TEST_ECHO, 2, 0, "half");
    wire_send(&wire, frames.data, whole + 20);
    wait_until(f.requests == 1);
    server_drain(f.server, 10 * WAIT_MS);
    assert_true(is_reset(&wire));
    wire_close(&wire);
    buf_release(&frames);
    fixture_stop(&f);
}

static void a_call_that_is_never_answered_does_not_hold_it_up(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 1, NULL);
    struct wire wire;
    wire_open(&wire, f.port);
    wire_request(&wire, CODEC_JSON, TEST_HOLD, 1, "");
    wait_until(f.held_count == 1);
    assert_int_equal(server_stats(f.server).calls_under_way, 1);
    int64_t started_ms = test_now_ms();
    server_drain(f.server, 200);
    assert_true(test_now_ms() - started_ms >= 190);
    assert_true(is_reset(&wire)); /* or the peer would go on waiting */
    assert_int_equal(f.closed, 1);
    assert_int_equal(server_stats(f.server).calls_under_way, 0);
    wire_close(&wire);
    fixture_stop(&f);
}

static void calls_that_wait_for_a_peer_fail_and_are_answered_at_once(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 1, NULL);
    f.call_back_timeout_ms = 10 * WAIT_MS;
    struct wire wire;
    wire_open(&wire, f.port);
    for (int i = 0; i < 10; i++)
        wire_request(&wire, CODEC_JSON, TEST_CALL_BACK, i, "");
    struct answer answer;
    for (int i = 0; i < 10; i++) {
        assert_true(wire_receive(&wire, &answer));
        assert_false(command_is_response(&answer.command));
    }
    struct drain draining = {.server = f.server, .timeout_ms = 10 * WAIT_MS};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, drain, &draining), 0);
    for (int i = 0; i < 10; i++) {
        assert_true(wire_receive(&wire, &answer));
        assert_int_equal(answer.command.opaque, i);
        assert_true(slice_is(answer.body, "CLOSED "));
    }
    assert_true(wire_is_closed_by_peer(&wire));
    wire_close(&wire);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(server_stats(f.server).calls_under_way, 0);
    fixture_stop(&f);
}

static void an_idle_peer_is_reset_at_once(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 1, NULL);
    struct wire wire;
    wire_open(&wire, f.port);
    struct answer answer;
    wire_ask(&wire, CODEC_JSON, TEST_ECHO, 1, "", &answer);
    let_pass_ms(1100);
    server_drain(f.server, 10 * WAIT_MS);
    assert_true(is_reset(&wire));
    wire_close(&wire);
    fixture_stop(&f);
}

#define IDLE_PEERS 400

/* Peers that were idle, and each sends once in the moment in which the server takes its leave: it
 * gets an answer, or can not send, or is reset. An end of stream behind which the request is lost
 * would leave a client of 4.9.2 waiting for its time-out. */
static void a_first_request_at_the_end_never_hangs(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 2, NULL);
    static struct wire wires[IDLE_PEERS];
    bool sent[IDLE_PEERS];
    struct answer answer;
    for (int i = 0; i < IDLE_PEERS; i++) {
        wire_open(&wires[i], f.port);
        wire_ask(&wires[i], CODEC_JSON, TEST_ECHO, 1, "", &answer);
    }
    let_pass_ms(1100);
    struct buf frame = BUF_EMPTY;
    append_request(&frame, CODEC_JSON, TEST_ECHO, 2, 0, "at the end");
    struct drain draining = {.server = f.server, .timeout_ms = 10 * WAIT_MS};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, drain, &draining), 0);
    for (int i = 0; i < IDLE_PEERS; i++)
        sent[i] = send(wires[i].fd, frame.data, frame.size, MSG_NOSIGNAL) == (ssize_t)frame.size;
    for (int i = 0; i < IDLE_PEERS; i++) {
        errno = 0;
        if (sent[i] && wire_receive(&wires[i], &answer))
            assert_int_equal(answer.command.opaque, 2);
        else if (sent[i])
            assert_int_equal(errno, ECONNRESET);
        wire_close(&wires[i]);
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    buf_release(&frame);
    fixture_stop(&f);
}

static void a_server_without_connections_drains_at_once(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 2, NULL);
    int64_t started_ms = test_now_ms();
    server_drain(f.server, 2 * WAIT_MS);
    assert_in_range(test_now_ms() - started_ms, 0, WAIT_MS);
    assert_false(can_connect(f.port));
    fixture_stop(&f);
}

static void a_server_may_be_freed_without_draining(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 2, NULL);
    struct wire wires[4];
    for (int i = 0; i < 4; i++) {
        wire_open(&wires[i], f.port);
        wire_request(&wires[i], CODEC_JSON, i % 2 == 0 ? TEST_DECLINE : TEST_PARTS, i,
                     "2 20000000");
    }
    wait_until(f.requests == 4);
    fixture_stop(&f);
    assert_int_equal(f.closed, 0);
    for (int i = 0; i < 4; i++)
        wire_close(&wires[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_under_way_are_finished),
        cmocka_unit_test(requests_that_come_late_are_answered_too),
        cmocka_unit_test(a_peer_that_waits_for_answers_gets_them_all),
        cmocka_unit_test(a_peer_that_does_not_wait_for_answers_is_reset),
        cmocka_unit_test(half_a_request_ends_with_a_reset),
        cmocka_unit_test(a_call_that_is_never_answered_does_not_hold_it_up),
        cmocka_unit_test(calls_that_wait_for_a_peer_fail_and_are_answered_at_once),
        cmocka_unit_test(an_idle_peer_is_reset_at_once),
        cmocka_unit_test(a_first_request_at_the_end_never_hangs),
        cmocka_unit_test(a_server_without_connections_drains_at_once),
        cmocka_unit_test(a_server_may_be_freed_without_draining),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
