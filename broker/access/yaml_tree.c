/* SPDX-License-Identifier: Apache-2.0
 *
 * libyaml's documents behind a small face. Its reader bounds the depth, and the callers' walks
 * follow a schema of fixed depth, so that an alias that leads back to itself leads nowhere.
 * Only here is libyaml known.
 */
#include "broker/access/yaml_tree.h"

#include "common/base/check.h"
#include "common/base/number.h"

#include <stdlib.h>
#include <strings.h>
#include <yaml.h>

struct yaml_tree {
    yaml_document_t document;
    bool written; /* libyaml has taken the document */
};

/* --- reading --- */

static enum status complain(const yaml_parser_t *parser, const char *name, struct err *err)
{
    const char *problem = parser->problem == NULL ? "it cannot be read" : parser->problem;
    if (parser->error == YAML_READER_ERROR)
        return err_set(err, STATUS_MALFORMED, "%s: byte %zu: %s", name, parser->problem_offset,
                       problem);
    return err_set(err, STATUS_MALFORMED, "%s:%zu: %s%s%s", name, parser->problem_mark.line + 1,
                   problem, parser->context == NULL ? "" : " ",
                   parser->context == NULL ? "" : parser->context);
}

/* Behind the first document there must be nothing. */
static enum status check_end(yaml_parser_t *parser, const char *name, struct err *err)
{
    yaml_document_t next;
    if (yaml_parser_load(parser, &next) == 0)
        return complain(parser, name, err);
    const yaml_node_t *root = yaml_document_get_root_node(&next);
    size_t line = root == NULL ? 0 : root->start_mark.line + 1;
    yaml_document_delete(&next);
    if (line == 0)
        return STATUS_OK;
    return err_set(err, STATUS_MALFORMED,
                   "%s:%zu: a second document begins here; the file may hold one only", name, line);
}

enum status yaml_tree_parse(struct slice text, const char *name, struct yaml_tree **out,
                            struct err *err)
{
    yaml_parser_t parser;
    struct yaml_tree *tree = xcalloc(1, sizeof *tree);
    CHECK(yaml_parser_initialize(&parser) == 1);
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, text.size == 0 ? (const unsigned char *)"" : text.data,
                                 text.size);
    enum status status = STATUS_OK;
    if (yaml_parser_load(&parser, &tree->document) == 0) {
        status = complain(&parser, name, err);
        free(tree);
    } else {
        if (yaml_document_get_root_node(&tree->document) != NULL)
            status = check_end(&parser, name, err);
        if (status != STATUS_OK)
            yaml_tree_free(tree);
    }
    yaml_parser_delete(&parser);
    if (status == STATUS_OK)
        *out = tree;
    return status;
}

void yaml_tree_free(struct yaml_tree *tree)
{
    if (tree != NULL && !tree->written)
        yaml_document_delete(&tree->document);
    free(tree);
}

static yaml_node_t *at(const struct yaml_tree *tree, int node)
{
    return node == 0 ? NULL
                     : yaml_document_get_node((yaml_document_t *)(uintptr_t)&tree->document, node);
}

int yaml_tree_root(const struct yaml_tree *tree)
{
    return tree->document.nodes.top > tree->document.nodes.start ? 1 : 0;
}

struct slice yaml_tree_text(const struct yaml_tree *tree, int node)
{
    const yaml_node_t *found = at(tree, node);
    if (found == NULL || found->type != YAML_SCALAR_NODE)
        return SLICE_EMPTY;
    return slice_of(found->data.scalar.value, found->data.scalar.length);
}

static bool is_plain(const yaml_node_t *node)
{
    return node != NULL && node->type == YAML_SCALAR_NODE &&
           node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           strcmp((const char *)node->tag, YAML_DEFAULT_SCALAR_TAG) == 0;
}

static bool is_null(const yaml_node_t *node, struct slice text)
{
    return is_plain(node) && (text.size == 0 || slice_is(text, "~") || slice_is(text, "null") ||
                              slice_is(text, "Null") || slice_is(text, "NULL"));
}

