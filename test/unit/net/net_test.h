/* SPDX-License-Identifier: Apache-2.0
 *
 * What the tests of the network share: a peer that speaks frames over a blocking socket, and a
 * server on loops of its own whose service does what the request code says.
 */
#ifndef TEST_UNIT_NET_NET_TEST_H
#define TEST_UNIT_NET_NET_TEST_H

#include "common/base/buf.h"
#include "common/base/check.h"
#include "common/net/net.h"
#include "common/sys/log.h"
#include "proto/codes.h"
#include "proto/ext_bind.h"
#include "proto/header.pb-c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <openssl/ssl.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

/* For what must happen and takes a moment only: a busy machine may stall for seconds. */
#define WAIT_MS 60000

static inline int64_t test_now_ms(void)
{
    return clock_monotonic_ms(clock_real());
}

/* To pace a peer or to measure; never to wait for something, which is wait_until's. */
static inline void let_pass_ms(int ms)
{
    struct pollfd nothing = {.fd = -1};
    (void)poll(&nothing, 1, ms);
}

/* Wait until `condition`, failing the test after WAIT_MS. */
#define wait_until(condition)                               \
    do {                                                    \
        int64_t give_up_ms = test_now_ms() + WAIT_MS;       \
        while (!(condition)) {                              \
            if (test_now_ms() > give_up_ms)                 \
                fail_msg("never happened: %s", #condition); \
            let_pass_ms(1);                                 \
        }                                                   \
    } while (0)

/* --- a peer on a blocking socket --- */

struct wire {
    int fd;
    SSL *ssl; /* NULL: plain */
    struct buf in;
    size_t used; /* of `in`, by the answer returned last */
    struct arena arena;
};

struct answer {
    struct command command;
    struct slice header; /* raw */
    struct slice body;
};

static inline int wire_connect(int port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd != -1);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    struct timeval patience = {WAIT_MS / 1000, 0};
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    return fd;
}

static inline void wire_init(struct wire *wire, int fd)
{
    *wire = (struct wire){.fd = fd};
    arena_init(&wire->arena, 4096);
}

static inline void wire_open(struct wire *wire, int port)
{
    wire_init(wire, wire_connect(port));
}

static inline void wire_close(struct wire *wire)
{
    SSL_free(wire->ssl);
    (void)close(wire->fd);
    buf_release(&wire->in);
    arena_release(&wire->arena);
}

static inline void wire_send(struct wire *wire, const void *data, size_t size)
{
    while (size > 0) {
        ssize_t n = wire->ssl != NULL ? SSL_write(wire->ssl, data, (int)size)
                                      : send(wire->fd, data, size, MSG_NOSIGNAL);
        assert_true(n > 0);
        data = (const uint8_t *)data + n;
        size -= (size_t)n;
    }
}

/* The next frame; false at the end of the stream (or a reset). Valid until the next call. */
static inline bool wire_receive(struct wire *wire, struct answer *answer)
{
    if (wire->used > 0)
        memmove(wire->in.data, wire->in.data + wire->used, wire->in.size - wire->used);
    wire->in.size -= wire->used;
    wire->used = 0;
    for (;;) {
        struct frame frame;
        enum status status = STATUS_TRUNCATED;
        if (wire->in.size > 0)
            status = frame_split(buf_slice(&wire->in), (size_t)1 << 30, &frame, NULL);
        if (status == STATUS_OK) {
            arena_reset(&wire->arena);
            assert_int_equal(
                command_decode(frame.codec, frame.header, &wire->arena, &answer->command),
                STATUS_OK);
            answer->header = frame.header;
            answer->body = frame.body;
            wire->used = frame.frame_bytes;
            return true;
        }
        assert_int_equal(status, STATUS_TRUNCATED);
        uint8_t *room = buf_reserve(&wire->in, 65536);
        errno = 0;
        ssize_t n =
            wire->ssl != NULL ? SSL_read(wire->ssl, room, 65536) : recv(wire->fd, room, 65536, 0);
        if (n == -1 && (errno == EAGAIN || (wire->ssl == NULL && errno != ECONNRESET)))
            fail_msg("no answer came: errno %d", errno);
        if (n <= 0)
            return false;
        wire->in.size += (size_t)n;
    }
}

