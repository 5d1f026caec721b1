/* SPDX-License-Identifier: Apache-2.0
 *
 * The ledger tells lost, repeated, moved and unexpected messages apart; this is what every claim of
 * "no acknowledged message lost" rests on.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "test/unit/support/folder.h"
#include "tools/bench/ledger.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char folder[FOLDER_BYTES];
static char path[FOLDER_BYTES + 8];

static int make_folder(void **state)
{
    (void)state;
    folder_make("t_ledger", folder);
    snprintf(path, sizeof path, "%s/ledger", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    folder_remove(folder);
    return 0;
}

static struct payload_mark mark_of(uint32_t stream, uint64_t sequence)
{
    return (struct payload_mark){.run = 5, .stream = stream, .sequence = sequence};
}

/* A ledger of `count` messages of stream 1: sequence i at queue i % 4, offset i. */
static void write_ledger(uint64_t count)
{
    unlink(path);
    struct ledger_writer writer;
    assert_int_equal(ledger_writer_open(&writer, path, NULL), STATUS_OK);
    for (uint64_t i = 0; i < count; i++) {
        struct payload_mark mark = mark_of(1, i);
        ledger_writer_add(&writer, &mark, (int)(i % 4), (int64_t)i);
    }
    ledger_writer_close(&writer);
}

static void find(struct ledger *ledger, uint32_t stream, uint64_t sequence)
{
    struct payload_mark mark = mark_of(stream, sequence);
    ledger_found(ledger, &mark, (int)(sequence % 4), (int64_t)sequence);
}

static void everything_found(void **state)
{
    (void)state;
    write_ledger(10000);
    struct ledger ledger;
    assert_int_equal(ledger_load(&ledger, path, NULL), STATUS_OK);
    for (uint64_t i = 0; i < 10000; i++)
        find(&ledger, 1, i);
    struct ledger_summary sum = ledger_summary(&ledger);
    assert_int_equal(sum.acknowledged, 10000);
    assert_int_equal(sum.lost + sum.duplicated + sum.moved + sum.unacknowledged + sum.foreign, 0);
    ledger_release(&ledger);
}

static void each_fault_is_counted(void **state)
{
    (void)state;
    write_ledger(100);
    struct ledger ledger;
    assert_int_equal(ledger_load(&ledger, path, NULL), STATUS_OK);
    for (uint64_t i = 0; i < 100; i++)
        if (i != 17 && i != 99 && i != 40)
            find(&ledger, 1, i); /* 17 and 99 are lost */
    struct payload_mark moved = mark_of(1, 40);
    ledger_found(&ledger, &moved, 0, 41); /* at another offset than the broker said */
    find(&ledger, 1, 3);                  /* twice */
    find(&ledger, 1, 100);                /* never acknowledged */
    find(&ledger, 2, 0);                  /* of a stream that the ledger does not know */
    struct ledger_summary sum = ledger_summary(&ledger);
    assert_int_equal(sum.acknowledged, 100);
    assert_int_equal(sum.lost, 2);
    assert_int_equal(sum.duplicated, 1);
    assert_int_equal(sum.moved, 1);
    assert_int_equal(sum.unacknowledged, 1);
    assert_int_equal(sum.foreign, 1);
    ledger_release(&ledger);
}

static void other_files_are_refused(void **state)
{
    (void)state;
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs("this is not a ledger, but it is longer than an entry\n", file) >= 0);
    assert_int_equal(fclose(file), 0);
    struct ledger ledger;
    struct err err;
    assert_int_equal(ledger_load(&ledger, path, &err), STATUS_MALFORMED);
    ledger_release(&ledger);
    assert_int_equal(ledger_load(&ledger, "/nonexistent/ledger", &err), STATUS_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_found),
        cmocka_unit_test(each_fault_is_counted),
        cmocka_unit_test(other_files_are_refused),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