enum yaml_kind yaml_tree_kind(const struct yaml_tree *tree, int node)
{
    const yaml_node_t *found = at(tree, node);
    if (found == NULL || is_null(found, yaml_tree_text(tree, node)))
        return YAML_KIND_NULL;
    switch (found->type) {
    case YAML_SCALAR_NODE:
        return YAML_KIND_TEXT;
    case YAML_SEQUENCE_NODE:
        return YAML_KIND_LIST;
    case YAML_MAPPING_NODE:
        return YAML_KIND_MAP;
    default:
        return YAML_KIND_NULL;
    }
}

int yaml_tree_line(const struct yaml_tree *tree, int node)
{
    const yaml_node_t *found = at(tree, node);
    return found == NULL ? 0 : (int)found->start_mark.line + 1;
}

static size_t span(struct slice text, const char *set)
{
    size_t size = 0;
    while (size < text.size && text.data[size] != '\0' && strchr(set, text.data[size]) != NULL)
        size++;
    return size;
}

/* Digits, perhaps with a point and an exponent, or parts of sixty. */
static bool is_decimal_number(struct slice text)
{
    size_t digits = span(text, "0123456789_");
    if (digits == text.size)
        return true;
    if (digits > 0 && text.data[digits] == ':')
        return span(text, "0123456789_:.") == text.size;
    struct slice rest = slice_from(text, digits);
    if (rest.data[0] == '.') {
        rest = slice_from(rest, 1);
        size_t more = span(rest, "0123456789_");
        if (digits + more == 0)
            return false;
        rest = slice_from(rest, more);
    } else if (digits == 0) {
        return false;
    }
    if (rest.size == 0)
        return true;
    if (rest.data[0] != 'e' && rest.data[0] != 'E')
        return false;
    rest = slice_from(rest, 1);
    rest = slice_from(rest, rest.size > 0 && (rest.data[0] == '+' || rest.data[0] == '-'));
    return rest.size > 0 && span(rest, "0123456789") == rest.size;
}

bool yaml_tree_is_odd_number(const struct yaml_tree *tree, int node)
{
    struct slice text = yaml_tree_text(tree, node);
    if (!is_plain(at(tree, node)) || text.size == 0)
        return false;
    bool is_signed = text.data[0] == '+' || text.data[0] == '-';
    struct slice rest = slice_from(text, is_signed);
    if (rest.size == 0)
        return false;
    if (rest.size > 2 && rest.data[0] == '0' && (rest.data[1] == 'x' || rest.data[1] == 'b')) {
        struct slice digits = slice_from(rest, 2);
        return span(digits, rest.data[1] == 'x' ? "0123456789abcdefABCDEF_" : "01_") == digits.size;
    }
    bool usual = span(rest, "0123456789") == rest.size && (rest.data[0] != '0' || rest.size == 1) &&
                 text.data[0] != '+';
    /* With an 8 or a 9 behind a leading zero it is no octal number, but a text. */
    bool text_of_digits = rest.data[0] == '0' && span(rest, "0123456789") == rest.size &&
                          span(rest, "01234567") != rest.size;
    return !usual && !text_of_digits && is_decimal_number(rest);
}

size_t yaml_tree_count(const struct yaml_tree *tree, int list)
{
    const yaml_node_t *found = at(tree, list);
    if (found == NULL || found->type != YAML_SEQUENCE_NODE)
        return 0;
    return (size_t)(found->data.sequence.items.top - found->data.sequence.items.start);
}

int yaml_tree_item(const struct yaml_tree *tree, int list, size_t index)
{
    CHECK(index < yaml_tree_count(tree, list));
    return at(tree, list)->data.sequence.items.start[index];
}

static yaml_node_pair_t *find_pair(const struct yaml_tree *tree, int map, const char *key)
{
    const yaml_node_t *found = at(tree, map);
    if (found == NULL || found->type != YAML_MAPPING_NODE)
        return NULL;
    for (yaml_node_pair_t *pair = found->data.mapping.pairs.top;
         pair > found->data.mapping.pairs.start; pair--)
        if (slice_is(yaml_tree_text(tree, pair[-1].key), key))
            return pair - 1;
    return NULL;
}

int yaml_tree_get(const struct yaml_tree *tree, int map, const char *key)
{
    const yaml_node_pair_t *pair = find_pair(tree, map, key);
    return pair == NULL ? 0 : pair->value;
}

