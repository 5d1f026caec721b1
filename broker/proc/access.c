/* SPDX-License-Identifier: Apache-2.0
 *
 * The requests that change and show access control (AC-10). Changes are written into plain_acl.yml
 * and count when they are answered. Without access control each is refused with the code that 4.9.2
 * has for its failure; the two that ask are answered as well, where 4.9.2 stays silent until the
 * caller's time is up.
 */
#include "broker/proc/broker.h"
#include "broker/proc/handlers.h"

#include "common/sys/log.h"
#include "proto/body_json.h"
#include "proto/header.pb-c.h"

static bool is_on(const struct broker *broker, const struct call *call, int32_t refusal)
{
    if (broker->access == NULL)
        call_fail(
            call, refusal,
            "access control is off on this broker (aclEnable=false): there are no accounts to "
            "show or to change");
    return broker->access != NULL;
}

static void log_change(const struct call *call, const char *what, const char *about)
{
    char peer[HOST_TEXT_BYTES];
    host_format(&call->peer, peer);
    log_info("access", what, "peer=%s about=\"%s\"", peer, about);
}

void handle_update_and_create_acl_config(struct broker *broker, struct call *call)
{
    CreateAccessConfigRequestHeader header;
    struct err err = {0};
    create_access_config_request_header__init(&header);
    if (!is_on(broker, call, RESPONSE_UPDATE_AND_CREATE_ACL_CONFIG_FAILED) ||
        !call_bind(call, &header.base))
        return;
    struct acl_account account = {
        .access_key = header.access_key,
        .secret_key = header.secret_key,
        .white_remote_address = header.white_remote_address,
        .admin = header.has_admin && header.admin,
        .default_topic_perm = header.default_topic_perm,
        .default_group_perm = header.default_group_perm,
        .topic_perms = header.topic_perms,
        .group_perms = header.group_perms,
    };
    if (access_control_put_account(broker->access, &account, &err) != STATUS_OK) {
        call_fail(call, RESPONSE_UPDATE_AND_CREATE_ACL_CONFIG_FAILED,
                  "The accesskey[%s] corresponding to accessConfig has been updated failed: %s",
                  header.access_key, err.text);
        return;
    }
    log_change(call, "account written", header.access_key);
    call_succeed(call, NULL);
}

void handle_delete_acl_config(struct broker *broker, struct call *call)
{
    DeleteAccessConfigRequestHeader header;
    struct err err = {0};
    delete_access_config_request_header__init(&header);
    if (!is_on(broker, call, RESPONSE_DELETE_ACL_CONFIG_FAILED) || !call_bind(call, &header.base))
        return;
    if (access_control_delete_account(broker->access, header.access_key, &err) != STATUS_OK) {
        call_fail(call, RESPONSE_DELETE_ACL_CONFIG_FAILED,
                  "The accesskey[%s] corresponding to accessConfig has been deleted failed: %s",
                  header.access_key, err.text);
        return;
    }
    log_change(call, "account deleted", header.access_key);
    call_succeed(call, NULL);
}

void handle_update_global_white_addrs_config(struct broker *broker, struct call *call)
{
    UpdateGlobalWhiteAddrsConfigRequestHeader header;
    struct err err = {0};
    update_global_white_addrs_config_request_header__init(&header);
    if (!is_on(broker, call, RESPONSE_UPDATE_GLOBAL_WHITE_ADDRS_CONFIG_FAILED) ||
        !call_bind(call, &header.base))
        return;
    if (access_control_set_white(broker->access, header.global_white_addrs, &err) != STATUS_OK) {
        call_fail(call, RESPONSE_UPDATE_GLOBAL_WHITE_ADDRS_CONFIG_FAILED,
                  "The globalWhiteAddresses[%s] has been updated failed: %s",
                  header.global_white_addrs, err.text);
        return;
    }
    log_change(call, "global white list written", header.global_white_addrs);
    call_succeed(call, NULL);
}

void handle_get_broker_cluster_acl_info(struct broker *broker, struct call *call)
{
    GetBrokerAclConfigResponseHeader header;
    DataVersion version;
    struct buf json = BUF_EMPTY;
    if (!is_on(broker, call, RESPONSE_SYSTEM_ERROR))
        return;
    get_broker_acl_config_response_header__init(&header);
    data_version__init(&version);
    struct access_rules *rules = access_control_rules(broker->access);
    version.counter = rules->counter;
    version.timestamp = rules->timestamp_ms;
    access_rules_release(rules);
    body_encode(&version.base, BODY_COMPACT, &json);
    header.version = arena_cstr(call->arena, buf_slice(&json));
    header.broker_name = (char *)(uintptr_t)(const char *)broker->conf.brokerName;
    header.broker_addr = broker->address;
    header.cluster_name = (char *)(uintptr_t)(const char *)broker->conf.brokerClusterName;
    buf_release(&json);
    call_succeed(call, &header.base);
}

void handle_get_broker_cluster_acl_config(struct broker *broker, struct call *call)
{
    if (!is_on(broker, call, RESPONSE_SYSTEM_ERROR))
        return;
    GetBrokerClusterAclConfigResponseHeader header;
    get_broker_cluster_acl_config_response_header__init(&header);
    struct access_rules *rules = access_control_rules(broker->access);
    call_succeed_body(call, &header.base, &rules->shown.base);
    access_rules_release(rules);
}
