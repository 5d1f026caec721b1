/* SPDX-License-Identifier: Apache-2.0
 *
 * The files of an offset journal.
 *
 * Why the replay gives the right table. A change in a journal is what the table held for its key
 * when the block was made, and blocks are made and replayed in one order: after the replay a key
 * that occurs in it has the value of its last block, which is at most one period old. A key that
 * does not occur has not changed since the first of the replayed journals was begun; so it has the
 * right value if the JSON file under it was taken later than that, or was the table itself then.
 * Generation n+1 is begun before a snapshot, and n is removed when the snapshot is the file. With
 * A the file before, B the snapshot, at every moment of a save:
 *
 *     on disk                          replayed
 *     A, n                             n, which was begun before A was taken, or over A itself
 *     A, n, n+1                        n, n+1
 *     A, n, n+1 which names B          n, n+1: it has been begun over A
 *     B, n, n+1 which names B          n+1, begun before B was taken; n does not name B: removed
 *     B, n+1                           n+1
 *
 * The order on disk is the same: n is synced when n+1 is begun, n+1 and its name when it has named
 * B, the directory with B before n is removed. An n+1 without changes is removed, too, but not
 * before n is gone for good, for without n+1 it would look like one that belongs to nothing. When a
 * save fails after the naming, n+1 goes on, and the next save uses it: it was begun before that
 * snapshot, too; it is removed as well then if nothing was appended since that save began. So there
 * are never more than two. If A comes back when n is gone (as the .bak of a
 * B that was damaged), a journal over B is replayed over it, for it names what was there before B,
 * too: what it says is newer, and the rest is A's.
 *
 * A block is only taken when its sequence is larger than that of the one before, so that leftovers
 * of a write that failed are not taken for blocks.
 */
#include "broker/state/offset_journal.h"

#include "common/base/check.h"
#include "common/sys/log.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

/* A longer journal has the JSON file written at once. Many times what changes between two saves. */
#define JOURNAL_BYTES_DUE (32 * 1024 * 1024)

/* And no journal grows beyond this, should the JSON file not be writable. */
#define JOURNAL_BYTES_MAX (256 * 1024 * 1024)

/* Protects against a wrong path. */
#define READ_BYTES_MAX ((size_t)1 << 30)

#define NO_FILE (-1)

struct offset_journal {
    struct vfs *vfs;
    char *paths[2]; /* by the lowest bit of the generation */

    pthread_mutex_t lock; /* docs/locks.md: offset_journal */
    int fd;               /* of the current journal, or NO_FILE */
    uint64_t generation;  /* of the current journal, or of the last there was */
    uint64_t sequence;    /* of the next block */
    int64_t end;          /* where it goes */
    bool has_changes; /* the current journal is more than names, or what the next snapshot has */
    bool unsynced;
    bool entry_unsynced; /* its directory entry */
    bool sync_failed;    /* the current journal may have holes on disk */
    bool refusing;       /* the JSON file may have been replaced by one that no journal names */
    bool due;
    struct content_id json;   /* on disk */
    struct content_id before; /* what was there before, or the same where that is not known */

    /* Of the thread that saves. */
    struct content_id next; /* about to be */
    bool has_older;         /* the journal before the current one is still there */
};

struct offset_journal *offset_journal_new(const char *json_path, struct vfs *vfs)
{
    struct offset_journal *journal = xcalloc(1, sizeof *journal);
    struct buf path = BUF_EMPTY;
    size_t size = strlen(json_path);
    size_t stem = size > 5 && strcmp(json_path + size - 5, ".json") == 0 ? size - 5 : size;
    for (int i = 0; i < 2; i++) {
        buf_clear(&path);
        buf_append(&path, json_path, stem);
        buf_printf(&path, ".journal.%d", i);
        buf_append_byte(&path, 0);
        journal->paths[i] = xstrdup((const char *)path.data);
    }
    buf_release(&path);
    journal->vfs = vfs;
    journal->fd = NO_FILE;
    journal->json = journal->before = journal->next = content_id_none();
    CHECK(pthread_mutex_init(&journal->lock, NULL) == 0);
    return journal;
}

static void journal_lock(struct offset_journal *journal)
{
    CHECK(pthread_mutex_lock(&journal->lock) == 0);
}

static void journal_unlock(struct offset_journal *journal)
{
    CHECK(pthread_mutex_unlock(&journal->lock) == 0);
}

