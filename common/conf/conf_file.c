/* SPDX-License-Identifier: Apache-2.0
 *
 * Option files: which grammar a file is in, loading it, and writing updates back into it.
 *
 * The rule. RocketMQ's own files are Java properties (`brokerRole = ASYNC_MASTER`); libconfig's
 * grammar wants quotes and semicolons (`brokerRole = "ASYNC_MASTER";`). Every line outside comments
 * speaks for one of them or for neither:
 *
 *   libconfig   it starts with @include, a quote or a bracket; or its value (behind the first = or
 *               :) starts with a quote or a bracket, or is a number or a boolean with ; or , behind
 *   properties  it has any other value that libconfig would refuse: bare text, nothing at all
 *   neither     it has no = or :, or its value is a bare number or boolean
 *
 * The file is libconfig when more lines speak for libconfig than for properties, else properties.
 * So every file of RocketMQ loads as it is, a bare `deleteWhen=04` stays the text 04, and one wrong
 * line in a file of either kind is reported in the words of that kind.
 */
#include "common/base/check.h"
#include "common/conf/conf_state.h"
#include "common/conf/libconfig_file.h"
#include "common/conf/properties_file.h"
#include "common/sys/private_file.h"
#include "common/sys/vfs.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

/* --- the grammar of a file --- */

static struct slice trim(struct slice s)
{
    while (s.size > 0 && isspace(s.data[0]))
        s = slice_from(s, 1);
    while (s.size > 0 && isspace(s.data[s.size - 1]))
        s.size--;
    return s;
}

static bool starts_with(struct slice s, const char *text)
{
    return slice_starts_with(s, slice_of_cstr(text));
}

static bool opens_value(struct slice s)
{
    return s.size > 0 && strchr("\"({[", s.data[0]) != NULL && s.data[0] != '\0';
}

/* A number or boolean as libconfig writes them. */
static bool is_bare_scalar(struct slice s)
{
    char word[64];
    if (s.size == 0 || s.size >= sizeof word)
        return false;
    memcpy(word, s.data, s.size);
    word[s.size] = '\0';
    if (strcasecmp(word, "true") == 0 || strcasecmp(word, "false") == 0)
        return true;
    if (!isdigit((unsigned char)word[word[0] == '-' || word[0] == '+']) && word[0] != '.')
        return false;
    char *end;
    (void)strtod(word, &end);
    if (*end == 'L')
        end += end[1] == 'L' ? 2 : 1;
    return *end == '\0';
}

/* 1: libconfig, -1: properties, 0: neither. */
static int line_speaks_for(struct slice line)
{
    if (starts_with(line, "@include") || opens_value(line) ||
        (line.size > 0 && strchr(")}]", line.data[0]) != NULL && line.data[0] != '\0'))
        return 1;
    size_t at = 0;
    while (at < line.size && line.data[at] != '=' && line.data[at] != ':')
        at++;
    if (at == line.size)
        return 0;
    struct slice value = trim(slice_from(line, at + 1));
    if (opens_value(value))
        return 1;
    size_t word = 0;
    while (word < value.size && !isspace(value.data[word]) && value.data[word] != ';' &&
           value.data[word] != ',' && value.data[word] != '#')
        word++;
    if (!is_bare_scalar(slice_of(value.data, word)))
        return -1;
    struct slice rest = trim(slice_from(value, word));
    if (rest.size == 0 || rest.data[0] == '#' || starts_with(rest, "//"))
        return 0;
    bool separator = rest.data[0] == ';' || rest.data[0] == ',';
    struct slice behind = trim(slice_from(rest, 1));
    bool alone = behind.size == 0 || behind.data[0] == '#' || starts_with(behind, "//") ||
                 starts_with(behind, "/*");
    return separator && alone ? 1 : -1;
}

static bool is_libconfig(struct slice text)
{
    int64_t balance = 0;
    bool in_comment = false;
    while (text.size > 0) {
        const uint8_t *end = memchr(text.data, '\n', text.size);
        size_t size = end == NULL ? text.size : (size_t)(end - text.data) + 1;
        struct slice line = trim(slice_of(text.data, size));
        text = slice_from(text, size);
        bool opened = !in_comment && starts_with(line, "/*");
        if (in_comment || opened) {
            in_comment = memmem(line.data, line.size, "*/", 2) == NULL;
            continue;
        }
        if (line.size == 0 || line.data[0] == '#' || line.data[0] == '!' || starts_with(line, "//"))
            continue;
        balance += line_speaks_for(line);
    }
    return balance > 0;
}

