/* SPDX-License-Identifier: Apache-2.0
 *
 * The deflated form of RegisterBrokerBody (header field compressed=true). Pure apart from the
 * arena; zlib does the stream.
 */
#ifndef PROTO_REGISTER_BODY_H
#define PROTO_REGISTER_BODY_H

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/base/status.h"
#include "proto/body.pb-c.h"

/* Inflate and decode; at most DECODE_BYTES_MAX inflated bytes.
 * message  everything it points to is put into `arena`
 * returns  OK | MALFORMED (does not inflate, or its content is wrong) | TOO_LARGE */
enum status register_body_inflate(struct slice in, struct arena *arena, RegisterBrokerBody *message,
                                  struct err *err);

/* Encode and deflate at level 9, as 4.9.2. topicSysFlag and order are lost in this form. */
void register_body_deflate(const RegisterBrokerBody *message, struct buf *out);

#endif
