/* SPDX-License-Identifier: Apache-2.0
 *
 * What a run says at its end: lines for a person, or one JSON object per run for programs.
 */
#ifndef TOOLS_BENCH_REPORT_H
#define TOOLS_BENCH_REPORT_H

#include "tools/bench/load.h"
#include "tools/bench/process.h"

#include <stdbool.h>

/* The cost of the server under test between two moments. */
struct report_cost {
    bool known; /* --server-pid was given */
    struct process_usage before;
    struct process_usage after;
};

struct report {
    const char *mode;
    const char *label;
    double wall_s;
    uint64_t messages; /* within wall_s */
    const struct load_totals *totals;
    const struct load_totals *sends;     /* tail: the producer's side; otherwise NULL */
    const struct ledger_summary *ledger; /* verify; otherwise NULL */
    bool complete;                       /* verify: every queue was read to its end */
    double own_cpu_s;
    struct report_cost cost;
};

void report_text(const struct report *report);
void report_json(const struct report *report);

/* "," and the cost members, or a line about them; nothing when unknown. */
void report_cost_json(const struct report_cost *cost, double messages, double wall_s);
void report_cost_text(const struct report_cost *cost, double messages, double wall_s);

#endif
