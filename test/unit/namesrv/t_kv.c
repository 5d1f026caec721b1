/* SPDX-License-Identifier: Apache-2.0
 *
 * Shows: the KV table and its file behave as in 4.9.2 (NS-10, NS-11, NS-32), Apache's file is read
 * and written, and a damaged file costs at most the last change.
 * Source: RMQ namesrv/.../KVConfigManager.java; bodies/KVConfigSerializeWrapper.json
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/arena.h"
#include "common/base/check.h"
#include "namesrv/kv.h"
#include "test/unit/support/folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct fixture {
    char folder[FOLDER_BYTES];
    char path[128];
    struct kv *kv;
    struct buf text;
};

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof *f);
    folder_make("t_kv", f->folder);
    (void)snprintf(f->path, sizeof f->path, "%s/deep/kvConfig.json", f->folder);
    f->kv = kv_new();
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    folder_remove(f->folder);
    kv_free(f->kv);
    buf_release(&f->text);
    free(f);
    return 0;
}

static void put(struct kv *kv, const char *namespace, const char *key, const char *value)
{
    assert_int_equal(kv_put(kv, slice_of_cstr(namespace), slice_of_cstr(key), slice_of_cstr(value)),
                     STATUS_OK);
}

static const char *get(const struct kv *kv, const char *namespace, const char *key)
{
    return kv_get(kv, slice_of_cstr(namespace), slice_of_cstr(key));
}

static const char *encoded(struct fixture *f)
{
    buf_clear(&f->text);
    kv_encode(f->kv, &f->text);
    buf_append_byte(&f->text, '\0');
    return (const char *)f->text.data;
}

static void store(struct fixture *f)
{
    struct err err;
    size_t size = strlen(encoded(f));
    assert_int_equal(kv_store(vfs_posix(), f->path, slice_of(f->text.data, size), &err), STATUS_OK);
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
}

static enum status load(struct fixture *f, enum kv_source *source, struct err *err)
{
    kv_free(f->kv);
    f->kv = kv_new();
    return kv_load(f->kv, vfs_posix(), f->path, source, err);
}

static void values_are_put_replaced_and_deleted(void **state)
{
    struct fixture *f = *state;
    assert_null(get(f->kv, "A", "k"));
    put(f->kv, "A", "k", "1");
    put(f->kv, "A", "k", "2");
    put(f->kv, "B", "k", "3");
    assert_string_equal(get(f->kv, "A", "k"), "2");
    assert_string_equal(get(f->kv, "B", "k"), "3");
    assert_int_equal(kv_entries(f->kv), 2);
    assert_true(kv_delete(f->kv, SLICE_LITERAL("A"), SLICE_LITERAL("k")));
    assert_false(kv_delete(f->kv, SLICE_LITERAL("A"), SLICE_LITERAL("k")));
    assert_false(kv_delete(f->kv, SLICE_LITERAL("C"), SLICE_LITERAL("k")));
    assert_null(get(f->kv, "A", "k"));
    /* The namespace stays, as in 4.9.2. */
    struct buf out = BUF_EMPTY;
    assert_true(kv_encode_namespace(f->kv, SLICE_LITERAL("A"), &out));
    assert_true(slice_is(buf_slice(&out), "{\"table\":{}}"));
    assert_false(kv_encode_namespace(f->kv, SLICE_LITERAL("C"), &out));
    buf_release(&out);
    assert_string_equal(encoded(f), "{\"configTable\":{\"A\":{},\"B\":{\"k\":\"3\"}}}");
}

