/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading as the store's own modules see it; the rest is in store.h.
 */
#ifndef BROKER_STORE_READER_H
#define BROKER_STORE_READER_H

#include "broker/store/cold_cache.h"
#include "broker/store/store.h"

/* Serve a pull, reading from the disk what is not in memory.
 * returns  OK | IO (err says what; messages before the fault, if any, are served with OK) */
enum status reader_get(struct store *store, const struct get_request *request,
                       struct cold_loader *loader, struct arena *arena, struct get_result *out,
                       struct err *err);

#endif
