/* SPDX-License-Identifier: Apache-2.0
 *
 * Access control over a file: what a start wants, that changes of the file are taken over as a
 * whole while others ask, and that of many commands none is lost.
 */
#include "broker/access/access_control.h"

#include "common/sys/thread.h"
#include "test/unit/support/folder.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define CHANGES 50
#define READERS 3

struct fixture {
    char folder[FOLDER_BYTES];
    char path[FOLDER_BYTES + 16];
    struct access_control *control;
    struct err err;
    atomic_bool done;
};

/* So many seconds ago it was written. */
static void set_age(const struct fixture *f, time_t seconds)
{
    const struct timespec then = {.tv_sec = time(NULL) - seconds};
    assert_int_equal(utimensat(AT_FDCWD, f->path, (const struct timespec[2]){then, then}, 0), 0);
}

static void write_text(const struct fixture *f, const char *text)
{
    FILE *file = fopen(f->path, "w");
    assert_non_null(file);
    assert_int_equal(fputs(text, file) < 0, 0);
    assert_int_equal(fclose(file), 0);
    set_age(f, 10);
}

static enum status open_control(struct fixture *f)
{
    return access_control_open(f->path, vfs_posix(), clock_real(), &f->control, &f->err);
}

/* Both accounts, or neither, have rights: one is never seen without the other. */
static void write_pair(const struct fixture *f, const char *perm)
{
    char text[512];
    (void)snprintf(text, sizeof text,
                   "globalWhiteRemoteAddresses: []\n"
                   "accounts:\n"
                   "- {accessKey: account-one, secretKey: secret-one, defaultTopicPerm: %s}\n"
                   "- {accessKey: account-two, secretKey: secret-two, defaultTopicPerm: %s}\n",
                   perm, perm);
    write_text(f, text);
}

static bool may(const struct access_rules *rules, const char *key)
{
    const struct access_account *account = access_rules_account(rules, slice_of_cstr(key));
    return account != NULL && access_account_may(account, SLICE_LITERAL("topic"), ACCESS_PUB);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    folder_make("acl", f->folder);
    (void)snprintf(f->path, sizeof f->path, "%s/acl.yml", f->folder);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    access_control_free(f->control);
    folder_remove(f->folder);
    free(f);
    return 0;
}

static void a_start_wants_a_good_file(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(open_control(f), STATUS_NOT_FOUND);
    assert_non_null(strstr(f->err.text, "acl.yml"));
    write_text(f, "");
    assert_int_equal(open_control(f), STATUS_MALFORMED);
    write_text(f, "accounts:\n- accessKey: short\n");
    assert_int_equal(open_control(f), STATUS_MALFORMED);
    write_pair(f, "PUB");
    assert_int_equal(open_control(f), STATUS_OK);
    assert_string_equal(access_control_path(f->control), f->path);
}

static void a_view_sees_the_newest(void **state)
{
    struct fixture *f = *state;
    struct access_view view = {0};
    write_pair(f, "DENY");
    assert_int_equal(open_control(f), STATUS_OK);
    assert_false(may(access_view_rules(&view, f->control), "account-one"));
    const struct access_rules *same = access_view_rules(&view, f->control);
    assert_ptr_equal(same, access_view_rules(&view, f->control));
    write_pair(f, "PUB");
    assert_false(may(access_view_rules(&view, f->control), "account-one"));
    access_control_reload(f->control);
    assert_true(may(access_view_rules(&view, f->control), "account-one"));
    write_text(f, "accounts: [\n");
    access_control_reload(f->control);
    assert_true(may(access_view_rules(&view, f->control), "account-one"));
    assert_int_equal(unlink(f->path), 0);
    access_control_reload(f->control);
    assert_true(may(access_view_rules(&view, f->control), "account-one"));
    write_pair(f, "DENY");
    access_control_reload(f->control);
    assert_false(may(access_view_rules(&view, f->control), "account-one"));
    access_view_release(&view);
}

/* Wall time as the test says. */
static int64_t fake_now_ms;

static int64_t fake_wall_ms(void *ctx)
{
    (void)ctx;
    return fake_now_ms;
}

static void what_is_being_written_is_left_for_the_next_look(void **state)
{
    struct fixture *f = *state;
    struct access_view view = {0};
    struct vfs_stat st;
    struct clock clock = *clock_real();
    clock.wall_ms = fake_wall_ms;
    write_pair(f, "DENY");
    assert_int_equal(access_control_open(f->path, vfs_posix(), &clock, &f->control, &f->err),
                     STATUS_OK);
    write_pair(f, "PUB");
    assert_int_equal(vfs_posix()->ops->stat(vfs_posix(), f->path, &st), STATUS_OK);
    fake_now_ms = st.mtime_ms + 99;
    access_control_reload(f->control);
    assert_false(may(access_view_rules(&view, f->control), "account-one"));
    fake_now_ms = st.mtime_ms + 100;
    access_control_reload(f->control);
    assert_true(may(access_view_rules(&view, f->control), "account-one"));
    /* A clock that is behind the file's must not keep it for ever. */
    write_pair(f, "DENY");
    fake_now_ms = st.mtime_ms - 10000;
    access_control_reload(f->control);
    assert_false(may(access_view_rules(&view, f->control), "account-one"));
    access_view_release(&view);
}

