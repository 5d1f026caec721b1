/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading walks the keys that 4.9.2 knows, each of which has one type; unknown keys are passed
 * over, and kept by changes.
 *
 * A secret key, or any other text, that YAML takes for a number of another spelling is refused:
 * 4.9.2 reads 0123456 as 42798, and clients that sign with what is written fail there.
 * Source: RMQ acl/.../PlainPermissionManager.java, Permission.java.
 */
#include "broker/access/acl_file.h"

#include "broker/access/yaml_tree.h"
#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/base/number.h"

#include <strings.h>

#define KEY_WHITE "globalWhiteRemoteAddresses"
#define KEY_ACCOUNTS "accounts"
#define KEY_VERSION "dataVersion"
#define KEY_BYTES_MIN 7 /* of access keys and secret keys: 4.9.2 wants more than 6 */

struct reader {
    const struct yaml_tree *tree;
    const char *name;
    struct access_rules *rules;
    struct err *err;
};

static enum status fault(const struct reader *reader, int node, const char *key, const char *what)
{
    return err_set(reader->err, STATUS_MALFORMED, "%s:%d: %s: %s", reader->name,
                   yaml_tree_line(reader->tree, node), key, what);
}

/* --- pieces of the file --- */

/* A scalar as a C string of the arena; *out is NULL when it is null. */
static enum status read_text(const struct reader *reader, int node, const char *key, char **out)
{
    struct slice text = yaml_tree_text(reader->tree, node);
    *out = NULL;
    switch (yaml_tree_kind(reader->tree, node)) {
    case YAML_KIND_NULL:
        return STATUS_OK;
    case YAML_KIND_TEXT:
        break;
    default:
        return fault(reader, node, key, "expected a text, found a list or a map");
    }
    if (yaml_tree_is_odd_number(reader->tree, node))
        return fault(reader, node, key,
                     "YAML reads this as a number and changes its spelling; write it in quotes");
    if (text.size > 0 && memchr(text.data, '\0', text.size) != NULL)
        return fault(reader, node, key, "the text holds a NUL character; leave it out");
    *out = arena_cstr(&reader->rules->arena, text);
    return STATUS_OK;
}

/* The same for a value of a map. */
static enum status read_member(const struct reader *reader, int map, const char *key, char **out)
{
    return read_text(reader, yaml_tree_get(reader->tree, map, key), key, out);
}

static enum status read_texts(const struct reader *reader, int map, const char *key, char ***out,
                              size_t *count)
{
    int list = yaml_tree_get(reader->tree, map, key);
    *count = 0;
    *out = NULL;
    if (yaml_tree_kind(reader->tree, list) == YAML_KIND_NULL)
        return STATUS_OK;
    if (yaml_tree_kind(reader->tree, list) != YAML_KIND_LIST)
        return fault(reader, list, key, "expected a list, one item behind each dash");
    size_t room = yaml_tree_count(reader->tree, list);
    *out = arena_alloc(&reader->rules->arena, (room + 1) * sizeof **out);
    for (size_t i = 0; i < room; i++) {
        char *text;
        enum status status = read_text(reader, yaml_tree_item(reader->tree, list, i), key, &text);
        if (status != STATUS_OK)
            return status;
        if (text != NULL)
            (*out)[(*count)++] = text;
    }
    return STATUS_OK;
}

static bool is_word(const char *text, const char *const *words)
{
    for (; *words != NULL; words++)
        if (strcasecmp(text, *words) == 0)
            return true;
    return false;
}

static enum status read_bool(const struct reader *reader, int map, const char *key, bool *out)
{
    static const char *const yes[] = {"true", "yes", "on", "1", "y", "t", NULL};
    static const char *const no[] = {"false", "no", "off", "0", "n", "f", "", NULL};
    char *text;
    enum status status = read_member(reader, map, key, &text);
    if (status != STATUS_OK)
        return status;
    *out = text != NULL && is_word(text, yes);
    if (text == NULL || *out || is_word(text, no))
        return STATUS_OK;
    return fault(reader, yaml_tree_get(reader->tree, map, key), key, "expected true or false");
}

