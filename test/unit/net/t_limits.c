/* SPDX-License-Identifier: Apache-2.0
 *
 * What bounds the harm a peer can do: idle connections end, a peer that does not read is not read
 * from, too many connections are refused, half-sent frames cost little memory and nobody else's
 * time, one that floods does not starve the others, running out of descriptors pauses accepting,
 * one connection has only so many calls with the workers and so many of ours waiting for it, and
 * memory for answers that nobody reads is bounded over all connections.
 *
 * Source of the rules: common/net/net.h; RM-10 (idle time) of RocketMQ 4.9.2's
 * NettyRemotingServer.
 */
#include "net_test.h"

#include "common/base/limits.h"

#include <malloc.h>
#include <sys/resource.h>

/* --- a time that passes only when a test says so --- */

static int64_t set_ms;

static void set_time(int64_t now_ms)
{
    __atomic_store_n(&set_ms, now_ms, __ATOMIC_RELAXED);
}

static int64_t no_wall_ms(void *ctx)
{
    (void)ctx;
    return 0;
}

static int64_t set_ns(void *ctx)
{
    (void)ctx;
    return __atomic_load_n(&set_ms, __ATOMIC_RELAXED) * 1000000;
}

/* As fixture_start, with one loop. Its timers go by the true time, and look at this one then. */
static void start_at_set_time(struct fixture *f, const struct net_options *options)
{
    static const struct clock clock = {no_wall_ms, set_ns, NULL};
    *f = (struct fixture){.loop_count = 1};
    fixture = f;
    assert_int_equal(loop_new("net", 0, &clock, &f->loops[0], NULL), STATUS_OK);
    f->server = server_new(f->loops, 1, test_service(), options);
    assert_int_equal(server_listen(f->server, "127.0.0.1", 0, 7, &f->port, NULL), STATUS_OK);
    assert_int_equal(loop_start(f->loops[0], NULL), STATUS_OK);
}

static void idle_connections_end_and_active_ones_stay(void **state)
{
    (void)state;
    struct fixture f;
    struct net_options options = net_options_default();
    options.idle_ms = 300;
    set_time(1000);
    start_at_set_time(&f, &options);
    struct wire silent;
    struct wire active;
    struct answer answer;
    wire_open(&silent, f.port);
    wire_ask(&silent, CODEC_JSON, TEST_ECHO, 1, "", &answer);
    wire_open(&active, f.port);
    set_time(1250);
    wire_ask(&active, CODEC_JSON, TEST_ECHO, 1, "", &answer);
    set_time(1299);
    wire_ask(&active, CODEC_JSON, TEST_ECHO, 2, "nobody is idle for long enough", &answer);
    assert_int_equal(server_stats(f.server).closed_idle, 0);
    set_time(1310);
    assert_true(wire_is_closed_by_peer(&silent));
    wire_ask(&active, CODEC_JSON, TEST_ECHO, 0, "still here", &answer);
    assert_int_equal(server_stats(f.server).closed_idle, 1);
    assert_int_equal(f.closed, 1);
    /* And then it falls silent, too. */
    set_time(2000);
    wait_until(server_stats(f.server).closed_idle == 2);
    assert_true(wire_is_closed_by_peer(&active));
    wire_close(&silent);
    wire_close(&active);
    fixture_stop(&f);
}

