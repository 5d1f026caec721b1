/* SPDX-License-Identifier: Apache-2.0
 *
 * The process's log. A line is put together on the stack and written under the log's lock by one
 * write(2) to a file opened for appending, so lines of several threads never mix.
 *
 * Invariants: `fd` is always open; stderr until log_open, and the old file while a new one cannot
 * be opened. A rotation that fails is tried again after another file_bytes, not at every line.
 * Control characters, which could come from a peer, are written as '?': one event is one line.
 *
 * State: `the_log`, under `the_log.lock`; the level alone is read without it.
 */
#include "common/sys/log.h"

#include "common/base/check.h"
#include "common/sys/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LINE_BYTES_MAX 2048 /* longer lines are cut and end in "..." */
#define GATE_INTERVAL_MS 1000

static struct {
    pthread_mutex_t lock;
    int fd;
    char *path; /* NULL: a standard stream, which is neither rotated nor closed */
    int64_t file_bytes;
    int64_t size; /* bytes in the file */
    int kept_files;
    _Atomic int level;
} the_log = {.lock = PTHREAD_MUTEX_INITIALIZER, .fd = STDERR_FILENO, .level = LOG_INFO};

static const char *const level_names[] = {"ERROR", "WARN", "INFO", "DEBUG"};

static void lock_log(void)
{
    CHECK(pthread_mutex_lock(&the_log.lock) == 0);
}

static void unlock_log(void)
{
    CHECK(pthread_mutex_unlock(&the_log.lock) == 0);
}

static int open_file(const char *path, int64_t *size)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    struct stat st;
    if (fd != -1 && fstat(fd, &st) == 0)
        *size = st.st_size;
    return fd;
}

/* Go over to a freshly opened file; stay with the old one when that fails. */
static void reopen_locked(void)
{
    int64_t size = 0;
    int fd = open_file(the_log.path, &size);
    if (fd == -1)
        return;
    (void)close(the_log.fd);
    the_log.fd = fd;
    the_log.size = size;
}

static void rotate_locked(void)
{
    the_log.size = 0;
    if (the_log.kept_files == 0) {
        (void)ftruncate(the_log.fd, 0);
        return;
    }
    char from[PATH_MAX];
    char to[PATH_MAX];
    for (int i = the_log.kept_files - 1; i >= 0; i--) {
        if (i == 0)
            (void)snprintf(from, sizeof from, "%s", the_log.path);
        else
            (void)snprintf(from, sizeof from, "%s.%d", the_log.path, i);
        (void)snprintf(to, sizeof to, "%s.%d", the_log.path, i + 1);
        (void)rename(from, to);
    }
    reopen_locked();
}

enum status log_open(const struct log_options *options, struct err *err)
{
    int64_t size = 0;
    int fd = STDOUT_FILENO;
    if (options->path != NULL) {
        if (strlen(options->path) > PATH_MAX - 16)
            return err_set(err, STATUS_IO, "log file %.64s...: the path is too long",
                           options->path);
        fd = open_file(options->path, &size);
        if (fd == -1)
            return err_set_errno(err, STATUS_IO, "log file %s could not be opened", options->path);
    }
    log_close();
    lock_log();
    the_log.fd = fd;
    the_log.path = options->path == NULL ? NULL : xstrdup(options->path);
    the_log.file_bytes = options->file_bytes;
    the_log.kept_files = options->kept_files < 0 ? 0 : options->kept_files;
    the_log.size = size;
    unlock_log();
    log_set_level(options->level);
    return STATUS_OK;
}

void log_reopen(void)
{
    lock_log();
    if (the_log.path != NULL)
        reopen_locked();
    unlock_log();
}

void log_close(void)
{
    lock_log();
    if (the_log.path != NULL) {
        (void)close(the_log.fd);
        free(the_log.path);
        the_log.path = NULL;
    }
    the_log.fd = STDERR_FILENO;
    unlock_log();
}

void log_set_level(enum log_level level)
{
    the_log.level = (int)level;
}

bool log_level_parse(const char *name, enum log_level *out)
{
    for (int i = 0; i <= LOG_DEBUG; i++) {
        if (strcasecmp(name, level_names[i]) == 0) {
            *out = (enum log_level)i;
            return true;
        }
    }
    return false;
}

static size_t format_prefix(char *line, enum log_level level, const char *area, const char *what)
{
    int64_t now_ms = clock_wall_ms(clock_real());
    time_t seconds = (time_t)(now_ms / 1000);
    struct tm tm;
    (void)localtime_r(&seconds, &tm);
    int size = snprintf(line, LINE_BYTES_MAX, "%04d-%02d-%02d %02d:%02d:%02d.%03d %-5s %s %s",
                        tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min,
                        tm.tm_sec, (int)(now_ms % 1000), level_names[level], area, what);
    return size < 0 ? 0 : (size_t)size;
}

/* Cut an overlong line, clean it and end it; returns its size. */
static size_t finish_line(char *line, size_t size)
{
    if (size > LINE_BYTES_MAX - 2) {
        size = LINE_BYTES_MAX - 2;
        memcpy(line + size - 3, "...", 3);
    }
    for (size_t i = 0; i < size; i++)
        if ((unsigned char)line[i] < ' ' || line[i] == 0x7F)
            line[i] = '?';
    line[size++] = '\n';
    return size;
}

void log_line(enum log_level level, const char *area, const char *what, const char *format, ...)
{
    if ((int)level > atomic_load_explicit(&the_log.level, memory_order_relaxed))
        return;
    int saved_errno = errno;
    char line[LINE_BYTES_MAX];
    size_t size = format_prefix(line, level, area, what);
    if (*format != '\0' && size < LINE_BYTES_MAX - 2) {
        line[size++] = ' ';
        va_list args;
        va_start(args, format);
        int more = vsnprintf(line + size, LINE_BYTES_MAX - size, format, args);
        va_end(args);
        size += more < 0 ? 0 : (size_t)more;
    }
    size = finish_line(line, size);
    lock_log();
    if (the_log.path != NULL && the_log.size > 0 && the_log.file_bytes > 0 &&
        the_log.size + (int64_t)size > the_log.file_bytes)
        rotate_locked();
    ssize_t written;
    do
        written = write(the_log.fd, line, size);
    while (written == -1 && errno == EINTR);
    if (written > 0)
        the_log.size += written;
    unlock_log();
    errno = saved_errno;
}

bool log_gate_open(struct log_gate *gate, int64_t *suppressed)
{
    int64_t now_ms = clock_monotonic_ms(clock_real());
    int64_t next_ms = gate->next_ms;
    if (now_ms < next_ms ||
        !atomic_compare_exchange_strong(&gate->next_ms, &next_ms, now_ms + GATE_INTERVAL_MS)) {
        atomic_fetch_add(&gate->swallowed, 1);
        return false;
    }
    *suppressed = atomic_exchange(&gate->swallowed, 0);
    return true;
}
