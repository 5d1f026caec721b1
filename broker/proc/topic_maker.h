/* SPDX-License-Identifier: Apache-2.0
 *
 * Making the topics that sends name for the first time. Any number of names, wished for on any
 * loop, is made together: one task takes all that wait, makes them, writes config/topics.json once
 * and announces them once. So thousands of new names cost a handful of writes, and nothing that
 * clients ask of the worker pool delays them: the task has a thread of its own.
 */
#ifndef BROKER_PROC_TOPIC_MAKER_H
#define BROKER_PROC_TOPIC_MAKER_H

#include "broker/proc/broker.h"
#include "common/base/limits.h"

/* A topic to be made. Embed it; it belongs to the maker from topic_maker_ask until `done` runs. */
struct topic_wish {
    struct loop_task done; /* posted to `loop`; `run` is the caller's */
    struct loop *loop;
    struct topic_wish *next;
    char topic[TOPIC_BYTES_MAX + 1];
    char default_topic[TOPIC_BYTES_MAX + 1];
    int32_t default_topic_queues;
    bool unit_mode;
    bool dead_letters; /* made by its own rule, not after the default topic */
    /* OK (it is there, and in the file) | NOT_FOUND (the default topic does not allow it)
     * | BUSY (TOPICS_MAX, or the broker is stopping) | IO, FULL (not saved) */
    enum status status;
};

struct topic_maker;

enum status topic_maker_new(struct broker *broker, struct topic_maker **out, struct err *err);

/* Make what is still wished for and end the thread; later wishes are answered BUSY. While the loops
 * run. */
void topic_maker_stop(struct topic_maker *maker);
void topic_maker_free(struct topic_maker *maker); /* after topic_maker_stop and the loops' end */

/* Any thread. */
void topic_maker_ask(struct topic_maker *maker, struct topic_wish *wish);

#endif