static void a_peer_that_does_not_read_is_not_read_from(void **state)
{
    (void)state;
    struct fixture f;
    struct net_options options = net_options_default();
    options.output_high_water_bytes = 1000000;
    fixture_start(&f, 1, &options);
    struct wire wire;
    wire_open(&wire, f.port);
    struct wire other;
    wire_open(&other, f.port);
    /* 5,000 requests for 20 KB each, in one go. */
    struct buf frames = BUF_EMPTY;
    for (int i = 0; i < 5000; i++)
        append_request(&frames, CODEC_JSON, TEST_PARTS, i, 0, "1 20000");
    struct sender sender = {&wire, &frames};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, send_all, &sender), 0);
    /* Only so many are handled as the sockets' buffers and the high-water mark take. */
    struct answer answer;
    int made = -1;
    while (made != f.parts_made || made < 50) {
        made = f.parts_made;
        wire_ask(&other, CODEC_JSON, TEST_ECHO, 1, "", &answer);
        let_pass_ms(50);
    }
    assert_in_range(made, 50, 2500);
    assert_in_range(f.parts_made - f.parts_released, 0, 52);
    /* It reads: everything comes, in order, and what waits unhandled stays small meanwhile. */
    int64_t most_bytes = 0;
    for (int i = 0; i < 5000; i++) {
        assert_true(wire_receive(&wire, &answer));
        assert_int_equal(answer.command.opaque, i);
        assert_int_equal(answer.body.size, 20005);
        int64_t bytes = server_stats(f.server).in_flight_bytes;
        most_bytes = bytes > most_bytes ? bytes : most_bytes;
    }
    assert_in_range(most_bytes, 1, 300000);
    assert_int_equal(pthread_join(thread, NULL), 0);
    buf_release(&frames);
    wait_until(f.parts_released == 5000);
    wire_close(&wire);
    wire_close(&other);
    fixture_stop(&f);
}

static void connections_beyond_the_limit_are_closed(void **state)
{
    (void)state;
    struct fixture f;
    struct net_options options = net_options_default();
    options.connections_max = 3;
    fixture_start(&f, 2, &options);
    struct wire wires[3];
    struct answer answer;
    for (int i = 0; i < 3; i++) {
        wire_open(&wires[i], f.port);
        wire_ask(&wires[i], CODEC_JSON, TEST_ECHO, 1, "", &answer);
    }
    for (int i = 0; i < 5; i++) {
        struct wire more;
        wire_open(&more, f.port);
        assert_true(wire_is_closed_by_peer(&more));
        wire_close(&more);
    }
    assert_int_equal(server_stats(f.server).refused, 5);
    assert_int_equal(server_stats(f.server).connections, 3);
    assert_int_equal(server_stats(f.server).accepted, 3);
    /* One goes, one may come. */
    wire_close(&wires[0]);
    wait_until(server_stats(f.server).connections == 2);
    wire_open(&wires[0], f.port);
    wire_ask(&wires[0], CODEC_JSON, TEST_ECHO, 1, "", &answer);
    for (int i = 0; i < 3; i++)
        wire_close(&wires[i]);
    fixture_stop(&f);
}

/* The beginning of a frame that claims to be `claimed` bytes long, of which `sent` are sent. */
static void send_half_frame(struct wire *wire, size_t claimed, size_t sent)
{
    uint8_t *bytes = calloc(1, sent < 8 ? 8 : sent);
    put_i32(bytes, (int32_t)(claimed - 4));
    put_i32(bytes + 4, 100);
    wire_send(wire, bytes, sent);
    free(bytes);
}

#define HALF_FRAMES 1000

static void a_thousand_half_frames_cost_little(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 1, NULL);
    struct wire good;
    wire_open(&good, f.port);
    struct answer answer;
    wire_ask(&good, CODEC_JSON, TEST_ECHO, 1, "", &answer);
    size_t before_bytes = mallinfo2().uordblks + mallinfo2().hblkhd;
    struct wire *wires = calloc(HALF_FRAMES, sizeof *wires);
    for (int i = 0; i < HALF_FRAMES; i++) {
        wire_open(&wires[i], f.port);
        send_half_frame(&wires[i], 16000000, 100);
    }
    /* 512 bytes each is what 100 bytes of input may hold. */
    wait_until(server_stats(f.server).in_flight_bytes == HALF_FRAMES * 512);
    size_t after_bytes = mallinfo2().uordblks + mallinfo2().hblkhd;
    if (before_bytes != 0) /* sanitizers replace malloc and its figures */
        assert_in_range(after_bytes - before_bytes, 1, (size_t)HALF_FRAMES * 4096);
    for (int i = 0; i < 100; i++)
        wire_ask(&good, CODEC_JSON, TEST_ECHO, i, "served as ever", &answer);
    for (int i = 0; i < HALF_FRAMES; i++)
        wire_close(&wires[i]);
    free(wires);
    wait_until(server_stats(f.server).in_flight_bytes == 0);
    wire_close(&good);
    fixture_stop(&f);
}

