/* SPDX-License-Identifier: Apache-2.0
 *
 * What others need of client management.
 */
#ifndef BROKER_PROC_CLIENT_MANAGE_H
#define BROKER_PROC_CLIENT_MANAGE_H

#include "broker/proc/broker.h"
#include "common/base/limits.h"

#define GROUP_NAME_TEXT_BYTES (GROUP_BYTES_MAX + 1)

/* Tell every connection of the lists that its group's members changed (CL-04), one-way, unless the
 * broker or the group has that switched off.
 * always  whatever the group says: its switch does not count when a connection has closed (CL-06)
 */
void notify_consumers(struct broker *broker, const struct notify_list *list, bool always);

#endif