static enum status read_number(const struct reader *reader, int map, const char *key, int64_t *out)
{
    char *text;
    enum status status = read_member(reader, map, key, &text);
    if (status == STATUS_OK && text != NULL && !parse_i64(slice_of_cstr(text), out))
        status =
            fault(reader, yaml_tree_get(reader->tree, map, key), key, "expected a whole number");
    return status;
}

/* --- accounts --- */

static struct slice trim(struct slice text)
{
    while (text.size > 0 && text.data[0] <= ' ')
        text = slice_from(text, 1);
    while (text.size > 0 && text.data[text.size - 1] <= ' ')
        text.size--;
    return text;
}

/* "name=right". Of more than one sign of equality in a row one counts; 4.9.2 reads it so. */
static bool split_right(struct slice text, struct slice *name, struct slice *right)
{
    size_t at = 0;
    while (text.size > 0 && text.data[0] == '=')
        text = slice_from(text, 1);
    while (text.size > 0 && text.data[text.size - 1] == '=')
        text.size--;
    while (at < text.size && text.data[at] != '=')
        at++;
    *name = trim(slice_of(text.data, at));
    while (at < text.size && text.data[at] == '=')
        at++;
    struct slice rest = slice_from(text, at);
    *right = trim(rest);
    return name->size > 0 && right->size > 0 && memchr(rest.data, '=', rest.size) == NULL;
}

static void put_right(struct access_rules *rules, struct access_account *account, bool is_group,
                      struct slice name, struct slice right)
{
    const char *resource = arena_printf(&rules->arena, "%s%.*s",
                                        is_group ? ACCESS_GROUP_PREFIX : "", SLICE_ARGS(name));
    (void)map_put(&account->rights, slice_of_cstr(resource), (void *)(uintptr_t)access_bits(right));
}

static enum status read_rights(const struct reader *reader, int map, bool is_group, char **texts,
                               size_t count, struct access_account *account)
{
    const char *key = is_group ? "groupPerms" : "topicPerms";
    for (size_t i = 0; i < count; i++) {
        struct slice name;
        struct slice right;
        if (!split_right(slice_of_cstr(texts[i]), &name, &right))
            return fault(reader, yaml_tree_get(reader->tree, map, key), key,
                         "an item of the list is not name=PERM; write one such as topicA=PUB|SUB");
        put_right(reader->rules, account, is_group, name, right);
    }
    return STATUS_OK;
}

static enum status read_shown(const struct reader *reader, int map, PlainAccessConfig *out)
{
    bool admin = false;
    enum status status = read_member(reader, map, "accessKey", &out->access_key);
    if (status == STATUS_OK)
        status = read_member(reader, map, "secretKey", &out->secret_key);
    if (status == STATUS_OK)
        status = read_member(reader, map, "whiteRemoteAddress", &out->white_remote_address);
    if (status == STATUS_OK)
        status = read_bool(reader, map, "admin", &admin);
    if (status == STATUS_OK)
        status = read_member(reader, map, "defaultTopicPerm", &out->default_topic_perm);
    if (status == STATUS_OK)
        status = read_member(reader, map, "defaultGroupPerm", &out->default_group_perm);
    if (status == STATUS_OK)
        status = read_texts(reader, map, "topicPerms", &out->topic_perms, &out->n_topic_perms);
    if (status == STATUS_OK)
        status = read_texts(reader, map, "groupPerms", &out->group_perms, &out->n_group_perms);
    out->admin = admin;
    return status;
}

static enum status check_keys(const struct reader *reader, int map, const PlainAccessConfig *shown)
{
    if (shown->access_key == NULL || strlen(shown->access_key) < KEY_BYTES_MIN)
        return fault(reader, map, "accessKey",
                     "every account needs one, and it must be longer than 6 characters");
    if (shown->secret_key == NULL || strlen(shown->secret_key) < KEY_BYTES_MIN)
        return fault(reader, map, "secretKey",
                     "every account needs one, and it must be longer than 6 characters");
    if (yaml_tree_get(reader->tree, map, "<<") != 0)
        return fault(reader, map, shown->access_key,
                     "merging maps (<<) is not understood; write the account out");
    return STATUS_OK;
}

