/* SPDX-License-Identifier: Apache-2.0
 *
 * A server over real loopback sockets: frames in whatever pieces become calls, answers go out with
 * the right envelope in the codec of the request, in the order in which they are given, exactly
 * once, from any thread; malformed input ends only the connection it came over; references to
 * connections that have gone are harmless.
 *
 * Source of the rules: RocketMQ 4.9.2 NettyDecoder, NettyRemotingAbstract.processRequestCommand and
 * RemotingCommand; common/net/net.h.
 */
#include "net_test.h"

static const enum codec codecs[] = {CODEC_JSON, CODEC_ROCKETMQ};
#define CODEC_COUNT 2

static bool answer_has(const struct answer *answer, const char *name, const char *value)
{
    struct slice found;
    return ext_find(&answer->command.ext, slice_of_cstr(name), &found) && slice_is(found, value);
}

static void an_answer_has_the_envelope_of_4_9_2(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 1, NULL);
    struct wire wire;
    wire_open(&wire, f.port);
    for (int i = 0; i < CODEC_COUNT; i++) {
        struct answer answer;
        wire_ask(&wire, codecs[i], TEST_ECHO, 1000 + i, "hello", &answer);
        assert_int_equal(wire.in.data[4], codecs[i]);
        assert_int_equal(answer.command.code, 0);
        assert_int_equal(answer.command.flag, COMMAND_FLAG_RESPONSE);
        assert_int_equal(answer.command.language, LANGUAGE_JAVA);
        assert_int_equal(answer.command.version, 397);
        assert_false(answer.command.has_remark);
        assert_true(slice_is(answer.body, "hello"));
    }
    wire_close(&wire);
    fixture_stop(&f);
}

static bool header_mentions(const struct answer *answer, const char *text)
{
    return memmem(answer->header.data, answer->header.size, text, strlen(text)) != NULL;
}

/* RM-04: no header class, no extFields member; a header without set fields, an empty one. */
static void ext_fields_are_there_when_the_answer_has_a_header(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 1, NULL);
    struct wire wire;
    wire_open(&wire, f.port);
    struct answer answer;
    wire_ask(&wire, CODEC_JSON, TEST_ECHO, 1, "", &answer);
    assert_false(header_mentions(&answer, "extFields"));
    wire_ask(&wire, CODEC_JSON, TEST_EMPTY_HEADER, 2, "", &answer);
    assert_true(header_mentions(&answer, "\"extFields\":{}"));
    for (int i = 0; i < CODEC_COUNT; i++) {
        wire_ask(&wire, codecs[i], TEST_HEADER, 3, "", &answer);
        assert_int_equal(answer.command.code, 13);
        assert_int_equal(answer.command.ext.count, 2);
        assert_true(answer_has(&answer, "offset", "42"));
        assert_true(answer_has(&answer, "MSG_REGION", "DefaultRegion"));
        assert_true(slice_is(answer.command.remark, "a remark"));
        wire_ask(&wire, codecs[i], TEST_ERROR, 4, "", &answer);
        assert_int_equal(answer.command.code, RESPONSE_TOPIC_NOT_EXIST);
        assert_true(slice_is(answer.command.remark, "topic[T] number 7"));
    }
    wire_close(&wire);
    fixture_stop(&f);
}

static void pipelined_requests_are_answered_out_of_order_by_opaque(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 1, NULL);
    struct wire wire;
    wire_open(&wire, f.port);
    struct buf frames = BUF_EMPTY;
    for (int i = 0; i < 200; i++)
        append_request(&frames, codecs[i % 2], TEST_HOLD, 500 + i, 0, "");
    append_request(&frames, CODEC_JSON, TEST_RELEASE, 9999, 0, "now");
    wire_send(&wire, frames.data, frames.size);
    struct answer answer;
    assert_true(wire_receive(&wire, &answer));
    assert_int_equal(answer.command.opaque, 9999);
    for (int i = 199; i >= 0; i--) {
        assert_true(wire_receive(&wire, &answer));
        assert_int_equal(answer.command.opaque, 500 + i);
    }
    assert_int_equal(server_stats(f.server).calls_under_way, 0);
    assert_int_equal(server_stats(f.server).requests, 201);
    buf_release(&frames);
    wire_close(&wire);
    fixture_stop(&f);
}

