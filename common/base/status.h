/* SPDX-License-Identifier: Apache-2.0
 *
 * Errors as values. Every function that can fail returns an `enum status`; what a person must read
 * about it goes into a `struct err` at the edges of the system (files, sockets, configuration).
 */
#ifndef COMMON_BASE_STATUS_H
#define COMMON_BASE_STATUS_H

#include <stdarg.h>

/* X(NAME, text): the text completes a sentence that starts with what was attempted. */
#define STATUS_TABLE(X)                                                \
    X(OK, "done")                                                      \
    X(TRUNCATED, "more bytes are needed")                              \
    X(MALFORMED, "the bytes do not follow the format")                 \
    X(TOO_LARGE, "a limit was exceeded")                               \
    X(INVALID, "an argument is outside its range")                     \
    X(MISSING, "a required field is missing")                          \
    X(NOT_FOUND, "nothing of that name exists")                        \
    X(EXISTS, "something of that name exists already")                 \
    X(UNSUPPORTED, "this is not supported")                            \
    X(BUSY, "too much is under way already")                           \
    X(TIMEOUT, "no answer came in time")                               \
    X(CLOSED, "the other side has gone or the owner is shutting down") \
    X(IO, "the operating system reported an error")                    \
    X(FULL, "there is no space left")                                  \
    X(READ_ONLY, "writing is not allowed now")                         \
    X(CORRUPT, "stored data does not match its checksum or structure")

enum status {
#define X(name, text) STATUS_##name,
    STATUS_TABLE(X)
#undef X
};

/* Name ("NOT_FOUND") and text of a status; static storage. */
const char *status_name(enum status status);
const char *status_text(enum status status);

/* In front of a declaration: a caller that ignores the result does not compile. */
#define MUST_CHECK __attribute__((warn_unused_result))

#define ERR_TEXT_BYTES 1024 /* room for a path or two and the mend */

/* An error with the words a person needs: the thing, the cause, the mend. */
struct err {
    enum status status;
    int sys_errno; /* 0 where no system call was involved */
    char text[ERR_TEXT_BYTES];
};

/* Fill `err` (may be NULL) and return `status`, so that callers can write `return err_set(...)`. */
enum status err_set(struct err *err, enum status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same, appending ": <strerror(errno)>" and keeping errno in the struct. */
enum status err_set_errno(struct err *err, enum status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
