/* SPDX-License-Identifier: Apache-2.0
 *
 * `rules` is replaced under `lock`, and `version` counted up with it; a view that has another
 * version takes the lock for the moment that a pointer and a count need. `file_lock` is held from
 * reading the file to replacing it, so that of two commands neither is lost, and guards what is
 * known of the file's content.
 */
#include "broker/access/access_control.h"

#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/sys/log.h"
#include "common/sys/private_file.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

/* A file that was written a moment ago may not be whole yet: half of it could be good YAML that
 * lacks accounts. The next look finds it settled. */
#define SETTLE_MS 100

struct access_control {
    char *path;
    struct vfs *vfs;
    const struct clock *clock;

    pthread_mutex_t lock; /* docs/locks.md: access_control */
    struct access_rules *rules;
    _Atomic uint64_t version;

    pthread_mutex_t file_lock; /* docs/locks.md: access_control.file_lock */
    uint64_t content;          /* hash of what was read last, good or bad */
    bool missing;              /* it could not be read the last time, and that was logged */
};

/* --- the rules --- */

struct access_rules *access_control_rules(struct access_control *control)
{
    CHECK(pthread_mutex_lock(&control->lock) == 0);
    struct access_rules *rules = control->rules;
    access_rules_hold(rules);
    CHECK(pthread_mutex_unlock(&control->lock) == 0);
    return rules;
}

const struct access_rules *access_view_rules(struct access_view *view,
                                             struct access_control *control)
{
    uint64_t version = atomic_load_explicit(&control->version, memory_order_acquire);
    if (view->signer == NULL) {
        view->signer = signer_new();
        CHECK(view->signer != NULL); /* access_control_open has seen that there are some */
    }
    if (view->version != version) {
        access_rules_release(view->rules);
        view->rules = access_control_rules(control); /* of this version, or a newer one */
        view->version = version;
    }
    return view->rules;
}

void access_view_release(struct access_view *view)
{
    access_rules_release(view->rules);
    signer_free(view->signer);
    *view = (struct access_view){0};
}

/* Takes the reference. Of a file without a version the last one stays, as in 4.9.2. */
static void install(struct access_control *control, struct access_rules *rules)
{
    if (!rules->has_version) {
        rules->counter = control->rules == NULL ? 0 : control->rules->counter;
        rules->timestamp_ms =
            control->rules == NULL ? clock_wall_ms(control->clock) : control->rules->timestamp_ms;
    }
    CHECK(pthread_mutex_lock(&control->lock) == 0);
    struct access_rules *before = control->rules;
    control->rules = rules;
    atomic_fetch_add_explicit(&control->version, 1, memory_order_release);
    CHECK(pthread_mutex_unlock(&control->lock) == 0);
    access_rules_release(before);
    log_info("access", "rules taken over", "file=%s accounts=%zu counter=%lld", control->path,
             rules->accounts.count, (long long)rules->counter);
}

/* --- the file --- */

static enum status read_file(const struct access_control *control, char **data, size_t *size,
                             struct err *err)
{
    enum status status = vfs_read_file(control->vfs, control->path, ACL_FILE_BYTES_MAX, data, size);
    if (status == STATUS_TOO_LARGE)
        return err_set(err, status, "%s: the file is larger than %d bytes", control->path,
                       ACL_FILE_BYTES_MAX);
    if (status != STATUS_OK)
        return err_set_errno(err, status, "%s cannot be read", control->path);
    return STATUS_OK;
}

static enum status load(struct access_control *control, struct access_rules **rules,
                        struct err *err)
{
    char *data = NULL;
    size_t size = 0;
    struct signer *probe = signer_new();
    if (probe == NULL)
        return err_set(err, STATUS_UNSUPPORTED,
                       "OpenSSL on this machine offers no HMAC-SHA1, with which clients sign");
    signer_free(probe);
    enum status status = read_file(control, &data, &size, err);
    if (status != STATUS_OK)
        return status;
    control->content = hash_bytes(slice_of(data, size));
    status = acl_file_read(slice_of(data, size), control->path, rules, err);
    free(data);
    return status;
}

enum status access_control_check(const char *path, struct vfs *vfs, struct err *err)
{
    struct access_control control = {.path = (char *)(uintptr_t)path, .vfs = vfs};
    struct access_rules *rules = NULL;
    enum status status = load(&control, &rules, err);
    access_rules_release(rules);
    return status;
}

