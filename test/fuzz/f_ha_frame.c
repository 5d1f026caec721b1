/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as what comes over a replication connection: first to the decoders, then to a master or
 * a slave (the first byte decides), in pieces (the second byte says how large). Whatever comes, a
 * machine comes to rest, closes with words, and never sends or appends what does not follow.
 */
#include "broker/repl/ha_master.h"
#include "broker/repl/ha_slave.h"
#include "common/base/check.h"

#define SEGMENT_BYTES 65536
#define STEPS_MAX 100000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct ha_hello self = {
    .cluster_name = "c", .broker_name = "b", .broker_id = 1, .segment_bytes = SEGMENT_BYTES};

static void check_hello(struct slice body)
{
    uint8_t bytes[HA_HEAD_BYTES + HA_CONTROL_BYTES_MAX];
    struct ha_hello hello;
    struct ha_hello again;
    if (ha_hello_decode(body, &hello) != STATUS_OK)
        return;
    size_t encoded = ha_hello_encode(&hello, bytes);
    CHECK(ha_hello_decode(slice_of(bytes + HA_HEAD_BYTES, encoded - HA_HEAD_BYTES), &again) ==
          STATUS_OK);
    CHECK(strcmp(hello.cluster_name, again.cluster_name) == 0);
    CHECK(hello.end_pos == again.end_pos && hello.last.end_pos == again.last.end_pos);
}

static void check_decoders(struct slice in, enum ha_sender sender)
{
    struct ha_head head;
    char text[HA_TEXT_BYTES];
    uint32_t tables;
    while (ha_head_decode(in, sender, &head) == STATUS_OK) {
        CHECK(head.size >= 0 &&
              (head.control == HA_CONTROL_NONE || head.size <= HA_CONTROL_BYTES_MAX));
        in = slice_from(in, HA_HEAD_BYTES);
        if (in.size < (size_t)head.size)
            break;
        struct slice body = slice_of(in.data, (size_t)head.size);
        check_hello(body);
        (void)ha_refused_decode(body, text);
        (void)ha_changed_decode(body, &tables);
        in = slice_from(in, body.size);
    }
}

/* returns  false: it has closed */
static bool drive_master(struct ha_master *machine, int64_t now_ms)
{
    const struct ha_bounds log = {0, 3 * SEGMENT_BYTES};
    struct ha_master_action action;
    for (int steps = 0; steps < STEPS_MAX; steps++) {
        ha_master_step(machine, log, true, now_ms, &action);
        if (action.what == HA_MASTER_ADMIT)
            ha_master_admit(machine, HA_ADMITTED, NULL);
        if (action.what == HA_MASTER_SEND_LOG) {
            CHECK(action.pos >= log.min_pos && action.pos + action.size <= log.end_pos);
            ha_master_block(machine, action.size);
            ha_master_sent(machine, action.size);
        }
        if (action.what == HA_MASTER_ACKED)
            CHECK(action.pos <= machine->sent_pos);
        if (action.what == HA_MASTER_CLOSE) {
            CHECK(machine->why[0] != '\0');
            return false;
        }
        if (action.what == HA_MASTER_WAIT) {
            CHECK(action.until_ms > now_ms);
            return true;
        }
    }
    CHECK(false);
}

static bool drive_slave(struct ha_slave *machine, int64_t *end_pos, int64_t now_ms)
{
    struct ha_slave_action action;
    for (int steps = 0; steps < STEPS_MAX; steps++) {
        ha_slave_step(machine, (struct ha_log){*end_pos, *end_pos}, true, now_ms, &action);
        if (action.what == HA_SLAVE_BEGIN_AT)
            *end_pos = action.pos;
        if (action.what == HA_SLAVE_APPEND) {
            CHECK(action.pos == *end_pos && action.bytes.size > 0);
            *end_pos += (int64_t)action.bytes.size;
        }
        if (action.what == HA_SLAVE_CLOSE) {
            CHECK(machine->why[0] != '\0');
            return false;
        }
        if (action.what == HA_SLAVE_WAIT) {
            CHECK(action.until_ms > now_ms);
            return true;
        }
    }
    CHECK(false);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct ha_master_options master_options = {&self, 32768, 5000, 20000};
    static const struct ha_slave_options slave_options = {5000, 20000};
    static struct ha_master master;
    static struct ha_slave slave;
    int64_t now_ms = 1000;
    int64_t end_pos = 0;
    if (size < 2)
        return 0;
    bool to_master = data[0] % 2 == 0;
    size_t piece = data[1] + 1u;
    struct slice in = slice_of(data + 2, size - 2);
    check_decoders(in, to_master ? HA_FROM_SLAVE : HA_FROM_MASTER);
    ha_master_init(&master, &master_options, now_ms);
    ha_slave_init(&slave, &slave_options, &self, now_ms);
    bool open = to_master ? drive_master(&master, now_ms) : drive_slave(&slave, &end_pos, now_ms);
    /* Of a slave's peers those of 4.9.2 are tried, too: those that never say HELLO. */
    if (open && !to_master && data[0] >= 128)
        open = drive_slave(&slave, &end_pos, now_ms += HA_HELLO_PATIENCE_MS);
    while (open && in.size > 0) {
        struct slice part = slice_of(in.data, in.size < piece ? in.size : piece);
        in = slice_from(in, part.size);
        now_ms++;
        if (to_master) {
            ha_master_input(&master, part, now_ms);
            open = drive_master(&master, now_ms);
        } else {
            ha_slave_input(&slave, part, now_ms);
            open = drive_slave(&slave, &end_pos, now_ms);
        }
    }
    return 0;
}
