/* SPDX-License-Identifier: Apache-2.0
 *
 * What a start makes of the files of one consume queue. One thread, before the store is handed out.
 */
#ifndef BROKER_STORE_CONSUMEQUEUE_RECOVER_H
#define BROKER_STORE_CONSUMEQUEUE_RECOVER_H

#include "broker/store/consumequeue.h"

/* Take over the files found in the queue's directory: file numbers [first, first + count). */
void queue_adopt_files(struct queue *queue, int64_t first, size_t count);

/* Find the end of the queue: the entries that are valid and whose records lie before cut_pos.
 * wipe     what stands behind the end is deleted (after a crash, or when it points behind the log)
 * returns  OK | CORRUPT (a file of the wrong size) | IO */
enum status queue_recover(struct queue *queue, int64_t cut_pos, bool wipe, struct err *err);

/* Durably delete the file `number`, which lies before the queue's first one. Were it to stay, it
 * would count again as soon as the queue, deleted and made anew, gets the files in front of it.
 * returns  OK | CORRUPT (a file of the wrong size) | IO */
enum status queue_remove_stray(struct queue *queue, int64_t number, struct err *err);

#endif
