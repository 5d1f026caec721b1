/* SPDX-License-Identifier: Apache-2.0
 *
 * Stores for tests.
 */
#include "test/unit/support/store_kit.h"

#include "common/base/arena.h"
#include "common/base/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WAIT_MS 60000

/* --- the file layer --- */

static struct kit_vfs *kit_of(struct vfs *vfs)
{
    return (struct kit_vfs *)(void *)vfs;
}

static const struct vfs_ops *real(void)
{
    return vfs_posix()->ops;
}

static bool hits(struct kit_vfs *kit, _Atomic int *target, int fd)
{
    int wanted = atomic_load(target);
    if (wanted == KIT_NOTHING)
        return false;
    return wanted == KIT_EVERYTHING ||
           (fd < KIT_DESCRIPTORS && wanted == atomic_load(&kit->kinds[fd]));
}

static int kind_of(const char *path)
{
    if (strstr(path, "/commitlog/") != NULL)
        return KIT_COMMIT_LOG;
    return strstr(path, "/consumequeue/") != NULL ? KIT_QUEUES : KIT_EVERYTHING;
}

static enum status kit_open_file(struct vfs *vfs, const char *path, int flags, int *fd)
{
    struct kit_vfs *kit = kit_of(vfs);
    int kind = kind_of(path);
    if (atomic_load(&kit->open_target) == kind) {
        errno = EMFILE;
        return STATUS_BUSY;
    }
    enum status status = real()->open(vfs, path, flags, fd);
    if (status == STATUS_OK && *fd < KIT_DESCRIPTORS)
        atomic_store(&kit->kinds[*fd], kind);
    if (status == STATUS_OK && kind == KIT_QUEUES) {
        int64_t now = atomic_fetch_add(&kit->queue_descriptors, 1) + 1;
        int64_t top = atomic_load(&kit->queue_descriptors_top);
        while (now > top && !atomic_compare_exchange_weak(&kit->queue_descriptors_top, &top, now))
            continue;
    }
    return status;
}

static enum status kit_close_file(struct vfs *vfs, int fd)
{
    struct kit_vfs *kit = kit_of(vfs);
    if (fd < KIT_DESCRIPTORS && atomic_load(&kit->kinds[fd]) == KIT_QUEUES)
        atomic_fetch_sub(&kit->queue_descriptors, 1);
    return real()->close(vfs, fd);
}

static enum status kit_pwritev(struct vfs *vfs, int fd, const struct iovec *parts, int count,
                               int64_t offset)
{
    struct kit_vfs *kit = kit_of(vfs);
    if (fd < KIT_DESCRIPTORS && atomic_load(&kit->kinds[fd]) == KIT_COMMIT_LOG)
        atomic_fetch_add(&kit->writes, 1);
    if (!hits(kit, &kit->write_target, fd))
        return real()->pwritev(vfs, fd, parts, count, offset);
    struct iovec torn = parts[0];
    size_t bytes = (size_t)atomic_load(&kit->write_torn);
    if (bytes < torn.iov_len)
        torn.iov_len = bytes;
    if (bytes > 0)
        (void)real()->pwritev(vfs, fd, &torn, 1, offset);
    errno = atomic_load(&kit->write_errno);
    return errno == ENOSPC ? STATUS_FULL : STATUS_IO;
}

static enum status kit_fdatasync(struct vfs *vfs, int fd)
{
    struct kit_vfs *kit = kit_of(vfs);
    if (hits(kit, &kit->sync_target, fd)) {
        errno = EIO;
        return STATUS_IO;
    }
    enum status status = real()->fdatasync(vfs, fd);
    if (status == STATUS_OK && fd < KIT_DESCRIPTORS &&
        atomic_load(&kit->kinds[fd]) == KIT_COMMIT_LOG)
        atomic_fetch_add(&kit->syncs, 1);
    return status;
}

static enum status kit_sync_filesystem(struct vfs *vfs, int fd)
{
    struct kit_vfs *kit = kit_of(vfs);
    if (atomic_load(&kit->sync_target) == KIT_QUEUES) {
        errno = EIO;
        return STATUS_IO;
    }
    enum status status = real()->sync_filesystem(vfs, fd);
    if (status == STATUS_OK)
        atomic_fetch_add(&kit->filesystem_syncs, 1);
    return status;
}

static enum status kit_allocate(struct vfs *vfs, int fd, int64_t size)
{
    if (hits(kit_of(vfs), &kit_of(vfs)->allocate_target, fd)) {
        errno = ENOSPC;
        return STATUS_FULL;
    }
    return real()->allocate(vfs, fd, size);
}

