/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening a socket that listens.
 */
#ifndef COMMON_NET_LISTEN_H
#define COMMON_NET_LISTEN_H

#include "common/base/status.h"

/* Sizes of the buffers of connections that are accepted; 0: the system's. */
struct listen_buffers {
    int send_bytes;
    int receive_bytes;
};

/* Listen; the socket does not block.
 * host        NULL or empty: every address
 * port        0: any; *bound_port, which may be NULL, tells which
 * returns  OK | INVALID | EXISTS (the port is taken) | IO; err has the mend */
enum status listen_open(const char *host, int port, struct listen_buffers buffers, int *fd,
                        int *bound_port, struct err *err);

#endif
