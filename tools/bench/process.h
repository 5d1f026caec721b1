/* SPDX-License-Identifier: Apache-2.0
 *
 * What a process has used: CPU time and memory, read from /proc.
 */
#ifndef TOOLS_BENCH_PROCESS_H
#define TOOLS_BENCH_PROCESS_H

#include "common/base/status.h"

#include <stdint.h>

struct process_usage {
    double user_s; /* since the process started */
    double system_s;
    int64_t rss_kb;
    int64_t rss_anonymous_kb; /* without mapped files */
    int64_t rss_file_kb;      /* mapped files: page cache that others may use too */
    int64_t rss_peak_kb;
    int64_t threads;
};

/* returns  OK | NOT_FOUND (no such process) */
enum status process_usage_read(int pid, struct process_usage *out, struct err *err);

static inline double process_cpu_s(const struct process_usage *usage)
{
    return usage->user_s + usage->system_s;
}

/* CPU seconds of this process. */
double process_own_cpu_s(void);

#endif
