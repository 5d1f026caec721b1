/* SPDX-License-Identifier: Apache-2.0
 *
 * CPU seconds per million messages is the steadiest figure on a shared machine: compare it first.
 */
#include "tools/bench/report.h"

#include "common/base/buf.h"
#include "proto/codes.h"
#include "proto/json.h"

#include <inttypes.h>
#include <stdio.h>

static double per_million(double value, double messages)
{
    return messages > 0 ? value / messages * 1e6 : 0;
}

void report_cost_json(const struct report_cost *cost, double messages, double wall_s)
{
    if (!cost->known)
        return;
    double cpu_s = process_cpu_s(&cost->after) - process_cpu_s(&cost->before);
    printf(",\"server_cpu_s\":%.2f,\"server_user_s\":%.2f,\"server_system_s\":%.2f"
           ",\"server_cpu_pct\":%.1f,\"server_cpu_s_per_million\":%.3f",
           cpu_s, cost->after.user_s - cost->before.user_s,
           cost->after.system_s - cost->before.system_s, wall_s > 0 ? 100 * cpu_s / wall_s : 0,
           per_million(cpu_s, messages));
    printf(",\"server_rss_kb\":%" PRId64 ",\"server_rss_anonymous_kb\":%" PRId64
           ",\"server_rss_file_kb\":%" PRId64 ",\"server_rss_peak_kb\":%" PRId64
           ",\"server_threads\":%" PRId64,
           cost->after.rss_kb, cost->after.rss_anonymous_kb, cost->after.rss_file_kb,
           cost->after.rss_peak_kb, cost->after.threads);
}

void report_cost_text(const struct report_cost *cost, double messages, double wall_s)
{
    if (!cost->known)
        return;
    double cpu_s = process_cpu_s(&cost->after) - process_cpu_s(&cost->before);
    printf("server   %.2f CPU-s (%.0f %% of a core), %.3f CPU-s per million; RSS %.1f MB "
           "(anonymous %.1f, peak %.1f), %" PRId64 " threads\n",
           cpu_s, wall_s > 0 ? 100 * cpu_s / wall_s : 0, per_million(cpu_s, messages),
           (double)cost->after.rss_kb / 1024, (double)cost->after.rss_anonymous_kb / 1024,
           (double)cost->after.rss_peak_kb / 1024, cost->after.threads);
}

static void latency_json(const char *prefix, const struct histogram *latency)
{
    printf(",\"%sp50_us\":%.1f,\"%sp90_us\":%.1f,\"%sp99_us\":%.1f,\"%sp999_us\":%.1f"
           ",\"%smax_us\":%.1f",
           prefix, histogram_percentile_us(latency, 0.5), prefix,
           histogram_percentile_us(latency, 0.9), prefix, histogram_percentile_us(latency, 0.99),
           prefix, histogram_percentile_us(latency, 0.999), prefix, (double)latency->max_ns / 1000);
}

