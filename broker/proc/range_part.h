/* SPDX-License-Identifier: Apache-2.0
 *
 * A range of the log as a part of an answer, which takes over the range's reference.
 */
#ifndef BROKER_PROC_RANGE_PART_H
#define BROKER_PROC_RANGE_PART_H

#include "broker/store/store.h"
#include "common/net/net.h"

static inline struct body_part range_part(const struct log_range *range)
{
    struct body_part part = {.data = range->data,
                             .size = range->size,
                             .release = log_segment_release,
                             .owner = range->segment,
                             .in_file = true};
    log_range_file(range, &part.fd, &part.file_offset);
    return part;
}

#endif
