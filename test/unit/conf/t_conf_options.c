/* SPDX-License-Identifier: Apache-2.0
 *
 * Shows the flags of both daemons: Apache's spellings, and what is refused. Source: behaviour rules
 * NS-33, LC-01 (docs/configuration.md).
 */
#include "common/conf/conf_options.h"

#include "common/conf/namesrv_conf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

static const struct conf_program PROGRAM = {"mqbroker", "What it is.", "what -n does", NULL, NULL};

struct outcome {
    bool run;
    int exit_code;
    struct conf_options options;
    char *out;
    char *err;
};

#define WORDS_MAX 8

static struct outcome parse(const char *const *words)
{
    char *argv[WORDS_MAX + 2] = {(char *)(uintptr_t) "mqbroker"};
    int argc = 1;
    for (; words[argc - 1] != NULL; argc++)
        argv[argc] = (char *)(uintptr_t)words[argc - 1];
    struct outcome outcome = {.exit_code = -1};
    size_t out_size;
    size_t err_size;
    FILE *out = open_memstream(&outcome.out, &out_size);
    FILE *err = open_memstream(&outcome.err, &err_size);
    assert_non_null(out);
    assert_non_null(err);
    outcome.run =
        conf_options_parse(&PROGRAM, argc, argv, out, err, &outcome.options, &outcome.exit_code);
    assert_int_equal(fclose(out), 0);
    assert_int_equal(fclose(err), 0);
    return outcome;
}

#define PARSE(...) parse((const char *const[]){__VA_ARGS__, NULL})

static void release(struct outcome *outcome)
{
    free(outcome->out);
    free(outcome->err);
}

static void test_short_and_long_flags(void **state)
{
    (void)state;
    struct outcome o = PARSE("-c", "f.conf", "-n", "a:1;b:2", "-p", "-m", "--check");
    assert_true(o.run);
    assert_string_equal(o.options.config_file, "f.conf");
    assert_string_equal(o.options.namesrv_addr, "a:1;b:2");
    assert_true(o.options.print && o.options.print_important && o.options.check);
    assert_string_equal(o.err, "");
    release(&o);
    o = PARSE("--configFile=f.conf", "--namesrvAddr", "a:1", "--printConfigItem",
              "--printImportantConfig");
    assert_true(o.run);
    assert_string_equal(o.options.config_file, "f.conf");
    assert_string_equal(o.options.namesrv_addr, "a:1");
    assert_true(o.options.print && o.options.print_important);
    assert_false(o.options.check);
    release(&o);
}

static void test_no_flags(void **state)
{
    (void)state;
    struct outcome o = parse((const char *const[]){NULL});
    assert_true(o.run);
    assert_null(o.options.config_file);
    assert_null(o.options.namesrv_addr);
    release(&o);
}

static void test_help_and_version(void **state)
{
    (void)state;
    static const char *const FLAGS[] = {"-h", "--help", "-v", "--version"};
    for (size_t i = 0; i < 4; i++) {
        struct outcome o = PARSE(FLAGS[i]);
        assert_false(o.run);
        assert_int_equal(o.exit_code, 0);
        assert_non_null(strstr(o.out, i < 2 ? "usage: mqbroker" : "4.9.2"));
        assert_string_equal(o.err, "");
        release(&o);
    }
}

static void test_wrong_flags(void **state)
{
    (void)state;
    static const struct {
        const char *words[3];
        const char *message;
    } WRONG[] = {
        {{"-x"}, "mqbroker: unknown flag -x; mqbroker --help lists the flags\n"},
        {{"--xyz"}, "mqbroker: unknown flag --xyz; mqbroker --help lists the flags\n"},
        {{"--xyz=1"}, "mqbroker: unknown flag --xyz=1; mqbroker --help lists the flags\n"},
        {{"-p", "-c"}, "mqbroker: -c needs a value; mqbroker --help lists the flags\n"},
        {{"--configFile"},
         "mqbroker: --configFile needs a value; mqbroker --help lists the flags\n"},
        {{"--help=1"}, "mqbroker: --help=1 takes no value; mqbroker --help lists the flags\n"},
        {{"-pxm"}, "mqbroker: unknown flag -x; mqbroker --help lists the flags\n"},
    };
    for (size_t i = 0; i < sizeof WRONG / sizeof WRONG[0]; i++) {
        struct outcome o = parse(WRONG[i].words);
        assert_false(o.run);
        assert_int_equal(o.exit_code, 2);
        assert_string_equal(o.err, WRONG[i].message);
        assert_string_equal(o.out, "");
        release(&o);
    }
}

static void test_other_words_are_ignored_aloud(void **state)
{
    (void)state;
    struct outcome o = PARSE("-n", "a:1", "autoCreateTopicEnable=true");
    assert_true(o.run);
    assert_string_equal(o.options.namesrv_addr, "a:1");
    assert_string_equal(o.err, "mqbroker: autoCreateTopicEnable=true is not a flag and is ignored; "
                               "options belong into the -c file\n");
    release(&o);
}

static void test_what_is_printed(void **state)
{
    (void)state;
    struct namesrv_conf values;
    struct conf conf;
    struct conf_options options = {0};
    char *text;
    size_t size;
    namesrv_conf_init(&values, &conf);
    assert_true(conf_options_run(&PROGRAM, &options, &conf, stderr));
    for (int i = 0; i < 3; i++) {
        options =
            (struct conf_options){.print = i == 0, .print_important = i == 1, .check = i == 2};
        FILE *out = open_memstream(&text, &size);
        assert_non_null(out);
        assert_false(conf_options_run(&PROGRAM, &options, &conf, out));
        assert_int_equal(fclose(out), 0);
        assert_int_equal(strstr(text, "listenPort = 9876") != NULL, i == 0);
        assert_int_equal(strstr(text, "no errors") != NULL, i == 2);
        free(text);
    }
    conf_release(&conf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_short_and_long_flags),
        cmocka_unit_test(test_no_flags),
        cmocka_unit_test(test_help_and_version),
        cmocka_unit_test(test_wrong_flags),
        cmocka_unit_test(test_other_words_are_ignored_aloud),
        cmocka_unit_test(test_what_is_printed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
