/* SPDX-License-Identifier: Apache-2.0
 *
 * The parts that differ by role, and how a slave learns of its master.
 */
#include "broker/proc/role.h"

#include "broker/proc/slave_sync.h"
#include "broker/proc/table_changes.h"
#include "broker/repl/replication.h"

enum status role_start(struct broker *broker, struct err *err)
{
    if (!broker_is_slave(broker)) {
        broker->table_changes = table_changes_new(broker);
        return STATUS_OK;
    }
    enum status status = slave_sync_start(broker, &broker->slave_sync, err);
    if (status == STATUS_OK)
        replication_follow(broker->replication, broker->conf.haMasterAddress);
    return status;
}

void role_stop(struct broker *broker)
{
    if (broker->slave_sync != NULL)
        slave_sync_stop(broker->slave_sync);
    if (broker->table_changes != NULL)
        table_changes_free(broker->table_changes);
    broker->slave_sync = NULL;
    broker->table_changes = NULL;
}

void broker_follow(struct broker *broker, const char *master, const char *ha_address)
{
    const char *configured = broker->conf.haMasterAddress;
    if (broker->slave_sync == NULL) /* stopped meanwhile */
        return;
    slave_sync_follow(broker->slave_sync, master);
    if (configured[0] == '\0' && ha_address[0] != '\0')
        replication_follow(broker->replication, ha_address);
}

void role_tables_changed(void *ctx, unsigned tables)
{
    const struct broker *broker = ctx;
    (void)tables; /* one question brings all that has changed */
    if (broker->slave_sync != NULL)
        slave_sync_wake(broker->slave_sync);
}
