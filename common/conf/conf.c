/* SPDX-License-Identifier: Apache-2.0
 *
 * The table engine: checking, setting and listing values. Files are conf_file.c's work.
 *
 * Checks are stricter than 4.9.2, which silently ignores a bad number, a bad name of an enum, and
 * takes every boolean but "true" for false: here each is an error that names what was expected.
 */
#include "common/conf/conf.h"

#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/base/number.h"
#include "common/conf/conf_state.h"
#include "common/sys/log.h"

#include <ctype.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

static void *member(const struct conf *conf, size_t index)
{
    return (char *)conf->values + conf->keys[index].offset;
}

static const char *text_of(const struct conf *conf, size_t index)
{
    return atomic_load((_Atomic(const char *) *)member(conf, index));
}

/* Java's tls.server.keyPath is the key tlsServerKeyPath, because libconfig has no names with dots.
 */
static bool is_dotted_name(struct slice name, const char *key)
{
    bool upper = false;
    if (!slice_starts_with(name, SLICE_LITERAL("tls.")))
        return false;
    for (size_t i = 0; i < name.size; i++) {
        if (name.data[i] == '.') {
            upper = true;
            continue;
        }
        if ((upper ? toupper(name.data[i]) : name.data[i]) != *key)
            return false;
        upper = false;
        key++;
    }
    return *key == '\0' && !upper;
}

size_t conf_find(const struct conf *conf, struct slice name)
{
    size_t index = 0;
    while (index < conf->key_count && !slice_is(name, conf->keys[index].name) &&
           !is_dotted_name(name, conf->keys[index].name))
        index++;
    return index;
}

static size_t find_known(const struct conf *conf, const char *name)
{
    size_t index = conf_find(conf, slice_of_cstr(name));
    CHECK(index < conf->key_count);
    return index;
}

/* --- checking --- */

static bool find_name(const struct conf_key *key, struct slice text, int64_t *out)
{
    for (int64_t i = 0; key->names[i] != NULL; i++) {
        if (slice_is(text, key->names[i])) {
            *out = i;
            return true;
        }
    }
    return false;
}

static bool parse_bool(struct slice text, int64_t *out)
{
    *out = parse_java_bool(text);
    return *out || (text.size == 5 && strncasecmp((const char *)text.data, "false", 5) == 0);
}

/* "a whole number from 0 to 65535", "true or false", "ASYNC_MASTER, SYNC_MASTER or SLAVE". */
static void describe_expected(const struct conf_key *key, struct buf *out)
{
    switch (key->type) {
    case CONF_BOOL:
        buf_append_cstr(out, "true or false");
        break;
    case CONF_INT:
        buf_printf(out, "a whole number from %lld to %lld", (long long)key->min,
                   (long long)key->max);
        break;
    case CONF_ENUM:
        for (size_t i = 0; key->names[i] != NULL; i++) {
            if (i > 0)
                buf_append_cstr(out, key->names[i + 1] == NULL ? " or " : ", ");
            buf_append_cstr(out, key->names[i]);
        }
        break;
    case CONF_STRING:
    case CONF_FOREIGN:
        if (key->flags & CONF_NAME)
            buf_printf(out, "at most %d letters, digits and any of %%|_-. since it names a topic",
                       TOPIC_BYTES_MAX);
        else
            buf_append_cstr(out, "a text without NUL characters");
        break;
    }
}

bool conf_is_name(struct slice text)
{
    for (size_t i = 0; i < text.size; i++) {
        uint8_t byte = text.data[i];
        bool letter = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z');
        if (!letter && (byte < '0' || byte > '9') && (byte == 0 || strchr("%|_-.", byte) == NULL))
            return false;
    }
    return text.size > 0 && text.size <= TOPIC_BYTES_MAX && !slice_is(text, ".") &&
           !slice_is(text, "..");
}

/* Check `text`; *number is the value of every type but strings. */
static enum status check_text(const struct conf_key *key, struct slice text, const char *where,
                              int64_t *number, struct err *err)
{
    bool good = true;
    *number = 0;
    switch (key->type) {
    case CONF_BOOL:
        good = parse_bool(text, number);
        break;
    case CONF_INT:
        good = parse_i64(text, number) && *number >= key->min && *number <= key->max;
        break;
    case CONF_ENUM:
        good = find_name(key, text, number);
        break;
    case CONF_STRING:
    case CONF_FOREIGN:
        good = text.size == 0 || memchr(text.data, 0, text.size) == NULL;
        if (key->flags & CONF_NAME)
            good = text.size == 0 ? key->default_text[0] == '\0' : conf_is_name(text);
        break;
    }
    if (good)
        return STATUS_OK;
    struct buf expected = BUF_EMPTY;
    describe_expected(key, &expected);
    struct slice shown = text.size > 80 ? slice_of(text.data, 80) : text;
    enum status status = err_set(err, STATUS_INVALID, "%s%s = \"%.*s\": expected %.*s", where,
                                 key->name, SLICE_ARGS(shown), SLICE_ARGS(buf_slice(&expected)));
    buf_release(&expected);
    return status;
}

