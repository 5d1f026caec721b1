/* SPDX-License-Identifier: Apache-2.0
 *
 * The pending timers of a store, in the order of their times, with memory for a window of them.
 * They are those in the timer files that the progress does not call dealt with, and whose messages
 * are in the log. Of a running broker the progress is that of the last save, up to 10 s old.
 */
#include "broker/state/timer_message.h"
#include "broker/state/timer_progress.h"
#include "broker/state/timer_window.h"
#include "broker/state/topics.h"
#include "broker/store/log_view.h"
#include "proto/properties.h"

#include "tools/mqstore/commands.h"
#include "tools/mqstore/output.h"

#include <inttypes.h>
#include <limits.h>

struct timers {
    const struct options *options;
    struct timer_files files;
    struct timer_window window;
    struct log_view log;
    struct timer_state state;
    struct timer_key after;
    struct buf key;
    struct buf out;
    int64_t left; /* still wanted, -1: all */
    bool left_out;
    int exit_code;
};

static bool load_progress(struct timers *timers, const struct store_files *files, struct err *err)
{
    char path[PATH_MAX];
    struct config_file file;
    struct arena arena;
    TimerProgress body;
    enum config_source source;
    (void)snprintf(path, sizeof path, "%s/config/timerProgress.json", files->root);
    config_file_init(&file, path, files->vfs);
    arena_init(&arena, 4096);
    enum status status =
        config_file_load(&file, "the progress of timers", &timer_progress__descriptor, &arena,
                         &body.base, &source, err);
    if (status == STATUS_OK)
        timers->state = (struct timer_state){
            .done = {body.done_due_ms, body.done_offset},
            .floor_pos = body.floor_pos,
            .roll_pos = body.roll_pos,
            .roll_bucket = body.roll_bucket,
        };
    arena_release(&arena);
    config_file_release(&file);
    return status == STATUS_OK;
}

static bool is_void(const struct timer_state *state, const struct timer_entry *entry)
{
    return entry->pos < state->floor_pos ||
           (entry->pos < state->roll_pos &&
            timer_bucket_of(entry->key.due_ms) > state->roll_bucket);
}

static bool offer(void *ctx, int64_t number, const struct timer_entry *entry)
{
    struct timers *timers = ctx;
    (void)number;
    /* Behind what was made durable there may be anything; damage before it is the broker's to mend.
     */
    if (entry != NULL && timer_key_compare(entry->key, timers->after) > 0 &&
        !is_void(&timers->state, entry))
        timer_window_select(&timers->window, entry, &timers->left_out);
    return true;
}

/* --- output --- */

static void print(struct timers *timers, const struct record *record,
                  const struct timer_message *message)
{
    char text[TIME_TEXT_BYTES];
    struct buf *out = &timers->out;
    struct slice unique_key = SLICE_EMPTY;
    const char *kind = message->cancel ? "cancel" : "timer";
    (void)properties_find(record->properties, SLICE_LITERAL(PROPERTY_UNIQ_KEY), &unique_key);
    if (timers->options->json) {
        json_begin(out);
        json_cstr(out, "kind", kind);
        json_number(out, "dueTime", message->due_ms);
        json_text(out, "topic", message->topic);
        json_number(out, "queueId", message->queue_id);
        json_text(out, "uniqueKey", unique_key);
        if (message->cancel)
            json_text(out, "cancels", message->cancel_key);
        json_number(out, "position", record->physical_offset);
        json_end(out);
    } else {
        time_format(message->due_ms, text);
        buf_printf(out, "%s %s topic %.*s queue %d key %.*s position %" PRId64, text, kind,
                   SLICE_ARGS(message->topic), (int)message->queue_id,
                   SLICE_ARGS(message->cancel ? message->cancel_key : unique_key),
                   record->physical_offset);
    }
    print_line(out);
}

/* Entries without a message of theirs are left from a log that was shortened, or were written
 * twice. */
static void show(struct timers *timers, const struct timer_entry *entry)
{
    struct record record;
    struct timer_message message;
    if (log_view_record(&timers->log, entry->pos, RECORD_CHECK_FRAME, &record, NULL, NULL) !=
            STATUS_OK ||
        !slice_is(record.topic, TOPIC_TIMER) ||
        timer_message_read(&record, &timers->key, &message) != NULL)
        return;
    struct timer_entry own = timer_message_entry(&record, &message);
    const char *topic = timers->options->topic;
    if (timer_key_compare(own.key, entry->key) != 0 ||
        (topic != NULL && !slice_is(message.topic, topic)))
        return;
    print(timers, &record, &message);
    if (timers->left > 0)
        timers->left--;
}

static void list_bucket(struct timers *timers, int64_t bucket)
{
    do {
        struct timer_key last = timers->after;
        timers->left_out = false;
        timer_window_clear(&timers->window);
        if (timer_files_scan(&timers->files, bucket, 0, timer_files_count(&timers->files, bucket),
                             offer, timers) != STATUS_OK) {
            fprintf(stderr, "mqstore: the timer file %020" PRId64 " cannot be read\n", bucket);
            timers->exit_code = EXIT_READ;
            return;
        }
        timer_window_select_end(&timers->window, &last);
        for (const struct timer_entry *first;
             timers->left != 0 && (first = timer_window_first(&timers->window)) != NULL;
             timer_window_pop(&timers->window)) {
            if (timer_key_compare(first->key, timers->after) > 0)
                show(timers, first);
            timers->after = first->key;
        }
    } while (timers->left_out && timers->left != 0);
}

static int list(struct timers *timers, const struct store_files *files)
{
    char folder[PATH_MAX];
    struct err err = {.text = ""};
    (void)snprintf(folder, sizeof folder, "%s/timer", files->root);
    if (timer_files_open(&timers->files, folder, files->vfs, &err) != STATUS_OK ||
        !load_progress(timers, files, &err)) {
        fprintf(stderr, "mqstore: %s\n", err.text);
        timer_files_close(&timers->files);
        return EXIT_READ;
    }
    timer_files_restore_all(&timers->files);
    timers->after = timers->state.done;
    timer_window_init(&timers->window);
    log_view_init(&timers->log, files, LOG_VIEW_LOOK_BYTES);
    for (int64_t bucket = timer_files_next(&timers->files, 0); bucket != -1 && timers->left != 0;
         bucket = timer_files_next(&timers->files, bucket + 1))
        list_bucket(timers, bucket);
    log_view_release(&timers->log);
    timer_window_release(&timers->window);
    timer_files_close(&timers->files);
    buf_release(&timers->key);
    buf_release(&timers->out);
    return timers->exit_code;
}

int timers_run(const struct options *options)
{
    struct store_files *files;
    struct timers timers = {.options = options, .left = options->count, .exit_code = EXIT_GOOD};
    int exit_code = options_find_store(options, 0, &files);
    if (exit_code != EXIT_GOOD)
        return exit_code;
    exit_code = list(&timers, files);
    store_files_free(files);
    return exit_code;
}
