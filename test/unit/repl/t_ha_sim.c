/* SPDX-License-Identifier: Apache-2.0
 *
 * A master and a slave, driven by one thread over a network that is made up: slow, cut at any byte,
 * read in small pieces; both are restarted, lose power, meet peers that speak 4.9.2's protocol,
 * lie or send garbage; the log grows, and its begin expires. A seed decides everything.
 *
 * What must hold all the time:
 *     - the slave's log is a part of the master's, byte for byte, and goes on without a gap
 *     - what the master counts as acknowledged has been in the slave's log (on its disk, when that
 *       is what the slave reports)
 *     - a machine that says WAIT has nothing to do; no step goes on for ever
 * and once faults stop: the slave gets all of the log, and the master hears of it.
 *
 * A failure names the seed; CRASH_SEED=<number> runs that one alone, CRASH_SECONDS=<n> has the test
 * go on for so long.
 */
#include "broker/repl/ha_master.h"
#include "broker/repl/ha_slave.h"
#include "common/base/check.h"
#include "test/unit/support/crash_kit.h"
#include "test/unit/support/random.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define SEGMENT_BYTES 2048
#define RECORD_BYTES 64 /* whole ones get into the slave's log */
#define LOG_BYTES 65536
#define PIPE_BYTES 3000
#define READ_BYTES 700
#define HEARTBEAT_MS 500
#define SILENCE_MS 2500
#define STEPS_MAX 10000

/* One direction of a connection. */
struct pipe {
    uint8_t data[PIPE_BYTES];
    size_t size;
    int64_t held_until_ms; /* nothing arrives before */
};

/* A side's end: what has been handed to it and has not gone into the pipe yet. */
struct outlet {
    uint8_t data[HA_HEAD_BYTES + HA_BLOCK_BYTES];
    size_t size;
    size_t sent;
    size_t head_bytes; /* of `size`, those that are not the log's */
};

enum peer {
    PEER_OURS,
    PEER_4_9_2,   /* speaks protocol 1 only */
    PEER_GARBAGE, /* sends what it likes */
};

struct world {
    uint64_t seed;
    struct random random;
    int64_t now_ms;
    bool calm; /* no more faults */
    enum peer master_is, slave_is;
    bool sync_flush;

    /* The master's log. A byte's value follows from its position and the history. */
    uint32_t history;
    int64_t forked_at; /* the log before it is older than the history */
    uint8_t log[LOG_BYTES];
    struct ha_bounds bounds;

    /* The slave's. */
    uint8_t copy[LOG_BYTES];
    int64_t copy_begin;
    int64_t copy_end;      /* whole records */
    int64_t copy_received; /* and what is held of the next one */
    int64_t copy_flushed;
    int64_t copy_ever; /* the most it has ever had (on disk, with sync_flush) */
    uint64_t slave_boot;
    int64_t slave_id;

    bool connected;
    struct pipe to_master, to_slave;
    struct outlet from_master, from_slave;
    struct ha_hello self;
    struct ha_master master;
    struct ha_slave slave;
    uint8_t slave_input[READ_BYTES];
    int64_t acked;
    int64_t refusals;
    int64_t connections;
};

static _Noreturn void lost(const struct world *world, const char *what)
{
    fprintf(stderr,
            "CRASH_SEED=%" PRIu64 ": %s; at %lld ms, master %d [%lld, %lld), slave %d [%lld, %lld "
            "%lld), acked %lld, master says \"%s\", slave says \"%s\"\n",
            world->seed, what, (long long)world->now_ms, world->master_is,
            (long long)world->bounds.min_pos, (long long)world->bounds.end_pos, world->slave_is,
            (long long)world->copy_begin, (long long)world->copy_end,
            (long long)world->copy_received, (long long)world->acked, world->master.why,
            world->slave.why);
    fail_msg("CRASH_SEED=%" PRIu64 ": %s", world->seed, what);
    abort();
}

