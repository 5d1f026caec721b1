/* SPDX-License-Identifier: Apache-2.0
 *
 * mqbroker's options: the table made from broker_conf.def, what is worked out from machine and
 * other options, and the checks over several of them.
 *
 * The commit log's folder. 4.9.2 does not derive storePathCommitLog from storePathRootDir: a file
 * that sets only the latter has its log in $HOME/store/commitlog. Here the log follows the root,
 * except for a store of that kind: the root holds a store that has run before, it has no log, and
 * 4.9.2's place has one. The first condition keeps a second, new broker away from the log of the
 * first one on the machine.
 */
#include "common/conf/broker_conf.h"

#include "common/base/check.h"
#include "common/base/number.h"
#include "common/conf/local_address.h"
#include "common/conf/server_conf.h"
#include "common/conf/tls_conf.h"
#include "common/sys/vfs.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char *const broker_role_names[] = {
    [BROKER_ROLE_ASYNC_MASTER] = "ASYNC_MASTER",
    [BROKER_ROLE_SYNC_MASTER] = "SYNC_MASTER",
    [BROKER_ROLE_SLAVE] = "SLAVE",
    NULL,
};

static const char *const flush_disk_type_names[] = {
    [FLUSH_DISK_SYNC] = "SYNC_FLUSH",
    [FLUSH_DISK_ASYNC] = "ASYNC_FLUSH",
    NULL,
};

static const struct conf_key KEYS[] = {
#include "common/conf/conf_keys.inc"
#define MEMBER(name) offsetof(struct broker_conf, name)
#include "common/conf/broker_conf.def"
#undef MEMBER
};

void broker_conf_init(struct broker_conf *values, struct conf *conf)
{
    conf_init(conf, KEYS, sizeof KEYS / sizeof KEYS[0], values);
}

struct finish {
    struct conf *conf;
    struct broker_conf *values;
    conf_warn warn;
    void *warn_ctx;
};

static void warn(const struct finish *finish, const char *text)
{
    if (finish->warn != NULL)
        finish->warn(finish->warn_ctx, text);
}

static void set_number(const struct finish *finish, const char *key, int64_t number,
                       const char *origin)
{
    char text[I64_TEXT_BYTES + 1];
    text[format_i64(number, text)] = '\0';
    conf_set_default(finish->conf, key, text, origin);
}

/* --- what this broker refuses --- */

static enum status refuse_missing_features(const struct broker_conf *values, struct err *err)
{
    if (values->enableDLegerCommitLog)
        return err_set(err, STATUS_INVALID,
                       "enableDLegerCommitLog = true: this broker has no DLedger; remove the line "
                       "and choose with brokerRole what the broker is");
    return STATUS_OK;
}

/* --- identity --- */

static enum status finish_role(const struct finish *finish, struct err *err)
{
    struct broker_conf *values = finish->values;
    if (values->brokerRole == BROKER_ROLE_SLAVE) {
        if (values->brokerId <= 0)
            return err_set(err, STATUS_INVALID,
                           "brokerId = %lld: a broker with brokerRole = SLAVE needs a brokerId "
                           "above 0, one that no other slave of %s has",
                           (long long)values->brokerId, values->brokerName);
        if (values->haMasterAddress[0] == '\0' && values->namesrvAddr[0] == '\0')
            warn(finish, "brokerRole = SLAVE: neither haMasterAddress nor namesrvAddr is set, so "
                         "this broker follows nobody");
        return STATUS_OK;
    }
    if (values->brokerId != 0) {
        warn(finish, "brokerId: a master's is always 0; set brokerRole = SLAVE for a slave");
        set_number(finish, "brokerId", 0, "a master's is always 0");
    }
    return STATUS_OK;
}

static enum status name_after_host(const struct finish *finish, struct err *err)
{
    char name[256] = "";
    if (gethostname(name, sizeof name - 1) != 0 || name[0] == '\0')
        (void)snprintf(name, sizeof name, "DEFAULT_BROKER");
    if (!conf_is_name(slice_of_cstr(name)))
        return err_set(err, STATUS_INVALID,
                       "brokerName is not set, and the host name \"%s\" cannot stand for it, "
                       "because it cannot name a topic; set brokerName",
                       name);
    conf_set_default(finish->conf, "brokerName", name, "default, the host name");
    return STATUS_OK;
}

static void finish_addresses(const struct finish *finish)
{
    struct broker_conf *values = finish->values;
    if (values->brokerIP1[0] == '\0' || values->brokerIP2[0] == '\0') {
        char address[LOCAL_ADDRESS_BYTES];
        local_address_find(address);
        if (values->brokerIP1[0] == '\0')
            conf_set_default(finish->conf, "brokerIP1", address, "default, of this machine");
        if (values->brokerIP2[0] == '\0')
            conf_set_default(finish->conf, "brokerIP2", address, "default, of this machine");
    }
    int64_t next_port = values->listenPort == 65535 ? 0 : values->listenPort + 1;
    if (conf_is_default(finish->conf, "haListenPort"))
        set_number(finish, "haListenPort", next_port, "default, listenPort + 1");
    else if (values->haListenPort != next_port)
        warn(finish, "haListenPort: is not listenPort + 1, which 4.9.2 uses whatever the file "
                     "says; here the file counts");
}

