/* SPDX-License-Identifier: Apache-2.0
 *
 * Replacing a file that holds secrets and belongs to the user, who may have chosen who reads it.
 */
#ifndef COMMON_SYS_PRIVATE_FILE_H
#define COMMON_SYS_PRIVATE_FILE_H

#include "common/base/status.h"

#include <stddef.h>

/* Replace an existing file atomically and durably. Its permissions stay, and at no moment can more
 * people read what it holds; its former content stays as path.bak, a link to it is followed. May
 * wait on disk.
 * returns  OK | IO | FULL, with words in err; then the file is as it was */
MUST_CHECK enum status private_file_replace(const char *path, const void *data, size_t size,
                                            struct err *err);

#endif
