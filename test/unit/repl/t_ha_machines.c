/* SPDX-License-Identifier: Apache-2.0
 *
 * What the two machines say to each other, case by case: who is refused with which words, what is
 * reported when, and what neither lets pass.
 * Rules: broker/repl/ha_master.h, broker/repl/ha_slave.h; docs/replication.md.
 */
#include "broker/repl/ha_master.h"
#include "broker/repl/ha_slave.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define SEGMENT_BYTES 1000
#define START_MS 5000
#define HEARTBEAT_MS 5000
#define SILENCE_MS 20000

static const struct ha_hello master_self = {
    .cluster_name = "c", .broker_name = "b", .segment_bytes = SEGMENT_BYTES};

/* Both, and a wire that loses nothing. What the slave has is not kept, only where it ends. */
struct both {
    struct ha_master master;
    struct ha_slave slave;
    struct ha_hello self; /* the slave's */
    struct ha_bounds bounds;
    struct ha_log log;
    enum ha_verdict verdict;
    int64_t now_ms;
    int64_t acked_pos;
    int64_t begun_at;
    uint32_t tables;
    bool master_closed;
    bool slave_closed;
    int frames_to_slave;
    int64_t master_until_ms;
};

static int setup(void **state)
{
    static struct both both;
    static const struct ha_master_options options = {&master_self, 100, HEARTBEAT_MS, SILENCE_MS};
    both = (struct both){
        .self = master_self, .acked_pos = -1, .now_ms = START_MS, .bounds = {0, 3500}};
    both.self.broker_id = 1;
    ha_master_init(&both.master, &options, START_MS);
    *state = &both;
    return 0;
}

static void to_slave(struct both *both, struct slice bytes);

static void to_master(struct both *both, struct slice bytes)
{
    ha_master_input(&both->master, bytes, both->now_ms);
}

static void send_block(struct both *both, int64_t pos, int64_t size)
{
    static const uint8_t zeros[SEGMENT_BYTES];
    uint8_t head[HA_HEAD_BYTES];
    int64_t rest = SEGMENT_BYTES - pos % SEGMENT_BYTES;
    if (size > rest)
        size = rest;
    ha_head_encode(pos, (int32_t)size, head);
    ha_master_block(&both->master, size);
    ha_master_sent(&both->master, size);
    to_slave(both, slice_of(head, sizeof head));
    to_slave(both, slice_of(zeros, (size_t)size));
}

static void step_master(struct both *both)
{
    struct ha_master_action action = {.what = HA_MASTER_ADMIT};
    while (!both->master_closed && action.what != HA_MASTER_WAIT) {
        ha_master_step(&both->master, both->bounds, true, both->now_ms, &action);
        both->master_until_ms = action.until_ms;
        if (action.what == HA_MASTER_ADMIT)
            ha_master_admit(&both->master, both->verdict, "10.0.0.9:1");
        else if (action.what == HA_MASTER_SEND)
            to_slave(both, action.frame);
        else if (action.what == HA_MASTER_SEND_LOG)
            send_block(both, action.pos, action.size);
        else if (action.what == HA_MASTER_ACKED)
            both->acked_pos = action.pos;
        else if (action.what == HA_MASTER_CLOSE)
            both->master_closed = true;
    }
}

static void step_slave(struct both *both)
{
    struct ha_slave_action action = {.what = HA_SLAVE_SEND};
    while (!both->slave_closed && action.what != HA_SLAVE_WAIT) {
        ha_slave_step(&both->slave, both->log, true, both->now_ms, &action);
        if (action.what == HA_SLAVE_SEND)
            to_master(both, action.bytes);
        else if (action.what == HA_SLAVE_BEGIN_AT)
            both->begun_at = both->log.end_pos = action.pos;
        else if (action.what == HA_SLAVE_APPEND)
            both->log.end_pos += (int64_t)action.bytes.size;
        else if (action.what == HA_SLAVE_CHANGED)
            both->tables |= action.tables;
        else if (action.what == HA_SLAVE_CLOSE)
            both->slave_closed = true;
    }
}

static void to_slave(struct both *both, struct slice bytes)
{
    both->frames_to_slave++;
    if (both->slave_closed)
        return;
    ha_slave_input(&both->slave, bytes, both->now_ms);
    step_slave(both);
}

static void connect_slave(struct both *both)
{
    static const struct ha_slave_options options = {HEARTBEAT_MS, SILENCE_MS};
    ha_slave_init(&both->slave, &options, &both->self, both->now_ms);
    step_slave(both);
}

/* Until both have nothing to do. */
static void talk(struct both *both)
{
    for (int i = 0; i < 10; i++) {
        step_master(both);
        step_slave(both);
    }
}

