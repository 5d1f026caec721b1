/* SPDX-License-Identifier: Apache-2.0
 *
 * What a pull wants of messages' properties: the filter of its own expression, or of its group's
 * subscription; and on retry topics, with filterSupportRetry, that of the topic which a message
 * came from.
 */
#ifndef BROKER_PROC_PULL_FILTER_H
#define BROKER_PROC_PULL_FILTER_H

#include "broker/proc/broker.h"
#include "broker/state/consumer_filter.h"
#include "proto/header.pb-c.h"

struct pull_filter {
    struct consumer_filter *filter; /* a reference; NULL: everything matches */
    struct filters *retry_filters;  /* NULL: not a retry topic whose messages are filtered */
    struct slice retry_group;       /* whose retry topic it is; as long as the header */
};

/* Find it (PL-08, PL-10, PL-11). False: the call was answered.
 * own  the subscription came with the request */
bool pull_filter_find(struct broker *broker, struct call *call,
                      const PullMessageRequestHeader *header,
                      const struct subscription *subscription, bool own, struct pull_filter *out);
/* The filter of a subscription that came with the request. False: the call was answered. */
bool pull_filter_find_own(struct broker *broker, struct call *call,
                          const struct subscription *subscription, struct pull_filter *out);
void pull_filter_release(struct pull_filter *filter);

/* Memory that only this pull needs, if the subscription is its own. */
size_t pull_filter_bytes(const struct pull_filter *filter);

/* For get_request: the struct pull_filter is the context; NULL when everything matches. */
properties_filter pull_filter_function(const struct pull_filter *filter);

#endif
