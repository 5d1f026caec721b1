/* SPDX-License-Identifier: Apache-2.0
 *
 * The options of mqbroker as a struct. Members are named like the keys; broker_conf.def says what
 * each means. Any thread may read them.
 */
#ifndef COMMON_CONF_BROKER_CONF_H
#define COMMON_CONF_BROKER_CONF_H

#include "common/conf/conf.h"
#include "common/tls/tls_context.h"

enum broker_role {
    BROKER_ROLE_ASYNC_MASTER,
    BROKER_ROLE_SYNC_MASTER,
    BROKER_ROLE_SLAVE,
};

enum flush_disk_type {
    FLUSH_DISK_SYNC,
    FLUSH_DISK_ASYNC,
};

struct broker_conf {
#define CONF_SECTION(title)
#define CONF_BOOL(name, ...) _Atomic(bool) name;
#define CONF_INT(name, ...) _Atomic(int64_t) name;
#define CONF_STRING(name, ...) _Atomic(const char *) name;
#define CONF_ENUM(name, ...) _Atomic(int64_t) name;
#define CONF_OTHER_VERSION(name, doc)
#include "common/conf/broker_conf.def"
};

/* Every value at its default; those that depend on the machine are still empty. Both structs must
 * stay where they are until conf_release. */
void broker_conf_init(struct broker_conf *values, struct conf *conf);

/* Work out what depends on machine, environment and other values (addresses, folders, brokerId,
 * haListenPort, serverSelectorThreads), and check what no single key can be checked for. After
 * files, environment and flags, before anything reads the values.
 * warn     may be NULL
 * returns  OK | INVALID; err names the key and the mend */
enum status broker_conf_finish(struct conf *conf, conf_warn warn, void *warn_ctx, struct err *err);

/* All of a start: flags, environment, -c file, broker_conf_finish, and what -p, -m, --check, -h and
 * --version print. Messages go to stderr.
 * check    see conf_program
 * returns  true when the broker shall run; else *exit_code is the process's (0, or 2 for wrong
 * flags and options). conf_release is the caller's business only when true. */
bool broker_conf_boot(int argc, char **argv, struct broker_conf *values, struct conf *conf,
                      enum status (*check)(const void *values, struct err *err), int *exit_code);

/* What the options say about TLS; the texts live as long as the options. */
struct tls_settings broker_conf_tls(const struct broker_conf *values);

/* The file that live updates are written to, malloc'ed: the -c file, else
 * $HOME/store/config/broker.properties as in 4.9.2. */
char *broker_conf_rewrite_path(const struct conf *conf);

#endif
