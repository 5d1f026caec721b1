/* SPDX-License-Identifier: Apache-2.0
 *
 * One table of options per daemon (broker_conf.def, namesrv_conf.def), filled from a libconfig file
 * or a Java properties file, from flags and from live updates. The table is the only list of keys:
 * defaults, checks, printing, the rewritten file and docs/configuration.md come from it.
 *
 * The values live in a struct whose members carry the keys' names, each atomic, so that any thread
 * may read `conf->brokerPermission` while an administrator changes it. Replaced strings stay alive
 * until the conf is released.
 *
 * Threads: conf_update, conf_list, conf_print and conf_rewrite_file may be called from any thread
 * at any time; everything else belongs to the start, before there are threads.
 */
#ifndef COMMON_CONF_CONF_H
#define COMMON_CONF_CONF_H

#include "common/base/buf.h"
#include "common/base/status.h"

enum conf_type {
    CONF_BOOL,    /* _Atomic(bool) */
    CONF_INT,     /* _Atomic(int64_t), bounded by min and max */
    CONF_STRING,  /* _Atomic(const char *), "" when unset */
    CONF_ENUM,    /* _Atomic(int64_t), an index into names */
    CONF_FOREIGN, /* no member: a key of another version, kept as unknown ones are */
};

enum conf_use {
    CONF_USED,
    CONF_LATER,     /* known; the feature is not built yet: one warning when set */
    CONF_NO_EFFECT, /* accepted; means nothing in a C server: one warning when set */
};

enum conf_flags {
    CONF_LIVE = 1,      /* takes effect when updated while running */
    CONF_IMPORTANT = 2, /* printed by -m */
    CONF_NAME = 4,      /* of strings: see conf_is_name; may be empty when the default is */
    CONF_SECRET = 8,    /* shown to nobody */
};

struct conf_key {
    const char *name;
    enum conf_type type;
    enum conf_use use;
    int flags;
    const char *default_text;
    int64_t min;
    int64_t max;
    const char *const *names; /* ENUM: NULL-terminated */
    size_t offset;            /* of the member in the values struct */
    const char *doc;
};

struct conf {
    const struct conf_key *keys;
    size_t key_count;
    void *values;             /* the daemon's struct */
    struct conf_state *state; /* origins, replaced strings, unknown keys; private to the room */
};

/* What the loader wants a person to know: one call per warning, already worded. */
typedef void (*conf_warn)(void *ctx, const char *text);

/* Set every value to its default. `values` must outlive `conf`. */
void conf_init(struct conf *conf, const struct conf_key *keys, size_t key_count, void *values);
void conf_release(struct conf *conf);

/* Longest file that is read, in bytes. */
#define CONF_FILE_BYTES_MAX (1024 * 1024)

/* Load a file in either grammar; conf_file.c has the rule by which it is told apart. Values that
 * were read before an error stay set: the daemon is expected to stop.
 * warn     may be NULL
 * returns  OK | NOT_FOUND | IO | TOO_LARGE | MALFORMED | INVALID; err names file, line, key and
 *          what was expected */
enum status conf_load_file(struct conf *conf, const char *path, conf_warn warn, void *warn_ctx,
                           struct err *err);

/* The absolute path of the file loaded last, or NULL. */
const char *conf_file_path(const struct conf *conf);

/* Set one key from text; origin is remembered for printing ("-n", "environment NAMESRV_ADDR").
 * returns  OK | NOT_FOUND | INVALID */
enum status conf_set(struct conf *conf, const char *key, const char *text, const char *origin,
                     struct err *err);

/* Resolve a value that nobody has chosen: the same, but the key still counts as unset. */
void conf_set_default(struct conf *conf, const char *key, const char *text, const char *origin);

/* True when neither file nor flag nor environment has set `key`, which must be known. */
bool conf_is_default(const struct conf *conf, const char *key);

/* True for what can name a topic, and so a folder: 1 to 127 letters, digits and any of %|_-. but
 * not
 * "." or "..". 4.9.2 checks topics that clients name, without the dot, which host names have; and
 * takes anything for the broker and its cluster. */
bool conf_is_name(struct slice text);

/* The nearest known key by edit distance, or NULL when nothing is near. */
const char *conf_nearest(const struct conf *conf, const char *name);

/* Apply a properties text to the running daemon (UPDATE_BROKER_CONFIG): all lines are checked
 * first, then all are set or none. Known keys that are not live are stored for the next start:
 * conf_list and the rewritten file show them, the value in use stays. Unknown keys are skipped, as
 * 4.9.2 does, and logged.
 * returns  OK | INVALID | MALFORMED */
enum status conf_update(struct conf *conf, struct slice properties, struct err *err);

/* Every key as key=value lines (GET_BROKER_CONFIG); unknown keys of the file ride along. */
void conf_list(const struct conf *conf, struct buf *out);

/* For people: "key = value    # whence" per line. */
void conf_print(const struct conf *conf, bool only_important, struct buf *out);

/* Write what conf_update has changed back into the file at `path` (old content kept in path.bak):
 * comments and order stay, changed values are replaced, keys that the file does not have are
 * appended, in the file's own grammar. Values that came from flags are not written. A file that
 * does not exist is created, with its folder; one that does keeps its permissions.
 * returns  OK | IO | FULL | MALFORMED (the file was damaged since it was loaded) */
enum status conf_rewrite_file(const struct conf *conf, const char *path, struct err *err);

/* Java properties text, for other users of that format: calls `each` for every pair, in order.
 * properties_file.h has the grammar. err names the line.
 * returns  OK | MALFORMED, or what `each` returned when it was not OK */
enum status java_properties_parse(struct slice text,
                                  enum status (*each)(void *ctx, struct slice key,
                                                      struct slice value, int line,
                                                      struct err *err),
                                  void *ctx, struct err *err);

#endif
