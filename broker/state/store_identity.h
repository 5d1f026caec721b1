/* SPDX-License-Identifier: Apache-2.0
 *
 * Which store this is, and what it was last used for: storePathRootDir/storeIdentity.json, with a
 * .bak as the config files have. Not a file of 4.9.2, which leaves it alone.
 *
 * The id is made once and never changes, so a master can tell a slave that comes back from another
 * one. It is copied with the files: whoever makes a second store of a copy deletes the file there.
 */
#ifndef BROKER_STATE_STORE_IDENTITY_H
#define BROKER_STATE_STORE_IDENTITY_H

#include "common/base/status.h"
#include "common/sys/process.h"
#include "common/sys/vfs.h"

#include <stdbool.h>

#define STORE_ID_BYTES 37 /* a UUID as text, with the NUL */
#define STORE_NAME_BYTES 256

enum store_use {
    STORE_USE_UNKNOWN, /* there is no file: 4.9.2 has made the store, or an older version */
    STORE_USE_MASTER,
    STORE_USE_SLAVE,
};

struct store_identity {
    char id[STORE_ID_BYTES];
    char cluster_name[STORE_NAME_BYTES]; /* of the broker that the id was made for */
    char broker_name[STORE_NAME_BYTES];
    enum store_use use;                    /* as the broker was started last */
    char machine_boot[MACHINE_BOOT_BYTES]; /* of the machine, then; empty: not known */
};

/* Read the file of the store `root`.
 * returns  OK | NOT_FOUND (there is none) | CORRUPT | IO, with words in err */
MUST_CHECK enum status store_identity_load(const char *root, struct vfs *vfs,
                                           struct store_identity *out, struct err *err);

/* Choose an id. */
void store_identity_make(struct store_identity *identity, const char *cluster_name,
                         const char *broker_name);

/* Write the file, durably.
 * returns  OK | IO | FULL | BUSY, with words in err */
MUST_CHECK enum status store_identity_save(const char *root, struct vfs *vfs,
                                           const struct store_identity *identity, struct err *err);

/* Is that the text of a UUID? */
bool store_id_is_valid(const char *id);

const char *store_use_name(enum store_use use);

#endif