/* --- changes --- */

static int new_scalar(struct yaml_tree *tree, struct slice text, yaml_scalar_style_t style)
{
    CHECK(text.size <= INT32_MAX);
    int node = yaml_document_add_scalar(&tree->document, NULL,
                                        text.size == 0 ? (const yaml_char_t *)"" : text.data,
                                        (int)text.size, style);
    CHECK(node != 0); /* no memory */
    return node;
}

/* True for what no reader of YAML takes for anything but this text. */
static bool is_plain_text(struct slice text)
{
    static const char *const words[] = {"true", "false", "yes", "no", "on",
                                        "off",  "null",  "y",   "n"};
    if (text.size == 0 || (text.data[0] | 0x20) < 'a' || (text.data[0] | 0x20) > 'z')
        return false;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (text.size == strlen(words[i]) &&
            strncasecmp((const char *)text.data, words[i], text.size) == 0)
            return false;
    return span(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.|%=") ==
           text.size;
}

int yaml_tree_new_text(struct yaml_tree *tree, struct slice text)
{
    return new_scalar(tree, text,
                      is_plain_text(text) ? YAML_PLAIN_SCALAR_STYLE
                                          : YAML_SINGLE_QUOTED_SCALAR_STYLE);
}

int yaml_tree_new_number(struct yaml_tree *tree, int64_t number)
{
    char text[I64_TEXT_BYTES];
    return new_scalar(tree, slice_of(text, format_i64(number, text)), YAML_PLAIN_SCALAR_STYLE);
}

int yaml_tree_new_bool(struct yaml_tree *tree, bool value)
{
    return new_scalar(tree, slice_of_cstr(value ? "true" : "false"), YAML_PLAIN_SCALAR_STYLE);
}

int yaml_tree_new_list(struct yaml_tree *tree)
{
    int node = yaml_document_add_sequence(&tree->document, NULL, YAML_BLOCK_SEQUENCE_STYLE);
    CHECK(node != 0);
    return node;
}

int yaml_tree_new_map(struct yaml_tree *tree)
{
    int node = yaml_document_add_mapping(&tree->document, NULL, YAML_BLOCK_MAPPING_STYLE);
    CHECK(node != 0);
    return node;
}

void yaml_tree_append(struct yaml_tree *tree, int list, int node)
{
    CHECK(yaml_document_append_sequence_item(&tree->document, list, node) == 1);
}

void yaml_tree_remove(struct yaml_tree *tree, int list, size_t index)
{
    size_t count = yaml_tree_count(tree, list);
    CHECK(index < count);
    yaml_node_item_t *items = at(tree, list)->data.sequence.items.start;
    memmove(items + index, items + index + 1, (count - index - 1) * sizeof *items);
    at(tree, list)->data.sequence.items.top--;
}

void yaml_tree_set(struct yaml_tree *tree, int map, const char *key, int node)
{
    yaml_node_pair_t *pair = find_pair(tree, map, key);
    if (pair != NULL) {
        pair->value = node;
        return;
    }
    int name = yaml_tree_new_text(tree, slice_of_cstr(key));
    CHECK(yaml_document_append_mapping_pair(&tree->document, map, name, node) == 1);
}

static int take_output(void *out, unsigned char *data, size_t size)
{
    buf_append(out, data, size);
    return 1;
}

enum status yaml_tree_write(struct yaml_tree *tree, struct buf *out)
{
    yaml_emitter_t emitter;
    CHECK(yaml_emitter_initialize(&emitter) == 1);
    yaml_emitter_set_output(&emitter, take_output, out);
    yaml_emitter_set_unicode(&emitter, 1);
    yaml_emitter_set_width(&emitter, -1);
    tree->written = true;
    tree->document.start_implicit = 1;
    tree->document.end_implicit = 1;
    bool ok = yaml_emitter_open(&emitter) == 1 &&
              yaml_emitter_dump(&emitter, &tree->document) == 1 &&
              yaml_emitter_close(&emitter) == 1;
    yaml_emitter_delete(&emitter);
    return ok ? STATUS_OK : STATUS_MALFORMED;
}
