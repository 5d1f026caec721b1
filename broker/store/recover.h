/* SPDX-License-Identifier: Apache-2.0
 *
 * Bringing the files of a store into agreement when it is opened. docs/store.md tells the whole
 * story; in short:
 *
 *     1. where to start: at the checkpoint's durable_pos, else by 4.9.2's rules
 *     2. verify records from there; the first that is not whole is the end of the log
 *     3. cut the log there, zero what stood behind it
 *     4. cut the consume queues at the start (after a crash) or at the end of the log
 *     5. load the index, repaired after a crash
 *     6. dispatch from the start (or from where the index ends) to the end of the log
 *     7. make all that durable before the first append
 */
#ifndef BROKER_STORE_RECOVER_H
#define BROKER_STORE_RECOVER_H

#include "broker/store/store.h"

/* aborted  the store was not closed properly the last time
 * returns  OK | CORRUPT (refused, with the mend) | IO */
enum status recover_store(struct store *store, bool aborted, struct err *err);

#endif
