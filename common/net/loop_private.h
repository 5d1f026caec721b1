/* SPDX-License-Identifier: Apache-2.0
 *
 * What the modules of this folder share about a loop and nobody else needs.
 */
#ifndef COMMON_NET_LOOP_PRIVATE_H
#define COMMON_NET_LOOP_PRIVATE_H

#include "common/net/loop.h"

struct conn_table;

/* The connections that live on the loop. Touch on the loop, or while its thread does not run. */
struct conn_table *loop_conns(const struct loop *loop);

/* A connection was read; some of these end the first part of a turn. */
void loop_has_read(struct loop *loop);

#endif
