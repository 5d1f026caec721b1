/* SPDX-License-Identifier: Apache-2.0
 *
 * Telling a person that long work goes on, and how far it is: nothing for work that is done within
 * a second, then a line in the log every two seconds. One thread.
 */
#ifndef BROKER_STORE_PROGRESS_H
#define BROKER_STORE_PROGRESS_H

#include "common/sys/clock.h"

#define PROGRESS_FIRST_MS 1000
#define PROGRESS_EVERY_MS 2000

struct progress {
    const struct clock *clock;
    const char *what; /* "reading the commit log" */
    const char *unit; /* "bytes" */
    int64_t began_ms; /* monotonic */
    int64_t next_ms;
};

/* what, unit  borrowed */
struct progress progress_begin(const struct clock *clock, const char *what, const char *unit);

/* `done` of `total` (at most; 0: not known) are done. Reads the clock: not for every record. */
void progress_tell(struct progress *progress, int64_t done, int64_t total);

#endif
