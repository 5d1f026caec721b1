/* SPDX-License-Identifier: Apache-2.0
 *
 * Comparing commands in tests.
 */
#ifndef TEST_UNIT_SUPPORT_COMMANDS_H
#define TEST_UNIT_SUPPORT_COMMANDS_H

#include "proto/command.h"

/* Equal in every member; ext fields in the same order. */
bool command_same(const struct command *a, const struct command *b);

/* What the other side reads after `command` went through `codec`: an unknown language becomes
 * OTHER, ROCKETMQ loses an empty remark, ROCKETMQ and PROTOBUF lose an empty ext map. */
struct command command_carried(const struct command *command, enum codec codec);

/* The members that differ from an empty command, for comparison with text:
 * "code=10 language=CPP remark='x' ext={a='1' b=''}". Bytes outside 0x20..0x7E are printed \xHH. */
char *command_text(const struct command *command, struct arena *arena);

#endif