/* True when the other side closes now, sending nothing more. */
static inline bool wire_is_closed_by_peer(struct wire *wire)
{
    struct answer answer;
    return !wire_receive(wire, &answer);
}

static inline void append_request(struct buf *out, enum codec codec, int32_t code, int32_t opaque,
                                  int32_t flag, const char *body)
{
    struct ext_field field = {SLICE_LITERAL("name"), SLICE_LITERAL("value")};
    struct command command = {
        .code = code,
        .version = COMMAND_VERSION_4_9_2,
        .opaque = opaque,
        .flag = flag,
        .ext = {.fields = &field, .count = 1, .present = true},
    };
    assert_int_equal(command_encode(codec, &command, strlen(body), out), STATUS_OK);
    buf_append_cstr(out, body);
}

static inline void wire_request(struct wire *wire, enum codec codec, int32_t code, int32_t opaque,
                                const char *body)
{
    struct buf frame = BUF_EMPTY;
    append_request(&frame, codec, code, opaque, 0, body);
    wire_send(wire, frame.data, frame.size);
    buf_release(&frame);
}

/* Sending from a thread of its own, while the test receives. */
struct sender {
    struct wire *wire;
    struct buf *frames;
};

static inline void *send_all(void *arg)
{
    struct sender *sender = arg;
    wire_send(sender->wire, sender->frames->data, sender->frames->size);
    return NULL;
}

/* Send a request and expect its answer. */
static inline void wire_ask(struct wire *wire, enum codec codec, int32_t code, int32_t opaque,
                            const char *body, struct answer *answer)
{
    wire_request(wire, codec, code, opaque, body);
    assert_true(wire_receive(wire, answer));
    assert_int_equal(answer->command.opaque, opaque);
    assert_true(command_is_response(&answer->command));
}

/* --- a server --- */

/* What the service does with a request of that code. */
enum test_code {
    TEST_ECHO = 1,     /* the body comes back, copied */
    TEST_HOLD,         /* not answered until TEST_RELEASE */
    TEST_RELEASE,      /* answers itself, then all that is held, youngest first */
    TEST_PARTS,        /* "<count> <bytes>": a body of parts of that size, by reference */
    TEST_DECLINE,      /* no answer */
    TEST_THREAD,       /* echo from another thread, by a detached call */
    TEST_THREAD_PARTS, /* parts from another thread */
    TEST_FILE_PARTS,   /* every second part is in a file, too */
    TEST_CUT_FILE,     /* one part, of a file that has become shorter */
    TEST_CLOSE,        /* net_close */
    TEST_TWICE,        /* answered twice */
    TEST_EMPTY_HEADER, /* an answer with a header without fields */
    TEST_HEADER,       /* an answer with header fields and ext fields, and a remark */
    TEST_ERROR,        /* net_reply_error */
    TEST_TOO_LONG,     /* an answer that does not fit the codec, with a part */
    TEST_CALL_BACK,    /* calls the peer; answers with the name of the call's status and its body */
    TEST_SLOW,         /* answered from a thread 50 ms later */
    TEST_PEER,         /* the peer's address and the port tag */
    TEST_BODY,         /* "<bytes>": a body of that size, copied */
    TEST_DETACH,       /* detached and not answered until TEST_FREE */
    TEST_FREE,         /* answers itself, then all detached calls, and frees them */
};

#define HELD_MAX 256
#define LOOPS_MAX 2

struct fixture {
    struct loop *loops[LOOPS_MAX];
    int loop_count;
    struct server *server;
    int port;
    struct reply_to held[HELD_MAX]; /* on the only loop of tests that hold */
    _Atomic int held_count;
    struct call *detached[HELD_MAX];
    _Atomic int detached_count;
    int64_t call_back_timeout_ms;
    _Atomic int requests;
    _Atomic int closed;
    _Atomic int threads; /* that hold a detached call */
    _Atomic int parts_made;
    _Atomic int parts_released;
    _Atomic int parts_released_elsewhere; /* not on a loop of the fixture */
    struct conn_ref last_conn;            /* of the request handled last */
};

