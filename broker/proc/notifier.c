/* SPDX-License-Identifier: Apache-2.0
 *
 * Notices that need not wait are sent by whoever brings the change, before its own answer, as in
 * 4.9.2. Those that wait are sent by a timer on the first loop, which runs only while groups were
 * told not long ago.
 *
 * Invariant: the timer is set, or the task that sets it is posted, exactly while `notices` has
 * something to wait for. The task is not posted twice: notices says `awake` again only after its
 * step has returned -1, on the same loop and after the task has run.
 */
#include "broker/proc/notifier.h"

#include "broker/proc/broker.h"

#include "broker/state/notices.h"
#include "common/base/check.h"
#include "common/base/limits.h"
#include "proto/header.pb-c.h"

#include <stdlib.h>
#include <string.h>

struct notifier {
    struct broker *broker;
    struct notices *notices;
    struct loop *loop;
    struct loop_timer *timer;
    struct loop_task wake;
};

static bool is_switched_off(struct broker *broker, struct slice group, bool always)
{
    struct group_config config;
    return !broker->conf.notifyConsumerIdsChangedEnable ||
           (!always && groups_get(broker->groups, group, false, &config) &&
            !config.notify_consumer_ids_changed);
}

static void tell(struct conn_ref conn, struct slice group)
{
    NotifyConsumerIdsChangedRequestHeader header;
    char name[GROUP_BYTES_MAX + 1];
    size_t size = group.size < sizeof name ? group.size : sizeof name - 1;
    memcpy(name, group.data, size);
    name[size] = '\0';
    notify_consumer_ids_changed_request_header__init(&header);
    header.consumer_group = name;
    struct request request = {
        .code = REQUEST_NOTIFY_CONSUMER_IDS_CHANGED, .header = &header.base, .codec = CODEC_JSON};
    net_call(conn, &request, NULL, NULL);
}

static void tell_members(struct broker *broker, const struct notice *notice, struct arena *arena)
{
    struct client_info *members = NULL;
    size_t count = 0;
    if (is_switched_off(broker, notice->group, notice->always) ||
        !clients_consumer_members(broker->clients, notice->group, arena, &members, &count))
        return;
    for (size_t i = 0; i < count; i++)
        tell(members[i].conn, notice->group);
}

/* On the first loop. */
static void step(void *ctx)
{
    struct notifier *notifier = ctx;
    struct notice *due = NULL;
    struct arena arena;
    size_t count = 0;
    arena_init(&arena, 4096);
    int64_t wait_ms = notices_step(notifier->notices, clock_monotonic_ms(notifier->broker->clock),
                                   &arena, &due, &count);
    for (size_t i = 0; i < count; i++)
        tell_members(notifier->broker, &due[i], &arena);
    arena_release(&arena);
    if (wait_ms >= 0)
        loop_timer_set(notifier->timer, wait_ms);
}

static void wake_up(struct loop_task *task)
{
    struct notifier *notifier = list_entry(task, struct notifier, wake);
    loop_timer_set(notifier->timer, NOTICE_INTERVAL_MS);
}

struct notifier *notifier_new(struct broker *broker)
{
    struct notifier *notifier = xcalloc(1, sizeof *notifier);
    notifier->broker = broker;
    notifier->notices = notices_new();
    notifier->loop = broker->loops[0];
    notifier->timer = loop_timer_new(notifier->loop, step, notifier);
    notifier->wake.run = wake_up;
    return notifier;
}

void notifier_free(struct notifier *notifier)
{
    loop_timer_free(notifier->timer);
    notices_free(notifier->notices);
    free(notifier);
}

void notifier_changed(struct notifier *notifier, const struct notify_list *list, bool always)
{
    struct broker *broker = notifier->broker;
    int64_t now_ms = clock_monotonic_ms(broker->clock);
    for (; list != NULL; list = list->next) {
        bool awake = false;
        if (is_switched_off(broker, list->group, always))
            continue;
        bool tell_now = notices_changed(notifier->notices, list->group, always, now_ms, &awake);
        if (awake)
            loop_post(notifier->loop, &notifier->wake);
        for (size_t i = 0; tell_now && i < list->count; i++)
            tell(list->conns[i], list->group);
    }
}
