/* SPDX-License-Identifier: Apache-2.0
 *
 * The order is 4.9.2's: the white list for all, the account, the account's own white list, the
 * signature, then what the account may do. A body is only decoded for an account whose signature is
 * right, so that strangers cannot make the broker work.
 *
 * What a command asks for is the column `permission` of command.def. A field that is missing asks
 * for nothing: the processor that needs it refuses the request. Of several fields of one name the
 * last counts, for the signature, here and in the processors.
 * Source: RMQ acl/.../PlainAccessValidator.java, PlainPermissionManager.java.
 */
#include "broker/proc/access_check.h"

#include "common/sys/log.h"
#include "proto/body.pb-c.h"
#include "proto/body_json.h"

#define EXCEPTION "org.apache.rocketmq.acl.common.AclException: "
#define SHOWN_BYTES 128 /* of a name that came from outside */

struct check {
    struct call *call;
    const struct access_account *account;
    const char *fault; /* in the call's arena; NULL: none so far */
};

static int shown(struct slice text)
{
    return text.size > SHOWN_BYTES ? SHOWN_BYTES : (int)text.size;
}

/* --- what the account may do --- */

static const char *right_name(unsigned right)
{
    return right == ACCESS_PUB ? "PUB" : "SUB";
}

static void need_topic(struct check *check, struct slice topic, unsigned right)
{
    if (check->fault != NULL || access_account_may(check->account, topic, right))
        return;
    bool is_group = slice_starts_with(topic, SLICE_LITERAL(ACCESS_GROUP_PREFIX));
    struct slice name = is_group ? slice_from(topic, sizeof ACCESS_GROUP_PREFIX - 1) : topic;
    check->fault = arena_printf(
        check->call->arena,
        "No default permission for %s:%.*s; the account %.*s needs %s there: in %s or %s of "
        "plain_acl.yml",
        is_group ? "group" : "topic", shown(name), (const char *)name.data,
        shown(check->account->access_key), (const char *)check->account->access_key.data,
        right_name(right), is_group ? "groupPerms" : "topicPerms",
        is_group ? "defaultGroupPerm" : "defaultTopicPerm");
}

static void need_group(struct check *check, struct slice group)
{
    const char *name =
        arena_printf(check->call->arena, "%s%.*s", ACCESS_GROUP_PREFIX, SLICE_ARGS(group));
    need_topic(check, slice_of_cstr(name), ACCESS_SUB);
}

/* A field of the header; false when it is not there. A NUL ends a text for some, for others not,
 * so that none may be in a name on which rights depend. */
static bool find_name(struct check *check, const char *field, struct slice *out)
{
    if (!ext_find(&check->call->request->ext, slice_of_cstr(field), out))
        return false;
    if (out->size == 0 || memchr(out->data, '\0', out->size) == NULL)
        return true;
    check->fault = arena_printf(check->call->arena, "the field <%s> holds a NUL character", field);
    return false;
}

static void need_topic_field(struct check *check, const char *field, unsigned right)
{
    struct slice topic;
    if (find_name(check, field, &topic))
        need_topic(check, topic, right);
}

static void need_group_field(struct check *check, const char *field)
{
    struct slice group;
    if (find_name(check, field, &group))
        need_group(check, group);
}

/* A message that goes back is published, and its group's. Should it come from the retry topic, only
 * the group's right counts, as in 4.9.2. */
static void need_send_back(struct check *check)
{
    struct slice topic = SLICE_EMPTY;
    struct slice group = SLICE_EMPTY;
    bool has_topic = find_name(check, "originTopic", &topic);
    bool has_group = find_name(check, "group", &group);
    struct slice prefix = SLICE_LITERAL(ACCESS_GROUP_PREFIX);
    bool same = has_topic && has_group && slice_starts_with(topic, prefix) &&
                slice_equal(slice_from(topic, prefix.size), group);
    if (has_topic && !same)
        need_topic(check, topic, ACCESS_PUB);
    if (has_group)
        need_group(check, group);
}

/* --- in bodies --- */

static bool decode(struct check *check, ProtobufCMessage *body)
{
    struct err err = {0};
    if (body_decode(check->call->body, check->call->arena, body, &err) == STATUS_OK)
        return true;
    check->fault = arena_printf(check->call->arena,
                                "the request's body is not a %s, so that it is not known "
                                "what it is about: %s",
                                body->descriptor->short_name, err.text);
    return false;
}

static void need_subscriptions(struct check *check)
{
    HeartbeatData body;
    heartbeat_data__init(&body);
    if (!decode(check, &body.base))
        return;
    for (size_t i = 0; i < body.n_consumer_data_set; i++) {
        const ConsumerData *consumer = body.consumer_data_set[i];
        need_group(check, slice_of_cstr(consumer->group_name));
        for (size_t j = 0; j < consumer->n_subscription_data_set; j++)
            need_topic(check, slice_of_cstr(consumer->subscription_data_set[j]->topic), ACCESS_SUB);
    }
}

