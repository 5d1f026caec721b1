/* SPDX-License-Identifier: Apache-2.0
 *
 * A slave and its master. Invariants: what is handed on to be appended goes on where the log ends,
 * byte by byte; nothing is reported that the log does not have. Whether it is messages that come is
 * the store's matter, which takes nothing else.
 */
#include "broker/repl/ha_slave.h"

#include "common/base/check.h"

#include <stdarg.h>
#include <stdio.h>

void ha_slave_init(struct ha_slave *machine, const struct ha_slave_options *options,
                   const struct ha_hello *self, int64_t now_ms)
{
    *machine = (struct ha_slave){
        .options = *options,
        .self = *self,
        .master_end_pos = -1,
        .heard_ms = now_ms,
        .began_ms = now_ms,
        .told_ms = now_ms,
        .next_pos = self->end_pos,
        .reported_pos = -1,
        .ask_due = true,
    };
}

void ha_slave_fail(struct ha_slave *machine, const char *format, ...)
{
    if (machine->state == HA_SLAVE_CLOSING)
        return;
    machine->state = HA_SLAVE_CLOSING;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(machine->why, sizeof machine->why, format, args);
    va_end(args);
}

void ha_slave_input(struct ha_slave *machine, struct slice bytes, int64_t now_ms)
{
    CHECK(machine->input.size == 0);
    if (bytes.size > 0)
        machine->heard_ms = now_ms;
    machine->input = bytes;
}

/* --- heads and control frames --- */

static void take_hello(struct ha_slave *machine, struct slice body)
{
    if (machine->protocol == 1) {
        ha_slave_fail(machine, "the master's HELLO came after more than %d ms; asking again",
                      HA_HELLO_PATIENCE_MS);
    } else if (machine->protocol == 2) {
        ha_slave_fail(machine, "the master said HELLO twice");
    } else if (ha_hello_decode(body, &machine->master) != STATUS_OK) {
        ha_slave_fail(machine,
                      "the master's HELLO can not be read; is it a broker of another version?");
    } else if (machine->master.broker_id != 0) {
        ha_slave_fail(machine,
                      "the broker that answers has brokerId %lld, so it is no master; correct "
                      "haMasterAddress",
                      (long long)machine->master.broker_id);
        machine->refused = true;
    } else {
        machine->protocol = 2;
        machine->state = HA_SLAVE_STREAMING;
        machine->hello_due = true;
        machine->master_end_pos = machine->master.end_pos;
    }
}

static void take_control(struct ha_slave *machine, enum ha_control control, struct slice body,
                         struct ha_slave_action *action)
{
    char text[HA_TEXT_BYTES];
    if (control == HA_CONTROL_HELLO) {
        take_hello(machine, body);
    } else if (machine->protocol != 2) {
        ha_slave_fail(machine, "the master sent a frame of protocol 2 before its HELLO");
    } else if (control == HA_CONTROL_CHANGED) {
        if (ha_changed_decode(body, &action->tables) == STATUS_OK)
            action->what = HA_SLAVE_CHANGED;
        else
            ha_slave_fail(machine, "a frame of the master can not be read");
    } else if (ha_refused_decode(body, text) == STATUS_OK) {
        ha_slave_fail(machine, "the master refuses this slave: %s", text);
        machine->refused = true;
    } else {
        ha_slave_fail(machine, "a frame of the master can not be read");
    }
}

/* An empty log begins where the master says: at a file's start. */
static bool take_first_pos(struct ha_slave *machine, int64_t pos, struct ha_slave_action *action)
{
    if (pos % machine->self.segment_bytes != 0) {
        ha_slave_fail(
            machine,
            "the master sends its log from %lld on, where no file of %lld bytes begins; set "
            "mappedFileSizeCommitLog to the master's",
            (long long)pos, (long long)machine->self.segment_bytes);
        machine->refused = true;
        return false;
    }
    machine->next_pos = pos;
    if (pos > 0) {
        action->what = HA_SLAVE_BEGIN_AT;
        action->pos = pos;
    }
    return true;
}