static enum status kit_unlink(struct vfs *vfs, const char *path)
{
    struct kit_vfs *kit = kit_of(vfs);
    if (atomic_load(&kit->unlink_target) != kind_of(path))
        return real()->unlink(vfs, path);
    atomic_fetch_add(&kit->unlink_failures, 1);
    errno = EPERM;
    return STATUS_IO;
}

static enum status kit_space(struct vfs *vfs, const char *path, struct vfs_space *out)
{
    int percent = atomic_load(&kit_of(vfs)->space_percent);
    if (percent == 0)
        return real()->space(vfs, path, out);
    if (percent < 0)
        return STATUS_IO;
    out->total_bytes = INT64_C(1000000);
    out->free_bytes = out->total_bytes / 100 * (100 - percent);
    return STATUS_OK;
}

static enum status kit_map(struct vfs *vfs, int fd, size_t size, bool writable, void **memory)
{
    struct kit_vfs *kit = kit_of(vfs);
    enum status status = real()->map(vfs, fd, size, writable, memory);
    for (size_t i = 0; status == STATUS_OK && i < KIT_MAPS; i++) {
        uintptr_t unused = 0;
        if (!atomic_compare_exchange_strong(&kit->maps[i].memory, &unused, (uintptr_t)*memory))
            continue;
        atomic_store(&kit->maps[i].kind,
                     fd < KIT_DESCRIPTORS ? atomic_load(&kit->kinds[fd]) : KIT_NOTHING);
        atomic_store(&kit->maps[i].size, size);
        break;
    }
    return status;
}

static enum status kit_unmap(struct vfs *vfs, void *memory, size_t size)
{
    struct kit_vfs *kit = kit_of(vfs);
    for (size_t i = 0; i < KIT_MAPS; i++) {
        if (atomic_load(&kit->maps[i].memory) != (uintptr_t)memory)
            continue;
        atomic_store(&kit->maps[i].size, 0);
        atomic_store(&kit->maps[i].memory, 0);
        break;
    }
    return real()->unmap(vfs, memory, size);
}

static enum status kit_resident(struct vfs *vfs, const void *memory, size_t size, uint8_t *pages)
{
    struct kit_vfs *kit = kit_of(vfs);
    atomic_fetch_add(&kit->asked, 1);
    int target = atomic_load(&kit->cold_target);
    if (target == KIT_NOTHING)
        return real()->resident(vfs, memory, size, pages);
    size_t page_bytes = vfs_page_bytes();
    memset(pages, 1, (size + page_bytes - 1) / page_bytes);
    for (size_t i = 0; i < KIT_MAPS; i++) {
        uintptr_t begin = atomic_load(&kit->maps[i].memory);
        size_t offset = (uintptr_t)memory - begin;
        if (begin == 0 || (uintptr_t)memory < begin || offset >= atomic_load(&kit->maps[i].size))
            continue;
        if (target != KIT_EVERYTHING && target != atomic_load(&kit->maps[i].kind))
            continue;
        for (size_t page = 0; page * page_bytes < size; page++)
            if ((int64_t)(offset + page * page_bytes) >= atomic_load(&kit->cold_from))
                pages[page] = 0;
    }
    return STATUS_OK;
}

static enum status kit_pread(struct vfs *vfs, int fd, void *data, size_t size, int64_t offset,
                             size_t *got)
{
    struct kit_vfs *kit = kit_of(vfs);
    if (fd < KIT_DESCRIPTORS && atomic_load(&kit->kinds[fd]) == KIT_COMMIT_LOG) {
        atomic_fetch_add(&kit->reading, 1);
        while (atomic_load(&kit->read_held)) {
            struct timespec pause = {0, 1000000};
            (void)nanosleep(&pause, NULL);
        }
    }
    if (hits(kit, &kit->read_target, fd) && offset < atomic_load(&kit->read_bad_to) &&
        offset + (int64_t)size > atomic_load(&kit->read_bad_from)) {
        errno = EIO;
        return STATUS_IO;
    }
    return real()->pread(vfs, fd, data, size, offset, got);
}

static void kit_vfs_init(struct kit_vfs *kit)
{
    memset(kit, 0, sizeof *kit);
    kit->ops = *real();
    kit->ops.open = kit_open_file;
    kit->ops.close = kit_close_file;
    kit->ops.pwritev = kit_pwritev;
    kit->ops.fdatasync = kit_fdatasync;
    kit->ops.sync_filesystem = kit_sync_filesystem;
    kit->ops.allocate = kit_allocate;
    kit->ops.space = kit_space;
    kit->ops.unlink = kit_unlink;
    kit->ops.map = kit_map;
    kit->ops.unmap = kit_unmap;
    kit->ops.resident = kit_resident;
    kit->ops.pread = kit_pread;
    kit->vfs.ops = &kit->ops;
    atomic_store(&kit->write_errno, ENOSPC);
}

/* --- time --- */