static void one_way_requests_and_declined_ones_get_no_answer(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 1, NULL);
    struct wire wire;
    wire_open(&wire, f.port);
    struct buf frames = BUF_EMPTY;
    append_request(&frames, CODEC_JSON, TEST_ECHO, 1, COMMAND_FLAG_ONEWAY, "x");
    append_request(&frames, CODEC_JSON, TEST_THREAD, 2, COMMAND_FLAG_ONEWAY, "x");
    append_request(&frames, CODEC_JSON, TEST_PARTS, 3, COMMAND_FLAG_ONEWAY, "3 100");
    append_request(&frames, CODEC_JSON, TEST_THREAD_PARTS, 4, COMMAND_FLAG_ONEWAY, "3 100");
    append_request(&frames, CODEC_JSON, TEST_DECLINE, 5, 0, "");
    append_request(&frames, CODEC_JSON, TEST_DECLINE, 6, COMMAND_FLAG_ONEWAY, "");
    append_request(&frames, CODEC_JSON, TEST_ECHO, 7, 0, "last");
    wire_send(&wire, frames.data, frames.size);
    struct answer answer;
    assert_true(wire_receive(&wire, &answer));
    assert_int_equal(answer.command.opaque, 7);
    wait_until(f.parts_released == 6);
    assert_int_equal(f.parts_released_elsewhere, 0);
    assert_int_equal(server_stats(f.server).calls_under_way, 0);
    assert_int_equal(f.requests, 7);
    buf_release(&frames);
    wire_close(&wire);
    fixture_stop(&f);
}

static void send_in_two(struct wire *wire, const struct buf *frames, size_t first)
{
    wire_send(wire, frames->data, first);
    /* Give the server the chance to see the pieces apart; either way the answer must be right. */
    let_pass_ms(1);
    wire_send(wire, frames->data + first, frames->size - first);
}

static void a_frame_may_be_cut_at_every_byte(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 1, NULL);
    struct wire wire;
    wire_open(&wire, f.port);
    int one = 1;
    (void)setsockopt(wire.fd, IPPROTO_TCP, 1 /* TCP_NODELAY */, &one, sizeof one);
    for (int i = 0; i < CODEC_COUNT; i++) {
        struct buf frames = BUF_EMPTY;
        append_request(&frames, codecs[i], TEST_ECHO, 71, 0, "first body");
        size_t first_size = frames.size;
        append_request(&frames, codecs[i], TEST_ECHO, 72, 0, "second body");
        for (size_t cut = 1; cut < first_size + 12; cut++) {
            send_in_two(&wire, &frames, cut);
            struct answer answer;
            assert_true(wire_receive(&wire, &answer));
            assert_int_equal(answer.command.opaque, 71);
            assert_true(slice_is(answer.body, "first body"));
            assert_true(wire_receive(&wire, &answer));
            assert_int_equal(answer.command.opaque, 72);
            assert_true(slice_is(answer.body, "second body"));
        }
        buf_release(&frames);
    }
    wait_until(server_stats(f.server).in_flight_bytes == 0);
    wire_close(&wire);
    fixture_stop(&f);
}

static void a_frame_may_come_byte_by_byte(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 1, NULL);
    struct wire wire;
    wire_open(&wire, f.port);
    int one = 1;
    (void)setsockopt(wire.fd, IPPROTO_TCP, 1 /* TCP_NODELAY */, &one, sizeof one);
    struct buf frame = BUF_EMPTY;
    append_request(&frame, CODEC_JSON, TEST_ECHO, 5, 0, "slowly");
    for (size_t i = 0; i < frame.size; i++)
        wire_send(&wire, frame.data + i, 1);
    struct answer answer;
    assert_true(wire_receive(&wire, &answer));
    assert_true(slice_is(answer.body, "slowly"));
    buf_release(&frame);
    wire_close(&wire);
    fixture_stop(&f);
}

