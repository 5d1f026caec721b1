/* SPDX-License-Identifier: Apache-2.0
 *
 * INVOKE_BROKER_TO_GET_CONSUMER_STATUS (CL-12): ask the members of a group how far they are, and
 * answer with what all of them have said.
 *
 * The members answer on the loops of their connections. A poll is shared by them under its lock;
 * whoever is the last one, member or time limit, answers the administrator and frees it.
 */
#include "broker/proc/broker.h"
#include "broker/proc/handlers.h"

#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/sys/log.h"
#include "proto/body_json.h"
#include "proto/header.pb-c.h"

#include <stdlib.h>
#include <string.h>

#define MEMBER_TIMEOUT_MS 5000

struct poll {
    struct reply_to to;
    pthread_mutex_t lock;
    struct arena arena;
    GetConsumerStatusBody body;
    size_t body_bytes; /* of the members' answers; bounded by what one answer of ours can hold */
    size_t waiting;    /* members, and one for the asker itself */
};

/* One member that was asked. */
struct member {
    struct poll *poll;
    char *client_id; /* in the poll's arena */
};

static struct poll *poll_new(const struct call *call, size_t members)
{
    struct poll *poll = xcalloc(1, sizeof *poll);
    poll->to = call_reply_to(call);
    CHECK(pthread_mutex_init(&poll->lock, NULL) == 0);
    arena_init(&poll->arena, 4096);
    get_consumer_status_body__init(&poll->body);
    poll->body.consumer_table =
        arena_alloc(&poll->arena, (members + 1) * sizeof(ConsumerStatusEntry *));
    poll->waiting = 1;
    return poll;
}

/* One fewer to wait for; after the last one the poll is answered and gone. */
static void poll_leave(struct poll *poll)
{
    CHECK(pthread_mutex_lock(&poll->lock) == 0);
    bool last = --poll->waiting == 0;
    CHECK(pthread_mutex_unlock(&poll->lock) == 0);
    if (!last)
        return;
    struct buf json = BUF_EMPTY;
    body_encode(&poll->body.base, BODY_COMPACT, &json);
    struct response response = {.code = RESPONSE_SUCCESS, .body = buf_slice(&json)};
    net_reply(poll->to, &response);
    buf_release(&json);
    arena_release(&poll->arena);
    CHECK(pthread_mutex_destroy(&poll->lock) == 0);
    free(poll);
}

/* With the lock held. A client id that has answered before, over another connection, is replaced.
 */
static void poll_add(struct poll *poll, char *client_id, const GetConsumerStatusBody *answer)
{
    ConsumerStatusEntry *entry = NULL;
    for (size_t i = 0; i < poll->body.n_consumer_table && entry == NULL; i++)
        if (strcmp(poll->body.consumer_table[i]->key, client_id) == 0)
            entry = poll->body.consumer_table[i];
    if (entry == NULL) {
        entry = arena_alloc(&poll->arena, sizeof *entry);
        consumer_status_entry__init(entry);
        entry->key = client_id;
        poll->body.consumer_table[poll->body.n_consumer_table++] = entry;
    }
    entry->n_value = answer->n_message_queue_table;
    entry->value = answer->message_queue_table;
}

/* A member has answered, or will not. On its loop. */
static void member_answered(void *ctx, enum status status, const struct command *response,
                            struct slice body, struct arena *arena)
{
    (void)arena;
    struct member *member = ctx;
    struct poll *poll = member->poll;
    GetConsumerStatusBody answer;
    get_consumer_status_body__init(&answer);
    if (status == STATUS_OK && response->code == RESPONSE_SUCCESS && body.size > 0) {
        CHECK(pthread_mutex_lock(&poll->lock) == 0);
        poll->body_bytes += body.size;
        if (poll->body_bytes <= FRAME_BYTES_MAX / 2 &&
            body_decode(arena_copy(&poll->arena, body), &poll->arena, &answer.base, NULL) ==
                STATUS_OK)
            poll_add(poll, member->client_id, &answer);
        CHECK(pthread_mutex_unlock(&poll->lock) == 0);
    } else {
        log_warn("clients", "a consumer did not tell its status", "client=%s cause=\"%s\"",
                 member->client_id, status_text(status));
    }
    free(member);
    poll_leave(poll);
}

static void ask(struct poll *poll, const struct client_info *client, const struct request *request)
{
    struct member *member = xcalloc(1, sizeof *member);
    member->poll = poll;
    CHECK(pthread_mutex_lock(&poll->lock) == 0);
    member->client_id = arena_cstr(&poll->arena, slice_of_cstr(client->client_id));
    poll->waiting++;
    CHECK(pthread_mutex_unlock(&poll->lock) == 0);
    net_call(client->conn, request, member_answered, member);
}

/* False when the call was answered. */
static bool find_members(struct broker *broker, struct call *call, const char *group,
                         struct client_info **members, size_t *count)
{
    if (!clients_consumer_members(broker->clients, slice_of_cstr(group), call->arena, members,
                                  count) ||
        *count == 0) {
        call_fail(call, RESPONSE_SYSTEM_ERROR, "No Any Consumer online in the consumer group: [%s]",
                  group);
        return false;
    }
    for (size_t i = 0; i < *count; i++)
        if ((*members)[i].version < VERSION_3_0_7) { /* does not know the request */
            call_fail(call, RESPONSE_SYSTEM_ERROR,
                      "the client does not support this feature. version=%d of client <%s>",
                      (int)(*members)[i].version, (*members)[i].client_id);
            return false;
        }
    return true;
}

void handle_invoke_broker_to_get_consumer_status(struct broker *broker, struct call *call)
{
    GetConsumerStatusRequestHeader header;
    GetConsumerStatusRequestHeader question;
    struct client_info *members = NULL;
    size_t count = 0;
    get_consumer_status_request_header__init(&header);
    get_consumer_status_request_header__init(&question);
    if (!call_bind(call, &header.base) ||
        !find_members(broker, call, header.group, &members, &count))
        return;
    question.topic = header.topic;
    question.group = header.group;
    struct request request = {.code = REQUEST_GET_CONSUMER_STATUS_FROM_CLIENT,
                              .header = &question.base,
                              .codec = CODEC_JSON,
                              .timeout_ms = MEMBER_TIMEOUT_MS};
    bool everybody = header.client_addr == NULL || header.client_addr[0] == '\0';
    struct poll *poll = poll_new(call, count);
    for (size_t i = 0; i < count; i++)
        if (everybody || strcmp(members[i].client_id, header.client_addr) == 0)
            ask(poll, &members[i], &request);
    poll_leave(poll);
}
