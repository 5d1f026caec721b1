/* SPDX-License-Identifier: Apache-2.0
 *
 * plain_acl.yml: what is read, with its defaults; what each fault says, and on which line; what the
 * commands make of a file.
 * Source of the rules: RMQ 4.9.2 acl/.../PlainPermissionManager.java, Permission.java and the files
 * of their tests.
 */
#include "broker/access/acl_file.h"

#include "broker/access/yaml_tree.h"
#include "common/base/limits.h"

#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const char FILE_TEXT[] = "# comment\n"
                                "globalWhiteRemoteAddresses:\n"
                                "- 10.10.103.*\n"
                                "- 192.168.0.*\n"
                                "\n"
                                "accounts:\n"
                                "- accessKey: RocketMQ\n"
                                "  secretKey: 12345678\n"
                                "  whiteRemoteAddress:\n"
                                "  admin: false\n"
                                "  defaultTopicPerm: DENY\n"
                                "  defaultGroupPerm: SUB\n"
                                "  topicPerms:\n"
                                "  - topicA=DENY\n"
                                "  - topicB=PUB|SUB\n"
                                "  - topicC= SUB\n"
                                "  groupPerms:\n"
                                "  - groupA=DENY\n"
                                "  - groupB=SUB|PUB\n"
                                "  other: kept\n"
                                "- accessKey: rocketmq2\n"
                                "  secretKey: '12345678'\n"
                                "  whiteRemoteAddress: 192.168.1.*\n"
                                "  admin: true\n";

static struct access_rules *read_text(const char *text)
{
    struct access_rules *rules = NULL;
    struct err err = {0};
    if (acl_file_read(slice_of_cstr(text), "acl.yml", &rules, &err) != STATUS_OK)
        fail_msg("refused: %s", err.text);
    return rules;
}

static bool may(const struct access_rules *rules, const char *key, const char *resource,
                unsigned right)
{
    const struct access_account *account = access_rules_account(rules, slice_of_cstr(key));
    assert_non_null(account);
    return access_account_may(account, slice_of_cstr(resource), right);
}

static void a_file_is_read(void **state)
{
    (void)state;
    struct access_rules *rules = read_text(FILE_TEXT);
    struct host host;
    assert_true(host_parse("192.168.0.7", 0, &host));
    assert_true(address_list_has(&rules->white, &host));
    assert_int_equal(rules->accounts.count, 2);
    const struct access_account *first = access_rules_account(rules, SLICE_LITERAL("RocketMQ"));
    assert_true(slice_is(first->secret_key, "12345678"));
    assert_false(first->admin);
    assert_false(address_list_has(&first->white, &host));
    assert_false(may(rules, "RocketMQ", "topicA", ACCESS_PUB));
    assert_true(may(rules, "RocketMQ", "topicB", ACCESS_PUB));
    assert_true(may(rules, "RocketMQ", "topicC", ACCESS_SUB));
    assert_false(may(rules, "RocketMQ", "topicC", ACCESS_PUB));
    assert_false(may(rules, "RocketMQ", "unlisted", ACCESS_SUB));
    assert_false(may(rules, "RocketMQ", "%RETRY%groupA", ACCESS_SUB));
    assert_true(may(rules, "RocketMQ", "%RETRY%groupB", ACCESS_PUB));
    assert_true(may(rules, "RocketMQ", "%RETRY%unlisted", ACCESS_SUB));
    assert_false(may(rules, "RocketMQ", "%RETRY%unlisted", ACCESS_PUB));
    assert_true(may(rules, "rocketmq2", "anything", ACCESS_PUB));
    assert_true(may(rules, "rocketmq2", "%RETRY%anything", ACCESS_SUB));
    assert_null(access_rules_account(rules, SLICE_LITERAL("rocketmq")));
    assert_false(rules->has_version);
    assert_int_equal(rules->shown.n_plain_access_configs, 2);
    assert_int_equal(rules->shown.n_global_white_addrs, 2);
    assert_string_equal(rules->shown.plain_access_configs[0]->topic_perms[1], "topicB=PUB|SUB");
    access_rules_release(rules);
}

