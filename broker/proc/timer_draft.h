/* SPDX-License-Identifier: Apache-2.0
 *
 * A message with a time of delivery on its way into the log. Source of the rules: HookUtils.
 * handleScheduleMessage of 5.3.3; the remarks are those of its SendMessageProcessor. Differs: the
 * time keeps its milliseconds.
 */
#ifndef BROKER_PROC_TIMER_DRAFT_H
#define BROKER_PROC_TIMER_DRAFT_H

#include "broker/proc/broker.h"
#include "broker/proc/draft.h"

enum timer_draft {
    TIMER_DRAFT_NONE,    /* no timer, or one whose time has come: to be stored as it is */
    TIMER_DRAFT_TIMER,   /* the record is one of rmq_sys_wheel_timer now */
    TIMER_DRAFT_ILLEGAL, /* no time, or one too far away: MESSAGE_ILLEGAL */
    TIMER_DRAFT_OFF,     /* timerWheelEnable=false: SYSTEM_ERROR */
};

/* What timer_draft would say of a message, which stays as it is: for one that becomes a timer later,
 * when its transaction is committed. */
enum timer_draft timer_draft_check(struct broker *broker, const struct property_wishes *wishes,
                                   struct arena *arena, int64_t *due_ms, const char **remark);

/* properties  the contents of record->properties; TIMER_OUT_MS and the real target are appended
 * record      topic, queue_id and properties are changed
 * due_ms      out: of a timer
 * remark      out: for ILLEGAL and OFF, in the arena */
enum timer_draft timer_draft(struct broker *broker, const struct property_wishes *wishes,
                             struct buf *properties, struct record *record, struct arena *arena,
                             int64_t *due_ms, const char **remark);

/* The handle by which the timer can be recalled, malloc'ed; NULL when it cannot be. */
char *timer_draft_handle(struct broker *broker, const struct property_wishes *wishes,
                         struct slice topic, int64_t due_ms);

#endif
