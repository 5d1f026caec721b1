/* SPDX-License-Identifier: Apache-2.0
 *
 * Entry e of a slot must name as its previous one the entry that was the slot's newest before it;
 * in the end each slot must name its newest. Then every entry is reachable, and no chain has a
 * loop.
 *
 * One entry with a wrong position must not make all that follow look wrong: of two neighbours whose
 * positions fall, the one that does not fit what lies around it is reported and passed over.
 */
#include "broker/store/verify_index.h"

#include "broker/store/index_format.h"
#include "common/base/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_ENTRIES 8192
#define CHUNK_SLOTS 16384

struct index_check {
    const struct found_index *found;
    struct index_header header;
    bool usable;         /* size and header are possible */
    int fd;              /* -1: not open */
    int32_t next;        /* the entry that is looked at next */
    int32_t *newest;     /* entry of each slot; while the file is open */
    uint8_t *chunk;      /* while the file is open */
    int32_t chunk_first; /* number of the first entry in the chunk */
    int32_t chunk_count;
    int64_t first_pos; /* of the first entry, -1: not seen */
    int64_t last_pos;  /* of the last entry that was right */
    int64_t begin_ms;  /* store time of the record of the first entry, -1: not seen */
    int64_t end_ms;    /* and of the last */
    int alike;
    int64_t more;
};

static int64_t entry_place(const struct store_files *files, int32_t number)
{
    return INDEX_HEADER_BYTES + (int64_t)files->index_slots * INDEX_SLOT_BYTES +
           (int64_t)number * INDEX_ENTRY_BYTES;
}

static void report(struct verify_index *index, struct index_check *check, bool damage, int64_t at,
                   int64_t pos, const char *text)
{
    if (damage && check->alike >= VERIFY_ALIKE_MAX) {
        check->more++;
        return;
    }
    check->alike += damage;
    char path[PATH_MAX];
    struct verify_place place = PLACE_NONE;
    store_files_index_path(index->verify->files, check->found, path);
    place.path = path;
    place.at = at;
    place.pos = pos;
    verify_report(index->verify, damage, "index", &place, "%s", text);
}

/* --- begin --- */

static enum status open_file(struct verify_index *index, struct index_check *check, struct err *err)
{
    const struct store_files *files = index->verify->files;
    char path[PATH_MAX];
    store_files_index_path(files, check->found, path);
    enum status status = files->vfs->ops->open(files->vfs, path, VFS_READ, &check->fd);
    if (status == STATUS_OK)
        return status;
    check->fd = -1;
    return err_set_errno(err, status == STATUS_NOT_FOUND ? status : STATUS_IO, "cannot open %s",
                         path);
}

static bool read_bytes(struct verify_index *index, const struct index_check *check, void *out,
                       size_t size, int64_t at)
{
    struct vfs *vfs = index->verify->files->vfs;
    size_t got = 0;
    return vfs->ops->pread(vfs, check->fd, out, size, at, &got) == STATUS_OK && got == size;
}

static void close_file(struct verify_index *index, struct index_check *check)
{
    if (check->fd != -1)
        (void)index->verify->files->vfs->ops->close(index->verify->files->vfs, check->fd);
    check->fd = -1;
    free(check->newest);
    free(check->chunk);
    check->newest = NULL;
    check->chunk = NULL;
}

/* A file that the broker was about to make, or is: the last one, and nothing is written to it. */
static bool is_being_made(const struct verify_index *index, const struct index_check *check)
{
    const struct store_files *files = index->verify->files;
    return (files->in_use || files->aborted) && check == &index->checks[index->count - 1];
}

static bool is_zero(const uint64_t *words, size_t count)
{
    while (count > 0 && words[count - 1] == 0)
        count--;
    return count == 0;
}

