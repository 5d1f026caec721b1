/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads the tables under test/data: one row per line, cells parted by tabs, names of the columns in
 * the first line. Fails the running test when a file cannot be read.
 */
#ifndef TEST_UNIT_SUPPORT_TSV_H
#define TEST_UNIT_SUPPORT_TSV_H

#include "common/base/arena.h"

struct tsv {
    struct arena arena;  /* the text and the tables; tests may put more into it */
    struct slice *names; /* of the columns */
    struct slice **rows; /* row_count rows of column_count cells each; missing ones are empty */
    size_t column_count;
    size_t row_count;
};

/* path  relative to the repository root */
void tsv_load(struct tsv *tsv, const char *path);
void tsv_release(struct tsv *tsv);

/* The cell of row `row` (from 0, the line of names not counted) under that name. */
struct slice tsv_cell(const struct tsv *tsv, size_t row, const char *name);

/* The same as a decimal integer; a cell that is none fails the test. */
int64_t tsv_number(const struct tsv *tsv, size_t row, const char *name);

/* All of a file, and bytes written as pairs of hexadecimal digits. */
struct slice file_bytes(struct arena *arena, const char *path);
struct slice hex_bytes(struct arena *arena, struct slice digits);

#endif
