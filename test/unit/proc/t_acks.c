/* SPDX-License-Identifier: Apache-2.0
 *
 * The answers to sends, over a real connection: none leaves before what it promises is true, on the
 * disk, on a slave, on both; which fault is told; and that nobody waits for what he does not ask
 * for. The slaves are entered by hand, the disk is synced by hand.
 * Source: RMQ 4.9.2 CommitLog.submitFlushRequest and submitReplicaRequest (which status hides
 * which), SendMessageProcessor.handlePutMessageResult; SD-16, ST10-08.
 */
#include "test/unit/net/net_test.h"

#include "broker/proc/acks.h"
#include "broker/proc/appender.h"
#include "broker/repl/replicas.h"
#include "broker/store/store_internal.h"
#include "test/unit/support/store_kit.h"

#define TOPIC "T"
#define LONG_MS 600000
#define SHORT_MS 100
#define PATIENT_MS 4000
#define BEHIND_MAX 100000

/* What the service does with a request: bodies are of any size. */
enum acks_code {
    ACKS_SEND = 1,
    ACKS_SEND_NOWAIT,
    ACKS_SEND_BATCH, /* three messages */
    ACKS_BARE,
    ACKS_TOLD,   /* answered by the callback */
    ACKS_STORED, /* as a worker answers; what is promised is the end of the log */
    ACKS_ECHO,
};

struct world {
    struct fixture net;
    struct kit kit;
    struct broker broker;
    struct broker_loop bl;
    int slot; /* the slave that was entered last */
};

static struct world *world;

static void told(void *ctx, const struct stored_place *place)
{
    struct reply_to *to = ctx;
    net_reply(*to, &(struct response){.code = place == NULL ? 1 : 0});
    free(to);
}

static void add_record(const struct call *call, bool glued)
{
    struct queue *queue = store_queue(world->kit.store, SLICE_LITERAL(TOPIC), 0, true);
    struct record record = kit_record(SLICE_LITERAL(TOPIC), 0, call->body, SLICE_LITERAL(""));
    assert_int_equal(append_batch_add(world->bl.batch, queue, &record, glued, NULL), STATUS_OK);
}

static void on_request(void *ctx, struct call *call)
{
    (void)ctx;
    struct acks *acks = world->bl.acks;
    struct reply_to to = call_reply_to(call);
    int32_t code = call->request->code;
    if (code == ACKS_ECHO) {
        reply_echo(to, call->body);
        return;
    }
    if (code == ACKS_STORED) {
        acks_answer_stored(&world->broker, to, 0, store_appended_pos(world->kit.store));
        return;
    }
    add_record(call, false);
    if (code == ACKS_BARE) {
        acks_add_bare(acks, to, 1);
    } else if (code == ACKS_TOLD) {
        struct reply_to *copy = xmalloc(sizeof *copy);
        *copy = to;
        acks_add_told(acks, SLICE_LITERAL(TOPIC), true, told, copy);
    } else if (code == ACKS_SEND_BATCH) {
        add_record(call, true);
        add_record(call, true);
        acks_add(acks, to, SLICE_LITERAL(TOPIC), 0, 3, true);
    } else {
        acks_add(acks, to, SLICE_LITERAL(TOPIC), 0, 1, code == ACKS_SEND);
    }
    acks_commit_large(acks);
}

static void make_broker(struct world *w)
{
    struct broker *broker = &w->broker;
    struct err err;
    struct broker_conf *conf = &broker->conf;
    conf->brokerRole = BROKER_ROLE_SYNC_MASTER;
    conf->flushDiskType = FLUSH_DISK_ASYNC;
    conf->syncFlushTimeout = LONG_MS;
    conf->haSlaveFallbehindMax = BEHIND_MAX;
    conf->sendThreadPoolQueueCapacity = 1000000;
    conf->osPageCacheBusyTimeOutMills = LONG_MS;
    conf->waitTimeMillsInSendQueue = LONG_MS;
    conf->regionId = "R";
    broker->store = w->kit.store;
    broker->clock = clock_real();
    broker->stats = stats_new(0);
    broker->topic_stats = topic_stats_new("C", 0);
    broker->replicas = replicas_new(broker->clock, acks_on_watermark, broker);
    broker->loop_count = 1;
    broker->loops = w->net.loops;
    broker->per_loop = &w->bl;
    assert_true(host_parse("127.0.0.1", 10911, &broker->store_host));
    assert_int_equal(appender_new(broker, &broker->appender, &err), STATUS_OK);
}

