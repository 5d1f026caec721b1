/* SPDX-License-Identifier: Apache-2.0
 *
 * A master and one slave. Invariants: acked_pos <= sent_pos <= next_pos <= end of the log; reports
 * never go back; blocks follow each other without a gap; nothing of the log is sent before the
 * slave is admitted.
 */
#include "broker/repl/ha_master.h"

#include "common/base/check.h"

#include <stdarg.h>
#include <stdio.h>

void ha_master_init(struct ha_master *machine, const struct ha_master_options *options,
                    int64_t now_ms)
{
    *machine = (struct ha_master){
        .options = *options,
        .acked_pos = -1,
        .heard_ms = now_ms,
        .told_ms = now_ms,
    };
}

void ha_master_fail(struct ha_master *machine, const char *format, ...)
{
    if (machine->state == HA_MASTER_CLOSING)
        return;
    machine->state = HA_MASTER_CLOSING;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(machine->why, sizeof machine->why, format, args);
    va_end(args);
}

/* An operator has to act. A slave of this program is told the words, too. */
#define REFUSE(machine, ...)                               \
    do {                                                   \
        ha_master_fail(machine, __VA_ARGS__);              \
        (machine)->refused = true;                         \
        (machine)->refusal_due = (machine)->protocol == 2; \
    } while (0)

/* --- what comes in --- */

static void take_report(struct ha_master *machine, int64_t pos)
{
    if (pos > machine->sent_pos) {
        ha_master_fail(machine,
                       "it reports position %lld, but was sent the log up to %lld only; it does "
                       "not count. Is something else connecting to this port?",
                       (long long)pos, (long long)machine->sent_pos);
    } else if (pos < machine->acked_pos) {
        ha_master_fail(machine,
                       "it reports position %lld after %lld; what it has been sent can not have "
                       "gone. Look at that broker's log",
                       (long long)pos, (long long)machine->acked_pos);
    } else {
        machine->acked_pos = pos;
        machine->acked_due = true;
    }
}

static void take_first(struct ha_master *machine, int64_t pos)
{
    if (pos == HA_ASK_FOR_HELLO) {
        machine->protocol = 2;
        machine->state = HA_MASTER_GREETING;
        machine->hello_due = true;
    } else if (pos >= 0) {
        machine->protocol = 1;
        machine->state = HA_MASTER_JUDGING;
        machine->slave.broker_id = -1;
        machine->slave.end_pos = pos;
    } else {
        ha_master_fail(machine,
                       "it does not speak the replication protocol: its first report is "
                       "%lld. Only slaves should connect to haListenPort",
                       (long long)pos);
    }
}

static void take_hello(struct ha_master *machine, struct slice body)
{
    if (ha_hello_decode(body, &machine->slave) != STATUS_OK) {
        ha_master_fail(machine, "its HELLO can not be read; is it a broker of another version?");
        return;
    }
    machine->state = HA_MASTER_JUDGING;
}

/* The frame at the start of what has come in.
 * returns  how many bytes it takes; more than in_size: so many are needed */
static size_t take_frame(struct ha_master *machine)
{
    struct slice in = slice_of(machine->in, machine->in_size);
    if (machine->state == HA_MASTER_SILENT || machine->protocol == 1) {
        if (in.size < HA_REPORT_BYTES)
            return HA_REPORT_BYTES;
        int64_t pos = get_i64(in.data);
        if (machine->state == HA_MASTER_SILENT)
            take_first(machine, pos);
        else if (pos < 0)
            ha_master_fail(machine, "it reports position %lld; there is none below 0",
                           (long long)pos);
        else if (machine->state == HA_MASTER_STREAMING)
            take_report(machine, pos);
        else
            machine->slave.end_pos = pos; /* of several first reports the last one counts */
        return HA_REPORT_BYTES;
    }
    struct ha_head head;
    if (in.size < HA_HEAD_BYTES)
        return HA_HEAD_BYTES;
    bool greeting = machine->state == HA_MASTER_GREETING;
    if (ha_head_decode(in, HA_FROM_SLAVE, &head) != STATUS_OK ||
        greeting != (head.control == HA_CONTROL_HELLO)) {
        ha_master_fail(machine,
                       "it sent something that is no report%s; is it a broker of another "
                       "version?",
                       greeting ? ", before its HELLO" : "");
        return in.size;
    }
    size_t frame_bytes = HA_HEAD_BYTES + (size_t)head.size;
    if (in.size < frame_bytes)
        return frame_bytes;
    if (greeting)
        take_hello(machine, slice_of(in.data + HA_HEAD_BYTES, (size_t)head.size));
    else if (machine->state == HA_MASTER_STREAMING)
        take_report(machine, head.pos);
    else
        ha_master_fail(machine, "it reports before it was admitted");
    return frame_bytes;
}

