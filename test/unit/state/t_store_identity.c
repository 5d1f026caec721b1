/* SPDX-License-Identifier: Apache-2.0
 *
 * The identity of a store: made once and random, kept through saves, read from the .bak when the
 * file is damaged, refused with the mend when neither is good.
 * Rules: broker/state/store_identity.h.
 */
#include "broker/state/store_identity.h"

#include "common/sys/log.h"
#include "state_test.h"

static int setup(void **state)
{
    static struct folder folder;
    folder_make(&folder);
    log_set_level((enum log_level)(-1));
    *state = &folder;
    return 0;
}

static int teardown(void **state)
{
    folder_remove(*state);
    return 0;
}

static enum status load(const struct folder *folder, struct store_identity *out, struct err *err)
{
    return store_identity_load(folder->path, vfs_posix(), out, err);
}

static void save(const struct folder *folder, const struct store_identity *identity)
{
    struct err err = {.text = ""};
    if (store_identity_save(folder->path, vfs_posix(), identity, &err) != STATUS_OK)
        fail_msg("%s", err.text);
}

static void it_is_made_and_kept(void **state)
{
    struct store_identity made;
    struct store_identity other;
    struct store_identity found;
    struct err err;
    assert_int_equal(load(*state, &found, &err), STATUS_NOT_FOUND);
    store_identity_make(&made, "c", "b");
    store_identity_make(&other, "c", "b");
    assert_true(store_id_is_valid(made.id));
    assert_string_not_equal(made.id, other.id);
    made.use = STORE_USE_SLAVE;
    process_machine_boot(made.machine_boot);
    for (int i = 0; i < 2; i++) {
        save(*state, &made);
        assert_int_equal(load(*state, &found, &err), STATUS_OK);
        assert_string_equal(found.id, made.id);
        assert_string_equal(found.cluster_name, "c");
        assert_string_equal(found.broker_name, "b");
        assert_string_equal(found.machine_boot, made.machine_boot);
        assert_int_equal(found.use, made.use);
        made.use = STORE_USE_MASTER;
    }
}

static void a_damaged_one(void **state)
{
    char path[PATH_BYTES];
    struct store_identity made;
    struct store_identity found;
    struct err err;
    store_identity_make(&made, "c", "b");
    save(*state, &made);
    save(*state, &made); /* the .bak, too */
    file_write(folder_file(*state, "storeIdentity.json", path), "{\"id\":");
    assert_int_equal(load(*state, &found, &err), STATUS_OK);
    assert_string_equal(found.id, made.id);
    file_write(folder_file(*state, "storeIdentity.json.bak", path), "");
    assert_int_equal(load(*state, &found, &err), STATUS_CORRUPT);
    file_write(folder_file(*state, "storeIdentity.json", path),
               "{\"brokerName\":\"b\",\"clusterName\":\"c\",\"id\":\"12\",\"machineBoot\":\"\","
               "\"role\":\"master\"}");
    assert_int_equal(load(*state, &found, &err), STATUS_CORRUPT);
    assert_non_null(strstr(err.text, "delete it to have this store begin with another identity"));
}

static void what_is_a_uuid(void **state)
{
    (void)state;
    assert_true(store_id_is_valid("0c5c1ab3-5a38-4c4e-9a6e-1f2d3c4b5a69"));
    assert_false(store_id_is_valid("0c5c1ab3-5a38-4c4e-9a6e-1f2d3c4b5a6"));
    assert_false(store_id_is_valid("0c5c1ab3-5a38-4c4e-9a6e-1f2d3c4b5a6g"));
    assert_false(store_id_is_valid("0c5c1ab3x5a38-4c4e-9a6e-1f2d3c4b5a69"));
    assert_false(store_id_is_valid(""));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(it_is_made_and_kept),
        TEST(a_damaged_one),
        TEST(what_is_a_uuid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
