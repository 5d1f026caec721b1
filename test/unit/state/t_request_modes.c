/* SPDX-License-Identifier: Apache-2.0
 *
 * Request modes: set, changed, read back from the file, whose form is 5.3.3's; names that can not
 * be are refused, and the table is bounded.
 */
#include "broker/state/request_modes.h"

#include "common/base/limits.h"
#include "common/sys/log.h"
#include "state_test.h"

static struct request_modes *open_modes(const char *path)
{
    struct request_modes *modes = NULL;
    struct err err = {.text = ""};
    if (request_modes_load(path, vfs_posix(), &modes, &err) != STATUS_OK)
        fail_msg("%s", err.text);
    return modes;
}

static void put(struct request_modes *modes, const char *topic, const char *group, bool pop,
                int share)
{
    struct request_mode mode = {pop, share};
    assert_int_equal(request_modes_put(modes, slice_of_cstr(topic), slice_of_cstr(group), &mode),
                     STATUS_OK);
}

static void assert_mode(const struct request_modes *modes, const char *topic, const char *group,
                        bool pop, int share)
{
    struct request_mode mode;
    assert_true(request_modes_get(modes, slice_of_cstr(topic), slice_of_cstr(group), &mode));
    assert_int_equal(mode.pop, pop);
    assert_int_equal(mode.share_queues, share);
}

static void modes_outlive_the_process(void **state)
{
    (void)state;
    struct folder folder;
    char path[PATH_BYTES];
    struct err err = {.text = ""};
    struct request_mode mode;
    folder_make(&folder);
    (void)folder_file(&folder, "config/messageRequestMode.json", path);
    struct request_modes *modes = open_modes(path);
    assert_false(request_modes_get(modes, SLICE_LITERAL("T"), SLICE_LITERAL("G"), &mode));
    put(modes, "T", "G", true, 3);
    put(modes, "T", "H", false, 0);
    put(modes, "TT", "G", true, -1);
    put(modes, "T", "G", true, 4);
    assert_int_equal(request_modes_persist(modes, &err), STATUS_OK);
    request_modes_free(modes);

    modes = open_modes(path);
    assert_mode(modes, "T", "G", true, 4);
    assert_mode(modes, "T", "H", false, 0);
    assert_mode(modes, "TT", "G", true, -1);
    assert_false(request_modes_get(modes, SLICE_LITERAL("TT"), SLICE_LITERAL("H"), &mode));
    request_modes_free(modes);
    folder_remove(&folder);
}

static void a_file_of_java_is_read(void **state)
{
    (void)state;
    struct folder folder;
    char path[PATH_BYTES];
    folder_make(&folder);
    (void)folder_file(&folder, "messageRequestMode.json", path);
    file_write(path, "{\n\t\"messageRequestModeMap\":{\n\t\t\"T\":{\n\t\t\t\"G\":{\n"
                     "\t\t\t\t\"consumerGroup\":\"G\",\n\t\t\t\t\"mode\":\"POP\",\n"
                     "\t\t\t\t\"popShareQueueNum\":8,\n\t\t\t\t\"topic\":\"T\"\n"
                     "\t\t\t}\n\t\t}\n\t}\n}");
    struct request_modes *modes = open_modes(path);
    assert_mode(modes, "T", "G", true, 8);
    request_modes_free(modes);
    folder_remove(&folder);
}

static void names_and_numbers_are_bounded(void **state)
{
    (void)state;
    struct folder folder;
    char path[PATH_BYTES];
    char topic[32];
    char group[GROUP_BYTES_MAX + 1];
    struct request_mode mode = {true, 0};
    enum status status = STATUS_OK;
    folder_make(&folder);
    (void)folder_file(&folder, "messageRequestMode.json", path);
    struct request_modes *modes = open_modes(path);
    memset(group, 'g', sizeof group);
    assert_int_equal(
        request_modes_put(modes, SLICE_LITERAL("T"), slice_of(group, sizeof group), &mode),
        STATUS_INVALID);
    assert_int_equal(request_modes_put(modes, SLICE_EMPTY, SLICE_LITERAL("G"), &mode),
                     STATUS_INVALID);
    for (int i = 0; status == STATUS_OK && i <= REQUEST_MODES_MAX; i++) {
        (void)snprintf(topic, sizeof topic, "T%d", i);
        status = request_modes_put(modes, slice_of_cstr(topic), SLICE_LITERAL("G"), &mode);
        assert_int_equal(status, i < REQUEST_MODES_MAX ? STATUS_OK : STATUS_BUSY);
    }
    put(modes, "T7", "G", false, 0); /* those that are there can be changed */
    request_modes_free(modes);
    folder_remove(&folder);
}

int main(void)
{
    log_set_level(LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(modes_outlive_the_process),
        cmocka_unit_test(a_file_of_java_is_read),
        cmocka_unit_test(names_and_numbers_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
