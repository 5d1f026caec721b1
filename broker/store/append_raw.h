/* SPDX-License-Identifier: Apache-2.0
 *
 * Appending the bytes of a master's log to a slave's (store_append_raw).
 */
#ifndef BROKER_STORE_APPEND_RAW_H
#define BROKER_STORE_APPEND_RAW_H

#include "common/base/buf.h"

/* One thread, the one that calls store_append_raw. */
struct raw_append {
    struct buf held; /* what came of the record, or filler, at appended_pos; never all of it */
};

void raw_append_release(struct raw_append *raw);

#endif