static int setup(void **state)
{
    struct world *w = world = xcalloc(1, sizeof *w);
    struct net_options options = net_options_default();
    struct err err;
    log_set_level(LOG_ERROR);
    kit_init(&w->kit, "acks");
    w->kit.options.segment_bytes = 4 << 20;
    kit_open(&w->kit); /* not started: nothing is synced but by the test */
    w->net.loop_count = 1;
    assert_int_equal(loop_new("io-0", 0, clock_real(), &w->net.loops[0], &err), STATUS_OK);
    make_broker(w);
    w->bl.broker = &w->broker;
    w->bl.loop = w->net.loops[0];
    w->bl.acks = acks_new(&w->bl);
    w->bl.meters = topic_stats_view_new(w->broker.topic_stats);
    w->net.server = server_new(w->net.loops, 1, (struct service){NULL, on_request, NULL}, &options);
    assert_int_equal(server_listen(w->net.server, NULL, 0, 0, &w->net.port, &err), STATUS_OK);
    assert_int_equal(loop_start(w->net.loops[0], &err), STATUS_OK);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    loop_stop(w->net.loops[0]);
    appender_stop(w->broker.appender);
    loop_settle(w->net.loops[0]);
    appender_free(w->broker.appender);
    acks_free(w->bl.acks);
    topic_stats_view_free(w->bl.meters);
    server_free(w->net.server);
    loop_free(w->net.loops[0]);
    replicas_free(w->broker.replicas);
    topic_stats_free(w->broker.topic_stats);
    stats_free(w->broker.stats);
    kit_release(&w->kit);
    free(w);
    return 0;
}

/* --- what the world does --- */

static void slave_joins(struct world *w)
{
    struct replica_identity identity = {.broker_id = 1};
    w->slot = replicas_join(w->broker.replicas, &identity, 0);
    assert_true(w->slot >= 0);
}

static void slave_has(const struct world *w, int64_t pos)
{
    replicas_sent(w->broker.replicas, w->slot, pos);
    assert_true(replicas_acked(w->broker.replicas, w->slot, pos, store_appended_pos(w->kit.store)));
}

static void slave_has_all(const struct world *w)
{
    slave_has(w, store_appended_pos(w->kit.store));
}

static void disk_has_all(struct world *w)
{
    assert_int_equal(commitlog_flush(&w->kit.store->log), STATUS_OK);
    acks_on_watermark(&w->broker);
}

/* --- what the client does --- */

static int32_t next_opaque;

/* Send, and wait until it is in the log. returns  its opaque */
static int32_t put(const struct world *w, struct wire *wire, int32_t code)
{
    int64_t before = store_appended_pos(w->kit.store);
    wire_request(wire, CODEC_JSON, code, ++next_opaque, "body");
    if (code != ACKS_STORED)
        wait_until(store_appended_pos(w->kit.store) > before);
    return next_opaque;
}

/* Answers leave in their order, so what is not there before the echo was not due. The second echo
 * is for what was answered in the turn of the first. */
static void expect_silence(struct wire *wire)
{
    struct answer answer;
    wire_ask(wire, CODEC_JSON, ACKS_ECHO, ++next_opaque, "", &answer);
    wire_ask(wire, CODEC_JSON, ACKS_ECHO, ++next_opaque, "", &answer);
}

static void expect(struct wire *wire, int32_t opaque, int32_t code)
{
    struct answer answer;
    assert_true(wire_receive(wire, &answer));
    assert_int_equal(answer.command.opaque, opaque);
    assert_int_equal(answer.command.code, code);
}

/* Send and take the answer, whatever it waits for meanwhile. */
static void expect_code(const struct world *w, struct wire *wire, int32_t request, int32_t code)
{
    int32_t opaque = put(w, wire, request);
    expect(wire, opaque, code);
}

/* --- tests --- */

