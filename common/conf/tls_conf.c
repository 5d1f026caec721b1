/* SPDX-License-Identifier: Apache-2.0
 *
 * The names are Java's; conf_find knows which key each stands for.
 */
#include "common/conf/tls_conf.h"

#include "common/conf/server_conf.h"
#include "common/sys/vfs.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

static const struct setting {
    const char *name;
    bool in_file; /* the file may set it */
    bool any_case;
} SETTINGS[] = {
    {"tls.server.mode", false, false},           {"tls.enable", false, false},
    {"tls.config.file", false, false},           {"tls.test.mode.enable", true, false},
    {"tls.server.need.client.auth", true, true}, {"tls.server.keyPath", true, false},
    {"tls.server.keyPassword", true, false},     {"tls.server.certPath", true, false},
    {"tls.server.authClient", true, false},      {"tls.server.trustCertPath", true, false},
    {"tls.client.keyPath", true, false},         {"tls.client.keyPassword", true, false},
    {"tls.client.certPath", true, false},        {"tls.client.authServer", true, false},
    {"tls.client.trustCertPath", true, false},
};

#define SETTING_COUNT (sizeof SETTINGS / sizeof SETTINGS[0])

/* Set a key that the table of this daemon need not have. */
static enum status set(struct conf *conf, const struct setting *setting, struct buf *text,
                       const char *origin, struct err *err)
{
    for (size_t i = 0; setting->any_case && i < text->size; i++)
        text->data[i] = (uint8_t)tolower(text->data[i]);
    buf_append_byte(text, '\0');
    enum status status = conf_set(conf, setting->name, (const char *)text->data, origin, err);
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

enum status tls_conf_apply_environment(struct conf *conf, struct err *err)
{
    struct buf text = BUF_EMPTY;
    struct buf origin = BUF_EMPTY;
    enum status status = STATUS_OK;
    for (size_t i = 0; status == STATUS_OK && i < SETTING_COUNT; i++) {
        if (!conf_find_java_option(SETTINGS[i].name, &text, &origin))
            continue;
        buf_append_byte(&origin, '\0');
        status = set(conf, &SETTINGS[i], &text, (const char *)origin.data, err);
        buf_clear(&text);
        buf_clear(&origin);
    }
    buf_release(&text);
    buf_release(&origin);
    return status;
}

/* --- the file --- */

struct load {
    struct conf *conf;
    const char *path;
    conf_warn warn;
    void *warn_ctx;
};

static void warn_unused(const struct load *load, struct slice key, int line, const char *why)
{
    char text[PATH_MAX + 256];
    if (load->warn == NULL)
        return;
    (void)snprintf(text, sizeof text, "%s:%d: %.*s %s", load->path, line,
                   key.size > 80 ? 80 : (int)key.size, (const char *)key.data, why);
    load->warn(load->warn_ctx, text);
}

static enum status take(void *ctx, struct slice key, struct slice value, int line, struct err *err)
{
    const struct load *load = ctx;
    size_t at = 0;
    while (at < SETTING_COUNT && !slice_is(key, SETTINGS[at].name))
        at++;
    if (at == SETTING_COUNT || !SETTINGS[at].in_file) {
        warn_unused(load, key, line,
                    at == SETTING_COUNT ? "is not a setting of TLS and is ignored"
                                        : "does not count in this file; set it in JAVA_OPT, as "
                                          "with 4.9.2, or in the option file");
        return STATUS_OK;
    }
    char origin[PATH_MAX + 16];
    (void)snprintf(origin, sizeof origin, "%s:%d", load->path, line);
    struct buf text = BUF_EMPTY;
    buf_append_slice(&text, value);
    enum status status = set(load->conf, &SETTINGS[at], &text, origin, err);
    buf_release(&text);
    return status;
}

static const char *file_of(struct conf *conf)
{
    size_t index = 0;
    while (strcmp(conf->keys[index].name, "tlsConfigFile") != 0)
        index++;
    return *(_Atomic(const char *) *)((char *)conf->values + conf->keys[index].offset);
}

enum status tls_conf_load_file(struct conf *conf, conf_warn warn, void *warn_ctx, struct err *err)
{
    const char *path = file_of(conf);
    char *data;
    size_t size;
    if (path[0] == '\0')
        return STATUS_OK;
    enum status status = vfs_read_file(vfs_posix(), path, CONF_FILE_BYTES_MAX, &data, &size);
    if (status == STATUS_NOT_FOUND && conf_is_default(conf, "tlsConfigFile"))
        return STATUS_OK;
    if (status == STATUS_TOO_LARGE)
        return err_set(err, STATUS_INVALID,
                       "tls.config.file = %s: longer than %d bytes; is it really that file?", path,
                       CONF_FILE_BYTES_MAX);
    if (status != STATUS_OK)
        return err_set_errno(err, STATUS_INVALID,
                             "tls.config.file = %s can not be read; correct the path or the "
                             "file's permissions",
                             path);
    struct load load = {conf, path, warn, warn_ctx};
    struct err cause = {0};
    status = java_properties_parse(slice_of(data, size), take, &load, &cause);
    if (status == STATUS_MALFORMED)
        status = err_set(err, status, "%s: %s", path, cause.text);
    else if (status != STATUS_OK)
        *err = cause;
    free(data);
    return status;
}

enum status tls_conf_check(const struct tls_settings *settings, int64_t mode, bool calls,
                           struct err *err)
{
    enum status status = STATUS_OK;
    if (settings->test_mode)
        return status;
    if (mode != TLS_MODE_DISABLED)
        status = tls_settings_check(settings, TLS_SERVER, err);
    if (status == STATUS_OK && calls)
        status = tls_settings_check(settings, TLS_CLIENT, err);
    return status;
}
