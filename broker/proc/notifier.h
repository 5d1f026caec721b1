/* SPDX-License-Identifier: Apache-2.0
 *
 * Tells the members of consumer groups that their group has changed (NOTIFY_CONSUMER_IDS_CHANGED,
 * CL-04), calmly: see broker/state/notices.h.
 */
#ifndef BROKER_PROC_NOTIFIER_H
#define BROKER_PROC_NOTIFIER_H

#include "broker/state/clients.h"

struct broker;
struct notifier;

/* Before the loops start; its timer runs on the first one. Freed after the loops have stopped. */
struct notifier *notifier_new(struct broker *broker);
void notifier_free(struct notifier *notifier);

/* The groups of the list have changed: tell its connections now, or soon those that are the group's
 * by then. Nobody is told while the broker or the group has that switched off. Any loop.
 * always  whatever the group says: its switch does not count when a connection has closed (CL-06)
 */
void notifier_changed(struct notifier *notifier, const struct notify_list *list, bool always);

#endif
