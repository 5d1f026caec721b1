/* SPDX-License-Identifier: Apache-2.0
 *
 * Environment, folders and the steps that both daemons' starts share.
 */
#include "common/conf/server_conf.h"

#include "common/conf/tls_conf.h"
#include "common/sys/log.h"
#include "common/tls/tls_context.h"

#include <pwd.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

const char *const conf_log_level_names[] = {
    [LOG_ERROR] = "ERROR", [LOG_WARN] = "WARN",    [LOG_INFO] = "INFO",
    [LOG_DEBUG] = "DEBUG", [LOG_DEBUG + 1] = NULL,
};

const char *const conf_tls_mode_names[] = {
    [TLS_MODE_DISABLED] = "disabled",
    [TLS_MODE_PERMISSIVE] = "permissive",
    [TLS_MODE_ENFORCING] = "enforcing",
    NULL,
};

const char *const conf_tls_client_auth_names[] = {
    [TLS_CLIENT_AUTH_NONE] = "none",
    [TLS_CLIENT_AUTH_OPTIONAL] = "optional",
    [TLS_CLIENT_AUTH_REQUIRE] = "require",
    NULL,
};

const char *conf_home(void)
{
    const char *home = getenv("HOME");
    if (home != NULL && home[0] == '/')
        return home;
    const struct passwd *user = getpwuid(getuid());
    return user != NULL && user->pw_dir != NULL && user->pw_dir[0] == '/' ? user->pw_dir : "/";
}

void conf_default_path(struct conf *conf, const char *key, const char *value, const char *rest)
{
    if (value[0] != '\0')
        return;
    const char *home = conf_home();
    struct buf path = BUF_EMPTY;
    buf_printf(&path, "%s/%s", home[1] == '\0' ? "" : home, rest);
    buf_append_byte(&path, '\0');
    conf_set_default(conf, key, (const char *)path.data, "default, under $HOME");
    buf_release(&path);
}

/* Append what -D`property`= says in the Java options of `variable`; the last one counts. */
static bool find_java_property(const char *variable, const char *property, struct buf *out)
{
    const char *at = getenv(variable);
    size_t size = strlen(property);
    bool found = false;
    while (at != NULL && *at != '\0') {
        at += strspn(at, " \t\n\"'");
        size_t word = strcspn(at, " \t\n\"'");
        if (word > size + 3 && strncmp(at, "-D", 2) == 0 && at[size + 2] == '=' &&
            strncmp(at + 2, property, size) == 0) {
            buf_clear(out);
            buf_append(out, at + size + 3, word - size - 3);
            found = true;
        }
        at += word;
    }
    return found;
}

bool conf_find_java_option(const char *property, struct buf *text, struct buf *origin)
{
    static const char *const JAVA_OPTIONS[] = {"JAVA_OPT", "JAVA_OPT_EXT"};
    bool found = false;
    for (size_t i = 0; i < sizeof JAVA_OPTIONS / sizeof JAVA_OPTIONS[0]; i++) {
        if (!find_java_property(JAVA_OPTIONS[i], property, text))
            continue;
        buf_clear(origin);
        buf_printf(origin, "-D%s in %s", property, JAVA_OPTIONS[i]);
        found = true;
    }
    return found;
}