static enum status check_begin(struct verify_index *index, struct index_check *check,
                               struct err *err)
{
    const struct store_files *files = index->verify->files;
    char text[160];
    int64_t wanted = (int64_t)index_file_bytes(files->index_slots, files->index_entries);
    if (check->found->size == 0 && is_being_made(index, check))
        return STATUS_OK;
    if (check->found->size != wanted) {
        (void)snprintf(text, sizeof text,
                       "the file has %lld bytes; %ld slots and %ld entries make %lld",
                       (long long)check->found->size, (long)files->index_slots,
                       (long)files->index_entries, (long long)wanted);
        report(index, check, true, -1, -1, text);
        return STATUS_OK;
    }
    enum status status = open_file(index, check, err);
    if (status == STATUS_NOT_FOUND && files->in_use)
        return STATUS_OK;
    if (status != STATUS_OK)
        return status;
    uint64_t head[INDEX_HEADER_BYTES / 8];
    bool was_read = read_bytes(index, check, head, sizeof head, 0);
    close_file(index, check);
    struct index_view view = {(uint8_t *)head, files->index_slots, files->index_entries};
    if (!was_read) {
        report(index, check, true, 0, -1, "the header cannot be read");
        return STATUS_OK;
    }
    if (is_zero(head, sizeof head / sizeof head[0]) && is_being_made(index, check))
        index_clear(&view);
    check->header = index_header_read(&view);
    check->usable = index_header_sane(&view);
    if (!check->usable)
        report(index, check, true, 0, -1, "no header can be: a number in it is out of its range");
    return STATUS_OK;
}

enum status verify_index_begin(struct verify_index *index, struct verify *verify, struct err *err)
{
    const struct store_files *files = verify->files;
    *index = (struct verify_index){.verify = verify};
    if (verify->options->skip_index || files->index_count == 0)
        return STATUS_OK;
    index->count = files->index_count;
    index->checks = xcalloc(index->count, sizeof *index->checks);
    enum status status = STATUS_OK;
    for (size_t i = 0; i < index->count && status == STATUS_OK; i++) {
        struct index_check *check = &index->checks[i];
        check->found = &files->indexes[i];
        check->fd = -1;
        check->next = 1;
        check->first_pos = check->last_pos = -1;
        check->begin_ms = check->end_ms = -1;
        status = check_begin(index, check, err);
    }
    return status;
}

void verify_index_release(struct verify_index *index)
{
    for (size_t i = 0; i < index->count; i++)
        close_file(index, &index->checks[i]);
    free(index->checks);
}

/* --- entries --- */

/* The bytes of an entry; NULL when they cannot be read. */
static const uint8_t *entry_bytes(struct verify_index *index, struct index_check *check,
                                  int32_t number)
{
    if (number >= check->chunk_first && number - check->chunk_first < check->chunk_count)
        return check->chunk + (size_t)(number - check->chunk_first) * INDEX_ENTRY_BYTES;
    int32_t count = check->header.next_entry - number;
    if (count > CHUNK_ENTRIES)
        count = CHUNK_ENTRIES;
    check->chunk_count = 0;
    if (!read_bytes(index, check, check->chunk, (size_t)count * INDEX_ENTRY_BYTES,
                    entry_place(index->verify->files, number)))
        return NULL;
    check->chunk_first = number;
    check->chunk_count = count;
    return check->chunk;
}

/* Follow the chains: the entry must name the newest one of its slot. */
static void check_chain(struct verify_index *index, struct index_check *check, int32_t number,
                        const uint8_t *entry)
{
    char text[160];
    int32_t hash = get_i32(entry);
    int64_t at = entry_place(index->verify->files, number);
    if (hash < 0) {
        report(index, check, true, at, -1, "an entry's hash is negative");
        return;
    }
    int32_t *newest = &check->newest[hash % index->verify->files->index_slots];
    if (get_i32(entry + 16) != *newest) {
        (void)snprintf(text, sizeof text,
                       "entry %ld names entry %ld as the one before it in its slot, that is %ld",
                       (long)number, (long)get_i32(entry + 16), (long)*newest);
        report(index, check, true, at, get_i64(entry + 4), text);
    }
    *newest = number;
}

