/* SPDX-License-Identifier: Apache-2.0
 *
 * The handle by which a timer can be taken back (RocketMQ 5.3.1 and later): the words "v1", topic,
 * broker name, time and unique key with blanks between them, in Base64 with - and _. Pure.
 * Source: RMQ 5.3.3 common/.../producer/RecallMessageHandle.java.
 */
#ifndef BROKER_PROC_RECALL_HANDLE_H
#define BROKER_PROC_RECALL_HANDLE_H

#include "common/base/buf.h"
#include "common/base/status.h"

struct recall_handle {
    struct slice topic;
    struct slice broker_name;
    struct slice time_text;
    struct slice unique_key;
};

/* Appends to `out`. */
void recall_handle_encode(const struct recall_handle *handle, struct buf *out);

/* scratch  the caller's; the slices of `out` lie there
 * returns  OK | MALFORMED */
MUST_CHECK enum status recall_handle_decode(struct slice text, struct buf *scratch,
                                            struct recall_handle *out);

#endif
