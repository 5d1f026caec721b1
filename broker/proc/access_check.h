/* SPDX-License-Identifier: Apache-2.0
 *
 * Access control before every request, whatever its code: who asks, and may he? (AC-02 to AC-07)
 */
#ifndef BROKER_PROC_ACCESS_CHECK_H
#define BROKER_PROC_ACCESS_CHECK_H

#include "broker/proc/broker.h"

/* May the call go on? When not it has been answered with SYSTEM_ERROR, with a remark that begins as
 * 4.9.2's does. On the loop; never waits. Only while access control is on. */
bool access_check(struct broker *broker, struct call *call);

#endif