static bool one_in(struct world *world, uint32_t n)
{
    return random_below(&world->random, n) == 0;
}

/* --- logs --- */

static void grow_log(struct world *world)
{
    int64_t records = 1 + random_below(&world->random, 40);
    int64_t end_max = LOG_BYTES - RECORD_BYTES - (world->calm ? 0 : 2 * SEGMENT_BYTES);
    for (int64_t i = 0; i < records * RECORD_BYTES && world->bounds.end_pos < end_max; i++) {
        int64_t pos = world->bounds.end_pos++;
        world->log[pos] =
            (uint8_t)((uint64_t)pos * 31 + (uint64_t)pos / 251 + (uint64_t)world->history * 97);
    }
}

static void expire_log(struct world *world)
{
    if (world->bounds.end_pos - world->bounds.min_pos > 3 * SEGMENT_BYTES)
        world->bounds.min_pos += SEGMENT_BYTES;
}

static void empty_slave(struct world *world)
{
    world->copy_begin = world->copy_end = world->copy_received = world->copy_flushed = 0;
    world->copy_ever = world->acked = 0;
}

static bool is_part_of_log(const struct world *world, int64_t from, int64_t to)
{
    if (from < world->bounds.min_pos)
        from = world->bounds.min_pos;
    return to <= from || (to <= world->bounds.end_pos &&
                          memcmp(world->log + from, world->copy + from, (size_t)(to - from)) == 0);
}

static void append_to_slave(struct world *world, int64_t pos, struct slice bytes)
{
    if (pos != world->copy_received)
        lost(world, "the slave's log has a gap");
    if (world->master_is == PEER_GARBAGE) { /* the store takes messages only */
        ha_slave_fail(&world->slave, "no message");
        return;
    }
    if (pos + (int64_t)bytes.size > LOG_BYTES)
        lost(world, "the slave is given more than there can be");
    memcpy(world->copy + pos, bytes.data, bytes.size);
    world->copy_received += (int64_t)bytes.size;
    if (!is_part_of_log(world, world->copy_begin, world->copy_received))
        lost(world, "the slave's log is not the master's");
    world->copy_end = world->copy_received - world->copy_received % RECORD_BYTES;
    if (!world->sync_flush && world->copy_end > world->copy_ever)
        world->copy_ever = world->copy_end;
}

static void flush_slave(struct world *world)
{
    world->copy_flushed = world->copy_end;
    if (world->copy_flushed > world->copy_ever)
        world->copy_ever = world->copy_flushed;
}

/* --- connections --- */

static void cut(struct world *world)
{
    world->connected = false;
    world->copy_received = world->copy_end; /* what was held is forgotten */
}

static struct ha_name name_of_end(const struct world *world)
{
    if (world->copy_end <= world->copy_begin)
        return (struct ha_name){0, 0, 0};
    return (struct ha_name){world->copy_end - RECORD_BYTES, world->copy_end,
                            world->copy[world->copy_end - 1]};
}

static void open_connection(struct world *world)
{
    const struct ha_master_options master = {&world->self, 300, HEARTBEAT_MS, SILENCE_MS};
    const struct ha_slave_options slave = {HEARTBEAT_MS, SILENCE_MS};
    struct ha_hello hello = world->self;
    hello.broker_id = world->slave_id;
    hello.boot_id = world->slave_boot;
    hello.min_pos = world->copy_begin;
    hello.end_pos = world->copy_end;
    hello.sync_flush = world->sync_flush;
    hello.last = name_of_end(world);
    world->connected = true;
    world->connections++;
    world->to_master.size = world->to_slave.size = 0;
    world->to_master.held_until_ms = world->to_slave.held_until_ms = 0;
    world->from_master.size = world->from_slave.size = 0;
    world->from_master.sent = world->from_slave.sent = 0;
    ha_master_init(&world->master, &master, world->now_ms);
    ha_slave_init(&world->slave, &slave, &hello, world->now_ms);
    if (world->slave_is == PEER_4_9_2) { /* as our slave is once it has given up on HELLO */
        world->slave.ask_due = false;
        world->slave.protocol = 1;
        world->slave.state = HA_SLAVE_STREAMING;
    }
}

