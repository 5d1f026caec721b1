/* SPDX-License-Identifier: Apache-2.0
 *
 * What RocketMQ 5's tools and slaves ask about timers: GET_TIMER_CHECK_POINT (60) and
 * GET_TIMER_METRICS (61). Source: AdminBrokerProcessor and TimerCheckpoint of 5.3.3.
 */
#include "broker/proc/broker.h"
#include "broker/proc/handlers.h"

#define CHECK_POINT_BYTES 56

void handle_get_timer_check_point(struct broker *broker, struct call *call)
{
    uint8_t body[CHECK_POINT_BYTES] = {0};
    struct timer_figures figures;
    if (broker->timer == NULL) {
        call_fail(call, RESPONSE_SYSTEM_ERROR, "The checkpoint is null");
        return;
    }
    timer_figures(broker->timer, &figures);
    put_i64(body, figures.read_ms);
    put_i64(body + 8, 0); /* the end of Apache's timer log, which does not exist here */
    put_i64(body + 16, figures.queue_offset);
    put_i64(body + 24, figures.queue_offset);
    put_i64(body + 40, clock_wall_ms(broker->clock));
    put_i64(body + 48, figures.delivered + figures.queue_offset);
    struct response response = {.code = RESPONSE_SUCCESS, .body = slice_of(body, sizeof body)};
    net_reply(call_reply_to(call), &response);
}

void handle_get_timer_metrics(struct broker *broker, struct call *call)
{
    TimerMetricsSerializeWrapper body;
    if (broker->timer == NULL) {
        call_fail(call, RESPONSE_SYSTEM_ERROR, "The timer message store is null");
        return;
    }
    timer_wrap_metrics(broker->timer, call->arena, &body);
    call_succeed_body(call, NULL, &body.base);
}
