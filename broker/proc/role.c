/* SPDX-License-Identifier: Apache-2.0
 *
 * The parts of a slave, and how they learn of its master.
 */
#include "broker/proc/role.h"

#include "broker/proc/slave_sync.h"
#include "broker/repl/replication.h"

enum status role_start(struct broker *broker, struct err *err)
{
    if (!broker_is_slave(broker))
        return STATUS_OK;
    return slave_sync_start(broker, &broker->slave_sync, err);
}

void role_stop(struct broker *broker)
{
    if (broker->slave_sync == NULL)
        return;
    slave_sync_stop(broker->slave_sync);
    broker->slave_sync = NULL;
}

void broker_follow(struct broker *broker, const char *master, const char *ha_address)
{
    if (broker->slave_sync == NULL) /* stopped meanwhile */
        return;
    if (broker->conf.haMasterAddress[0] == '\0')
        replication_follow(broker->replication, ha_address);
    slave_sync_follow(broker->slave_sync, master);
}
