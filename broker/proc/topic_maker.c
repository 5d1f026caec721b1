/* SPDX-License-Identifier: Apache-2.0
 *
 * Wishes wait in a list under `lock`; the thread takes the whole list, serves it and looks again.
 * Source of the rules: TopicConfigManager.createTopicInSendMessageMethod of 4.9.2 (TP-04, TP-05).
 */
#include "broker/proc/topic_maker.h"

#include "broker/proc/registrar.h"
#include "common/base/check.h"
#include "common/sys/log.h"
#include "common/sys/thread.h"

#include <stdlib.h>

struct topic_maker {
    struct broker *broker;
    pthread_t thread;
    pthread_mutex_t lock; /* docs/locks.md: topic_maker */
    pthread_cond_t changed;
    struct topic_wish *first;
    struct topic_wish **last;
    bool stopping;
};

/* Topics of the broker's own making: queues do not follow the default topic. */
static enum status make_fixed(struct broker *broker, const struct topic_wish *wish,
                              int32_t unit_flag)
{
    struct topic_config config;
    bool is_new = false;
    return topics_ensure(broker->topics, slice_of_cstr(wish->topic), 1, PERM_READ | PERM_WRITE,
                         unit_flag, &config, &is_new);
}

static enum status make(struct broker *broker, const struct topic_wish *wish)
{
    struct slice name = slice_of_cstr(wish->topic);
    bool retry = slice_starts_with(name, SLICE_LITERAL(TOPIC_RETRY_PREFIX));
    int32_t unit_flag = !wish->unit_mode ? 0
                        : retry          ? TOPIC_SYS_FLAG_UNIT_SUB
                                         : TOPIC_SYS_FLAG_UNIT;
    if (wish->dead_letters)
        return make_fixed(broker, wish, unit_flag);
    struct topic_config config;
    enum status status = topics_create_on_send(
        broker->topics, name, slice_of_cstr(wish->default_topic), wish->default_topic_queues,
        unit_flag, broker->conf.autoCreateTopicEnable, &config);
    return status == STATUS_NOT_FOUND && retry ? make_fixed(broker, wish, unit_flag) : status;
}

/* Make a list of topics, save them, and let those who wished hear of it. */
static void serve(struct broker *broker, struct topic_wish *wishes)
{
    struct err err = {0};
    bool any = false;
    for (struct topic_wish *wish = wishes; wish != NULL; wish = wish->next) {
        wish->status = make(broker, wish);
        any = any || wish->status == STATUS_OK;
    }
    enum status saved = any ? topics_persist(broker->topics, &err) : STATUS_OK;
    if (saved != STATUS_OK)
        log_error("topics", "new topics not saved, their sends are refused", "cause=\"%s\"",
                  err.text);
    else if (any)
        registrar_announce(broker->registrar);
    for (struct topic_wish *wish = wishes, *next; wish != NULL; wish = next) {
        next = wish->next;
        if (wish->status == STATUS_OK)
            wish->status = saved;
        loop_post(wish->loop, &wish->done);
    }
}

/* Everything that waits; NULL when the maker is stopping and nothing does. */
static struct topic_wish *take_all(struct topic_maker *maker)
{
    CHECK(pthread_mutex_lock(&maker->lock) == 0);
    while (maker->first == NULL && !maker->stopping)
        CHECK(pthread_cond_wait(&maker->changed, &maker->lock) == 0);
    struct topic_wish *wishes = maker->first;
    maker->first = NULL;
    maker->last = &maker->first;
    CHECK(pthread_mutex_unlock(&maker->lock) == 0);
    return wishes;
}

static void *work(void *arg)
{
    struct topic_maker *maker = arg;
    for (struct topic_wish *wishes; (wishes = take_all(maker)) != NULL;)
        serve(maker->broker, wishes);
    return NULL;
}

void topic_maker_free(struct topic_maker *maker)
{
    CHECK(pthread_cond_destroy(&maker->changed) == 0);
    CHECK(pthread_mutex_destroy(&maker->lock) == 0);
    free(maker);
}

enum status topic_maker_new(struct broker *broker, struct topic_maker **out, struct err *err)
{
    struct topic_maker *maker = xcalloc(1, sizeof *maker);
    maker->broker = broker;
    maker->last = &maker->first;
    CHECK(pthread_mutex_init(&maker->lock, NULL) == 0);
    CHECK(pthread_cond_init(&maker->changed, NULL) == 0);
    enum status status = thread_start(&maker->thread, "topic-maker", work, maker, err);
    if (status == STATUS_OK)
        *out = maker;
    else
        topic_maker_free(maker);
    return status;
}

void topic_maker_stop(struct topic_maker *maker)
{
    CHECK(pthread_mutex_lock(&maker->lock) == 0);
    maker->stopping = true;
    CHECK(pthread_cond_signal(&maker->changed) == 0);
    CHECK(pthread_mutex_unlock(&maker->lock) == 0);
    thread_join(maker->thread);
}

void topic_maker_ask(struct topic_maker *maker, struct topic_wish *wish)
{
    CHECK(pthread_mutex_lock(&maker->lock) == 0);
    bool stopping = maker->stopping;
    wish->next = NULL;
    if (!stopping) {
        *maker->last = wish;
        maker->last = &wish->next;
        CHECK(pthread_cond_signal(&maker->changed) == 0);
    }
    CHECK(pthread_mutex_unlock(&maker->lock) == 0);
    if (stopping) {
        wish->status = STATUS_BUSY;
        loop_post(wish->loop, &wish->done);
    }
}