/* Set a key that the table need not have. Ends the buffers with NULs. */
static enum status set_from(struct conf *conf, const char *key, struct buf *text,
                            struct buf *origin, struct err *err)
{
    if (text->size == 0)
        return STATUS_OK;
    buf_append_byte(text, '\0');
    buf_append_byte(origin, '\0');
    enum status status =
        conf_set(conf, key, (const char *)text->data, (const char *)origin->data, err);
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

static enum status apply_one(struct conf *conf, const char *key, const char *variable,
                             const char *property, struct err *err)
{
    struct buf origin = BUF_EMPTY;
    struct buf text = BUF_EMPTY;
    const char *value = getenv(variable);
    if (value != NULL && value[0] != '\0') {
        buf_printf(&origin, "environment %s", variable);
        buf_append_cstr(&text, value);
    }
    (void)conf_find_java_option(property, &text, &origin);
    enum status status = set_from(conf, key, &text, &origin, err);
    buf_release(&text);
    buf_release(&origin);
    return status;
}

/* A ratio such as 0.9 as whole percent, rounded; -1 when it is not one. */
static int ratio_percent(struct slice text)
{
    const uint8_t *at = text.data;
    const uint8_t *end = text.data + text.size;
    int thousandths = 0;
    int digits = 0;
    int places = -1; /* behind the point */
    for (; at < end; at++) {
        if (*at == '.' && places == -1) {
            places = 0;
            continue;
        }
        if (*at < '0' || *at > '9')
            return -1;
        digits++;
        if (places == -1 && thousandths > 0)
            return -1; /* above 9 */
        if (places < 3)
            thousandths = thousandths * 10 + (*at - '0');
        places += places >= 0 && places < 3;
    }
    for (int i = places < 0 ? 0 : places; i < 3; i++)
        thousandths *= 10;
    return digits == 0 || thousandths > 1000 ? -1 : (thousandths + 5) / 10;
}

/* A ratio that 4.9.2 knows as a property of its virtual machine only, as percent. */
static enum status apply_ratio(struct conf *conf, const char *key, const char *property,
                               struct err *err)
{
    struct buf origin = BUF_EMPTY;
    struct buf text = BUF_EMPTY;
    enum status status = STATUS_OK;
    if (conf_find_java_option(property, &text, &origin)) {
        int percent = ratio_percent(buf_slice(&text));
        if (percent < 1) {
            status = err_set(err, STATUS_INVALID,
                             "-D%s=%.*s: expected a ratio from 0.01 to 1, such as 0.90", property,
                             text.size > 80 ? 80 : (int)text.size, (const char *)text.data);
        } else {
            buf_clear(&text);
            buf_printf(&text, "%d", percent);
            status = set_from(conf, key, &text, &origin, err);
        }
    }
    buf_release(&text);
    buf_release(&origin);
    return status;
}

/* 4.9.2 puts its home folder before rocketmq.acl.plain.file, also when that begins with a slash. */
static enum status apply_acl_file(struct conf *conf, struct err *err)
{
    struct buf origin = BUF_EMPTY;
    struct buf text = BUF_EMPTY;
    struct buf relative = BUF_EMPTY;
    enum status status = STATUS_OK;
    if (conf_find_java_option("rocketmq.acl.plain.file", &text, &origin)) {
        struct slice path = buf_slice(&text);
        while (path.size > 0 && path.data[0] == '/')
            path = slice_from(path, 1);
        buf_append_slice(&relative, path);
        status = set_from(conf, "aclPlainFile", &relative, &origin, err);
    }
    buf_release(&text);
    buf_release(&relative);
    buf_release(&origin);
    return status;
}

enum status conf_apply_environment(struct conf *conf, conf_warn warn, void *warn_ctx,
                                   struct err *err)
{
    const char *type = getenv("ROCKETMQ_SERIALIZE_TYPE");
    if (warn != NULL && type != NULL && strcmp(type, conf_serialize_type()) != 0)
        warn(warn_ctx, "environment ROCKETMQ_SERIALIZE_TYPE is neither JSON nor ROCKETMQ: JSON is "
                       "used");
    enum status status = apply_one(conf, "rocketmqHome", "ROCKETMQ_HOME", "rocketmq.home.dir", err);
    if (status == STATUS_OK)
        status = apply_one(conf, "namesrvAddr", "NAMESRV_ADDR", "rocketmq.namesrv.addr", err);
    if (status == STATUS_OK)
        status = apply_ratio(conf, "diskSpaceWarningLevelRatio",
                             "rocketmq.broker.diskSpaceWarningLevelRatio", err);
    if (status == STATUS_OK)
        status = apply_ratio(conf, "diskSpaceCleanForciblyRatio",
                             "rocketmq.broker.diskSpaceCleanForciblyRatio", err);
    if (status == STATUS_OK)
        status = apply_acl_file(conf, err);
    if (status == STATUS_OK)
        status = tls_conf_apply_environment(conf, err);
    return status;
}

const char *conf_serialize_type(void)
{
    const char *type = getenv("ROCKETMQ_SERIALIZE_TYPE");
    return type != NULL && strcmp(type, "ROCKETMQ") == 0 ? "ROCKETMQ" : "JSON";
}

int conf_default_loops(void)
{
    cpu_set_t set;
    int cores = 1;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        cores = CPU_COUNT(&set);
    return cores > 8 ? 8 : cores;
}

void conf_finish_server(struct conf *conf, int64_t threads, const char *log_file,
                        const char *log_name)
{
    char text[64];
    if (threads == 0) {
        (void)snprintf(text, sizeof text, "%d", conf_default_loops());
        conf_set_default(conf, "serverSelectorThreads", text, "default, by the cores");
    }
    (void)snprintf(text, sizeof text, "logs/rocketmqlogs/%s", log_name);
    conf_default_path(conf, "logFile", log_file, text);
}

/* Environment, then file, then -n, then the file of TLS: the later goes before the earlier. */
static enum status gather(struct conf *conf, const struct conf_options *options, conf_warn warn,
                          void *warn_ctx, struct err *err)
{
    enum status status = conf_apply_environment(conf, warn, warn_ctx, err);
    if (status == STATUS_OK && options->config_file != NULL)
        status = conf_load_file(conf, options->config_file, warn, warn_ctx, err);
    if (status == STATUS_OK && options->namesrv_addr != NULL) {
        status = conf_set(conf, "namesrvAddr", options->namesrv_addr, "-n", err);
        if (status == STATUS_NOT_FOUND)
            status = STATUS_OK; /* a name server takes -n too, and has no use for it */
    }
    if (status == STATUS_OK)
        status = tls_conf_load_file(conf, warn, warn_ctx, err);
    return status;
}

static void warn_to_stderr(void *ctx, const char *text)
{
    const struct conf_program *const *program = ctx;
    (void)fprintf(stderr, "%s: warning: %s\n", (*program)->name, text);
}

bool conf_boot(const struct conf_program *program, int argc, char **argv, struct conf *conf,
               int *exit_code)
{
    struct conf_options options;
    bool run = conf_options_parse(program, argc, argv, stdout, stderr, &options, exit_code);
    if (run) {
        struct err err = {0};
        enum status status = gather(conf, &options, warn_to_stderr, &program, &err);
        if (status == STATUS_OK)
            status = program->finish(conf, warn_to_stderr, &program, &err);
        if (status == STATUS_OK && options.check && program->check != NULL)
            status = program->check(conf->values, &err);
        *exit_code = status == STATUS_OK ? 0 : CONF_EXIT_USAGE;
        if (status != STATUS_OK)
            (void)fprintf(stderr, "%s: %s\n", program->name, err.text);
        run = status == STATUS_OK && conf_options_run(program, &options, conf, stdout);
    }
    if (!run)
        conf_release(conf);
    return run;
}
