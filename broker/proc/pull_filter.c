/* SPDX-License-Identifier: Apache-2.0
 *
 * Codes, remarks and the order of the checks are 4.9.2's (PullMessageProcessor). Differences: an
 * expression of a pull that does not compile is SUBSCRIPTION_PARSE_FAILED, not everything; and the
 * remarks end with what is wrong.
 */
#include "broker/proc/pull_filter.h"

#include "broker/proc/handlers.h"
#include "proto/properties.h"

/* PL-08. False: the call was answered. */
static bool check_enabled(struct broker *broker, struct call *call,
                          const struct subscription *subscription)
{
    if (broker->conf.enablePropertyFilter)
        return true;
    call_fail(call, RESPONSE_SYSTEM_ERROR,
              "The broker does not support consumer to filter message by %s; "
              "enablePropertyFilter=true would let it",
              subscription->expression_type);
    return false;
}

bool pull_filter_find_own(struct broker *broker, struct call *call,
                          const struct subscription *subscription, struct pull_filter *out)
{
    struct err err = {0};
    *out = (struct pull_filter){.filter = NULL};
    if (!check_enabled(broker, call, subscription))
        return false;
    if (filters_compile(broker->filters, subscription->expression_type, subscription->expression,
                        &out->filter, &err) == STATUS_OK)
        return true;
    call_fail(call, RESPONSE_SUBSCRIPTION_PARSE_FAILED,
              "parse the consumer's subscription failed: %s", err.text);
    return false;
}

/* Why the heartbeats' expression has not become a filter. */
static void answer_missing(struct call *call, const struct subscription *subscription)
{
    struct err err = {.text = "the broker has too many filters to take it now"};
    struct consumer_filter *filter = NULL;
    if (consumer_filter_new(subscription->expression_type, subscription->expression, &filter,
                            &err) == STATUS_OK)
        consumer_filter_unref(filter);
    call_fail(call, RESPONSE_FILTER_DATA_NOT_EXIST,
              "The broker's consumer filter data is not exist!Your expression may be wrong! %s",
              err.text);
}

static bool find_of_group(struct broker *broker, struct call *call,
                          const PullMessageRequestHeader *header,
                          const struct subscription *subscription, struct pull_filter *out)
{
    int64_t version;
    out->filter = filters_get(broker->filters, slice_of_cstr(header->topic),
                              slice_of_cstr(header->consumer_group), &version);
    if (out->filter == NULL)
        answer_missing(call, subscription);
    else if (version < header->sub_version)
        call_fail(call, RESPONSE_FILTER_DATA_NOT_LATEST,
                  "the consumer's consumer filter data not latest");
    else if (check_enabled(broker, call, subscription))
        return true;
    consumer_filter_unref(out->filter);
    return false;
}

bool pull_filter_find(struct broker *broker, struct call *call,
                      const PullMessageRequestHeader *header,
                      const struct subscription *subscription, bool own, struct pull_filter *out)
{
    struct slice topic = slice_of_cstr(header->topic);
    struct slice prefix = SLICE_LITERAL(TOPIC_RETRY_PREFIX);
    *out = (struct pull_filter){.filter = NULL};
    if (!subscription->tag_type && !(own ? pull_filter_find_own(broker, call, subscription, out)
                                         : find_of_group(broker, call, header, subscription, out)))
        return false;
    if (broker->conf.filterSupportRetry && slice_starts_with(topic, prefix)) {
        out->retry_filters = broker->filters;
        out->retry_group = slice_from(topic, prefix.size);
    }
    return true;
}

void pull_filter_release(struct pull_filter *filter)
{
    consumer_filter_unref(filter->filter);
    filter->filter = NULL;
}

size_t pull_filter_bytes(const struct pull_filter *filter)
{
    return filter->filter == NULL ? 0 : filter->filter->bytes;
}

static bool is_wanted(void *ctx, struct slice properties)
{
    const struct pull_filter *filter = ctx;
    return sql_filter_matches(filter->filter->compiled, properties);
}

/* FL-06: by the topic that the message was retried of. */
static bool is_wanted_again(void *ctx, struct slice properties)
{
    const struct pull_filter *filter = ctx;
    struct slice topic;
    if (!properties_find(properties, SLICE_LITERAL(PROPERTY_RETRY_TOPIC), &topic))
        return true;
    struct consumer_filter *found =
        filters_get(filter->retry_filters, topic, filter->retry_group, NULL);
    bool wanted = found == NULL || sql_filter_matches(found->compiled, properties);
    consumer_filter_unref(found);
    return wanted;
}

properties_filter pull_filter_function(const struct pull_filter *filter)
{
    if (filter->retry_filters != NULL)
        return is_wanted_again;
    return filter->filter != NULL ? is_wanted : NULL;
}
