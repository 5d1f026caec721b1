/* SPDX-License-Identifier: Apache-2.0
 *
 * The outline of a registration body: the same JSON without its topics. Java brokers send all their
 * topics every 30 s, and almost always nothing has changed since; the data version stands in front
 * of the topics, so looking at the first hundred bytes saves decoding a megabyte. Pure.
 */
#ifndef NAMESRV_OUTLINE_H
#define NAMESRV_OUTLINE_H

#include "common/base/arena.h"

#include <stdbool.h>

/* Cut topicConfigTable out of a RegisterBrokerBody, or of a TopicConfigSerializeWrapper.
 * json   borrowed; what stands behind the parts that are needed is not looked at
 * out    JSON to decode like the whole body; in the arena
 * returns  false when the text has not the usual form: decode all of it */
bool outline_cut(struct slice json, struct arena *arena, struct slice *out);

#endif