static void hand_over(struct outlet *outlet, struct slice bytes, size_t head_bytes)
{
    CHECK(outlet->size == 0 && bytes.size <= sizeof outlet->data);
    memcpy(outlet->data, bytes.data, bytes.size);
    outlet->size = bytes.size;
    outlet->sent = 0;
    outlet->head_bytes = head_bytes;
}

/* Some of it goes.
 * returns  how many bytes of the log have gone */
static size_t pump(struct world *world, struct outlet *outlet, struct pipe *pipe)
{
    size_t room = PIPE_BYTES - pipe->size;
    size_t part = outlet->size - outlet->sent;
    if (part > room)
        part = room;
    if (part > 0 && !world->calm && one_in(world, 3))
        part = 1 + random_below(&world->random, (uint32_t)part);
    if (part == 0)
        return 0;
    memcpy(pipe->data + pipe->size, outlet->data + outlet->sent, part);
    pipe->size += part;
    size_t log_before = outlet->sent > outlet->head_bytes ? outlet->sent - outlet->head_bytes : 0;
    outlet->sent += part;
    size_t log_after = outlet->sent > outlet->head_bytes ? outlet->sent - outlet->head_bytes : 0;
    if (outlet->sent == outlet->size)
        outlet->size = outlet->sent = 0;
    if (!world->calm && one_in(world, 20))
        pipe->held_until_ms =
            world->now_ms + random_below(&world->random, one_in(world, 10) ? 3000 : 200);
    return log_after - log_before;
}

static size_t take(struct world *world, struct pipe *pipe, uint8_t *out)
{
    size_t size = pipe->size < READ_BYTES ? pipe->size : READ_BYTES;
    if (pipe->held_until_ms > world->now_ms || size == 0)
        return 0;
    if (!world->calm && one_in(world, 2))
        size = 1 + random_below(&world->random, (uint32_t)size);
    memcpy(out, pipe->data, size);
    pipe->size -= size;
    memmove(pipe->data, pipe->data + size, pipe->size);
    return size;
}

/* --- the master's side --- */

static void judge_slave(struct world *world)
{
    const struct ha_name *last = &world->master.slave.last;
    bool known = world->master.protocol == 1 || last->end_pos == 0 ||
                 last->pos < world->bounds.min_pos || world->log[last->end_pos - 1] == last->crc;
    ha_master_admit(&world->master, known ? HA_ADMITTED : HA_FOREIGN_LOG, NULL);
}

static void send_block(struct world *world, int64_t pos, int64_t size)
{
    static uint8_t block[HA_HEAD_BYTES + HA_BLOCK_BYTES];
    int64_t rest = SEGMENT_BYTES - pos % SEGMENT_BYTES;
    if (size > rest)
        size = rest;
    if (pos < world->bounds.min_pos || pos + size > world->bounds.end_pos)
        lost(world, "the master sends what it does not have");
    ha_head_encode(pos, (int32_t)size, block);
    memcpy(block + HA_HEAD_BYTES, world->log + pos, (size_t)size);
    hand_over(&world->from_master, slice_of(block, HA_HEAD_BYTES + (size_t)size), HA_HEAD_BYTES);
    ha_master_block(&world->master, size);
}

static void count_ack(struct world *world, int64_t pos)
{
    if (world->slave_is != PEER_GARBAGE && pos > world->copy_ever)
        lost(world, "acknowledged, and was never there");
    if (pos > world->master.sent_pos || pos > world->bounds.end_pos)
        lost(world, "acknowledged, and was never sent");
    if (world->slave_is != PEER_GARBAGE)
        world->acked = pos;
}