/* proves: NS-32, over bodies/KVConfigSerializeWrapper.json as Apache's class wrote it */
static void apaches_file_is_read_and_written(void **state)
{
    struct fixture *f = *state;
    FILE *file = fopen("test/data/bodies/KVConfigSerializeWrapper.json", "rb");
    assert_non_null(file);
    char golden[1024] = {0};
    assert_true(fread(golden, 1, sizeof golden - 1, file) > 0);
    assert_int_equal(fclose(file), 0);
    (void)snprintf(f->path, sizeof f->path, "%s/kv.json", f->folder);
    write_file(f->path, golden);
    enum kv_source source;
    struct err err;
    assert_int_equal(load(f, &source, &err), STATUS_OK);
    assert_int_equal(source, KV_FILE);
    assert_string_equal(get(f->kv, KV_ORDER_TOPICS, "TopicOrder"), "broker-a:4;broker-b:2");
    assert_int_equal(kv_entries(f->kv), 2);
    /* The order of keys is free in 4.9.2 and sorted here; all else is byte for byte the same. */
    assert_int_equal(strlen(encoded(f)), strlen(golden));
    assert_non_null(strstr(golden, "\"TopicOrder\":\"broker-a:4;broker-b:2\""));
    assert_non_null(strstr(encoded(f), "\"k\\\"quote\":\"line\\nbreak\\ttab 中文 <&> / \\\\\""));
}

static void storing_and_loading_keep_everything(void **state)
{
    struct fixture *f = *state;
    enum kv_source source;
    struct err err;
    assert_int_equal(load(f, &source, &err), STATUS_OK);
    assert_int_equal(source, KV_FRESH);
    assert_string_equal(err.text, "");
    put(f->kv, "A", "k", "1");
    store(f);
    put(f->kv, "A", "k", "2");
    store(f);
    char *before = xstrdup(encoded(f));
    assert_int_equal(load(f, &source, &err), STATUS_OK);
    assert_int_equal(source, KV_FILE);
    assert_string_equal(err.text, "");
    assert_string_equal(encoded(f), before);
    free(before);
}

static void a_damaged_file_falls_back_to_its_backup(void **state)
{
    struct fixture *f = *state;
    enum kv_source source;
    struct err err;
    put(f->kv, "A", "k", "1");
    store(f);
    put(f->kv, "A", "k", "2");
    store(f);
    write_file(f->path, "{\"configTable\":{\"A\":{\"k\":\"2");
    assert_int_equal(load(f, &source, &err), STATUS_OK);
    assert_int_equal(source, KV_BACKUP);
    assert_non_null(strstr(err.text, f->path));
    assert_non_null(strstr(err.text, "damaged"));
    assert_string_equal(get(f->kv, "A", "k"), "1");

    assert_int_equal(unlink(f->path), 0);
    assert_int_equal(load(f, &source, &err), STATUS_OK);
    assert_int_equal(source, KV_BACKUP);
    assert_non_null(strstr(err.text, "missing"));
    assert_string_equal(get(f->kv, "A", "k"), "1");

    write_file(f->path, "");
    assert_int_equal(load(f, &source, &err), STATUS_OK);
    assert_int_equal(source, KV_BACKUP);
    assert_string_equal(get(f->kv, "A", "k"), "1");
}

static void a_damaged_file_without_a_backup_is_an_error(void **state)
{
    struct fixture *f = *state;
    enum kv_source source;
    struct err err;
    (void)snprintf(f->path, sizeof f->path, "%s/kv.json", f->folder);
    write_file(f->path, "not json");
    assert_int_equal(load(f, &source, &err), STATUS_CORRUPT);
    assert_non_null(strstr(err.text, f->path));
    char backup[160];
    (void)snprintf(backup, sizeof backup, "%s.bak", f->path);
    write_file(backup, "nor this");
    assert_int_equal(load(f, &source, &err), STATUS_CORRUPT);
    assert_non_null(strstr(err.text, f->path));
    assert_int_equal(kv_entries(f->kv), 0);
    /* Nothing to lose in an empty file. */
    assert_int_equal(unlink(backup), 0);
    write_file(f->path, "");
    assert_int_equal(load(f, &source, &err), STATUS_OK);
    assert_int_equal(source, KV_FRESH);
    assert_non_null(strstr(err.text, "empty"));
}

