/* SPDX-License-Identifier: Apache-2.0
 *
 * What the load generator sends: bodies that can be recognised when they come back, and send
 * requests that are built once per queue and then patched in place, so that the generator costs
 * less than the server it measures.
 *
 * A body starts with a mark; the rest is incompressible filler. All big-endian:
 *
 *     offset  size  field
 *          0     4  PAYLOAD_MAGIC
 *          4     4  run         one number per start of the program
 *          8     4  stream      number of the sending connection in its run
 *         12     4  zero
 *         16     8  sequence    0, 1, 2 ... in the stream
 *         24     8  time        monotonic ns at which the message was due
 */
#ifndef TOOLS_BENCH_PAYLOAD_H
#define TOOLS_BENCH_PAYLOAD_H

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "proto/frame.h"

#define PAYLOAD_MAGIC 0x434d5142U /* "CMQB" */
#define PAYLOAD_MARK_BYTES 32
#define PAYLOAD_BYTES_MAX (4 * 1024 * 1024)

/* Opaques of the generator's requests all have ten digits, so that patching them keeps a JSON
 * header's length. */
#define PAYLOAD_OPAQUE_BASE 1000000000U

struct payload_mark {
    uint32_t run;
    uint32_t stream;
    uint64_t sequence;
    uint64_t time_ns;
};

/* Prepare the filler; once, before any thread. */
void payload_init(void);

/* `bytes` is PAYLOAD_MARK_BYTES..PAYLOAD_BYTES_MAX. */
void payload_write(uint8_t *out, size_t bytes, const struct payload_mark *mark);

/* False when the body is not one of ours. */
bool payload_read(struct slice body, struct payload_mark *mark);

/* What every message of a run has in common. */
struct send_shape {
    enum codec codec;
    const char *group;
    const char *tags; /* NULL: none */
    bool keys;        /* a KEYS property beside UNIQ_KEY */
    bool no_unique;   /* leave out UNIQ_KEY: the broker has nothing to put into its index */
    size_t body_bytes;
    int batch; /* messages per request; 1: a plain send */
    uint32_t run;
};

/* A request to one queue: frame up to its body, and where the changing parts lie. */
struct send_template {
    const struct send_shape *shape;
    struct buf head;
    struct buf properties; /* of one message of a batch */
    size_t opaque_at;
    size_t born_at;
    size_t unique_at; /* in `head` or, for a batch, in `properties`; 0: no UNIQ_KEY */
    size_t keys_at;   /* 0: no KEYS */
};

void send_template_init(struct send_template *template, const struct send_shape *shape,
                        const char *topic, int queue_id);
void send_template_release(struct send_template *template);

/* Bytes of one whole frame. */
size_t send_template_frame_bytes(const struct send_template *template);

/* Write one frame.
 * opaque   PAYLOAD_OPAQUE_BASE..INT32_MAX
 * mark     of the first message; a batch uses `shape->batch` sequence numbers from there on
 * born_ms  wall clock, the messages' bornTimestamp */
void send_template_write(const struct send_template *template, uint32_t opaque,
                         const struct payload_mark *mark, int64_t born_ms, uint8_t *out);

/* A pull request; appended to `out`. suspend_ms 0: do not wait at the end of the queue. */
struct pull_shape {
    enum codec codec;
    const char *tags; /* what is subscribed to; NULL: everything */
    int max_messages;
    bool commit;
    int64_t suspend_ms;
};
void pull_append(const struct pull_shape *shape, uint32_t opaque, const char *group,
                 const char *topic, int queue_id, int64_t offset, struct arena *arena,
                 struct buf *out);

#endif
