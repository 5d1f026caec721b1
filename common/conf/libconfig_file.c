/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading is libconfig's work; finding the places of values for rewriting is ours, because
 * libconfig forgets comments, order and spelling.
 */
#include "common/conf/libconfig_file.h"

#include "common/base/check.h"
#include "common/sys/vfs.h"

#include <ctype.h>
#include <libconfig.h>
#include <stdio.h>
#include <stdlib.h>

/* --- places of values --- */

static bool at_text(const struct libconfig_scanner *scanner, const char *text)
{
    struct slice rest = slice_from(scanner->text, scanner->at);
    return slice_starts_with(rest, slice_of_cstr(text));
}

static uint8_t current(const struct libconfig_scanner *scanner)
{
    return scanner->at < scanner->text.size ? scanner->text.data[scanner->at] : 0;
}

static bool is_one_of(uint8_t c, const char *set)
{
    return c != '\0' && strchr(set, c) != NULL;
}

static void skip_past(struct libconfig_scanner *scanner, const char *end)
{
    while (scanner->at < scanner->text.size && !at_text(scanner, end))
        scanner->at++;
    scanner->at += scanner->at < scanner->text.size ? strlen(end) : 0;
}

/* Blanks, comments and separators. */
static void skip_space(struct libconfig_scanner *scanner, const char *separators)
{
    while (scanner->at < scanner->text.size) {
        uint8_t c = current(scanner);
        if (isspace(c) || is_one_of(c, separators))
            scanner->at++;
        else if (c == '#' || at_text(scanner, "//"))
            skip_past(scanner, "\n");
        else if (at_text(scanner, "/*"))
            skip_past(scanner, "*/");
        else
            return;
    }
}

static void skip_string(struct libconfig_scanner *scanner)
{
    scanner->at++;
    while (scanner->at < scanner->text.size && current(scanner) != '"')
        scanner->at += current(scanner) == '\\' ? 2 : 1;
    scanner->at = scanner->at < scanner->text.size ? scanner->at + 1 : scanner->text.size;
}

static void skip_word(struct libconfig_scanner *scanner)
{
    scanner->at++;
    while (scanner->at < scanner->text.size && !isspace(current(scanner)) &&
           !is_one_of(current(scanner), ";,#/\"({[)}]"))
        scanner->at++;
}

/* Over one value; returns where it ends. Strings side by side are one value. */
static size_t skip_value(struct libconfig_scanner *scanner)
{
    size_t depth = 0;
    size_t end = scanner->at;
    while (scanner->at < scanner->text.size) {
        uint8_t c = current(scanner);
        if (c == '"') {
            skip_string(scanner);
        } else if (is_one_of(c, "({[")) {
            depth++;
            scanner->at++;
        } else if (is_one_of(c, ")}]")) {
            depth -= depth > 0;
            scanner->at++;
        } else {
            skip_word(scanner);
        }
        end = scanner->at;
        skip_space(scanner, depth > 0 ? ",;=:" : "");
        if (depth == 0 && (c != '"' || current(scanner) != '"'))
            break;
    }
    return end;
}

bool libconfig_next_span(struct libconfig_scanner *scanner, struct libconfig_span *span)
{
    for (;;) {
        skip_space(scanner, ";,");
        if (scanner->at >= scanner->text.size)
            return false;
        size_t start = scanner->at;
        if (current(scanner) == '@') {
            skip_past(scanner, "\n");
            continue;
        }
        while (isalnum(current(scanner)) || is_one_of(current(scanner), "-_*"))
            scanner->at++;
        span->name = slice_of(scanner->text.data + start, scanner->at - start);
        skip_space(scanner, "");
        if (span->name.size == 0 || (current(scanner) != '=' && current(scanner) != ':'))
            return false;
        scanner->at++;
        skip_space(scanner, "");
        span->value_start = scanner->at;
        span->value_end = skip_value(scanner);
        return true;
    }
}

/* --- reading --- */

/* libconfig's own text for a value that is not quoted is a bare "syntax error". */
static enum status report(const config_t *config, const char *path, struct err *err)
{
    const char *file = config_error_file(config);
    const char *text = config_error_text(config);
    return err_set(err, STATUS_MALFORMED,
                   "%s:%d: %s (the file is read as libconfig, where texts stand in double quotes: "
                   "name = \"text\";)",
                   file == NULL ? path : file, config_error_line(config),
                   text == NULL ? "cannot be read" : text);
}

static enum status give_setting(const config_setting_t *setting, const char *path,
                                enum status (*each)(void *ctx,
                                                    const struct libconfig_setting *setting,
                                                    struct err *err),
                                void *ctx, struct err *err)
{
    char number[64];
    const char *file = config_setting_source_file(setting);
    struct libconfig_setting out = {
        .name = config_setting_name(setting),
        .text = number,
        .file = file == NULL ? path : file,
        .line = (int)config_setting_source_line(setting),
    };
    switch (config_setting_type(setting)) {
    case CONFIG_TYPE_BOOL:
        out.type = LIBCONFIG_BOOL;
        out.text = config_setting_get_bool(setting) ? "true" : "false";
        break;
    case CONFIG_TYPE_INT:
        out.type = LIBCONFIG_INT;
        (void)snprintf(number, sizeof number, "%d", config_setting_get_int(setting));
        break;
    case CONFIG_TYPE_INT64:
        out.type = LIBCONFIG_INT;
        (void)snprintf(number, sizeof number, "%lld", config_setting_get_int64(setting));
        break;
    case CONFIG_TYPE_FLOAT:
        out.type = LIBCONFIG_FLOAT;
        (void)snprintf(number, sizeof number, "%g", config_setting_get_float(setting));
        break;
    case CONFIG_TYPE_STRING:
        out.type = LIBCONFIG_STRING;
        out.text = config_setting_get_string(setting);
        break;
    default:
        return err_set(err, STATUS_INVALID,
                       "%s:%d: %s is a group, list or array; every option is a single value: "
                       "name = value;",
                       out.file, out.line, out.name);
    }
    return each(ctx, &out, err);
}