static struct fixture *fixture; /* of the running test */

static inline bool on_a_loop(void)
{
    for (int i = 0; i < fixture->loop_count; i++)
        if (loop_is_current(fixture->loops[i]))
            return true;
    return false;
}

static inline void release_part(void *owner)
{
    fixture->parts_released++;
    if (!on_a_loop())
        fixture->parts_released_elsewhere++;
    free(owner);
}

/* A file with something else in front, and memory that holds something else: what arrives tells
 * where it came from. */
struct file_part {
    int fd;
    char memory[];
};

static inline void release_file_part(void *owner)
{
    (void)close(((struct file_part *)owner)->fd);
    release_part(owner);
}

static inline struct body_part file_part(char letter, size_t bytes, bool cut)
{
    struct file_part *owner = malloc(sizeof *owner + bytes);
    owner->fd = memfd_create("part", 0);
    memset(owner->memory, letter, bytes);
    CHECK(pwrite(owner->fd, owner->memory, bytes, 1000) == (ssize_t)bytes);
    memset(owner->memory, '?', bytes);
    CHECK(!cut || ftruncate(owner->fd, 1000) == 0);
    return (struct body_part){.data = owner->memory,
                              .size = bytes,
                              .release = release_file_part,
                              .owner = owner,
                              .in_file = true,
                              .fd = owner->fd,
                              .file_offset = 1000};
}

static inline struct body_part memory_part(char letter, size_t bytes)
{
    char *data = malloc(bytes);
    memset(data, letter, bytes);
    return (struct body_part){.data = data, .size = bytes, .release = release_part, .owner = data};
}

/* Every `file_every`th part is one of a file; 0: none. */
static inline void reply_parts(struct reply_to to, int count, size_t bytes, int file_every)
{
    struct body_part *parts = calloc((size_t)count, sizeof *parts);
    for (int i = 0; i < count; i++) {
        char letter = (char)('a' + i % 26);
        bool file = file_every > 0 && i % file_every == file_every - 1;
        parts[i] = file ? file_part(letter, bytes, false) : memory_part(letter, bytes);
        fixture->parts_made++;
    }
    net_reply(to, &(struct response){
                      .body = SLICE_LITERAL("head:"), .parts = parts, .part_count = (size_t)count});
    free(parts);
}

static inline void reply_cut_file(struct reply_to to)
{
    struct body_part part = file_part('x', 20000, true);
    fixture->parts_made++;
    net_reply(to, &(struct response){.parts = &part, .part_count = 1});
}

static inline void reply_echo(struct reply_to to, struct slice body)
{
    net_reply(to, &(struct response){.body = body});
}

static inline void parse_parts(const struct call *call, int *count, size_t *bytes)
{
    char text[64] = "";
    assert_true(call->body.size < sizeof text);
    memcpy(text, call->body.data, call->body.size);
    CHECK(sscanf(text, "%d %zu", count, bytes) == 2);
}

static inline void *answer_from_thread(void *arg)
{
    struct call *call = arg;
    int count;
    size_t bytes;
    switch (call->request->code) {
    case TEST_THREAD_PARTS:
        parse_parts(call, &count, &bytes);
        reply_parts(call_reply_to(call), count, bytes, 0);
        break;
    case TEST_SLOW:
        let_pass_ms(50);
        reply_echo(call_reply_to(call), call->body);
        break;
    case TEST_TOO_LONG: {
        char *name = malloc(70000);
        memset(name, 'n', 70000);
        struct ext_field field = {slice_of(name, 70000), SLICE_LITERAL("value")};
        struct body_part part = memory_part('x', 1);
        fixture->parts_made++;
        net_reply(call_reply_to(call),
                  &(struct response){.ext = {.fields = &field, .count = 1, .present = true},
                                     .parts = &part,
                                     .part_count = 1});
        free(name);
        break;
    }
    default:
        reply_echo(call_reply_to(call), call->body);
    }
    call_free(call);
    fixture->threads--;
    return NULL;
}