static void idle_connections_cost_at_most_4_kib(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 1, NULL);
    struct wire wires[500];
    struct answer answer;
    wire_open(&wires[0], f.port);
    wire_ask(&wires[0], CODEC_JSON, TEST_ECHO, 0, "", &answer);
    size_t before_bytes = mallinfo2().uordblks + mallinfo2().hblkhd;
    for (int i = 1; i < 500; i++) {
        /* The test's own side allocates nothing here. */
        wires[i].fd = wire_connect(f.port);
    }
    wait_until(server_stats(f.server).connections == 500);
    size_t after_bytes = mallinfo2().uordblks + mallinfo2().hblkhd;
    if (before_bytes != 0)
        assert_in_range((after_bytes - before_bytes) / 499, 1, 4096);
    for (int i = 1; i < 500; i++)
        (void)close(wires[i].fd);
    wire_close(&wires[0]);
    fixture_stop(&f);
}

struct big_frame {
    int port;
    int opaque;
    struct wire wire;
};

static void *send_big_frame(void *arg)
{
    struct big_frame *big = arg;
    char *body = malloc(1000001);
    memset(body, 'b', 1000000);
    body[1000000] = '\0';
    wire_request(&big->wire, CODEC_JSON, TEST_ECHO, big->opaque, body);
    free(body);
    struct answer answer;
    if (!wire_receive(&big->wire, &answer) || answer.body.size != 1000000)
        big->opaque = -1;
    return NULL;
}

/* Half frames fill the memory: those that hold one wait, small requests are handled all the same,
 * and one big frame after the other is finished. */
static void reading_pauses_while_memory_is_short(void **state)
{
    (void)state;
    struct fixture f;
    struct net_options options = net_options_default();
    options.in_flight_bytes_max = 600000;
    set_time(1000);
    start_at_set_time(&f, &options); /* so that no frame is too old */
    struct wire hog;
    wire_open(&hog, f.port);
    send_half_frame(&hog, 10000000, 700000);
    wait_until(server_stats(f.server).in_flight_bytes >= 600000);
    struct wire good;
    wire_open(&good, f.port);
    struct answer answer;
    wire_ask(&good, CODEC_JSON, TEST_THREAD, 1, "detached ones are refused", &answer);
    assert_int_equal(answer.command.code, RESPONSE_SYSTEM_BUSY);
    wire_close(&hog);
    wait_until(server_stats(f.server).in_flight_bytes == 0);
    wire_ask(&good, CODEC_JSON, TEST_THREAD, 1, "now", &answer);
    assert_true(slice_is(answer.body, "now"));

    struct big_frame bigs[10];
    pthread_t threads[10];
    for (int i = 0; i < 10; i++) {
        bigs[i] = (struct big_frame){.port = f.port, .opaque = i};
        wire_open(&bigs[i].wire, f.port);
        assert_int_equal(pthread_create(&threads[i], NULL, send_big_frame, &bigs[i]), 0);
    }
    int64_t most_bytes = 0;
    for (int i = 0; i < 50; i++) {
        wire_ask(&good, CODEC_JSON, TEST_ECHO, i, "small ones are handled", &answer);
        if (server_stats(f.server).in_flight_bytes > most_bytes)
            most_bytes = server_stats(f.server).in_flight_bytes;
    }
    for (int i = 0; i < 10; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(bigs[i].opaque, i);
        wire_close(&bigs[i].wire);
    }
    /* The limit, what one read may bring to each, and the favoured one. */
    assert_in_range(most_bytes, 0, 600000 + 10 * 262144 + 1000200);
    assert_int_equal(server_stats(f.server).closed_stalled, 0);
    wait_until(server_stats(f.server).in_flight_bytes == 0);
    wire_close(&good);
    fixture_stop(&f);
}