/* returns  whether anything was done */
static bool drive_master(struct world *world)
{
    struct ha_master_action action;
    uint8_t input[READ_BYTES];
    size_t got = take(world, &world->to_master, input);
    if (got > 0)
        ha_master_input(&world->master, slice_of(input, got), world->now_ms);
    ha_master_sent(&world->master, (int64_t)pump(world, &world->from_master, &world->to_slave));
    for (int steps = 0;; steps++) {
        ha_master_step(&world->master, world->bounds, world->from_master.size == 0, world->now_ms,
                       &action);
        switch (action.what) {
        case HA_MASTER_WAIT:
            if (action.until_ms <= world->now_ms && world->from_master.size == 0)
                lost(world, "the master waits for what has been");
            ha_master_step(&world->master, world->bounds, world->from_master.size == 0,
                           world->now_ms, &action);
            if (action.what != HA_MASTER_WAIT)
                lost(world, "the master waited, and had something to do");
            return got > 0 || steps > 0;
        case HA_MASTER_ADMIT:
            judge_slave(world);
            break;
        case HA_MASTER_SEND:
            hand_over(&world->from_master, action.frame, action.frame.size);
            break;
        case HA_MASTER_SEND_LOG:
            send_block(world, action.pos, action.size);
            break;
        case HA_MASTER_ACKED:
            count_ack(world, action.pos);
            break;
        case HA_MASTER_CLOSE:
            world->refusals += world->master.refused;
            if (world->master.why[0] == '\0')
                lost(world, "the master closes without a word");
            /* What it has said on the way is still read. */
            if (world->from_master.size == 0 && world->to_slave.size == 0)
                cut(world);
            return false;
        }
        if (steps > STEPS_MAX)
            lost(world, "the master does not come to rest");
    }
}

/* --- the slave's side --- */

/* Bytes that nobody should send: noise, or frames that lie. */
static void send_garbage(struct world *world, struct outlet *outlet)
{
    uint8_t bytes[64];
    size_t size = 1 + random_below(&world->random, sizeof bytes);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)random_u64(&world->random);
    if (!one_in(world, 4)) {
        int64_t lie = (int64_t)random_below(&world->random, LOG_BYTES) - 8;
        int32_t length = (int32_t)random_below(&world->random, 100) - (one_in(world, 10) ? 200 : 0);
        size = one_in(world, 2) ? HA_REPORT_BYTES : HA_HEAD_BYTES;
        put_i64(bytes, one_in(world, 5) ? HA_ASK_FOR_HELLO : lie);
        put_i32(bytes + 8, one_in(world, 2) ? 0 : length);
    }
    hand_over(outlet, slice_of(bytes, size), size);
}

static struct ha_log slave_log(const struct world *world)
{
    return (struct ha_log){world->copy_end, world->copy_flushed};
}

static void begin_slave_at(struct world *world, int64_t pos)
{
    if (world->copy_end != 0 || pos % SEGMENT_BYTES != 0)
        lost(world, "a log begins in the middle");
    if (world->master_is == PEER_GARBAGE)
        return;
    world->copy_begin = world->copy_end = world->copy_received = world->copy_flushed = pos;
    if (world->copy_ever < pos)
        world->copy_ever = pos;
}

static bool drive_slave(struct world *world)
{
    struct ha_slave_action action;
    size_t got = take(world, &world->to_slave, world->slave_input);
    if (got > 0)
        ha_slave_input(&world->slave, slice_of(world->slave_input, got), world->now_ms);
    (void)pump(world, &world->from_slave, &world->to_master);
    for (int steps = 0;; steps++) {
        ha_slave_step(&world->slave, slave_log(world), world->from_slave.size == 0, world->now_ms,
                      &action);
        switch (action.what) {
        case HA_SLAVE_WAIT:
            if (action.until_ms <= world->now_ms && world->from_slave.size == 0)
                lost(world, "the slave waits for what has been");
            ha_slave_step(&world->slave, slave_log(world), world->from_slave.size == 0,
                          world->now_ms, &action);
            if (action.what != HA_SLAVE_WAIT)
                lost(world, "the slave waited, and had something to do");
            return got > 0 || steps > 0;
        case HA_SLAVE_SEND:
            hand_over(&world->from_slave, action.bytes, action.bytes.size);
            break;
        case HA_SLAVE_BEGIN_AT:
            begin_slave_at(world, action.pos);
            break;
        case HA_SLAVE_APPEND:
            append_to_slave(world, action.pos, action.bytes);
            break;
        case HA_SLAVE_CHANGED:
            break;
        case HA_SLAVE_CLOSE:
            if (world->slave.why[0] == '\0')
                lost(world, "the slave closes without a word");
            cut(world);
            return false;
        }
        if (steps > STEPS_MAX)
            lost(world, "the slave does not come to rest");
    }
}

