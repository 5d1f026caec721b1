/* SPDX-License-Identifier: Apache-2.0
 *
 * Loading and saving of the store's config files. Differs from RocketMQ in two points: a file that
 * is there but cannot be read by either name stops the start instead of becoming an empty table,
 * and a damaged main file is never copied over the .bak that saved the day.
 * Source: RMQ common/.../ConfigManager.java, MixAll.string2File.
 */
#include "broker/state/config_file.h"

#include "common/base/check.h"
#include "common/sys/log.h"
#include "proto/body_json.h"

#include <stdlib.h>
#include <string.h>

/* Far above what the bounds on the tables allow; protects against a wrong path. */
#define CONFIG_FILE_BYTES_MAX ((size_t)1 << 30)

#define SNAPSHOT_BLOCK_BYTES 65536

void config_file_init(struct config_file *file, const char *path, struct vfs *vfs)
{
    *file = (struct config_file){.path = xstrdup(path), .vfs = vfs, .keep_backup = true};
    CHECK(pthread_mutex_init(&file->saving, NULL) == 0);
}

void config_file_release(struct config_file *file)
{
    CHECK(pthread_mutex_destroy(&file->saving) == 0);
    if (file->journal != NULL)
        offset_journal_free(file->journal);
    free(file->path);
}

/* returns  OK | NOT_FOUND (no such file) | CORRUPT (there, but empty or damaged) | IO */
static enum status read_one(struct config_file *file, const char *path,
                            const ProtobufCMessageDescriptor *descriptor, struct arena *arena,
                            ProtobufCMessage *message, struct err *err)
{
    char *text;
    size_t size;
    protobuf_c_message_init(descriptor, message);
    enum status status = vfs_read_file(file->vfs, path, CONFIG_FILE_BYTES_MAX, &text, &size);
    if (status == STATUS_NOT_FOUND)
        return status;
    if (status == STATUS_TOO_LARGE)
        return err_set(err, STATUS_CORRUPT, "%s is larger than any file of its kind", path);
    if (status != STATUS_OK)
        return err_set_errno(err, STATUS_IO, "cannot read %s", path);

    struct err cause = {.text = "it is empty"};
    file->loaded = content_id_of(slice_of(text, size));
    if (size != 0)
        status = body_decode(slice_of(text, size), arena, message, &cause);
    if (size == 0 || status != STATUS_OK)
        status = err_set(err, STATUS_CORRUPT, "%s is damaged: %s", path, cause.text);
    free(text);
    return status;
}

enum status config_file_load(struct config_file *file, const char *what,
                             const ProtobufCMessageDescriptor *descriptor, struct arena *arena,
                             ProtobufCMessage *message, enum config_source *source, struct err *err)
{
    struct err main_err = {.text = "it is missing"};
    enum status main_status = read_one(file, file->path, descriptor, arena, message, &main_err);
    *source = CONFIG_SOURCE_MAIN;
    if (main_status == STATUS_OK)
        return STATUS_OK;
    if (main_status == STATUS_IO)
        return err_set(err, STATUS_IO, "%s", main_err.text);

    char *backup_path = arena_printf(arena, "%s.bak", file->path);
    struct err backup_err = {.text = "it is missing"};
    enum status backup_status =
        read_one(file, backup_path, descriptor, arena, message, &backup_err);
    if (backup_status == STATUS_OK) {
        log_line(main_status == STATUS_NOT_FOUND ? LOG_WARN : LOG_ERROR, "state",
                 "config file unusable, its backup was loaded instead",
                 "what=\"%s\" file=%s cause=\"%s\" backup=%s", what, file->path, main_err.text,
                 backup_path);
        file->keep_backup = false;
        *source = CONFIG_SOURCE_BACKUP;
        return STATUS_OK;
    }
    protobuf_c_message_init(descriptor, message);
    *source = CONFIG_SOURCE_NONE;
    file->loaded = content_id_none();
    if (main_status == STATUS_NOT_FOUND && backup_status == STATUS_NOT_FOUND)
        return STATUS_OK;
    return err_set(err, backup_status == STATUS_IO ? STATUS_IO : STATUS_CORRUPT,
                   "cannot load the %s, neither from %s nor from its .bak: put back one of them "
                   "from a copy, or move both away to start without the %s (%s; %s)",
                   what, file->path, what, main_err.text, backup_err.text);
}