static void need_acks(struct check *check)
{
    BatchAckMessageRequestBody body;
    batch_ack_message_request_body__init(&body);
    if (!decode(check, &body.base))
        return;
    for (size_t i = 0; i < body.n_acks; i++) {
        need_topic(check, slice_of_cstr(body.acks[i]->t), ACCESS_SUB);
        need_group(check, slice_of_cstr(body.acks[i]->c));
    }
}

static void need_assignment(struct check *check)
{
    QueryAssignmentRequestBody body;
    query_assignment_request_body__init(&body);
    if (!decode(check, &body.base))
        return;
    need_topic(check, slice_of_cstr(body.topic), ACCESS_SUB);
    need_group(check, slice_of_cstr(body.consumer_group));
}

static void need_admin(struct check *check)
{
    if (!check->account->admin)
        check->fault = arena_printf(
            check->call->arena,
            "Need admin permission for request code=%d, but accessKey=%.*s is not; use an account "
            "with admin: true",
            (int)check->call->request->code, shown(check->account->access_key),
            (const char *)check->account->access_key.data);
}

static void need_permission(struct check *check, enum command_permission permission)
{
    switch (permission) {
    case PERMISSION_OPEN:
        break;
    case PERMISSION_ADMIN:
        need_admin(check);
        break;
    case PERMISSION_TOPIC_PUB:
        need_topic_field(check, "topic", ACCESS_PUB);
        break;
    case PERMISSION_SHORT_PUB:
        need_topic_field(check, "b", ACCESS_PUB);
        break;
    case PERMISSION_TOPIC_SUB:
        need_topic_field(check, "topic", ACCESS_SUB);
        break;
    case PERMISSION_GROUP_SUB:
        need_group_field(check, "consumerGroup");
        break;
    case PERMISSION_TOPIC_GROUP_SUB:
        need_topic_field(check, "topic", ACCESS_SUB);
        need_group_field(check, "consumerGroup");
        break;
    case PERMISSION_TOPIC_PUB_GROUP_SUB:
        need_send_back(check);
        break;
    case PERMISSION_SUBSCRIPTIONS:
        need_subscriptions(check);
        break;
    case PERMISSION_ACKS:
        need_acks(check);
        break;
    case PERMISSION_ASSIGNMENT:
        need_assignment(check);
        break;
    }
}

/* --- who asks --- */

/* Is the request signed by an account, whose rights count then? False and no fault: whoever comes
 * from that address may do all. */
static bool identify(struct check *check, struct access_view *view,
                     const struct access_rules *rules)
{
    struct call *call = check->call;
    struct slice access_key = SLICE_EMPTY;
    struct slice signature = SLICE_EMPTY;
    if (address_list_has(&rules->white, &call->peer))
        return false;
    if (!ext_find(&call->request->ext, SLICE_LITERAL(FIELD_ACCESS_KEY), &access_key)) {
        check->fault =
            "No accessKey is configured; this broker checks who asks (aclEnable=true): "
            "sign the request with an account's keys, or have the address of this client "
            "added to globalWhiteRemoteAddresses in plain_acl.yml";
        return false;
    }
    check->account = access_rules_account(rules, access_key);
    if (check->account == NULL) {
        check->fault =
            arena_printf(call->arena, "No acl config for %.*s; the account is not in plain_acl.yml",
                         shown(access_key), (const char *)access_key.data);
        return false;
    }
    if (address_list_has(&check->account->white, &call->peer))
        return false;
    (void)ext_find(&call->request->ext, SLICE_LITERAL(FIELD_SIGNATURE), &signature);
    if (signer_accepts(view->signer, check->account->secret_key, &call->request->ext, call->body,
                       signature))
        return true;
    check->fault = arena_printf(call->arena,
                                "Check signature failed for accessKey=%.*s; see whether the client "
                                "has the secretKey of plain_acl.yml",
                                shown(access_key), (const char *)access_key.data);
    return false;
}

static void refuse(const struct check *check, const struct command_info *info)
{
    static struct log_gate gate;
    int64_t swallowed;
    char peer[HOST_TEXT_BYTES];
    net_reply_error(call_reply_to(check->call), RESPONSE_SYSTEM_ERROR, EXCEPTION "%s",
                    check->fault);
    if (!log_gate_open(&gate, &swallowed))
        return;
    host_format(&check->call->peer, peer);
    log_warn("access", "request refused", "peer=%s code=%d name=%s cause=\"%s\" others=%lld", peer,
             (int)check->call->request->code, info == NULL ? "?" : info->name, check->fault,
             (long long)swallowed);
}

/* No need to look into the request. */
static bool may_all(const struct access_account *account)
{
    return account->admin && account->rights.count == 0;
}

bool access_check(struct broker *broker, struct call *call)
{
    struct access_view *view = &broker_loop_of(broker, call)->access;
    const struct access_rules *rules = access_view_rules(view, broker->access);
    const struct command_info *info = command_info(call->request->code);
    struct check check = {.call = call};
    if (identify(&check, view, rules) && !may_all(check.account))
        need_permission(&check, info == NULL ? PERMISSION_OPEN : info->permission);
    if (check.fault == NULL)
        return true;
    refuse(&check, info);
    return false;
}