static const char *path_of(const struct offset_journal *journal, uint64_t generation)
{
    return journal->paths[generation & 1];
}

/* Close without losing the errno of what went wrong before. */
static void close_file(struct offset_journal *journal, int fd)
{
    int kept = errno;
    if (fd != NO_FILE)
        (void)journal->vfs->ops->close(journal->vfs, fd);
    errno = kept;
}

/* The file has served; should it stay, the next start removes it. */
static void remove_file(struct offset_journal *journal, const char *path)
{
    int kept = errno;
    (void)journal->vfs->ops->unlink(journal->vfs, path);
    errno = kept;
}

void offset_journal_free(struct offset_journal *journal)
{
    close_file(journal, journal->fd);
    CHECK(pthread_mutex_destroy(&journal->lock) == 0);
    free(journal->paths[0]);
    free(journal->paths[1]);
    free(journal);
}

static enum status sync_folder(struct offset_journal *journal)
{
    char folder[PATH_MAX];
    (void)snprintf(folder, sizeof folder, "%s", journal->paths[0]);
    char *slash = strrchr(folder, '/');
    if (slash == NULL)
        return journal->vfs->ops->sync_directory(journal->vfs, ".");
    slash[slash == folder ? 1 : 0] = '\0';
    return journal->vfs->ops->sync_directory(journal->vfs, folder);
}

/* --- loading --- */

/* A journal as it was found. */
struct found {
    const char *path;
    char *data; /* NULL: there is no such file */
    size_t size;
    bool begins;         /* with a block that can be its first */
    uint64_t generation; /* 0 unless it begins */
    uint64_t last_sequence;
    size_t end; /* of the last whole block */
    size_t change_blocks;
    bool names_json; /* it belongs to the file that was loaded */
};

/* The block at `at`, if it may follow the one with last_sequence. */
static enum status block_at(const struct found *found, size_t at, uint64_t last_sequence,
                            struct journal_block *block)
{
    enum status status = journal_block_decode(slice_of(found->data + at, found->size - at), block);
    if (status == STATUS_OK && at != 0 &&
        (block->kind == JOURNAL_BEGIN || block->generation != found->generation ||
         block->sequence <= last_sequence))
        status = STATUS_CORRUPT;
    return status;
}

/* Find where the journal ends, and whom it names. */
static void scan(struct found *found, struct content_id json)
{
    struct journal_block block;
    while (found->end < found->size) {
        if (block_at(found, found->end, found->last_sequence, &block) != STATUS_OK)
            return;
        if (found->end == 0 && block.kind != JOURNAL_BEGIN)
            return;
        found->begins = true;
        found->generation = block.generation;
        found->last_sequence = block.sequence;
        found->end += block.size;
        if (block.kind == JOURNAL_CHANGES)
            found->change_blocks++;
        else
            found->names_json |=
                content_id_equal(block.content, json) ||
                (block.kind == JOURNAL_BEGIN && content_id_equal(block.before, json));
    }
}

static enum status read_found(struct offset_journal *journal, int slot, struct content_id json,
                              struct found *out, struct err *err)
{
    *out = (struct found){.path = journal->paths[slot]};
    enum status status =
        vfs_read_file(journal->vfs, out->path, READ_BYTES_MAX, &out->data, &out->size);
    if (status == STATUS_NOT_FOUND) {
        out->data = NULL;
        return STATUS_OK;
    }
    if (status != STATUS_OK)
        return err_set_errno(err, STATUS_IO,
                             "cannot read %s; mend that, or move it away to start with offsets "
                             "that are some seconds old",
                             out->path);
    scan(out, json);
    /* A file under the other's name is of no use. */
    if (!out->begins || path_of(journal, out->generation) != out->path) {
        out->begins = out->names_json = false;
        out->generation = 0;
    }
    return STATUS_OK;
}

static void put_aside(struct offset_journal *journal, const struct found *found, const char *why)
{
    char aside[PATH_MAX];
    if (found->data == NULL)
        return;
    if (!found->begins && found->size < JOURNAL_BEGIN_BYTES) {
        remove_file(journal, found->path); /* a crash came while it was made; it holds nothing */
        return;
    }
    (void)snprintf(aside, sizeof aside, "%s.ignored", found->path);
    enum status status = journal->vfs->ops->rename(journal->vfs, found->path, aside);
    log_warn("state", "OFFSET JOURNAL IGNORED", "file=%s bytes=%zu why=\"%s\" kept_as=%s%s",
             found->path, found->size, why, aside,
             status == STATUS_OK ? "" : " (renaming it failed)");
}