static int64_t kit_wall_ms(void *ctx)
{
    struct kit *kit = ctx;
    int64_t set = atomic_load(&kit->wall_ms);
    return set != 0 ? set : clock_wall_ms(clock_real());
}

static int64_t kit_monotonic_ns(void *ctx)
{
    (void)ctx;
    return clock_monotonic_ns(clock_real());
}

/* --- life --- */

static const int64_t delay_levels_ms[] = {1000,   2000,   3000,    30000,   60000,   120000,
                                          180000, 240000, 300000,  360000,  420000,  480000,
                                          540000, 600000, 1200000, 1800000, 3600000, 7200000};

void kit_init(struct kit *kit, const char *test)
{
    memset(kit, 0, sizeof *kit);
    folder_make(test, kit->folder);
    (void)snprintf(kit->root, sizeof kit->root, "%s/store", kit->folder);
    (void)snprintf(kit->commit_log, sizeof kit->commit_log, "%s/commitlog", kit->root);
    kit_vfs_init(&kit->vfs);
    kit->clock = (struct clock){kit_wall_ms, kit_monotonic_ns, kit};
    kit->options = (struct store_options){
        .root = kit->root,
        .commit_log = kit->commit_log,
        .segment_bytes = 65536,
        .queue_file_bytes = 600,
        .index_slots = 64,
        .index_entries = 256,
        .index_enable = true,
        .record_bytes_max = 4 * 1024 * 1024,
        .check_crc_on_recover = true,
        .role = STORE_ROLE_MASTER,
        .flush = STORE_FLUSH_ASYNC,
        .flush_interval_ms = 3600000,
        .flush_timed = true,
        .flush_least_pages = 4,
        .flush_queues_least_pages = 2,
        .flush_thorough_interval_ms = 3600000,
        .flush_queues_interval_ms = 3600000,
        .flush_queues_thorough_interval_ms = 3600000,
        .checkpoint_bytes = INT64_C(1) << 40,
        .file_reserved_hours = 72,
        .delete_when = "04",
        .disk_max_used_percent = 75,
        .clean_forcibly = true,
        .redelete_hanged_file_interval_ms = 120000,
        .clean_interval_ms = 3600000,
        .delay_levels_ms = delay_levels_ms,
        .delay_level_count = sizeof delay_levels_ms / sizeof delay_levels_ms[0],
        .memory_bytes_hot = INT64_C(1) << 30,
        .transfer_bytes_memory = 262144,
        .transfer_count_memory = 32,
        .transfer_bytes_disk = 65536,
        .transfer_count_disk = 8,
    };
}

void kit_init_copy(struct kit *kit, const char *test, const char *source)
{
    kit_init(kit, test);
    kit_copy(source, kit->root);
}

void kit_open(struct kit *kit)
{
    struct err err = {.text = ""};
    enum status status = store_open(&kit->options, &kit->vfs.vfs, &kit->clock, &kit->store, &err);
    if (status != STATUS_OK)
        print_error("store_open: %s\n", err.text);
    assert_int_equal(status, STATUS_OK);
    kit->batch = append_batch_new(kit->store);
}

void kit_start(struct kit *kit)
{
    kit_open(kit);
    struct err err;
    assert_int_equal(store_start(kit->store, &err), STATUS_OK);
}

void kit_close(struct kit *kit)
{
    append_batch_free(kit->batch);
    store_close(kit->store);
    kit->batch = NULL;
    kit->store = NULL;
}

void kit_open_fails(struct kit *kit, enum status status, const char *text)
{
    struct err err = {.text = ""};
    struct store *store = NULL;
    CHECK(text != NULL);
    assert_int_equal(store_open(&kit->options, &kit->vfs.vfs, &kit->clock, &store, &err), status);
    if (strstr(err.text, text) == NULL)
        print_error("expected \"%s\" in: %s\n", text, err.text);
    assert_non_null(strstr(err.text, text));
}

void kit_release(struct kit *kit)
{
    if (kit->store != NULL)
        kit_close(kit);
    folder_remove(kit->folder);
}

/* --- messages --- */

struct record kit_record(struct slice topic, int32_t id, struct slice body, struct slice properties)
{
    return (struct record){
        .queue_id = id,
        .born_timestamp_ms = clock_wall_ms(clock_real()),
        .born_host = {.ip = {127, 0, 0, 1}, .ip_bytes = 4, .port = 1234},
        .store_host = {.ip = {127, 0, 0, 1}, .ip_bytes = 4, .port = 10911},
        .body = body,
        .topic = topic,
        .properties = properties,
    };
}