static enum status add_address(const struct reader *reader, struct address_list *list, int node,
                               const char *key, const char *text)
{
    struct err err = {0};
    enum status status =
        text == NULL ? STATUS_OK : address_list_add(list, slice_of_cstr(text), &err);
    if (status == STATUS_OK)
        return STATUS_OK;
    (void)fault(reader, node, key, err.text);
    if (reader->err != NULL)
        reader->err->status = status;
    return status;
}

static enum status fill_account(const struct reader *reader, int map,
                                const PlainAccessConfig *shown, struct access_account *account)
{
    account->access_key = slice_of_cstr(shown->access_key);
    account->secret_key = slice_of_cstr(shown->secret_key);
    account->admin = shown->admin;
    account->default_topic = access_bits(trim(slice_of_cstr(shown->default_topic_perm)));
    account->default_group = access_bits(trim(slice_of_cstr(shown->default_group_perm)));
    enum status status =
        read_rights(reader, map, true, shown->group_perms, shown->n_group_perms, account);
    if (status == STATUS_OK)
        status = read_rights(reader, map, false, shown->topic_perms, shown->n_topic_perms, account);
    if (status != STATUS_OK)
        return status;
    int node = yaml_tree_get(reader->tree, map, "whiteRemoteAddress");
    return add_address(reader, &account->white, node, "whiteRemoteAddress",
                       shown->white_remote_address);
}

static enum status read_account(const struct reader *reader, int map, PlainAccessConfig *shown)
{
    plain_access_config__init(shown);
    if (yaml_tree_kind(reader->tree, map) != YAML_KIND_MAP)
        return fault(reader, map, KEY_ACCOUNTS,
                     "expected an account, a dash and its accessKey, secretKey and so on");
    enum status status = read_shown(reader, map, shown);
    if (status == STATUS_OK)
        status = check_keys(reader, map, shown);
    if (status != STATUS_OK)
        return status;
    struct access_rules *rules = reader->rules;
    struct access_account *account = map_get(&rules->accounts, slice_of_cstr(shown->access_key));
    if (account == NULL) {
        account = arena_alloc(&rules->arena, sizeof *account);
        (void)map_put(&rules->accounts, slice_of_cstr(shown->access_key), account);
    } else { /* of two the last counts */
        address_list_release(&account->white);
        map_release(&account->rights);
    }
    *account = (struct access_account){.white = ADDRESS_LIST_EMPTY, .rights = MAP_EMPTY};
    return fill_account(reader, map, shown, account);
}

static enum status read_accounts(const struct reader *reader, int root)
{
    GetBrokerClusterAclConfigResponseBody *shown = &reader->rules->shown;
    int list = yaml_tree_get(reader->tree, root, KEY_ACCOUNTS);
    if (yaml_tree_kind(reader->tree, list) == YAML_KIND_NULL)
        return STATUS_OK;
    if (yaml_tree_kind(reader->tree, list) != YAML_KIND_LIST)
        return fault(reader, list, KEY_ACCOUNTS, "expected a list, one account behind each dash");
    size_t count = yaml_tree_count(reader->tree, list);
    shown->plain_access_configs =
        arena_alloc(&reader->rules->arena, (count + 1) * sizeof *shown->plain_access_configs);
    for (size_t i = 0; i < count; i++) {
        PlainAccessConfig *config = arena_alloc(&reader->rules->arena, sizeof *config);
        enum status status = read_account(reader, yaml_tree_item(reader->tree, list, i), config);
        if (status != STATUS_OK)
            return status;
        shown->plain_access_configs[shown->n_plain_access_configs++] = config;
    }
    return STATUS_OK;
}

/* --- the whole --- */

static enum status read_white(const struct reader *reader, int root)
{
    GetBrokerClusterAclConfigResponseBody *shown = &reader->rules->shown;
    enum status status = read_texts(reader, root, KEY_WHITE, &shown->global_white_addrs,
                                    &shown->n_global_white_addrs);
    for (size_t i = 0; i < shown->n_global_white_addrs && status == STATUS_OK; i++)
        status =
            add_address(reader, &reader->rules->white, yaml_tree_get(reader->tree, root, KEY_WHITE),
                        KEY_WHITE, shown->global_white_addrs[i]);
    return status;
}

