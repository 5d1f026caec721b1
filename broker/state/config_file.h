/* SPDX-License-Identifier: Apache-2.0
 *
 * A table kept in one of the store's `config` files (topics, subscription groups, consumer
 * offsets, delay offsets), in RocketMQ's pretty format, with the file before the last as `.bak`.
 *
 * Loading never starts empty when there are data:
 *
 *     main file       .bak            result
 *     good            any             main file
 *     missing         missing         nothing: a fresh start (but see config_file_expect)
 *     missing         good            .bak, with a warning
 *     damaged, empty  good            .bak, with an error line that names both
 *     otherwise                       refused: CORRUPT, with the mend
 *
 * Saving replaces the main file atomically. One lock per file (docs/locks.md: config_file) is held
 * from snapshot to disk, so that two savers cannot write an older snapshot over a newer one.
 * A file may have a journal (broker/state/offset_journal.h), whose steps are taken here.
 */
#ifndef BROKER_STATE_CONFIG_FILE_H
#define BROKER_STATE_CONFIG_FILE_H

#include "broker/state/offset_journal.h"
#include "common/base/arena.h"
#include "common/base/status.h"
#include "common/sys/vfs.h"

#include <protobuf-c/protobuf-c.h>
#include <pthread.h>
#include <stdbool.h>

struct config_file {
    char *path;
    struct vfs *vfs;
    pthread_mutex_t saving;
    struct offset_journal *journal; /* NULL, or the file's own; set by its table before the load */
    struct content_id loaded;       /* the content that the load has taken */
    /* The table's change count that the file holds; written under `saving`, read anywhere. */
    _Atomic uint64_t saved_changes;
    bool keep_backup;    /* under `saving`: false while .bak is the only good copy */
    bool folder_durable; /* the folder was made, or found, and synced by this process */
};

/* path, vfs  the path is copied; the vfs is borrowed */
void config_file_init(struct config_file *file, const char *path, struct vfs *vfs);
void config_file_release(struct config_file *file); /* frees the journal, too */

enum config_source {
    CONFIG_SOURCE_NONE, /* no file: `message` is an empty one */
    CONFIG_SOURCE_MAIN,
    CONFIG_SOURCE_BACKUP, /* the main file must be written anew: count it as a change */
};

/* Read the file into `message`. Before the first save; start-up only.
 * what     the contents in a person's words, "topics"
 * message  room for a message of that descriptor; it points into `arena`
 * returns  OK | CORRUPT | IO, with words in err */
MUST_CHECK enum status config_file_load(struct config_file *file, const char *what,
                                        const ProtobufCMessageDescriptor *descriptor,
                                        struct arena *arena, ProtobufCMessage *message,
                                        enum config_source *source, struct err *err);

/* The table's contents as a message in `arena`; NULL when its change count still is
 * `saved_changes`. Takes the table's lock itself, and gives it back before returning.
 * changes  out: the change count of the snapshot
 * returns  OK, or why it must not be saved now, with words in err */
typedef enum status (*config_snapshot)(const void *table, struct arena *arena,
                                       uint64_t saved_changes, uint64_t *changes,
                                       const ProtobufCMessage **message, struct err *err);

/* Save the table when it has changed since the last successful save. May wait on disk.
 * returns  OK | IO | FULL | BUSY | the snapshot's; the next call tries again */
MUST_CHECK enum status config_file_save(struct config_file *file, config_snapshot snapshot,
                                        const void *table, struct err *err);

/* Make durable what the file's journal holds. May wait on disk.
 * returns  OK | IO */
MUST_CHECK enum status config_file_sync_journal(struct config_file *file, struct err *err);

/* For a store that has messages: is the file, or its .bak, there?
 * loss     what starting without it would mean, in a person's words
 * returns  OK | NOT_FOUND, with the mend in err | IO */
MUST_CHECK enum status config_file_expect(struct vfs *vfs, const char *path, const char *loss,
                                          struct err *err);

#endif
