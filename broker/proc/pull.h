/* SPDX-License-Identifier: Apache-2.0
 *
 * The pull processor's side of long polling: the hold_callbacks of one loop, ctx being its struct
 * broker_loop.
 */
#ifndef BROKER_PROC_PULL_H
#define BROKER_PROC_PULL_H

#include "broker/state/hold.h"

void pull_on_arrival(void *ctx, struct held *held);
void pull_on_expire(void *ctx, struct held *held);
void pull_on_drop(void *ctx, struct held *held);
int64_t pull_tags(void *ctx, struct queue *queue, int64_t from,
                  void (*each)(void *each_ctx, int64_t tags_code), void *each_ctx);

#endif
