/* SPDX-License-Identifier: Apache-2.0
 *
 * The messages of crash tests: everything about one follows from its number and `struct sent`.
 */
#ifndef TEST_UNIT_SUPPORT_CRASH_MESSAGE_H
#define TEST_UNIT_SUPPORT_CRASH_MESSAGE_H

#include "proto/record.h"
#include "test/unit/support/crash_kit.h"

#define CRASH_BODY_BYTES_MAX 4096
#define CRASH_PROPERTIES_BYTES 1200

/* Static storage. The last one is the topic of delayed messages. */
const char *crash_topic(int topic);

/* Message `number`; its body and properties are put into the buffers, which it borrows. */
struct record crash_message(size_t number, const struct sent *sent,
                            uint8_t body[CRASH_BODY_BYTES_MAX],
                            char properties[CRASH_PROPERTIES_BYTES]);

/* The number at the start of a body, SIZE_MAX when there is none. */
size_t crash_number(struct slice body);

void crash_key(size_t number, char key[32]);

/* Has it a queue entry, and with which tags code? */
bool crash_has_entry(const struct sent *sent);
int64_t crash_tags_code(size_t number, const struct sent *sent, int64_t store_timestamp_ms);

#endif