/* Is this entry's position, of all around it, the wrong one? */
static bool is_out_of_order(struct verify_index *index, struct index_check *check, int32_t number,
                            int64_t pos)
{
    if (pos < check->last_pos || pos < check->header.begin_pos || pos > check->header.end_pos)
        return true;
    if (number + 1 >= check->header.next_entry)
        return false;
    const uint8_t *behind = entry_bytes(index, check, number + 1);
    return behind != NULL && get_i64(behind + 4) < pos && get_i64(behind + 4) >= check->last_pos;
}

static void check_close(struct verify_index *index, struct index_check *check);

/* The current file's next entry whose position is in order, looked at as far as that goes without
 * its record: NULL when there is none in any file. It stays the next one until taken. */
static const uint8_t *peek(struct verify_index *index, struct index_check **out)
{
    while (index->current < index->count) {
        struct index_check *check = &index->checks[index->current];
        if (check->usable && check->next < check->header.next_entry && check->fd == -1) {
            if (open_file(index, check, NULL) != STATUS_OK) {
                report(index, check, !index->verify->files->in_use, -1, -1,
                       "the file cannot be opened");
                check->usable = false;
            } else {
                check->newest = xcalloc((size_t)index->verify->files->index_slots, sizeof(int32_t));
                check->chunk = xmalloc((size_t)CHUNK_ENTRIES * INDEX_ENTRY_BYTES);
            }
        }
        while (check->usable && check->next < check->header.next_entry) {
            const uint8_t *entry = entry_bytes(index, check, check->next);
            if (entry == NULL) {
                report(index, check, true, entry_place(index->verify->files, check->next), -1,
                       "entries from here on cannot be read");
                check->usable = false;
                break;
            }
            int64_t pos = get_i64(entry + 4);
            if (!is_out_of_order(index, check, check->next, pos)) {
                *out = check;
                return entry_bytes(index, check, check->next);
            }
            char text[160];
            (void)snprintf(text, sizeof text,
                           "entry %ld points to %lld, which does not fit the entries around it",
                           (long)check->next, (long long)pos);
            report(index, check, true, entry_place(index->verify->files, check->next), pos, text);
            check_chain(index, check, check->next, entry_bytes(index, check, check->next));
            check->next++;
        }
        check_close(index, check);
        index->current++;
    }
    return NULL;
}

static void take(struct verify_index *index, struct index_check *check, const uint8_t *entry)
{
    check->last_pos = get_i64(entry + 4);
    if (check->next == 1)
        check->first_pos = check->last_pos;
    check_chain(index, check, check->next, entry);
    check->next++;
}

/* The next entry points to where no record has come. */
static void take_orphan(struct verify_index *index, struct index_check *check, const uint8_t *entry)
{
    const struct verify *verify = index->verify;
    int64_t pos = get_i64(entry + 4);
    int32_t number = check->next;
    take(index, check, entry);
    if (pos < verify->result->log_begin || verify_is_damaged(verify, pos))
        return;
    char text[160];
    (void)snprintf(text, sizeof text, "entry %ld points to %lld, where no record with keys stands",
                   (long)number, (long long)pos);
    report(index, check, pos < verify->doubtful_from, entry_place(verify->files, number), pos,
           text);
}

/* The hashes of a record's keys, as far as they are indexed. */
struct hashes {
    int32_t of[INDEX_KEYS_MAX];
    int count;
    uint64_t covered; /* bits of those that have an entry */
    const struct record *record;
    const struct record_keys *keys;
};

static void hashes_find(struct hashes *hashes, const struct record *record,
                        const struct record_keys *keys)
{
    struct record_hashes walk = record_hashes_begin(record, keys);
    hashes->count = 0;
    hashes->covered = 0;
    hashes->record = record;
    hashes->keys = keys;
    while (hashes->count < INDEX_KEYS_MAX && record_hashes_next(&walk, &hashes->of[hashes->count]))
        hashes->count++;
}