static char *filler(size_t size)
{
    char *text = malloc(size + 1);
    for (size_t i = 0; i < size; i++)
        text[i] = (char)('A' + i * 7 % 26);
    text[size] = '\0';
    return text;
}

static void large_frames_among_small_ones_arrive_whole(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 1, NULL);
    struct wire wire;
    wire_open(&wire, f.port);
    static const size_t sizes[] = {3000000, 10, 131072, 131000, 5, 700000, 16000000, 1};
    struct buf frames = BUF_EMPTY;
    for (int i = 0; i < 8; i++) {
        char *body = filler(sizes[i]);
        append_request(&frames, codecs[i % 2], TEST_ECHO, i, 0, body);
        free(body);
    }
    pthread_t thread;
    struct sender sender = {&wire, &frames};
    assert_int_equal(pthread_create(&thread, NULL, send_all, &sender), 0);
    for (int i = 0; i < 8; i++) {
        struct answer answer;
        assert_true(wire_receive(&wire, &answer));
        assert_int_equal(answer.command.opaque, i);
        char *body = filler(sizes[i]);
        assert_true(slice_is(answer.body, body));
        free(body);
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    wait_until(server_stats(f.server).in_flight_bytes == 0);
    buf_release(&frames);
    wire_close(&wire);
    fixture_stop(&f);
}

static void parts_are_sent_in_order_and_released_once(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 1, NULL);
    struct wire wire;
    wire_open(&wire, f.port);
    static const int32_t by_code[] = {TEST_PARTS, TEST_THREAD_PARTS, TEST_FILE_PARTS};
    for (int i = 0; i < 3; i++) {
        struct answer answer;
        /* More parts than one writev takes, more bytes than the socket does. */
        wire_ask(&wire, CODEC_JSON, by_code[i], 8, "300 20000", &answer);
        assert_int_equal(answer.body.size, 5 + 300 * 20000);
        assert_memory_equal(answer.body.data, "head:", 5);
        for (size_t part = 0; part < 300; part++)
            for (size_t k = 0; k < 20000; k += 19999)
                assert_int_equal(answer.body.data[5 + part * 20000 + k], 'a' + part % 26);
        wire_ask(&wire, CODEC_JSON, by_code[i], 9, "3 0", &answer);
        assert_true(slice_is(answer.body, "head:"));
    }
    wait_until(f.parts_released == 909);
    assert_int_equal(f.parts_released_elsewhere, 0);
    wire_close(&wire);
    fixture_stop(&f);
}

static void parts_are_released_when_the_connection_goes(void **state)
{
    (void)state;
    static const int32_t by_code[] = {TEST_PARTS, TEST_FILE_PARTS};
    for (int i = 0; i < 2; i++) {
        struct fixture f;
        fixture_start(&f, 1, NULL);
        struct wire wire;
        wire_open(&wire, f.port);
        wire_request(&wire, CODEC_JSON, by_code[i], 1, "50 1000000");
        wait_until(f.parts_made == 50);
        assert_true(f.parts_released < 50);
        wire_close(&wire);
        wait_until(f.parts_released == 50);
        wait_until(f.closed == 1);
        assert_int_equal(server_stats(f.server).connections, 0);
        fixture_stop(&f);
    }
}

static void an_answer_whose_file_is_gone_ends_the_connection(void **state)
{
    (void)state;
    struct fixture f;
    struct answer answer;
    fixture_start(&f, 1, NULL);
    struct wire wire;
    struct wire other;
    wire_open(&wire, f.port);
    wire_open(&other, f.port);
    log_set_level((enum log_level) - 1);
    wire_request(&wire, CODEC_JSON, TEST_CUT_FILE, 1, "");
    assert_false(wire_receive(&wire, &answer));
    wait_until(f.parts_released == 1);
    log_set_level(LOG_ERROR);
    wire_ask(&other, CODEC_JSON, TEST_ECHO, 1, "as before", &answer);
    assert_true(slice_is(answer.body, "as before"));
    wire_close(&wire);
    wire_close(&other);
    fixture_stop(&f);
}