enum status access_control_open(const char *path, struct vfs *vfs, const struct clock *clock,
                                struct access_control **out, struct err *err)
{
    struct access_control *control = xcalloc(1, sizeof *control);
    control->path = xstrdup(path);
    control->vfs = vfs;
    control->clock = clock;
    CHECK(pthread_mutex_init(&control->lock, NULL) == 0);
    CHECK(pthread_mutex_init(&control->file_lock, NULL) == 0);
    struct access_rules *rules = NULL;
    enum status status = load(control, &rules, err);
    if (status == STATUS_OK) {
        install(control, rules);
        *out = control;
    } else {
        access_control_free(control);
    }
    return status;
}

void access_control_free(struct access_control *control)
{
    if (control == NULL)
        return;
    access_rules_release(control->rules);
    CHECK(pthread_mutex_destroy(&control->lock) == 0);
    CHECK(pthread_mutex_destroy(&control->file_lock) == 0);
    free(control->path);
    free(control);
}

const char *access_control_path(const struct access_control *control)
{
    return control->path;
}

static void lock_file(struct access_control *control)
{
    CHECK(pthread_mutex_lock(&control->file_lock) == 0);
}

static void unlock_file(struct access_control *control)
{
    CHECK(pthread_mutex_unlock(&control->file_lock) == 0);
}

static void complain(const char *text)
{
    log_error("access", "rules not taken over, the former ones go on", "cause=\"%s\"", text);
}

/* With the file's lock held. */
static void reload(struct access_control *control)
{
    char *data = NULL;
    size_t size = 0;
    struct err err = {0};
    struct access_rules *rules = NULL;
    if (read_file(control, &data, &size, &err) != STATUS_OK) {
        if (!control->missing)
            complain(err.text);
        control->missing = true;
        return;
    }
    uint64_t content = hash_bytes(slice_of(data, size));
    control->missing = false;
    if (content != control->content) {
        control->content = content;
        if (acl_file_read(slice_of(data, size), control->path, &rules, &err) == STATUS_OK)
            install(control, rules);
        else
            complain(err.text);
    }
    free(data);
}

static bool is_settled(const struct access_control *control)
{
    struct vfs_stat st;
    if (control->vfs->ops->stat(control->vfs, control->path, &st) != STATUS_OK)
        return true; /* reading it will say why */
    int64_t age_ms = clock_wall_ms(control->clock) - st.mtime_ms;
    return age_ms < 0 || age_ms >= SETTLE_MS;
}

void access_control_reload(struct access_control *control)
{
    lock_file(control);
    if (is_settled(control))
        reload(control);
    unlock_file(control);
}

/* --- changes --- */

/* One of the three, and what it is about. */
struct change {
    const struct acl_account *account;
    const char *deleted;
    const char *white;
};

static enum status edit(const struct access_control *control, const struct change *change,
                        struct slice text, struct buf *out, struct err *err)
{
    struct acl_version version = {control->rules->counter + 1, clock_wall_ms(control->clock)};
    if (change->account != NULL)
        return acl_file_put_account(text, control->path, change->account, version, out, err);
    if (change->deleted != NULL)
        return acl_file_delete_account(text, control->path, change->deleted, version, out, err);
    return acl_file_set_white(text, control->path, change->white, version, out, err);
}

/* Nothing is written that could not be read again. With the file's lock held. */
static enum status write_change(struct access_control *control, struct slice text, struct err *err)
{
    struct access_rules *rules = NULL;
    enum status status = acl_file_read(text, control->path, &rules, err);
    if (status != STATUS_OK)
        return status;
    status = private_file_replace(control->path, text.data, text.size, err);
    if (status != STATUS_OK) {
        access_rules_release(rules);
        return status;
    }
    control->content = hash_bytes(text);
    install(control, rules);
    return STATUS_OK;
}

static enum status apply(struct access_control *control, const struct change *change,
                         struct err *err)
{
    char *data = NULL;
    size_t size = 0;
    struct buf out = BUF_EMPTY;
    lock_file(control);
    reload(control); /* the version goes on from what the file says now */
    enum status status = read_file(control, &data, &size, err);
    if (status == STATUS_OK)
        status = edit(control, change, slice_of(data, size), &out, err);
    if (status == STATUS_OK)
        status = write_change(control, buf_slice(&out), err);
    unlock_file(control);
    free(data);
    buf_release(&out);
    return status;
}

enum status access_control_put_account(struct access_control *control,
                                       const struct acl_account *account, struct err *err)
{
    return apply(control, &(struct change){.account = account}, err);
}

enum status access_control_delete_account(struct access_control *control, const char *access_key,
                                          struct err *err)
{
    return apply(control, &(struct change){.deleted = access_key}, err);
}

enum status access_control_set_white(struct access_control *control, const char *addresses,
                                     struct err *err)
{
    return apply(control, &(struct change){.white = addresses}, err);
}
