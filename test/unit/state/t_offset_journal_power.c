/* SPDX-License-Identifier: Apache-2.0
 *
 * The power goes off, at every call in turn, while offsets are committed, journaled and saved. Of
 * what was not synced anything may be missing: any sector of any write, any new name, any removal.
 * What had been synced is there after the restart, and never a value from before that.
 * Source: the order at the top of broker/state/offset_journal.c. A seed that is
 * printed on failure is repeated with TEST_SEED.
 */
#include "broker/state/offsets.h"

#include "common/sys/log.h"
#include "state_test.h"
#include "test/unit/support/random.h"

/* --- a disk --- */

#define FOLDER "/store/config" /* is there, durably */
#define FILES 160              /* that ever were */
#define NAMES 8
#define BYTES 16384
#define SECTOR 512
#define PENDING 16

struct file {
    uint8_t now[BYTES]; /* as programs see it */
    uint8_t safe[BYTES];
    size_t now_size;
    size_t safe_size;
};

/* A directory: names of files, -1 for a name that is not there. */
struct names {
    char text[NAMES][PATH_BYTES];
    int file[NAMES];
};

struct disk {
    struct vfs vfs;
    struct vfs_ops ops;
    struct file files[FILES];
    int file_count;
    struct names now;
    struct names pending[PENDING]; /* pending[0] is safe; then after each change, to `now` */
    int pending_count;
    int calls;
    int off_at; /* the power goes off with this call; 0: never */
    bool full;  /* no JSON file can be written; journals can, which are small */
};

static struct disk *disk_of(struct vfs *vfs)
{
    return (struct disk *)(void *)vfs;
}

static bool is_off(struct vfs *vfs)
{
    struct disk *disk = disk_of(vfs);
    disk->calls++;
    errno = EIO;
    return disk->off_at != 0 && disk->calls >= disk->off_at;
}

static int name_at(struct disk *disk, const char *path)
{
    int unused = -1;
    for (int i = 0; i < NAMES; i++) {
        if (strcmp(disk->now.text[i], path) == 0)
            return i;
        if (disk->now.text[i][0] == '\0' && unused < 0)
            unused = i;
    }
    assert_true(unused >= 0);
    (void)snprintf(disk->now.text[unused], PATH_BYTES, "%s", path);
    for (int i = 0; i < disk->pending_count; i++)
        (void)snprintf(disk->pending[i].text[unused], PATH_BYTES, "%s", path);
    return unused;
}

static void names_changed(struct disk *disk)
{
    assert_true(disk->pending_count < PENDING);
    disk->pending[disk->pending_count++] = disk->now;
}

static enum status disk_open(struct vfs *vfs, const char *path, int flags, int *fd)
{
    struct disk *disk = disk_of(vfs);
    if (is_off(vfs))
        return STATUS_IO;
    if (disk->full && strstr(path, ".tmp") != NULL)
        return STATUS_FULL;
    int name = name_at(disk, path);
    if (disk->now.file[name] < 0) {
        if ((flags & VFS_CREATE) == 0)
            return STATUS_NOT_FOUND;
        assert_true(disk->file_count < FILES);
        disk->now.file[name] = disk->file_count++;
        names_changed(disk);
    } else if (flags & VFS_TRUNCATE) {
        struct file *file = &disk->files[disk->now.file[name]];
        memset(file->now, 0, BYTES);
        file->now_size = 0;
    }
    *fd = disk->now.file[name];
    return STATUS_OK;
}

static enum status disk_close(struct vfs *vfs, int fd)
{
    (void)vfs;
    (void)fd;
    return STATUS_OK;
}

static enum status disk_pwritev(struct vfs *vfs, int fd, const struct iovec *parts, int count,
                                int64_t offset)
{
    struct file *file = &disk_of(vfs)->files[fd];
    if (is_off(vfs))
        return STATUS_IO;
    size_t at = (size_t)offset;
    for (int i = 0; i < count; i++) {
        assert_true(at + parts[i].iov_len <= BYTES);
        memcpy(file->now + at, parts[i].iov_base, parts[i].iov_len);
        at += parts[i].iov_len;
    }
    if (at > file->now_size)
        file->now_size = at;
    return STATUS_OK;
}

static enum status disk_pread(struct vfs *vfs, int fd, void *data, size_t size, int64_t offset,
                              size_t *got)
{
    const struct file *file = &disk_of(vfs)->files[fd];
    size_t at = (size_t)offset;
    *got = at >= file->now_size ? 0 : file->now_size - at;
    if (*got > size)
        *got = size;
    memcpy(data, file->now + at, *got);
    return STATUS_OK;
}

