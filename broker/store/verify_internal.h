/* SPDX-License-Identifier: Apache-2.0
 *
 * What the parts of the verification share.
 */
#ifndef BROKER_STORE_VERIFY_INTERNAL_H
#define BROKER_STORE_VERIFY_INTERNAL_H

#include "broker/store/checkpoint.h"
#include "broker/store/record_keys.h"
#include "broker/store/verify.h"
#include "common/base/map.h"

struct damaged_range {
    int64_t pos;
    int64_t end_pos;
};

struct verify {
    const struct store_files *files;
    const struct verify_options *options;
    struct verify_result *result;
    struct checkpoint checkpoint;
    int64_t limit;         /* the end of the log as it was at the start; INT64_MAX: not known yet */
    int64_t doubtful_from; /* what the next start makes again; INT64_MAX: nothing */
    int64_t last_record_ms;
    struct map topics; /* names in topics.json */
    bool topics_known;
    struct damaged_range *damaged; /* parts of the log, ascending */
    size_t damaged_count;
};

/* Where something is; start from PLACE_NONE. */
struct verify_place {
    const char *path;
    int64_t at;
    int64_t pos;
    const char *topic;
    int32_t queue_id;
    int64_t queue_offset;
};
#define PLACE_NONE ((struct verify_place){"", -1, -1, "", -1, -1})

void verify_report(struct verify *verify, bool damage, const char *kind,
                   const struct verify_place *place, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* Does the position lie in a part of the log that was reported as damaged? */
bool verify_is_damaged(const struct verify *verify, int64_t pos);

/* False when the topic has been deleted, as far as topics.json can tell. */
bool verify_topic_exists(const struct verify *verify, struct slice topic);

#endif