void ha_master_input(struct ha_master *machine, struct slice bytes, int64_t now_ms)
{
    if (bytes.size > 0)
        machine->heard_ms = now_ms;
    size_t wanted = HA_REPORT_BYTES;
    while (machine->state != HA_MASTER_CLOSING) {
        wanted = take_frame(machine);
        if (wanted <= machine->in_size) {
            machine->in_size -= wanted;
            memmove(machine->in, machine->in + wanted, machine->in_size);
            continue;
        }
        size_t more = wanted - machine->in_size;
        if (more > bytes.size)
            more = bytes.size;
        if (more == 0)
            return;
        memcpy(machine->in + machine->in_size, bytes.data, more);
        machine->in_size += more;
        bytes = slice_from(bytes, more);
    }
}

/* --- who may have the log --- */

/* Words for what a slave of this program says of itself; it is told them.
 * returns  false: refused */
static bool is_acceptable(struct ha_master *machine)
{
    const struct ha_hello *slave = &machine->slave;
    const struct ha_hello *self = machine->options.self;
    if (strcmp(slave->cluster_name, self->cluster_name) != 0)
        REFUSE(machine,
               "its brokerClusterName is \"%.100s\", the master's \"%.100s\"; correct the slave's "
               "brokerClusterName or its haMasterAddress",
               slave->cluster_name, self->cluster_name);
    else if (strcmp(slave->broker_name, self->broker_name) != 0)
        REFUSE(machine,
               "its brokerName is \"%.100s\", the master's \"%.100s\"; a slave has its master's "
               "name: correct the slave's brokerName or its haMasterAddress",
               slave->broker_name, self->broker_name);
    else if (slave->broker_id <= 0)
        REFUSE(machine,
               "its brokerId is %lld, but a slave's is above 0; set brokerId and brokerRole = "
               "SLAVE there",
               (long long)slave->broker_id);
    else if (slave->segment_bytes != self->segment_bytes)
        REFUSE(machine,
               "its log files have %lld bytes, the master's %lld; set mappedFileSizeCommitLog of "
               "the slave to the master's, and start it with an empty store",
               (long long)slave->segment_bytes, (long long)self->segment_bytes);
    else
        return true;
    return false;
}

/* The same for where its log ends, of both protocols. */
static bool is_within(struct ha_master *machine, int64_t pos, struct ha_bounds log)
{
    if (pos > log.end_pos && log.end_pos == log.min_pos)
        REFUSE(
            machine,
            "its log ends at %lld, behind the master's, which ends at %lld: the master's is empty; "
            "if it has lost its disk, stop it and give it a copy of the slave's store",
            (long long)pos, (long long)log.end_pos);
    else if (pos > log.end_pos)
        REFUSE(machine,
               "its log ends at %lld, behind the master's, which ends at %lld; it may have "
               "messages that the master has lost: keep a copy of its store, and start it with an "
               "empty one, or make it the master",
               (long long)pos, (long long)log.end_pos);
    else if (pos < log.min_pos)
        REFUSE(machine,
               "its log ends at %lld, but the master's begins at %lld, what lies between has "
               "expired; start the slave with an empty store",
               (long long)pos, (long long)log.min_pos);
    else
        return true;
    return false;
}

/* Where an empty slave begins: one of 4.9.2 at the start of the last file, as it expects. */
static int64_t first_pos(const struct ha_master *machine, struct ha_bounds log)
{
    if (machine->slave.end_pos > 0)
        return machine->slave.end_pos;
    if (machine->protocol == 2)
        return log.min_pos;
    int64_t last_file = log.end_pos - log.end_pos % machine->options.self->segment_bytes;
    return last_file < log.min_pos ? log.min_pos : last_file;
}

