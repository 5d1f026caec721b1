/* SPDX-License-Identifier: Apache-2.0
 *
 * The order: offsets are moved and written, then the identity says "master". A crash between the
 * two moves them again, and nothing was served meanwhile.
 */
#include "broker/proc/store_owner.h"

#include "broker/state/half_message.h"
#include "broker/state/pop_log.h"
#include "common/sys/log.h"
#include "common/sys/process.h"

#include <string.h>

#define LINES_MAX 200 /* of single groups and topics */

struct walk {
    struct broker *broker;
    bool only_tell;
    int64_t keys; /* topic and group */
    int64_t messages;
};

/* --- what is ahead --- */

static int64_t end_of(const struct broker *broker, struct slice topic, int32_t queue_id)
{
    const struct queue *queue = store_queue(broker->store, topic, queue_id, false);
    return queue == NULL ? 0 : queue_max_offset(queue);
}

static int64_t begin_of(const struct broker *broker, const char *topic)
{
    const struct queue *queue = store_queue(broker->store, slice_of_cstr(topic), 0, false);
    return queue == NULL ? 0 : queue_min_offset(queue);
}

static void say(struct walk *walk, struct slice group, struct slice topic, int queues,
                int64_t messages)
{
    walk->messages += messages;
    if (++walk->keys <= LINES_MAX)
        log_warn("broker",
                 walk->only_tell ? "consumer offsets are behind the end of their queues"
                                 : "consumer offsets set back to the end of their queues",
                 "group=%.*s topic=%.*s queues=%d messages=%lld", SLICE_ARGS(group),
                 SLICE_ARGS(topic), queues, (long long)messages);
}

static void set(struct walk *walk, struct slice topic, struct slice group, int32_t queue_id,
                int64_t offset)
{
    if (!walk->only_tell &&
        offsets_commit(walk->broker->offsets, topic, group, queue_id, offset) != STATUS_OK)
        log_error("broker", "a consumer offset could not be set back", "group=%.*s topic=%.*s",
                  SLICE_ARGS(group), SLICE_ARGS(topic));
}

static void look_at(struct walk *walk, struct arena *arena, const struct offset_key *key)
{
    IntOffsetEntry **entries;
    size_t count = offsets_of(walk->broker->offsets, key->topic, key->group, arena, &entries);
    /* Popped messages: the last record that is not needed any more, not the next one. */
    int64_t last = slice_is(key->group, POP_LOG_GROUP) ? 1 : 0;
    int queues = 0;
    int64_t messages = 0;
    for (size_t i = 0; i < count; i++) {
        int64_t end = end_of(walk->broker, key->topic, entries[i]->key) - last;
        if (entries[i]->value <= end)
            continue;
        queues++;
        messages += entries[i]->value - end;
        set(walk, key->topic, key->group, entries[i]->key, end);
    }
    if (queues > 0)
        say(walk, key->group, key->topic, queues, messages);
}

/* How far the checks of transactions have come. What ended half messages that the log still has may
 * be lost with its end, a marker as well as a copy: whichever queue is too short, they are looked
 * at again from the first one that is kept on. */
static void look_at_transactions(struct walk *walk)
{
    const struct slice group = SLICE_LITERAL(GROUP_TRANSACTIONS);
    const struct slice halves = SLICE_LITERAL(TOPIC_TRANS_HALF);
    const struct slice markers = SLICE_LITERAL(TOPIC_TRANS_OP_HALF);
    const struct broker *broker = walk->broker;
    int64_t half_ahead = offsets_get(broker->offsets, halves, group, 0) - end_of(broker, halves, 0);
    int64_t marker_ahead =
        offsets_get(broker->offsets, markers, group, 0) - end_of(broker, markers, 0);
    if (half_ahead <= 0 && marker_ahead <= 0)
        return;
    set(walk, halves, group, 0, begin_of(broker, TOPIC_TRANS_HALF));
    say(walk, group, halves, 1, half_ahead < 0 ? 0 : half_ahead);
    set(walk, markers, group, 0, begin_of(broker, TOPIC_TRANS_OP_HALF));
    say(walk, group, markers, 1, marker_ahead < 0 ? 0 : marker_ahead);
}

