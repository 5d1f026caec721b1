/* SPDX-License-Identifier: Apache-2.0
 *
 * The identity of a store, in the format of its config files. A damaged file is not replaced by
 * itself: another id would make this another store.
 */
#include "broker/state/store_identity.h"

#include "broker/state/config_file.h"
#include "common/base/check.h"
#include "proto/body.pb-c.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const use_names[] = {
    [STORE_USE_UNKNOWN] = "unknown",
    [STORE_USE_MASTER] = "master",
    [STORE_USE_SLAVE] = "slave",
};

const char *store_use_name(enum store_use use)
{
    return use_names[use];
}

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

bool store_id_is_valid(const char *id)
{
    for (int i = 0; i < STORE_ID_BYTES - 1; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? id[i] != '-' : !is_hex(id[i]))
            return false;
    }
    return id[STORE_ID_BYTES - 1] == '\0';
}

void store_identity_make(struct store_identity *identity, const char *cluster_name,
                         const char *broker_name)
{
    uint8_t b[16];
    *identity = (struct store_identity){.use = STORE_USE_UNKNOWN};
    arc4random_buf(b, sizeof b);
    b[6] = (uint8_t)((b[6] & 0x0F) | 0x40); /* a random UUID: RFC 9562, version 4 */
    b[8] = (uint8_t)((b[8] & 0x3F) | 0x80);
    (void)snprintf(identity->id, sizeof identity->id,
                   "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0],
                   b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13],
                   b[14], b[15]);
    (void)snprintf(identity->cluster_name, sizeof identity->cluster_name, "%s", cluster_name);
    (void)snprintf(identity->broker_name, sizeof identity->broker_name, "%s", broker_name);
}

static void path_of(const char *root, char out[PATH_MAX])
{
    (void)snprintf(out, PATH_MAX, "%s/storeIdentity.json", root);
}

/* --- loading --- */

static bool take_text(char *out, size_t capacity, const char *text)
{
    size_t size = strlen(text);
    if (size >= capacity)
        return false;
    memcpy(out, text, size + 1);
    return true;
}

static bool take_body(struct store_identity *out, const StoreIdentity *body)
{
    *out = (struct store_identity){.use = STORE_USE_UNKNOWN};
    for (int use = STORE_USE_MASTER; use <= STORE_USE_SLAVE; use++)
        if (strcmp(body->role, use_names[use]) == 0)
            out->use = (enum store_use)use;
    return take_text(out->id, sizeof out->id, body->id) && store_id_is_valid(out->id) &&
           take_text(out->cluster_name, sizeof out->cluster_name, body->cluster_name) &&
           take_text(out->broker_name, sizeof out->broker_name, body->broker_name) &&
           take_text(out->machine_boot, sizeof out->machine_boot, body->machine_boot);
}

enum status store_identity_load(const char *root, struct vfs *vfs, struct store_identity *out,
                                struct err *err)
{
    char path[PATH_MAX];
    struct config_file file;
    struct arena arena;
    StoreIdentity body;
    enum config_source source = CONFIG_SOURCE_NONE;
    path_of(root, path);
    config_file_init(&file, path, vfs);
    arena_init(&arena, 4096);
    enum status status = config_file_load(&file, "identity", &store_identity__descriptor, &arena,
                                          &body.base, &source, err);
    if (status == STATUS_OK && source == CONFIG_SOURCE_NONE)
        status = STATUS_NOT_FOUND;
    else if (status == STATUS_OK && !take_body(out, &body))
        status = err_set(err, STATUS_CORRUPT,
                         "%s is damaged: it holds no UUID, or a name that is too long; delete it "
                         "to have this store begin with another identity",
                         path);
    arena_release(&arena);
    config_file_release(&file);
    return status;
}

/* --- saving --- */

static char *text_of(const char *text)
{
    return (char *)(uintptr_t)text;
}

static enum status snapshot(const void *table, struct arena *arena, uint64_t saved_changes,
                            uint64_t *changes, const ProtobufCMessage **message, struct err *err)
{
    const struct store_identity *identity = table;
    StoreIdentity *body = arena_alloc(arena, sizeof *body);
    (void)err;
    store_identity__init(body);
    body->broker_name = text_of(identity->broker_name);
    body->cluster_name = text_of(identity->cluster_name);
    body->id = text_of(identity->id);
    body->machine_boot = text_of(identity->machine_boot);
    body->role = text_of(use_names[identity->use]);
    *changes = saved_changes + 1;
    *message = &body->base;
    return STATUS_OK;
}

enum status store_identity_save(const char *root, struct vfs *vfs,
                                const struct store_identity *identity, struct err *err)
{
    char path[PATH_MAX];
    struct config_file file;
    path_of(root, path);
    config_file_init(&file, path, vfs);
    enum status status = config_file_save(&file, snapshot, identity, err);
    config_file_release(&file);
    return status;
}