static void log_cut(const struct found *found, size_t at, const char *why)
{
    log_warn("state", "offset journal cut", "file=%s at=%zu bytes=%zu why=\"%s\"", found->path, at,
             found->size - at, why);
}

/* Apply a journal's changes; found->end moves back to where `apply` has stopped it. */
static bool replay(struct found *found, offset_journal_apply apply, void *ctx, bool *replayed)
{
    size_t at = 0;
    uint64_t last_sequence = 0;
    struct journal_block block;
    if (found->end < found->size)
        log_cut(found, found->end, "torn or damaged");
    found->change_blocks = 0;
    while (at < found->end) {
        CHECK(block_at(found, at, last_sequence, &block) == STATUS_OK);
        if (block.kind == JOURNAL_CHANGES && !apply(ctx, block.log_pos, block.changes)) {
            log_cut(found, at, "the log has lost what this rests upon");
            found->end = at;
            found->last_sequence = last_sequence;
            return false;
        }
        found->change_blocks += block.kind == JOURNAL_CHANGES;
        last_sequence = block.sequence;
        at += block.size;
    }
    *replayed |= found->change_blocks > 0;
    return true;
}

/* Go on writing where the last replayed journal ends. */
static enum status continue_with(struct offset_journal *journal, const struct found *found,
                                 struct err *err)
{
    const struct vfs_ops *ops = journal->vfs->ops;
    int fd;
    enum status status = ops->open(journal->vfs, found->path, VFS_WRITE, &fd);
    if (status == STATUS_OK && found->end < found->size) {
        status = ops->truncate(journal->vfs, fd, (int64_t)found->end);
        if (status == STATUS_OK)
            status = ops->fdatasync(journal->vfs, fd);
        if (status != STATUS_OK)
            close_file(journal, fd);
    }
    if (status != STATUS_OK)
        return err_set_errno(err, STATUS_IO, "cannot write %s", found->path);
    journal->fd = fd;
    journal->generation = found->generation;
    journal->sequence = found->last_sequence + 1;
    journal->end = (int64_t)found->end;
    journal->has_changes = found->change_blocks > 0;
    journal->unsynced = true;
    journal->entry_unsynced = true;
    return STATUS_OK;
}

/* What does not go with the JSON file leaves; what remains of the two `begins`. `older` does so
 * only when `newer` does. */
static void choose(struct offset_journal *journal, struct found *older, struct found *newer)
{
    static const char foreign[] = "another hand has written or removed the JSON file since";
    static const char headless[] = "it has no beginning";
    bool follows = older->begins && newer->generation == older->generation + 1;
    if (!older->begins)
        put_aside(journal, older, headless);
    if (!newer->begins)
        put_aside(journal, newer, headless);
    if (older->names_json && follows)
        return;
    if (newer->names_json) {
        if (older->begins)
            remove_file(journal, older->path); /* newer has replaced it */
        older->begins = false;
        return;
    }
    if (older->begins)
        put_aside(journal, older, foreign);
    if (newer->begins)
        put_aside(journal, newer, foreign);
    older->begins = newer->begins = false;
}

static enum status load_found(struct offset_journal *journal, struct found *older,
                              struct found *newer, offset_journal_apply apply, void *ctx,
                              bool *replayed, struct err *err)
{
    journal->generation = newer->generation;
    choose(journal, older, newer);
    if (!newer->begins)
        return STATUS_OK;
    const struct found *current = newer;
    if (older->begins && !replay(older, apply, ctx, replayed)) {
        remove_file(journal, newer->path); /* it is later than the cut */
        current = older;
    } else {
        (void)replay(newer, apply, ctx, replayed);
        journal->has_older = older->begins;
    }
    log_info("state", "offset journal replayed", "file=%s bytes=%zu blocks=%zu older_blocks=%zu",
             current->path, current->end, current->change_blocks,
             journal->has_older ? older->change_blocks : 0);
    return continue_with(journal, current, err);
}