static void defaults_and_doubles(void **state)
{
    (void)state;
    struct access_rules *rules = read_text("accounts:\n"
                                           "- accessKey: account-a\n"
                                           "  secretKey: first-secret\n"
                                           "  admin: true\n"
                                           "- {accessKey: account-a, secretKey: second-secret}\n"
                                           "- accessKey: account-b\n"
                                           "  secretKey: 0189999\n"
                                           "  admin: yes\n"
                                           "  defaultTopicPerm: WHATEVER\n"
                                           "  defaultGroupPerm: ' PUB '\n"
                                           "  topicPerms: ['a==SUB', '=b=PUB', 'c=WHO']\n"
                                           "dataVersion:\n"
                                           "- counter: 7\n"
                                           "  timestamp: 1700000000000\n");
    assert_int_equal(rules->accounts.count, 2);
    const struct access_account *a = access_rules_account(rules, SLICE_LITERAL("account-a"));
    assert_true(slice_is(a->secret_key, "second-secret"));
    assert_false(a->admin);
    assert_false(may(rules, "account-a", "topic", ACCESS_SUB));
    assert_false(may(rules, "account-a", "%RETRY%group", ACCESS_SUB));
    /* An administrator with lists goes by the lists and the defaults. */
    assert_true(access_rules_account(rules, SLICE_LITERAL("account-b"))->admin);
    assert_true(may(rules, "account-b", "a", ACCESS_SUB));
    assert_true(may(rules, "account-b", "b", ACCESS_PUB));
    assert_false(may(rules, "account-b", "c", ACCESS_SUB));
    assert_false(may(rules, "account-b", "d", ACCESS_SUB));
    assert_true(may(rules, "account-b", "%RETRY%g", ACCESS_PUB));
    assert_true(rules->has_version);
    assert_int_equal(rules->counter, 7);
    assert_int_equal(rules->timestamp_ms, 1700000000000);
    access_rules_release(rules);
    rules = read_text("globalWhiteRemoteAddresses: ['*']\naccounts:\n");
    assert_true(rules->white.everybody);
    access_rules_release(rules);
}

struct fault {
    const char *text;
    const char *says; /* the message begins so */
};

#define ACCOUNT "accounts:\n- accessKey: account-a\n  secretKey: the-secret\n"

static void faults_have_places(void **state)
{
    static const struct fault faults[] = {
        {"", "acl.yml: the file is empty"},
        {"# only a comment\n", "acl.yml: the file is empty"},
        {"null\n", "acl.yml: the file is empty"},
        {"- a\n", "acl.yml:1: expected keys"},
        {"accounts: [\n", "acl.yml:"},
        {"a: b\n---\nc: d\n", "acl.yml:3: a second document"},
        {"accounts: *nobody\n", "acl.yml:1: found undefined alias"},
        {"accounts: text\n", "acl.yml:1: accounts: expected a list"},
        {"accounts:\n- text\n", "acl.yml:2: accounts: expected an account"},
        {"accounts:\n- secretKey: the-secret\n", "acl.yml:2: accessKey: every account"},
        {"accounts:\n- accessKey: sixsix\n  secretKey: the-secret\n", "acl.yml:2: accessKey: "},
        {"accounts:\n- accessKey: account-a\n", "acl.yml:2: secretKey: "},
        {"accounts:\n- accessKey: account-a\n  secretKey: sixsix\n", "acl.yml:2: secretKey: "},
        {"accounts:\n- accessKey: account-a\n  secretKey: 01234567\n",
         "acl.yml:3: secretKey: YAML reads this as a number"},
        {"accounts:\n- accessKey: account-a\n  secretKey: 1_000_000\n", "acl.yml:3: secretKey: "},
        {"accounts:\n- accessKey: account-a\n  secretKey: [a]\n",
         "acl.yml:3: secretKey: expected a text"},
        {"accounts:\n- accessKey: account-a\n  secretKey: \"the\\0secret\"\n",
         "acl.yml:3: secretKey: the text holds a NUL"},
        {ACCOUNT "  admin: perhaps\n", "acl.yml:4: admin: expected true or false"},
        {ACCOUNT "  whiteRemoteAddress: 1.2.3\n", "acl.yml:4: whiteRemoteAddress: \"1.2.3\""},
        {ACCOUNT "  topicPerms: a=SUB\n", "acl.yml:4: topicPerms: expected a list"},
        {ACCOUNT "  topicPerms:\n  - a\n", "acl.yml:5: topicPerms: an item"},
        {ACCOUNT "  groupPerms:\n  - a=SUB=PUB\n", "acl.yml:5: groupPerms: an item"},
        {ACCOUNT "  groupPerms:\n  - =SUB\n", "acl.yml:5: groupPerms: an item"},
        {ACCOUNT "  <<: {admin: true}\n", "acl.yml:2: account-a: merging"},
        {"globalWhiteRemoteAddresses:\n- 10.0.0.300\n",
         "acl.yml:2: globalWhiteRemoteAddresses: \"10.0.0.300\""},
        {"dataVersion: 1\n", "acl.yml:1: dataVersion: "},
        {"dataVersion:\n- counter: many\n", "acl.yml:2: counter: expected a whole number"},
        {"a: \xff\n", "acl.yml: byte "},
    };
    (void)state;
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        struct access_rules *rules = NULL;
        struct err err = {0};
        if (acl_file_read(slice_of_cstr(faults[i].text), "acl.yml", &rules, &err) == STATUS_OK)
            fail_msg("taken: %s", faults[i].text);
        if (strncmp(err.text, faults[i].says, strlen(faults[i].says)) != 0)
            fail_msg("%s\nsays: %s", faults[i].text, err.text);
        assert_null(strstr(err.text, "the-secret"));
    }
}

