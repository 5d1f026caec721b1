/* SPDX-License-Identifier: Apache-2.0
 *
 * A YAML document as a tree of nodes that can be looked up, changed and written again. Pure.
 *
 * Written again it keeps everything but comments and blank lines. A node is a number that stays
 * valid until yaml_tree_free; 0 is none. One thread at a time.
 */
#ifndef BROKER_ACCESS_YAML_TREE_H
#define BROKER_ACCESS_YAML_TREE_H

#include "common/base/buf.h"
#include "common/base/bytes.h"
#include "common/base/status.h"

struct yaml_tree;

/* Read the one document of a text.
 * name     of the file, for messages: "name:line: what is wrong"
 * returns  OK | MALFORMED (several documents, too; no word of the text is in err) */
MUST_CHECK enum status yaml_tree_parse(struct slice text, const char *name, struct yaml_tree **out,
                                       struct err *err);
void yaml_tree_free(struct yaml_tree *tree); /* NULL is fine */

enum yaml_kind {
    YAML_KIND_NULL, /* no node, or null, ~ or nothing behind the colon */
    YAML_KIND_TEXT, /* a scalar of any other kind */
    YAML_KIND_LIST,
    YAML_KIND_MAP,
};

int yaml_tree_root(const struct yaml_tree *tree);
enum yaml_kind yaml_tree_kind(const struct yaml_tree *tree, int node);
int yaml_tree_line(const struct yaml_tree *tree, int node); /* from 1 on; 0: no node of the text */

/* What a text says. */
struct slice yaml_tree_text(const struct yaml_tree *tree, int node);

/* True for a text without quotes that other readers take for a number and would write in another
 * way: 0123456 (octal), 0x1f, 1_000, 1:30, 1.50, 1e9, +1. */
bool yaml_tree_is_odd_number(const struct yaml_tree *tree, int node);

/* Of a list. */
size_t yaml_tree_count(const struct yaml_tree *tree, int list);
int yaml_tree_item(const struct yaml_tree *tree, int list, size_t index);

/* The value under `key` of a map, the last one when there are several; 0: none. */
int yaml_tree_get(const struct yaml_tree *tree, int map, const char *key);

/* --- changes --- */

int yaml_tree_new_text(struct yaml_tree *tree, struct slice text);
int yaml_tree_new_number(struct yaml_tree *tree, int64_t number);
int yaml_tree_new_bool(struct yaml_tree *tree, bool value);
int yaml_tree_new_list(struct yaml_tree *tree);
int yaml_tree_new_map(struct yaml_tree *tree);

void yaml_tree_append(struct yaml_tree *tree, int list, int node);
void yaml_tree_remove(struct yaml_tree *tree, int list, size_t index);
/* Replace what is under `key`, or add it at the end. */
void yaml_tree_set(struct yaml_tree *tree, int map, const char *key, int node);

/* Append the document to `out`. The tree has no nodes any more afterwards: free it.
 * returns  OK | MALFORMED (the writer cannot express it) */
MUST_CHECK enum status yaml_tree_write(struct yaml_tree *tree, struct buf *out);

#endif
