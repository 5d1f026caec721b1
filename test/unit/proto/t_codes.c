/* SPDX-License-Identifier: Apache-2.0
 *
 * Shows that the command table answers for exactly the rows of command.def and response.def.
 * Source of the numbers: RequestCode and ResponseCode of RocketMQ 4.9.2.
 */
#include "proto/codes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

static void rows_are_found_by_code(void **state)
{
    (void)state;
    const struct command_info *send = command_info(REQUEST_SEND_MESSAGE_V2);
    assert_non_null(send);
    assert_int_equal(send->code, 310);
    assert_string_equal(send->name, "SEND_MESSAGE_V2");
    assert_int_equal(send->server, SERVER_BROKER);
    assert_int_equal(send->executor, EXECUTOR_LOOP);
    assert_int_equal(send->permission, PERMISSION_SHORT_PUB);
    assert_int_equal(command_info(105)->server, SERVER_NAMESRV);
    assert_int_equal(command_info(309)->server, SERVER_BROKER_AND_CLIENT);
    assert_int_equal(command_info(13)->server, SERVER_NOBODY);
}

static void every_row_and_nothing_else(void **state)
{
    (void)state;
    int rows = 0;
    for (int32_t code = -1000; code < 270000; code++) {
        const struct command_info *info = command_info(code);
        if (info == NULL)
            continue;
        rows++;
        assert_int_equal(info->code, code);
        assert_true(strlen(info->name) > 3);
    }
    /* RequestCode of 4.9.2 has 94 constants; DELETE_EXPIRED_COMMITLOG is of 4.9.4; 11 are of pop
     * consumption and tools of 5.3.3; GET_TIMER_CHECK_POINT, GET_TIMER_METRICS, RECALL_MESSAGE and
     * GET_BROKER_HA_STATUS are of 5.x; GET_REPLICATED_TABLES is our own. */
    assert_int_equal(rows, 111);
    assert_int_equal(command_info(329)->server, SERVER_BROKER);
    assert_null(command_info(INT32_MIN));
    assert_null(command_info(INT32_MAX));
    assert_null(command_info(0));
    assert_null(command_info(16));
    assert_string_equal(command_info(200050)->name, "POP_MESSAGE");
    assert_string_equal(command_info(200151)->name, "BATCH_ACK_MESSAGE");
    assert_string_equal(command_info(200240)->name, "GET_REPLICATED_TABLES");
    assert_null(command_info(511));
    assert_null(command_info(512));
    assert_null(command_info(199999));
    assert_null(command_info(200000));
    assert_null(command_info(200256));
}

static void rows_know_their_response_header(void **state)
{
    (void)state;
    assert_true(command_info(REQUEST_SEND_MESSAGE)->has_response_header);
    assert_true(command_info(REQUEST_PULL_MESSAGE)->has_response_header);
    assert_false(command_info(REQUEST_HEART_BEAT)->has_response_header);
    assert_false(command_info(REQUEST_END_TRANSACTION)->has_response_header);
}

static void response_codes_have_names(void **state)
{
    (void)state;
    assert_string_equal(response_name(RESPONSE_SUCCESS), "SUCCESS");
    assert_string_equal(response_name(17), "TOPIC_NOT_EXIST");
    assert_string_equal(response_name(209), "UPDATE_AND_CREATE_ACL_CONFIG_FAILED");
    assert_string_equal(response_name(5), "?");
    assert_string_equal(response_name(-1), "?");
    int rows = 0;
    for (int32_t code = -10; code < 1000; code++)
        rows += strcmp(response_name(code), "?") != 0;
    /* RemotingSysResponseCode and ResponseCode together, and ILLEGAL_OPERATION of 5.x */
    assert_int_equal(rows, 37);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_found_by_code),
        cmocka_unit_test(every_row_and_nothing_else),
        cmocka_unit_test(rows_know_their_response_header),
        cmocka_unit_test(response_codes_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