static void a_file_has_a_limit(void **state)
{
    struct access_rules *rules = NULL;
    struct err err = {0};
    char *text = malloc(ACL_FILE_BYTES_MAX + 1);
    (void)state;
    memset(text, '\n', ACL_FILE_BYTES_MAX + 1);
    assert_int_equal(acl_file_read(slice_of(text, ACL_FILE_BYTES_MAX + 1), "acl.yml", &rules, &err),
                     STATUS_TOO_LARGE);
    free(text);
}

/* An alias that holds itself leads nowhere. */
static void a_ring_of_aliases(void **state)
{
    struct access_rules *rules = NULL;
    struct err err = {0};
    (void)state;
    assert_int_equal(acl_file_read(SLICE_LITERAL("accounts: &a\n- *a\n"), "acl.yml", &rules, &err),
                     STATUS_MALFORMED);
    rules = read_text("accounts: []\nother: &a [*a, {b: *a}]\n");
    access_rules_release(rules);
}

static void numbers_of_other_spelling(void **state)
{
    static const char *const odd[] = {"0123456", "0x1f", "0b11", "1_000", "+12",  "1:30:00",
                                      "1.50",    ".5",   "1e9",  "-1.5",  "-012", "1.5e+3",
                                      "0",       "-1",   "12",   NULL};
    static const char *const usual[] = {"08",  "12ab", "1.2.3", "0x",       "-", "a",
                                        "1-2", "+",    "0xg",   "12345678", NULL};
    (void)state;
    for (size_t i = 0; odd[i] != NULL; i++) {
        struct yaml_tree *tree = NULL;
        bool plain =
            strcmp(odd[i], "0") == 0 || strcmp(odd[i], "-1") == 0 || strcmp(odd[i], "12") == 0;
        assert_int_equal(yaml_tree_parse(slice_of_cstr(odd[i]), "n", &tree, NULL), STATUS_OK);
        if (yaml_tree_is_odd_number(tree, yaml_tree_root(tree)) == plain)
            fail_msg("%s", odd[i]);
        yaml_tree_free(tree);
    }
    for (size_t i = 0; usual[i] != NULL; i++) {
        struct yaml_tree *tree = NULL;
        assert_int_equal(yaml_tree_parse(slice_of_cstr(usual[i]), "n", &tree, NULL), STATUS_OK);
        if (yaml_tree_is_odd_number(tree, yaml_tree_root(tree)))
            fail_msg("%s", usual[i]);
        yaml_tree_free(tree);
    }
}

/* --- changes --- */

static const struct acl_version VERSION = {3, 1700000000123};

static char *text_of(struct buf *out)
{
    buf_append_byte(out, '\0');
    return (char *)out->data;
}

static void an_account_is_added(void **state)
{
    struct buf out = BUF_EMPTY;
    struct err err = {0};
    const struct acl_account account = {.access_key = "new-account",
                                        .secret_key = "0123456789",
                                        .white_remote_address = "10.0.0.{1,2}",
                                        .admin = true,
                                        .default_topic_perm = "PUB|SUB",
                                        .default_group_perm = "",
                                        .topic_perms = "a=PUB, b=SUB,"};
    (void)state;
    assert_int_equal(
        acl_file_put_account(slice_of_cstr(FILE_TEXT), "acl.yml", &account, VERSION, &out, &err),
        STATUS_OK);
    const char *text = text_of(&out);
    struct access_rules *rules = read_text(text);
    assert_int_equal(rules->accounts.count, 3);
    assert_int_equal(rules->counter, 3);
    assert_int_equal(rules->timestamp_ms, 1700000000123);
    assert_true(may(rules, "new-account", "b", ACCESS_SUB));
    assert_false(may(rules, "new-account", "b", ACCESS_PUB));
    assert_non_null(strstr(text, "secretKey: '0123456789'")); /* stays a text for YAML */
    assert_non_null(strstr(text, "other: kept"));
    assert_non_null(strstr(text, "secretKey: 12345678\n"));
    assert_non_null(strstr(text, "secretKey: '12345678'\n"));
    access_rules_release(rules);
    buf_release(&out);
}