static void an_answer_too_long_for_its_codec_becomes_an_error(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 1, NULL);
    struct wire wire;
    wire_open(&wire, f.port);
    struct answer answer;
    wire_ask(&wire, CODEC_ROCKETMQ, TEST_TOO_LONG, 1, "", &answer);
    assert_int_equal(answer.command.code, RESPONSE_SYSTEM_ERROR);
    assert_int_equal(answer.body.size, 0);
    wait_until(f.parts_released == 1);
    assert_int_equal(f.parts_released_elsewhere, 0);
    wire_ask(&wire, CODEC_ROCKETMQ, TEST_ECHO, 2, "still in step", &answer);
    assert_true(slice_is(answer.body, "still in step"));
    wire_close(&wire);
    fixture_stop(&f);
}

static void answers_come_from_other_threads_over_the_right_connection(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 2, NULL);
    struct wire wires[6];
    for (int i = 0; i < 6; i++)
        wire_open(&wires[i], f.port);
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 6; i++) {
            char body[32];
            (void)snprintf(body, sizeof body, "%d-%d", i, round);
            wire_request(&wires[i], codecs[i % 2], TEST_THREAD, round, body);
        }
        for (int i = 0; i < 6; i++) {
            char body[32];
            (void)snprintf(body, sizeof body, "%d-%d", i, round);
            struct answer answer;
            assert_true(wire_receive(&wires[i], &answer));
            assert_int_equal(answer.command.opaque, round);
            assert_true(slice_is(answer.body, body));
        }
    }
    assert_int_equal(server_stats(f.server).connections, 6);
    wait_until(server_stats(f.server).in_flight_bytes == 0);
    for (int i = 0; i < 6; i++)
        wire_close(&wires[i]);
    wait_until(f.closed == 6);
    fixture_stop(&f);
}

struct bad_input {
    const char *what;
    const char *bytes;
    size_t size;
};

#define BAD(what, text)              \
    {                                \
        what, text, sizeof(text) - 1 \
    }

static void malformed_input_ends_only_its_own_connection(void **state)
{
    (void)state;
    static const struct bad_input inputs[] = {
        BAD("a frame too long", "\x01\x00\x00\x01\0\0\0\0"),
        BAD("a negative length", "\xff\xff\xff\xff\0\0\0\0"),
        BAD("a header longer than the frame", "\0\0\0\x08\0\0\0\x20"
                                              "aaaa"),
        BAD("an unknown serialize type", "\0\0\0\x06\x07\0\0\x02{}"),
        BAD("no JSON", "\0\0\0\x08\0\0\0\x04[[[["),
        BAD("a truncated binary header", "\0\0\0\x07\x01\0\0\x03\0\0\0"),
        BAD("HTTP", "GET / HTTP/1.1\r\n\r\n"),
        BAD("TLS", "\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"),
    };
    struct fixture f;
    fixture_start(&f, 1, NULL);
    struct wire good;
    wire_open(&good, f.port);
    struct answer answer;
    wire_ask(&good, CODEC_JSON, TEST_ECHO, 1, "before", &answer);
    int count = (int)(sizeof inputs / sizeof *inputs);
    for (int i = 0; i < count; i++) {
        struct wire bad;
        wire_open(&bad, f.port);
        wire_send(&bad, inputs[i].bytes, inputs[i].size);
        if (!wire_is_closed_by_peer(&bad))
            fail_msg("not closed: %s", inputs[i].what);
        wire_close(&bad);
    }
    assert_int_equal(server_stats(f.server).closed_malformed, count);
    /* Behind a valid frame in the same segment: that one is answered first or not at all, but the
     * connection ends. */
    struct wire mixed;
    wire_open(&mixed, f.port);
    struct buf frames = BUF_EMPTY;
    append_request(&frames, CODEC_JSON, TEST_ECHO, 4, 0, "valid");
    buf_append(&frames, "\xff\xff\xff\xff", 4);
    wire_send(&mixed, frames.data, frames.size);
    while (wire_receive(&mixed, &answer))
        ;
    buf_release(&frames);
    wire_close(&mixed);
    wire_ask(&good, CODEC_JSON, TEST_ECHO, 2, "after", &answer);
    assert_true(slice_is(answer.body, "after"));
    assert_int_equal(server_stats(f.server).connections, 1);
    wire_close(&good);
    fixture_stop(&f);
}