/* --- loading --- */

struct load {
    struct conf *conf;
    const char *path;
    conf_warn warn;
    void *warn_ctx;
};

__attribute__((format(printf, 2, 3))) static void warn(const struct load *load, const char *format,
                                                       ...)
{
    if (load->warn == NULL)
        return;
    struct buf text = BUF_EMPTY;
    va_list args;
    va_start(args, format);
    int size = vsnprintf((char *)buf_reserve(&text, ERR_TEXT_BYTES), ERR_TEXT_BYTES, format, args);
    va_end(args);
    CHECK(size >= 0);
    load->warn(load->warn_ctx, (const char *)text.data);
    buf_release(&text);
}

static void warn_unknown(const struct load *load, struct slice key, const char *origin)
{
    char name[128];
    (void)snprintf(name, sizeof name, "%.*s", SLICE_ARGS(key));
    const char *nearest = conf_nearest(load->conf, name);
    if (nearest != NULL)
        warn(load, "%s: %s is not a known key; did you mean %s?", origin, name, nearest);
    else
        warn(load, "%s: %s is not a known key and is ignored", origin, name);
}

/* The cautions that a value which has just been set calls for. */
static void warn_use(const struct load *load, const struct conf_key *key, struct slice value,
                     const char *origin)
{
    if (key->type == CONF_STRING && value.size >= 2 && value.data[0] == '"' &&
        value.data[value.size - 1] == '"')
        warn(load, "%s: %s: the quotes are part of the value in a properties file", origin,
             key->name);
    if (slice_is(value, key->default_text))
        return;
    if (key->use == CONF_LATER)
        warn(load, "%s: %s is not built yet and is ignored", origin, key->name);
    else if (key->use == CONF_NO_EFFECT)
        warn(load, "%s: %s is accepted and has no effect here", origin, key->name);
}

static void warn_repeated(const struct load *load, size_t index, const char *origin)
{
    const char *before = load->conf->state->slots[index].origin;
    size_t size = strlen(load->path);
    if (before != NULL && strncmp(before, load->path, size) == 0 && before[size] == ':')
        warn(load, "%s: %s is set at %s already; the last one counts", origin,
             load->conf->keys[index].name, before);
}

static enum status take_pair(const struct load *load, struct slice key, struct slice value,
                             const char *file, int line, struct err *err)
{
    char origin[PATH_MAX];
    (void)snprintf(origin, sizeof origin, "%s:%d", file, line);
    struct conf *conf = load->conf;
    size_t index = conf_find(conf, key);
    if (index == conf->key_count) {
        warn_unknown(load, key, origin);
        conf_keep_extra(conf, key, value, origin);
        return STATUS_OK;
    }
    const struct conf_key *known = &conf->keys[index];
    if (known->type == CONF_FOREIGN) {
        warn(load, "%s: %s is ignored: %s", origin, known->name, known->doc);
        conf_keep_extra(conf, key, value, origin);
        return STATUS_OK;
    }
    char where[PATH_MAX + 2];
    (void)snprintf(where, sizeof where, "%s: ", origin);
    warn_repeated(load, index, origin);
    enum status status = conf_assign(conf, index, value, origin, where, err);
    if (status == STATUS_OK)
        warn_use(load, known, value, origin);
    return status;
}

/* The type of a libconfig value must be the option's: `deleteWhen = 04;` would silently become the
 * number 4. */
static enum status check_type(const struct conf *conf, const struct libconfig_setting *setting,
                              struct err *err)
{
    size_t index = conf_find(conf, slice_of_cstr(setting->name));
    if (index == conf->key_count)
        return STATUS_OK;
    enum libconfig_type wanted = LIBCONFIG_STRING;
    const char *expected = "a text in double quotes";
    if (conf->keys[index].type == CONF_FOREIGN)
        return STATUS_OK;
    if (conf->keys[index].type == CONF_BOOL) {
        wanted = LIBCONFIG_BOOL;
        expected = "true or false without quotes";
    } else if (conf->keys[index].type == CONF_INT) {
        wanted = LIBCONFIG_INT;
        expected = "a whole number without quotes";
    }
    if (setting->type == wanted)
        return STATUS_OK;
    static const char *const FOUND[] = {"the boolean ", "the number ", "the number ", "the text "};
    return err_set(err, STATUS_INVALID, "%s:%d: %s: expected %s, found %s%.80s", setting->file,
                   setting->line, setting->name, expected, FOUND[setting->type], setting->text);
}