/* Is it the hash of one of the keys? 4.9.2 also has entries for those behind INDEX_KEYS_MAX. */
static bool hashes_cover(struct hashes *hashes, int32_t hash)
{
    bool found = false;
    for (int i = 0; i < hashes->count; i++) {
        if (hashes->of[i] == hash) {
            hashes->covered |= (uint64_t)1 << i;
            found = true;
        }
    }
    if (found || hashes->count < INDEX_KEYS_MAX)
        return found;
    struct record_hashes walk = record_hashes_begin(hashes->record, hashes->keys);
    int32_t one;
    while (record_hashes_next(&walk, &one)) {
        if (one == hash)
            return true;
    }
    return false;
}

static bool hashes_complete(const struct hashes *hashes)
{
    return hashes->count == 0 || hashes->covered == UINT64_MAX >> (64 - hashes->count);
}

/* 4.9.2 counts the seconds of a file's first entry from the end of the file before, which may have
 * been deleted with the beginning of the log. */
static bool first_seconds_fit(const struct verify_index *index, const struct index_check *check,
                              const struct record *record, int32_t seconds)
{
    if (check == index->checks)
        return index->verify->result->log_begin > 0;
    return seconds ==
           index_entry_seconds(check[-1].header.end_timestamp_ms, record->store_timestamp_ms);
}

/* The next entry is at the record's position. */
static void take_matching(struct verify_index *index, struct index_check *check,
                          const uint8_t *entry, struct hashes *hashes)
{
    const struct record *record = hashes->record;
    int32_t number = check->next;
    int32_t hash = get_i32(entry);
    int32_t seconds = get_i32(entry + 12);
    int64_t pos = record->physical_offset;
    if (number == 1)
        check->begin_ms = record->store_timestamp_ms;
    check->end_ms = number + 1 == check->header.next_entry ? record->store_timestamp_ms : -1;
    take(index, check, entry);
    char text[160];
    int32_t wanted =
        index_entry_seconds(check->header.begin_timestamp_ms, record->store_timestamp_ms);
    bool known = hashes_cover(hashes, hash);
    if (!known)
        (void)snprintf(text, sizeof text,
                       "entry %ld has the hash %ld, which no key of its record has", (long)number,
                       (long)hash);
    else if (seconds != wanted &&
             (number != 1 || !first_seconds_fit(index, check, record, seconds)))
        (void)snprintf(text, sizeof text,
                       "entry %ld lies %ld s behind the file's first time, its record %ld s",
                       (long)number, (long)seconds, (long)wanted);
    else {
        index->verify->result->index_entries++;
        return;
    }
    report(index, check, true, entry_place(index->verify->files, number), pos, text);
}

void verify_index_record(struct verify_index *index, const struct record *record,
                         const struct record_keys *keys)
{
    if (index->count == 0)
        return;
    int64_t pos = record->physical_offset;
    struct index_check *check = NULL;
    const uint8_t *entry = peek(index, &check);
    while (entry != NULL && get_i64(entry + 4) < pos) {
        take_orphan(index, check, entry);
        entry = peek(index, &check);
    }
    if (!record_in_index(record))
        return;
    struct hashes hashes;
    hashes_find(&hashes, record, keys);
    while (entry != NULL && get_i64(entry + 4) == pos) {
        take_matching(index, check, entry, &hashes);
        entry = peek(index, &check);
    }
    if (hashes_complete(&hashes) || pos >= index->verify->doubtful_from)
        return;
    if (index->unindexed++ == 0)
        index->unindexed_pos = pos;
    index->unindexed_last_pos = pos;
}

/* --- finish --- */

/* Each slot must name its newest entry, the header how many slots are in use. In a file that is
 * growing newer entries than those of the start may be there. */