static void closing_from_the_handler_and_from_outside(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 1, NULL);
    struct wire wire;
    wire_open(&wire, f.port);
    struct buf frames = BUF_EMPTY;
    append_request(&frames, CODEC_JSON, TEST_CLOSE, 1, 0, "body");
    append_request(&frames, CODEC_JSON, TEST_ECHO, 2, 0, "never handled");
    wire_send(&wire, frames.data, frames.size);
    assert_true(wire_is_closed_by_peer(&wire));
    assert_int_equal(f.requests, 1);
    wire_close(&wire);
    buf_release(&frames);

    wire_open(&wire, f.port);
    struct answer answer;
    wire_ask(&wire, CODEC_JSON, TEST_ECHO, 1, "", &answer);
    net_close(f.last_conn, "the test wants it");
    assert_true(wire_is_closed_by_peer(&wire));
    net_close(f.last_conn, "again");
    net_close(CONN_REF_NONE, "nothing");
    wire_close(&wire);
    wait_until(f.closed == 2);
    fixture_stop(&f);
}

static void note_status(void *ctx, enum status status, const struct command *response,
                        struct slice body, struct arena *arena)
{
    (void)response;
    (void)body;
    (void)arena;
    *(_Atomic int *)ctx = (int)status;
}

static void stale_references_are_harmless(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 1, NULL);
    struct wire wire;
    wire_open(&wire, f.port);
    wire_request(&wire, CODEC_JSON, TEST_HOLD, 1, "");
    wait_until(f.held_count == 1);
    struct conn_ref old = f.last_conn;
    wire_close(&wire);
    wait_until(f.closed == 1);
    wait_until(server_stats(f.server).calls_under_way == 0);
    /* The next connection gets the slot, with another generation. */
    wire_open(&wire, f.port);
    struct answer answer;
    wire_ask(&wire, CODEC_JSON, TEST_ECHO, 1, "", &answer);
    assert_int_equal(f.last_conn.slot, old.slot);
    assert_false(conn_ref_equal(f.last_conn, old));

    struct reply_to to = {old, 1, CODEC_JSON, false};
    reply_parts(to, 2, 10, 0);
    net_reply_error(to, 1, "%s", "nobody");
    net_decline(to);
    _Atomic int status = -1;
    struct request request = {.code = 1, .codec = CODEC_JSON, .timeout_ms = 5000};
    net_call(old, &request, note_status, (void *)&status);
    net_call(old, &request, NULL, NULL);
    wait_until(status == STATUS_CLOSED);
    wait_until(f.parts_released == 2);
    assert_int_equal(f.parts_released_elsewhere, 0);
    /* And the held one, from the loop itself. */
    wire_ask(&wire, CODEC_JSON, TEST_RELEASE, 2, "ok", &answer);
    assert_true(slice_is(answer.body, "ok"));
    assert_int_equal(server_stats(f.server).replies_unexpected, 0);

    /* A reference to nothing. */
    to.conn = CONN_REF_NONE;
    net_reply_error(to, 1, "%s", "nobody");
    net_decline(to);
    status = -1;
    net_call(CONN_REF_NONE, &request, note_status, (void *)&status);
    assert_int_equal(status, STATUS_CLOSED);
    wire_close(&wire);
    fixture_stop(&f);
}

#ifndef DEBUG
static void an_answer_too_many_is_dropped_and_counted(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 1, NULL);
    struct wire wire;
    wire_open(&wire, f.port);
    struct answer answer;
    wire_ask(&wire, CODEC_JSON, TEST_TWICE, 1, "one", &answer);
    wire_ask(&wire, CODEC_JSON, TEST_ECHO, 2, "two", &answer);
    assert_true(slice_is(answer.body, "two"));
    assert_int_equal(server_stats(f.server).replies_unexpected, 1);
    wire_close(&wire);
    fixture_stop(&f);
}
#endif