static bool is_address(struct slice text)
{
    size_t port_at = text.size; /* behind the last colon */
    while (port_at > 0 && text.data[port_at - 1] != ':')
        port_at--;
    if (port_at < 2)
        return false;
    struct slice host = slice_of(text.data, port_at - 1);
    int64_t port;
    if (!parse_i64(slice_from(text, port_at), &port) || port < 1 || port > 65535)
        return false;
    bool bracketed = host.data[0] == '[' && host.data[host.size - 1] == ']';
    for (size_t i = 0; i < host.size; i++)
        if (host.data[i] <= ' ' || host.data[i] == ',' || (host.data[i] == ':' && !bracketed))
            return false;
    return true;
}

/* host:port, separated by semicolons. Whether a host exists shows when it is called. */
static enum status check_namesrv_addr(const char *list, struct err *err)
{
    const char *at = list;
    while (*at != '\0') {
        size_t size = strcspn(at, ";");
        if (size > 0 && !is_address(slice_of(at, size)))
            return err_set(err, STATUS_INVALID,
                           "namesrvAddr = \"%.200s\": \"%.*s\" is not host:port; several name "
                           "servers are separated by semicolons",
                           list, size > 80 ? 80 : (int)size, at);
        at += size;
        at += *at == ';';
    }
    return STATUS_OK;
}

static enum status check_master_address(const char *address, struct err *err)
{
    if (address[0] == '\0' || is_address(slice_of_cstr(address)))
        return STATUS_OK;
    return err_set(err, STATUS_INVALID,
                   "haMasterAddress = \"%.200s\" is not host:port; write the master's brokerIP2 "
                   "and haListenPort",
                   address);
}

/* --- access control --- */

static enum status finish_acl(const struct finish *finish, struct err *err)
{
    const struct broker_conf *values = finish->values;
    const char *file = values->aclPlainFile;
    const char *home = values->rocketmqHome;
    struct buf path = BUF_EMPTY;
    if (file[0] == '/')
        return STATUS_OK;
    if (home[0] == '\0' && !values->aclEnable)
        return STATUS_OK;
    if (home[0] == '\0')
        return err_set(err, STATUS_INVALID,
                       "aclEnable = true: it is not known where plain_acl.yml is; set aclPlainFile "
                       "to its path, or rocketmqHome to the folder above its conf/");
    buf_printf(&path, "%s/%s", home, file[0] == '\0' ? "conf/plain_acl.yml" : file);
    buf_append_byte(&path, '\0');
    conf_set_default(finish->conf, "aclPlainFile", (const char *)path.data,
                     file[0] == '\0' ? "default, in rocketmqHome" : "in rocketmqHome");
    buf_release(&path);
    return STATUS_OK;
}

/* --- store --- */

static enum status check_delete_when(const char *list, struct err *err)
{
    const char *at = list;
    while (*at != '\0') {
        size_t size = strcspn(at, ";");
        int64_t hour = 0;
        if (size > 0 && (!parse_i64(slice_of(at, size), &hour) || hour < 0 || hour > 23))
            return err_set(err, STATUS_INVALID,
                           "deleteWhen = \"%.80s\": expected hours from 00 to 23, separated by "
                           "semicolons",
                           list);
        at += size;
        at += *at == ';';
    }
    return STATUS_OK;
}

static void count_file(void *ctx, const char *name, bool is_directory)
{
    int *files = ctx;
    *files += !is_directory && strlen(name) == 20;
}

static bool holds_log(const char *folder)
{
    int files = 0;
    return vfs_posix()->ops->list(vfs_posix(), folder, count_file, &files) == STATUS_OK &&
           files > 0;
}

static bool exists(const char *folder, const char *name)
{
    struct buf path = BUF_EMPTY;
    struct vfs_stat stat;
    buf_printf(&path, "%s/%s", folder, name);
    buf_append_byte(&path, '\0');
    enum status status = vfs_posix()->ops->stat(vfs_posix(), (const char *)path.data, &stat);
    buf_release(&path);
    return status == STATUS_OK;
}

static void finish_commit_log(const struct finish *finish)
{
    const char *root = finish->values->storePathRootDir;
    const char *home = conf_home();
    struct buf own = BUF_EMPTY;
    struct buf old = BUF_EMPTY;
    buf_printf(&own, "%s/commitlog", root);
    buf_append_byte(&own, '\0');
    buf_printf(&old, "%s/store/commitlog", home[1] == '\0' ? "" : home);
    buf_append_byte(&old, '\0');
    const char *own_path = (const char *)own.data;
    const char *old_path = (const char *)old.data;
    bool ran_before = exists(root, "checkpoint") || exists(root, "consumequeue");
    if (strcmp(own_path, old_path) != 0 && ran_before && !holds_log(own_path) &&
        holds_log(old_path)) {
        struct buf text = BUF_EMPTY;
        buf_printf(&text,
                   "storePathCommitLog is not set and %s has no commit log, but %s has one, where "
                   "4.9.2 puts it; that one is continued. Set storePathCommitLog to confirm",
                   root, old_path);
        buf_append_byte(&text, '\0');
        warn(finish, (const char *)text.data);
        buf_release(&text);
        conf_set_default(finish->conf, "storePathCommitLog", old_path, "4.9.2's place, has a log");
    } else {
        conf_set_default(finish->conf, "storePathCommitLog", own_path,
                         "default, in storePathRootDir");
    }
    buf_release(&own);
    buf_release(&old);
}