static void without_a_slave_sends_are_stored_and_told_so(void **state)
{
    struct world *w = *state;
    struct wire wire;
    struct answer answer;
    struct slice value;
    wire_open(&wire, w->net.port);
    (void)put(w, &wire, ACKS_SEND);
    assert_true(wire_receive(&wire, &answer));
    assert_int_equal(answer.command.code, RESPONSE_SLAVE_NOT_AVAILABLE);
    assert_false(answer.command.has_remark);
    assert_true(ext_find(&answer.command.ext, SLICE_LITERAL("msgId"), &value));
    assert_true(ext_find(&answer.command.ext, SLICE_LITERAL("queueOffset"), &value));
    assert_true(slice_is(value, "0"));
    expect_code(w, &wire, ACKS_SEND_NOWAIT, RESPONSE_SUCCESS);
    /* Nothing but sends tells of slaves. */
    expect_code(w, &wire, ACKS_BARE, RESPONSE_SUCCESS);
    expect_code(w, &wire, ACKS_TOLD, RESPONSE_SUCCESS);
    expect_code(w, &wire, ACKS_STORED, RESPONSE_SUCCESS);
    wire_close(&wire);
}

static void an_async_master_waits_for_nobody(void **state)
{
    struct world *w = *state;
    struct wire wire;
    wire_open(&wire, w->net.port);
    w->broker.conf.brokerRole = BROKER_ROLE_ASYNC_MASTER;
    expect_code(w, &wire, ACKS_SEND, RESPONSE_SUCCESS);
    slave_joins(w);
    expect_code(w, &wire, ACKS_SEND, RESPONSE_SUCCESS);
    wire_close(&wire);
}

static void an_answer_waits_for_the_slave(void **state)
{
    static const int32_t kinds[] = {ACKS_SEND, ACKS_SEND_BATCH, ACKS_BARE, ACKS_TOLD, ACKS_STORED};
    struct world *w = *state;
    struct wire wire;
    wire_open(&wire, w->net.port);
    slave_joins(w);
    slave_has(w, 0);
    (void)put(w, &wire, ACKS_SEND);
    slave_has_all(w);
    expect(&wire, next_opaque, RESPONSE_SUCCESS);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        expect_code(w, &wire, ACKS_SEND_NOWAIT, RESPONSE_SUCCESS); /* nobody has it yet */
        int32_t opaque = put(w, &wire, kinds[i]);
        expect_silence(&wire);
        slave_has(w, store_appended_pos(w->kit.store) - 1);
        expect_silence(&wire);
        slave_has_all(w);
        expect(&wire, opaque, RESPONSE_SUCCESS);
    }
    wire_close(&wire);
}

/* Thousands at a time; a report releases exactly those that it covers, in their order. */
static void reports_release_what_they_cover(void **state)
{
    enum { SENDS = 5000 };
    struct world *w = *state;
    struct wire wire;
    int64_t before = store_appended_pos(w->kit.store);
    wire_open(&wire, w->net.port);
    slave_joins(w);
    struct buf frames = BUF_EMPTY;
    int32_t first = next_opaque + 1;
    for (int i = 0; i < SENDS; i++)
        append_request(&frames, CODEC_JSON, ACKS_SEND, ++next_opaque, 0, "body");
    w->broker.conf.haSlaveFallbehindMax = INT32_MAX;
    struct sender sender = {&wire, &frames};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, send_all, &sender), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    (void)put(w, &wire, ACKS_SEND_NOWAIT); /* behind all of them */
    struct answer answer;
    do {
        assert_true(wire_receive(&wire, &answer));
    } while (answer.command.opaque != next_opaque);
    int64_t record_bytes = (store_appended_pos(w->kit.store) - before) / (SENDS + 1);
    int32_t expected = first;
    static const int steps[] = {1, 2, 100, 2500, SENDS};
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        slave_has(w, before + steps[i] * record_bytes - (i % 2 == 0 ? 0 : 1));
        for (int released = i % 2 == 0 ? steps[i] : steps[i] - 1; expected < first + released;)
            expect(&wire, expected++, RESPONSE_SUCCESS);
        expect_silence(&wire);
    }
    assert_int_equal(expected, first + SENDS);
    buf_release(&frames);
    wire_close(&wire);
}