static enum status look_at_offsets(struct broker *broker, const char *cause, bool only_tell,
                                   struct err *err)
{
    struct walk walk = {.broker = broker, .only_tell = only_tell};
    struct arena arena;
    struct arena entries;
    struct offset_key *keys;
    arena_init(&arena, 65536);
    arena_init(&entries, 4096);
    size_t count = offsets_keys(broker->offsets, &arena, &keys);
    look_at_transactions(&walk);
    for (size_t i = 0; i < count; i++) {
        if (slice_is(keys[i].group, GROUP_TRANSACTIONS))
            continue;
        look_at(&walk, &entries, &keys[i]);
        arena_reset(&entries);
    }
    arena_release(&entries);
    arena_release(&arena);
    if (walk.keys == 0)
        return STATUS_OK;
    log_warn("broker",
             only_tell
                 ? "offsets are ahead of the log, and stay so: new messages up to there would "
                   "be passed over"
                 : "offsets were ahead of the log: messages that were consumed are lost",
             "groups_and_topics=%lld messages=%lld cause=\"%s\"%s", (long long)walk.keys,
             (long long)walk.messages, cause,
             only_tell ? " mend=\"mqadmin resetOffsetByTime of these groups\"" : "");
    return only_tell ? STATUS_OK : offsets_persist(broker->offsets, err);
}

static enum status look_at_tables(struct broker *broker, const struct store_identity *found,
                                  struct err *err)
{
    bool switched_off = !store_was_closed(broker->store) && found->machine_boot[0] != '\0' &&
                        strcmp(found->machine_boot, broker->identity.machine_boot) != 0;
    delay_settle(broker->delay);
    if (broker->timer != NULL)
        timer_settle(broker->timer);
    if (found->use == STORE_USE_SLAVE)
        return look_at_offsets(broker, "this was a slave's store", false, err);
    if (switched_off)
        return look_at_offsets(broker, "the machine was switched off while the broker ran", false,
                               err);
    if (found->use == STORE_USE_UNKNOWN)
        return look_at_offsets(broker, "not known: this store was another program's", true, err);
    return STATUS_OK;
}

/* --- who we are --- */

static void compare_names(const struct broker *broker)
{
    const struct store_identity *identity = &broker->identity;
    const struct broker_conf *conf = &broker->conf;
    if (strcmp(identity->cluster_name, conf->brokerClusterName) == 0 &&
        strcmp(identity->broker_name, conf->brokerName) == 0)
        return;
    log_warn("broker", "the store was begun by another broker",
             "begun_by=\"%s\" of=\"%s\" now=\"%s\" now_of=\"%s\" storeId=%s", identity->broker_name,
             identity->cluster_name, (const char *)conf->brokerName,
             (const char *)conf->brokerClusterName, identity->id);
}

enum status store_owner_begin(struct broker *broker, struct err *err)
{
    const struct broker_conf *conf = &broker->conf;
    const char *root = conf->storePathRootDir;
    struct store_identity *identity = &broker->identity;
    struct store_identity found;
    enum status status = store_identity_load(root, broker->vfs, &found, err);
    if (status == STATUS_NOT_FOUND)
        store_identity_make(&found, conf->brokerClusterName, conf->brokerName);
    else if (status != STATUS_OK)
        return status;
    *identity = found;
    identity->use = broker->slave ? STORE_USE_SLAVE : STORE_USE_MASTER;
    process_machine_boot(identity->machine_boot);
    if (status == STATUS_NOT_FOUND)
        log_info("broker", "the store has an identity", "storeId=%s", identity->id);
    else
        compare_names(broker);
    bool changed = status == STATUS_NOT_FOUND || identity->use != found.use ||
                   strcmp(identity->machine_boot, found.machine_boot) != 0;
    status = broker->slave ? STATUS_OK : look_at_tables(broker, &found, err);
    if (status == STATUS_OK && changed)
        status = store_identity_save(root, broker->vfs, identity, err);
    return status;
}
