/* SPDX-License-Identifier: Apache-2.0
 *
 * Shows the table engine over a small table: both grammars fill it, bad values are named with file,
 * line and what was expected, unknown keys with the nearest known one; updates apply all or
 * nothing; rewriting keeps comments and order. Source: behaviour rules CF-01 to CF-06, AD-02,
 * AD-03 (docs/configuration.md).
 */
#include "common/conf/conf.h"
#include "test/unit/support/folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct values {
    _Atomic(bool) traceOn;
    _Atomic(int64_t) listenPort;
    _Atomic(int64_t) permission;
    _Atomic(const char *) deleteWhen;
    _Atomic(const char *) namesrvAddr;
    _Atomic(int64_t) role;
    _Atomic(int64_t) threads;
    _Atomic(bool) acl;
};

static const char *const ROLES[] = {"MASTER", "SLAVE", NULL};

static const struct conf_key KEYS[] = {
    {"traceOn", CONF_BOOL, CONF_USED, CONF_LIVE, "true", 0, 0, NULL,
     offsetof(struct values, traceOn), ""},
    {"listenPort", CONF_INT, CONF_USED, CONF_IMPORTANT, "10911", 0, 65535, NULL,
     offsetof(struct values, listenPort), ""},
    {"permission", CONF_INT, CONF_USED, CONF_LIVE, "6", 0, 7, NULL,
     offsetof(struct values, permission), ""},
    {"deleteWhen", CONF_STRING, CONF_USED, CONF_LIVE, "04", 0, 0, NULL,
     offsetof(struct values, deleteWhen), ""},
    {"namesrvAddr", CONF_STRING, CONF_USED, CONF_IMPORTANT, "", 0, 0, NULL,
     offsetof(struct values, namesrvAddr), ""},
    {"role", CONF_ENUM, CONF_USED, 0, "MASTER", 0, 0, ROLES, offsetof(struct values, role), ""},
    {"threads", CONF_INT, CONF_NO_EFFECT, 0, "3", 0, 100, NULL, offsetof(struct values, threads),
     ""},
    {"acl", CONF_BOOL, CONF_LATER, 0, "false", 0, 0, NULL, offsetof(struct values, acl), ""},
    {"controllerAddr", CONF_FOREIGN, CONF_NO_EFFECT, 0, "", 0, 0, NULL, 0, "a key of RocketMQ 5"},
};

struct fixture {
    struct values values;
    struct conf conf;
    char folder[FOLDER_BYTES];
    char path[FOLDER_BYTES + 16];
    struct buf warnings; /* one per line, the folder cut off */
    struct err err;
};

