/* SPDX-License-Identifier: Apache-2.0
 *
 * Waiting pops. A poll_group is what is watched for one topic and group: its requests, and the
 * queues whose arrivals the store was asked to report. The map `topics` leads from a topic, or
 * retry topic, to the groups that watch it.
 *
 * `arrivals` of a group counts what was reported for its queues, from a number that no group had
 * before: a request that takes it as its mark before it looks, and finds it changed when it wants
 * to wait, looks again. So nothing that arrives in between is missed.
 */
#include "broker/state/pop_polls.h"

#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/base/map.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define IDLE_MS 60000

/* A topic that a group watches; one for the topic, one for the retry topic. */
struct watch {
    struct list in_topic;
    struct poll_group *group;
    struct slice topic;
    struct queue **queues;
    int32_t queue_count;
    bool retry;
};

struct poll_group {
    struct list polls;
    struct list in_all;
    uint64_t arrivals;
    int64_t used_ms;
    struct watch topic;
    struct watch retry;
    struct slice group;
    char names[];
};

struct pop_polls {
    pthread_mutex_t lock; /* docs/locks.md: pop_polls */
    struct store *store;
    struct map groups; /* topic NUL group -> struct poll_group */
    struct map topics; /* topic -> struct list of watches */
    struct list all;
    uint64_t next_mark;
    _Atomic size_t watched; /* groups; so that arrivals cost nothing while there are none */
};

struct pop_polls *pop_polls_new(struct store *store)
{
    struct pop_polls *polls = xcalloc(1, sizeof *polls);
    CHECK(pthread_mutex_init(&polls->lock, NULL) == 0);
    polls->store = store;
    polls->next_mark = 1;
    list_init(&polls->all);
    return polls;
}

static void lock(struct pop_polls *polls)
{
    CHECK(pthread_mutex_lock(&polls->lock) == 0);
}

static void unlock(struct pop_polls *polls)
{
    CHECK(pthread_mutex_unlock(&polls->lock) == 0);
}

/* --- groups --- */

struct group_key {
    uint8_t bytes[TOPIC_BYTES_MAX + 1 + GROUP_BYTES_MAX];
    size_t size;
};

static bool group_key(struct slice topic, struct slice group, struct group_key *out)
{
    if (topic.size > TOPIC_BYTES_MAX || group.size > GROUP_BYTES_MAX)
        return false;
    memcpy(out->bytes, topic.data, topic.size);
    out->bytes[topic.size] = 0;
    memcpy(out->bytes + topic.size + 1, group.data, group.size);
    out->size = topic.size + 1 + group.size;
    return true;
}

static struct poll_group *find(const struct pop_polls *polls, struct slice topic,
                               struct slice group)
{
    struct group_key key;
    return group_key(topic, group, &key) ? map_get(&polls->groups, slice_of(key.bytes, key.size))
                                         : NULL;
}

static void watch_topic(struct pop_polls *polls, struct watch *watch, struct poll_group *group,
                        struct slice topic, bool retry)
{
    watch->group = group;
    watch->topic = topic;
    watch->retry = retry;
    struct list *watches = map_get(&polls->topics, topic);
    if (watches == NULL) {
        watches = xmalloc(sizeof *watches);
        list_init(watches);
        (void)map_put(&polls->topics, topic, watches);
    }
    list_append(watches, &watch->in_topic);
}

static void unwatch_topic(struct pop_polls *polls, struct watch *watch)
{
    for (int32_t i = 0; i < watch->queue_count; i++)
        if (watch->queues[i] != NULL)
            queue_set_interest(watch->queues[i], false);
    free(watch->queues);
    list_remove(&watch->in_topic);
    struct list *watches = map_get(&polls->topics, watch->topic);
    if (list_empty(watches)) {
        (void)map_remove(&polls->topics, watch->topic);
        free(watches);
    }
}