static void take_heartbeat(struct ha_slave *machine, int64_t pos)
{
    bool empty = machine->protocol == 1 && machine->next_pos == 0;
    if (machine->protocol == 1 ? pos != machine->next_pos && !empty : pos < machine->next_pos) {
        ha_slave_fail(machine, "the master is at %lld, but this log ends at %lld", (long long)pos,
                      (long long)machine->next_pos);
        return;
    }
    machine->accepted = true;
    if (machine->protocol == 2)
        machine->master_end_pos = pos;
}

static void take_block(struct ha_slave *machine, const struct ha_head *head,
                       struct ha_slave_action *action)
{
    int64_t segment_bytes = machine->self.segment_bytes;
    if (machine->next_pos == 0 && head->pos > 0 && machine->self.end_pos == 0 &&
        !take_first_pos(machine, head->pos, action))
        return;
    if (head->pos != machine->next_pos) {
        ha_slave_fail(machine, "the master sends its log from %lld on, but this one ends at %lld",
                      (long long)head->pos, (long long)machine->next_pos);
    } else if (head->pos / segment_bytes != (head->pos + head->size - 1) / segment_bytes) {
        ha_slave_fail(
            machine,
            "the master's block at %lld goes on behind the end of a file of %lld bytes; set "
            "mappedFileSizeCommitLog to the master's, and start with an empty store",
            (long long)head->pos, (long long)segment_bytes);
        machine->refused = true;
    } else {
        machine->block_bytes = head->size;
        if (machine->protocol == 2 && head->pos + head->size > machine->master_end_pos)
            machine->master_end_pos = head->pos + head->size;
    }
}

/* Move input behind what is kept of a frame, until that has `wanted` bytes. */
static bool gather(struct ha_slave *machine, size_t wanted)
{
    if (machine->in_size < wanted) {
        size_t more = wanted - machine->in_size;
        if (more > machine->input.size)
            more = machine->input.size;
        if (more > 0)
            memcpy(machine->in + machine->in_size, machine->input.data, more);
        machine->in_size += more;
        machine->input = slice_from(machine->input, more);
    }
    return machine->in_size >= wanted;
}

static void take_frame(struct ha_slave *machine, struct ha_slave_action *action)
{
    struct ha_head head;
    if (!gather(machine, HA_HEAD_BYTES))
        return;
    if (ha_head_decode(slice_of(machine->in, machine->in_size), HA_FROM_MASTER, &head) !=
        STATUS_OK) {
        ha_slave_fail(machine,
                      "what the master sends is not the replication protocol; is haMasterAddress "
                      "the address of its haListenPort?");
        return;
    }
    if (head.control != HA_CONTROL_NONE) {
        size_t body_bytes = (size_t)head.size;
        if (!gather(machine, HA_HEAD_BYTES + body_bytes))
            return;
        machine->in_size = 0;
        take_control(machine, head.control, slice_of(machine->in + HA_HEAD_BYTES, body_bytes),
                     action);
        return;
    }
    machine->in_size = 0;
    if (machine->state == HA_SLAVE_ASKING || machine->hello_due)
        ha_slave_fail(machine, "the master sends its log before it was asked for it");
    else if (head.size == 0)
        take_heartbeat(machine, head.pos);
    else
        take_block(machine, &head, action);
}

/* --- the log's bytes --- */

static void take_log(struct ha_slave *machine, struct ha_slave_action *action)
{
    size_t size = machine->input.size;
    if ((int64_t)size > machine->block_bytes)
        size = (size_t)machine->block_bytes;
    machine->accepted = true;
    action->what = HA_SLAVE_APPEND;
    action->pos = machine->next_pos;
    action->bytes = slice_of(machine->input.data, size);
    machine->input = slice_from(machine->input, size);
    machine->block_bytes -= (int64_t)size;
    machine->next_pos += (int64_t)size;
}

/* --- what goes out --- */

static void send_bytes(struct ha_slave *machine, size_t size, int64_t now_ms,
                       struct ha_slave_action *action)
{
    machine->told_ms = now_ms;
    action->what = HA_SLAVE_SEND;
    action->bytes = slice_of(machine->out, size);
}

