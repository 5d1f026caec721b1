/* SPDX-License-Identifier: Apache-2.0
 *
 * The log: one line per event, constant text first, then key=value pairs.
 *
 *     2026-11-23 10:00:00.123 INFO  store segment rolled base=1073741824 bytes=1073741824
 *
 * To stdout, or to a file that rotates by size (file -> file.1 -> file.2 ...). Any thread; a line
 * is written by one system call. Never one line per message, nor per request that changes nothing:
 * repeating causes go through a log_gate.
 */
#ifndef COMMON_SYS_LOG_H
#define COMMON_SYS_LOG_H

#include "common/base/status.h"

#include <stdbool.h>
#include <stdint.h>

enum log_level {
    LOG_ERROR, /* somebody must act */
    LOG_WARN,  /* goes on, but look */
    LOG_INFO,  /* a state changed */
    LOG_DEBUG,
};

struct log_options {
    const char *path;   /* NULL: stdout */
    int64_t file_bytes; /* rotate at this size */
    int kept_files;     /* rotated files kept */
    enum log_level level;
};

/* Open the log for the process. Before this, lines go to stderr.
 * returns  OK | IO */
enum status log_open(const struct log_options *options, struct err *err);

/* Close and reopen the file, for SIGHUP after an outside rotation. Any thread. */
void log_reopen(void);
void log_close(void);
void log_set_level(enum log_level level);
bool log_level_parse(const char *name, enum log_level *out);

/* area  module name ("store", "net"); what  constant text; format  key=value pairs; the
 * compiler refuses an empty one */
void log_line(enum log_level level, const char *area, const char *what, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#define log_error(area, what, ...) log_line(LOG_ERROR, area, what, __VA_ARGS__)
#define log_warn(area, what, ...) log_line(LOG_WARN, area, what, __VA_ARGS__)
#define log_info(area, what, ...) log_line(LOG_INFO, area, what, __VA_ARGS__)
#define log_debug(area, what, ...) log_line(LOG_DEBUG, area, what, __VA_ARGS__)

/* A gate for repeating causes: true at most once per second and gate; *suppressed is how many
 * calls were swallowed since the last true. */
struct log_gate {
    _Atomic int64_t next_ms;
    _Atomic int64_t swallowed;
};
bool log_gate_open(struct log_gate *gate, int64_t *suppressed);

#endif