static void take_warning(void *ctx, const char *text)
{
    struct fixture *f = ctx;
    size_t prefix = strlen(f->folder) + 1;
    buf_append_cstr(&f->warnings, strncmp(text, f->folder, prefix - 1) == 0 ? text + prefix : text);
    buf_append_byte(&f->warnings, '\n');
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    folder_make("t_conf", f->folder);
    (void)snprintf(f->path, sizeof f->path, "%s/broker.conf", f->folder);
    conf_init(&f->conf, KEYS, sizeof KEYS / sizeof KEYS[0], &f->values);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    folder_remove(f->folder);
    conf_release(&f->conf);
    buf_release(&f->warnings);
    free(f);
    return 0;
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void assert_file(const char *path, const char *expected)
{
    char text[4096];
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    size_t size = fread(text, 1, sizeof text - 1, file);
    text[size] = '\0';
    assert_int_equal(fclose(file), 0);
    assert_string_equal(text, expected);
}

static enum status load(struct fixture *f, const char *text)
{
    write_file(f->path, text);
    buf_clear(&f->warnings);
    enum status status = conf_load_file(&f->conf, f->path, take_warning, f, &f->err);
    buf_append_byte(&f->warnings, '\0');
    return status;
}

static void assert_warnings(const struct fixture *f, const char *expected)
{
    assert_string_equal((const char *)f->warnings.data, expected);
}

/* The message without the folder. */
static void assert_error(const struct fixture *f, const char *expected)
{
    assert_string_equal(f->err.text + strlen(f->folder) + 1, expected);
}

static void test_defaults(void **state)
{
    struct fixture *f = *state;
    assert_true(f->values.traceOn);
    assert_int_equal(f->values.listenPort, 10911);
    assert_string_equal(f->values.deleteWhen, "04");
    assert_string_equal(f->values.namesrvAddr, "");
    assert_int_equal(f->values.role, 0);
    assert_true(conf_is_default(&f->conf, "role"));
    assert_null(conf_file_path(&f->conf));
}

static void test_properties_load(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(load(f, "# mine\nrole = SLAVE\ndeleteWhen=04\nnamesrvAddr=a:9876;b:9876\n"
                             "listenPort = 10921  \ntraceOn=FALSE\n"),
                     STATUS_OK);
    assert_warnings(f, "");
    assert_int_equal(f->values.role, 1);
    assert_string_equal(f->values.deleteWhen, "04");
    assert_string_equal(f->values.namesrvAddr, "a:9876;b:9876");
    assert_int_equal(f->values.listenPort, 10921);
    assert_false(f->values.traceOn);
    assert_false(conf_is_default(&f->conf, "role"));
    assert_string_equal(conf_file_path(&f->conf), f->path);
}

static void test_a_lone_bare_number_stays_text(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(load(f, "deleteWhen=04\n"), STATUS_OK);
    assert_string_equal(f->values.deleteWhen, "04");
    assert_int_equal(load(f, "deleteWhen=04;05\n"), STATUS_OK);
    assert_string_equal(f->values.deleteWhen, "04;05");
}

static void test_libconfig_loads(void **state)
{
    struct fixture *f = *state;
    char extra[128];
    (void)snprintf(extra, sizeof extra, "%s/extra.cfg", f->folder);
    write_file(extra, "listenPort = 0x2AA9;\n");
    assert_int_equal(load(f, "/* role = x */\n// role = y\nrole = \"SLAVE\";\n"
                             "deleteWhen : \"04\"\n@include \"extra.cfg\"\ntraceOn = false;\n"),
                     STATUS_OK);
    assert_warnings(f, "");
    assert_int_equal(f->values.role, 1);
    assert_string_equal(f->values.deleteWhen, "04");
    assert_int_equal(f->values.listenPort, 10921);
    assert_false(f->values.traceOn);
}

static void test_numbers_that_libconfig_cuts_are_refused(void **state)
{
    struct fixture *f = *state;
    char extra[128];
    (void)snprintf(extra, sizeof extra, "%s/extra.cfg", f->folder);
    write_file(extra, "role = \"SLAVE\";\nlistenPort = 4294967297;\n");
    assert_int_equal(load(f, "@include \"extra.cfg\"\n"), STATUS_INVALID);
    assert_string_equal(f->err.text, "extra.cfg:2: listenPort = 4294967297: a number beyond 32 "
                                     "bits needs an L: 4294967297L");
    assert_int_equal(load(f, "listenPort = 4294967297;\n"), STATUS_INVALID);
    assert_int_equal(load(f, "listenPort = 4294967297L;\n"), STATUS_INVALID);
    assert_error(f, "broker.conf:1: listenPort = \"4294967297\": expected a whole number from 0 "
                    "to 65535");
}

static void test_libconfig_numbers_with_semicolons(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(load(f, "listenPort = 10921; # two\npermission = 4,\n"), STATUS_OK);
    assert_int_equal(f->values.listenPort, 10921);
    assert_int_equal(f->values.permission, 4);
}

static void test_libconfig_types_are_checked(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(load(f, "role = \"SLAVE\";\n\ndeleteWhen = 04;\n"), STATUS_INVALID);
    assert_error(f, "broker.conf:3: deleteWhen: expected a text in double quotes, found the number "
                    "4");
    assert_int_equal(load(f, "role = \"SLAVE\";\nlistenPort = \"1\";\n"), STATUS_INVALID);
    assert_error(f, "broker.conf:2: listenPort: expected a whole number without quotes, found the "
                    "text 1");
    assert_int_equal(load(f, "listenPort = 1.5;\n"), STATUS_INVALID);
    assert_error(f, "broker.conf:1: listenPort: expected a whole number without quotes, found the "
                    "number 1.5");
    assert_int_equal(load(f, "traceOn = \"true\";\n"), STATUS_INVALID);
    assert_error(f, "broker.conf:1: traceOn: expected true or false without quotes, found the text "
                    "true");
    assert_int_equal(load(f, "role = { a = 1; };\n"), STATUS_INVALID);
    assert_error(f, "broker.conf:1: role is a group, list or array; every option is a single "
                    "value: name = value;");
}

static void test_the_error_is_that_of_the_likelier_grammar(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(load(f, "deleteWhen = \"04\";\nlistenPort = 1;\nrole = SLAVE;\n"),
                     STATUS_MALFORMED);
    assert_error(f, "broker.conf:3: syntax error (the file is read as libconfig, where texts stand "
                    "in double quotes: name = \"text\";)");
    assert_int_equal(load(f, "namesrvAddr=a:1\nrole=SLAVE\nlistenPort = 10912;\n"), STATUS_INVALID);
    assert_error(f, "broker.conf:3: listenPort = \"10912;\": expected a whole number from 0 to "
                    "65535");
}

static void test_bad_values_are_named(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(load(f, "\nlistenPort = 10911x\n"), STATUS_INVALID);
    assert_error(f, "broker.conf:2: listenPort = \"10911x\": expected a whole number from 0 to "
                    "65535");
    assert_int_equal(load(f, "permission = 8"), STATUS_INVALID);
    assert_error(f, "broker.conf:1: permission = \"8\": expected a whole number from 0 to 7");
    assert_int_equal(load(f, "role = slave"), STATUS_INVALID);
    assert_error(f, "broker.conf:1: role = \"slave\": expected MASTER or SLAVE");
    assert_int_equal(load(f, "traceOn = yes"), STATUS_INVALID);
    assert_error(f, "broker.conf:1: traceOn = \"yes\": expected true or false");
    assert_int_equal(load(f, "deleteWhen = a\\u0000b"), STATUS_INVALID);
    assert_int_equal(load(f, "deleteWhen = \\u00"), STATUS_MALFORMED);
    assert_error(f, "broker.conf:1: \\u must be followed by four hexadecimal digits (a "
                    "backslash itself is written \\\\)");
}

static void test_missing_and_oversized_files(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(conf_load_file(&f->conf, f->path, NULL, NULL, &f->err), STATUS_NOT_FOUND);
    assert_error(f, "broker.conf: cannot be read: No such file or directory");
    write_file(f->path, "a=1\n");
    assert_int_equal(truncate(f->path, CONF_FILE_BYTES_MAX + 1), 0);
    assert_int_equal(conf_load_file(&f->conf, f->path, NULL, NULL, &f->err), STATUS_TOO_LARGE);
}

static void test_warnings(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(load(f, "listenPrt=1\nzzz=1\nthreads=4\nacl=true\ncontrollerAddr=x\n"
                             "role=SLAVE\n"),
                     STATUS_OK);
    assert_warnings(f, "broker.conf:1: listenPrt is not a known key; did you mean listenPort?\n"
                       "broker.conf:2: zzz is not a known key and is ignored\n"
                       "broker.conf:3: threads is accepted and has no effect here\n"
                       "broker.conf:4: acl is not built yet and is ignored\n"
                       "broker.conf:5: controllerAddr is ignored: a key of RocketMQ 5\n");
    assert_int_equal(f->values.role, 1);
}

static void test_defaults_that_are_set_give_no_warning(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(load(f, "threads=3\nacl=false\n"), STATUS_OK);
    assert_warnings(f, "");
}

static void test_quotes_in_properties_give_a_warning(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(load(f, "deleteWhen=\"04\"\nnamesrvAddr=a:1\n"), STATUS_OK);
    assert_warnings(f, "broker.conf:1: deleteWhen: the quotes are part of the value in a "
                       "properties file\n");
}

static void test_repeated_keys(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(load(f, "role=SLAVE\n\nrole=MASTER\n"), STATUS_OK);
    char expected[FOLDER_BYTES + 64];
    (void)snprintf(expected, sizeof expected, "broker.conf:3: role is set at %s/", f->folder);
    assert_non_null(strstr((const char *)f->warnings.data, expected));
    assert_non_null(
        strstr((const char *)f->warnings.data, "broker.conf:1 already; the last one counts"));
    assert_int_equal(f->values.role, 0);
}

static void test_set_and_nearest(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(conf_set(&f->conf, "namesrvAddr", "h:9876", "-n", &f->err), STATUS_OK);
    assert_string_equal(f->values.namesrvAddr, "h:9876");
    assert_int_equal(conf_set(&f->conf, "nothing", "1", "-x", &f->err), STATUS_NOT_FOUND);
    assert_int_equal(conf_set(&f->conf, "role", "x", "-r", &f->err), STATUS_INVALID);
    assert_string_equal(f->err.text, "-r: role = \"x\": expected MASTER or SLAVE");
    conf_set_default(&f->conf, "listenPort", "77", "worked out");
    assert_true(conf_is_default(&f->conf, "listenPort"));
    assert_int_equal(f->values.listenPort, 77);
    assert_string_equal(conf_nearest(&f->conf, "NAMESRVADDRS"), "namesrvAddr");
    assert_null(conf_nearest(&f->conf, "somethingElse"));
    assert_null(conf_nearest(&f->conf, ""));
}

static void test_listing_and_printing(void **state)
{
    struct fixture *f = *state;
    struct buf out = BUF_EMPTY;
    assert_int_equal(load(f, "role=SLAVE\nzzz=some thing\n"), STATUS_OK);
    conf_list(&f->conf, &out);
    buf_append_byte(&out, '\0');
    assert_string_equal((const char *)out.data,
                        "traceOn=true\nlistenPort=10911\npermission=6\ndeleteWhen=04\n"
                        "namesrvAddr=\nrole=SLAVE\nthreads=3\nacl=false\nzzz=some thing\n");
    buf_clear(&out);
    assert_int_equal(conf_set(&f->conf, "namesrvAddr", "h:9876", "-n", NULL), STATUS_OK);
    conf_print(&f->conf, true, &out);
    buf_append_byte(&out, '\0');
    assert_string_equal((const char *)out.data,
                        "listenPort = 10911                                  # default\n"
                        "namesrvAddr = h:9876                                # -n\n");
    buf_clear(&out);
    conf_print(&f->conf, false, &out);
    buf_append_byte(&out, '\0');
    assert_non_null(strstr((const char *)out.data, "role = SLAVE "));
    assert_non_null(strstr((const char *)out.data, "/broker.conf:1\n"));
    assert_non_null(strstr((const char *)out.data, "/broker.conf:2, not used\n"));
    buf_release(&out);
}

static enum status update(struct fixture *f, const char *text)
{
    return conf_update(&f->conf, slice_of_cstr(text), &f->err);
}

static void test_updates_are_all_or_nothing(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(update(f, "permission=4\nlistenPort=x\n"), STATUS_INVALID);
    assert_string_equal(f->err.text,
                        "line 2: listenPort = \"x\": expected a whole number from 0 to 65535");
    assert_int_equal(f->values.permission, 6);
    assert_int_equal(update(f, "permission=4\n\\u00\n"), STATUS_MALFORMED);
    assert_int_equal(f->values.permission, 6);
    assert_int_equal(update(f, "permission=4\nunknownKey=1\ndeleteWhen=05\npermission=2"),
                     STATUS_OK);
    assert_int_equal(f->values.permission, 2);
    assert_string_equal(f->values.deleteWhen, "05");
}

static void test_what_is_not_live_waits_for_the_next_start(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(update(f, "listenPort=1234\nrole=SLAVE\n"), STATUS_OK);
    assert_int_equal(f->values.listenPort, 10911);
    assert_int_equal(f->values.role, 0);
    struct buf out = BUF_EMPTY;
    conf_list(&f->conf, &out);
    buf_append_byte(&out, '\0');
    assert_non_null(strstr((const char *)out.data, "listenPort=1234\n"));
    assert_non_null(strstr((const char *)out.data, "role=SLAVE\n"));
    buf_release(&out);
}

static void test_replaced_strings_stay_readable_and_are_bounded(void **state)
{
    struct fixture *f = *state;
    const char *first = f->values.deleteWhen;
    char text[64];
    int accepted = 0;
    for (int i = 0; i < 2000; i++) {
        (void)snprintf(text, sizeof text, "deleteWhen=%d", i);
        if (update(f, text) != STATUS_OK)
            break;
        accepted++;
    }
    assert_string_equal(first, "04");
    assert_in_range(accepted, 1000, 1030);
    assert_non_null(strstr(f->err.text, "restart the daemon"));
    (void)snprintf(text, sizeof text, "%d", accepted - 1);
    assert_string_equal(f->values.deleteWhen, text);
    for (int i = 0; i < 2000; i++)
        assert_int_equal(update(f, i % 2 ? "permission=4" : "permission=6"), STATUS_OK);
}

static void *update_again_and_again(void *ctx)
{
    struct fixture *f = ctx;
    for (int i = 0; i < 2000; i++) {
        const char *text = i % 2 ? "permission=4\ndeleteWhen=05\nlistenPort=1"
                                 : "permission=2\ndeleteWhen=06\nlistenPort=2";
        if (conf_update(&f->conf, slice_of_cstr(text), NULL) != STATUS_OK)
            return f;
    }
    return NULL;
}

static void test_values_are_read_while_they_change(void **state)
{
    struct fixture *f = *state;
    struct buf out = BUF_EMPTY;
    pthread_t thread;
    void *result;
    assert_int_equal(pthread_create(&thread, NULL, update_again_and_again, f), 0);
    for (int i = 0; i < 2000; i++) {
        const char *hours = f->values.deleteWhen;
        assert_int_equal(hours[0], '0');
        assert_in_range(hours[1], '4', '6');
        assert_true(f->values.permission <= 6);
        buf_clear(&out);
        conf_list(&f->conf, &out);
        assert_true(out.size > 80);
    }
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_null(result);
    assert_int_equal(f->values.permission, 4);
    buf_release(&out);
}

static void test_rewriting_properties(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(load(f, "# head\nrole = SLAVE\n\npermission : 6\n! note\nlistenPort\n"
                             "permission=5 \\\n\ndeleteWhen=\nzzz=1"),
                     STATUS_INVALID); /* listenPort is empty */
    assert_int_equal(load(f, "# head\nrole = SLAVE\n\npermission : 6\n! note\nnamesrvAddr\n"
                             "permission=5\\\n\ndeleteWhen=\nzzz=1"),
                     STATUS_OK);
    assert_int_equal(conf_set(&f->conf, "threads", "9", "-t", NULL), STATUS_OK);
    assert_int_equal(update(f, "permission=4\nnamesrvAddr=\\ a\ndeleteWhen=05\nlistenPort=7\n"
                               "role=SLAVE"),
                     STATUS_OK);
    assert_int_equal(conf_rewrite_file(&f->conf, f->path, &f->err), STATUS_OK);
    assert_file(f->path, "# head\nrole = SLAVE\n\npermission : 6\n! note\nnamesrvAddr=\\ a\n"
                         "permission=4\ndeleteWhen=05\nzzz=1\nlistenPort=7\n");
    char backup[128];
    (void)snprintf(backup, sizeof backup, "%s.bak", f->path);
    assert_file(backup, "# head\nrole = SLAVE\n\npermission : 6\n! note\nnamesrvAddr\n"
                        "permission=5\\\n\ndeleteWhen=\nzzz=1");
}

static void test_rewriting_libconfig(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(load(f, "/* head; role = \"x\"; */\nrole = \"SLAVE\";\n"
                             "deleteWhen = \"0\" /* mid */ \"4\"; # tail\npermission:6\n"),
                     STATUS_OK);
    assert_int_equal(update(f, "permission=4\ndeleteWhen=a\"b\\\\c\nlistenPort=7\nrole=MASTER\n"
                               "traceOn=false"),
                     STATUS_OK);
    assert_int_equal(conf_rewrite_file(&f->conf, f->path, &f->err), STATUS_OK);
    assert_file(f->path, "/* head; role = \"x\"; */\nrole = \"MASTER\";\n"
                         "deleteWhen = \"a\\\"b\\\\c\"; # tail\npermission:4\n"
                         "traceOn = false;\nlistenPort = 7;\n");
    struct values again;
    struct conf conf;
    conf_init(&conf, KEYS, sizeof KEYS / sizeof KEYS[0], &again);
    assert_int_equal(conf_load_file(&conf, f->path, NULL, NULL, &f->err), STATUS_OK);
    assert_string_equal(again.deleteWhen, "a\"b\\c");
    assert_int_equal(again.listenPort, 7);
    conf_release(&conf);
}

static void test_options_of_included_files_are_not_written(void **state)
{
    struct fixture *f = *state;
    char extra[128];
    static const char TEXT[] = "@include \"extra.cfg\"\nrole = \"SLAVE\";\n";
    (void)snprintf(extra, sizeof extra, "%s/extra.cfg", f->folder);
    write_file(extra, "permission = 6;\n");
    assert_int_equal(load(f, TEXT), STATUS_OK);
    assert_int_equal(update(f, "permission=4"), STATUS_OK);
    assert_int_equal(conf_rewrite_file(&f->conf, f->path, &f->err), STATUS_MALFORMED);
    assert_non_null(strstr(f->err.text, "included files"));
    assert_file(f->path, TEXT);
}

/* It may hold the password of a key. */
static void test_rewriting_keeps_permissions(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    char backup[128];
    (void)snprintf(backup, sizeof backup, "%s.bak", f->path);
    assert_int_equal(load(f, "permission=6\n"), STATUS_OK);
    assert_int_equal(chmod(f->path, 0600), 0);
    for (int i = 0; i < 2; i++) { /* a second time, when there is a backup */
        assert_int_equal(update(f, i == 0 ? "permission=4" : "permission=2"), STATUS_OK);
        assert_int_equal(conf_rewrite_file(&f->conf, f->path, &f->err), STATUS_OK);
        assert_file(f->path, i == 0 ? "permission=4\n" : "permission=2\n");
        assert_int_equal(stat(f->path, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
        assert_int_equal(stat(backup, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
    }
}

static void test_rewriting_creates_the_file(void **state)
{
    struct fixture *f = *state;
    char path[160];
    (void)snprintf(path, sizeof path, "%s/a/b/broker.properties", f->folder);
    assert_int_equal(update(f, "permission=4\ndeleteWhen=05"), STATUS_OK);
    assert_int_equal(conf_rewrite_file(&f->conf, path, &f->err), STATUS_OK);
    assert_file(path, "permission=4\ndeleteWhen=05\n");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_defaults),
        TEST(test_properties_load),
        TEST(test_a_lone_bare_number_stays_text),
        TEST(test_libconfig_loads),
        TEST(test_numbers_that_libconfig_cuts_are_refused),
        TEST(test_libconfig_numbers_with_semicolons),
        TEST(test_libconfig_types_are_checked),
        TEST(test_the_error_is_that_of_the_likelier_grammar),
        TEST(test_bad_values_are_named),
        TEST(test_missing_and_oversized_files),
        TEST(test_warnings),
        TEST(test_defaults_that_are_set_give_no_warning),
        TEST(test_quotes_in_properties_give_a_warning),
        TEST(test_repeated_keys),
        TEST(test_set_and_nearest),
        TEST(test_listing_and_printing),
        TEST(test_updates_are_all_or_nothing),
        TEST(test_what_is_not_live_waits_for_the_next_start),
        TEST(test_replaced_strings_stay_readable_and_are_bounded),
        TEST(test_values_are_read_while_they_change),
        TEST(test_rewriting_properties),
        TEST(test_rewriting_libconfig),
        TEST(test_options_of_included_files_are_not_written),
        TEST(test_rewriting_keeps_permissions),
        TEST(test_rewriting_creates_the_file),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
