/* SPDX-License-Identifier: Apache-2.0
 *
 * Shows when the keeper writes a checkpoint by itself, and what is told of long work.
 * Rules: docs/store.md, "Opening"; broker/store/keeper.h, broker/store/progress.h.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "broker/store/checkpoint.h"
#include "broker/store/progress.h"
#include "common/sys/log.h"
#include "test/unit/support/store_kit.h"

#include <stdio.h>
#include <string.h>

static int64_t durable_pos(struct kit *kit)
{
    struct checkpoint checkpoint;
    struct err err;
    assert_int_equal(checkpoint_load(vfs_posix(), kit->root, &checkpoint, &err), STATUS_OK);
    return checkpoint.durable_pos;
}

static bool checkpoint_has_moved(void *ctx)
{
    return durable_pos(ctx) > 0;
}

/* All intervals are hours: only the growth of the log can be the reason. */
static void growth_makes_a_checkpoint(void **state)
{
    (void)state;
    struct kit kit;
    kit_init(&kit, "growth");
    kit.options.checkpoint_bytes = 30000;
    kit_start(&kit);
    kit_put_many(&kit, "A", 0, 900, 10);
    kit_dispatched(&kit);
    assert_true(durable_pos(&kit) <= 0);
    kit_put_many(&kit, "A", 0, 900, 40);
    kit_wait(checkpoint_has_moved, &kit);
    assert_true(durable_pos(&kit) >= 30000);

    /* A start after a crash reads only what is behind it. */
    struct kit after;
    kit_crash(&kit, &after);
    kit_open(&after);
    assert_int_equal(store_appended_pos(after.store), store_appended_pos(kit.store));
    kit_release(&after);
    kit_release(&kit);
}

/* --- progress --- */

static int64_t ticks_ms;

static int64_t tick_ns(void *ctx)
{
    (void)ctx;
    return ticks_ms * 1000000;
}

static int lines_with(const char *path, const char *text)
{
    char line[1000];
    int count = 0;
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL)
        count += strstr(line, text) != NULL;
    (void)fclose(file);
    return count;
}

static void long_work_tells(void **state)
{
    (void)state;
    char folder[FOLDER_BYTES];
    char path[FOLDER_BYTES + 8];
    struct err err;
    struct clock clock = {NULL, tick_ns, NULL};
    folder_make("progress", folder);
    (void)snprintf(path, sizeof path, "%s/log", folder);
    struct log_options options = {path, 1 << 20, 1, LOG_INFO};
    assert_int_equal(log_open(&options, &err), STATUS_OK);
    struct progress quick = progress_begin(&clock, "quick work", "bytes");
    struct progress slow = progress_begin(&clock, "slow work", "bytes");
    for (ticks_ms = 0; ticks_ms <= 5500; ticks_ms += 10) {
        if (ticks_ms < PROGRESS_FIRST_MS)
            progress_tell(&quick, ticks_ms, 1000);
        progress_tell(&slow, ticks_ms, 11000);
    }
    log_close();
    assert_int_equal(lines_with(path, "quick work"), 0);
    assert_int_equal(lines_with(path, "slow work"), 3); /* at 1, 3 and 5 s */
    assert_int_equal(lines_with(path, "bytes=3000 of=11000 percent=27 seconds=3"), 1);
    folder_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(growth_makes_a_checkpoint),
        cmocka_unit_test(long_work_tells),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
