/* SPDX-License-Identifier: Apache-2.0
 *
 * The requests that change and show access control (AC-10). This broker runs without access
 * control, so each is refused with the code that 4.9.2 has for its failure; the two that ask are
 * answered as well, where 4.9.2 stays silent until the caller's time is up.
 */
#include "broker/proc/broker.h"
#include "broker/proc/handlers.h"

static int32_t refusal_code(int32_t request_code)
{
    switch (request_code) {
    case REQUEST_UPDATE_AND_CREATE_ACL_CONFIG:
        return RESPONSE_UPDATE_AND_CREATE_ACL_CONFIG_FAILED;
    case REQUEST_DELETE_ACL_CONFIG:
        return RESPONSE_DELETE_ACL_CONFIG_FAILED;
    case REQUEST_UPDATE_GLOBAL_WHITE_ADDRS_CONFIG:
        return RESPONSE_UPDATE_GLOBAL_WHITE_ADDRS_CONFIG_FAILED;
    default:
        return RESPONSE_SYSTEM_ERROR;
    }
}

void handle_acl_request(struct broker *broker, struct call *call)
{
    (void)broker;
    call_fail(call, refusal_code(call->request->code),
              "access control is off on this broker (aclEnable=false): there are no accounts to "
              "show or to change");
}
