/* SPDX-License-Identifier: Apache-2.0
 *
 * The options of mqnamesrv as a struct. Members are named like the keys; namesrv_conf.def says what
 * each means. Any thread may read them.
 */
#ifndef COMMON_CONF_NAMESRV_CONF_H
#define COMMON_CONF_NAMESRV_CONF_H

#include "common/conf/conf.h"
#include "common/tls/tls_context.h"

struct namesrv_conf {
#define CONF_SECTION(title)
#define CONF_BOOL(name, ...) _Atomic(bool) name;
#define CONF_INT(name, ...) _Atomic(int64_t) name;
#define CONF_STRING(name, ...) _Atomic(const char *) name;
#define CONF_ENUM(name, ...) _Atomic(int64_t) name;
#define CONF_OTHER_VERSION(name, doc)
#include "common/conf/namesrv_conf.def"
};

/* As in broker_conf.h. Live updates are written to the file configStorePath names, which is the -c
 * file when there is one. */
void namesrv_conf_init(struct namesrv_conf *values, struct conf *conf);
enum status namesrv_conf_finish(struct conf *conf, conf_warn warn, void *warn_ctx, struct err *err);
bool namesrv_conf_boot(int argc, char **argv, struct namesrv_conf *values, struct conf *conf,
                       int *exit_code);

/* What the options say about TLS; the texts live as long as the options. */
struct tls_settings namesrv_conf_tls(const struct namesrv_conf *values);

#endif
