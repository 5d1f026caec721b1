/* SPDX-License-Identifier: Apache-2.0
 *
 * The command table. Request codes lie in two dense ranges, so that an array holds them all and
 * dispatch costs one load; rows that command.def does not have keep a NULL name. No response header
 * has a name as short as None, which is how the table tells it.
 */
#include "proto/codes.h"

#include <stddef.h>

static const struct command_info table[COMMAND_SLOTS] = {
#define X(code, name, request, response, server, executor, permission) \
    [COMMAND_SLOT(code)] = {code,                                      \
                            #name,                                     \
                            sizeof(#response) != sizeof("None"),       \
                            SERVER_##server,                           \
                            EXECUTOR_##executor,                       \
                            PERMISSION_##permission},
#include "proto/command.def"
#undef X
};

const struct command_info *command_info(int32_t code)
{
    int32_t slot = command_slot(code);
    return slot < 0 || table[slot].name == NULL ? NULL : &table[slot];
}

const char *response_name(int32_t code)
{
    switch (code) {
#define X(code, name) \
    case code:        \
        return #name;
#include "proto/response.def"
#undef X
    default:
        return "?";
    }
}
