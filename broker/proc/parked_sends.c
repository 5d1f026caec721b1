/* SPDX-License-Identifier: Apache-2.0
 *
 * One `parked_topic` per topic under creation. Its wish belongs to the topic maker meanwhile; the
 * list of calls stays the loop's.
 */
#include "broker/proc/parked_sends.h"

#include "broker/proc/topic_maker.h"
#include "common/base/check.h"
#include "common/base/map.h"

#include <stdlib.h>

#define PARKED_CALLS_MAX 10000

#define LATE_CHECK_MS 100

struct parked_call {
    struct parked_call *next;
    struct call *call;
    int64_t since_ms;
};

struct parked_topic {
    struct topic_wish wish;
    struct parked_sends *parked;
    struct parked_call *first;
    struct parked_call **last;
};

struct parked_sends {
    struct broker_loop *bl;
    parked_resume resume;
    struct map topics; /* name -> struct parked_topic */
    int calls;
    struct loop_timer *timer; /* runs while there are calls */
    bool timer_set;
};

static void refuse_late(void *ctx);

struct parked_sends *parked_sends_new(struct broker_loop *bl, parked_resume resume)
{
    struct parked_sends *parked = xcalloc(1, sizeof *parked);
    parked->bl = bl;
    parked->resume = resume;
    parked->timer = loop_timer_new(bl->loop, refuse_late, parked);
    return parked;
}

static void busy(const struct call *call)
{
    call_fail(call, RESPONSE_SYSTEM_BUSY,
              "[OVERLOAD]system busy, start flow control for a while: too many sends wait for "
              "their topics to be created; try again later");
}

void parked_sends_free(struct parked_sends *parked)
{
    size_t cursor = 0;
    struct map_entry *entry;
    while ((entry = map_next(&parked->topics, &cursor)) != NULL) {
        struct parked_topic *topic = entry->value;
        for (struct parked_call *item = topic->first, *next; item != NULL; item = next) {
            next = item->next;
            busy(item->call);
            call_free(item->call);
            free(item);
        }
        free(topic);
    }
    map_release(&parked->topics);
    loop_timer_free(parked->timer);
    free(parked);
}

static void watch(struct parked_sends *parked)
{
    if (parked->timer_set || parked->calls == 0)
        return;
    parked->timer_set = true;
    loop_timer_set(parked->timer, LATE_CHECK_MS);
}

/* The oldest calls of a topic that have waited too long. The topic is still being made. */
static void refuse_late_of(struct parked_topic *topic, int64_t now_ms)
{
    struct parked_call *item;
    while ((item = topic->first) != NULL && now_ms - item->since_ms >= PARKED_MAX_MS) {
        topic->first = item->next;
        if (topic->first == NULL)
            topic->last = &topic->first;
        topic->parked->calls--;
        net_reply_error(call_reply_to(item->call), RESPONSE_SYSTEM_BUSY,
                        "[TIMEOUT_CLEAN_QUEUE]broker busy, start flow control for a while, period "
                        "in queue: %lldms, size of queue: %d: topic[%s] is being created, and the "
                        "disk of the broker's configuration is slow; try again later",
                        (long long)(now_ms - item->since_ms), topic->parked->calls,
                        topic->wish.topic);
        call_free(item->call);
        free(item);
    }
}

static void refuse_late(void *ctx)
{
    struct parked_sends *parked = ctx;
    size_t cursor = 0;
    struct map_entry *entry;
    parked->timer_set = false;
    while ((entry = map_next(&parked->topics, &cursor)) != NULL)
        refuse_late_of(entry->value, loop_now_ms(parked->bl->loop));
    watch(parked);
}

static void park(struct parked_topic *topic, struct call *call)
{
    struct parked_sends *parked = topic->parked;
    struct call *copy = parked->calls < PARKED_CALLS_MAX ? call_detach(call) : NULL;
    if (copy == NULL) {
        busy(call);
        return;
    }
    struct parked_call *item = xmalloc(sizeof *item);
    *item = (struct parked_call){NULL, copy, loop_now_ms(parked->bl->loop)};
    *topic->last = item;
    topic->last = &item->next;
    parked->calls++;
    watch(parked);
}

bool parked_sends_join(struct parked_sends *parked, struct call *call, struct slice topic)
{
    if (parked->topics.count == 0)
        return false;
    struct parked_topic *found = map_get(&parked->topics, topic);
    if (found == NULL)
        return false;
    park(found, call);
    return true;
}

/* The topic is in the file, or can not be made. */
static void made(struct loop_task *task)
{
    struct parked_topic *topic =
        (struct parked_topic *)(void *)((char *)task - offsetof(struct parked_topic, wish.done));
    struct parked_sends *parked = topic->parked;
    (void)map_remove(&parked->topics, slice_of_cstr(topic->wish.topic));
    for (struct parked_call *item = topic->first, *next; item != NULL; item = next) {
        next = item->next;
        parked->calls--;
        parked->resume(parked->bl->broker, item->call, topic->wish.status);
        call_free(item->call);
        free(item);
    }
    free(topic);
}

/* A longer name is none that could exist: it stays empty. */
static void copy_name(char out[TOPIC_BYTES_MAX + 1], struct slice name)
{
    size_t size = name.size <= TOPIC_BYTES_MAX ? name.size : 0;
    if (size > 0)
        memcpy(out, name.data, size);
    out[size] = '\0';
}

static struct parked_topic *topic_new(struct parked_sends *parked, struct slice name)
{
    struct parked_topic *topic = xcalloc(1, sizeof *topic);
    topic->wish.done.run = made;
    topic->wish.loop = parked->bl->loop;
    topic->parked = parked;
    topic->last = &topic->first;
    copy_name(topic->wish.topic, name);
    return topic;
}

static void start(struct parked_topic *topic, struct call *call)
{
    struct parked_sends *parked = topic->parked;
    park(topic, call);
    if (topic->first == NULL) {
        free(topic);
        return;
    }
    (void)map_put(&parked->topics, slice_of_cstr(topic->wish.topic), topic);
    topic_maker_ask(parked->bl->broker->topic_maker, &topic->wish);
}

void parked_sends_start(struct parked_sends *parked, struct call *call,
                        const struct send_header *header)
{
    struct parked_topic *topic = topic_new(parked, header->topic);
    copy_name(topic->wish.default_topic, header->default_topic);
    topic->wish.default_topic_queues = header->default_topic_queues;
    topic->wish.unit_mode = header->unit_mode;
    start(topic, call);
}

void parked_sends_start_dead_letters(struct parked_sends *parked, struct call *call,
                                     struct slice name)
{
    struct parked_topic *topic = topic_new(parked, name);
    topic->wish.dead_letters = true;
    start(topic, call);
}
