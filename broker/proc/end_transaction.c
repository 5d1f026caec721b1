/* SPDX-License-Identifier: Apache-2.0
 *
 * END_TRANSACTION: a producer commits or rolls back a half message (TX-02 to TX-05); and
 * RESUME_CHECK_HALF_MESSAGE, by which an operator has one asked about again (TX-10).
 *
 * A commit appends the real message and, glued to it, the marker that the half message is done:
 * both are in the log or neither is, in this order, so that after a crash the outcome is either
 * known or asked for again. A rollback appends the marker only. Who waits for an answer gets it
 * when what was appended is as durable as flushDiskType and brokerRole promise; a slave that is
 * late or missing does not make it fail, as in 4.9.2.
 *
 * A transaction ends once, whichever of its half messages the ends name, however often they are
 * sent, and whatever crash lies between (broker/state/transaction_ends.h): who says the same again
 * is answered as if he had been the first, who says the contrary is refused.
 *
 * END_TRANSACTION runs on the connection's loop, and on a worker when the half message is not in
 * memory, or large: the request is small all the same, and must not cost the loop much.
 * Source: EndTransactionProcessor and AdminBrokerProcessor.resumeCheckHalfMessage of 4.9.2.
 */
#include "broker/proc/acks.h"

#include "broker/proc/broker.h"
#include "broker/proc/draft.h"
#include "broker/proc/handlers.h"
#include "broker/proc/send_answer.h"
#include "broker/proc/timer_draft.h"
#include "broker/state/half_message.h"
#include "broker/state/transaction_ends.h"

#include "common/base/check.h"
#include "proto/header.pb-c.h"
#include "proto/properties.h"

#define NOT_FOUND_REMARK "Find prepared transaction message failed"
#define RESUME_REMARK "Exception was thrown when putting message back to " TOPIC_TRANS_HALF "."
#define LOOP_BYTES_MAX (256 * 1024)

/* What ends a transaction. */
struct ending {
    struct record records[2]; /* the message, when it is committed, and the marker */
    int count;
    int32_t outcome;
    int64_t origin; /* which transaction: claimed, to be settled or released */
    char offset_text[I64_TEXT_BYTES];
    struct buf properties; /* of a message that is delayed now */
};

/* False when the call was answered, or is one that is not. */
static bool begin(struct broker *broker, struct call *call, EndTransactionRequestHeader *header)
{
    static const char *const unused[] = {"msgId", NULL};
    end_transaction_request_header__init(header);
    if (!call_bind_lenient(call, &header->base, unused))
        return false;
    if (broker_is_slave(broker)) {
        call_fail(call, RESPONSE_SLAVE_NOT_AVAILABLE,
                  "a slave ends no transactions; send this to the master");
        return false;
    }
    int32_t outcome = header->commit_or_rollback;
    if (outcome != 0 && outcome != SYS_FLAG_TRANSACTION_COMMIT &&
        outcome != SYS_FLAG_TRANSACTION_ROLLBACK) {
        call_fail(call, RESPONSE_SYSTEM_ERROR,
                  "commitOrRollback field wrong: it is %d; send %d to commit, %d to roll back, 0 "
                  "while the outcome is unknown",
                  (int)outcome, SYS_FLAG_TRANSACTION_COMMIT, SYS_FLAG_TRANSACTION_ROLLBACK);
        return false;
    }
    if (outcome == 0)
        net_decline(call_reply_to(call));
    return outcome != 0;
}

/* TX-03. False when the call was answered. */
static bool check(struct call *call, const EndTransactionRequestHeader *header,
                  const struct record *half)
{
    struct slice group = SLICE_EMPTY;
    (void)properties_find(half->properties, SLICE_LITERAL(PROPERTY_PRODUCER_GROUP), &group);
    if (!slice_equal(group, slice_of_cstr(header->producer_group))) {
        call_fail(call, RESPONSE_SYSTEM_ERROR,
                  "The producer group wrong: the half message at %lld was sent by another group "
                  "than %s",
                  (long long)header->commit_log_offset, header->producer_group);
        return false;
    }
    if (half->queue_offset != header->tran_state_table_offset) {
        call_fail(call, RESPONSE_SYSTEM_ERROR,
                  "The transaction state table offset wrong: the half message at %lld has %lld, "
                  "not %lld; send the queueOffset of the send's answer, or the "
                  "tranStateTableOffset of the check",
                  (long long)header->commit_log_offset, (long long)half->queue_offset,
                  (long long)header->tran_state_table_offset);
        return false;
    }
    return true;
}

/* A committed message that was to be delayed: its properties, as the delivery needs them.
 * returns  NULL, or why it can not be (in the arena) */
