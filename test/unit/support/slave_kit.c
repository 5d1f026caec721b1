/* SPDX-License-Identifier: Apache-2.0 */
#include "test/unit/support/slave_kit.h"

#include "common/base/check.h"
#include "test/unit/support/crash_message.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH_MAX 8

/* --- life --- */

void slave_pair_init(struct slave_pair *pair, uint64_t seed)
{
    memset(pair, 0, sizeof *pair);
    crash_init(&pair->master, seed);
    crash_init(&pair->slave, seed);
    pair->slave.random.state = seed ^ 0x9E3779B97F4A7C15U;
    pair->slave.options.role = STORE_ROLE_SLAVE;
    crash_open(&pair->master);
    crash_open(&pair->slave);
}

void slave_pair_release(struct slave_pair *pair)
{
    crash_release(&pair->master);
    crash_release(&pair->slave);
}

void slave_pair_begin_at(struct slave_pair *pair, int64_t pos)
{
    struct err err = {.text = ""};
    if (store_begin_at(pair->slave.store, pos, &err) != STATUS_OK)
        crash_fail(&pair->slave, "the log cannot begin at %" PRId64 ": %s", pos, err.text);
    pair->begin = pos;
}

/* --- the master --- */

/* What is expected of the slave is what the master knows; of messages before the slave's begin it
 * has never heard. */
static void learn(const struct slave_pair *pair, struct crash *slave)
{
    const struct crash *master = &pair->master;
    free(slave->sent);
    slave->sent = xcalloc(master->sent_count + 1, sizeof *slave->sent);
    slave->sent_count = master->sent_count;
    slave->sent_capacity = master->sent_count;
    for (size_t i = 0; i < master->sent_count; i++) {
        slave->sent[i] = master->sent[i];
        if (slave->sent[i].pos < pair->begin)
            slave->sent[i].state = SENT_LOST;
    }
    slave->began_late = pair->begin > 0;
    memcpy(slave->deleted, master->deleted, sizeof slave->deleted);
    memcpy(slave->gone, master->gone, sizeof slave->gone);
}

void slave_pair_put(struct slave_pair *pair, size_t count)
{
    pair->master.now_ms += random_below(&pair->master.random, 40);
    pair->slave.now_ms = pair->master.now_ms;
    crash_put(&pair->master, count);
    learn(pair, &pair->slave);
}

static bool is_doomed(void *ctx, struct slice topic)
{
    return slice_equal(topic, slice_of_cstr(ctx));
}

void slave_pair_delete_topic(struct slave_pair *pair, int topic)
{
    struct crash *master = &pair->master;
    master->deleted[topic] = true;
    master->gone[topic] = store_appended_pos(master->store);
    store_delete_queues(master->store, is_doomed, (void *)(uintptr_t)crash_topic(topic));
    learn(pair, &pair->slave);
}

/* --- between them --- */

void slave_pair_feed(struct slave_pair *pair, size_t max)
{
    struct crash *slave = &pair->slave;
    struct random *random = &slave->random;
    struct log_range range;
    struct err err = {.text = ""};
    int64_t pos = random_below(random, 10) == 0 ? store_appended_pos(slave->store)
                                                : store_received_pos(slave->store);
    if (store_log_bytes(pair->master.store, pos, max, &range) != STATUS_OK)
        crash_fail(slave, "the master has no bytes at %" PRId64, pos);
    enum status status =
        store_append_raw(slave->store, pos, slice_of(range.data, range.size), &err);
    int64_t received = store_received_pos(slave->store);
    bool refused = status == STATUS_FULL || status == STATUS_BUSY || status == STATUS_IO;
    if (status != STATUS_OK && !(slave->faults && refused))
        crash_fail(slave, "bytes of the master are refused: %s", err.text);
    if (status == STATUS_OK && received != pos + (int64_t)range.size)
        crash_fail(slave, "bytes up to %" PRId64 " were taken, up to %" PRId64 " remain",
                   pos + (int64_t)range.size, received);
    if (received < pos || received > pos + (int64_t)range.size)
        crash_fail(slave, "%" PRId64 " was received, of bytes at %" PRId64, received, pos);
    log_range_release(&range);
}

static size_t random_piece(struct random *random)
{
    static const uint32_t most[] = {16, 100, 1000, 8192, 40000};
    return 1 + random_below(random, most[random_below(random, 5)]);
}

/* --- the slave --- */

/* With a restart only. */
static bool is_broken(const struct crash *slave)
{
    return health_has(&slave->store->health, REFUSAL_FAILED);
}

