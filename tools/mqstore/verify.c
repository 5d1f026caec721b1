/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/store/verify.h"

#include "tools/mqstore/commands.h"
#include "tools/mqstore/output.h"

struct printer {
    bool json;
    bool long_work; /* a progress line may stand on stderr */
};

static void print_text(const struct verify_finding *finding, struct buf *out)
{
    buf_printf(out, "%s%s%s %s", finding->damage ? colour_bad() : colour_note(),
               finding->damage ? "damage" : "note", colour_off(), finding->kind);
    if (finding->path[0] != '\0')
        buf_printf(out, " %s", finding->path);
    if (finding->at >= 0)
        buf_printf(out, " at byte %lld", (long long)finding->at);
    if (finding->pos >= 0)
        buf_printf(out, " (log position %lld)", (long long)finding->pos);
    if (finding->topic[0] != '\0') {
        buf_printf(out, " topic %s queue %d", finding->topic, (int)finding->queue_id);
        if (finding->queue_offset >= 0)
            buf_printf(out, " offset %lld", (long long)finding->queue_offset);
    }
    buf_printf(out, ": %s", finding->text);
}

static void print_json(const struct verify_finding *finding, struct buf *out)
{
    json_begin(out);
    json_cstr(out, "finding", finding->damage ? "damage" : "note");
    json_cstr(out, "kind", finding->kind);
    if (finding->path[0] != '\0')
        json_cstr(out, "file", finding->path);
    if (finding->at >= 0)
        json_number(out, "at", finding->at);
    if (finding->pos >= 0)
        json_number(out, "commitLogOffset", finding->pos);
    if (finding->topic[0] != '\0') {
        json_cstr(out, "topic", finding->topic);
        json_number(out, "queueId", finding->queue_id);
    }
    if (finding->queue_offset >= 0)
        json_number(out, "queueOffset", finding->queue_offset);
    json_cstr(out, "text", finding->text);
    json_end(out);
}

static void on_finding(void *ctx, const struct verify_finding *finding)
{
    const struct printer *printer = ctx;
    struct buf out = BUF_EMPTY;
    if (printer->long_work)
        progress_clear();
    if (printer->json)
        print_json(finding, &out);
    else
        print_text(finding, &out);
    print_line(&out);
    buf_release(&out);
}

static void on_progress(void *ctx, int64_t done_bytes, int64_t total_bytes)
{
    struct printer *printer = ctx;
    printer->long_work = true;
    progress_show("verifying", done_bytes, total_bytes);
}

static void print_result(const struct options *options, const struct store_files *files,
                         const struct verify_result *result)
{
    struct buf out = BUF_EMPTY;
    if (options->json) {
        json_begin(&out);
        json_cstr(&out, "store", files->root);
        json_bool(&out, "good", result->damages == 0);
        json_number(&out, "damages", result->damages);
        json_number(&out, "notes", result->notes);
        json_number(&out, "logBegin", result->log_begin);
        json_number(&out, "logEnd", result->log_end);
        json_number(&out, "records", result->records);
        json_number(&out, "queueEntries", result->queue_entries);
        json_number(&out, "indexEntries", result->index_entries);
        json_bool(&out, "inUse", files->in_use);
        json_end(&out);
    } else {
        buf_printf(&out,
                   "%s%s%s: %lld records from %lld to %lld, %lld queue entries and %lld index "
                   "entries that fit; %lld damages, %lld notes",
                   result->damages == 0 ? colour_good() : colour_bad(),
                   result->damages == 0 ? "good" : "DAMAGED", colour_off(),
                   (long long)result->records, (long long)result->log_begin,
                   (long long)result->log_end, (long long)result->queue_entries,
                   (long long)result->index_entries, (long long)result->damages,
                   (long long)result->notes);
    }
    print_line(&out);
    buf_release(&out);
}

int verify_files(const struct options *options, const struct store_files *files)
{
    struct printer printer = {options->json, false};
    struct verify_options verify = {
        .delay_levels_ms = options->delay_levels_ms,
        .delay_level_count = options->delay_level_count,
        .skip_index = options->skip_index,
        .ctx = &printer,
        .on_finding = on_finding,
        .on_progress = on_progress,
    };
    struct verify_result result;
    struct err err;
    enum status status = verify_store(files, &verify, &result, &err);
    if (printer.long_work)
        progress_clear();
    if (status != STATUS_OK) {
        fprintf(stderr, "mqstore: %s%s\n", err.text,
                status == STATUS_INVALID ? " (--index-slots and --index-entries, -c, --no-index)"
                                         : "");
        return status == STATUS_INVALID ? EXIT_USAGE : EXIT_READ;
    }
    print_result(options, files, &result);
    return result.damages == 0 ? EXIT_GOOD : EXIT_FOUND;
}

int verify_run(const struct options *options)
{
    struct store_files *files;
    int exit_code = options_find_store(options, 0, &files);
    if (exit_code != EXIT_GOOD)
        return exit_code;
    exit_code = verify_files(options, files);
    store_files_free(files);
    return exit_code;
}
