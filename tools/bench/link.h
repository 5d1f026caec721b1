/* SPDX-License-Identifier: Apache-2.0
 *
 * The tools' connections: a socket that does not block, with TLS or without. All of a program's are
 * of one kind, which link_use_tls says before the first is opened.
 */
#ifndef TOOLS_BENCH_LINK_H
#define TOOLS_BENCH_LINK_H

#include "common/base/status.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct link {
    int fd;    /* -1: closed */
    void *ssl; /* NULL: plain */
};

/* From now on links speak TLS, and accept any certificate. */
enum status link_use_tls(struct err *err);

/* Connect. address "host:port" or "[v6]:port".
 * returns  OK | INVALID (not an address) | IO (err says what the system said) | TIMEOUT */
enum status link_open(struct link *link, const char *address, int64_t timeout_ms, struct err *err);
void link_close(struct link *link);

/* As send(2) and recv(2): errno is EAGAIN when that has to wait for the socket. Reading fills the
 * buffer as far as there is anything, so that readiness tells of the rest when it is not full. */
ssize_t link_send(struct link *link, const void *data, size_t size);
ssize_t link_receive(struct link *link, void *data, size_t size);

/* Wait until the socket is ready for `events` of poll(2) or the deadline has passed.
 * returns  OK | TIMEOUT | IO */
enum status link_await(const struct link *link, short events, int64_t deadline_ms);

#endif