/* A peer that is neither; the machine at the other end must get rid of it by itself. */
static bool drive_garbage(struct world *world, struct outlet *outlet, struct pipe *in,
                          struct pipe *out)
{
    uint8_t thrown_away[READ_BYTES];
    (void)take(world, in, thrown_away);
    if (outlet->size == 0 && one_in(world, 2))
        send_garbage(world, outlet);
    (void)pump(world, outlet, out);
    return false;
}

/* A 4.9.2 master: our machine, which does not hear -1. */
static bool drive_old_master(struct world *world)
{
    struct pipe *in = &world->to_master;
    if (world->master.state == HA_MASTER_SILENT && in->size >= HA_REPORT_BYTES &&
        get_i64(in->data) == HA_ASK_FOR_HELLO) {
        in->size -= HA_REPORT_BYTES;
        memmove(in->data, in->data + HA_REPORT_BYTES, in->size);
    }
    bool silent = world->master.state == HA_MASTER_SILENT && in->size < HA_REPORT_BYTES;
    return !silent && drive_master(world);
}

/* --- a run --- */

static void step_both(struct world *world)
{
    for (int rounds = 0; world->connected; rounds++) {
        bool busy =
            world->master_is == PEER_GARBAGE
                ? drive_garbage(world, &world->from_master, &world->to_master, &world->to_slave)
            : world->master_is == PEER_4_9_2 ? drive_old_master(world)
                                             : drive_master(world);
        if (world->connected)
            busy |=
                world->slave_is == PEER_GARBAGE
                    ? drive_garbage(world, &world->from_slave, &world->to_slave, &world->to_master)
                    : drive_slave(world);
        if (!busy || (!world->calm && one_in(world, 4)))
            return;
        if (rounds > STEPS_MAX)
            lost(world, "the two do not come to rest");
    }
}

/* Who the two are from now on. */
static void choose_peers(struct world *world)
{
    cut(world);
    world->master_is = world->slave_is = PEER_OURS;
    uint32_t dice = random_below(&world->random, 10);
    if (dice == 0)
        world->slave_is = PEER_GARBAGE;
    else if (dice == 1)
        world->master_is = PEER_GARBAGE;
    else if (dice == 2 || dice == 3)
        world->slave_is = PEER_4_9_2;
    else if (dice == 4)
        world->master_is = PEER_4_9_2;
}

static void restart_slave(struct world *world, bool power)
{
    cut(world);
    world->slave_boot++;
    if (power) { /* what was not flushed is gone */
        world->copy_end = world->copy_received = world->copy_flushed;
        if (world->copy_end < world->copy_begin)
            world->copy_end = world->copy_received = world->copy_begin;
    }
}

/* The master loses the end of its log, and goes on differently. A slave that had it has to be told
 * so: what its operator would do is done at once. */
