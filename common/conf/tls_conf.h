/* SPDX-License-Identifier: Apache-2.0
 *
 * Where the settings of TLS come from beside the option file, under their names in Java: -Dtls.*
 * in JAVA_OPT and JAVA_OPT_EXT, and the file that tlsConfigFile names (TlsSystemConfig and
 * TlsHelper of 4.9.2). As in Java that file goes before everything else, and has no say about
 * tls.server.mode, tls.enable and tls.config.file.
 */
#ifndef COMMON_CONF_TLS_CONF_H
#define COMMON_CONF_TLS_CONF_H

#include "common/conf/conf.h"
#include "common/tls/tls_context.h"

/* The server's members of struct tls_settings from either daemon's options. */
#define TLS_CONF_SERVER(values)                                             \
    .test_mode = (values)->tlsTestModeEnable,                               \
    .client_auth = (enum tls_client_auth)(values)->tlsServerNeedClientAuth, \
    .sides[TLS_SERVER] = {                                                  \
        .key_path = (values)->tlsServerKeyPath,                             \
        .key_password = (values)->tlsServerKeyPassword,                     \
        .cert_path = (values)->tlsServerCertPath,                           \
        .trust_path = (values)->tlsServerTrustCertPath,                     \
        .verify = (values)->tlsServerAuthClient,                            \
    }

/* returns  OK | INVALID */
enum status tls_conf_apply_environment(struct conf *conf, struct err *err);

/* Read the file of TLS. A missing one is an error unless its name is the default.
 * returns  OK | INVALID | MALFORMED; err names file, line and key */
enum status tls_conf_load_file(struct conf *conf, conf_warn warn, void *warn_ctx, struct err *err);

/* Can what is set be used? Reads the certificates, outside of test mode.
 * mode   enum tls_mode
 * calls  connections that are opened use TLS, too
 * returns  OK | INVALID; err names the setting, the file and the mend */
enum status tls_conf_check(const struct tls_settings *settings, int64_t mode, bool calls,
                           struct err *err);

#endif
