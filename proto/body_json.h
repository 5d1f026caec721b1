/* SPDX-License-Identifier: Apache-2.0
 *
 * JSON bodies <-> the messages of body.proto, driven by descriptors. body.proto tells how the
 * schema maps to the dialect.
 */
#ifndef PROTO_BODY_JSON_H
#define PROTO_BODY_JSON_H

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/base/status.h"

#include <protobuf-c/protobuf-c.h>

/* Decode a body.
 * message  initialised by its __init; everything it points to is put into `arena`, so never use
 *          free_unpacked on it. Missing `required` strings become "" so that no caller meets NULL;
 *          missing required messages are zeroed ones. JSON null counts as missing.
 *          A string holding U+0000 is MALFORMED. Unknown members are ignored. A map key given twice
 *          gives two entries, of which the last counts in Java.
 * err      may be NULL; names the member and the byte offset
 * returns  OK | MALFORMED | TOO_LARGE */
enum status body_decode(struct slice json, struct arena *arena, ProtobufCMessage *message,
                        struct err *err);

enum body_style {
    BODY_COMPACT, /* the wire */
    BODY_PRETTY,  /* the store's config files: tabs, as fastjson's PrettyFormat */
};

/* Append a body. Required strings that are NULL are left out, as Java leaves out null. */
void body_encode(const ProtobufCMessage *message, enum body_style style, struct buf *out);

#endif