static enum status read_version(const struct reader *reader, int root)
{
    int list = yaml_tree_get(reader->tree, root, KEY_VERSION);
    if (yaml_tree_kind(reader->tree, list) == YAML_KIND_NULL)
        return STATUS_OK;
    if (yaml_tree_kind(reader->tree, list) != YAML_KIND_LIST)
        return fault(reader, list, KEY_VERSION, "expected a list of one counter and timestamp");
    if (yaml_tree_count(reader->tree, list) == 0)
        return STATUS_OK;
    int first = yaml_tree_item(reader->tree, list, 0);
    if (yaml_tree_kind(reader->tree, first) != YAML_KIND_MAP)
        return fault(reader, first, KEY_VERSION, "expected a counter and a timestamp");
    reader->rules->has_version = true;
    enum status status = read_number(reader, first, "counter", &reader->rules->counter);
    if (status == STATUS_OK)
        status = read_number(reader, first, "timestamp", &reader->rules->timestamp_ms);
    return status;
}

static enum status check_root(const struct yaml_tree *tree, const char *name, struct err *err)
{
    int root = yaml_tree_root(tree);
    if (yaml_tree_kind(tree, root) == YAML_KIND_MAP)
        return STATUS_OK;
    if (yaml_tree_kind(tree, root) == YAML_KIND_NULL)
        return err_set(err, STATUS_MALFORMED,
                       "%s: the file is empty, and nobody could do anything; write accounts or "
                       "white lists into it (conf/plain_acl.yml is an example)",
                       name);
    return err_set(err, STATUS_MALFORMED, "%s:%d: expected keys such as accounts:", name,
                   yaml_tree_line(tree, root));
}

static enum status parse(struct slice text, const char *name, struct yaml_tree **out,
                         struct err *err)
{
    if (text.size > ACL_FILE_BYTES_MAX)
        return err_set(err, STATUS_TOO_LARGE, "%s: the file has %zu bytes; %d are allowed", name,
                       text.size, ACL_FILE_BYTES_MAX);
    enum status status = yaml_tree_parse(text, name, out, err);
    if (status == STATUS_OK)
        status = check_root(*out, name, err);
    else
        *out = NULL;
    return status;
}

enum status acl_file_read(struct slice text, const char *name, struct access_rules **out,
                          struct err *err)
{
    struct yaml_tree *tree = NULL;
    enum status status = parse(text, name, &tree, err);
    if (status == STATUS_OK) {
        struct reader reader = {tree, name, access_rules_new(), err};
        int root = yaml_tree_root(tree);
        status = read_white(&reader, root);
        if (status == STATUS_OK)
            status = read_accounts(&reader, root);
        if (status == STATUS_OK)
            status = read_version(&reader, root);
        if (status == STATUS_OK)
            *out = reader.rules;
        else
            access_rules_release(reader.rules);
    }
    yaml_tree_free(tree);
    return status;
}

/* --- changes --- */

static void set_version(struct yaml_tree *tree, struct acl_version version)
{
    int list = yaml_tree_new_list(tree);
    int map = yaml_tree_new_map(tree);
    yaml_tree_set(tree, map, "counter", yaml_tree_new_number(tree, version.counter));
    yaml_tree_set(tree, map, "timestamp", yaml_tree_new_number(tree, version.timestamp_ms));
    yaml_tree_append(tree, list, map);
    yaml_tree_set(tree, yaml_tree_root(tree), KEY_VERSION, list);
}

static enum status finish(struct yaml_tree *tree, const char *name, struct acl_version version,
                          struct buf *out, struct err *err)
{
    set_version(tree, version);
    if (yaml_tree_write(tree, out) == STATUS_OK)
        return STATUS_OK;
    return err_set(err, STATUS_MALFORMED,
                   "%s: the file holds something that cannot be written again; change it by hand",
                   name);
}