static void begin_again(struct slave_pair *pair, int64_t durable_pos)
{
    struct crash *slave = &pair->slave;
    struct err err;
    enum status status = crash_try_open(slave, &err);
    if (status != STATUS_OK && !(slave->faults && status != STATUS_CORRUPT))
        crash_fail(slave, "the store does not open again (%s): %s", status_name(status), err.text);
    if (status != STATUS_OK)
        return;
    sim_hold_faults(slave->sim, true);
    slave_pair_verify(pair, slave, durable_pos);
    sim_hold_faults(slave->sim, false);
}

static void end_and_begin(struct slave_pair *pair, bool clean)
{
    struct crash *slave = &pair->slave;
    /* A kill loses nothing that was written. */
    int64_t end =
        slave->faults ? store_flushed_pos(slave->store) : store_appended_pos(slave->store);
    if (clean)
        crash_close(slave);
    else
        crash_cut(slave, NULL);
    begin_again(pair, end);
}

static void prepare_segment(struct store *store)
{
    struct err err;
    if (commitlog_prepare(&store->log, &err) == STATUS_OK)
        health_allow(&store->health, REFUSAL_NO_SPACE);
}

static void background_step(struct slave_pair *pair, uint32_t kind)
{
    struct store *store = pair->slave.store;
    if (kind < 30)
        (void)commitlog_flush(&store->log);
    else if (kind < 55)
        (void)dispatcher_round(&store->dispatcher);
    else if (kind < 60)
        (void)keeper_sync(&store->keeper, false);
    else if (kind < 75)
        (void)keeper_sync(&store->keeper, true);
    else if (kind < 85)
        prepare_segment(store);
    else if (kind < 90)
        crash_delete_old(&pair->slave);
    else
        end_and_begin(pair, kind < 95);
}

void slave_pair_step(struct slave_pair *pair)
{
    struct crash *slave = &pair->slave;
    struct random *random = &slave->random;
    if (slave->store == NULL) { /* a fault kept it from being opened */
        begin_again(pair, slave->durable_pos);
        return;
    }
    uint32_t kind = random_below(random, 200);
    if (kind < 40)
        slave_pair_put(pair, 1 + random_below(random, BATCH_MAX));
    else if (kind < 42)
        slave_pair_delete_topic(pair, (int)random_below(random, CRASH_TOPICS));
    else if (kind < 100)
        slave_pair_feed(pair, random_piece(random));
    else if (is_broken(slave))
        end_and_begin(pair, kind < 150);
    else
        background_step(pair, kind - 100);
}

void slave_pair_catch_up(struct slave_pair *pair)
{
    struct store *store = pair->slave.store;
    int64_t end = store_appended_pos(pair->master.store);
    while (store_appended_pos(store) < end)
        slave_pair_feed(pair, random_piece(&pair->slave.random));
    crash_dispatch(&pair->master);
    crash_dispatch(&pair->slave);
    if (commitlog_flush(&store->log) != STATUS_OK || store_dispatched_pos(store) != end)
        crash_fail(&pair->slave, "the slave does not come to the master's end");
}

/* --- proofs --- */

static uint8_t *segment_bytes(struct crash *crash, int64_t base)
{
    char path[64];
    size_t size;
    (void)snprintf(path, sizeof path, CRASH_LOG_FOLDER "/%020" PRId64, base);
    uint8_t *bytes = sim_bytes(crash->sim, path, &size);
    if (bytes == NULL || size != (size_t)crash->options.segment_bytes)
        crash_fail(crash, "%s is not there, or has another size", path);
    return bytes;
}

void slave_pair_compare_logs(struct slave_pair *pair, struct crash *slave)
{
    int64_t size = slave->options.segment_bytes;
    int64_t end = store_appended_pos(slave->store);
    for (int64_t base = store_min_pos(slave->store); base <= end; base += size) {
        const uint8_t *have = segment_bytes(slave, base);
        int64_t used = end - base < size ? end - base : size;
        if (used > 0 && memcmp(have, segment_bytes(&pair->master, base), (size_t)used) != 0)
            crash_fail(slave, "the file at %" PRId64 " is not the master's", base);
        for (int64_t i = used; i < size; i++)
            if (have[i] != 0)
                crash_fail(slave, "behind the end, at %" PRId64 ", there is something", base + i);
    }
}

void slave_pair_verify(struct slave_pair *pair, struct crash *slave, int64_t durable_pos)
{
    learn(pair, slave);
    crash_verify(slave, durable_pos);
    slave_pair_compare_logs(pair, slave);
    learn(pair, slave); /* what was not there yet is no loss */
    struct log_name name;
    if (store_name_end(slave->store, &name) != STATUS_OK)
        crash_fail(slave, "the end of the log cannot be named");
    if (name.pos != -1 && store_has_record(pair->master.store, &name) != STATUS_OK)
        crash_fail(slave, "the last record, at %" PRId64 ", is not the master's", name.pos);
}
