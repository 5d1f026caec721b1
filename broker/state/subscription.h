/* SPDX-License-Identifier: Apache-2.0
 *
 * A subscription of a group to a topic, as a consumer's heartbeat or pull states it: immutable,
 * shared by reference between the table of clients, pulls under way and held pulls. Any thread.
 */
#ifndef BROKER_STATE_SUBSCRIPTION_H
#define BROKER_STATE_SUBSCRIPTION_H

#include "common/base/arena.h"
#include "common/base/status.h"
#include "proto/body.pb-c.h"

#include <stdbool.h>

#define EXPRESSION_TYPE_TAG "TAG"

struct subscription {
    _Atomic int references;
    bool class_filter_mode;
    bool tag_type;  /* expressionType is TAG (or absent) */
    bool match_all; /* no tag named */
    int64_t version;
    const char *topic;
    const char *expression;      /* subString */
    const char *expression_type; /* "TAG", "SQL92" */
    int code_count;
    const int32_t *codes; /* hashes of the tags, sorted, each once */
    int tag_count;
    const char *const *tags; /* sorted, each once */
    size_t bytes;            /* memory that it takes */
};

struct subscription *subscription_ref(struct subscription *subscription);
void subscription_unref(struct subscription *subscription);

/* From an expression in a pull request (PL-10). TAG: "", "*" or NULL means everything; else split
 * at
 * "||". Reference of one.
 * expression_type  NULL or "" is TAG
 * returns  OK | MALFORMED (no tag left, or no expression of another type)
 *          | TOO_LARGE (SUBSCRIPTION_TAGS_MAX, SUBSCRIPTION_EXPRESSION_BYTES_MAX) */
MUST_CHECK enum status subscription_build(const char *topic, const char *expression,
                                          const char *expression_type, int64_t version,
                                          struct subscription **out);

/* From a heartbeat, which states tags and codes itself. Reference of one.
 * returns  OK | INVALID (no topic) | TOO_LARGE */
MUST_CHECK enum status subscription_from_body(const SubscriptionData *body,
                                              struct subscription **out);

/* The body of GET_CONSUMER_CONNECTION_LIST's table, in the arena. */
SubscriptionData *subscription_wrap(const struct subscription *subscription, struct arena *arena);

/* tags_filter of the store: ctx is the subscription. Expressions of other types than TAG match
 * here; they are evaluated on the message. So does a message whose code the queue does not know. */
bool subscription_match(void *subscription, int64_t tags_code);

#endif