enum status offset_journal_load(struct offset_journal *journal, struct content_id json,
                                offset_journal_apply apply, void *ctx, bool *replayed,
                                struct err *err)
{
    struct found slots[2];
    *replayed = false;
    journal->json = journal->before = journal->next = json;
    enum status status = read_found(journal, 0, json, &slots[0], err);
    if (status != STATUS_OK)
        return status;
    status = read_found(journal, 1, json, &slots[1], err);
    if (status == STATUS_OK && (slots[0].data != NULL || slots[1].data != NULL)) {
        bool swapped = slots[0].generation > slots[1].generation;
        status = load_found(journal, &slots[swapped], &slots[!swapped], apply, ctx, replayed, err);
    }
    free(slots[0].data);
    free(slots[1].data);
    return status;
}

/* --- writing --- */

/* Make the file of a generation, with its first block. */
static enum status create_file(struct offset_journal *journal, uint64_t generation, int *fd,
                               int64_t *end)
{
    const struct vfs_ops *ops = journal->vfs->ops;
    const char *path = path_of(journal, generation);
    const int flags = VFS_WRITE | VFS_CREATE | VFS_TRUNCATE;
    struct buf first = BUF_EMPTY;
    enum status status = ops->open(journal->vfs, path, flags, fd);
    if (status == STATUS_NOT_FOUND && vfs_make_folder_of(journal->vfs, path) == STATUS_OK)
        status = ops->open(journal->vfs, path, flags, fd);
    if (status != STATUS_OK)
        return status;
    journal_begin_append(&first, generation, 1, journal->json, journal->before);
    struct iovec part = {first.data, first.size};
    status = ops->pwritev(journal->vfs, *fd, &part, 1, 0);
    *end = (int64_t)first.size;
    buf_release(&first);
    if (status != STATUS_OK) {
        close_file(journal, *fd);
        remove_file(journal, path);
    }
    return status;
}

/* With the lock held: the file that create_file has made is the current journal. */
static void use_file(struct offset_journal *journal, uint64_t generation, int fd, int64_t end)
{
    journal->fd = fd;
    journal->generation = generation;
    journal->sequence = 2;
    journal->end = end;
    journal->has_changes = false;
    journal->unsynced = true;
    journal->entry_unsynced = true;
    journal->sync_failed = false;
}

/* With the lock held: there is a current journal from here on. */
static enum status need_file(struct offset_journal *journal)
{
    int fd;
    int64_t end;
    if (journal->fd != NO_FILE)
        return STATUS_OK;
    enum status status = create_file(journal, journal->generation + 1, &fd, &end);
    if (status == STATUS_OK)
        use_file(journal, journal->generation + 1, fd, end);
    return status;
}

/* With the lock held. */
static enum status write_block(struct offset_journal *journal, const struct buf *block)
{
    const struct vfs_ops *ops = journal->vfs->ops;
    struct iovec part = {block->data, block->size};
    journal->sequence++; /* also when it fails: see the top */
    enum status status = ops->pwritev(journal->vfs, journal->fd, &part, 1, journal->end);
    if (status != STATUS_OK) {
        int kept = errno;
        (void)ops->truncate(journal->vfs, journal->fd, journal->end);
        errno = kept;
        return status;
    }
    journal->end += (int64_t)block->size;
    journal->unsynced = true;
    return STATUS_OK;
}

enum status offset_journal_append(struct offset_journal *journal, struct buf *changes,
                                  int64_t log_pos)
{
    enum status status;
    journal_lock(journal);
    if (journal->refusing) {
        errno = EBUSY;
        status = STATUS_BUSY;
    } else {
        status = need_file(journal);
    }
    if (status == STATUS_OK && journal->end + (int64_t)changes->size > JOURNAL_BYTES_MAX) {
        errno = EFBIG;
        status = STATUS_FULL;
    }
    if (status == STATUS_OK) {
        journal_changes_seal(changes, journal->generation, journal->sequence, log_pos);
        status = write_block(journal, changes);
        journal->has_changes |= status == STATUS_OK;
    }
    journal_unlock(journal);
    return status;
}

enum status offset_journal_sync(struct offset_journal *journal)
{
    journal_lock(journal);
    int fd = journal->fd;
    bool data = fd != NO_FILE && journal->unsynced && !journal->sync_failed;
    bool entry = fd != NO_FILE && journal->entry_unsynced;
    if (data)
        journal->unsynced = false;
    journal_unlock(journal);

