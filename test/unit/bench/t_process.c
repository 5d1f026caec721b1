/* SPDX-License-Identifier: Apache-2.0
 *
 * The memory of a process is told apart: anonymous pages, which are the process's own, and pages of
 * mapped files, which are page cache. Source: proc(5), RssAnon and RssFile.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "test/unit/support/folder.h"
#include "tools/bench/process.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define TOUCHED_BYTES (32 << 20)
#define TOUCHED_KB (TOUCHED_BYTES / 1024)
#define SLACK_KB 2048 /* what else may come and go between two looks */

static struct process_usage look(void)
{
    struct process_usage usage;
    struct err err;
    assert_int_equal(process_usage_read((int)getpid(), &usage, &err), STATUS_OK);
    return usage;
}

static void assert_grown(int64_t before_kb, int64_t after_kb, int64_t by_kb)
{
    assert_true(after_kb - before_kb > by_kb - SLACK_KB);
    assert_true(after_kb - before_kb < by_kb + SLACK_KB);
}

static void anonymous_pages_are_anonymous(void **state)
{
    (void)state;
    struct process_usage before = look();
    char *memory =
        mmap(NULL, TOUCHED_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(memory, MAP_FAILED);
    memset(memory, 1, TOUCHED_BYTES);
    struct process_usage after = look();
    assert_grown(before.rss_anonymous_kb, after.rss_anonymous_kb, TOUCHED_KB);
    assert_grown(before.rss_file_kb, after.rss_file_kb, 0);
    assert_true(after.rss_peak_kb >= after.rss_kb - SLACK_KB);
    munmap(memory, TOUCHED_BYTES);
}

static void mapped_files_are_not(void **state)
{
    (void)state;
    char folder[FOLDER_BYTES];
    char path[FOLDER_BYTES + 8];
    folder_make("t_process", folder);
    snprintf(path, sizeof path, "%s/file", folder);
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    assert_int_equal(ftruncate(fd, TOUCHED_BYTES), 0);
    struct process_usage before = look();
    char *memory = mmap(NULL, TOUCHED_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(memory, MAP_FAILED);
    memset(memory, 1, TOUCHED_BYTES);
    struct process_usage after = look();
    assert_grown(before.rss_file_kb, after.rss_file_kb, TOUCHED_KB);
    assert_grown(before.rss_anonymous_kb, after.rss_anonymous_kb, 0);
    munmap(memory, TOUCHED_BYTES);
    close(fd);
    folder_remove(folder);
}

static void a_process_that_is_not_there(void **state)
{
    (void)state;
    struct process_usage usage;
    struct err err;
    /* Beyond what the kernel hands out (PID_MAX_LIMIT is 4 * 1024 * 1024). */
    assert_int_equal(process_usage_read(8 << 20, &usage, &err), STATUS_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(anonymous_pages_are_anonymous),
        cmocka_unit_test(mapped_files_are_not),
        cmocka_unit_test(a_process_that_is_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