/* --- setting --- */

/* A copy that lives as long as the conf; the same text is kept once. NULL: too many. */
static const char *keep_text(struct conf_slot *slot, struct slice text)
{
    for (const struct conf_text *kept = slot->texts; kept != NULL; kept = kept->next)
        if (slice_is(text, kept->text))
            return kept->text;
    if (slot->text_count == CONF_TEXTS_MAX)
        return NULL;
    struct conf_text *kept = xmalloc(sizeof *kept + text.size + 1);
    if (text.size > 0)
        memcpy(kept->text, text.data, text.size);
    kept->text[text.size] = '\0';
    kept->next = slot->texts;
    slot->texts = kept;
    slot->text_count++;
    return kept->text;
}

static enum status refuse_text(const struct conf_key *key, struct err *err)
{
    return err_set(err, STATUS_INVALID,
                   "%s has had %d different values since the start; restart the daemon before "
                   "changing it again",
                   key->name, CONF_TEXTS_MAX);
}

static enum status store_value(struct conf *conf, size_t index, struct slice text, int64_t number,
                               struct err *err)
{
    switch (conf->keys[index].type) {
    case CONF_BOOL:
        atomic_store((_Atomic(bool) *)member(conf, index), number != 0);
        break;
    case CONF_INT:
    case CONF_ENUM:
        atomic_store((_Atomic(int64_t) *)member(conf, index), number);
        break;
    case CONF_STRING: {
        const char *kept = keep_text(&conf->state->slots[index], text);
        if (kept == NULL)
            return refuse_text(&conf->keys[index], err);
        atomic_store((_Atomic(const char *) *)member(conf, index), kept);
        break;
    }
    case CONF_FOREIGN:
        break;
    }
    return STATUS_OK;
}

static void set_origin(struct conf_slot *slot, const char *origin)
{
    free(slot->origin);
    slot->origin = xstrdup(origin);
}

enum status conf_assign(struct conf *conf, size_t index, struct slice text, const char *origin,
                        const char *where, struct err *err)
{
    int64_t number;
    enum status status = check_text(&conf->keys[index], text, where, &number, err);
    if (status == STATUS_OK)
        status = store_value(conf, index, text, number, err);
    if (status == STATUS_OK) {
        set_origin(&conf->state->slots[index], origin);
        conf->state->slots[index].chosen = true;
    }
    return status;
}

enum status conf_set(struct conf *conf, const char *key, const char *text, const char *origin,
                     struct err *err)
{
    size_t index = conf_find(conf, slice_of_cstr(key));
    if (index == conf->key_count || conf->keys[index].type == CONF_FOREIGN)
        return err_set(err, STATUS_NOT_FOUND, "%s is not a key of this server", key);
    char where[256];
    (void)snprintf(where, sizeof where, "%s: ", origin);
    return conf_assign(conf, index, slice_of_cstr(text), origin, where, err);
}

void conf_set_default(struct conf *conf, const char *key, const char *text, const char *origin)
{
    size_t index = find_known(conf, key);
    bool chosen = conf->state->slots[index].chosen;
    CHECK(conf_assign(conf, index, slice_of_cstr(text), origin, "", NULL) == STATUS_OK);
    conf->state->slots[index].chosen = chosen;
}

bool conf_is_default(const struct conf *conf, const char *key)
{
    return !conf->state->slots[find_known(conf, key)].chosen;
}

void conf_keep_extra(struct conf *conf, struct slice key, struct slice value, const char *origin)
{
    struct conf_state *state = conf->state;
    size_t at = 0;
    while (at < state->extra_count && !slice_is(key, state->extras[at].key))
        at++;
    if (at == state->extra_count) {
        state->extras = xrealloc(state->extras, (at + 1) * sizeof *state->extras);
        state->extras[at] = (struct conf_extra){NULL, NULL, NULL};
        state->extra_count++;
    }
    struct conf_extra *extra = &state->extras[at];
    free(extra->key);
    free(extra->value);
    free(extra->origin);
    extra->key = strndup(key.size > 0 ? (const char *)key.data : "", key.size);
    extra->value = strndup(value.size > 0 ? (const char *)value.data : "", value.size);
    CHECK(extra->key != NULL && extra->value != NULL);
    extra->origin = xstrdup(origin);
}

/* --- life --- */

