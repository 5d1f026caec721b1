/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/store/progress.h"

#include "common/sys/log.h"

struct progress progress_begin(const struct clock *clock, const char *what, const char *unit)
{
    int64_t now_ms = clock_monotonic_ms(clock);
    return (struct progress){clock, what, unit, now_ms, now_ms + PROGRESS_FIRST_MS};
}

void progress_tell(struct progress *progress, int64_t done, int64_t total)
{
    int64_t now_ms = clock_monotonic_ms(progress->clock);
    if (now_ms < progress->next_ms)
        return;
    progress->next_ms = now_ms + PROGRESS_EVERY_MS;
    int percent = total <= 0 ? 0 : (int)(100.0 * (double)done / (double)total);
    log_info("store", progress->what, "%s=%lld of=%lld percent=%d seconds=%lld", progress->unit,
             (long long)done, (long long)total, percent,
             (long long)((now_ms - progress->began_ms) / 1000));
}
