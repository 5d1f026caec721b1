/* SPDX-License-Identifier: Apache-2.0
 *
 * Writing at the end of the log, for those who append: messages (append.c) and the bytes of a
 * master's log (append_raw.c). The append lock is held, and moving appended_pos is the caller's.
 *
 * When a write fails nothing has happened. The bytes that may have arrived are zeroed, at the
 * latest before the next write, so that they can never be taken for records.
 */
#ifndef BROKER_STORE_LOG_END_H
#define BROKER_STORE_LOG_END_H

#include "broker/store/commitlog.h"

#include <sys/uio.h>

/* Write behind appended_pos, inside the current segment. A failure is told to the health: want of
 * space, of descriptors or of memory passes, anything else ends writing for good.
 * returns  OK | FULL | BUSY | IO */
enum status log_end_write(struct commitlog *log, const struct iovec *parts, int count);

/* Make sure there is a segment to go on in. The keeper makes it ahead of need; when appends are
 * faster than it, it is made here. A failure is told to the health. */
enum status log_end_ensure_next(struct commitlog *log);

/* Go on in that segment: it takes the appends, and appended_pos must move to its base. */
void log_end_roll(struct commitlog *log);

#endif