struct append_result kit_put(struct kit *kit, const char *topic, int32_t id, const char *body,
                             const char *properties)
{
    struct record record =
        kit_record(slice_of_cstr(topic), id, slice_of_cstr(body), slice_of_cstr(properties));
    append_batch_clear(kit->batch);
    assert_int_equal(append_batch_add(kit->batch, kit_queue(kit, topic, id), &record, false, kit),
                     STATUS_OK);
    return *store_append(kit->store, kit->batch);
}

void kit_put_many(struct kit *kit, const char *topic, int32_t id, size_t body_bytes, int count)
{
    uint8_t *body = malloc(body_bytes);
    assert_non_null(body);
    append_batch_clear(kit->batch);
    for (int i = 0; i < count; i++) {
        memset(body, 'a' + i % 26, body_bytes);
        struct record record = kit_record(slice_of_cstr(topic), id, slice_of(body, body_bytes),
                                          slice_of_cstr("TAGS\001t"));
        assert_int_equal(
            append_batch_add(kit->batch, kit_queue(kit, topic, id), &record, false, NULL),
            STATUS_OK);
    }
    const struct append_result *results = store_append(kit->store, kit->batch);
    for (int i = 0; i < count; i++)
        assert_int_equal(results[i].status, PUT_OK);
    free(body);
}

struct queue *kit_queue(struct kit *kit, const char *topic, int32_t id)
{
    struct queue *queue = store_queue(kit->store, slice_of_cstr(topic), id, true);
    assert_non_null(queue);
    return queue;
}

void kit_wait(bool (*condition)(void *ctx), void *ctx)
{
    int64_t deadline_ms = clock_monotonic_ms(clock_real()) + WAIT_MS;
    while (!condition(ctx)) {
        if (clock_monotonic_ms(clock_real()) > deadline_ms)
            fail_msg("the condition waited for did not come true");
        struct timespec pause = {0, 1000000};
        (void)nanosleep(&pause, NULL);
    }
}

static bool all_dispatched(void *ctx)
{
    struct kit *kit = ctx;
    return store_dispatched_pos(kit->store) == store_appended_pos(kit->store);
}

void kit_dispatched(struct kit *kit)
{
    kit_wait(all_dispatched, kit);
}

/* Check the records of one range; returns how many. */
static int64_t check_range(const struct queue *queue, struct slice rest, int64_t next_offset)
{
    int64_t count = 0;
    while (rest.size > 0) {
        struct record record;
        assert_int_equal(record_decode(rest, RECORD_CHECK_CRC, &record), STATUS_OK);
        assert_int_equal(record.queue_offset, next_offset + count);
        assert_int_equal(record.queue_id, queue_id(queue));
        assert_true(slice_equal(record.topic, queue_topic(queue)));
        rest = slice_from(rest, (size_t)record.size);
        count++;
    }
    return count;
}

int64_t kit_read_queue(struct kit *kit, struct queue *queue, int64_t from)
{
    struct arena arena;
    arena_init(&arena, 4096);
    int64_t next = from;
    for (;;) {
        struct get_result got;
        store_get(kit->store, queue, next, 32, NULL, NULL, &arena, &got);
        if (got.status != GET_FOUND)
            break;
        int64_t at = next;
        size_t bytes = 0;
        for (int i = 0; i < got.range_count; i++) {
            at += check_range(queue, slice_of(got.ranges[i].data, got.ranges[i].size), at);
            bytes += got.ranges[i].size;
            log_range_release(&got.ranges[i]);
        }
        assert_int_equal(at, got.next_begin_offset);
        assert_int_equal(at - next, got.count);
        assert_int_equal(bytes, got.bytes);
        next = at;
        arena_reset(&arena);
    }
    arena_release(&arena);
    return next - from;
}

/* --- files --- */

void kit_path(const struct kit *kit, const char *name, char path[256])
{
    (void)snprintf(path, 256, "%s/%s", kit->root, name);
}

void kit_remove(const struct kit *kit, const char *name)
{
    char path[256];
    kit_path(kit, name, path);
    folder_remove(path);
}

void kit_crash(const struct kit *kit, struct kit *after)
{
    kit_init_copy(after, "crash", kit->root);
    struct store_options options = kit->options;
    options.root = after->root;
    options.commit_log = after->commit_log;
    after->options = options;
}

void kit_copy(const char *from, const char *to)
{
    pid_t pid = fork();
    assert_true(pid != -1);
    if (pid == 0) {
        (void)execlp("cp", "cp", "-R", from, to, (char *)NULL);
        _exit(127);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

void kit_poke(const char *path, int64_t at, const void *bytes, size_t size)
{
    int fd = open(path, O_WRONLY);
    assert_true(fd != -1);
    assert_int_equal(pwrite(fd, bytes, size, at), size);
    assert_int_equal(close(fd), 0);
}

void kit_resize(const char *path, int64_t size)
{
    assert_int_equal(truncate(path, size), 0);
}

bool kit_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}
