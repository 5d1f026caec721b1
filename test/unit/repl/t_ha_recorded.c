/* SPDX-License-Identifier: Apache-2.0
 *
 * Both machines against sessions recorded between 4.9.2 brokers. A 4.9.2 slave is sent, byte for
 * byte, what its own master sent it; what a 4.9.2 master sent is understood, and answered by
 * reports that it would have believed. Source: test/data/ha/README; RMQ 4.9.2 HAConnection,
 * HAService.
 */
#include "broker/repl/ha_master.h"
#include "broker/repl/ha_slave.h"
#include "test/unit/support/ha_session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define SEGMENT_BYTES 65536 /* of the recorded brokers */
#define LOG_BYTES (1 << 20)

static const struct ha_hello self = {
    .cluster_name = "c", .broker_name = "b", .segment_bytes = SEGMENT_BYTES};

/* --- a master of ours --- */

struct master_world {
    struct ha_master machine;
    struct ha_bounds log;
    int blocks;
    int heartbeats;
    int64_t acked_pos;
};

/* What the machine wants to send now, admissions and reports done with. */
static void step_master(struct master_world *world, int64_t now_ms, struct ha_master_action *action)
{
    for (;;) {
        ha_master_step(&world->machine, world->log, true, now_ms, action);
        if (action->what == HA_MASTER_ADMIT)
            ha_master_admit(&world->machine, HA_ADMITTED, NULL);
        else if (action->what == HA_MASTER_ACKED)
            world->acked_pos = action->pos;
        else
            return;
    }
}

/* The head of one of the recorded frames is next; the log has grown to where its block ends. */
static void expect_frame(struct master_world *world, struct slice head_bytes, int64_t now_ms,
                         int64_t *body_bytes)
{
    struct ha_head head;
    struct ha_master_action action;
    assert_int_equal(ha_head_decode(head_bytes, HA_FROM_MASTER, &head), STATUS_OK);
    if (head.pos + head.size > world->log.end_pos)
        world->log.end_pos = head.pos + head.size;
    step_master(world, now_ms, &action);
    *body_bytes = head.size;
    /* 4.9.2 puts a heartbeat in front of the first block. */
    if (head.size == 0 && world->blocks == 0 && action.what == HA_MASTER_SEND_LOG)
        return;
    if (head.size == 0) {
        assert_int_equal(action.what, HA_MASTER_SEND);
        assert_true(slice_equal(action.frame, head_bytes));
        world->heartbeats++;
        return;
    }
    assert_int_equal(action.what, HA_MASTER_SEND_LOG);
    assert_int_equal(action.pos, head.pos);
    assert_int_equal(action.size, head.size);
    ha_master_block(&world->machine, head.size);
    ha_master_sent(&world->machine, head.size);
    world->blocks++;
}

static void open_master(struct master_world *world, int64_t now_ms)
{
    static const struct ha_master_options options = {&self, 32768, 5000, 20000};
    ha_master_init(&world->machine, &options, now_ms);
}

/* Go through one connection of a session. */
static void replay_to_master(struct master_world *world, const char *name, int connection)
{
    struct ha_session session;
    struct ha_event event;
    uint8_t head[HA_HEAD_BYTES];
    size_t head_size = 0;
    int64_t body_bytes = 0;
    ha_session_load(&session, name);
    while (ha_session_next(&session, &event)) {
        if (event.connection != connection || event.kind == 'X')
            continue;
        if (event.kind == 'O')
            open_master(world, event.ms);
        if (event.kind == 'S')
            ha_master_input(&world->machine, event.bytes, event.ms);
        while (event.kind == 'M' && event.bytes.size > 0) {
            size_t wanted = body_bytes > 0 ? (size_t)body_bytes : HA_HEAD_BYTES - head_size;
            size_t part = event.bytes.size < wanted ? event.bytes.size : wanted;
            if (body_bytes > 0) {
                body_bytes -= (int64_t)part;
            } else {
                memcpy(head + head_size, event.bytes.data, part);
                head_size += part;
            }
            event.bytes = slice_from(event.bytes, part);
            if (head_size == HA_HEAD_BYTES && body_bytes == 0) {
                head_size = 0;
                expect_frame(world, slice_of(head, sizeof head), event.ms, &body_bytes);
            }
        }
        assert_string_equal(world->machine.why, "");
    }
    ha_session_release(&session);
}

static void our_master_sends_what_a_4_9_2_master_sends(void **state)
{
    (void)state;
    struct master_world world = {.acked_pos = -1};
    struct ha_master_action action;
    replay_to_master(&world, "ha-session.bin", 1);
    step_master(&world, world.machine.heard_ms, &action);
    assert_int_equal(world.heartbeats, 13);
    assert_int_equal(world.blocks, 46 - 13);
    assert_int_equal(world.log.end_pos, 141091);
    assert_int_equal(world.acked_pos, 141091);
    assert_int_equal(world.machine.protocol, 1);
    /* It comes again, and asks for what it does not have. */
    world.blocks = 0;
    replay_to_master(&world, "ha-session.bin", 2);
    assert_int_equal(world.log.end_pos, 204861);
    assert_true(world.blocks > 0);
}

