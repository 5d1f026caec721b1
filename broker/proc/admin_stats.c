/* SPDX-License-Identifier: Apache-2.0
 *
 * VIEW_BROKER_STATS_DATA (AD-17): a key's figures in one of the statistics tables, over the last
 * minute, hour and day.
 */
#include "broker/proc/broker.h"
#include "broker/proc/handlers.h"

#include "proto/header.pb-c.h"

static void item_init(BrokerStatsItem *item, const struct stats_figure *figure)
{
    broker_stats_item__init(item);
    item->sum = figure->sum;
    item->tps = figure->tps;
    item->avgpt = figure->average;
}

void handle_view_broker_stats_data(struct broker *broker, struct call *call)
{
    ViewBrokerStatsDataRequestHeader header;
    BrokerStatsItem minute, hour, day;
    BrokerStatsData body;
    struct stats_figures figures;
    view_broker_stats_data_request_header__init(&header);
    broker_stats_data__init(&body);
    if (!call_bind(call, &header.base))
        return;
    if (!topic_stats_read(broker->topic_stats, slice_of_cstr(header.stats_name),
                          slice_of_cstr(header.stats_key), &figures)) {
        call_fail(call, RESPONSE_SYSTEM_ERROR, "The stats <%s> <%s> not exist", header.stats_name,
                  header.stats_key);
        return;
    }
    item_init(&minute, &figures.minute);
    item_init(&hour, &figures.hour);
    item_init(&day, &figures.day);
    body.stats_minute = &minute;
    body.stats_hour = &hour;
    body.stats_day = &day;
    call_succeed_body(call, NULL, &body.base);
}