/* What may be reported; -1: nothing yet. Protocol 1 begins where the first report says: it has to
 * be the end of the log, and with sync_flush on disk. */
static int64_t report_of(const struct ha_slave *machine, struct ha_log log)
{
    bool flushed = log.flushed_pos >= log.end_pos;
    int64_t pos = machine->self.sync_flush && !flushed ? log.flushed_pos : log.end_pos;
    if (machine->state != HA_SLAVE_STREAMING ||
        (machine->protocol == 1 ? machine->reported_pos == -1 && pos < log.end_pos
                                : !machine->accepted))
        return -1;
    return pos > machine->reported_pos ? pos : machine->reported_pos;
}

static void report(struct ha_slave *machine, int64_t pos, int64_t now_ms,
                   struct ha_slave_action *action)
{
    machine->reported_pos = pos;
    if (machine->protocol == 1) {
        put_i64(machine->out, pos);
        send_bytes(machine, HA_REPORT_BYTES, now_ms, action);
    } else {
        ha_head_encode(pos, 0, machine->out);
        send_bytes(machine, HA_HEAD_BYTES, now_ms, action);
    }
}

static void send_due(struct ha_slave *machine, struct ha_log log, int64_t now_ms,
                     struct ha_slave_action *action)
{
    int64_t pos = report_of(machine, log);
    if (machine->ask_due) {
        machine->ask_due = false;
        put_i64(machine->out, HA_ASK_FOR_HELLO);
        send_bytes(machine, HA_REPORT_BYTES, now_ms, action);
    } else if (machine->hello_due) {
        machine->hello_due = false;
        send_bytes(machine, ha_hello_encode(&machine->self, machine->out), now_ms, action);
    } else if (pos > machine->reported_pos ||
               (pos != -1 && now_ms - machine->told_ms >= machine->options.heartbeat_ms)) {
        report(machine, pos, now_ms, action);
    }
}

/* Whether a HELLO may still come that would tell what the master speaks. */
static bool is_patient(const struct ha_slave *machine)
{
    return machine->state == HA_SLAVE_ASKING && !machine->ask_due && machine->in_size == 0;
}

static void look_at_time(struct ha_slave *machine, int64_t now_ms)
{
    if (is_patient(machine) && now_ms - machine->began_ms >= HA_HELLO_PATIENCE_MS) {
        machine->protocol = 1;
        machine->state = HA_SLAVE_STREAMING;
    }
    int64_t silent_ms = now_ms - machine->heard_ms;
    if (silent_ms >= machine->options.silence_ms)
        ha_slave_fail(machine,
                      "nothing was heard from the master for %lld ms (haHousekeepingInterval)",
                      (long long)silent_ms);
}

void ha_slave_step(struct ha_slave *machine, struct ha_log log, bool can_send, int64_t now_ms,
                   struct ha_slave_action *action)
{
    *action = (struct ha_slave_action){.what = HA_SLAVE_WAIT};
    while (machine->state != HA_SLAVE_CLOSING && machine->input.size > 0 &&
           action->what == HA_SLAVE_WAIT) {
        if (machine->hello_due && can_send)
            send_due(machine, log, now_ms, action);
        else if (machine->block_bytes > 0)
            take_log(machine, action);
        else
            take_frame(machine, action);
    }
    if (machine->state != HA_SLAVE_CLOSING && action->what == HA_SLAVE_WAIT)
        look_at_time(machine, now_ms);
    if (machine->state != HA_SLAVE_CLOSING && action->what == HA_SLAVE_WAIT && can_send)
        send_due(machine, log, now_ms, action);
    if (machine->state == HA_SLAVE_CLOSING) {
        machine->input = SLICE_EMPTY;
        action->what = HA_SLAVE_CLOSE;
    }
    action->until_ms = machine->heard_ms + machine->options.silence_ms;
    int64_t next_ms = action->until_ms;
    if (is_patient(machine))
        next_ms = machine->began_ms + HA_HELLO_PATIENCE_MS;
    else if (can_send && report_of(machine, log) != -1)
        next_ms = machine->told_ms + machine->options.heartbeat_ms;
    if (next_ms < action->until_ms)
        action->until_ms = next_ms;
}
