/* SPDX-License-Identifier: Apache-2.0
 *
 * Who waits for which tag: from the hash of a tag to those who wished for it, so that a message
 * costs only what it matches, however many wait. One thread at a time.
 */
#ifndef BROKER_STATE_TAG_INDEX_H
#define BROKER_STATE_TAG_INDEX_H

#include "common/base/list.h"

#include <stdint.h>

/* One tag that somebody waits for. */
struct tag_wish {
    struct list in_bucket;
    void *owner;
    int32_t code;
};

struct tag_index {
    struct list *buckets; /* NULL: empty so far */
    size_t bucket_count;  /* a power of two */
    size_t count;
};

#define TAG_INDEX_EMPTY ((struct tag_index){NULL, 0, 0})

/* Nobody may be in it. */
void tag_index_release(struct tag_index *index);

/* wishes  room for `count` of them, the index's until tag_index_remove */
void tag_index_add(struct tag_index *index, struct tag_wish *wishes, const int32_t *codes,
                   int count, void *owner);
void tag_index_remove(struct tag_index *index, struct tag_wish *wishes, int count);

/* Call `each` with every owner that wished for the code. It must not change the index. */
void tag_index_find(const struct tag_index *index, int32_t code,
                    void (*each)(void *ctx, void *owner), void *ctx);
/* The same with every owner, once for each of its wishes. */
void tag_index_walk(const struct tag_index *index, void (*each)(void *ctx, void *owner), void *ctx);

#endif