static struct slice add_name(char **at, struct slice name)
{
    char *copy = *at;
    memcpy(copy, name.data, name.size);
    *at += name.size;
    return slice_of(copy, name.size);
}

static struct poll_group *add(struct pop_polls *polls, const struct poll_target *target)
{
    struct group_key key;
    if (polls->groups.count >= POP_POLL_GROUPS_MAX ||
        !group_key(target->topic, target->group, &key))
        return NULL;
    struct poll_group *group = xcalloc(1, sizeof *group + target->topic.size + target->group.size +
                                              target->retry_topic.size);
    char *at = group->names;
    list_init(&group->polls);
    list_append(&polls->all, &group->in_all);
    group->arrivals = polls->next_mark;
    watch_topic(polls, &group->topic, group, add_name(&at, target->topic), false);
    group->group = add_name(&at, target->group);
    watch_topic(polls, &group->retry, group, add_name(&at, target->retry_topic), true);
    (void)map_put(&polls->groups, slice_of(key.bytes, key.size), group);
    atomic_fetch_add(&polls->watched, 1);
    return group;
}

static void drop(struct pop_polls *polls, struct poll_group *group)
{
    struct group_key key;
    CHECK(list_empty(&group->polls));
    CHECK(group_key(group->topic.topic, group->group, &key));
    /* A later group of the name begins where this one ended, so that old marks do not fit. */
    if (polls->next_mark <= group->arrivals)
        polls->next_mark = group->arrivals + 1;
    (void)map_remove(&polls->groups, slice_of(key.bytes, key.size));
    atomic_fetch_sub(&polls->watched, 1);
    list_remove(&group->in_all);
    unwatch_topic(polls, &group->topic);
    unwatch_topic(polls, &group->retry);
    free(group);
}

void pop_polls_free(struct pop_polls *polls)
{
    list_for_each (node, &polls->all)
        drop(polls, list_entry(node, struct poll_group, in_all));
    map_release(&polls->groups);
    map_release(&polls->topics);
    CHECK(pthread_mutex_destroy(&polls->lock) == 0);
    free(polls);
}

/* Have arrivals in the first `count` queues reported; `create`: also in those that do not exist. */
static void watch_queues(struct pop_polls *polls, struct watch *watch, int32_t count, bool create)
{
    if (count > watch->queue_count) {
        watch->queues = xrealloc(watch->queues, (size_t)count * sizeof(struct queue *));
        for (int32_t i = watch->queue_count; i < count; i++)
            watch->queues[i] = NULL;
        watch->queue_count = count;
    }
    for (int32_t i = 0; i < count; i++) {
        if (watch->queues[i] != NULL)
            continue;
        watch->queues[i] = store_queue(polls->store, watch->topic, i, create);
        if (watch->queues[i] != NULL)
            queue_set_interest(watch->queues[i], true);
    }
}

uint64_t pop_polls_mark(struct pop_polls *polls, const struct poll_target *target)
{
    lock(polls);
    const struct poll_group *group = find(polls, target->topic, target->group);
    uint64_t mark = group == NULL ? POLL_MARK_NONE : group->arrivals;
    unlock(polls);
    return mark;
}

uint64_t pop_polls_watch(struct pop_polls *polls, const struct poll_target *target, int64_t now_ms)
{
    uint64_t mark = POLL_MARK_NONE;
    lock(polls);
    struct poll_group *group = find(polls, target->topic, target->group);
    if (group == NULL)
        group = add(polls, target);
    if (group != NULL) {
        watch_queues(polls, &group->topic, target->queues, true);
        watch_queues(polls, &group->retry, target->retry_queues > 0 ? target->retry_queues : 1,
                     false);
        group->used_ms = now_ms;
        mark = group->arrivals;
    }
    unlock(polls);
    return mark;
}

