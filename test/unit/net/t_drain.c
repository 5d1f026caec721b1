/* SPDX-License-Identifier: Apache-2.0
 *
 * The orderly end of a server: nothing new is accepted or read, calls under way are finished and
 * their answers arrive even when the peer has sent more than was read, calls of our own fail,
 * connections are closed, and a call that is never answered holds it up no longer than the
 * time-out. Source of the rules: common/net/net.h.
 */
#include "net_test.h"

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

static void answers_arrive_though_more_was_sent(void **state)
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
    /* Requests sent now are not handled; unread input must not destroy the answers. */
    for (int i = 0; i < 50; i++)
        wire_request(&wire, CODEC_JSON, TEST_ECHO, 100 + i, "too late");
    bool seen[3] = {false, false, false};
    struct answer answer;
    while (wire_receive(&wire, &answer)) {
        assert_in_range(answer.command.opaque, 1, 2);
        seen[answer.command.opaque] = true;
    }
    assert_true(seen[1] && seen[2]);
    wire_close(&wire);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(f.requests, 2);
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
    assert_true(wire_is_closed_by_peer(&wire));
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

static void a_peer_that_does_not_close_is_left_after_a_second(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 1, NULL);
    struct wire wire;
    wire_open(&wire, f.port);
    struct answer answer;
    wire_ask(&wire, CODEC_JSON, TEST_ECHO, 1, "", &answer);
    int64_t started_ms = test_now_ms();
    server_drain(f.server, 2 * WAIT_MS);
    assert_in_range(test_now_ms() - started_ms, 900, WAIT_MS);
    wire_close(&wire);
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
        cmocka_unit_test(answers_arrive_though_more_was_sent),
        cmocka_unit_test(a_call_that_is_never_answered_does_not_hold_it_up),
        cmocka_unit_test(calls_that_wait_for_a_peer_fail_and_are_answered_at_once),
        cmocka_unit_test(a_peer_that_does_not_close_is_left_after_a_second),
        cmocka_unit_test(a_server_without_connections_drains_at_once),
        cmocka_unit_test(a_server_may_be_freed_without_draining),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
