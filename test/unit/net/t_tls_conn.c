/* SPDX-License-Identifier: Apache-2.0
 *
 * Encrypted connections of servers and clients: what the first byte decides, records that come in
 * pieces, answers in memory and in files, handshakes that fail, dawdle or are too many, ends.
 *
 * Source of the rules: common/net/transport.h, tls_transport.h and conn_tls.h; RM-13 (the modes) of
 * RocketMQ 4.9.2's NettyRemotingServer.
 */
#include "net_test.h"

#include "common/base/limits.h"
#include "test/unit/support/certificates.h"
#include "test/unit/support/folder.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <sys/uio.h>

static char folder[FOLDER_BYTES];
static SSL_CTX *peer_context; /* of the peers in these tests */
static struct tls_settings settings;
static struct tls *tls;

static const char *in_folder(const char *name)
{
    static char paths[8][256];
    static int next;
    char *path = paths[next++ % 8];
    (void)snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static int setup(void **state)
{
    (void)state;
    (void)signal(SIGPIPE, SIG_IGN);
    folder_make("tls-conn", folder);
    certificate_make(folder, "ca", NULL, KEY_P256, NULL);
    certificate_make(folder, "server", "ca", KEY_P256, NULL);
    peer_context = SSL_CTX_new(TLS_client_method());
    settings = (struct tls_settings){.test_mode = true};
    return tls_new(&settings, TLS_SIDE_SERVER | TLS_SIDE_CLIENT, &tls, NULL) == STATUS_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    SSL_CTX_free(peer_context);
    tls_free(tls);
    folder_remove(folder);
    return 0;
}

static struct net_options tls_options(enum tls_mode mode)
{
    struct net_options options = net_options_default();
    options.tls = mode == TLS_MODE_DISABLED ? NULL : tls;
    options.tls_mode = mode;
    return options;
}

static void start_server(struct fixture *f, int loops)
{
    struct net_options options = tls_options(TLS_MODE_PERMISSIVE);
    fixture_start(f, loops, &options);
}

/* A wire that speaks TLS. version 0: the best */
static void wire_open_tls(struct wire *wire, int port, int version)
{
    wire_open(wire, port);
    wire->ssl = SSL_new(peer_context);
    if (version != 0)
        SSL_set_max_proto_version(wire->ssl, version);
    SSL_set_fd(wire->ssl, wire->fd);
    assert_int_equal(SSL_connect(wire->ssl), 1);
}

/* --- calls --- */

static void both_versions_and_codecs_are_served(void **state)
{
    (void)state;
    struct fixture f;
    start_server(&f, 2);
    const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    for (int i = 0; i < 8; i++) {
        struct wire wire;
        struct answer answer;
        wire_open_tls(&wire, f.port, versions[i & 1]);
        wire_ask(&wire, i & 2 ? CODEC_JSON : CODEC_ROCKETMQ, TEST_ECHO, i, "hello", &answer);
        assert_true(slice_is(answer.body, "hello"));
        wire_close(&wire);
    }
    wait_until(f.closed == 8);
    /* The same port serves plain peers. */
    struct wire plain;
    struct answer answer;
    wire_open(&plain, f.port);
    wire_ask(&plain, CODEC_JSON, TEST_ECHO, 1, "plain", &answer);
    wire_close(&plain);
    fixture_stop(&f);
}

static void modes_decide_by_the_first_byte(void **state)
{
    (void)state;
    for (int mode = TLS_MODE_DISABLED; mode <= TLS_MODE_ENFORCING; mode++) {
        struct fixture f;
        struct net_options options = tls_options((enum tls_mode)mode);
        fixture_start(&f, 1, &options);
        struct wire wire;
        struct answer answer;
        wire_open(&wire, f.port);
        wire_request(&wire, CODEC_JSON, TEST_ECHO, 1, "");
        assert_int_equal(wire_receive(&wire, &answer), mode != TLS_MODE_ENFORCING);
        wire_close(&wire);
        wire_open(&wire, f.port);
        wire.ssl = SSL_new(peer_context);
        SSL_set_fd(wire.ssl, wire.fd);
        assert_int_equal(SSL_connect(wire.ssl) == 1, mode != TLS_MODE_DISABLED);
        wire_close(&wire);
        assert_int_equal(server_stats(f.server).closed_malformed,
                         mode == TLS_MODE_PERMISSIVE ? 0 : 1);
        fixture_stop(&f);
        ERR_clear_error();
    }
}

static void many_requests_at_once(void **state)
{
    (void)state;
    struct fixture f;
    start_server(&f, 1);
    struct wire wire;
    struct answer answer;
    struct buf frames = BUF_EMPTY;
    char body[300];
    wire_open_tls(&wire, f.port, 0);
    memset(body, 'b', sizeof body - 1);
    body[sizeof body - 1] = '\0';
    for (int round = 0; round < 20; round++) {
        buf_clear(&frames);
        for (int i = 0; i < 200; i++)
            append_request(&frames, CODEC_ROCKETMQ, TEST_ECHO, round * 200 + i, 0, body);
        wire_send(&wire, frames.data, frames.size);
        for (int i = 0; i < 200; i++) {
            assert_true(wire_receive(&wire, &answer));
            assert_int_equal(answer.command.opaque, round * 200 + i);
            assert_int_equal(answer.body.size, sizeof body - 1);
        }
    }
    buf_release(&frames);
    wire_close(&wire);
    fixture_stop(&f);
}

/* Much in one direction, with pauses of the reader, so that the socket is full again and again. */
static void large_answers_arrive_whole(void **state)
{
    (void)state;
    struct fixture f;
    struct net_options options = tls_options(TLS_MODE_PERMISSIVE);
    options.send_buffer_bytes = 8192;
    fixture_start(&f, 1, &options);
    struct wire wire;
    wire_open_tls(&wire, f.port, 0);
    const struct {
        int code;
        const char *what;
        int count;
        size_t bytes;
    } asked[] = {{TEST_PARTS, "3 1000", 3, 1000},
                 {TEST_PARTS, "40 100000", 40, 100000},
                 {TEST_FILE_PARTS, "10 16384", 10, 16384},
                 {TEST_FILE_PARTS, "30 200000", 30, 200000},
                 {TEST_THREAD_PARTS, "200 20000", 200, 20000}};
    for (int i = 0; i < 5; i++) {
        wire_request(&wire, CODEC_JSON, asked[i].code, i, asked[i].what);
        let_pass_ms(20);
        struct answer answer;
        assert_true(wire_receive(&wire, &answer));
        struct slice body = answer.body;
        assert_int_equal(body.size, 5 + (size_t)asked[i].count * asked[i].bytes);
        body = slice_from(body, 5);
        for (int part = 0; part < asked[i].count; part++)
            for (size_t at = 0; at < asked[i].bytes; at++)
                if (body.data[(size_t)part * asked[i].bytes + at] != 'a' + part % 26)
                    fail_msg("part %d of answer %d is wrong at %zu", part, i, at);
    }
    wire_close(&wire);
    wait_until(f.closed == 1);
    fixture_stop(&f);
}

static void a_file_that_was_cut_ends_the_connection(void **state)
{
    (void)state;
    struct fixture f;
    start_server(&f, 1);
    struct wire wire;
    wire_open_tls(&wire, f.port, 0);
    wire_request(&wire, CODEC_JSON, TEST_CUT_FILE, 1, "");
    assert_true(wire_is_closed_by_peer(&wire));
    wire_close(&wire);
    wait_until(f.closed == 1);
    fixture_stop(&f);
}

static void what_a_peer_does_not_read_is_bounded(void **state)
{
    (void)state;
    struct fixture f;
    struct net_options options = tls_options(TLS_MODE_PERMISSIVE);
    options.send_buffer_bytes = 8192;
    options.queued_output_bytes_max = (size_t)1024 * 1024;
    fixture_start(&f, 1, &options);
    struct wire wires[40];
    for (int i = 0; i < 40; i++) {
        wire_open_tls(&wires[i], f.port, 0);
        wire_request(&wires[i], CODEC_JSON, TEST_PARTS, 1, "40 100000");
    }
    /* The parts are nobody's memory here; what counts are the pieces that were encrypted. */
    wait_until(server_stats(f.server).closed_unread >= 20);
    for (int i = 0; i < 40; i++)
        wire_close(&wires[i]);
    wait_until(f.closed == 40);
    fixture_stop(&f);
}

/* --- what is on the disk --- */

#define COLD_BYTES ((size_t)1024 * 1024)

struct cold_file {
    int fd;
    char *memory; /* not looked at */
};

static void answer_from_file(void *ctx, struct call *call)
{
    const struct cold_file *file = ctx;
    struct body_part part = {.data = file->memory,
                             .size = COLD_BYTES,
                             .in_file = true,
                             .fd = file->fd,
                             .file_offset = 0};
    net_reply(call_reply_to(call), &(struct response){.parts = &part, .part_count = 1});
}

static bool is_cold(int fd)
{
    char byte;
    struct iovec part = {&byte, 1};
    return preadv2(fd, &part, 1, COLD_BYTES / 2, RWF_NOWAIT) == -1 && errno == EAGAIN;
}

/* The bytes come, and the loop has not waited for them. */
static void files_are_read_from_the_disk(void **state)
{
    (void)state;
    struct cold_file file = {-1, calloc(1, COLD_BYTES)};
    file.fd = open(in_folder("cold"), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    assert_true(file.fd != -1);
    for (size_t i = 0; i < COLD_BYTES; i++)
        file.memory[i] = (char)(i * 7 % 251);
    assert_int_equal(write(file.fd, file.memory, COLD_BYTES), COLD_BYTES);
    assert_int_equal(fsync(file.fd), 0);
    assert_int_equal(posix_fadvise(file.fd, 0, 0, POSIX_FADV_DONTNEED), 0);
    if (!is_cold(file.fd))
        print_message("the file can not be made cold here\n");
    struct fixture f;
    struct net_options options = tls_options(TLS_MODE_PERMISSIVE);
    struct service service = {&file, answer_from_file, NULL};
    fixture_start_with(&f, 1, &options, service);
    struct wire wire;
    struct answer answer;
    wire_open_tls(&wire, f.port, 0);
    wire_ask(&wire, CODEC_JSON, 1, 1, "", &answer);
    assert_int_equal(answer.body.size, COLD_BYTES);
    assert_memory_equal(answer.body.data, file.memory, COLD_BYTES);
    wire_close(&wire);
    fixture_stop(&f);
    (void)close(file.fd);
    free(file.memory);
}

/* --- pieces --- */

/* A peer whose bytes pass through the test. */
struct puppet {
    struct wire wire;
    SSL *ssl;
    BIO *out;
    BIO *in;
};

static void puppet_open(struct puppet *puppet, int port, int version)
{
    wire_open(&puppet->wire, port);
    puppet->ssl = SSL_new(peer_context);
    if (version != 0)
        SSL_set_max_proto_version(puppet->ssl, version);
    puppet->in = BIO_new(BIO_s_mem());
    puppet->out = BIO_new(BIO_s_mem());
    SSL_set_bio(puppet->ssl, puppet->in, puppet->out);
    SSL_set_connect_state(puppet->ssl);
}

static void puppet_close(struct puppet *puppet)
{
    SSL_free(puppet->ssl);
    wire_close(&puppet->wire);
}

/* Send what OpenSSL wants sent, in pieces of `step` bytes; returns how many bytes. */
static size_t puppet_send(struct puppet *puppet, size_t step)
{
    char *data;
    size_t size = (size_t)BIO_get_mem_data(puppet->out, &data);
    for (size_t at = 0; at < size; at += step)
        wire_send(&puppet->wire, data + at, size - at < step ? size - at : step);
    (void)BIO_reset(puppet->out);
    return size;
}

/* False at the end of the stream. */
static bool puppet_receive(struct puppet *puppet)
{
    char data[4096];
    ssize_t n = recv(puppet->wire.fd, data, sizeof data, 0);
    if (n > 0)
        assert_int_equal(BIO_write(puppet->in, data, (int)n), n);
    return n > 0;
}

static void puppet_shake(struct puppet *puppet, size_t step)
{
    while (SSL_do_handshake(puppet->ssl) != 1) {
        (void)puppet_send(puppet, step);
        assert_true(puppet_receive(puppet));
    }
    (void)puppet_send(puppet, step);
}

static void records_come_in_pieces(void **state)
{
    (void)state;
    struct fixture f;
    start_server(&f, 1);
    const size_t steps[] = {1, 7, 100};
    for (int i = 0; i < 6; i++) {
        struct puppet puppet;
        puppet_open(&puppet, f.port, i & 1 ? TLS1_2_VERSION : 0);
        puppet_shake(&puppet, steps[i / 2]);
        struct buf frames = BUF_EMPTY;
        append_request(&frames, CODEC_JSON, TEST_ECHO, 1, 0, "one");
        append_request(&frames, CODEC_JSON, TEST_ECHO, 2, 0, "two");
        assert_true(SSL_write(puppet.ssl, frames.data, (int)frames.size) > 0);
        (void)puppet_send(&puppet, steps[i / 2]);
        uint8_t got[4096];
        size_t size = 0;
        int answers = 0;
        while (answers < 2) {
            int n = SSL_read(puppet.ssl, got + size, (int)(sizeof got - size));
            if (n <= 0) {
                assert_true(puppet_receive(&puppet));
                continue;
            }
            size += (size_t)n;
            struct frame frame;
            answers = 0;
            for (struct slice rest = slice_of(got, size);
                 rest.size > 0 && frame_split(rest, 100000, &frame, NULL) == STATUS_OK;
                 rest = slice_from(rest, frame.frame_bytes))
                answers++;
        }
        buf_release(&frames);
        puppet_close(&puppet);
    }
    wait_until(f.closed == 6);
    fixture_stop(&f);
}

/* Requests and the end come at once: the requests are answered, or at least handled. */
static void the_end_comes_behind_what_was_sent(void **state)
{
    (void)state;
    struct fixture f;
    start_server(&f, 1);
    struct puppet puppet;
    puppet_open(&puppet, f.port, 0);
    puppet_shake(&puppet, 100);
    struct buf frames = BUF_EMPTY;
    append_request(&frames, CODEC_JSON, TEST_ECHO, 1, COMMAND_FLAG_ONEWAY, "one");
    assert_true(SSL_write(puppet.ssl, frames.data, (int)frames.size) > 0);
    (void)SSL_shutdown(puppet.ssl);
    (void)puppet_send(&puppet, 100000);
    /* Our end of stream does not come; the server closes by the note alone. */
    while (puppet_receive(&puppet))
        continue;
    assert_int_equal(server_stats(f.server).requests, 1);
    buf_release(&frames);
    puppet_close(&puppet);
    wait_until(f.closed == 1);
    fixture_stop(&f);
}

/* --- handshakes that go wrong --- */

static void garbage_closes_the_connection(void **state)
{
    (void)state;
    struct fixture f;
    start_server(&f, 1);
    static const char *const beginnings[] = {"\x16", "\x16\x03\x01", "\x16garbage",
                                             "\x16\x03\x03\xff\xff"};
    int64_t wrong = 0;
    for (int i = 0; i < 4; i++) {
        struct wire wire;
        char noise[40000];
        wire_open(&wire, f.port);
        memset(noise, 0x5a, sizeof noise);
        memcpy(noise, beginnings[i], strlen(beginnings[i]));
        wire_send(&wire, noise, sizeof noise);
        char byte;
        ssize_t n;
        while ((n = recv(wire.fd, &byte, 1, 0)) > 0)
            continue; /* an alert */
        wire_close(&wire);
        wait_until(server_stats(f.server).closed_tls == ++wrong);
    }
    /* A proper greeting, then something else. */
    struct puppet puppet;
    puppet_open(&puppet, f.port, 0);
    (void)SSL_do_handshake(puppet.ssl);
    (void)puppet_send(&puppet, 100000);
    assert_true(puppet_receive(&puppet));
    wire_send(&puppet.wire, "now for something completely different", 38);
    while (puppet_receive(&puppet))
        continue;
    puppet_close(&puppet);
    wait_until(server_stats(f.server).closed_tls == ++wrong);
    /* Behind the handshake. */
    puppet_open(&puppet, f.port, 0);
    puppet_shake(&puppet, 100000);
    wire_send(&puppet.wire, "\x17\x03\x03\x00\x20 this was not encrypted by anybody", 38);
    while (puppet_receive(&puppet))
        continue;
    puppet_close(&puppet);
    wait_until(server_stats(f.server).closed_tls == ++wrong);
    struct wire wire;
    struct answer answer;
    wire_open_tls(&wire, f.port, 0);
    wire_ask(&wire, CODEC_JSON, TEST_ECHO, 1, "", &answer);
    wire_close(&wire);
    fixture_stop(&f);
    ERR_clear_error();
}

static void half_handshakes_give_way(void **state)
{
    (void)state;
    struct fixture f;
    start_server(&f, 1);
    struct wire early;
    struct answer answer;
    wire_open_tls(&early, f.port, 0);
    static struct puppet half[TLS_HANDSHAKES_MAX + 50];
    const int count = TLS_HANDSHAKES_MAX + 50;
    for (int i = 0; i < count; i++) {
        puppet_open(&half[i], f.port, 0);
        (void)SSL_do_handshake(half[i].ssl);
        (void)puppet_send(&half[i], 100000);
    }
    wait_until(server_stats(f.server).closed_tls == 50);
    wire_ask(&early, CODEC_JSON, TEST_ECHO, 1, "", &answer);
    struct wire late;
    wire_open_tls(&late, f.port, 0);
    wire_ask(&late, CODEC_JSON, TEST_ECHO, 1, "", &answer);
    wire_close(&late);
    wire_close(&early);
    for (int i = 0; i < count; i++)
        puppet_close(&half[i]);
    wait_until(server_stats(f.server).connections == 0);
    fixture_stop(&f);
}

static void slow_handshakes_are_ended(void **state)
{
    (void)state;
    struct fixture f;
    start_server(&f, 1);
    struct wire silent;
    struct puppet half;
    wire_open(&silent, f.port);
    wire_send(&silent, "\x16", 1);
    puppet_open(&half, f.port, 0);
    (void)SSL_do_handshake(half.ssl);
    (void)puppet_send(&half, 100000);
    int64_t began_ms = test_now_ms();
    assert_true(wire_is_closed_by_peer(&silent));
    while (puppet_receive(&half))
        continue;
    assert_true(test_now_ms() - began_ms >= TLS_HANDSHAKE_MS / 2);
    assert_int_equal(server_stats(f.server).closed_tls, 2);
    wire_close(&silent);
    puppet_close(&half);
    fixture_stop(&f);
}

/* --- clients --- */

struct errand {
    struct loop_task task;
    void (*run)(struct errand *errand);
    struct loop *loop;
    struct net_options options;
    struct client *client;
    char address[64];
    int32_t code;
    struct slice body;
    int calls;
    _Atomic int done;
    _Atomic int good;
    _Atomic int closed;
};

static void run_errand(struct loop_task *task)
{
    struct errand *errand = (struct errand *)(void *)task;
    errand->run(errand);
    errand->done++;
}

static void on_loop(struct errand *errand, void (*run)(struct errand *errand))
{
    int before = errand->done;
    errand->task.run = run_errand;
    errand->run = run;
    loop_post(errand->loop, &errand->task);
    wait_until(errand->done > before);
}

static void make_client(struct errand *errand)
{
    errand->client = client_new(errand->loop, &errand->options);
}

static void free_client(struct errand *errand)
{
    client_free(errand->client);
}

static void count_answer(void *ctx, enum status status, const struct command *response,
                         struct slice body, struct arena *arena)
{
    struct errand *errand = ctx;
    (void)arena;
    if (status == STATUS_OK && response->code == 0 && body.size == errand->body.size)
        errand->good++;
    else if (status == STATUS_CLOSED)
        errand->closed++;
}

static void make_calls(struct errand *errand)
{
    struct request request = {
        .code = errand->code, .body = errand->body, .codec = CODEC_JSON, .timeout_ms = WAIT_MS};
    for (int i = 0; i < errand->calls; i++)
        client_call(errand->client, errand->address, &request, count_answer, errand);
}

static void open_errand(struct errand *errand, int port, struct tls *client_tls)
{
    *errand = (struct errand){.options = net_options_default(), .code = TEST_ECHO, .calls = 1};
    errand->options.tls = client_tls;
    errand->body = SLICE_LITERAL("body");
    (void)snprintf(errand->address, sizeof errand->address, "127.0.0.1:%d", port);
    assert_int_equal(loop_new("client", 0, clock_real(), &errand->loop, NULL), STATUS_OK);
    assert_int_equal(loop_start(errand->loop, NULL), STATUS_OK);
    on_loop(errand, make_client);
}

static void close_errand(struct errand *errand)
{
    on_loop(errand, free_client);
    loop_stop(errand->loop);
    loop_free(errand->loop);
}

static void clients_call_over_tls(void **state)
{
    (void)state;
    struct fixture f;
    struct net_options options = tls_options(TLS_MODE_ENFORCING);
    struct errand errand;
    fixture_start(&f, 1, &options);
    open_errand(&errand, f.port, tls);
    errand.calls = 100;
    on_loop(&errand, make_calls);
    wait_until(errand.good == 100);
    /* More than may be queued for a peer that does not read: it is not, the handshake is under
     * way. */
    close_errand(&errand);
    open_errand(&errand, f.port, tls);
    static uint8_t large[8 * 1024 * 1024];
    errand.body = slice_of(large, sizeof large);
    on_loop(&errand, make_calls);
    wait_until(errand.good == 1);
    close_errand(&errand);
    /* A plain client gets nothing here. */
    open_errand(&errand, f.port, NULL);
    on_loop(&errand, make_calls);
    wait_until(errand.closed == 1);
    close_errand(&errand);
    fixture_stop(&f);
}

static void a_server_without_tls_fails_calls(void **state)
{
    (void)state;
    struct fixture f;
    struct errand errand;
    fixture_start(&f, 1, NULL);
    open_errand(&errand, f.port, tls);
    on_loop(&errand, make_calls);
    wait_until(errand.closed == 1);
    close_errand(&errand);
    fixture_stop(&f);
}

static void clients_check_certificates(void **state)
{
    (void)state;
    static const char *const trusted[] = {"ca.cert", "server.cert", "other.cert"};
    certificate_make(folder, "other", NULL, KEY_P256, NULL);
    struct tls_settings with_files = {
        .sides = {{in_folder("server.key"), "", in_folder("server.cert"), "", false}}};
    struct tls *server;
    assert_int_equal(tls_new(&with_files, TLS_SIDE_SERVER, &server, NULL), STATUS_OK);
    struct fixture f;
    struct net_options options = tls_options(TLS_MODE_ENFORCING);
    options.tls = server;
    fixture_start(&f, 1, &options);
    for (int i = 0; i < 3; i++) {
        struct tls_settings checking = {
            .sides = {[TLS_CLIENT] = {"", "", "", in_folder(trusted[i]), true}}};
        struct tls *checker;
        struct errand errand;
        assert_int_equal(tls_new(&checking, TLS_SIDE_CLIENT, &checker, NULL), STATUS_OK);
        open_errand(&errand, f.port, checker);
        on_loop(&errand, make_calls);
        wait_until(i < 2 ? errand.good == 1 : errand.closed == 1);
        close_errand(&errand);
        tls_free(checker);
    }
    fixture_stop(&f);
    tls_free(server);
}

/* --- stopping --- */

static void draining_answers_first(void **state)
{
    (void)state;
    struct fixture f;
    start_server(&f, 1);
    struct wire busy;
    struct wire idle;
    struct puppet half;
    struct answer answer;
    wire_open_tls(&busy, f.port, 0);
    wire_open_tls(&idle, f.port, 0);
    wire_ask(&idle, CODEC_JSON, TEST_ECHO, 1, "", &answer);
    puppet_open(&half, f.port, 0);
    (void)SSL_do_handshake(half.ssl);
    (void)puppet_send(&half, 100000);
    assert_true(puppet_receive(&half));
    wire_request(&busy, CODEC_JSON, TEST_SLOW, 7, "");
    wait_until(f.requests >= 1 || server_stats(f.server).calls_under_way == 1);
    wait_until(server_stats(f.server).requests >= 2);
    server_drain(f.server, WAIT_MS);
    assert_true(wire_receive(&busy, &answer));
    assert_int_equal(answer.command.opaque, 7);
    assert_true(wire_is_closed_by_peer(&busy));
    assert_true(wire_is_closed_by_peer(&idle));
    wire_close(&busy);
    wire_close(&idle);
    puppet_close(&half);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_versions_and_codecs_are_served),
        cmocka_unit_test(modes_decide_by_the_first_byte),
        cmocka_unit_test(many_requests_at_once),
        cmocka_unit_test(large_answers_arrive_whole),
        cmocka_unit_test(a_file_that_was_cut_ends_the_connection),
        cmocka_unit_test(what_a_peer_does_not_read_is_bounded),
        cmocka_unit_test(files_are_read_from_the_disk),
        cmocka_unit_test(records_come_in_pieces),
        cmocka_unit_test(the_end_comes_behind_what_was_sent),
        cmocka_unit_test(garbage_closes_the_connection),
        cmocka_unit_test(half_handshakes_give_way),
        cmocka_unit_test(slow_handshakes_are_ended),
        cmocka_unit_test(clients_call_over_tls),
        cmocka_unit_test(a_server_without_tls_fails_calls),
        cmocka_unit_test(clients_check_certificates),
        cmocka_unit_test(draining_answers_first),
    };
    return cmocka_run_group_tests_name("tls_conn", tests, setup, teardown);
}