static enum status disk_fdatasync(struct vfs *vfs, int fd)
{
    struct file *file = &disk_of(vfs)->files[fd];
    if (is_off(vfs))
        return STATUS_IO;
    memcpy(file->safe, file->now, BYTES);
    file->safe_size = file->now_size;
    return STATUS_OK;
}

static enum status disk_truncate(struct vfs *vfs, int fd, int64_t size)
{
    struct file *file = &disk_of(vfs)->files[fd];
    if (is_off(vfs))
        return STATUS_IO;
    memset(file->now + size, 0, BYTES - (size_t)size);
    file->now_size = (size_t)size;
    return STATUS_OK;
}

static enum status disk_stat(struct vfs *vfs, const char *path, struct vfs_stat *out)
{
    struct disk *disk = disk_of(vfs);
    if (strcmp(path, FOLDER) == 0) {
        *out = (struct vfs_stat){.is_directory = true};
        return STATUS_OK;
    }
    int file = disk->now.file[name_at(disk, path)];
    if (file < 0)
        return STATUS_NOT_FOUND;
    *out = (struct vfs_stat){.size = (int64_t)disk->files[file].now_size};
    return STATUS_OK;
}

static enum status disk_rename(struct vfs *vfs, const char *from, const char *to)
{
    struct disk *disk = disk_of(vfs);
    if (is_off(vfs))
        return STATUS_IO;
    disk->now.file[name_at(disk, to)] = disk->now.file[name_at(disk, from)];
    disk->now.file[name_at(disk, from)] = -1;
    names_changed(disk);
    return STATUS_OK;
}

static enum status disk_unlink(struct vfs *vfs, const char *path)
{
    struct disk *disk = disk_of(vfs);
    if (is_off(vfs))
        return STATUS_IO;
    disk->now.file[name_at(disk, path)] = -1;
    names_changed(disk);
    return STATUS_OK;
}

static enum status disk_sync_directory(struct vfs *vfs, const char *path)
{
    struct disk *disk = disk_of(vfs);
    if (is_off(vfs))
        return STATUS_IO;
    if (strcmp(path, FOLDER) != 0)
        return STATUS_OK; /* the names in it are not concerned */
    disk->pending[0] = disk->now;
    disk->pending_count = 1;
    return STATUS_OK;
}

static void disk_init(struct disk *disk)
{
    memset(disk, 0, sizeof *disk);
    for (int i = 0; i < NAMES; i++)
        disk->now.file[i] = -1;
    names_changed(disk);
    disk->ops = (struct vfs_ops){
        .open = disk_open,
        .close = disk_close,
        .pwritev = disk_pwritev,
        .pread = disk_pread,
        .fdatasync = disk_fdatasync,
        .truncate = disk_truncate,
        .stat = disk_stat,
        .rename = disk_rename,
        .unlink = disk_unlink,
        .sync_directory = disk_sync_directory,
    };
    disk->vfs.ops = &disk->ops;
}

/* Of each name the state after any of the changes since the last sync: changes of different names
 * arrive in any order. But a rename never leaves both names. */
static void lose_names(struct disk *disk, struct random *random)
{
    for (int i = 0; i < NAMES; i++) {
        uint32_t which = random_below(random, (uint32_t)disk->pending_count);
        disk->now.file[i] = disk->pending[which].file[i];
    }
    for (int i = 0; i < NAMES; i++)
        for (int j = 0; j < NAMES; j++)
            if (i != j && disk->now.file[i] == disk->now.file[j] &&
                strstr(disk->now.text[i], ".tmp") != NULL)
                disk->now.file[i] = -1;
    disk->pending[0] = disk->now;
    disk->pending_count = 1;
}

/* Of each sector the safe or the new bytes, and of each file one of the two sizes. */
static void lose_bytes(struct file *file, struct random *random)
{
    if (file->now_size == file->safe_size && memcmp(file->now, file->safe, BYTES) == 0)
        return;
    for (size_t at = 0; at < BYTES; at += SECTOR)
        if (random_below(random, 2) == 0)
            memcpy(file->now + at, file->safe + at, SECTOR);
    if (random_below(random, 2) == 0)
        file->now_size = file->safe_size;
    memset(file->now + file->now_size, 0, BYTES - file->now_size);
    memcpy(file->safe, file->now, BYTES);
    file->safe_size = file->now_size;
}

