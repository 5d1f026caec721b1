/* SPDX-License-Identifier: Apache-2.0
 *
 * What encrypted connections need beyond others: their handshakes, which are bounded in time and
 * number and take turns, so that a flood of them holds up nobody else; and waiting for the disk,
 * when bytes of a file that are to be encrypted have left the page cache.
 *
 * On the loop's thread.
 */
#ifndef COMMON_NET_CONN_TLS_H
#define COMMON_NET_CONN_TLS_H

#include "common/net/conn.h"

void conn_tls_init(struct conn_table *table);
void conn_tls_release(struct conn_table *table);

/* A handshake begins; it is ended when it is not done in TLS_HANDSHAKE_MS. Of those that peers have
 * begun the oldest of TLS_HANDSHAKES_MAX is ended when a further one begins. */
void conn_handshake_begin(struct conn *conn);
/* Bytes of it have come: have it go on when its turn comes. */
void conn_handshake_wanted(struct conn *conn);
void conn_handshake_done(struct conn *conn);
/* The step of a turn: let some go on. */
void conn_handshake_steps(struct conn_table *table);

/* Its output is being read from the disk: write again in a moment. Ends the connection when the
 * disk does not give it for DISK_WAIT_MS. */
void conn_await_disk(struct conn *conn);

/* Part of conn_end. */
void conn_tls_ended(struct conn *conn);

#endif