/* A new store has no config folder yet, and one that is there may not be durable: whoever made it
 * may have been killed before that. */
static enum status replace(struct config_file *file, const struct buf *text)
{
    if (!file->folder_durable) {
        enum status status = vfs_make_folder_of(file->vfs, file->path);
        if (status != STATUS_OK)
            return status;
        file->folder_durable = true;
    }
    return vfs_replace_file(file->vfs, file->path, text->data, text->size, file->keep_backup);
}

/* Write the snapshot; what is named by the journal before may replace the file. */
static enum status save_snapshot(struct config_file *file, const ProtobufCMessage *message,
                                 struct err *err)
{
    struct buf text = BUF_EMPTY;
    enum status status = STATUS_OK;
    body_encode(message, BODY_PRETTY, &text);
    if (file->journal != NULL)
        status = offset_journal_name(file->journal, content_id_of(buf_slice(&text)));
    if (status == STATUS_OK || status == STATUS_IO)
        status = replace(file, &text);
    if (status == STATUS_OK)
        file->keep_backup = true;
    else
        status = err_set_errno(err, status, "cannot write %s", file->path);
    buf_release(&text);
    return status;
}

enum status config_file_save(struct config_file *file, config_snapshot snapshot, const void *table,
                             struct err *err)
{
    struct arena arena;
    const ProtobufCMessage *message = NULL;
    uint64_t changes = 0;
    arena_init(&arena, SNAPSHOT_BLOCK_BYTES);
    CHECK(pthread_mutex_lock(&file->saving) == 0);
    if (file->journal != NULL)
        offset_journal_begin(file->journal);
    enum status status = snapshot(table, &arena, file->saved_changes, &changes, &message, err);
    if (status == STATUS_OK && message != NULL)
        status = save_snapshot(file, message, err);
    if (status == STATUS_OK && message != NULL)
        file->saved_changes = changes;
    if (status == STATUS_OK && file->journal != NULL)
        offset_journal_replaced(file->journal);
    CHECK(pthread_mutex_unlock(&file->saving) == 0);
    arena_release(&arena);
    return status;
}

enum status config_file_sync_journal(struct config_file *file, struct err *err)
{
    CHECK(pthread_mutex_lock(&file->saving) == 0);
    enum status status = offset_journal_sync(file->journal);
    if (status != STATUS_OK)
        status = err_set_errno(err, status, "cannot sync the journal of %s", file->path);
    CHECK(pthread_mutex_unlock(&file->saving) == 0);
    return status;
}

enum status config_file_expect(struct vfs *vfs, const char *path, const char *loss, struct err *err)
{
    struct vfs_stat st;
    struct buf backup_path = BUF_EMPTY;
    enum status status = vfs->ops->stat(vfs, path, &st);
    if (status == STATUS_NOT_FOUND) {
        buf_printf(&backup_path, "%s.bak", path);
        buf_append_byte(&backup_path, 0);
        status = vfs->ops->stat(vfs, (const char *)backup_path.data, &st);
        buf_release(&backup_path);
    }
    if (status == STATUS_NOT_FOUND)
        return err_set(err, STATUS_NOT_FOUND,
                       "%s is missing, and so is its .bak, but the commit log holds messages; "
                       "without it %s; put it back from a copy, or, if that is what you want, "
                       "start without it: echo '{}' >%s",
                       path, loss, path);
    if (status != STATUS_OK)
        return err_set_errno(err, STATUS_IO, "cannot look at %s", path);
    return STATUS_OK;
}
