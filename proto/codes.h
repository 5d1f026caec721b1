/* SPDX-License-Identifier: Apache-2.0
 *
 * Request and response codes as enums, and the command table, made from command.def and
 * response.def.
 */
#ifndef PROTO_CODES_H
#define PROTO_CODES_H

#include <stdbool.h>
#include <stdint.h>

enum request_code {
#define X(code, name, request, response, server, executor, permission) REQUEST_##name = code,
#include "proto/command.def"
#undef X
};

enum response_code {
#define X(code, name) RESPONSE_##name = code,
#include "proto/response.def"
#undef X
};

/* Tables by request code: codes below 1024, and those of pop consumption from 200000 on. */
#define COMMAND_POP_BASE 200000
#define COMMAND_SLOT(code) ((code) < 1024 ? (code) : 1024 + (code)-COMMAND_POP_BASE)
#define COMMAND_SLOTS 1280

/* The slot of any code a peer may send; -1 when it has none. */
static inline int32_t command_slot(int32_t code)
{
    if (code >= 0 && code < 1024)
        return code;
    return code >= COMMAND_POP_BASE && code < COMMAND_POP_BASE + COMMAND_SLOTS - 1024
               ? COMMAND_SLOT(code)
               : -1;
}

enum command_server {
    SERVER_NOBODY,
    SERVER_BROKER,
    SERVER_NAMESRV,
    SERVER_CLIENT,
    SERVER_BROKER_AND_CLIENT,
};

enum command_executor {
    EXECUTOR_LOOP,
    EXECUTOR_WORKER,
};

enum command_permission {
    PERMISSION_OPEN,
    PERMISSION_ADMIN,
    PERMISSION_TOPIC_PUB,
    PERMISSION_TOPIC_SUB,
    PERMISSION_GROUP_SUB,
    PERMISSION_TOPIC_GROUP_SUB,
    PERMISSION_TOPIC_PUB_GROUP_SUB,
    PERMISSION_SHORT_PUB,
    PERMISSION_SUBSCRIPTIONS,
    PERMISSION_ACKS,
    PERMISSION_ASSIGNMENT,
};

struct command_info {
    int32_t code;
    const char *name; /* "SEND_MESSAGE" */
    bool has_response_header;
    enum command_server server;
    enum command_executor executor;
    enum command_permission permission;
};

/* The table's row for a request code, or NULL when 4.9.2 has none. */
const struct command_info *command_info(int32_t code);

/* "TOPIC_NOT_EXIST", or "?" for a code that 4.9.2 does not have. */
const char *response_name(int32_t code);

#endif