void report_json(const struct report *report)
{
    const struct load_totals *totals = report->totals;
    struct buf label = BUF_EMPTY;
    json_write_string(&label, slice_of_cstr(report->label));
    printf("{\"mode\":\"%s\",\"label\":%.*s,\"wall_s\":%.3f,\"msgs\":%" PRIu64
           ",\"msgs_per_s\":%.1f,\"mb_per_s\":%.2f",
           report->mode, (int)label.size, (const char *)label.data, report->wall_s,
           report->messages, (double)report->messages / report->wall_s,
           (double)totals->bytes / report->wall_s / 1e6);
    buf_release(&label);
    latency_json("", &totals->latency);
    if (report->sends != NULL)
        latency_json("send_", &report->sends->latency);
    printf(",\"longest_gap_ms\":%.1f,\"requests\":%" PRIu64 ",\"refused\":%" PRIu64
           ",\"first_refusal\":%d,\"unknown\":%" PRIu64 ",\"lost_connections\":%" PRIu64
           ",\"empty_pulls\":%" PRIu64 ",\"bad_crc\":%" PRIu64 ",\"bad_records\":%" PRIu64
           ",\"out_of_order\":%" PRIu64,
           (double)totals->longest_gap_ns / 1e6, totals->requests, totals->refused,
           totals->first_refusal, totals->unknown, totals->lost_connections, totals->empty_pulls,
           totals->bad_crc, totals->bad_records, totals->out_of_order);
    if (report->ledger != NULL)
        printf(",\"complete\":%s,\"acknowledged\":%" PRIu64 ",\"lost\":%" PRIu64
               ",\"duplicated\":%" PRIu64 ",\"moved\":%" PRIu64 ",\"unacknowledged\":%" PRIu64
               ",\"foreign\":%" PRIu64,
               report->complete ? "true" : "false", report->ledger->acknowledged,
               report->ledger->lost, report->ledger->duplicated, report->ledger->moved,
               report->ledger->unacknowledged, report->ledger->foreign);
    printf(",\"client_cpu_s\":%.2f,\"client_cpu_pct\":%.1f,\"client_cpu_s_per_million\":%.3f",
           report->own_cpu_s, 100 * report->own_cpu_s / report->wall_s,
           per_million(report->own_cpu_s, (double)report->messages));
    report_cost_json(&report->cost, (double)report->messages, report->wall_s);
    puts("}");
}

static void latency_text(const char *name, const struct histogram *latency)
{
    printf("%-8s us: p50 %.1f  p90 %.1f  p99 %.1f  p99.9 %.1f  max %.1f\n", name,
           histogram_percentile_us(latency, 0.5), histogram_percentile_us(latency, 0.9),
           histogram_percentile_us(latency, 0.99), histogram_percentile_us(latency, 0.999),
           (double)latency->max_ns / 1000);
}

void report_text(const struct report *report)
{
    const struct load_totals *totals = report->totals;
    printf("%-8s %s%s%" PRIu64 " messages in %.2f s = %.0f msgs/s, %.2f MB/s\n", report->mode,
           report->label, report->label[0] == '\0' ? "" : ": ", report->messages, report->wall_s,
           (double)report->messages / report->wall_s, (double)totals->bytes / report->wall_s / 1e6);
    latency_text("latency", &totals->latency);
    if (report->sends != NULL)
        latency_text("send", &report->sends->latency);
    printf("counts   refused %" PRIu64 ", unanswered %" PRIu64 ", lost connections %" PRIu64
           ", empty pulls %" PRIu64 ", bad CRC %" PRIu64 ", bad records %" PRIu64
           ", out of order %" PRIu64 "; longest gap %.1f ms\n",
           totals->refused, totals->unknown, totals->lost_connections, totals->empty_pulls,
           totals->bad_crc, totals->bad_records, totals->out_of_order,
           (double)totals->longest_gap_ns / 1e6);
    if (totals->refused > 0)
        printf("refusal  the first was code %d (%s): %s\n", totals->first_refusal,
               response_name(totals->first_refusal), totals->first_remark);
    if (report->ledger != NULL)
        printf("ledger   acknowledged %" PRIu64 ", LOST %" PRIu64 ", duplicated %" PRIu64
               ", moved %" PRIu64 ", found without acknowledgement %" PRIu64
               ", of other runs %" PRIu64 "%s\n",
               report->ledger->acknowledged, report->ledger->lost, report->ledger->duplicated,
               report->ledger->moved, report->ledger->unacknowledged, report->ledger->foreign,
               report->complete ? "" : "; NOT READ TO THE END");
    printf("client   %.2f CPU-s (%.0f %% of a core), %.3f CPU-s per million\n", report->own_cpu_s,
           100 * report->own_cpu_s / report->wall_s,
           per_million(report->own_cpu_s, (double)report->messages));
    report_cost_text(&report->cost, (double)report->messages, report->wall_s);
}
