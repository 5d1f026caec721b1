/* SPDX-License-Identifier: Apache-2.0
 *
 * Recorded sessions of replication between 4.9.2 brokers: test/data/ha/README says what they are.
 */
#ifndef TEST_UNIT_SUPPORT_HA_SESSION_H
#define TEST_UNIT_SUPPORT_HA_SESSION_H

#include "common/base/bytes.h"

#include <stdint.h>

struct ha_event {
    char kind; /* O opened, X closed, S slave to master, M master to slave */
    int connection;
    int64_t ms;
    struct slice bytes; /* of the session */
};

struct ha_session {
    char *data;
    size_t size;
    size_t at;
};

/* name  of a file in test/data/ha. Fails the test when it is not there. */
void ha_session_load(struct ha_session *session, const char *name);
void ha_session_release(struct ha_session *session);

/* False at the end. */
bool ha_session_next(struct ha_session *session, struct ha_event *out);

#endif
