/* SPDX-License-Identifier: Apache-2.0
 *
 * mqnamesrv's options: the table made from namesrv_conf.def, and its start.
 */
#include "common/conf/namesrv_conf.h"

#include "common/conf/server_conf.h"
#include "common/conf/tls_conf.h"

static const struct conf_key KEYS[] = {
#include "common/conf/conf_keys.inc"
#define MEMBER(name) offsetof(struct namesrv_conf, name)
#include "common/conf/namesrv_conf.def"
#undef MEMBER
};

void namesrv_conf_init(struct namesrv_conf *values, struct conf *conf)
{
    conf_init(conf, KEYS, sizeof KEYS / sizeof KEYS[0], values);
}

enum status namesrv_conf_finish(struct conf *conf, conf_warn warn, void *warn_ctx, struct err *err)
{
    (void)warn;
    (void)warn_ctx;
    struct namesrv_conf *values = conf->values;
    const char *file = conf_file_path(conf);
    conf_default_path(conf, "kvConfigPath", values->kvConfigPath, "namesrv/kvConfig.json");
    if (file != NULL && values->configStorePath[0] == '\0')
        conf_set_default(conf, "configStorePath", file, "default, the -c file");
    conf_default_path(conf, "configStorePath", values->configStorePath,
                      "namesrv/namesrv.properties");
    conf_finish_server(conf, values->serverSelectorThreads, values->logFile, "namesrv.log");
    const struct tls_settings tls = namesrv_conf_tls(values);
    return tls_conf_check(&tls, values->tlsServerMode, false, err);
}

struct tls_settings namesrv_conf_tls(const struct namesrv_conf *values)
{
    return (struct tls_settings){TLS_CONF_SERVER(values)};
}

static const struct conf_program PROGRAM = {
    .name = "mqnamesrv",
    .what = "The name server of CometMQ: tells clients which brokers serve a topic.",
    .namesrv_help = "accepted as by Apache's name server, without effect",
    .finish = namesrv_conf_finish,
};

bool namesrv_conf_boot(int argc, char **argv, struct namesrv_conf *values, struct conf *conf,
                       int *exit_code)
{
    namesrv_conf_init(values, conf);
    return conf_boot(&PROGRAM, argc, argv, conf, exit_code);
}