static const char *delay(struct broker *broker, struct ending *ending, struct arena *arena)
{
    struct record *message = &ending->records[0];
    struct property_wishes wishes;
    size_t cursor = 0;
    struct slice name;
    struct slice value;
    properties_read_wishes(message->properties, &wishes);
    if (wishes.delay_level <= 0 && !wishes_timer(&wishes))
        return NULL;
    while (properties_next(message->properties, &cursor, &name, &value))
        if (!slice_is(name, PROPERTY_REAL_TOPIC) && !slice_is(name, PROPERTY_REAL_QUEUE_ID) &&
            !slice_is(name, PROPERTY_TRANSACTION_PREPARED))
            properties_append(&ending->properties, name, value);
    const struct slice stored = message->properties;
    message->properties = buf_slice(&ending->properties);
    if (wishes.delay_level > 0) {
        (void)draft_delay(broker, wishes.delay_level, &ending->properties, message);
        return NULL;
    }
    int64_t due_ms;
    const char *remark = NULL;
    if (timer_draft(broker, &wishes, &ending->properties, message, arena, &due_ms, &remark) ==
        TIMER_DRAFT_NONE)
        message->properties = stored; /* its time has come: as any other commit */
    return remark;
}

/* False when the call was answered. */
static bool claim(struct broker *broker, struct call *call, const struct ending *ending)
{
    struct transaction_end end;
    switch (transaction_ends_claim(broker->transaction_ends, ending->origin, &end)) {
    case TRANSACTION_YOURS:
        return true;
    case TRANSACTION_ENDED:
        if (end.outcome == 0 || end.outcome == ending->outcome)
            acks_answer_stored(broker, call_reply_to(call), end.pos, end.end_pos);
        else
            call_fail(call, RESPONSE_SYSTEM_ERROR, "the transaction has been %s already",
                      end.outcome == SYS_FLAG_TRANSACTION_COMMIT ? "committed" : "rolled back");
        return false;
    case TRANSACTION_UNDER_WAY:
        call_fail(call, RESPONSE_SYSTEM_BUSY,
                  "[OVERLOAD]system busy, start flow control for a while: the transaction is just "
                  "being ended by an earlier request; try again later");
        return false;
    default:
        call_fail(call, RESPONSE_SYSTEM_BUSY,
                  "[OVERLOAD]system busy, start flow control for a while: the broker has just "
                  "started and reads which transactions have ended; try again later");
        return false;
    }
}

/* Make what ends the transaction; false when the call was answered.
 * half  its memory is borrowed by *ending */
static bool prepare(struct broker *broker, struct call *call,
                    const EndTransactionRequestHeader *header, enum status found,
                    const struct log_range *range, struct record *half, struct ending *ending)
{
    *ending = (struct ending){.properties = BUF_EMPTY};
    if (found != STATUS_OK) {
        call_fail(call, RESPONSE_SYSTEM_ERROR,
                  found == STATUS_IO
                      ? NOT_FOUND_REMARK ": the disk refuses to read it, at %lld; the broker's log "
                                         "names the file"
                      : NOT_FOUND_REMARK ": no message begins at the commitLogOffset %lld; was it "
                                         "sent to another broker, or deleted with the log?",
                  (long long)header->commit_log_offset);
        return false;
    }
    if (record_decode(slice_of(range->data, range->size), RECORD_CHECK_CRC, half) != STATUS_OK) {
        call_fail(call, RESPONSE_SYSTEM_ERROR,
                  NOT_FOUND_REMARK ": the message at %lld is damaged; look with mqstore verify",
                  (long long)header->commit_log_offset);
        return false;
    }
    if (!slice_is(half->topic, TOPIC_TRANS_HALF)) {
        call_fail(call, RESPONSE_SYSTEM_ERROR,
                  NOT_FOUND_REMARK ": the message at %lld is none of a transaction",
                  (long long)header->commit_log_offset);
        return false;
    }
    if (!check(call, header, half))
        return false;
    if (header->commit_or_rollback == SYS_FLAG_TRANSACTION_COMMIT) {
        const char *fault = half_commit(half, &ending->records[ending->count++]);
        if (fault == NULL)
            fault = delay(broker, ending, call->arena);
        if (fault != NULL) {
            call_fail(call, RESPONSE_SYSTEM_ERROR, "the message can not be committed: %s", fault);
            return false;
        }
    }
    ending->outcome = header->commit_or_rollback;
    ending->origin = half_origin(half);
    half_mark(half, ending->outcome, &broker->store_host, clock_wall_ms(broker->clock),
              ending->offset_text, &ending->records[ending->count++]);
    return claim(broker, call, ending);
}

