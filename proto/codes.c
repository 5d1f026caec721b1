/* SPDX-License-Identifier: Apache-2.0
 *
 * The command table. Request codes are small and dense enough to index an array by code, so that
 * dispatch costs one load; rows that command.def does not have keep a NULL name. No response header
 * has a name as short as None, which is how the table tells it.
 */
#include "proto/codes.h"

#include <stddef.h>

static const struct command_info table[] = {
#define X(code, name, request, response, server, executor, permission) \
    [code] = {code,                                                    \
              #name,                                                   \
              sizeof(#response) != sizeof("None"),                     \
              SERVER_##server,                                         \
              EXECUTOR_##executor,                                     \
              PERMISSION_##permission},
#include "proto/command.def"
#undef X
};

_Static_assert(sizeof table <= 64 * 1024, "a large request code needs another kind of table");

const struct command_info *command_info(int32_t code)
{
    if (code < 0 || (size_t)code >= sizeof table / sizeof table[0] || table[code].name == NULL)
        return NULL;
    return &table[code];
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
