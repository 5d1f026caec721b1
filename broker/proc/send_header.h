/* SPDX-License-Identifier: Apache-2.0
 *
 * The header of a send, read straight from the ext fields: the one hand-written decoder beside the
 * generic ext_bind, because it runs once per message. test/fuzz/f_send_header.c holds it against
 * the generic one.
 */
#ifndef BROKER_PROC_SEND_HEADER_H
#define BROKER_PROC_SEND_HEADER_H

#include "common/base/status.h"
#include "proto/command.h"

struct send_header {
    struct slice producer_group;
    struct slice topic;
    struct slice default_topic;
    int32_t default_topic_queues;
    int32_t queue_id;
    int32_t sys_flag;
    int64_t born_timestamp_ms;
    int32_t flag;
    struct slice properties;
    int32_t reconsume_times;
    bool unit_mode;
    bool batch;
    bool has_max_reconsume_times;
    int32_t max_reconsume_times;
};

/* Slices are those of the ext fields.
 * short_names  SendMessageRequestHeaderV2 (one letter each), else SendMessageRequestHeader
 * missing      out: wire name of the first required field that is absent or does not parse; of the
 *              long form producerGroup, defaultTopic and defaultTopicQueueNums may be
 * returns  OK | MISSING */
enum status send_header_read(const struct ext_map *ext, bool short_names, struct send_header *out,
                             const char **missing);

#endif