    /* The descriptor stays open: only the thread that saves closes it, and this is that one. */
    enum status status = data ? journal->vfs->ops->fdatasync(journal->vfs, fd) : STATUS_OK;
    if (status == STATUS_OK && entry)
        status = sync_folder(journal);
    int kept = errno;
    journal_lock(journal);
    journal->entry_unsynced &= !(entry && status == STATUS_OK);
    if (status != STATUS_OK) {
        journal->sync_failed = true;
        journal->due = true;
    }
    journal_unlock(journal);
    errno = kept;
    return status;
}

bool offset_journal_is_due(struct offset_journal *journal)
{
    journal_lock(journal);
    bool due = journal->due || (journal->fd != NO_FILE && journal->end > JOURNAL_BYTES_DUE);
    journal_unlock(journal);
    return due;
}

/* --- around a save --- */

static void complain(const struct offset_journal *journal, const char *what)
{
    static struct log_gate gate;
    int64_t suppressed;
    if (log_gate_open(&gate, &suppressed))
        log_error("state", what, "file=%s cause=\"%s\" others=%lld", journal->paths[0],
                  strerror(errno), (long long)suppressed);
}

void offset_journal_begin(struct offset_journal *journal)
{
    int fd;
    int64_t end;
    journal_lock(journal);
    int old_fd = journal->fd;
    bool wanted = old_fd != NO_FILE && journal->has_changes && !journal->has_older;
    uint64_t generation = journal->generation + 1;
    journal->due = false;
    if (journal->has_older)
        journal->has_changes = false; /* what is in it is in the snapshot to be taken */
    journal_unlock(journal);
    journal->next = journal->json;
    if (!wanted)
        return;
    if (create_file(journal, generation, &fd, &end) != STATUS_OK) {
        complain(journal, "no new offset journal can be begun, the old one goes on");
        return;
    }
    journal_lock(journal);
    use_file(journal, generation, fd, end);
    journal_unlock(journal);
    journal->has_older = true;
    if (journal->vfs->ops->fdatasync(journal->vfs, old_fd) != STATUS_OK)
        complain(journal, "an offset journal can not be synced");
    close_file(journal, old_fd);
}

enum status offset_journal_name(struct offset_journal *journal, struct content_id next)
{
    struct buf block = BUF_EMPTY;
    journal_lock(journal);
    enum status status = need_file(journal);
    if (status == STATUS_OK) {
        journal_snapshot_append(&block, journal->generation, journal->sequence, next);
        status = write_block(journal, &block);
    }
    bool failed_before = status == STATUS_OK && journal->sync_failed;
    journal_unlock(journal);
    buf_release(&block);

    if (status == STATUS_OK)
        status = failed_before ? STATUS_IO : offset_journal_sync(journal);
    journal->next = next;
    if (status == STATUS_OK || status == STATUS_FULL || status == STATUS_BUSY)
        return status;
    complain(journal, "an offset journal can not be written and is given up");
    journal_lock(journal);
    journal->refusing = true;
    journal_unlock(journal);
    return STATUS_IO;
}

/* While the current one is there: the next to be begun has the name of this. */
static void remove_older(struct offset_journal *journal)
{
    journal_lock(journal);
    CHECK(journal->fd != NO_FILE);
    const char *older = path_of(journal, journal->generation - 1);
    journal_unlock(journal);
    remove_file(journal, older);
    (void)sync_folder(journal); /* at worst it is there once more, and known as replaced */
    journal->has_older = false;
}

void offset_journal_replaced(struct offset_journal *journal)
{
    int fd = NO_FILE;
    if (journal->has_older)
        remove_older(journal);
    journal_lock(journal);
    const char *current = path_of(journal, journal->generation);
    if (journal->json.bytes == CONTENT_NONE)
        journal->before = journal->next;
    else if (!content_id_equal(journal->json, journal->next))
        journal->before = journal->json;
    journal->json = journal->next;
    if (journal->refusing || !journal->has_changes) {
        journal->due |= journal->refusing && journal->has_changes;
        fd = journal->fd;
        journal->fd = NO_FILE;
        journal->refusing = false;
    }
    journal_unlock(journal);
    if (fd == NO_FILE)
        return;
    close_file(journal, fd);
    remove_file(journal, current);
    (void)sync_folder(journal);
}
