/* SPDX-License-Identifier: Apache-2.0
 *
 * Bringing the files of a store into agreement when it is opened. docs/store.md tells the whole
 * story; in short:
 *
 *     1. where to start: at the durable_pos of a checkpoint that names this log, by 4.9.2's rules
 *        when 4.9.2 wrote it, else at the beginning of the log
 *     2. verify records from there; the first that is not whole is the end of the log
 *     3. cut the log there, zero what stood behind it; what was not zero is kept aside
 *     4. cut the consume queues at the start (after a crash) or at the end of the log
 *     5. load the index, repaired after a crash
 *     6. dispatch from where entries or keys may be missing to the end of the log
 *     7. make all that durable before the first append
 */
#ifndef BROKER_STORE_RECOVER_H
#define BROKER_STORE_RECOVER_H

#include "broker/store/store.h"

/* aborted  the store was not closed properly the last time
 * returns  OK | CORRUPT (refused, with the mend) | IO */
enum status recover_store(struct store *store, bool aborted, struct err *err);

#endif