static void an_empty_slave_of_an_old_4_9_2_master(void **state)
{
    (void)state;
    struct master_world world = {.log = {0, 393216 + 1}};
    replay_to_master(&world, "ha-session-fresh-slave.bin", 3);
    assert_true(world.blocks > 0);
    assert_int_equal(world.machine.next_pos, world.log.end_pos);
}

/* --- a slave of ours --- */

struct slave_world {
    struct ha_slave machine;
    struct ha_log log;
    int64_t begin_pos;
    int64_t last_report;
    int reports;
    uint8_t bytes[LOG_BYTES]; /* of the log */
};

static void take_report(struct slave_world *world, struct slice bytes)
{
    assert_int_equal(bytes.size, HA_REPORT_BYTES);
    int64_t pos = get_i64(bytes.data);
    assert_true(pos >= world->last_report || world->reports == 0);
    assert_true(pos <= world->log.end_pos);
    world->last_report = pos;
    world->reports++;
}

static void step_slave(struct slave_world *world, int64_t now_ms)
{
    struct ha_slave_action action;
    for (;;) {
        ha_slave_step(&world->machine, world->log, true, now_ms, &action);
        assert_int_not_equal(action.what, HA_SLAVE_CLOSE);
        if (action.what == HA_SLAVE_WAIT)
            return;
        if (action.what == HA_SLAVE_SEND && get_i64(action.bytes.data) != HA_ASK_FOR_HELLO)
            take_report(world, action.bytes);
        if (action.what == HA_SLAVE_BEGIN_AT)
            world->begin_pos = world->log.end_pos = action.pos;
        if (action.what != HA_SLAVE_APPEND)
            continue;
        assert_int_equal(action.pos, world->log.end_pos);
        assert_true(action.pos + (int64_t)action.bytes.size <= LOG_BYTES);
        memcpy(world->bytes + action.pos, action.bytes.data, action.bytes.size);
        world->log.end_pos += (int64_t)action.bytes.size;
    }
}

/* What the recorded master said, as the log that it makes. */
static int64_t recorded_log(const char *name, int connection, uint8_t *out, int64_t *begin_pos)
{
    static uint8_t stream[LOG_BYTES];
    struct ha_session session;
    struct ha_event event;
    size_t size = 0;
    int64_t end_pos = -1;
    ha_session_load(&session, name);
    while (ha_session_next(&session, &event))
        if (event.kind == 'M' && event.connection == connection) {
            memcpy(stream + size, event.bytes.data, event.bytes.size);
            size += event.bytes.size;
        }
    for (size_t at = 0; at + HA_HEAD_BYTES <= size;) {
        int64_t pos = get_i64(stream + at);
        int64_t bytes = get_i32(stream + at + 8);
        at += HA_HEAD_BYTES;
        memcpy(out + pos, stream + at, (size_t)bytes);
        at += (size_t)bytes;
        if (end_pos == -1 && bytes > 0)
            *begin_pos = pos;
        if (bytes > 0)
            end_pos = pos + bytes;
    }
    ha_session_release(&session);
    return end_pos;
}

static void follow_recorded(const char *name, int connection)
{
    static const struct ha_slave_options options = {5000, 20000};
    static struct slave_world world;
    static uint8_t expected[LOG_BYTES];
    struct ha_session session;
    struct ha_event event;
    int64_t begin_pos = -1;
    int64_t end_pos = recorded_log(name, connection, expected, &begin_pos);
    memset(&world, 0, sizeof world);
    ha_session_load(&session, name);
    while (ha_session_next(&session, &event)) {
        if (event.connection != connection || event.kind == 'X')
            continue;
        if (event.kind == 'O')
            ha_slave_init(&world.machine, &options, &self, event.ms);
        if (event.kind == 'M')
            ha_slave_input(&world.machine, event.bytes, event.ms);
        step_slave(&world, event.ms);
    }
    ha_session_release(&session);
    assert_int_equal(world.machine.protocol, 1);
    assert_int_equal(world.begin_pos, begin_pos);
    assert_int_equal(world.log.end_pos, end_pos);
    assert_int_equal(world.last_report, end_pos);
    assert_true(end_pos > begin_pos);
    assert_memory_equal(world.bytes + begin_pos, expected + begin_pos,
                        (size_t)(end_pos - begin_pos));
}

static void our_slave_understands_a_4_9_2_master(void **state)
{
    (void)state;
    follow_recorded("ha-session.bin", 1);
    follow_recorded("ha-session-fresh-slave.bin", 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(our_master_sends_what_a_4_9_2_master_sends),
        cmocka_unit_test(an_empty_slave_of_an_old_4_9_2_master),
        cmocka_unit_test(our_slave_understands_a_4_9_2_master),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