static void peers_are_seen_over_ipv4_and_ipv6(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 1, NULL);
    struct wire wire;
    wire_open(&wire, f.port);
    struct answer answer;
    char expected[128];
    struct sockaddr_in v4;
    socklen_t size = sizeof v4;
    wire_ask(&wire, CODEC_JSON, TEST_PEER, 1, "", &answer);
    assert_int_equal(getsockname(wire.fd, (struct sockaddr *)&v4, &size), 0);
    (void)snprintf(expected, sizeof expected, "127.0.0.1:%d 4 7", ntohs(v4.sin_port));
    assert_true(slice_is(answer.body, expected));
    wire_close(&wire);

    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6,
                              .sin6_port = htons((uint16_t)f.port),
                              .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    if (fd == -1 || connect(fd, (struct sockaddr *)&v6, sizeof v6) == -1) {
        print_message("no IPv6 here\n");
        (void)close(fd);
        fixture_stop(&f);
        return;
    }
    wire_init(&wire, fd);
    size = sizeof v6;
    wire_ask(&wire, CODEC_JSON, TEST_PEER, 1, "", &answer);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&v6, &size), 0);
    struct host host = {.ip = {[15] = 1}, .ip_bytes = 16, .port = ntohs(v6.sin6_port)};
    char text[HOST_TEXT_BYTES];
    host_format(&host, text);
    (void)snprintf(expected, sizeof expected, "%s 16 7", text);
    assert_true(slice_is(answer.body, expected));
    wire_close(&wire);
    fixture_stop(&f);
}

static void a_taken_port_and_a_bad_address_are_told(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 1, NULL);
    struct loop *loop;
    assert_int_equal(loop_new("other", 0, clock_real(), &loop, NULL), STATUS_OK);
    struct net_options options = net_options_default();
    struct server *server = server_new(&loop, 1, test_service(), &options);
    struct err err;
    int port;
    assert_int_equal(server_listen(server, NULL, f.port, 0, &port, &err), STATUS_EXISTS);
    assert_int_equal(err.sys_errno, EADDRINUSE);
    assert_int_equal(server_listen(server, "127.0.0.1", f.port, 0, &port, &err), STATUS_EXISTS);
    assert_int_equal(server_listen(server, "no such host", 0, 0, &port, &err), STATUS_INVALID);
    assert_int_equal(server_listen(server, NULL, 70000, 0, &port, &err), STATUS_INVALID);
    assert_int_equal(server_listen(server, "127.0.0.1", 0, 0, &port, &err), STATUS_OK);
    assert_true(port > 0 && port != f.port);
    server_free(server);
    loop_free(loop);
    fixture_stop(&f);
}

int main(void)
{
    (void)signal(SIGPIPE, SIG_IGN); /* as the daemons */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_has_the_envelope_of_4_9_2),
        cmocka_unit_test(ext_fields_are_there_when_the_answer_has_a_header),
        cmocka_unit_test(pipelined_requests_are_answered_out_of_order_by_opaque),
        cmocka_unit_test(one_way_requests_and_declined_ones_get_no_answer),
        cmocka_unit_test(a_frame_may_be_cut_at_every_byte),
        cmocka_unit_test(a_frame_may_come_byte_by_byte),
        cmocka_unit_test(large_frames_among_small_ones_arrive_whole),
        cmocka_unit_test(parts_are_sent_in_order_and_released_once),
        cmocka_unit_test(parts_are_released_when_the_connection_goes),
        cmocka_unit_test(an_answer_whose_file_is_gone_ends_the_connection),
        cmocka_unit_test(an_answer_too_long_for_its_codec_becomes_an_error),
        cmocka_unit_test(answers_come_from_other_threads_over_the_right_connection),
        cmocka_unit_test(malformed_input_ends_only_its_own_connection),
        cmocka_unit_test(closing_from_the_handler_and_from_outside),
        cmocka_unit_test(stale_references_are_harmless),
#ifndef DEBUG
        cmocka_unit_test(an_answer_too_many_is_dropped_and_counted),
#endif
        cmocka_unit_test(peers_are_seen_over_ipv4_and_ipv6),
        cmocka_unit_test(a_taken_port_and_a_bad_address_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