static void end_on_worker(struct broker *broker, struct call *call)
{
    EndTransactionRequestHeader header;
    struct log_range range = {NULL, 0, NULL};
    struct record half;
    struct ending ending;
    if (!begin(broker, call, &header))
        return;
    enum status found = store_read_record(broker->store, header.commit_log_offset, &range);
    if (prepare(broker, call, &header, found, &range, &half, &ending)) {
        struct append_result result = draft_append_all(broker, ending.records, ending.count);
        if (result.status == PUT_OK) {
            transaction_ends_settle(
                broker->transaction_ends, ending.origin,
                &(struct transaction_end){ending.outcome, result.pos, result.end_pos});
            acks_answer_stored(broker, call_reply_to(call), result.pos, result.end_pos);
        } else {
            transaction_ends_release(broker->transaction_ends, ending.origin);
            send_refuse_bare(broker, call_reply_to(call), result.status);
        }
    }
    buf_release(&ending.properties);
    if (found == STATUS_OK)
        log_range_release(&range);
}

static void end_on_loop(struct broker *broker, struct call *call, const struct ending *ending)
{
    struct broker_loop *bl = broker_loop_of(broker, call);
    if (draft_add(broker, bl->batch, ending->records, ending->count) != STATUS_OK) {
        transaction_ends_release(broker->transaction_ends, ending->origin);
        send_refuse_bare(broker, call_reply_to(call), PUT_MESSAGE_ILLEGAL);
        return;
    }
    acks_add_end(bl->acks, call_reply_to(call), ending->count, ending->origin, ending->outcome);
    acks_commit_large(bl->acks);
}

void handle_end_transaction(struct broker *broker, struct call *call)
{
    EndTransactionRequestHeader header;
    struct log_range range = {NULL, 0, NULL};
    struct record half;
    struct ending ending;
    if (!begin(broker, call, &header))
        return;
    if (acks_full(broker_loop_of(broker, call)->acks, call->under_way)) {
        call_fail(call, RESPONSE_SYSTEM_BUSY,
                  "[OVERLOAD]system busy, start flow control for a while: too much waits for the "
                  "disk of the commit log or a slave; look at their load and health");
        return;
    }
    enum status found = store_try_read_record(broker->store, header.commit_log_offset, &range);
    if (found == STATUS_OK && range.size > LOOP_BYTES_MAX) {
        log_range_release(&range);
        found = STATUS_BUSY;
    }
    if (found == STATUS_BUSY) {
        handle_on_worker(broker, call, end_on_worker);
        return;
    }
    if (prepare(broker, call, &header, found, &range, &half, &ending))
        end_on_loop(broker, call, &ending);
    buf_release(&ending.properties);
    if (found == STATUS_OK)
        log_range_release(&range);
}

/* --- to be asked about again --- */

/* Read the message that the id names; false when the call was answered. */
static bool read_by_id(struct broker *broker, struct call *call, const char *id,
                       struct log_range *range, struct record *message)
{
    struct host host;
    struct slice topic;
    int64_t pos = 0;
    if (id == NULL || !message_id_parse(slice_of_cstr(id), &host, &pos) ||
        store_read_record(broker->store, pos, range) != STATUS_OK) {
        call_fail(call, RESPONSE_SYSTEM_ERROR,
                  RESUME_REMARK " No message has the offset msgId <%s>", id == NULL ? "" : id);
        return false;
    }
    if (record_decode(slice_of(range->data, range->size), RECORD_CHECK_CRC, message) == STATUS_OK &&
        properties_find(message->properties, SLICE_LITERAL(PROPERTY_REAL_TOPIC), &topic) &&
        (slice_is(message->topic, TOPIC_TRANS_HALF) ||
         slice_is(message->topic, TOPIC_TRANS_CHECK_MAX_TIME)))
        return true;
    log_range_release(range);
    call_fail(call, RESPONSE_SYSTEM_ERROR,
              RESUME_REMARK " The message <%s> is no half message, or damaged; take the id of one "
                            "in " TOPIC_TRANS_CHECK_MAX_TIME,
              id);
    return false;
}

void handle_resume_check_half_message(struct broker *broker, struct call *call)
{
    ResumeCheckHalfMessageRequestHeader header;
    struct log_range range;
    struct record message;
    struct record half;
    struct buf properties = BUF_EMPTY;
    resume_check_half_message_request_header__init(&header);
    if (!call_bind(call, &header.base) ||
        !read_by_id(broker, call, header.msg_id, &range, &message))
        return;
    half_renew(&message, 0, -1, &properties, &half);
    struct append_result result = draft_append_now(broker, &half);
    buf_release(&properties);
    log_range_release(&range);
    if (result.status == PUT_OK)
        acks_answer_stored(broker, call_reply_to(call), result.pos, result.end_pos);
    else
        call_fail(call, RESPONSE_SYSTEM_ERROR,
                  "Put message back to " TOPIC_TRANS_HALF
                  " failed. The store refuses messages; the "
                  "broker's log says why");
}
