/* SPDX-License-Identifier: Apache-2.0
 *
 * The copy of the timers' progress. A version of the master's is written once; it starts anew with
 * each start of the master, so what is compared is the whole of the numbers.
 */
#include "broker/state/timer_copy.h"

#include "broker/state/config_file.h"
#include "broker/state/timer_format.h"
#include "common/base/check.h"

#include <stdlib.h>

#define FLUSH_WAIT_MS 2000

/* What says that two copies are the same. */
struct mark {
    int64_t numbers[8];
};

struct timer_copy {
    struct store *store;
    struct config_file file;
    struct mark saved;
    bool any_saved;
    /* of the save under way */
    const TimerProgress *body;
    int64_t proof_pos;
    uint64_t changes;
};

struct timer_copy *timer_copy_new(const char *path, struct vfs *vfs, struct store *store)
{
    struct timer_copy *copy = xcalloc(1, sizeof *copy);
    copy->store = store;
    config_file_init(&copy->file, path, vfs);
    return copy;
}

void timer_copy_free(struct timer_copy *copy)
{
    config_file_release(&copy->file);
    free(copy);
}

static bool is_possible(const TimerProgress *body)
{
    return body->covered_offset >= 0 && body->done_due_ms >= 0 &&
           body->done_due_ms <= TIMER_DUE_MS_MAX && body->floor_pos >= 0 && body->roll_pos >= 0 &&
           body->roll_bucket >= -1 && body->roll_entries >= 0 && body->n_files == 0 &&
           body->files_offset == 0;
}

static struct mark mark_of(const TimerProgress *body)
{
    return (struct mark){{body->version, body->covered_offset, body->done_due_ms, body->done_offset,
                          body->floor_pos, body->roll_pos, body->roll_bucket, body->roll_entries}};
}

static enum status snapshot(const void *table, struct arena *arena, uint64_t saved_changes,
                            uint64_t *changes, const ProtobufCMessage **message, struct err *err)
{
    const struct timer_copy *copy = table;
    (void)arena;
    (void)saved_changes;
    *changes = copy->changes;
    if (!store_wait_flushed(copy->store, copy->proof_pos, FLUSH_WAIT_MS))
        return err_set(err, STATUS_TIMEOUT,
                       "%s is not written: the log is not on disk up to %lld yet", copy->file.path,
                       (long long)copy->proof_pos);
    *message = &copy->body->base;
    return STATUS_OK;
}

enum status timer_copy_save(struct timer_copy *copy, const TimerProgress *body, int64_t proof_pos,
                            struct err *err)
{
    struct mark mark = mark_of(body);
    if (!is_possible(body))
        return err_set(err, STATUS_MALFORMED, "the progress of timers holds an impossible number");
    if (copy->any_saved && memcmp(&mark, &copy->saved, sizeof mark) == 0)
        return STATUS_OK;
    copy->body = body;
    copy->proof_pos = proof_pos;
    copy->changes++;
    enum status status = config_file_save(&copy->file, snapshot, copy, err);
    copy->body = NULL;
    if (status != STATUS_OK)
        return status;
    copy->saved = mark;
    copy->any_saved = true;
    return STATUS_OK;
}