void conf_init(struct conf *conf, const struct conf_key *keys, size_t key_count, void *values)
{
    struct conf_state *state = xcalloc(1, sizeof *state);
    CHECK(pthread_mutex_init(&state->lock, NULL) == 0);
    CHECK(pthread_mutex_init(&state->file_lock, NULL) == 0);
    state->slots = xcalloc(key_count, sizeof *state->slots);
    *conf = (struct conf){keys, key_count, values, state};
    for (size_t i = 0; i < key_count; i++) {
        int64_t number;
        struct slice text = slice_of_cstr(keys[i].default_text);
        CHECK(check_text(&keys[i], text, "", &number, NULL) == STATUS_OK);
        CHECK(store_value(conf, i, text, number, NULL) == STATUS_OK);
    }
}

void conf_release(struct conf *conf)
{
    struct conf_state *state = conf->state;
    for (size_t i = 0; i < conf->key_count; i++) {
        struct conf_slot *slot = &state->slots[i];
        while (slot->texts != NULL) {
            struct conf_text *next = slot->texts->next;
            free(slot->texts);
            slot->texts = next;
        }
        free(slot->origin);
        free(slot->pending);
    }
    for (size_t i = 0; i < state->extra_count; i++) {
        free(state->extras[i].key);
        free(state->extras[i].value);
        free(state->extras[i].origin);
    }
    free(state->extras);
    free(state->slots);
    free(state->file_path);
    (void)pthread_mutex_destroy(&state->lock);
    (void)pthread_mutex_destroy(&state->file_lock);
    free(state);
    *conf = (struct conf){NULL, 0, NULL, NULL};
}

const char *conf_file_path(const struct conf *conf)
{
    return conf->state->file_path;
}

/* --- the nearest key --- */

#define NAME_BYTES_MAX 64

/* Levenshtein's distance without regard to case. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t b_size = strlen(b);
    size_t row[NAME_BYTES_MAX + 1];
    for (size_t j = 0; j <= b_size; j++)
        row[j] = j;
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_size; j++) {
            bool same = tolower((unsigned char)a[i - 1]) == tolower((unsigned char)b[j - 1]);
            size_t best = diagonal + (same ? 0 : 1);
            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[b_size];
}

const char *conf_nearest(const struct conf *conf, const char *name)
{
    size_t size = strlen(name);
    if (size == 0 || size > NAME_BYTES_MAX)
        return NULL;
    const char *nearest = NULL;
    size_t least = size / 4 + 2; /* further away it is another word */
    for (size_t i = 0; i < conf->key_count; i++) {
        if (conf->keys[i].type == CONF_FOREIGN || strlen(conf->keys[i].name) > NAME_BYTES_MAX)
            continue;
        size_t distance = edit_distance(name, conf->keys[i].name);
        if (distance < least) {
            least = distance;
            nearest = conf->keys[i].name;
        }
    }
    return nearest;
}

/* --- live updates --- */

struct change {
    size_t index;
    char *text;
    int64_t number;
};

struct update {
    struct conf *conf;
    struct change *changes;
    size_t count;
};

static enum status collect_change(void *ctx, struct slice key, struct slice value, int line,
                                  struct err *err)
{
    struct update *update = ctx;
    const struct conf *conf = update->conf;
    size_t index = conf_find(conf, key);
    if (index == conf->key_count || conf->keys[index].type == CONF_FOREIGN) {
        struct slice shown = key.size > 80 ? slice_of(key.data, 80) : key;
        log_warn("conf", "unknown key in an update is ignored", "key=%.*s", SLICE_ARGS(shown));
        return STATUS_OK;
    }
    char where[32];
    (void)snprintf(where, sizeof where, "line %d: ", line);
    int64_t number;
    enum status status = check_text(&conf->keys[index], value, where, &number, err);
    if (status != STATUS_OK)
        return status;
    size_t at = 0;
    while (at < update->count && update->changes[at].index != index)
        at++;
    if (at == update->count)
        update->count++;
    else
        free(update->changes[at].text);
    char *text = strndup(value.size > 0 ? (const char *)value.data : "", value.size);
    CHECK(text != NULL);
    update->changes[at] = (struct change){index, text, number};
    return STATUS_OK;
}

static enum status apply_change(struct conf *conf, const struct change *change, struct err *err)
{
    struct conf_slot *slot = &conf->state->slots[change->index];
    struct buf now = BUF_EMPTY;
    conf_append_next_value(conf, change->index, &now);
    bool same = slice_is(buf_slice(&now), change->text);
    buf_release(&now);
    if (same)
        return STATUS_OK;
    if (conf->keys[change->index].flags & CONF_LIVE) {
        enum status status =
            store_value(conf, change->index, slice_of_cstr(change->text), change->number, err);
        if (status != STATUS_OK)
            return status;
        set_origin(slot, "live update");
    } else {
        free(slot->pending);
        slot->pending = xstrdup(change->text);
    }
    slot->updated = true;
    return STATUS_OK;
}