/* The place of an account in the list; `count` when it is not there. */
static size_t find_account(const struct yaml_tree *tree, int list, const char *access_key)
{
    size_t count = yaml_tree_count(tree, list);
    size_t i = 0;
    while (i < count) {
        int key = yaml_tree_get(tree, yaml_tree_item(tree, list, i), "accessKey");
        if (slice_is(yaml_tree_text(tree, key), access_key))
            break;
        i++;
    }
    return i;
}

/* Cut `*rest` at the next comma outside of braces; false when nothing is left. */
static bool next_item(struct slice *rest, bool braces, struct slice *item)
{
    int depth = 0;
    size_t size = 0;
    while (rest->size > 0 && rest->data[0] == ',')
        *rest = slice_from(*rest, 1);
    if (rest->size == 0)
        return false;
    while (size < rest->size && (depth > 0 || rest->data[size] != ',')) {
        depth += braces && rest->data[size] == '{';
        depth -= braces && rest->data[size] == '}' && depth > 0;
        size++;
    }
    *item = slice_of(rest->data, size);
    *rest = slice_from(*rest, size);
    return true;
}

static int new_list(struct yaml_tree *tree, const char *text, bool braces)
{
    struct slice rest = slice_of_cstr(text);
    struct slice item;
    int list = yaml_tree_new_list(tree);
    while (next_item(&rest, braces, &item))
        if (trim(item).size > 0)
            yaml_tree_append(tree, list, yaml_tree_new_text(tree, trim(item)));
    return list;
}

static bool is_right(struct slice text)
{
    return slice_is(text, "DENY") || access_bits(text) != ACCESS_DENY;
}

/* 4.9.2 is stricter with what a command says than with the file. */
static enum status check_perms(const char *what, const char *text, struct err *err)
{
    struct slice rest = slice_of_cstr(text);
    struct slice item;
    struct slice name;
    struct slice right;
    while (next_item(&rest, false, &item)) {
        if (trim(item).size == 0)
            continue;
        if (!split_right(item, &name, &right) || !is_right(right))
            return err_set(err, STATUS_INVALID,
                           "%s: \"%.*s\" is not name=PERM, where PERM is DENY, PUB, SUB or PUB|SUB",
                           what, item.size > 200 ? 200 : (int)item.size, (const char *)item.data);
    }
    return STATUS_OK;
}

static enum status check_default(const char *what, const char *text, struct err *err)
{
    if (text == NULL || text[0] == '\0' || is_right(trim(slice_of_cstr(text))))
        return STATUS_OK;
    return err_set(err, STATUS_INVALID, "%s: \"%.100s\" is none of DENY, PUB, SUB and PUB|SUB",
                   what, text);
}

static enum status check_change(const struct acl_account *account, struct err *err)
{
    struct address_list list = ADDRESS_LIST_EMPTY;
    if (strlen(account->access_key) < KEY_BYTES_MIN)
        return err_set(err, STATUS_INVALID, "the accessKey must be longer than 6 characters");
    if (account->secret_key == NULL || strlen(account->secret_key) < KEY_BYTES_MIN)
        return err_set(err, STATUS_INVALID,
                       "the secretKey must be given and longer than 6 characters");
    enum status status = check_default("defaultTopicPerm", account->default_topic_perm, err);
    if (status == STATUS_OK)
        status = check_default("defaultGroupPerm", account->default_group_perm, err);
    if (status == STATUS_OK)
        status = check_perms("topicPerms", account->topic_perms, err);
    if (status == STATUS_OK)
        status = check_perms("groupPerms", account->group_perms, err);
    if (status == STATUS_OK)
        status = address_list_add(&list, slice_of_cstr(account->white_remote_address), err);
    address_list_release(&list);
    return status == STATUS_OK ? STATUS_OK : STATUS_INVALID;
}

static void set_text(struct yaml_tree *tree, int map, const char *key, const char *text)
{
    if (text != NULL && text[0] != '\0')
        yaml_tree_set(tree, map, key, yaml_tree_new_text(tree, slice_of_cstr(text)));
}

