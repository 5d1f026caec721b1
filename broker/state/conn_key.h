/* SPDX-License-Identifier: Apache-2.0
 *
 * A connection reference as the key of a map.
 */
#ifndef BROKER_STATE_CONN_KEY_H
#define BROKER_STATE_CONN_KEY_H

#include "common/base/bytes.h"
#include "common/net/net.h"

struct conn_key {
    uint8_t bytes[sizeof(struct loop *) + 8];
};

static inline struct conn_key conn_key(struct conn_ref conn)
{
    struct conn_key key;
    memcpy(key.bytes, &conn.loop, sizeof conn.loop);
    put_u32(key.bytes + sizeof conn.loop, conn.slot);
    put_u32(key.bytes + sizeof conn.loop + 4, conn.generation);
    return key;
}

static inline struct slice conn_key_slice(const struct conn_key *key)
{
    return slice_of(key->bytes, sizeof key->bytes);
}

#endif
