/* SPDX-License-Identifier: Apache-2.0
 *
 * Ext fields <-> the typed messages of header.proto, driven by protobuf-c descriptors; nothing per
 * command. Wire names are the lowerCamelCase forms of the field names, computed once per
 * descriptor and kept for the life of the process (thread-safe).
 */
#ifndef PROTO_EXT_BIND_H
#define PROTO_EXT_BIND_H

#include "proto/command.h"

#include <protobuf-c/protobuf-c.h>

/* Fill a message from ext fields. Unknown fields are ignored. A value that does not parse counts
 * as absent, as in 4.9.2.
 * message    initialised by the message's __init; strings are put into `arena`, NUL-terminated;
 *            never free it with free_unpacked
 * bad_field  out, may be NULL: wire name of the first required field that is absent or does not
 *            parse; static storage
 * returns  OK | MISSING (the other fields are filled all the same) */
enum status ext_to_message(const struct ext_map *ext, struct arena *arena,
                           ProtobufCMessage *message, const char **bad_field);

/* The reverse: set fields of `message`, in descriptor order, appended to `ext` (whose table grows
 * in `arena`). Required fields are always written, except strings that are NULL. Strings are
 * borrowed from the message; the text of numbers lies in `arena`. */
void ext_from_message(const ProtobufCMessage *message, struct arena *arena, struct ext_map *ext);

/* Wire name of field number `index` in the descriptor: "producerGroup" for producer_group. */
const char *wire_name(const ProtobufCMessageDescriptor *descriptor, unsigned index);

#endif
