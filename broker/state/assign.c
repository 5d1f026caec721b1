/* SPDX-License-Identifier: Apache-2.0
 *
 * The two strategies of 5.3.3's brokers.
 */
#include "broker/state/assign.h"

#include <string.h>

bool assign_strategy_parse(const char *name, enum assign_strategy *out)
{
    *out = strcmp(name, "AVG_BY_CIRCLE") == 0 ? ASSIGN_AVERAGELY_BY_CIRCLE : ASSIGN_AVERAGELY;
    return *out == ASSIGN_AVERAGELY_BY_CIRCLE || strcmp(name, "AVG") == 0;
}

/* The first `queue_count % consumer_count` consumers get one more, and neighbours stay together. */
static void averagely(size_t queue_count, size_t consumer_count, size_t index, size_t *out,
                      size_t *count)
{
    size_t each = queue_count / consumer_count;
    size_t rest = queue_count % consumer_count;
    size_t first = index < rest ? index * (each + 1) : index * each + rest;
    size_t share = index < rest ? each + 1 : each;
    for (size_t i = 0; i < share; i++)
        out[(*count)++] = first + i;
}

void assign_queues(enum assign_strategy strategy, size_t queue_count, size_t consumer_count,
                   size_t index, size_t *out, size_t *count)
{
    if (index >= consumer_count)
        return;
    if (strategy == ASSIGN_AVERAGELY) {
        averagely(queue_count, consumer_count, index, out, count);
        return;
    }
    for (size_t i = index; i < queue_count; i += consumer_count)
        out[(*count)++] = i;
}

bool assign_pop_queues(enum assign_strategy strategy, size_t queue_count, size_t consumer_count,
                       size_t index, int share, size_t *out, size_t *count)
{
    if (share <= 0 || (size_t)share + 1 >= consumer_count)
        return true;
    if (index >= consumer_count || queue_count == 0)
        return false;
    if (consumer_count > queue_count) {
        out[(*count)++] = index % queue_count;
        return false;
    }
    for (int i = 0; i <= share; i++)
        assign_queues(strategy, queue_count, consumer_count, (index + (size_t)i) % consumer_count,
                      out, count);
    return false;
}
