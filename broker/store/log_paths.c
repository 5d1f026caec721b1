/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/store/log_paths.h"

#include "common/base/bytes.h"
#include "common/base/check.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

static void add(struct log_paths *paths, struct slice directory, bool read_only)
{
    for (size_t i = 0; i < paths->count; i++) {
        if (slice_equal(directory, slice_of_cstr(paths->at[i].directory))) {
            paths->at[i].read_only |= read_only;
            return;
        }
    }
    paths->at = xrealloc(paths->at, (paths->count + 1) * sizeof *paths->at);
    char *copy = xmalloc(directory.size + 1);
    memcpy(copy, directory.data, directory.size);
    copy[directory.size] = '\0';
    paths->at[paths->count++] = (struct log_path){.directory = copy, .read_only = read_only};
}

/* Without blanks around it and slashes behind it. */
static struct slice trimmed(struct slice piece)
{
    while (piece.size > 0 && piece.data[0] <= ' ')
        piece = slice_from(piece, 1);
    while (piece.size > 0 && piece.data[piece.size - 1] <= ' ')
        piece.size--;
    while (piece.size > 1 && piece.data[piece.size - 1] == '/')
        piece.size--;
    return piece;
}

static void add_list(struct log_paths *paths, const char *list, bool read_only)
{
    struct slice rest = slice_of_cstr(list == NULL ? "" : list);
    while (rest.size > 0) {
        const uint8_t *comma = memchr(rest.data, ',', rest.size);
        size_t size = comma == NULL ? rest.size : (size_t)(comma - rest.data);
        struct slice piece = trimmed(slice_of(rest.data, size));
        if (piece.size > 0)
            add(paths, piece, read_only);
        rest = slice_from(rest, comma == NULL ? rest.size : size + 1);
    }
}

static int by_name(const void *a, const void *b)
{
    const struct log_path *left = a;
    const struct log_path *right = b;
    return strcmp(left->directory, right->directory);
}

enum status log_paths_parse(struct log_paths *paths, const char *writable, const char *read_only,
                            struct err *err)
{
    *paths = (struct log_paths){NULL, 0};
    add_list(paths, writable, false);
    add_list(paths, read_only, true);
    if (paths->count > 0)
        qsort(paths->at, paths->count, sizeof *paths->at, by_name);
    bool writable_any = false;
    for (size_t i = 0; i < paths->count; i++) {
        writable_any |= !paths->at[i].read_only;
        if (strlen(paths->at[i].directory) + STORE_PATH_TAIL_BYTES > PATH_MAX)
            return err_set(err, STATUS_INVALID, "storePathCommitLog: %.100s... is too long",
                           paths->at[i].directory);
    }
    if (writable_any)
        return STATUS_OK;
    return err_set(err, STATUS_INVALID,
                   "storePathCommitLog (%s) names no folder that is not in "
                   "readOnlyCommitLogStorePaths too: new messages need one",
                   writable);
}

void log_paths_release(struct log_paths *paths)
{
    for (size_t i = 0; i < paths->count; i++)
        free(paths->at[i].directory);
    free(paths->at);
    *paths = (struct log_paths){NULL, 0};
}

int log_path_used_percent(struct vfs *vfs, const char *directory, struct vfs_space *space)
{
    *space = (struct vfs_space){0, 0};
    if (vfs->ops->space(vfs, directory, space) != STATUS_OK || space->total_bytes <= 0)
        return -1;
    double used = (double)(space->total_bytes - space->free_bytes);
    double percent = used * 100 / (double)space->total_bytes;
    int whole = (int)percent;
    return percent > whole ? whole + 1 : whole;
}

enum room { ROOM_NONE, ROOM_ON_A_FULL_DISK, ROOM };

static enum room room_for(struct vfs *vfs, const char *directory, int64_t bytes, int full_percent)
{
    struct vfs_space space;
    int percent = log_path_used_percent(vfs, directory, &space);
    if (percent == -1 || space.free_bytes < bytes)
        return ROOM_NONE;
    return percent > full_percent ? ROOM_ON_A_FULL_DISK : ROOM;
}

size_t log_paths_order(const struct log_paths *paths, struct vfs *vfs, int64_t number,
                       int64_t bytes, int full_percent, struct log_path **out)
{
    enum room *rooms = xmalloc(paths->count * sizeof *rooms);
    size_t total = 0;
    CHECK(number >= 0);
    for (size_t i = 0; i < paths->count; i++)
        rooms[i] = room_for(vfs, paths->at[i].directory, bytes, full_percent);
    for (int room = ROOM; room >= ROOM_NONE; room--) {
        struct log_path **class = out + total;
        size_t count = 0;
        for (size_t i = 0; i < paths->count; i++)
            count += !paths->at[i].read_only && rooms[i] == (enum room)room;
        size_t next = count == 0 ? 0 : count - (size_t)((uint64_t)number % count);
        for (size_t i = 0; i < paths->count; i++)
            if (!paths->at[i].read_only && rooms[i] == (enum room)room)
                class[next++ % count] = &paths->at[i];
        total += count;
    }
    CHECK(total > 0);
    free(rooms);
    return total;
}