enum status pop_polls_wait(struct pop_polls *polls, const struct poll_target *target,
                           struct pop_poll *poll, uint64_t mark, int64_t now_ms)
{
    enum status status = STATUS_OK;
    lock(polls);
    struct poll_group *group = find(polls, target->topic, target->group);
    if (group == NULL || target->queues > group->topic.queue_count) {
        status = STATUS_NOT_FOUND;
    } else if (group->arrivals != mark) {
        status = STATUS_EXISTS;
    } else {
        poll->waiting = true;
        group->used_ms = now_ms;
        list_append(&group->polls, &poll->in_group);
    }
    unlock(polls);
    return status;
}

/* With the lock held. */
static void wake(struct pop_poll *poll)
{
    poll->waiting = false;
    list_remove(&poll->in_group);
    loop_post(poll->loop, &poll->woken);
}

bool pop_polls_cancel(struct pop_polls *polls, struct pop_poll *poll)
{
    lock(polls);
    bool waited = poll->waiting;
    if (waited)
        list_remove(&poll->in_group);
    poll->waiting = false;
    unlock(polls);
    return waited;
}

/* The one that waits longest for the queue. */
static void wake_one(struct poll_group *group, int32_t queue_id)
{
    list_for_each (node, &group->polls) {
        struct pop_poll *poll = list_entry(node, struct pop_poll, in_group);
        if (queue_id != POP_ANY_QUEUE && poll->queue_id != POP_ANY_QUEUE &&
            poll->queue_id != queue_id)
            continue;
        wake(poll);
        return;
    }
}

void pop_polls_wake(struct pop_polls *polls, struct slice topic, struct slice group,
                    int32_t queue_id)
{
    lock(polls);
    struct poll_group *found = find(polls, topic, group);
    if (found != NULL) {
        found->arrivals++; /* for one that is just looking */
        wake_one(found, queue_id);
    }
    unlock(polls);
}

void pop_polls_wake_all(struct pop_polls *polls)
{
    lock(polls);
    list_for_each (node, &polls->all) {
        struct poll_group *group = list_entry(node, struct poll_group, in_all);
        group->arrivals++;
        list_for_each (poll, &group->polls)
            wake(list_entry(poll, struct pop_poll, in_group));
    }
    unlock(polls);
}

void pop_polls_arrival(struct pop_polls *polls, struct queue *queue)
{
    if (atomic_load(&polls->watched) == 0)
        return;
    lock(polls);
    struct list *watches = map_get(&polls->topics, queue_topic(queue));
    if (watches != NULL) {
        list_for_each (node, watches) {
            struct watch *watch = list_entry(node, struct watch, in_topic);
            watch->group->arrivals++;
            /* Whoever waits for one queue of the topic looks at the retry topic as well. */
            wake_one(watch->group, watch->retry ? POP_ANY_QUEUE : queue_id(queue));
        }
    }
    unlock(polls);
}

void pop_polls_retry_topic(struct pop_polls *polls, struct slice topic, struct slice group,
                           struct slice retry_topic)
{
    /* Made first, so that whoever watches from now on finds it. */
    (void)store_queue(polls->store, retry_topic, 0, true);
    lock(polls);
    struct poll_group *found = find(polls, topic, group);
    if (found != NULL)
        watch_queues(polls, &found->retry, 1, false);
    unlock(polls);
}

int32_t pop_polls_count(struct pop_polls *polls, struct slice topic, struct slice group,
                        int32_t queue_id)
{
    int32_t count = 0;
    lock(polls);
    const struct poll_group *found = find(polls, topic, group);
    if (found != NULL)
        list_for_each (node, &found->polls)
            count += list_entry(node, struct pop_poll, in_group)->queue_id == queue_id;
    unlock(polls);
    return count;
}

void pop_polls_expire(struct pop_polls *polls, int64_t now_ms)
{
    lock(polls);
    list_for_each (node, &polls->all) {
        struct poll_group *group = list_entry(node, struct poll_group, in_all);
        if (list_empty(&group->polls) && now_ms - group->used_ms >= IDLE_MS)
            drop(polls, group);
    }
    unlock(polls);
}