static void a_slave_that_lies_releases_nobody(void **state)
{
    struct world *w = *state;
    struct wire wire;
    wire_open(&wire, w->net.port);
    slave_joins(w);
    int32_t opaque = put(w, &wire, ACKS_SEND);
    int64_t end = store_appended_pos(w->kit.store);
    assert_false(replicas_acked(w->broker.replicas, w->slot, end, end)); /* was not sent */
    assert_false(replicas_acked(w->broker.replicas, w->slot, INT64_MAX, end));
    expect_silence(&wire);
    slave_has_all(w);
    expect(&wire, opaque, RESPONSE_SUCCESS);
    wire_close(&wire);
}

static void a_slave_that_is_late_or_far_behind(void **state)
{
    struct world *w = *state;
    struct wire wire;
    wire_open(&wire, w->net.port);
    slave_joins(w);
    w->broker.conf.syncFlushTimeout = SHORT_MS;
    expect_code(w, &wire, ACKS_SEND, RESPONSE_FLUSH_SLAVE_TIMEOUT);
    expect_code(w, &wire, ACKS_BARE, RESPONSE_SUCCESS);
    expect_code(w, &wire, ACKS_TOLD, RESPONSE_SUCCESS);
    expect_code(w, &wire, ACKS_STORED, RESPONSE_SUCCESS);
    /* Later answers are right again. */
    w->broker.conf.syncFlushTimeout = LONG_MS;
    slave_has_all(w);
    int32_t opaque = put(w, &wire, ACKS_SEND);
    expect_silence(&wire);
    slave_has_all(w);
    expect(&wire, opaque, RESPONSE_SUCCESS);
    /* Too far behind is as if it was not there. */
    w->broker.conf.haSlaveFallbehindMax = 1;
    expect_code(w, &wire, ACKS_SEND, RESPONSE_SLAVE_NOT_AVAILABLE);
    w->broker.conf.haSlaveFallbehindMax = BEHIND_MAX;
    opaque = put(w, &wire, ACKS_SEND);
    replicas_leave(w->broker.replicas, w->slot);
    expect_code(w, &wire, ACKS_SEND, RESPONSE_SLAVE_NOT_AVAILABLE);
    /* Who waits already has all his time: the slave comes back. */
    expect_silence(&wire);
    slave_joins(w);
    slave_has_all(w);
    expect(&wire, opaque, RESPONSE_SUCCESS);
    wire_close(&wire);
}

static void disk_and_slave_are_both_waited_for(void **state)
{
    struct world *w = *state;
    struct wire wire;
    wire_open(&wire, w->net.port);
    w->broker.conf.flushDiskType = FLUSH_DISK_SYNC;
    slave_joins(w);
    int32_t opaque = put(w, &wire, ACKS_SEND);
    slave_has_all(w);
    expect_silence(&wire);
    disk_has_all(w);
    expect(&wire, opaque, RESPONSE_SUCCESS);
    opaque = put(w, &wire, ACKS_SEND);
    disk_has_all(w);
    expect_silence(&wire);
    slave_has_all(w);
    expect(&wire, opaque, RESPONSE_SUCCESS);
    expect_code(w, &wire, ACKS_SEND_NOWAIT, RESPONSE_SUCCESS);
    wire_close(&wire);
}

/* The slave's fault hides the disk's. */
static void which_fault_is_told(void **state)
{
    struct world *w = *state;
    struct wire wire;
    wire_open(&wire, w->net.port);
    w->broker.conf.flushDiskType = FLUSH_DISK_SYNC;
    w->broker.conf.syncFlushTimeout = SHORT_MS;
    expect_code(w, &wire, ACKS_SEND, RESPONSE_SLAVE_NOT_AVAILABLE); /* and the disk is late */
    slave_joins(w);
    expect_code(w, &wire, ACKS_SEND, RESPONSE_FLUSH_SLAVE_TIMEOUT); /* both are late */
    disk_has_all(w);
    w->broker.conf.syncFlushTimeout = LONG_MS;
    int32_t opaque = put(w, &wire, ACKS_SEND);
    slave_has_all(w);
    disk_has_all(w);
    expect(&wire, opaque, RESPONSE_SUCCESS);
    w->broker.conf.syncFlushTimeout = PATIENT_MS;
    opaque = put(w, &wire, ACKS_SEND);
    int32_t bare = put(w, &wire, ACKS_BARE);
    slave_has_all(w); /* within that time, on a busy machine, too */
    expect(&wire, opaque, RESPONSE_FLUSH_DISK_TIMEOUT);
    expect(&wire, bare, RESPONSE_SYSTEM_ERROR);
    w->broker.conf.syncFlushTimeout = SHORT_MS;
    w->broker.conf.brokerRole = BROKER_ROLE_ASYNC_MASTER;
    expect_code(w, &wire, ACKS_SEND, RESPONSE_FLUSH_DISK_TIMEOUT);
    wire_close(&wire);
}