static void an_account_is_changed(void **state)
{
    struct buf out = BUF_EMPTY;
    struct err err = {0};
    const struct acl_account account = {
        .access_key = "RocketMQ", .secret_key = "another-secret", .group_perms = ""};
    (void)state;
    assert_int_equal(
        acl_file_put_account(slice_of_cstr(FILE_TEXT), "acl.yml", &account, VERSION, &out, &err),
        STATUS_OK);
    struct access_rules *rules = read_text(text_of(&out));
    const PlainAccessConfig *last = rules->shown.plain_access_configs[1];
    assert_int_equal(rules->shown.n_plain_access_configs, 2);
    assert_string_equal(last->access_key, "RocketMQ");
    assert_string_equal(last->secret_key, "another-secret");
    assert_int_equal(last->n_topic_perms, 3); /* not named: as it was */
    assert_int_equal(last->n_group_perms, 0);
    assert_string_equal(last->default_group_perm, "SUB");
    access_rules_release(rules);
    buf_release(&out);
}

static void accounts_and_lists_go(void **state)
{
    struct buf out = BUF_EMPTY;
    struct err err = {0};
    (void)state;
    assert_int_equal(acl_file_delete_account(slice_of_cstr(FILE_TEXT), "acl.yml", "RocketMQ",
                                             VERSION, &out, &err),
                     STATUS_OK);
    struct access_rules *rules = read_text(text_of(&out));
    assert_int_equal(rules->accounts.count, 1);
    access_rules_release(rules);
    out.size--;
    struct buf next = BUF_EMPTY;
    assert_int_equal(
        acl_file_delete_account(buf_slice(&out), "acl.yml", "RocketMQ", VERSION, &next, &err),
        STATUS_NOT_FOUND);
    buf_clear(&next);
    assert_int_equal(
        acl_file_set_white(buf_slice(&out), "acl.yml", "1.2.3.{4,5},*", VERSION, &next, &err),
        STATUS_OK);
    rules = read_text(text_of(&next));
    assert_int_equal(rules->shown.n_global_white_addrs, 2);
    assert_string_equal(rules->shown.global_white_addrs[0], "1.2.3.{4,5}");
    assert_true(rules->white.everybody);
    access_rules_release(rules);
    buf_release(&next);
    buf_release(&out);
}

static void what_a_file_must_have(void **state)
{
    struct buf out = BUF_EMPTY;
    struct err err = {0};
    const struct acl_account account = {.access_key = "account-a", .secret_key = "the-secret"};
    (void)state;
    assert_int_equal(
        acl_file_put_account(SLICE_LITERAL("a: b\n"), "acl.yml", &account, VERSION, &out, &err),
        STATUS_MISSING);
    assert_int_equal(
        acl_file_set_white(SLICE_LITERAL("a: b\n"), "acl.yml", "1.2.3.4", VERSION, &out, &err),
        STATUS_MISSING);
    assert_int_equal(
        acl_file_set_white(SLICE_LITERAL("a: b\n"), "acl.yml", "1.2.3", VERSION, &out, &err),
        STATUS_INVALID);
    assert_int_equal(acl_file_put_account(SLICE_LITERAL("accounts: []\n"), "acl.yml", &account,
                                          VERSION, &out, &err),
                     STATUS_OK);
    buf_release(&out);
}

static void empty_files_take_accounts(void **state)
{
    struct buf out = BUF_EMPTY;
    struct err err = {0};
    const struct acl_account account = {.access_key = "account: #a",
                                        .secret_key = "it's \"quoted\"\\ \xc3\xa4"};
    (void)state;
    assert_int_equal(acl_file_put_account(SLICE_LITERAL("accounts: []\n"), "acl.yml", &account,
                                          VERSION, &out, &err),
                     STATUS_OK);
    struct access_rules *rules = read_text(text_of(&out));
    const struct access_account *found =
        access_rules_account(rules, slice_of_cstr(account.access_key));
    assert_non_null(found);
    assert_true(slice_is(found->secret_key, account.secret_key));
    access_rules_release(rules);
    buf_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_read),
        cmocka_unit_test(defaults_and_doubles),
        cmocka_unit_test(faults_have_places),
        cmocka_unit_test(a_file_has_a_limit),
        cmocka_unit_test(a_ring_of_aliases),
        cmocka_unit_test(numbers_of_other_spelling),
        cmocka_unit_test(an_account_is_added),
        cmocka_unit_test(an_account_is_changed),
        cmocka_unit_test(accounts_and_lists_go),
        cmocka_unit_test(what_a_file_must_have),
        cmocka_unit_test(empty_files_take_accounts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
