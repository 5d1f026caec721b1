/* SPDX-License-Identifier: Apache-2.0
 *
 * What a struct conf keeps beside the values; shared by conf.c and conf_file.c only.
 */
#ifndef COMMON_CONF_CONF_STATE_H
#define COMMON_CONF_CONF_STATE_H

#include "common/conf/conf.h"

#include <pthread.h>

/* A string that a value has had; readers may still hold it. */
struct conf_text {
    struct conf_text *next;
    char text[];
};

/* Different texts that one key may have had since the start; bounds what updates can pile up. */
#define CONF_TEXTS_MAX 1024

struct conf_slot {
    char *origin;            /* NULL: the table's default */
    char *pending;           /* set by an update, in use after the next start; or NULL */
    struct conf_text *texts; /* newest first */
    size_t text_count;
    bool chosen;  /* by file, flag or environment */
    bool updated; /* by conf_update since the start: belongs into the rewritten file */
};

/* A key of the file that the table does not have. */
struct conf_extra {
    char *key;
    char *value;
    char *origin;
};

struct conf_state {
    pthread_mutex_t lock;      /* over slots while threads run; nothing is locked under it */
    pthread_mutex_t file_lock; /* one rewriting at a time; taken before lock */
    struct conf_slot *slots;   /* one per key */
    struct conf_extra *extras;
    size_t extra_count;
    char *file_path; /* absolute */
};

/* The index of `name` in the table, or key_count. A name like tls.server.mode stands for
 * tlsServerMode. */
size_t conf_find(const struct conf *conf, struct slice name);

/* Check and set the key at `index`. `where` starts the message: "broker.conf:7: " or "". */
enum status conf_assign(struct conf *conf, size_t index, struct slice text, const char *origin,
                        const char *where, struct err *err);

/* Keep a key that the table does not have; a repeated one is replaced. */
void conf_keep_extra(struct conf *conf, struct slice key, struct slice value, const char *origin);

/* Append the value in use of the key at `index`. */
void conf_append_value(const struct conf *conf, size_t index, struct buf *out);

/* The same, but what the next start will use. */
void conf_append_next_value(const struct conf *conf, size_t index, struct buf *out);

#endif
