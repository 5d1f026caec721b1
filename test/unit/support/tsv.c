/* SPDX-License-Identifier: Apache-2.0
 *
 * The reader of test tables. Cells are slices into the text of the file.
 */
#include "test/unit/support/tsv.h"

#include "common/base/check.h"
#include "common/base/number.h"

#include <stdio.h>
#include <stdlib.h>

#define BLOCK_BYTES (64 * 1024)

struct slice file_bytes(struct arena *arena, const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        abort();
    }
    CHECK(fseek(file, 0, SEEK_END) == 0);
    long size = ftell(file);
    CHECK(size >= 0);
    rewind(file);
    uint8_t *data = arena_alloc(arena, (size_t)size + 1);
    CHECK(fread(data, 1, (size_t)size, file) == (size_t)size);
    (void)fclose(file);
    data[size] = '\0';
    return slice_of(data, (size_t)size);
}

static unsigned hex_value(uint8_t digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - (unsigned)'0';
    CHECK(digit >= 'a' && digit <= 'f');
    return digit - (unsigned)'a' + 10;
}

struct slice hex_bytes(struct arena *arena, struct slice digits)
{
    CHECK(digits.size % 2 == 0);
    uint8_t *bytes = arena_alloc(arena, digits.size / 2 + 1);
    for (size_t i = 0; i < digits.size / 2; i++)
        bytes[i] =
            (uint8_t)(hex_value(digits.data[2 * i]) << 4 | hex_value(digits.data[2 * i + 1]));
    return slice_of(bytes, digits.size / 2);
}

/* Takes the bytes before the next `mark` off `rest`, and the mark. */
static struct slice take_until(struct slice *rest, int mark)
{
    const uint8_t *found = rest->size == 0 ? NULL : memchr(rest->data, mark, rest->size);
    size_t size = found == NULL ? rest->size : (size_t)(found - rest->data);
    struct slice taken = slice_of(rest->data, size);
    *rest = slice_from(*rest, found == NULL ? size : size + 1);
    return taken;
}

static size_t count_byte(struct slice s, uint8_t byte)
{
    size_t count = 0;
    for (size_t i = 0; i < s.size; i++)
        count += s.data[i] == byte;
    return count;
}

static struct slice *split_cells(struct tsv *tsv, struct slice line)
{
    struct slice *cells = arena_zalloc(&tsv->arena, tsv->column_count * sizeof *cells);
    CHECK(count_byte(line, '\t') < tsv->column_count);
    for (size_t i = 0; i < tsv->column_count; i++)
        cells[i] = take_until(&line, '\t');
    return cells;
}

void tsv_load(struct tsv *tsv, const char *path)
{
    *tsv = (struct tsv){0};
    arena_init(&tsv->arena, BLOCK_BYTES);
    struct slice text = file_bytes(&tsv->arena, path);
    size_t lines = count_byte(text, '\n') + 1;
    struct slice line = take_until(&text, '\n');
    tsv->column_count = count_byte(line, '\t') + 1;
    tsv->names = split_cells(tsv, line);
    tsv->rows = arena_alloc(&tsv->arena, lines * sizeof *tsv->rows);
    while (text.size > 0) {
        line = take_until(&text, '\n');
        tsv->rows[tsv->row_count++] = split_cells(tsv, line);
    }
}

void tsv_release(struct tsv *tsv)
{
    arena_release(&tsv->arena);
}

struct slice tsv_cell(const struct tsv *tsv, size_t row, const char *name)
{
    CHECK(row < tsv->row_count);
    for (size_t i = 0; i < tsv->column_count; i++)
        if (slice_is(tsv->names[i], name))
            return tsv->rows[row][i];
    (void)fprintf(stderr, "there is no column %s\n", name);
    abort();
}

int64_t tsv_number(const struct tsv *tsv, size_t row, const char *name)
{
    int64_t value = 0;
    CHECK(parse_i64(tsv_cell(tsv, row, name), &value));
    return value;
}