static void an_empty_slave_gets_all_that_is_kept(void **state)
{
    struct both *both = *state;
    both->bounds.min_pos = 1000;
    connect_slave(both);
    talk(both);
    assert_int_equal(both->slave.protocol, 2);
    assert_int_equal(both->begun_at, 1000);
    assert_int_equal(both->log.end_pos, 3500);
    assert_int_equal(both->acked_pos, 3500);
    assert_int_equal(both->slave.master_end_pos, 3500);
}

static void what_is_flushed_is_reported(void **state)
{
    struct both *both = *state;
    both->self.sync_flush = true;
    connect_slave(both);
    talk(both);
    assert_int_equal(both->log.end_pos, 3500);
    assert_int_equal(both->acked_pos, 0);
    both->log.flushed_pos = 2000;
    talk(both);
    assert_int_equal(both->acked_pos, 2000);
}

static void changes_and_signs_of_life(void **state)
{
    struct both *both = *state;
    connect_slave(both);
    talk(both);
    ha_master_changed(&both->master, 4);
    ha_master_changed(&both->master, 1);
    talk(both);
    assert_int_equal(both->tables, 5);
    for (int i = 0; i < 10; i++) { /* twice as long as either would bear silence */
        int before = both->frames_to_slave;
        assert_int_equal(both->master_until_ms, both->now_ms + HEARTBEAT_MS);
        both->now_ms += HEARTBEAT_MS - 1;
        talk(both);
        assert_int_equal(both->frames_to_slave, before);
        both->now_ms++;
        talk(both);
        assert_int_equal(both->frames_to_slave, before + 1);
    }
    assert_false(both->master_closed || both->slave_closed);
    both->now_ms += SILENCE_MS;
    step_master(both);
    assert_true(both->master_closed);
    assert_non_null(strstr(both->master.why, "nothing was heard from it for 20000 ms"));
}

/* Both say the words; the slave is frozen and has taken nothing. */
static void assert_refused(struct both *both, const char *words)
{
    int64_t end_pos = both->log.end_pos;
    connect_slave(both);
    talk(both);
    assert_true(both->master_closed && both->master.refused);
    assert_true(both->slave_closed && both->slave.refused);
    if (strstr(both->master.why, words) == NULL)
        fail_msg("%s: %s", words, both->master.why);
    assert_non_null(strstr(both->slave.why, both->master.why));
    assert_int_equal(both->log.end_pos, end_pos);
    assert_int_equal(both->acked_pos, -1);
    setup(&(void *){NULL});
}

static void say_store(struct both *both, const char *begun_by)
{
    (void)snprintf(both->self.store_id, sizeof both->self.store_id, "%s", "an-id");
    (void)snprintf(both->self.begun_by_cluster, HA_NAME_BYTES, "c");
    (void)snprintf(both->self.begun_by_broker, HA_NAME_BYTES, "%s", begun_by);
}

static void who_is_refused(void **state)
{
    struct both *both = *state;
    (void)snprintf(both->self.cluster_name, sizeof both->self.cluster_name, "d");
    assert_refused(both, "correct the slave's brokerClusterName");
    (void)snprintf(both->self.broker_name, sizeof both->self.broker_name, "a");
    assert_refused(both, "a slave has its master's name");
    both->self.broker_id = 0;
    assert_refused(both, "its brokerId is 0");
    both->self.segment_bytes = 2000;
    assert_refused(both, "set mappedFileSizeCommitLog");
    both->self.end_pos = both->log.end_pos = 3501;
    assert_refused(both, "its log ends at 3501, behind the master's, which ends at 3500");
    both->bounds.min_pos = 2000;
    both->self.end_pos = both->log.end_pos = 1999;
    assert_refused(both, "the master's begins at 2000");
    both->self.end_pos = both->log.end_pos = 500;
    both->self.last = (struct ha_name){400, 500, 7};
    both->verdict = HA_FOREIGN_LOG;
    assert_refused(both, "its last record, at 400, is not in the master's log");
    say_store(both, "b");
    both->verdict = HA_FOREIGN_LOG;
    assert_refused(both, "or has messages that the master has lost");
    say_store(both, "b2");
    both->verdict = HA_FOREIGN_LOG;
    assert_refused(both, "its store was begun by broker \"b2\" of cluster \"c\"");
    say_store(both, "b");
    both->verdict = HA_STORE_COPIED;
    assert_refused(both, "have one storeIdentity.json (id an-id): the other one, 10.0.0.9:1 has");
    both->verdict = HA_ID_TAKEN;
    assert_refused(both, "another slave, 10.0.0.9:1 with brokerId 1 is connected");
    both->verdict = HA_TOO_MANY;
    assert_refused(both, "as many slaves as it takes");
}