static enum status take_setting(void *ctx, const struct libconfig_setting *setting, struct err *err)
{
    const struct load *load = ctx;
    enum status status = check_type(load->conf, setting, err);
    if (status != STATUS_OK)
        return status;
    return take_pair(load, slice_of_cstr(setting->name), slice_of_cstr(setting->text),
                     setting->file, setting->line, err);
}

static enum status load_properties(const struct load *load, struct slice text, struct err *err)
{
    struct properties_reader reader;
    struct properties_entry entry;
    struct err cause = {0};
    enum status status;
    properties_reader_init(&reader, text);
    while ((status = properties_reader_next(&reader, &entry, &cause)) == STATUS_OK) {
        status = take_pair(load, entry.key, entry.value, load->path, entry.line, err);
        if (status != STATUS_OK)
            break;
    }
    if (status == STATUS_MALFORMED)
        (void)err_set(err, status, "%s:%d: %s", load->path, reader.line, cause.text);
    properties_reader_release(&reader);
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

static enum status read_file(const char *path, char **data, size_t *size, struct err *err)
{
    enum status status = vfs_read_file(vfs_posix(), path, CONF_FILE_BYTES_MAX, data, size);
    if (status == STATUS_TOO_LARGE)
        return err_set(err, status, "%s: longer than %d bytes; is it really the option file?", path,
                       CONF_FILE_BYTES_MAX);
    if (status != STATUS_OK)
        return err_set_errno(err, status, "%s: cannot be read", path);
    return status;
}

enum status conf_load_file(struct conf *conf, const char *path, conf_warn warn_function,
                           void *warn_ctx, struct err *err)
{
    char *data;
    size_t size;
    enum status status = read_file(path, &data, &size, err);
    if (status != STATUS_OK)
        return status;
    struct load load = {conf, path, warn_function, warn_ctx};
    struct slice text = slice_of(data, size);
    if (is_libconfig(text))
        status = libconfig_parse(path, text, take_setting, &load, err);
    else
        status = load_properties(&load, text, err);
    free(data);
    if (status == STATUS_OK) {
        free(conf->state->file_path);
        conf->state->file_path = realpath(path, NULL);
        if (conf->state->file_path == NULL)
            conf->state->file_path = xstrdup(path);
    }
    return status;
}

/* --- writing back --- */

/* Where a key's value stands in the file. */
struct place {
    size_t start;
    size_t end;
    bool separated; /* from its key; else an = is needed */
    bool found;
    bool written;
};

static enum status find_in_properties(const struct conf *conf, const char *path, struct slice text,
                                      struct place *places, struct err *err)
{
    struct properties_reader reader;
    struct properties_entry entry;
    struct err cause = {0};
    enum status status;
    properties_reader_init(&reader, text);
    while ((status = properties_reader_next(&reader, &entry, &cause)) == STATUS_OK) {
        size_t index = conf_find(conf, entry.key);
        if (index < conf->key_count)
            places[index] =
                (struct place){entry.value_start, entry.value_end, entry.separated, true, false};
    }
    if (status == STATUS_MALFORMED)
        (void)err_set(err, status, "%s:%d: %s", path, reader.line, cause.text);
    properties_reader_release(&reader);
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

static void find_in_libconfig(const struct conf *conf, struct slice text, struct place *places)
{
    struct libconfig_scanner scanner = {text, 0};
    struct libconfig_span span;
    while (libconfig_next_span(&scanner, &span)) {
        size_t index = conf_find(conf, span.name);
        if (index < conf->key_count)
            places[index] = (struct place){span.value_start, span.value_end, true, true, false};
    }
}

static void append_file_value(const struct conf *conf, size_t index, bool libconfig,
                              struct buf *out)
{
    struct buf value = BUF_EMPTY;
    conf_append_next_value(conf, index, &value);
    bool quoted = conf->keys[index].type == CONF_STRING || conf->keys[index].type == CONF_ENUM;
    if (!libconfig)
        properties_append_value(out, buf_slice(&value));
    else if (quoted)
        libconfig_append_string(out, buf_slice(&value));
    else
        libconfig_append_bare(out, buf_slice(&value));
    buf_release(&value);
}

/* The updated key whose place comes first among those not written yet, or key_count. */
static size_t next_edit(const struct conf *conf, const struct place *places)
{
    size_t next = conf->key_count;
    for (size_t i = 0; i < conf->key_count; i++) {
        if (!conf->state->slots[i].updated || !places[i].found || places[i].written)
            continue;
        if (next == conf->key_count || places[i].start < places[next].start)
            next = i;
    }
    return next;
}

static void edit_text(const struct conf *conf, struct slice text, struct place *places,
                      bool libconfig, struct buf *out)
{
    size_t at = 0;
    size_t next;
    while ((next = next_edit(conf, places)) < conf->key_count) {
        buf_append(out, text.data + at, places[next].start - at);
        if (!places[next].separated)
            buf_append_byte(out, '=');
        append_file_value(conf, next, libconfig, out);
        at = places[next].end;
        places[next].written = true;
    }
    if (at < text.size)
        buf_append(out, text.data + at, text.size - at);
    for (size_t i = 0; i < conf->key_count; i++) {
        if (!conf->state->slots[i].updated || places[i].found)
            continue;
        if (out->size > 0 && out->data[out->size - 1] != '\n')
            buf_append_byte(out, '\n');
        buf_append_cstr(out, conf->keys[i].name);
        buf_append_cstr(out, libconfig ? " = " : "=");
        append_file_value(conf, i, libconfig, out);
        buf_append_cstr(out, libconfig ? ";\n" : "\n");
    }
}

static enum status replace_file(const char *path, struct slice text, bool existed, struct err *err)
{
    if (existed) /* it may hold the password of a key */
        return private_file_replace(path, text.data, text.size, err);
    char *folder = xstrdup(path);
    char *slash = strrchr(folder, '/');
    if (slash != NULL && slash != folder) {
        *slash = '\0';
        (void)vfs_posix()->ops->mkdirs(vfs_posix(), folder);
    }
    free(folder);
    if (vfs_replace_file(vfs_posix(), path, text.data, text.size, false) != STATUS_OK)
        return err_set_errno(err, STATUS_IO, "%s: the changed options cannot be written", path);
    return STATUS_OK;
}

static enum status accept_setting(void *ctx, const struct libconfig_setting *setting,
                                  struct err *err)
{
    (void)ctx;
    (void)setting;
    (void)err;
    return STATUS_OK;
}

/* A key that stands in an included file would be there twice now, which libconfig refuses. */
static enum status check_edited(const char *path, struct slice text, struct err *err)
{
    struct err cause = {0};
    enum status status = libconfig_parse(path, text, accept_setting, NULL, &cause);
    if (status == STATUS_OK)
        return status;
    return err_set(err, status,
                   "the changed options are not written, because the file would not load again: "
                   "%.300s; options in included files have to be changed there by hand",
                   cause.text);
}

/* With file_lock held. */
static enum status rewrite_text(const struct conf *conf, const char *path, struct slice text,
                                bool existed, struct err *err)
{
    bool libconfig = is_libconfig(text);
    struct place *places = xcalloc(conf->key_count, sizeof *places);
    struct buf out = BUF_EMPTY;
    enum status status = STATUS_OK;
    if (libconfig)
        find_in_libconfig(conf, text, places);
    else
        status = find_in_properties(conf, path, text, places, err);
    if (status == STATUS_OK) {
        CHECK(pthread_mutex_lock(&conf->state->lock) == 0);
        edit_text(conf, text, places, libconfig, &out);
        CHECK(pthread_mutex_unlock(&conf->state->lock) == 0);
        if (libconfig)
            status = check_edited(path, buf_slice(&out), err);
    }
    if (status == STATUS_OK)
        status = replace_file(path, buf_slice(&out), existed, err);
    buf_release(&out);
    free(places);
    return status;
}

enum status conf_rewrite_file(const struct conf *conf, const char *path, struct err *err)
{
    char *data = NULL;
    size_t size = 0;
    CHECK(pthread_mutex_lock(&conf->state->file_lock) == 0);
    enum status status = read_file(path, &data, &size, err);
    bool existed = status == STATUS_OK;
    if (existed || status == STATUS_NOT_FOUND)
        status =
            rewrite_text(conf, path, existed ? slice_of(data, size) : SLICE_EMPTY, existed, err);
    CHECK(pthread_mutex_unlock(&conf->state->file_lock) == 0);
    if (existed)
        free(data);
    return status;
}