/* What waits for a slave that hangs holds up nobody else. */
static void who_does_not_wait_for_the_slave_is_not_held_up(void **state)
{
    struct world *w = *state;
    struct wire wire;
    wire_open(&wire, w->net.port);
    w->broker.conf.flushDiskType = FLUSH_DISK_SYNC;
    slave_joins(w);
    int32_t waiting = put(w, &wire, ACKS_SEND);
    w->broker.conf.haSlaveFallbehindMax = 1;
    int32_t opaque = put(w, &wire, ACKS_SEND);
    expect_silence(&wire); /* it waits for the disk */
    disk_has_all(w);
    expect(&wire, opaque, RESPONSE_SLAVE_NOT_AVAILABLE);
    expect_silence(&wire);
    slave_has_all(w);
    expect(&wire, waiting, RESPONSE_SUCCESS);
    wire_close(&wire);
}

/* A slave whose log begins behind what waits says nothing about it. */
static void a_slave_that_begins_later_does_not_count(void **state)
{
    struct world *w = *state;
    struct wire wire;
    wire_open(&wire, w->net.port);
    slave_joins(w);
    int32_t waiting = put(w, &wire, ACKS_SEND);
    int64_t middle = store_appended_pos(w->kit.store);
    replicas_leave(w->broker.replicas, w->slot);
    struct replica_identity identity = {.broker_id = -1, .begins_pos = middle};
    w->slot = replicas_join(w->broker.replicas, &identity, middle);
    expect_code(w, &wire, ACKS_SEND_NOWAIT, RESPONSE_SUCCESS);
    slave_has_all(w);
    expect_silence(&wire);
    int32_t later = put(w, &wire, ACKS_SEND);
    slave_has_all(w);
    expect(&wire, later, RESPONSE_SUCCESS); /* does not wait for the one before it */
    expect_silence(&wire);
    slave_joins(w); /* one that has all */
    slave_has_all(w);
    expect(&wire, waiting, RESPONSE_SUCCESS);
    wire_close(&wire);
}

struct follower {
    struct world *world;
    _Atomic bool stop;
};

static void *follow(void *arg)
{
    struct follower *follower = arg;
    while (!atomic_load(&follower->stop))
        slave_has_all(follower->world);
    return NULL;
}

/* Reports and appends at the same time: nothing is left behind. */
static void nothing_is_forgotten_under_load(void **state)
{
    enum { SENDS = 20000 };
    struct world *w = *state;
    struct follower follower = {.world = w};
    struct wire wire;
    struct buf frames = BUF_EMPTY;
    pthread_t threads[2];
    wire_open(&wire, w->net.port);
    slave_joins(w);
    w->broker.conf.haSlaveFallbehindMax = INT32_MAX;
    for (int i = 0; i < SENDS; i++)
        append_request(&frames, CODEC_JSON, ACKS_SEND, ++next_opaque, 0, "body");
    struct sender sender = {&wire, &frames};
    assert_int_equal(pthread_create(&threads[0], NULL, follow, &follower), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, send_all, &sender), 0);
    int32_t opaque = next_opaque - SENDS;
    for (int i = 0; i < SENDS; i++)
        expect(&wire, ++opaque, RESPONSE_SUCCESS);
    atomic_store(&follower.stop, true);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    buf_release(&frames);
    wire_close(&wire);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(without_a_slave_sends_are_stored_and_told_so),
        TEST(an_async_master_waits_for_nobody),
        TEST(an_answer_waits_for_the_slave),
        TEST(reports_release_what_they_cover),
        TEST(a_slave_that_lies_releases_nobody),
        TEST(a_slave_that_is_late_or_far_behind),
        TEST(disk_and_slave_are_both_waited_for),
        TEST(which_fault_is_told),
        TEST(who_does_not_wait_for_the_slave_is_not_held_up),
        TEST(a_slave_that_begins_later_does_not_count),
        TEST(nothing_is_forgotten_under_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