static void clamp(const struct finish *finish, const char *key, int64_t value, int64_t low,
                  int64_t high)
{
    char origin[64];
    (void)snprintf(origin, sizeof origin, "%lld brought into %lld..%lld", (long long)value,
                   (long long)low, (long long)high);
    if (value < low || value > high)
        set_number(finish, key, value < low ? low : high, origin);
}

/* --- TLS --- */

struct tls_settings broker_conf_tls(const struct broker_conf *values)
{
    struct tls_settings settings = {TLS_CONF_SERVER(values)};
    settings.sides[TLS_CLIENT] = (struct tls_side){
        .key_path = values->tlsClientKeyPath,
        .key_password = values->tlsClientKeyPassword,
        .cert_path = values->tlsClientCertPath,
        .trust_path = values->tlsClientTrustCertPath,
        .verify = values->tlsClientAuthServer,
    };
    return settings;
}

static enum status finish_tls(const struct finish *finish, struct err *err)
{
    const struct broker_conf *values = finish->values;
    const struct tls_settings settings = broker_conf_tls(values);
    if (conf_is_default(finish->conf, "useTLS")) {
        bool chosen = !conf_is_default(finish->conf, "tlsEnable");
        bool use = chosen ? values->tlsEnable : values->tlsServerMode == TLS_MODE_ENFORCING;
        conf_set_default(finish->conf, "useTLS", use ? "true" : "false",
                         chosen ? "default, tlsEnable" : "default, by tlsServerMode");
    }
    return tls_conf_check(&settings, values->tlsServerMode, values->useTLS, err);
}

enum status broker_conf_finish(struct conf *conf, conf_warn warn_function, void *warn_ctx,
                               struct err *err)
{
    struct broker_conf *values = conf->values;
    const struct finish finish = {conf, values, warn_function, warn_ctx};
    enum status status = refuse_missing_features(values, err);
    if (status == STATUS_OK)
        status = check_namesrv_addr(values->namesrvAddr, err);
    if (status == STATUS_OK)
        status = check_master_address(values->haMasterAddress, err);
    if (status == STATUS_OK)
        status = check_delete_when(values->deleteWhen, err);
    if (status != STATUS_OK)
        return status;
    if (values->brokerName[0] == '\0')
        status = name_after_host(&finish, err);
    finish_addresses(&finish);
    if (status == STATUS_OK)
        status = finish_role(&finish, err);
    if (status == STATUS_OK)
        status = finish_acl(&finish, err);
    if (status != STATUS_OK)
        return status;
    conf_default_path(conf, "storePathRootDir", values->storePathRootDir, "store");
    if (values->storePathCommitLog[0] == '\0')
        finish_commit_log(&finish);
    clamp(&finish, "registerNameServerPeriod", values->registerNameServerPeriod, 10000, 60000);
    clamp(&finish, "diskMaxUsedSpaceRatio", values->diskMaxUsedSpaceRatio, 10, 95);
    conf_finish_server(conf, values->serverSelectorThreads, values->logFile, "broker.log");
    return finish_tls(&finish, err);
}

static const struct conf_program PROGRAM = {
    .name = "mqbroker",
    .what = "The broker of CometMQ: stores messages and hands them to consumers.",
    .namesrv_help = "name servers, host:port;host:port (goes before the file)",
    .exit_help =
        "exit status: 0 after a stop; 2 wrong flags or options; 3 another process uses the\n"
        "store; 4 the store, or a table in it, is damaged or missing and was refused; 5 a\n"
        "file cannot be read or written (permissions, space, the disk); 1 anything else\n\n",
    .finish = broker_conf_finish,
};

bool broker_conf_boot(int argc, char **argv, struct broker_conf *values, struct conf *conf,
                      enum status (*check)(const void *values, struct err *err), int *exit_code)
{
    struct conf_program program = PROGRAM;
    program.check = check;
    broker_conf_init(values, conf);
    return conf_boot(&program, argc, argv, conf, exit_code);
}

char *broker_conf_rewrite_path(const struct conf *conf)
{
    const char *file = conf_file_path(conf);
    if (file != NULL)
        return xstrdup(file);
    const char *home = conf_home();
    struct buf path = BUF_EMPTY;
    buf_printf(&path, "%s/store/config/broker.properties", home[1] == '\0' ? "" : home);
    buf_append_byte(&path, '\0');
    return (char *)path.data;
}
