/* SPDX-License-Identifier: Apache-2.0
 *
 * What both servers' options have in common (server_conf.def), and where their values come from
 * beside the file: environment and flags.
 *
 * Environment: ROCKETMQ_HOME; NAMESRV_ADDR (broker). Of the Java options in JAVA_OPT and
 * JAVA_OPT_EXT, -Drocketmq.home.dir=... and -Drocketmq.namesrv.addr=... count, and go before the
 * former, as in Java, and so do the broker's -Drocketmq.broker.diskSpaceWarningLevelRatio=0.90 and
 * -Drocketmq.broker.diskSpaceCleanForciblyRatio=0.85, and -Dtls.*=... (tls_conf.h); everything else
 * in them is ignored.
 * ROCKETMQ_SERIALIZE_TYPE may be JSON or ROCKETMQ.
 */
#ifndef COMMON_CONF_SERVER_CONF_H
#define COMMON_CONF_SERVER_CONF_H

#include "common/conf/conf.h"
#include "common/conf/conf_options.h"

/* ERROR, WARN, INFO, DEBUG: the order of enum log_level. */
extern const char *const conf_log_level_names[];

/* disabled, permissive, enforcing; none, optional, require: the order of the enums in
 * tls_context.h. */
extern const char *const conf_tls_mode_names[];
extern const char *const conf_tls_client_auth_names[];

/* The user's folder: $HOME, else the one in the password file, else "/". Static storage. */
const char *conf_home(void);

/* Set `key` to home/rest when it is empty. */
void conf_default_path(struct conf *conf, const char *key, const char *value, const char *rest);

/* Take rocketmqHome, and namesrvAddr and the disk's ratios where the table has them, from the
 * environment.
 * returns  OK | INVALID */
enum status conf_apply_environment(struct conf *conf, conf_warn warn, void *warn_ctx,
                                   struct err *err);

/* What the Java options in JAVA_OPT and JAVA_OPT_EXT say about a property, and where ("-Dx in
 * JAVA_OPT"); false when nothing. */
bool conf_find_java_option(const char *property, struct buf *text, struct buf *origin);

/* "JSON" or "ROCKETMQ", from ROCKETMQ_SERIALIZE_TYPE: the encoding of headers that the daemon
 * sends of its own accord; answers are in the encoding of their request. */
const char *conf_serialize_type(void);

/* I/O threads for serverSelectorThreads = 0: one per core this process may use, at most 8. */
int conf_default_loops(void);

/* Resolve serverSelectorThreads and logFile, given their values. */
void conf_finish_server(struct conf *conf, int64_t threads, const char *log_file,
                        const char *log_name);

/* A start: flags, environment, file, -n, program->finish, -p, -m, --check. Complaints and warnings
 * go to stderr as "PROGRAM: TEXT".
 * conf      initialised; released when the result is false
 * returns   true when the daemon shall run; else *exit_code is the process's */
bool conf_boot(const struct conf_program *program, int argc, char **argv, struct conf *conf,
               int *exit_code);

#endif
