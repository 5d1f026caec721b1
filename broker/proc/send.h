/* SPDX-License-Identifier: Apache-2.0
 *
 * What others need of the send processor.
 */
#ifndef BROKER_PROC_SEND_H
#define BROKER_PROC_SEND_H

#include "broker/proc/broker.h"

/* Handle a send whose topic was being created; the parked_resume of parked_sends. */
void send_resume(struct broker *broker, struct call *call, enum status made);

#endif
