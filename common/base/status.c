/* SPDX-License-Identifier: Apache-2.0
 *
 * Names and texts of the status values, and the filling of `struct err`.
 */
#include "common/base/status.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

const char *status_name(enum status status)
{
    switch (status) {
#define X(name, text)   \
    case STATUS_##name: \
        return #name;
        STATUS_TABLE(X)
#undef X
    }
    return "?";
}

const char *status_text(enum status status)
{
    switch (status) {
#define X(name, text)   \
    case STATUS_##name: \
        return text;
        STATUS_TABLE(X)
#undef X
    }
    return "?";
}

enum status err_set(struct err *err, enum status status, const char *format, ...)
{
    if (err == NULL)
        return status;
    va_list args;
    va_start(args, format);
    err->status = status;
    err->sys_errno = 0;
    (void)vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    return status;
}

enum status err_set_errno(struct err *err, enum status status, const char *format, ...)
{
    int saved = errno;
    if (err == NULL)
        return status;
    va_list args;
    va_start(args, format);
    err->status = status;
    err->sys_errno = saved;
    int n = vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    if (n >= 0 && (size_t)n < sizeof err->text) {
        char cause[128];
        (void)snprintf(err->text + n, sizeof err->text - (size_t)n, ": %s",
                       strerror_r(saved, cause, sizeof cause));
    }
    errno = saved;
    return status;
}