static void set_account(struct yaml_tree *tree, int map, const struct acl_account *account)
{
    set_text(tree, map, "accessKey", account->access_key);
    set_text(tree, map, "secretKey", account->secret_key);
    if (account->white_remote_address != NULL)
        yaml_tree_set(tree, map, "whiteRemoteAddress",
                      yaml_tree_new_text(tree, slice_of_cstr(account->white_remote_address)));
    yaml_tree_set(tree, map, "admin", yaml_tree_new_bool(tree, account->admin));
    set_text(tree, map, "defaultTopicPerm", account->default_topic_perm);
    set_text(tree, map, "defaultGroupPerm", account->default_group_perm);
    if (account->topic_perms != NULL)
        yaml_tree_set(tree, map, "topicPerms", new_list(tree, account->topic_perms, false));
    if (account->group_perms != NULL)
        yaml_tree_set(tree, map, "groupPerms", new_list(tree, account->group_perms, false));
}

enum status acl_file_put_account(struct slice text, const char *name,
                                 const struct acl_account *account, struct acl_version version,
                                 struct buf *out, struct err *err)
{
    struct yaml_tree *tree = NULL;
    enum status status = check_change(account, err);
    if (status == STATUS_OK)
        status = parse(text, name, &tree, err);
    int list = status == STATUS_OK ? yaml_tree_get(tree, yaml_tree_root(tree), KEY_ACCOUNTS) : 0;
    if (status == STATUS_OK && yaml_tree_kind(tree, list) != YAML_KIND_LIST)
        status =
            err_set(err, STATUS_MISSING,
                    "%s has no list of accounts; write the line \"accounts: []\" into it", name);
    if (status == STATUS_OK) {
        size_t place = find_account(tree, list, account->access_key);
        int map = 0;
        if (place < yaml_tree_count(tree, list)) {
            map = yaml_tree_item(tree, list, place);
            yaml_tree_remove(tree, list, place);
        } else {
            map = yaml_tree_new_map(tree);
        }
        set_account(tree, map, account);
        yaml_tree_append(tree, list, map);
        status = finish(tree, name, version, out, err);
    }
    yaml_tree_free(tree);
    return status;
}

enum status acl_file_delete_account(struct slice text, const char *name, const char *access_key,
                                    struct acl_version version, struct buf *out, struct err *err)
{
    struct yaml_tree *tree = NULL;
    enum status status = parse(text, name, &tree, err);
    if (status == STATUS_OK) {
        int list = yaml_tree_get(tree, yaml_tree_root(tree), KEY_ACCOUNTS);
        size_t place = find_account(tree, list, access_key);
        if (place < yaml_tree_count(tree, list)) {
            yaml_tree_remove(tree, list, place);
            status = finish(tree, name, version, out, err);
        } else {
            status = err_set(err, STATUS_NOT_FOUND, "%s has no account of that access key", name);
        }
    }
    yaml_tree_free(tree);
    return status;
}

static enum status check_addresses(const char *addresses, struct err *err)
{
    struct address_list list = ADDRESS_LIST_EMPTY;
    struct slice rest = slice_of_cstr(addresses);
    struct slice item;
    enum status status = STATUS_OK;
    while (status == STATUS_OK && next_item(&rest, true, &item))
        status = address_list_add(&list, item, err);
    address_list_release(&list);
    return status == STATUS_OK ? STATUS_OK : STATUS_INVALID;
}

enum status acl_file_set_white(struct slice text, const char *name, const char *addresses,
                               struct acl_version version, struct buf *out, struct err *err)
{
    struct yaml_tree *tree = NULL;
    enum status status = check_addresses(addresses, err);
    if (status == STATUS_OK)
        status = parse(text, name, &tree, err);
    if (status == STATUS_OK) {
        int root = yaml_tree_root(tree);
        if (yaml_tree_kind(tree, yaml_tree_get(tree, root, KEY_WHITE)) != YAML_KIND_LIST) {
            status = err_set(err, STATUS_MISSING,
                             "%s has no list of global addresses; write the line \"" KEY_WHITE
                             ": []\" into it",
                             name);
        } else {
            yaml_tree_set(tree, root, KEY_WHITE, new_list(tree, addresses, true));
            status = finish(tree, name, version, out, err);
        }
    }
    yaml_tree_free(tree);
    return status;
}
