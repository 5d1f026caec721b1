/* SPDX-License-Identifier: Apache-2.0
 *
 * The log as bytes, for those who copy it, and the names by which two logs are told apart.
 */
#include "broker/store/reach.h"
#include "broker/store/store_internal.h"
#include "common/base/crc32.h"

enum status store_log_bytes(struct store *store, int64_t pos, size_t max_bytes,
                            struct log_range *out)
{
    *out = (struct log_range){NULL, 0, NULL};
    int64_t end = store_appended_pos(store);
    if (pos < store_min_pos(store) || pos > end)
        return STATUS_NOT_FOUND;
    if (pos == end)
        return STATUS_OK;
    struct segment *segment = commitlog_acquire(&store->log, pos);
    if (segment == NULL)
        return STATUS_NOT_FOUND; /* it was deleted a moment ago */
    if (end > segment_end(segment))
        end = segment_end(segment);
    size_t size = (size_t)(end - pos);
    *out = (struct log_range){segment->data + (pos - segment->base),
                              size < max_bytes ? size : max_bytes, segment};
    return STATUS_OK;
}

static enum status reach_range(struct store *store, const struct log_range *range,
                               const struct reach *reach)
{
    struct segment *segment = range->segment;
    if (range->size == 0)
        return STATUS_OK;
    return reach_log(store, segment, segment->base + (range->data - segment->data),
                     (int64_t)range->size, reach);
}

bool store_log_in_memory(struct store *store, const struct log_range *range)
{
    return reach_range(store, range, &(struct reach){NULL, NULL}) == STATUS_OK;
}

enum status store_load_log(struct store *store, const struct log_range *range, struct err *err)
{
    struct cold_loader loader = {0};
    enum status status = reach_range(store, range, &(struct reach){&loader, err});
    if (status == STATUS_OK)
        cold_cache_ahead(&store->cold_cache, &loader);
    cold_loader_release(&loader);
    return status;
}

/* --- names --- */

/* The name of the record at `pos`.
 * returns  as store_read_record */
static enum status name_record(struct store *store, int64_t pos, struct log_name *out)
{
    struct log_range range;
    enum status status = store_read_record(store, pos, &range);
    if (status != STATUS_OK)
        return status;
    *out = (struct log_name){pos, pos + (int64_t)range.size,
                             rocketmq_crc32(slice_of(range.data, range.size))};
    log_range_release(&range);
    return STATUS_OK;
}

enum status store_name_end(struct store *store, struct log_name *out)
{
    *out = (struct log_name){.pos = -1};
    (void)pthread_mutex_lock(&store->log.append_lock);
    int64_t pos = store->log.last_record_pos;
    (void)pthread_mutex_unlock(&store->log.append_lock);
    enum status status = pos == -1 ? STATUS_NOT_FOUND : name_record(store, pos, out);
    return status == STATUS_NOT_FOUND ? STATUS_OK : status; /* deleted: there is nothing to name */
}

enum status store_has_record(struct store *store, const struct log_name *name)
{
    struct log_name found;
    if (name->pos < store_min_pos(store) || name->end_pos > store_appended_pos(store))
        return STATUS_NOT_FOUND;
    enum status status = name_record(store, name->pos, &found);
    if (status == STATUS_NOT_FOUND && name->pos < store_min_pos(store))
        return STATUS_NOT_FOUND; /* it was deleted meanwhile */
    if (status == STATUS_OK && (found.end_pos != name->end_pos || found.crc != name->crc))
        status = STATUS_CORRUPT;
    return status == STATUS_NOT_FOUND ? STATUS_CORRUPT : status;
}