static inline void hand_to_thread(struct call *call)
{
    struct call *copy = call_detach(call);
    if (copy == NULL) {
        net_reply_error(call_reply_to(call), RESPONSE_SYSTEM_BUSY, "no memory for %s", "this");
        return;
    }
    pthread_t thread;
    fixture->threads++;
    CHECK(pthread_create(&thread, NULL, answer_from_thread, copy) == 0);
    CHECK(pthread_detach(thread) == 0);
}

static inline void release_held(struct call *call)
{
    reply_echo(call_reply_to(call), call->body);
    while (fixture->held_count > 0) {
        struct reply_to to = fixture->held[--fixture->held_count];
        net_reply(to, &(struct response){.code = 0});
    }
}

static inline void free_detached_calls(struct call *call)
{
    reply_echo(call_reply_to(call), call->body);
    for (int i = 0; i < fixture->detached_count; i++) {
        reply_echo(call_reply_to(fixture->detached[i]), fixture->detached[i]->body);
        call_free(fixture->detached[i]);
    }
    fixture->detached_count = 0;
}

static inline void reply_body(struct reply_to to, const struct call *call)
{
    char text[32] = "";
    assert_true(call->body.size < sizeof text);
    memcpy(text, call->body.data, call->body.size);
    size_t size = strtoul(text, NULL, 10);
    char *body = malloc(size);
    memset(body, 'b', size);
    reply_echo(to, slice_of(body, size));
    free(body);
}

static inline void called_back(void *ctx, enum status status, const struct command *response,
                               struct slice body, struct arena *arena)
{
    (void)arena;
    struct reply_to *to = ctx;
    char text[256];
    CHECK((response != NULL) == (status == STATUS_OK));
    int size = snprintf(text, sizeof text, "%s %.*s", status_name(status), SLICE_ARGS(body));
    reply_echo(*to, slice_of(text, (size_t)size));
    free(to);
}

static inline void call_back(struct call *call)
{
    struct reply_to *to = malloc(sizeof *to);
    *to = call_reply_to(call);
    struct request request = {.code = 1000,
                              .body = SLICE_LITERAL("from the server"),
                              .codec = call->codec,
                              .timeout_ms = fixture->call_back_timeout_ms};
    net_call(call->conn, &request, called_back, to);
}

static inline void reply_empty_header(struct reply_to to)
{
    GetConsumerListByGroupResponseHeader header = GET_CONSUMER_LIST_BY_GROUP_RESPONSE_HEADER__INIT;
    net_reply(to, &(struct response){.header = &header.base});
}

static inline void reply_header(struct reply_to to)
{
    GetMaxOffsetResponseHeader header = GET_MAX_OFFSET_RESPONSE_HEADER__INIT;
    header.offset = 42;
    struct ext_field field = {SLICE_LITERAL("MSG_REGION"), SLICE_LITERAL("DefaultRegion")};
    net_reply(to, &(struct response){
                      .code = 13,
                      .remark = "a remark",
                      .header = &header.base,
                      .ext = {.fields = &field, .count = 1, .present = true},
                  });
}

static inline void reply_peer(struct reply_to to, const struct call *call)
{
    char peer[HOST_TEXT_BYTES];
    char text[128];
    host_format(&call->peer, peer);
    int size = snprintf(text, sizeof text, "%s %u %d", peer, call->peer.ip_bytes, call->port_tag);
    reply_echo(to, slice_of(text, (size_t)size));
}

static inline void keep_held(struct reply_to to)
{
    CHECK(fixture->held_count < HELD_MAX);
    fixture->held[fixture->held_count++] = to;
}

static inline void keep_detached(struct call *call)
{
    CHECK(fixture->detached_count < HELD_MAX);
    fixture->detached[fixture->detached_count] = call_detach(call);
    CHECK(fixture->detached[fixture->detached_count++] != NULL);
}

