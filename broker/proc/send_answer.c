/* SPDX-License-Identifier: Apache-2.0
 *
 * Remarks begin as those of 4.9.2, where clients and people look for them, and go on with the cause
 * and the mend.
 */
#include "broker/proc/send_answer.h"

#include "common/base/number.h"
#include "proto/properties.h"

#include <stdio.h>

/* The fields that every answer to a send carries. Appended to `fields`; returns the new count. */
static uint32_t region_fields(const struct broker *broker, struct ext_field *fields, uint32_t count)
{
    const char *region = broker->conf.regionId;
    fields[count++] = (struct ext_field){SLICE_LITERAL(PROPERTY_MSG_REGION), slice_of_cstr(region)};
    fields[count++] =
        (struct ext_field){SLICE_LITERAL(PROPERTY_TRACE_ON),
                           broker->conf.traceOn ? SLICE_LITERAL("true") : SLICE_LITERAL("false")};
    return count;
}

void send_fail(const struct broker *broker, struct reply_to to, int32_t code, const char *remark)
{
    struct ext_field fields[2];
    struct response response = {.code = code, .remark = remark};
    response.ext = (struct ext_map){
        .fields = fields, .count = region_fields(broker, fields, 0), .present = true};
    net_reply(to, &response);
}

void send_answer(const struct broker *broker, struct reply_to to, int32_t code, const char *remark,
                 const struct stored_send *stored)
{
    char queue_text[I64_TEXT_BYTES];
    char offset_text[I64_TEXT_BYTES];
    uint32_t count = 3;
    struct ext_field fields[6] = {
        {SLICE_LITERAL("msgId"), stored->ids},
        {SLICE_LITERAL("queueId"), slice_of(queue_text, format_i64(stored->queue_id, queue_text))},
        {SLICE_LITERAL("queueOffset"),
         slice_of(offset_text, format_i64(stored->queue_offset, offset_text))},
    };
    if (stored->recall_handle != NULL)
        fields[count++] =
            (struct ext_field){SLICE_LITERAL("recallHandle"), slice_of_cstr(stored->recall_handle)};
    struct response response = {.code = code, .remark = remark};
    response.ext = (struct ext_map){
        .fields = fields, .count = region_fields(broker, fields, count), .present = true};
    net_reply(to, &response);
}

void recall_answer(const struct broker *broker, struct reply_to to, const char *message_id,
                   bool stored)
{
    struct ext_field fields[2] = {
        {SLICE_LITERAL(PROPERTY_MSG_REGION), slice_of_cstr(broker->conf.regionId)},
        {SLICE_LITERAL("msgId"), slice_of_cstr(message_id)},
    };
    struct response response = {.code = stored ? RESPONSE_SUCCESS : RESPONSE_SYSTEM_ERROR,
                                .remark = stored ? NULL : "recall failed, execute error"};
    response.ext = (struct ext_map){.fields = fields, .count = stored ? 2 : 1, .present = true};
    net_reply(to, &response);
}

void send_refuse(struct broker *broker, struct reply_to to, enum put_status status)
{
    char why[256];
    char remark[768];
    switch (status) {
    case PUT_MESSAGE_ILLEGAL:
        send_fail(broker, to, RESPONSE_MESSAGE_ILLEGAL,
                  "the message is illegal, maybe msg body or properties length not matched. The "
                  "limits are maxMessageSize for the whole record and 32767 bytes for the "
                  "properties.");
        return;
    case PUT_CREATE_FILE_FAILED:
        send_fail(broker, to, RESPONSE_SYSTEM_ERROR,
                  "create mapped file failed, server is busy or broken. See the broker's log for "
                  "the file and the cause.");
        return;
    case PUT_PAGE_CACHE_BUSY:
        send_fail(broker, to, RESPONSE_SYSTEM_ERROR,
                  "[PC_SYNCHRONIZED]broker busy, start flow control for a while: the disk of the "
                  "commit log does not take what is written");
        return;
    case PUT_OK:
    case PUT_SERVICE_NOT_AVAILABLE:
        break;
    }
    struct store_disk disk = store_disk(broker->store);
    if (store_writable(broker->store, why, sizeof why))
        why[0] = '\0';
    (void)snprintf(remark, sizeof remark,
                   "service not available now. It may be caused by one of the following reasons: "
                   "the broker's disk is full [CL: %5.2f CQ: %5.2f INDEX: %5.2f], messages are put "
                   "to the slave, message store has been shut down, etc. %s",
                   store_disk_ratio(disk.commit_log_percent), store_disk_ratio(disk.queues_percent),
                   store_disk_ratio(disk.queues_percent), why);
    size_t length = strlen(remark);
    if (length > 0 && remark[length - 1] == ' ')
        remark[length - 1] = '\0';
    send_fail(broker, to, RESPONSE_SERVICE_NOT_AVAILABLE, remark);
}

void send_refuse_bare(struct broker *broker, struct reply_to to, enum put_status status)
{
    char why[256];
    switch (status) {
    case PUT_MESSAGE_ILLEGAL:
        net_reply_error(to, RESPONSE_MESSAGE_ILLEGAL,
                        "The message is illegal, maybe msg body or properties length not matched. "
                        "Its properties may take 32767 bytes.");
        return;
    case PUT_CREATE_FILE_FAILED:
        net_reply_error(to, RESPONSE_SYSTEM_ERROR,
                        "Create mapped file failed. See the broker's log for the file and the "
                        "cause.");
        return;
    case PUT_PAGE_CACHE_BUSY:
        net_reply_error(to, RESPONSE_SYSTEM_ERROR,
                        "[PC_SYNCHRONIZED]broker busy, start flow control for a while: the disk of "
                        "the commit log does not take what is written");
        return;
    case PUT_OK:
    case PUT_SERVICE_NOT_AVAILABLE:
        break;
    }
    if (store_writable(broker->store, why, sizeof why))
        why[0] = '\0';
    net_reply_error(to, RESPONSE_SERVICE_NOT_AVAILABLE, "Service not available now. %s", why);
}
