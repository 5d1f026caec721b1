/* SPDX-License-Identifier: Apache-2.0
 *
 * The TLS contexts of a daemon, and their renewal: a thread looks at the files every 500 ms, as
 * 4.9.2 does, and when their contents have changed makes a new context of them, which connections
 * that come later use. Those that stand keep theirs. What can not be used (a key that does not
 * belong to the certificate yet) leaves everything as it is and is said once.
 */
#ifndef COMMON_TLS_TLS_H
#define COMMON_TLS_TLS_H

#include "common/tls/tls_context.h"

struct tls;

/* Which sides are wanted; bits. */
enum tls_sides {
    TLS_SIDE_SERVER = 1,
    TLS_SIDE_CLIENT = 2,
};

/* settings  copied; its texts are borrowed until tls_free
 * returns   OK | INVALID; err as from tls_contents_read. The certificate of test mode is made when
 *           the first connection wants it, and can not fail here */
enum status tls_new(const struct tls_settings *settings, int sides, struct tls **out,
                    struct err *err);
void tls_free(struct tls *tls);

/* Watch the files, if there are any, in a thread of its own. tls_stop may be called without it. */
enum status tls_start(struct tls *tls, struct err *err);
void tls_stop(struct tls *tls);

/* The context in use: a reference, to be SSL_CTX_free'd. NULL: there is none, which was logged. Any
 * thread. */
SSL_CTX *tls_context(struct tls *tls, enum tls_role role);

/* Look at the files once; what the thread does. A change counts when two looks have seen the same
 * contents, so that no file is used while it is being written. */
void tls_look(struct tls *tls);

#endif