static void a_file_that_cannot_be_written_is_reported(void **state)
{
    struct fixture *f = *state;
    put(f->kv, "A", "k", "1");
    /* A folder stands where the file should be, and a file where the folder should be. */
    (void)snprintf(f->path, sizeof f->path, "%s/taken", f->folder);
    write_file(f->path, "x");
    char below[160];
    (void)snprintf(below, sizeof below, "%s/kv.json", f->path);
    struct err err;
    (void)encoded(f);
    assert_int_not_equal(kv_store(vfs_posix(), below, buf_slice(&f->text), &err), STATUS_OK);
    assert_non_null(strstr(err.text, below));
}

static void a_copy_is_independent(void **state)
{
    struct fixture *f = *state;
    put(f->kv, "A", "k", "1");
    put(f->kv, "Empty", "k", "1");
    assert_true(kv_delete(f->kv, SLICE_LITERAL("Empty"), SLICE_LITERAL("k")));
    struct kv *copy = kv_copy(f->kv);
    put(copy, "A", "k", "2");
    put(copy, "A", "l", "3");
    assert_string_equal(get(f->kv, "A", "k"), "1");
    assert_null(get(f->kv, "A", "l"));
    assert_string_equal(get(copy, "A", "k"), "2");
    struct buf out = BUF_EMPTY;
    assert_true(kv_encode_namespace(copy, SLICE_LITERAL("Empty"), &out));
    buf_release(&out);
    kv_free(copy);
}

static void the_table_is_bounded(void **state)
{
    struct fixture *f = *state;
    size_t size = KV_BYTES_MAX / 4;
    char *big = xmalloc(size + 1);
    memset(big, 'v', size);
    big[size] = '\0';
    put(f->kv, "A", "1", big);
    put(f->kv, "A", "2", big);
    put(f->kv, "A", "3", big);
    assert_int_equal(kv_put(f->kv, SLICE_LITERAL("A"), SLICE_LITERAL("4"), slice_of(big, size)),
                     STATUS_FULL);
    assert_null(get(f->kv, "A", "4"));
    /* Deleting makes room again, and a full table can be copied. */
    assert_true(kv_delete(f->kv, SLICE_LITERAL("A"), SLICE_LITERAL("1")));
    put(f->kv, "A", "4", big);
    struct kv *copy = kv_copy(f->kv);
    assert_int_equal(kv_entries(copy), 3);
    kv_free(copy);
    free(big);
}

/* An empty namespace stays, as in 4.9.2, but not at the cost of what is to be stored. */
static void empty_namespaces_make_room(void **state)
{
    struct fixture *f = *state;
    char name[1025];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    put(f->kv, KV_ORDER_TOPICS, "k", "1");
    assert_true(kv_delete(f->kv, SLICE_LITERAL(KV_ORDER_TOPICS), SLICE_LITERAL("k")));
    put(f->kv, "Kept", "k", "1");
    for (int i = 0; i < KV_BYTES_MAX / 1024 + 100; i++) {
        char number[16];
        (void)snprintf(number, sizeof number, "%06d", i);
        memcpy(name, number, 6);
        put(f->kv, name, "k", "1");
        assert_true(kv_delete(f->kv, slice_of_cstr(name), SLICE_LITERAL("k")));
    }
    assert_string_equal(get(f->kv, "Kept", "k"), "1");
    struct buf out = BUF_EMPTY;
    assert_true(kv_encode_namespace(f->kv, SLICE_LITERAL(KV_ORDER_TOPICS), &out));
    assert_true(kv_encode_namespace(f->kv, slice_of_cstr(name), &out));
    memcpy(name, "000000", 6);
    assert_false(kv_encode_namespace(f->kv, slice_of_cstr(name), &out));
    buf_release(&out);
    struct kv *copy = kv_copy(f->kv);
    assert_int_equal(kv_entries(copy), 1);
    kv_free(copy);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(values_are_put_replaced_and_deleted),
        TEST(apaches_file_is_read_and_written),
        TEST(storing_and_loading_keep_everything),
        TEST(a_damaged_file_falls_back_to_its_backup),
        TEST(a_damaged_file_without_a_backup_is_an_error),
        TEST(a_file_that_cannot_be_written_is_reported),
        TEST(a_copy_is_independent),
        TEST(the_table_is_bounded),
        TEST(empty_namespaces_make_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