static void power_cut(struct disk *disk, struct random *random)
{
    lose_names(disk, random);
    for (int i = 0; i < disk->file_count; i++)
        lose_bytes(&disk->files[i], random);
    disk->off_at = 0;
    disk->calls = 0;
}

/* --- offsets --- */

#define QUEUES 40
#define ROUNDS 12
#define SEEDS 20
#define CALLS 60

struct fixture {
    struct disk *disk;
    struct offsets *offsets;
    int64_t now[QUEUES];
    int64_t journaled[QUEUES]; /* at the last step */
    int64_t safe[QUEUES];      /* at the last step that was synced */
};

static void load(struct fixture *f, uint64_t seed)
{
    struct err err = {.text = ""};
    if (offsets_load(FOLDER "/consumerOffset.json", &f->disk->vfs, &f->offsets, &err) != STATUS_OK)
        fail_msg("seed %llu: %s", (unsigned long long)seed, err.text);
}

static int64_t get(const struct fixture *f, int queue)
{
    return offsets_get(f->offsets, SLICE_LITERAL("T"), SLICE_LITERAL("g"), queue);
}

/* Offsets only grow here, so that an old one is seen by its value. */
static void commit_some(struct fixture *f, struct random *random)
{
    for (int i = 0; i < 8; i++) {
        int queue = (int)random_below(random, QUEUES);
        f->now[queue] += 1 + (int64_t)random_below(random, 9);
        assert_int_equal(offsets_commit(f->offsets, SLICE_LITERAL("T"), SLICE_LITERAL("g"), queue,
                                        f->now[queue]),
                         STATUS_OK);
    }
}

/* Until the power goes off, or for so many rounds. */
static void work(struct fixture *f, struct random *random)
{
    struct err err;
    for (int round = 0; round < ROUNDS; round++) {
        commit_some(f, random);
        if (random_below(random, 4) != 0) {
            if (offsets_journal_step(f->offsets, &err) != STATUS_OK)
                return;
            memcpy(f->journaled, f->now, sizeof f->now);
        }
        if (random_below(random, 3) == 0) {
            if (offsets_journal_sync(f->offsets, &err) != STATUS_OK)
                return;
            memcpy(f->safe, f->journaled, sizeof f->safe);
        }
        f->disk->full = random_below(random, 3) == 0;
        if (random_below(random, 3) == 0 && offsets_persist(f->offsets, &err) == STATUS_IO)
            return;
    }
}

static void check(struct fixture *f, uint64_t seed, int off_at)
{
    for (int queue = 0; queue < QUEUES; queue++) {
        int64_t found = get(f, queue);
        if (found < f->safe[queue] || found > f->now[queue])
            fail_msg("seed %llu, off at call %d: offset of queue %d is %lld, not from %lld to %lld",
                     (unsigned long long)seed, off_at, queue, (long long)found,
                     (long long)f->safe[queue], (long long)f->now[queue]);
        f->now[queue] = f->journaled[queue] = f->safe[queue] = found;
    }
}

/* One life that ends at that call, and two more behind it. */
static void lives(struct fixture *f, uint64_t seed, int off_at)
{
    struct random random = {seed + (uint64_t)off_at};
    disk_init(f->disk);
    for (int queue = 0; queue < QUEUES; queue++)
        f->now[queue] = f->journaled[queue] = f->safe[queue] = -1;
    for (int life = 0; life < 3; life++) {
        load(f, seed);
        check(f, seed, off_at);
        f->disk->off_at = life == 0 ? off_at : 1 + (int)random_below(&random, 60);
        f->disk->calls = 0;
        work(f, &random);
        offsets_free(f->offsets);
        power_cut(f->disk, &random);
    }
    load(f, seed);
    check(f, seed, off_at);
    offsets_free(f->offsets);
}

static void what_was_synced_is_there(void **state)
{
    (void)state;
    struct fixture f = {.disk = xcalloc(1, sizeof(struct disk))};
    struct random seeds;
    random_init(&seeds, "what_was_synced_is_there");
    log_set_level((enum log_level) - 1);
    for (int i = 0; i < SEEDS; i++) {
        uint64_t seed = random_u64(&seeds);
        for (int off_at = 1; off_at <= CALLS; off_at++)
            lives(&f, seed, off_at);
    }
    free(f.disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_synced_is_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
