/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages by position and by key (QueryMessageProcessor of 4.9.2). These run on the worker pool,
 * since what they read may lie on a cold disk.
 */
#include "broker/proc/broker.h"
#include "broker/proc/handlers.h"
#include "broker/proc/range_part.h"

#include "proto/header.pb-c.h"

#include <stdlib.h>

/* maxMsgsNumBatch's bound, whatever the configuration says. */
#define QUERY_MESSAGES_MAX 1024

void handle_view_message_by_id(struct broker *broker, struct call *call)
{
    ViewMessageRequestHeader header;
    struct log_range range;
    view_message_request_header__init(&header);
    if (!call_bind(call, &header.base))
        return;
    enum status status = store_read_record(broker->store, header.offset, &range);
    if (status != STATUS_OK) {
        call_fail(call, RESPONSE_SYSTEM_ERROR,
                  status == STATUS_IO ? "the disk of the broker refuses to read the message at the "
                                        "offset, %lld; the broker's log names the file"
                                      : "can not find message by the offset, %lld",
                  (long long)header.offset);
        return;
    }
    struct body_part part = range_part(&range);
    struct response response = {.code = RESPONSE_SUCCESS, .parts = &part, .part_count = 1};
    net_reply(call_reply_to(call), &response);
}

static int by_position(const void *a, const void *b)
{
    const int64_t *left = a;
    const int64_t *right = b;
    return *left < *right ? -1 : *left > *right;
}

/* Found positions in log order, without repeats; returns their number. */
static int in_log_order(int64_t *positions, int count)
{
    int kept = 0;
    qsort(positions, (size_t)count, sizeof *positions, by_position);
    for (int i = 0; i < count; i++)
        if (kept == 0 || positions[kept - 1] != positions[i])
            positions[kept++] = positions[i];
    return kept;
}

void handle_query_message(struct broker *broker, struct call *call)
{
    QueryMessageRequestHeader header;
    QueryMessageResponseHeader response_header;
    struct slice unique;
    query_message_request_header__init(&header);
    query_message_response_header__init(&response_header);
    if (!call_bind(call, &header.base))
        return;
    int64_t limit = broker->conf.maxMsgsNumBatch;
    int64_t wanted = header.max_num;
    if (ext_find(&call->request->ext, SLICE_LITERAL("_UNIQUE_KEY_QUERY"), &unique) &&
        slice_is(unique, "true"))
        wanted = broker->conf.defaultQueryMaxNum;
    wanted = wanted > limit ? limit : wanted;
    wanted = wanted < 0 ? 0 : wanted > QUERY_MESSAGES_MAX ? QUERY_MESSAGES_MAX : wanted;
    int64_t positions[QUERY_MESSAGES_MAX];
    struct body_part parts[QUERY_MESSAGES_MAX];
    int count = store_query_index(
        broker->store, slice_of_cstr(header.topic), slice_of_cstr(header.key), (int)wanted,
        header.begin_timestamp, header.end_timestamp, positions,
        &response_header.index_last_update_timestamp, &response_header.index_last_update_phyoffset);
    if (count == 0) {
        /* 4.9.2 tells the index's progress only along with messages. */
        response_header.index_last_update_timestamp = 0;
        response_header.index_last_update_phyoffset = 0;
    }
    count = in_log_order(positions, count);
    struct response response = {
        .code = RESPONSE_SUCCESS, .header = &response_header.base, .parts = parts};
    for (int i = 0; i < count; i++) {
        struct log_range range;
        if (store_read_record(broker->store, positions[i], &range) == STATUS_OK)
            parts[response.part_count++] = range_part(&range);
    }
    if (response.part_count == 0) {
        response.code = RESPONSE_QUERY_NOT_FOUND;
        response.remark = "can not find message, maybe time range not correct";
    }
    net_reply(call_reply_to(call), &response);
}
