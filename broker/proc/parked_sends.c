/* SPDX-License-Identifier: Apache-2.0
 *
 * One `parked_topic` per topic under creation: owned by the loop, lent to a worker while
 * `creating`. The worker touches only the creation's arguments and result; the list of calls stays
 * the loop's.
 */
#include "broker/proc/parked_sends.h"

#include "broker/proc/registrar.h"
#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/base/map.h"
#include "common/sys/log.h"

#include <stdlib.h>

#define PARKED_CALLS_MAX 10000

struct parked_call {
    struct parked_call *next;
    struct call *call;
};

struct parked_topic {
    struct worker_task create_task;
    struct loop_task created_task;
    struct parked_sends *parked;
    struct parked_call *first;
    struct parked_call **last;
    /* the creation */
    char topic[TOPIC_BYTES_MAX + 1];
    char default_topic[TOPIC_BYTES_MAX + 1];
    int32_t default_topic_queues;
    bool unit_mode;
    bool dead_letters; /* made by its own rule, not after the default topic */
    bool created;
};

struct parked_sends {
    struct broker_loop *bl;
    parked_resume resume;
    struct map topics; /* name -> struct parked_topic */
    int calls;
};

struct parked_sends *parked_sends_new(struct broker_loop *bl, parked_resume resume)
{
    struct parked_sends *parked = xcalloc(1, sizeof *parked);
    parked->bl = bl;
    parked->resume = resume;
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
    free(parked);
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
    *item = (struct parked_call){NULL, copy};
    *topic->last = item;
    topic->last = &item->next;
    parked->calls++;
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

/* On the loop: the topic exists, or cannot. */
static void created_run(struct loop_task *task)
{
    struct parked_topic *topic =
        (struct parked_topic *)(void *)((char *)task - offsetof(struct parked_topic, created_task));
    struct parked_sends *parked = topic->parked;
    (void)map_remove(&parked->topics, slice_of_cstr(topic->topic));
    for (struct parked_call *item = topic->first, *next; item != NULL; item = next) {
        next = item->next;
        parked->calls--;
        parked->resume(parked->bl->broker, item->call, topic->created);
        call_free(item->call);
        free(item);
    }
    free(topic);
}

/* On a worker: create the topic as TP-04 and TP-05 tell, and make it durable. */
static void create_run(struct worker_task *task)
{
    struct parked_topic *topic = (struct parked_topic *)(void *)task;
    struct broker *broker = topic->parked->bl->broker;
    struct slice name = slice_of_cstr(topic->topic);
    bool retry = slice_starts_with(name, SLICE_LITERAL(TOPIC_RETRY_PREFIX));
    int32_t unit_flag = !topic->unit_mode ? 0
                        : retry           ? TOPIC_SYS_FLAG_UNIT_SUB
                                          : TOPIC_SYS_FLAG_UNIT;
    struct topic_config config;
    bool is_new = true;
    topic->created =
        !topic->dead_letters &&
        topics_create_on_send(broker->topics, name, slice_of_cstr(topic->default_topic),
                              topic->default_topic_queues, unit_flag,
                              broker->conf.autoCreateTopicEnable, &config) == STATUS_OK;
    if (!topic->created && (retry || topic->dead_letters)) {
        topic->created = topics_ensure(broker->topics, name, 1, PERM_READ | PERM_WRITE, unit_flag,
                                       &config, &is_new) == STATUS_OK;
    }
    if (topic->created) {
        struct err err = {0};
        if (topics_persist(broker->topics, &err) != STATUS_OK) {
            log_error("topics", "topic not saved", "topic=%s cause=\"%s\"", topic->topic, err.text);
            topic->created = false;
        } else {
            registrar_announce(broker->registrar);
        }
    }
    loop_post(topic->parked->bl->loop, &topic->created_task);
}

static void copy_name(char *out, struct slice name)
{
    size_t size = name.size < TOPIC_BYTES_MAX ? name.size : TOPIC_BYTES_MAX;
    memcpy(out, name.data, size);
    out[size] = '\0';
}

static struct parked_topic *topic_new(struct parked_sends *parked, struct slice name)
{
    struct parked_topic *topic = xcalloc(1, sizeof *topic);
    topic->create_task.run = create_run;
    topic->created_task.run = created_run;
    topic->parked = parked;
    topic->last = &topic->first;
    copy_name(topic->topic, name);
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
    (void)map_put(&parked->topics, slice_of_cstr(topic->topic), topic);
    if (!worker_submit(parked->bl->broker->workers, &topic->create_task))
        loop_post(parked->bl->loop, &topic->created_task); /* not created: they hear of it */
}

void parked_sends_start(struct parked_sends *parked, struct call *call,
                        const struct send_header *header)
{
    struct parked_topic *topic = topic_new(parked, header->topic);
    copy_name(topic->default_topic, header->default_topic);
    topic->default_topic_queues = header->default_topic_queues;
    topic->unit_mode = header->unit_mode;
    start(topic, call);
}

void parked_sends_start_dead_letters(struct parked_sends *parked, struct call *call,
                                     struct slice name)
{
    struct parked_topic *topic = topic_new(parked, name);
    topic->dead_letters = true;
    start(topic, call);
}