static void versions_go_on(void **state)
{
    struct fixture *f = *state;
    write_pair(f, "PUB");
    assert_int_equal(open_control(f), STATUS_OK);
    struct access_rules *rules = access_control_rules(f->control);
    assert_int_equal(rules->counter, 0);
    int64_t first_ms = rules->timestamp_ms;
    assert_true(first_ms > 0);
    access_rules_release(rules);
    write_pair(f, "DENY"); /* without a version: nothing of it changes */
    access_control_reload(f->control);
    rules = access_control_rules(f->control);
    assert_int_equal(rules->timestamp_ms, first_ms);
    access_rules_release(rules);
    assert_int_equal(access_control_delete_account(f->control, "account-one", &f->err), STATUS_OK);
    assert_int_equal(access_control_delete_account(f->control, "account-one", &f->err),
                     STATUS_NOT_FOUND);
    assert_int_equal(access_control_set_white(f->control, "10.0.0.1", &f->err), STATUS_OK);
    rules = access_control_rules(f->control);
    assert_int_equal(rules->counter, 2);
    assert_int_equal(rules->accounts.count, 1);
    access_rules_release(rules);
    /* A file with a version of its own. */
    write_text(f, "accounts: []\ndataVersion:\n- {counter: 40, timestamp: 5}\n");
    assert_int_equal(access_control_put_account(f->control,
                                                &(struct acl_account){.access_key = "account-new",
                                                                      .secret_key = "secret-new"},
                                                &f->err),
                     STATUS_OK);
    rules = access_control_rules(f->control);
    assert_int_equal(rules->counter, 41);
    assert_int_equal(rules->accounts.count, 1);
    access_rules_release(rules);
}

static void *read_rules(void *arg)
{
    struct fixture *f = arg;
    struct access_view view = {0};
    while (!atomic_load(&f->done)) {
        const struct access_rules *rules = access_view_rules(&view, f->control);
        if (may(rules, "account-one") != may(rules, "account-two"))
            abort();
    }
    access_view_release(&view);
    return NULL;
}

static void *write_accounts(void *arg)
{
    struct fixture *f = arg;
    struct err err = {0};
    for (int i = 0; i < CHANGES; i++) {
        char key[32];
        (void)snprintf(key, sizeof key, "account-number-%d", i);
        const struct acl_account account = {.access_key = key, .secret_key = "its-secret"};
        if (access_control_put_account(f->control, &account, &err) != STATUS_OK)
            abort();
    }
    return NULL;
}

static void *reload(void *arg)
{
    struct fixture *f = arg;
    while (!atomic_load(&f->done))
        access_control_reload(f->control);
    return NULL;
}

static void many_threads(void **state)
{
    struct fixture *f = *state;
    pthread_t readers[READERS];
    pthread_t reloader;
    pthread_t writer;
    write_pair(f, "PUB");
    assert_int_equal(open_control(f), STATUS_OK);
    for (int i = 0; i < READERS; i++)
        assert_int_equal(thread_start(&readers[i], "reader", read_rules, f, NULL), STATUS_OK);
    assert_int_equal(thread_start(&reloader, "reloader", reload, f, NULL), STATUS_OK);
    assert_int_equal(thread_start(&writer, "writer", write_accounts, f, NULL), STATUS_OK);
    for (int i = 0; i < CHANGES; i++) {
        char addresses[64];
        (void)snprintf(addresses, sizeof addresses, "10.0.0.%d", i);
        assert_int_equal(access_control_set_white(f->control, addresses, &f->err), STATUS_OK);
    }
    thread_join(writer);
    atomic_store(&f->done, true);
    thread_join(reloader);
    for (int i = 0; i < READERS; i++)
        thread_join(readers[i]);
    struct access_rules *rules = access_control_rules(f->control);
    assert_int_equal(rules->accounts.count, 2 + CHANGES);
    assert_int_equal(rules->counter, 2 * CHANGES);
    access_rules_release(rules);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_start_wants_a_good_file, setup, teardown),
        cmocka_unit_test_setup_teardown(a_view_sees_the_newest, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_being_written_is_left_for_the_next_look, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(versions_go_on, setup, teardown),
        cmocka_unit_test_setup_teardown(many_threads, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