static inline void do_as_it_says(struct call *call)
{
    struct reply_to to = call_reply_to(call);
    int count;
    size_t bytes;
    if (fixture->loop_count == 1)
        fixture->last_conn = call->conn;
    fixture->requests++; /* last: whoever sees it may read last_conn */
    switch (call->request->code) {
    case TEST_HOLD:
        keep_held(to);
        break;
    case TEST_RELEASE:
        release_held(call);
        break;
    case TEST_PARTS:
    case TEST_FILE_PARTS:
        parse_parts(call, &count, &bytes);
        reply_parts(to, count, bytes, call->request->code == TEST_FILE_PARTS ? 2 : 0);
        break;
    case TEST_CUT_FILE:
        reply_cut_file(to);
        break;
    case TEST_DECLINE:
        net_decline(to);
        break;
    case TEST_THREAD:
    case TEST_THREAD_PARTS:
    case TEST_SLOW:
    case TEST_TOO_LONG:
        hand_to_thread(call);
        break;
    case TEST_CLOSE:
        net_close(call->conn, "the test wants it");
        /* What the call borrows stays valid until the handler returns. */
        reply_echo(to, call->body);
        break;
    case TEST_TWICE:
        reply_echo(to, call->body);
        reply_echo(to, call->body);
        break;
    case TEST_CALL_BACK:
        call_back(call);
        break;
    case TEST_ERROR:
        net_reply_error(to, RESPONSE_TOPIC_NOT_EXIST, "topic[%s] number %d", "T", 7);
        break;
    case TEST_EMPTY_HEADER:
        reply_empty_header(to);
        break;
    case TEST_HEADER:
        reply_header(to);
        break;
    case TEST_PEER:
        reply_peer(to, call);
        break;
    case TEST_BODY:
        reply_body(to, call);
        break;
    case TEST_DETACH:
        keep_detached(call);
        break;
    case TEST_FREE:
        free_detached_calls(call);
        break;
    default:
        reply_echo(to, call->body);
    }
}

static inline void test_on_request(void *ctx, struct call *call)
{
    (void)ctx;
    if (call->draining)
        net_reply_error(call_reply_to(call), RESPONSE_SERVICE_NOT_AVAILABLE, "shutting down");
    else
        do_as_it_says(call);
}

static inline void test_on_close(void *ctx, struct conn_ref conn, const struct host *peer)
{
    (void)ctx;
    (void)conn;
    CHECK(peer->port > 0);
    fixture->closed++;
}

static inline struct service test_service(void)
{
    return (struct service){NULL, test_on_request, test_on_close};
}

static inline void fixture_start_with(struct fixture *f, int loop_count,
                                      const struct net_options *options, struct service service)
{
    *f = (struct fixture){.loop_count = loop_count, .call_back_timeout_ms = 5000};
    fixture = f;
    for (int i = 0; i < loop_count; i++)
        assert_int_equal(loop_new("net", i, clock_real(), &f->loops[i], NULL), STATUS_OK);
    f->server = server_new(f->loops, loop_count, service, options);
    struct err err;
    assert_int_equal(server_listen(f->server, NULL, 0, 7, &f->port, &err), STATUS_OK);
    for (int i = 0; i < loop_count; i++)
        assert_int_equal(loop_start(f->loops[i], NULL), STATUS_OK);
}

static inline void fixture_start(struct fixture *f, int loop_count,
                                 const struct net_options *options)
{
    struct net_options usual = net_options_default();
    fixture_start_with(f, loop_count, options == NULL ? &usual : options, test_service());
}

static inline void fixture_stop(struct fixture *f)
{
    for (int i = 0; i < f->loop_count; i++)
        loop_stop(f->loops[i]);
    wait_until(f->threads == 0);
    server_free(f->server);
    for (int i = 0; i < f->loop_count; i++)
        loop_free(f->loops[i]);
    assert_int_equal(f->parts_released, f->parts_made);
}

#endif