static void old_half_frames_end_while_memory_is_short(void **state)
{
    (void)state;
    struct fixture f;
    struct net_options options = net_options_default();
    options.in_flight_bytes_max = 99999;
    set_time(1000);
    start_at_set_time(&f, &options);

    /* 50,000 bytes are held in a buffer of less than twice that: one fits, two do not. */
    struct wire old;
    wire_open(&old, f.port);
    send_half_frame(&old, 10000000, 50000);
    wait_until(server_stats(f.server).in_flight_bytes > 0);
    set_time(4000);
    struct wire young;
    wire_open(&young, f.port);
    send_half_frame(&young, 10000000, 50000);
    wait_until(server_stats(f.server).in_flight_bytes > 99999);
    assert_int_equal(server_stats(f.server).closed_stalled, 0);
    set_time(6500);
    assert_true(wire_is_closed_by_peer(&old));
    wait_until(server_stats(f.server).in_flight_bytes <= 99999);
    /* With memory again, the young one may take its time. */
    set_time(21000);
    struct wire good;
    wire_open(&good, f.port);
    struct answer answer;
    wire_ask(&good, CODEC_JSON, TEST_ECHO, 1, "", &answer);
    let_pass_ms(200);
    assert_int_equal(server_stats(f.server).closed_stalled, 1);
    assert_int_equal(server_stats(f.server).connections, 2);
    wire_close(&old);
    wire_close(&young);
    wire_close(&good);
    fixture_stop(&f);
}

struct flood {
    int port;
    _Atomic int stop;
    _Atomic int64_t bytes;
};

static void *flood(void *arg)
{
    struct flood *flood = arg;
    struct buf frames = BUF_EMPTY;
    for (int i = 0; i < 3000; i++)
        append_request(&frames, CODEC_JSON, TEST_ECHO, i, COMMAND_FLAG_ONEWAY, "flood");
    int fd = wire_connect(flood->port);
    /* Whole batches only, so that frames stay whole. */
    while (!flood->stop) {
        size_t done = 0;
        while (done < frames.size) {
            ssize_t n = send(fd, frames.data + done, frames.size - done, MSG_NOSIGNAL);
            if (n <= 0)
                break;
            done += (size_t)n;
            flood->bytes += n;
        }
    }
    (void)close(fd);
    buf_release(&frames);
    return NULL;
}

static void one_that_floods_does_not_starve_others(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 1, NULL);
    struct flood floods[2] = {{.port = f.port}, {.port = f.port}};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, flood, &floods[i]), 0);
    wait_until(floods[0].bytes > 1000000 && floods[1].bytes > 1000000);
    struct wire good;
    wire_open(&good, f.port);
    struct answer answer;
    /* Each within WAIT_MS; a turn handles 128 KiB of each flood: some milliseconds. */
    for (int i = 0; i < 50; i++)
        wire_ask(&good, CODEC_JSON, TEST_ECHO, i, "me too", &answer);
    for (int i = 0; i < 2; i++) {
        floods[i].stop = 1;
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    wire_close(&good);
    fixture_stop(&f);
}

static void running_out_of_descriptors_pauses_accepting(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 1, NULL);
    struct wire good;
    wire_open(&good, f.port);
    struct answer answer;
    wire_ask(&good, CODEC_JSON, TEST_ECHO, 1, "", &answer);
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    int late = socket(AF_INET, SOCK_STREAM, 0);
    /* No number below the limit is free. */
    int highest = dup(late);
    (void)close(highest);
    struct rlimit tight = {(rlim_t)highest, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)f.port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(connect(late, (struct sockaddr *)&address, sizeof address), 0);
    struct rusage used_before;
    struct rusage used_after;
    (void)getrusage(RUSAGE_SELF, &used_before);
    let_pass_ms(300);
    (void)getrusage(RUSAGE_SELF, &used_after);
    /* Not a busy loop, and others are served. */
    int64_t cpu_us = (used_after.ru_utime.tv_sec - used_before.ru_utime.tv_sec) * 1000000 +
                     (used_after.ru_utime.tv_usec - used_before.ru_utime.tv_usec) +
                     (used_after.ru_stime.tv_sec - used_before.ru_stime.tv_sec) * 1000000 +
                     (used_after.ru_stime.tv_usec - used_before.ru_stime.tv_usec);
    assert_in_range(cpu_us, 0, 100000);
    wire_ask(&good, CODEC_JSON, TEST_ECHO, 2, "", &answer);
    assert_int_equal(server_stats(f.server).accepted, 1);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    struct wire wire;
    wire_init(&wire, late);
    wire_ask(&wire, CODEC_JSON, TEST_ECHO, 3, "at last", &answer);
    assert_true(slice_is(answer.body, "at last"));
    wire_close(&wire);
    wire_close(&good);
    fixture_stop(&f);
}

