/* SPDX-License-Identifier: Apache-2.0
 *
 * A master and a slave over a simulated file layer each (crash_kit.h): the slave's log is made of
 * the bytes of the master's, in pieces of random sizes, and lives a life of its own with flushes,
 * restarts, kills and power cuts. Everything happens on the caller's thread.
 *
 * What is proved of the slave's store is what crash_verify proves of any, with the messages that
 * the master has taken; and that its log is, byte for byte, a part of the master's.
 */
#ifndef TEST_UNIT_SUPPORT_SLAVE_KIT_H
#define TEST_UNIT_SUPPORT_SLAVE_KIT_H

#include "test/unit/support/crash_kit.h"

struct slave_pair {
    struct crash master;
    struct crash slave;
    int64_t begin; /* where the slave's log began */
};

/* Both open and empty. */
void slave_pair_init(struct slave_pair *pair, uint64_t seed);
void slave_pair_release(struct slave_pair *pair);

/* Let the empty slave's log begin at a file of the master's. */
void slave_pair_begin_at(struct slave_pair *pair, int64_t pos);

/* Messages to the master; the slave's side learns what may be expected of it. */
void slave_pair_put(struct slave_pair *pair, size_t count);

/* The same after a topic of the master was deleted. */
void slave_pair_delete_topic(struct slave_pair *pair, int topic);

/* Give the slave the next bytes of the master's log, at most `max`; now and then as if the
 * connection had been made anew. May be refused when the slave has faults. */
void slave_pair_feed(struct slave_pair *pair, size_t max);

/* A random step: of the master, of what is between them, or of the slave's store. */
void slave_pair_step(struct slave_pair *pair);

/* Of a slave's store directly after opening, which may be a copy of the pair's: it holds what a
 * part of the master's log is, up to durable_pos at least. */
void slave_pair_verify(struct slave_pair *pair, struct crash *slave, int64_t durable_pos);

/* Feed, dispatch and flush all there is. */
void slave_pair_catch_up(struct slave_pair *pair);

/* The slave's log is the same bytes as the master's, from its begin to its end, with zeros behind.
 */
void slave_pair_compare_logs(struct slave_pair *pair, struct crash *slave);

#endif
