/* SPDX-License-Identifier: Apache-2.0
 *
 * A master tells its slaves which of the tables that they copy have changed, so that they ask for
 * it at once instead of after 10 s. Topics and groups are told within some 50 ms, the offsets and
 * the progress of delayed messages, which change all the time, once a second. 4.9.2's slaves are
 * not told.
 */
#ifndef BROKER_PROC_TABLE_CHANGES_H
#define BROKER_PROC_TABLE_CHANGES_H

#include "broker/proc/broker.h"

struct table_changes;

struct table_changes *table_changes_new(struct broker *broker);
void table_changes_free(struct table_changes *changes);

/* Look, and tell. One thread, every 50 ms or so.
 * now_ms  monotonic */
void table_changes_step(struct table_changes *changes, int64_t now_ms);

#endif