static void detached_calls_pause_reading_and_nothing_is_refused(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 1, NULL);
    struct wire wire;
    struct wire other;
    wire_open(&wire, f.port);
    wire_open(&other, f.port);
    struct buf frames = BUF_EMPTY;
    for (int i = 0; i < 200; i++)
        append_request(&frames, CODEC_JSON, TEST_DETACH, i, 0, "kept");
    wire_send(&wire, frames.data, frames.size);
    wait_until(f.requests >= CONNECTION_DETACHED_CALLS_MAX);
    struct answer answer;
    int received = 0;
    while (received < 200) {
        /* Two turns later it would have taken more if it did. */
        wire_ask(&other, CODEC_JSON, TEST_ECHO, 1, "", &answer);
        wire_ask(&other, CODEC_JSON, TEST_ECHO, 2, "", &answer);
        int taken = f.detached_count;
        assert_in_range(taken, 1, CONNECTION_DETACHED_CALLS_MAX);
        wire_ask(&other, CODEC_JSON, TEST_FREE, 3, "", &answer);
        for (int i = 0; i < taken; i++) {
            assert_true(wire_receive(&wire, &answer));
            assert_int_equal(answer.command.code, 0);
            assert_int_equal(answer.command.opaque, received++);
            assert_true(slice_is(answer.body, "kept"));
        }
        wait_until(f.detached_count > 0 || received == 200);
    }
    assert_int_equal(server_stats(f.server).calls_under_way, 0);
    assert_int_equal(server_stats(f.server).in_flight_bytes, 0);
    buf_release(&frames);
    wire_close(&wire);
    wire_close(&other);
    fixture_stop(&f);
}

static void calls_that_other_threads_free_resume_reading(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 2, NULL);
    struct wire wire;
    wire_open(&wire, f.port);
    struct buf frames = BUF_EMPTY;
    for (int i = 0; i < 1000; i++)
        append_request(&frames, CODEC_ROCKETMQ, TEST_THREAD, i, i % 2 == 0 ? 0 : 2, "threads");
    wire_send(&wire, frames.data, frames.size);
    struct answer answer;
    bool seen[1000] = {false};
    for (int i = 0; i < 500; i++) {
        assert_true(wire_receive(&wire, &answer));
        assert_int_equal(answer.command.code, 0);
        assert_int_equal(answer.command.opaque % 2, 0);
        assert_false(seen[answer.command.opaque]);
        seen[answer.command.opaque] = true;
    }
    wait_until(f.requests == 1000);
    buf_release(&frames);
    wire_close(&wire);
    fixture_stop(&f);
}