static void fork_master(struct world *world)
{
    int64_t cut_at =
        world->bounds.end_pos - (int64_t)random_below(&world->random, 8) * RECORD_BYTES;
    if (cut_at <= world->bounds.min_pos)
        return;
    cut(world);
    world->bounds.end_pos = cut_at;
    world->history++;
    if (one_in(world, 2))
        grow_log(world);
    if (is_part_of_log(world, world->copy_begin, world->copy_end))
        return;
    /* The slave has what the master lost: it must be refused, and not take a byte. */
    int64_t end = world->copy_end;
    world->master_is = world->slave_is = PEER_OURS;
    bool was_calm = world->calm;
    world->calm = true;
    world->refusals = 0;
    for (int i = 0; i < 20 && world->refusals == 0; i++) {
        if (!world->connected)
            open_connection(world);
        world->now_ms += 10;
        step_both(world);
    }
    if (world->copy_end != end || world->copy_received != end)
        lost(world, "a slave of another history was given something");
    if (world->refusals == 0)
        lost(world, "a slave of another history was not refused");
    cut(world);
    empty_slave(world);
    world->calm = was_calm;
}

static void disturb(struct world *world)
{
    switch (random_below(&world->random, 16)) {
    case 0:
    case 1:
    case 2:
    case 3:
        grow_log(world);
        break;
    case 4:
    case 5:
        flush_slave(world);
        break;
    case 6:
        cut(world);
        break;
    case 7:
        restart_slave(world, one_in(world, 2));
        break;
    case 8:
        choose_peers(world);
        break;
    case 9:
        fork_master(world);
        break;
    case 10:
        if (one_in(world, 4))
            expire_log(world);
        break;
    case 11:
        ha_master_changed(&world->master, 1 + random_below(&world->random, 15));
        break;
    default:
        break;
    }
    if (!world->connected && one_in(world, 2))
        open_connection(world);
}

/* An operator starts a slave anew that has fallen out of the log. */
static void mend(struct world *world)
{
    if (world->copy_end > 0 && world->copy_end < world->bounds.min_pos) {
        cut(world);
        empty_slave(world);
    }
}

/* Faults have stopped: it must all arrive. */
static void come_to_rest(struct world *world)
{
    world->calm = true;
    if (world->slave_is == PEER_GARBAGE || world->master_is == PEER_GARBAGE) {
        world->slave_is = world->master_is = PEER_OURS;
        cut(world);
    }
    /* An empty slave of 4.9.2 gets the last file only, of which there must be something. */
    do
        grow_log(world);
    while (world->bounds.end_pos % SEGMENT_BYTES == 0);
    for (int i = 0; i < 2000; i++) {
        mend(world);
        if (!world->connected)
            open_connection(world);
        flush_slave(world);
        step_both(world);
        if (world->copy_end == world->bounds.end_pos && world->acked == world->bounds.end_pos)
            return;
        world->now_ms += 50;
    }
    lost(world, "the slave does not get the log");
}

static void run_world(uint64_t seed)
{
    static struct world world;
    memset(&world, 0, sizeof world);
    world.seed = seed;
    world.random.state = seed;
    world.now_ms = 1000000;
    world.slave_id = 1;
    world.sync_flush = one_in(&world, 2);
    world.self = (struct ha_hello){.segment_bytes = SEGMENT_BYTES};
    (void)snprintf(world.self.cluster_name, sizeof world.self.cluster_name, "c");
    (void)snprintf(world.self.broker_name, sizeof world.self.broker_name, "b");
    ha_master_init(&world.master, &(struct ha_master_options){.self = &world.self}, 0);
    int steps = 100 + (int)random_below(&world.random, 300);
    for (int i = 0; i < steps; i++) {
        disturb(&world);
        step_both(&world);
        world.now_ms += random_below(&world.random, one_in(&world, 20) ? 3000 : 60);
    }
    come_to_rest(&world);
    if (!is_part_of_log(&world, world.copy_begin, world.copy_end))
        lost(&world, "the logs differ in the end");
}

static void a_slave_has_its_masters_log(void **state)
{
    (void)state;
    struct crash_seeds seeds;
    uint64_t seed;
    crash_seeds_begin(&seeds, "t_ha_sim", 3);
    while (crash_seeds_next(&seeds, &seed))
        run_world(seed);
    printf("t_ha_sim: %" PRId64 " worlds\n", seeds.count);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_slave_has_its_masters_log)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
