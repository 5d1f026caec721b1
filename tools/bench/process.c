/* SPDX-License-Identifier: Apache-2.0
 *
 * /proc/PID/stat for the CPU time, /proc/PID/status for the memory (proc(5)).
 */
#include "tools/bench/process.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define PROC_TEXT_BYTES 8192

static enum status read_proc(int pid, const char *name, char text[PROC_TEXT_BYTES], struct err *err)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return err_set_errno(err, STATUS_NOT_FOUND, "process %d cannot be observed: %s", pid, path);
    size_t got = fread(text, 1, PROC_TEXT_BYTES - 1, file);
    text[got] = '\0';
    fclose(file);
    return STATUS_OK;
}

static int64_t field_of(const char *text, const char *name)
{
    const char *at = strstr(text, name);
    return at == NULL ? 0 : strtoll(at + strlen(name), NULL, 10);
}

enum status process_usage_read(int pid, struct process_usage *out, struct err *err)
{
    char text[PROC_TEXT_BYTES];
    enum status status = read_proc(pid, "stat", text, err);
    if (status != STATUS_OK)
        return status;
    /* The command's name may hold blanks and parentheses; the fields start behind the last one. */
    const char *fields = strrchr(text, ')');
    unsigned long user_ticks = 0;
    unsigned long system_ticks = 0;
    if (fields == NULL || sscanf(fields + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
                                 &user_ticks, &system_ticks) != 2)
        return err_set(err, STATUS_NOT_FOUND, "/proc/%d/stat is not in the expected form", pid);
    double ticks_per_s = (double)sysconf(_SC_CLK_TCK);
    out->user_s = (double)user_ticks / ticks_per_s;
    out->system_s = (double)system_ticks / ticks_per_s;

    status = read_proc(pid, "status", text, err);
    if (status != STATUS_OK)
        return status;
    out->rss_kb = field_of(text, "\nVmRSS:");
    out->rss_anonymous_kb = field_of(text, "\nRssAnon:");
    out->rss_file_kb = field_of(text, "\nRssFile:");
    out->rss_peak_kb = field_of(text, "\nVmHWM:");
    out->threads = field_of(text, "\nThreads:");
    return STATUS_OK;
}

double process_own_cpu_s(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}
