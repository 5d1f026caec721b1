/* SPDX-License-Identifier: Apache-2.0
 *
 * What the name servers tell a slave about its master, and what it makes of that when they
 * disagree. Pure state; one thread, the registrar's loop.
 *
 * 4.9.2 takes the answer that came first in each round, so that name servers that differ send a
 * slave to and fro. Here the master that is followed is kept as long as a name server that can be
 * reached names it; then the first one of the list that names any is believed. When all that can be
 * reached name none, the master's tables are not copied, but its log is followed on: it may be cut
 * off from the name servers only. When none can be reached nothing changes.
 */
#ifndef BROKER_PROC_MASTER_WORDS_H
#define BROKER_PROC_MASTER_WORDS_H

#include <stdbool.h>
#include <stddef.h>

#define MASTER_ADDRESS_BYTES 256
#define MASTER_WORDS_MAX 32

/* Of one name server. */
struct master_word {
    bool heard;                        /* it has answered the last call */
    char master[MASTER_ADDRESS_BYTES]; /* "ip:port"; empty: it knows none */
    char ha_address[MASTER_ADDRESS_BYTES];
};

struct master_words {
    struct master_word words[MASTER_WORDS_MAX]; /* in the order of namesrvAddr */
    size_t count;
    struct master_word followed; /* heard: something is followed */
    bool disagree;               /* two name servers name different masters */
};

enum master_change {
    MASTER_SAME,
    MASTER_OTHER, /* another one, or another HA address: `followed` has it */
    MASTER_NONE,  /* nobody names one any more; followed.master is empty, the HA address stays */
};

/* Take a name server's word; too long an address counts as none.
 * master, ha_address  NULL: it names none. Both with heard = false: it can not be reached */
void master_words_set(struct master_words *words, size_t index, bool heard, const char *master,
                      const char *ha_address);

/* Decide anew. */
enum master_change master_words_decide(struct master_words *words);

#endif