/* The only thing left that can refuse a checked change is a string that changed too often. */
static enum status check_room(const struct conf *conf, const struct update *update, struct err *err)
{
    for (size_t i = 0; i < update->count; i++) {
        size_t index = update->changes[i].index;
        if (conf->keys[index].type == CONF_STRING &&
            conf->state->slots[index].text_count == CONF_TEXTS_MAX)
            return refuse_text(&conf->keys[index], err);
    }
    return STATUS_OK;
}

enum status conf_update(struct conf *conf, struct slice properties, struct err *err)
{
    struct update update = {conf, xcalloc(conf->key_count, sizeof(struct change)), 0};
    enum status status = java_properties_parse(properties, collect_change, &update, err);
    CHECK(pthread_mutex_lock(&conf->state->lock) == 0);
    if (status == STATUS_OK)
        status = check_room(conf, &update, err);
    for (size_t i = 0; status == STATUS_OK && i < update.count; i++)
        status = apply_change(conf, &update.changes[i], err);
    CHECK(pthread_mutex_unlock(&conf->state->lock) == 0);
    for (size_t i = 0; i < update.count; i++)
        free(update.changes[i].text);
    free(update.changes);
    return status;
}

/* --- listing --- */

void conf_append_value(const struct conf *conf, size_t index, struct buf *out)
{
    const struct conf_key *key = &conf->keys[index];
    switch (key->type) {
    case CONF_BOOL:
        buf_append_cstr(out, atomic_load((_Atomic(bool) *)member(conf, index)) ? "true" : "false");
        break;
    case CONF_INT:
        buf_append_number(out, atomic_load((_Atomic(int64_t) *)member(conf, index)));
        break;
    case CONF_ENUM:
        buf_append_cstr(out, key->names[atomic_load((_Atomic(int64_t) *)member(conf, index))]);
        break;
    case CONF_STRING:
        buf_append_cstr(out, text_of(conf, index));
        break;
    case CONF_FOREIGN:
        break;
    }
}

void conf_append_next_value(const struct conf *conf, size_t index, struct buf *out)
{
    const char *pending = conf->state->slots[index].pending;
    if (pending != NULL)
        buf_append_cstr(out, pending);
    else
        conf_append_value(conf, index, out);
}

void conf_list(const struct conf *conf, struct buf *out)
{
    CHECK(pthread_mutex_lock(&conf->state->lock) == 0);
    for (size_t i = 0; i < conf->key_count; i++) {
        if (conf->keys[i].type == CONF_FOREIGN || (conf->keys[i].flags & CONF_SECRET))
            continue;
        buf_printf(out, "%s=", conf->keys[i].name);
        conf_append_next_value(conf, i, out);
        buf_append_byte(out, '\n');
    }
    for (size_t i = 0; i < conf->state->extra_count; i++)
        buf_printf(out, "%s=%s\n", conf->state->extras[i].key, conf->state->extras[i].value);
    CHECK(pthread_mutex_unlock(&conf->state->lock) == 0);
}

static void print_line(struct buf *out, const char *key, struct slice value, const char *origin)
{
    struct buf line = BUF_EMPTY;
    buf_printf(&line, "%s = %.*s", key, SLICE_ARGS(value));
    buf_printf(out, "%-50.*s  # %s\n", SLICE_ARGS(buf_slice(&line)), origin);
    buf_release(&line);
}

void conf_print(const struct conf *conf, bool only_important, struct buf *out)
{
    struct buf value = BUF_EMPTY;
    CHECK(pthread_mutex_lock(&conf->state->lock) == 0);
    for (size_t i = 0; i < conf->key_count; i++) {
        const struct conf_key *key = &conf->keys[i];
        if (key->type == CONF_FOREIGN || (only_important && !(key->flags & CONF_IMPORTANT)))
            continue;
        const struct conf_slot *slot = &conf->state->slots[i];
        buf_clear(&value);
        conf_append_value(conf, i, &value);
        if ((key->flags & CONF_SECRET) && value.size > 0) {
            buf_clear(&value);
            buf_append_cstr(&value, "******");
        }
        print_line(out, key->name, buf_slice(&value),
                   slot->origin == NULL ? "default" : slot->origin);
    }
    for (size_t i = 0; !only_important && i < conf->state->extra_count; i++) {
        const struct conf_extra *extra = &conf->state->extras[i];
        struct buf origin = BUF_EMPTY;
        buf_printf(&origin, "%s, not used", extra->origin);
        buf_append_byte(&origin, '\0');
        print_line(out, extra->key, slice_of_cstr(extra->value), (const char *)origin.data);
        buf_release(&origin);
    }
    CHECK(pthread_mutex_unlock(&conf->state->lock) == 0);
    buf_release(&value);
}
