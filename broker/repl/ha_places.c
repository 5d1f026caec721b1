/* SPDX-License-Identifier: Apache-2.0
 *
 * Who of those that come is given a slave's place.
 *
 * Of our own slaves each brokerId has one place. One that comes again is known by its store's id:
 * the connection that its last process, or its machine, has left behind need not be waited for. A
 * store that was copied has the id twice. Then each of two slaves that run would take the other's
 * place, again and again. But a process that is dead does not come back: so one that does, after
 * another one with its store has taken its place and while that is still there, is not served.
 *
 * A slave of 4.9.2 says nothing but where its log ends, as anybody can who finds the port. So these
 * have half of the places at most; and when they are taken a new one gets that of one which has
 * shown no sign of being a slave: rather one from its own address, which may be itself.
 */
#include "broker/repl/ha_master.h"
#include "broker/repl/replication_internal.h"
#include "common/base/check.h"

#include <string.h>
#include <sys/socket.h>

#define PLACES_OF_4_9_2 (REPLICAS_MAX / 2)

/* From another address, one that was silent for so long about what it has; a slave reports at each
 * haSendHeartbeatInterval, and after every block. */
#define UNPROVED_MS_MAX 15000

static void replace(struct ha_connection *connection)
{
    connection->replaced = true;
    if (connection->fd != -1)
        (void)shutdown(connection->fd, SHUT_RDWR);
}

static bool holds_place(const struct ha_connection *connection)
{
    return connection->use == HA_CONNECTION_OPEN && connection->joined && !connection->replaced;
}

/* --- our own --- */

static bool was_replaced(const struct replication *replication, const struct ha_hello *slave)
{
    for (size_t i = 0; i < HA_CONNECTIONS_MAX; i++)
        if (replication->replaced[i].boot_id == slave->boot_id &&
            replication->replaced[i].broker_id == slave->broker_id)
            return slave->boot_id != 0;
    return false;
}

static void note_replaced(struct replication *replication, const struct ha_connection *connection)
{
    replication->replaced[replication->replaced_next++ % HA_CONNECTIONS_MAX] =
        (struct ha_replaced){connection->broker_id, connection->boot_id};
}

/* The slave at that connection has the brokerId of the one that comes. */
static enum ha_verdict compare(struct ha_connection *connection, const struct ha_hello *slave)
{
    struct replication *replication = connection->replication;
    if (connection->boot_id == slave->boot_id) {
        replace(connection);
        return HA_ADMITTED;
    }
    if (slave->store_id[0] == '\0' || strcmp(connection->store_id, slave->store_id) != 0)
        return HA_ID_TAKEN;
    if (was_replaced(replication, slave))
        return HA_STORE_COPIED;
    note_replaced(replication, connection);
    replace(connection);
    return HA_ADMITTED;
}

static enum ha_verdict claim_id(struct ha_connection *self, const struct ha_hello *slave,
                                char other[HOST_TEXT_BYTES])
{
    struct replication *replication = self->replication;
    for (int i = 0; i < HA_CONNECTIONS_MAX; i++) {
        struct ha_connection *connection = &replication->connections[i];
        if (connection == self || !holds_place(connection) ||
            connection->broker_id != slave->broker_id)
            continue;
        enum ha_verdict verdict = compare(connection, slave);
        if (verdict != HA_ADMITTED) {
            host_format(&connection->peer, other);
            return verdict;
        }
    }
    return HA_ADMITTED;
}

/* --- 4.9.2's --- */

static bool same_machine(const struct host *a, const struct host *b)
{
    return a->ip_bytes == b->ip_bytes && memcmp(a->ip, b->ip, sizeof a->ip) == 0;
}

/* Of two that may go: the one from the address of `self`, else the older. */
static bool goes_rather(const struct ha_connection *a, const struct ha_connection *b,
                        const struct ha_connection *self)
{
    bool a_near = same_machine(&a->peer, &self->peer);
    bool b_near = same_machine(&b->peer, &self->peer);
    return a_near != b_near ? a_near : a->opened_ms < b->opened_ms;
}

static enum ha_verdict claim_of_4_9_2(struct ha_connection *self)
{
    struct replication *replication = self->replication;
    struct ha_connection *goes = NULL;
    int count = 0;
    for (int i = 0; i < HA_CONNECTIONS_MAX; i++) {
        struct ha_connection *connection = &replication->connections[i];
        if (connection == self || !holds_place(connection) || connection->broker_id != -1)
            continue;
        count++;
        bool may_go =
            !connection->proved && (same_machine(&connection->peer, &self->peer) ||
                                    self->opened_ms - connection->opened_ms >= UNPROVED_MS_MAX);
        if (may_go && (goes == NULL || goes_rather(connection, goes, self)))
            goes = connection;
    }
    if (count < PLACES_OF_4_9_2)
        return HA_ADMITTED;
    if (goes == NULL)
        return HA_TOO_MANY;
    replace(goes);
    return HA_ADMITTED;
}

/* --- both --- */

enum ha_verdict ha_places_claim(struct ha_connection *self, const struct ha_hello *slave,
                                int protocol, char other[HOST_TEXT_BYTES])
{
    struct replication *replication = self->replication;
    CHECK(pthread_mutex_lock(&replication->lock) == 0);
    enum ha_verdict verdict = protocol == 1 ? claim_of_4_9_2(self) : claim_id(self, slave, other);
    if (verdict == HA_ADMITTED) {
        self->joined = true;
        self->proved = false;
        self->broker_id = slave->broker_id;
        self->boot_id = slave->boot_id;
        memcpy(self->store_id, slave->store_id, sizeof self->store_id);
    }
    CHECK(pthread_mutex_unlock(&replication->lock) == 0);
    return verdict;
}

void ha_places_prove(struct ha_connection *self)
{
    struct replication *replication = self->replication;
    CHECK(pthread_mutex_lock(&replication->lock) == 0);
    self->proved = true;
    CHECK(pthread_mutex_unlock(&replication->lock) == 0);
}