static void judge(struct ha_master *machine, struct ha_bounds log, struct ha_master_action *action)
{
    int64_t pos = first_pos(machine, log);
    if ((machine->protocol == 2 && !is_acceptable(machine)) || !is_within(machine, pos, log))
        return;
    machine->next_pos = machine->sent_pos = pos;
    action->what = HA_MASTER_ADMIT;
    action->pos = pos;
}

/* Nothing but a filler lies between a log's last record and its end. */
static bool ends_behind(const struct ha_hello *slave, const struct ha_name *last)
{
    int64_t behind_bytes = slave->end_pos - last->end_pos;
    return behind_bytes == 0 || (behind_bytes > 0 && behind_bytes < slave->segment_bytes &&
                                 slave->end_pos % slave->segment_bytes == 0);
}

int64_t ha_master_begins_pos(const struct ha_master *machine, int64_t start_pos, bool has_last)
{
    const struct ha_hello *slave = &machine->slave;
    if (machine->protocol == 2 && has_last && ends_behind(slave, &slave->last))
        return slave->min_pos;
    return start_pos;
}

static void refuse_foreign(struct ha_master *machine)
{
    const struct ha_hello *slave = &machine->slave;
    const struct ha_hello *self = machine->options.self;
    bool moved =
        slave->store_id[0] != '\0' && (strcmp(slave->begun_by_cluster, self->cluster_name) != 0 ||
                                       strcmp(slave->begun_by_broker, self->broker_name) != 0);
    if (moved)
        REFUSE(
            machine,
            "its last record, at %lld, is not in the master's log: its store was begun by broker "
            "\"%.100s\" of cluster \"%.100s\"; correct its storePathRootDir, or start it with "
            "an empty one",
            (long long)slave->last.pos, slave->begun_by_broker, slave->begun_by_cluster);
    else
        REFUSE(machine,
               "its last record, at %lld, is not in the master's log: its store is another "
               "broker's, or has messages that the master has lost; keep a copy of it and start "
               "the slave with an empty one",
               (long long)slave->last.pos);
}

void ha_master_admit(struct ha_master *machine, enum ha_verdict verdict, const char *text)
{
    CHECK(machine->state == HA_MASTER_JUDGING);
    const char *other = text == NULL ? "" : text;
    switch (verdict) {
    case HA_ADMITTED:
        machine->state = HA_MASTER_STREAMING;
        /* A 4.9.2 slave has begun with its report, and hears the first heartbeat in time. */
        machine->heartbeat_due = machine->protocol == 2;
        if (machine->protocol == 1) {
            machine->acked_pos = machine->slave.end_pos;
            machine->acked_due = true;
        }
        break;
    case HA_FOREIGN_LOG:
        refuse_foreign(machine);
        break;
    case HA_ID_TAKEN:
        REFUSE(machine,
               "another slave%s%s with brokerId %lld is connected; each slave of a master needs "
               "its own",
               *other == '\0' ? "" : ", ", other, (long long)machine->slave.broker_id);
        break;
    case HA_STORE_COPIED:
        REFUSE(
            machine,
            "two slaves with brokerId %lld run at once and have one storeIdentity.json (id "
            "%s): the other one%s%s has taken this one's place. One of the two stores is a copy: "
            "stop that slave, delete its storeIdentity.json and .bak, and give it a brokerId of "
            "its own",
            (long long)machine->slave.broker_id, machine->slave.store_id,
            *other == '\0' ? "" : ", ", other);
        break;
    case HA_TOO_MANY:
        REFUSE(machine, "the master has as many slaves as it takes");
        break;
    }
}

/* --- what goes out --- */

void ha_master_block(struct ha_master *machine, int64_t size)
{
    CHECK(machine->state == HA_MASTER_STREAMING && size > 0);
    machine->next_pos += size;
}

void ha_master_sent(struct ha_master *machine, int64_t size)
{
    machine->sent_pos += size;
    CHECK(machine->sent_pos <= machine->next_pos);
}

void ha_master_changed(struct ha_master *machine, uint32_t tables)
{
    machine->changed |= tables;
}