static void check_slots(struct verify_index *index, struct index_check *check)
{
    const struct store_files *files = index->verify->files;
    char text[160];
    uint8_t *slots = xmalloc((size_t)CHUNK_SLOTS * INDEX_SLOT_BYTES);
    int32_t used = 0;
    for (int32_t first = 0; first < files->index_slots; first += CHUNK_SLOTS) {
        int32_t count = files->index_slots - first;
        if (count > CHUNK_SLOTS)
            count = CHUNK_SLOTS;
        int64_t at = INDEX_HEADER_BYTES + (int64_t)first * INDEX_SLOT_BYTES;
        if (!read_bytes(index, check, slots, (size_t)count * INDEX_SLOT_BYTES, at)) {
            report(index, check, true, at, -1, "the slots cannot be read");
            break;
        }
        for (int32_t i = 0; i < count; i++) {
            int32_t found = get_i32(slots + (size_t)i * INDEX_SLOT_BYTES);
            int32_t newest = check->newest[first + i];
            used += newest != 0;
            if (found == newest || (files->in_use && found >= check->header.next_entry))
                continue;
            (void)snprintf(
                text, sizeof text, "slot %ld names entry %ld, its newest entry is %ld: %s",
                (long)(first + i), (long)found, (long)newest, "look-ups miss or mistake messages");
            report(index, check, true, at + (int64_t)i * INDEX_SLOT_BYTES, -1, text);
        }
    }
    free(slots);
    if (used != check->header.used_slots && !files->in_use) {
        (void)snprintf(text, sizeof text, "the header says that %ld slots are in use, that is %ld",
                       (long)check->header.used_slots, (long)used);
        report(index, check, true, 32, -1, text);
    }
}

static void check_header(struct verify_index *index, struct index_check *check)
{
    char text[160];
    const struct index_header *header = &check->header;
    if (check->begin_ms != -1 && check->begin_ms != header->begin_timestamp_ms) {
        (void)snprintf(text, sizeof text,
                       "the header's first time is %lld, that of the first record %lld",
                       (long long)header->begin_timestamp_ms, (long long)check->begin_ms);
        report(index, check, true, 0, -1, text);
    }
    /* A repaired file has its last time in whole seconds. */
    if (check->end_ms != -1 && (header->end_timestamp_ms > check->end_ms ||
                                header->end_timestamp_ms <= check->end_ms - 1000)) {
        (void)snprintf(text, sizeof text,
                       "the header's last time is %lld, that of the last record %lld",
                       (long long)header->end_timestamp_ms, (long long)check->end_ms);
        report(index, check, !index->verify->files->in_use, 8, -1, text);
    }
    if (check->first_pos != -1 && check->first_pos != header->begin_pos) {
        (void)snprintf(text, sizeof text, "the header's first position is %lld, that is %lld",
                       (long long)header->begin_pos, (long long)check->first_pos);
        report(index, check, true, 16, -1, text);
    }
    if (check->last_pos != header->end_pos && !index->verify->files->in_use) {
        (void)snprintf(text, sizeof text, "the header's last position is %lld, that is %lld",
                       (long long)header->end_pos, (long long)check->last_pos);
        report(index, check, true, 24, -1, text);
    }
}

/* All entries of the file have been looked at. */
static void check_close(struct verify_index *index, struct index_check *check)
{
    if (check->fd != -1 && check->usable) {
        check_slots(index, check);
        check_header(index, check);
    }
    close_file(index, check);
    if (check->more > 0) {
        char text[80];
        (void)snprintf(text, sizeof text, "%lld more places are wrong", (long long)check->more);
        check->alike = 0;
        check->more = 0;
        report(index, check, true, -1, -1, text);
    }
}

void verify_index_finish(struct verify_index *index)
{
    if (index->count == 0)
        return;
    struct index_check *check = NULL;
    for (const uint8_t *entry = peek(index, &check); entry != NULL; entry = peek(index, &check))
        take_orphan(index, check, entry);
    if (index->unindexed == 0)
        return;
    struct verify_place place = PLACE_NONE;
    place.pos = index->unindexed_pos;
    verify_report(index->verify, false, "index", &place,
                  "%lld messages cannot be found by all of their keys; the last stands at %lld",
                  (long long)index->unindexed, (long long)index->unindexed_last_pos);
}
