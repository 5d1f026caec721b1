/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as plain_acl.yml: they are read, or refused with words. A change of a file that was
 * read gives one that is read as well, with the change in it and every other account as it was.
 */
#include "broker/access/acl_file.h"
#include "common/base/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NAME "acl.yml"
#define KEY "fuzzed-account"

static const struct acl_version version = {2, 3};

static struct access_rules *read_again(const struct buf *text)
{
    struct access_rules *rules = NULL;
    struct err err = {0};
    CHECK(acl_file_read(buf_slice(text), NAME, &rules, &err) == STATUS_OK);
    CHECK(rules->counter == 2 && rules->timestamp_ms == 3);
    return rules;
}

static void check_others(const struct access_rules *before, const struct access_rules *after)
{
    size_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&before->accounts, &cursor)) != NULL;) {
        const struct access_account *old = entry->value;
        const struct access_account *new = access_rules_account(after, entry->key);
        if (slice_is(entry->key, KEY))
            continue;
        CHECK(new != NULL &&slice_equal(new->secret_key, old->secret_key));
        CHECK(new->admin == old->admin &&new->rights.count == old->rights.count);
        CHECK(new->default_topic == old->default_topic);
        CHECK(new->default_group == old->default_group);
    }
}

static void check_put(struct slice text, const struct access_rules *rules, struct buf *out)
{
    const struct acl_account account = {.access_key = KEY,
                                        .secret_key = "its \"secret\": #'1",
                                        .topic_perms = "t=PUB",
                                        .white_remote_address = "10.0.0.*"};
    struct err err = {0};
    if (acl_file_put_account(text, NAME, &account, version, out, &err) != STATUS_OK)
        return;
    struct access_rules *after = read_again(out);
    const struct access_account *put = access_rules_account(after, SLICE_LITERAL(KEY));
    CHECK(put != NULL && slice_is(put->secret_key, account.secret_key));
    CHECK(access_account_may(put, SLICE_LITERAL("t"), ACCESS_PUB));
    check_others(rules, after);
    access_rules_release(after);
}

static void check_white(struct slice text, const struct access_rules *rules, struct buf *out)
{
    struct err err = {0};
    buf_clear(out);
    if (acl_file_set_white(text, NAME, "10.0.0.{1,2},fe80::*", version, out, &err) != STATUS_OK)
        return;
    struct access_rules *after = read_again(out);
    CHECK(after->shown.n_global_white_addrs == 2);
    check_others(rules, after);
    access_rules_release(after);
}

static void check_address(struct slice text)
{
    struct address_list list = ADDRESS_LIST_EMPTY;
    struct host v4 = {.ip = {10, 0, 0, 1}, .ip_bytes = 4};
    struct host v6 = {.ip = {0xfe, 0x80, [15] = 1}, .ip_bytes = 16};
    if (address_list_add(&list, text, NULL) == STATUS_OK) {
        (void)address_list_has(&list, &v4);
        (void)address_list_has(&list, &v6);
    }
    address_list_release(&list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = slice_of(data, size);
    struct access_rules *rules = NULL;
    struct err err = {0};
    struct buf out = BUF_EMPTY;
    check_address(text);
    if (acl_file_read(text, NAME, &rules, &err) == STATUS_OK) {
        check_put(text, rules, &out);
        check_white(text, rules, &out);
        access_rules_release(rules);
    } else {
        CHECK(err.text[0] != '\0');
    }
    buf_release(&out);
    return 0;
}