static void send_frame(struct ha_master *machine, size_t size, int64_t now_ms,
                       struct ha_master_action *action)
{
    machine->told_ms = now_ms;
    action->what = HA_MASTER_SEND;
    action->frame = slice_of(machine->out, size);
}

static void send_heartbeat(struct ha_master *machine, struct ha_bounds log, int64_t now_ms,
                           struct ha_master_action *action)
{
    machine->heartbeat_due = false;
    ha_head_encode(machine->protocol == 1 ? machine->next_pos : log.end_pos, 0, machine->out);
    send_frame(machine, HA_HEAD_BYTES, now_ms, action);
}

static void send_hello(struct ha_master *machine, struct ha_bounds log, int64_t now_ms,
                       struct ha_master_action *action)
{
    struct ha_hello hello = *machine->options.self;
    hello.min_pos = log.min_pos;
    hello.end_pos = log.end_pos;
    machine->hello_due = false;
    send_frame(machine, ha_hello_encode(&hello, machine->out), now_ms, action);
}

static void stream(struct ha_master *machine, struct ha_bounds log, int64_t now_ms,
                   struct ha_master_action *action)
{
    if (machine->heartbeat_due) {
        send_heartbeat(machine, log, now_ms, action);
    } else if (machine->changed != 0 && machine->protocol == 2) {
        uint32_t tables = machine->changed;
        machine->changed = 0;
        send_frame(machine, ha_changed_encode(tables, machine->out), now_ms, action);
    } else if (machine->next_pos < log.min_pos) {
        ha_master_fail(machine,
                       "it was sent the log up to %lld, but what follows has expired: the log "
                       "begins at %lld. Start the slave with an empty store, and see why it is so "
                       "slow",
                       (long long)machine->next_pos, (long long)log.min_pos);
    } else if (machine->next_pos < log.end_pos) {
        int64_t size = log.end_pos - machine->next_pos;
        int64_t size_max =
            machine->protocol == 1 ? machine->options.transfer_bytes : HA_BLOCK_BYTES;
        machine->told_ms = now_ms;
        action->what = HA_MASTER_SEND_LOG;
        action->pos = machine->next_pos;
        action->size = size < size_max ? size : size_max;
    } else if (now_ms - machine->told_ms >= machine->options.heartbeat_ms) {
        send_heartbeat(machine, log, now_ms, action);
    }
}

static void close_now(struct ha_master *machine, bool can_send, int64_t now_ms,
                      struct ha_master_action *action)
{
    if (machine->refusal_due) {
        if (!can_send)
            return;
        machine->refusal_due = false;
        send_frame(machine, ha_refused_encode(machine->why, machine->out), now_ms, action);
        return;
    }
    action->what = HA_MASTER_CLOSE;
}

void ha_master_step(struct ha_master *machine, struct ha_bounds log, bool can_send, int64_t now_ms,
                    struct ha_master_action *action)
{
    *action = (struct ha_master_action){.what = HA_MASTER_WAIT};
    int64_t silent_ms = now_ms - machine->heard_ms;
    if (silent_ms >= machine->options.silence_ms) {
        machine->refusal_due = false; /* it does not read either */
        ha_master_fail(machine, "nothing was heard from it for %lld ms (haHousekeepingInterval)",
                       (long long)silent_ms);
    }
    if (machine->state == HA_MASTER_JUDGING)
        judge(machine, log, action);
    else if (machine->acked_due && machine->state == HA_MASTER_STREAMING) {
        machine->acked_due = false;
        action->what = HA_MASTER_ACKED;
        action->pos = machine->acked_pos;
    } else if (machine->state == HA_MASTER_GREETING && machine->hello_due && can_send)
        send_hello(machine, log, now_ms, action);
    else if (machine->state == HA_MASTER_STREAMING && can_send)
        stream(machine, log, now_ms, action);
    if (machine->state == HA_MASTER_CLOSING && action->what == HA_MASTER_WAIT)
        close_now(machine, can_send, now_ms, action);
    action->until_ms = machine->heard_ms + machine->options.silence_ms;
    int64_t heartbeat_ms = machine->told_ms + machine->options.heartbeat_ms;
    if (machine->state == HA_MASTER_STREAMING && can_send && heartbeat_ms < action->until_ms)
        action->until_ms = heartbeat_ms;
}