/* From where on a report counts. */
static void what_a_slave_had_before_counts_when_it_is_proved(void **state)
{
    struct both *both = *state;
    struct ha_master *master = &both->master;
    master->protocol = 2;
    master->slave = both->self;
    master->slave.min_pos = 1000;
    master->slave.end_pos = 2600;
    master->slave.last = (struct ha_name){2500, 2600, 7};
    assert_int_equal(ha_master_begins_pos(master, 2600, true), 1000);
    assert_int_equal(ha_master_begins_pos(master, 2600, false), 2600); /* it has expired here */
    master->slave.last.end_pos = 2599; /* something else is behind it */
    assert_int_equal(ha_master_begins_pos(master, 2600, true), 2600);
    master->slave.end_pos = 3000; /* a filler */
    assert_int_equal(ha_master_begins_pos(master, 3000, true), 1000);
    master->slave.last.end_pos = 2000; /* a whole file more */
    assert_int_equal(ha_master_begins_pos(master, 3000, true), 3000);
    master->protocol = 1; /* says nothing */
    assert_int_equal(ha_master_begins_pos(master, 3000, false), 3000);
}

/* --- a slave and what only a strange master says --- */

static void begin_alone(struct both *both)
{
    both->master_closed = true;
    connect_slave(both);
}

static void send_head(struct both *both, int64_t pos, int32_t size)
{
    uint8_t head[HA_HEAD_BYTES];
    ha_head_encode(pos, size, head);
    to_slave(both, slice_of(head, sizeof head));
}

static void send_hello(struct both *both, int64_t broker_id)
{
    uint8_t frame[HA_HEAD_BYTES + HA_CONTROL_BYTES_MAX];
    struct ha_hello hello = master_self;
    hello.broker_id = broker_id;
    hello.end_pos = 100;
    to_slave(both, slice_of(frame, ha_hello_encode(&hello, frame)));
}

static void assert_slave_closed(struct both *both, const char *words, bool refused)
{
    assert_true(both->slave_closed);
    assert_non_null(strstr(both->slave.why, words));
    assert_int_equal(both->slave.refused, refused);
    setup(&(void *){NULL});
}

static void what_a_slave_does_not_take(void **state)
{
    struct both *both = *state;
    begin_alone(both);
    send_head(both, 0, 10);
    assert_slave_closed(both, "before it was asked", false);

    begin_alone(both);
    send_hello(both, 3);
    assert_slave_closed(both, "has brokerId 3, so it is no master", true);

    begin_alone(both);
    send_hello(both, 0);
    send_hello(both, 0);
    assert_slave_closed(both, "HELLO twice", false);

    begin_alone(both);
    both->now_ms += HA_HELLO_PATIENCE_MS;
    step_slave(both);
    assert_int_equal(both->slave.protocol, 1);
    send_hello(both, 0);
    assert_slave_closed(both, "came after more than 2000 ms", false);

    begin_alone(both);
    send_hello(both, 0);
    send_head(both, 0, SEGMENT_BYTES + 1);
    assert_slave_closed(both, "set mappedFileSizeCommitLog to the master's", true);

    begin_alone(both);
    send_hello(both, 0);
    send_head(both, 500, 10); /* an empty log, but no file begins there */
    assert_slave_closed(both, "where no file of 1000 bytes begins", true);

    both->self.end_pos = both->log.end_pos = 50;
    begin_alone(both);
    send_hello(both, 0);
    send_head(both, 60, 10);
    assert_slave_closed(both, "from 60 on, but this one ends at 50", false);
}

/* A slave with SYNC_FLUSH tells a 4.9.2 master where to begin only when that is on its disk. */
static void the_first_report_of_protocol_1_waits_for_the_disk(void **state)
{
    struct both *both = *state;
    both->self.sync_flush = true;
    both->self.end_pos = both->log.end_pos = 50;
    begin_alone(both);
    both->now_ms += HA_HELLO_PATIENCE_MS;
    step_slave(both);
    assert_int_equal(both->slave.reported_pos, -1);
    both->log.flushed_pos = 50;
    step_slave(both);
    assert_int_equal(both->slave.reported_pos, 50);
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_empty_slave_gets_all_that_is_kept),
        TEST(what_is_flushed_is_reported),
        TEST(changes_and_signs_of_life),
        TEST(who_is_refused),
        TEST(what_a_slave_had_before_counts_when_it_is_proved),
        TEST(what_a_slave_does_not_take),
        TEST(the_first_report_of_protocol_1_waits_for_the_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
