/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as a store's identity: it is taken or refused as damaged; what is taken has a UUID and
 * names that fit, and is the same when it was saved and loaded again.
 */
#include "broker/state/store_identity.h"
#include "common/base/check.h"
#include "common/sys/log.h"
#include "test/unit/support/vfs_sim.h"

#include <string.h>

#define ROOT "/store"
#define PATH ROOT "/storeIdentity.json"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum status load(struct sim *sim, struct store_identity *out)
{
    struct err err = {.text = ""};
    enum status status = store_identity_load(ROOT, sim_vfs(sim), out, &err);
    CHECK(status == STATUS_OK || (status == STATUS_CORRUPT && err.text[0] != '\0'));
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct store_identity identity;
    struct store_identity again;
    struct err err;
    size_t file_bytes;
    log_set_level((enum log_level)(-1)); /* damaged files are what this is about */
    struct sim *sim = sim_new();
    CHECK(sim_vfs(sim)->ops->mkdirs(sim_vfs(sim), ROOT) == STATUS_OK);
    sim_resize(sim, PATH, size);
    if (size > 0)
        memcpy(sim_bytes(sim, PATH, &file_bytes), data, size);
    if (load(sim, &identity) == STATUS_OK) {
        CHECK(store_id_is_valid(identity.id));
        CHECK(store_identity_save(ROOT, sim_vfs(sim), &identity, &err) == STATUS_OK);
        CHECK(load(sim, &again) == STATUS_OK);
        CHECK(strcmp(again.id, identity.id) == 0 && again.use == identity.use);
        CHECK(strcmp(again.broker_name, identity.broker_name) == 0);
        CHECK(strcmp(again.cluster_name, identity.cluster_name) == 0);
        CHECK(strcmp(again.machine_boot, identity.machine_boot) == 0);
    }
    sim_free(sim);
    return 0;
}