static void unread_answers_are_bounded_over_all_connections(void **state)
{
    (void)state;
    struct fixture f;
    struct net_options options = net_options_default();
    options.queued_output_bytes_max = (size_t)40 * 1000 * 1000;
    options.output_high_water_bytes = (size_t)100 * 1000 * 1000;
    fixture_start(&f, 1, &options);
    struct wire modest;
    struct wire greedy;
    struct wire by_reference;
    wire_open(&modest, f.port);
    wire_open(&greedy, f.port);
    wire_open(&by_reference, f.port);
    wire_request(&modest, CODEC_JSON, TEST_BODY, 1, "15000000");
    /* Parts are not memory of the queue. */
    wire_request(&by_reference, CODEC_JSON, TEST_PARTS, 2, "4 15000000");
    wait_until(f.requests == 2);
    for (int i = 0; i < 20; i++)
        wire_request(&greedy, CODEC_JSON, TEST_BODY, 10 + i, "3000000");
    wait_until(f.closed == 1);
    assert_int_equal(server_stats(f.server).closed_unread, 1);
    struct answer answer;
    while (wire_receive(&greedy, &answer))
        assert_int_equal(answer.body.size, 3000000);
    /* The others lose nothing. */
    assert_true(wire_receive(&modest, &answer));
    assert_int_equal(answer.body.size, 15000000);
    assert_true(wire_receive(&by_reference, &answer));
    assert_int_equal(answer.body.size, 60000005);
    /* One that reads may have as much as it likes, one answer behind the other. */
    for (int i = 0; i < 10; i++) {
        wire_ask(&modest, CODEC_JSON, TEST_BODY, 3, "15000000", &answer);
        assert_int_equal(answer.body.size, 15000000);
    }
    assert_int_equal(server_stats(f.server).closed_unread, 1);
    wire_close(&modest);
    wire_close(&greedy);
    wire_close(&by_reference);
    fixture_stop(&f);
}

static void calls_of_ours_to_one_peer_are_bounded(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, 1, NULL);
    struct wire wire;
    wire_open(&wire, f.port);
    struct buf frames = BUF_EMPTY;
    for (int i = 0; i < CONNECTION_OUTCALLS_MAX + 10; i++)
        append_request(&frames, CODEC_JSON, TEST_CALL_BACK, i, 0, "");
    wire_send(&wire, frames.data, frames.size);
    int calls = 0;
    int busy = 0;
    int32_t called[CONNECTION_OUTCALLS_MAX];
    struct answer answer;
    while (calls + busy < CONNECTION_OUTCALLS_MAX + 10) {
        assert_true(wire_receive(&wire, &answer));
        if (command_is_response(&answer.command)) {
            assert_true(slice_is(answer.body, "BUSY "));
            busy++;
        } else {
            assert_true(calls < CONNECTION_OUTCALLS_MAX);
            called[calls++] = answer.command.opaque;
        }
    }
    assert_int_equal(busy, 10);
    /* Each answer makes room for another call. */
    buf_clear(&frames);
    for (int i = 0; i < 10; i++)
        append_request(&frames, CODEC_JSON, 0, called[i], COMMAND_FLAG_RESPONSE, "done");
    append_request(&frames, CODEC_JSON, TEST_CALL_BACK, 1000, 0, "");
    wire_send(&wire, frames.data, frames.size);
    int answered = 0;
    for (int i = 0; i < 11; i++) {
        assert_true(wire_receive(&wire, &answer));
        if (!command_is_response(&answer.command))
            continue;
        assert_true(slice_is(answer.body, "OK done"));
        answered++;
    }
    assert_int_equal(answered, 10);
    buf_release(&frames);
    wire_close(&wire);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(idle_connections_end_and_active_ones_stay),
        cmocka_unit_test(a_peer_that_does_not_read_is_not_read_from),
        cmocka_unit_test(connections_beyond_the_limit_are_closed),
        cmocka_unit_test(a_thousand_half_frames_cost_little),
        cmocka_unit_test(idle_connections_cost_at_most_4_kib),
        cmocka_unit_test(reading_pauses_while_memory_is_short),
        cmocka_unit_test(old_half_frames_end_while_memory_is_short),
        cmocka_unit_test(one_that_floods_does_not_starve_others),
        cmocka_unit_test(running_out_of_descriptors_pauses_accepting),
        cmocka_unit_test(detached_calls_pause_reading_and_nothing_is_refused),
        cmocka_unit_test(calls_that_other_threads_free_resume_reading),
        cmocka_unit_test(unread_answers_are_bounded_over_all_connections),
        cmocka_unit_test(calls_of_ours_to_one_peer_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
