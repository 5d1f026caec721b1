/* SPDX-License-Identifier: Apache-2.0
 *
 * The log file: the form of a line, levels, rotation by size with a fixed number of kept files,
 * reopening after somebody moved the file away, lines of several threads staying whole, and the
 * gate for repeating causes.
 */
#include "common/sys/log.h"

#include "common/sys/thread.h"
#include "test/unit/support/folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[FOLDER_BYTES];

static const char *path_of(const char *name)
{
    static char path[4][128];
    static int next;
    char *out = path[next++ % 4];
    (void)snprintf(out, sizeof path[0], "%s/%s", folder, name);
    return out;
}

static int make_folder(void **state)
{
    (void)state;
    folder_make("t_log", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    log_close();
    folder_remove(folder);
    return 0;
}

static void open_log(int64_t file_bytes, int kept_files, enum log_level level)
{
    struct log_options options = {path_of("log"), file_bytes, kept_files, level};
    struct err err;
    assert_int_equal(log_open(&options, &err), STATUS_OK);
}

/* Static storage; "" for a file that is not there. */
static const char *content(const char *name)
{
    static char text[1 << 20];
    FILE *file = fopen(path_of(name), "r");
    size_t size = 0;
    if (file != NULL) {
        size = fread(text, 1, sizeof text - 1, file);
        (void)fclose(file);
    }
    text[size] = '\0';
    return text;
}

static int64_t file_size(const char *name)
{
    struct stat st;
    return stat(path_of(name), &st) == 0 ? (int64_t)st.st_size : -1;
}

static void a_line_has_time_level_area_text_and_values(void **state)
{
    (void)state;
    open_log(1 << 20, 1, LOG_INFO);
    log_info("store", "segment rolled", "base=%d bytes=%d", 7, 8);
    int year, month, day, hour, minute, second, milli, end = 0;
    const char *text = content("log");
    assert_int_equal(sscanf(text, "%4d-%2d-%2d %2d:%2d:%2d.%3d %n", &year, &month, &day, &hour,
                            &minute, &second, &milli, &end),
                     7);
    assert_int_equal(end, 24);
    assert_string_equal(text + end, "INFO  store segment rolled base=7 bytes=8\n");
}

static void lines_above_the_level_are_left_out(void **state)
{
    (void)state;
    open_log(1 << 20, 1, LOG_WARN);
    log_info("net", "quiet", "a=%d", 1);
    log_warn("net", "loud", "a=%d", 2);
    assert_null(strstr(content("log"), "quiet"));
    assert_non_null(strstr(content("log"), "WARN  net loud a=2\n"));
    log_set_level(LOG_DEBUG);
    log_debug("net", "detail", "a=%d", 3);
    assert_non_null(strstr(content("log"), "DEBUG net detail a=3\n"));
    enum log_level level = LOG_ERROR;
    assert_true(log_level_parse("warn", &level));
    assert_int_equal(level, LOG_WARN);
    assert_false(log_level_parse("loud", &level));
    assert_int_equal(level, LOG_WARN);
}

static void control_characters_and_length_cannot_break_the_form(void **state)
{
    (void)state;
    open_log(1 << 20, 1, LOG_INFO);
    log_info("net", "odd", "name=%s", "a\nb\x1b[1m");
    char longer[5000];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    log_info("net", "long", "name=%s", longer);
    const char *text = content("log");
    const char *end = strchr(text, '\n');
    assert_non_null(strstr(text, "name=a?b?[1m\n"));
    assert_int_equal(strlen(end + 1), 2047);
    assert_string_equal(end + 1 + 2047 - 4, "...\n");
}

static void the_file_rotates_by_size(void **state)
{
    (void)state;
    open_log(1000, 2, LOG_INFO);
    for (int i = 0; i < 100; i++)
        log_info("test", "line", "number=%03d", i);
    /* 50 bytes a line: 20 fill a file; the newest two full ones are kept beside the open one. */
    assert_in_range(file_size("log"), 1, 1000);
    assert_in_range(file_size("log.1"), 950, 1000);
    assert_in_range(file_size("log.2"), 950, 1000);
    assert_int_equal(file_size("log.3"), -1);
    assert_non_null(strstr(content("log"), "number=099\n"));
    assert_null(strstr(content("log"), "number=050\n"));
    int first_number = -1;
    int newest_rotated = -1;
    assert_int_equal(sscanf(strstr(content("log"), "number="), "number=%d", &first_number), 1);
    assert_int_equal(sscanf(strrchr(content("log.1"), '='), "=%d", &newest_rotated), 1);
    assert_int_equal(newest_rotated, first_number - 1);
}

static void an_existing_file_is_continued(void **state)
{
    (void)state;
    open_log(1000, 1, LOG_INFO);
    log_info("test", "before", "a=%d", 1);
    log_close();
    open_log(1000, 1, LOG_INFO);
    log_info("test", "after", "a=%d", 2);
    assert_non_null(strstr(content("log"), "before a=1\n"));
    assert_non_null(strstr(content("log"), "after a=2\n"));
}

static void no_kept_files_means_starting_over(void **state)
{
    (void)state;
    open_log(500, 0, LOG_INFO);
    for (int i = 0; i < 100; i++)
        log_info("test", "line", "number=%03d", i);
    assert_in_range(file_size("log"), 1, 500);
    assert_int_equal(file_size("log.1"), -1);
    assert_non_null(strstr(content("log"), "number=099\n"));
}

static void reopen_follows_an_outside_rotation(void **state)
{
    (void)state;
    open_log(1 << 20, 1, LOG_INFO);
    log_info("test", "first", "a=%d", 1);
    assert_int_equal(rename(path_of("log"), path_of("moved")), 0);
    log_info("test", "second", "a=%d", 2);
    log_reopen();
    log_info("test", "third", "a=%d", 3);
    assert_non_null(strstr(content("moved"), "second a=2\n"));
    assert_null(strstr(content("moved"), "third"));
    assert_non_null(strstr(content("log"), "third a=3\n"));
    assert_null(strstr(content("log"), "second"));
}

static void a_folder_that_is_not_there_is_named(void **state)
{
    (void)state;
    struct log_options options = {"/nowhere-at-all/log", 1000, 1, LOG_INFO};
    struct err err;
    assert_int_equal(log_open(&options, &err), STATUS_IO);
    assert_int_equal(err.sys_errno, ENOENT);
    assert_non_null(strstr(err.text, "/nowhere-at-all/log"));
}

#define WRITERS 4
#define LINES_EACH 500

static void *write_lines(void *arg)
{
    for (int i = 0; i < LINES_EACH; i++)
        log_info("test", "thread", "who=%s end", (const char *)arg);
    return NULL;
}

static void lines_of_several_threads_stay_whole(void **state)
{
    (void)state;
    open_log(1 << 20, 1, LOG_INFO);
    pthread_t threads[WRITERS];
    static char names[WRITERS][2] = {"a", "b", "c", "d"};
    for (int i = 0; i < WRITERS; i++)
        assert_int_equal(thread_start(&threads[i], "writer", write_lines, names[i], NULL),
                         STATUS_OK);
    for (int i = 0; i < WRITERS; i++)
        thread_join(threads[i]);
    int lines = 0;
    for (const char *line = content("log"); *line != '\0';) {
        const char *end = strchr(line, '\n');
        assert_non_null(end);
        assert_int_equal(end - line, 24 + (int)strlen("INFO  test thread who=x end"));
        assert_memory_equal(end - 4, " end", 4);
        line = end + 1;
        lines++;
    }
    assert_int_equal(lines, WRITERS * LINES_EACH);
}

static void the_gate_opens_once_per_second_and_counts(void **state)
{
    (void)state;
    struct log_gate gate = {0, 0};
    int64_t suppressed = -1;
    assert_true(log_gate_open(&gate, &suppressed));
    assert_int_equal(suppressed, 0);
    int64_t opens_at_ms = gate.next_ms;
    for (int i = 0; i < 5; i++)
        assert_false(log_gate_open(&gate, &suppressed));
    /* Instead of waiting a second, let it be over. */
    gate.next_ms = opens_at_ms - 1000;
    assert_true(log_gate_open(&gate, &suppressed));
    assert_int_equal(suppressed, 5);
    assert_true(gate.next_ms >= opens_at_ms);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_line_has_time_level_area_text_and_values),
        TEST(lines_above_the_level_are_left_out),
        TEST(control_characters_and_length_cannot_break_the_form),
        TEST(the_file_rotates_by_size),
        TEST(an_existing_file_is_continued),
        TEST(no_kept_files_means_starting_over),
        TEST(reopen_follows_an_outside_rotation),
        TEST(a_folder_that_is_not_there_is_named),
        TEST(lines_of_several_threads_stay_whole),
        TEST(the_gate_opens_once_per_second_and_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