/* The folder of `path`, malloc'ed. */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL)
        return xstrdup(".");
    char *folder = xstrdup(path);
    folder[slash == path ? 1 : slash - path] = '\0';
    return folder;
}

/* True for an integer without L that 32 bits do not hold. */
static bool is_cut(struct slice value)
{
    char text[32];
    if (value.size == 0 || value.size >= sizeof text)
        return false;
    memcpy(text, value.data, value.size);
    text[value.size] = '\0';
    bool hexadecimal = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
    char *end;
    long long number = strtoll(text, &end, hexadecimal ? 16 : 10);
    return *end == '\0' && (number < INT32_MIN || number > INT32_MAX);
}

static enum status check_numbers(const config_setting_t *root, const char *file, struct slice text,
                                 struct err *err)
{
    struct libconfig_scanner scanner = {text, 0};
    struct libconfig_span span;
    while (libconfig_next_span(&scanner, &span)) {
        struct slice value =
            slice_of(text.data + span.value_start, span.value_end - span.value_start);
        if (!is_cut(value))
            continue;
        char name[128];
        (void)snprintf(name, sizeof name, "%.*s", SLICE_ARGS(span.name));
        const config_setting_t *setting = config_setting_get_member(root, name);
        return err_set(err, STATUS_INVALID,
                       "%s:%d: %s = %.*s: a number beyond 32 bits needs an L: %.*sL", file,
                       setting == NULL ? 0 : (int)config_setting_source_line(setting), name,
                       SLICE_ARGS(value), SLICE_ARGS(value));
    }
    return STATUS_OK;
}

#define INCLUDED_BYTES_MAX (1024 * 1024)

/* The same in the included file that `setting` comes from; nothing to do for the main file. */
static enum status check_included(const config_setting_t *root, const config_setting_t *setting,
                                  const char *folder, struct err *err)
{
    const char *file = config_setting_source_file(setting);
    if (file == NULL || config_setting_type(setting) != CONFIG_TYPE_INT)
        return STATUS_OK;
    struct buf path = BUF_EMPTY;
    char *data;
    size_t size;
    buf_printf(&path, "%s/%s", folder, file);
    buf_append_byte(&path, '\0');
    enum status status =
        vfs_read_file(vfs_posix(), (const char *)path.data, INCLUDED_BYTES_MAX, &data, &size);
    buf_release(&path);
    if (status != STATUS_OK)
        return err_set(err, status, "%s: the included file cannot be read again", file);
    status = check_numbers(root, file, slice_of(data, size), err);
    free(data);
    return status;
}

enum status libconfig_parse(const char *path, struct slice text,
                            enum status (*each)(void *ctx, const struct libconfig_setting *setting,
                                                struct err *err),
                            void *ctx, struct err *err)
{
    if (text.size == 0)
        return STATUS_OK;
    FILE *stream = fmemopen((void *)(uintptr_t)text.data, text.size, "r");
    if (stream == NULL)
        return err_set_errno(err, STATUS_IO, "%s: cannot be read", path);
    config_t config;
    config_init(&config);
    char *folder = folder_of(path);
    config_set_include_dir(&config, folder);
    enum status status = STATUS_OK;
    if (config_read(&config, stream) != CONFIG_TRUE)
        status = report(&config, path, err);
    const config_setting_t *root = config_root_setting(&config);
    if (status == STATUS_OK)
        status = check_numbers(root, path, text, err);
    for (int i = 0; status == STATUS_OK && i < config_setting_length(root); i++) {
        const config_setting_t *setting = config_setting_get_elem(root, (unsigned)i);
        status = check_included(root, setting, folder, err);
        if (status == STATUS_OK)
            status = give_setting(setting, path, each, ctx, err);
    }
    config_destroy(&config);
    (void)fclose(stream);
    free(folder);
    return status;
}

/* --- writing --- */

void libconfig_append_string(struct buf *out, struct slice value)
{
    buf_append_byte(out, '"');
    for (size_t i = 0; i < value.size; i++) {
        uint8_t c = value.data[i];
        if (c == '"' || c == '\\') {
            buf_append_byte(out, '\\');
            buf_append_byte(out, c);
        } else if (c < 0x20) {
            buf_printf(out, "\\x%02x", c);
        } else {
            buf_append_byte(out, c);
        }
    }
    buf_append_byte(out, '"');
}

void libconfig_append_bare(struct buf *out, struct slice value)
{
    buf_append_slice(out, value);
    if (is_cut(value))
        buf_append_byte(out, 'L');
}
