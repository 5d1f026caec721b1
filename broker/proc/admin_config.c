/* SPDX-License-Identifier: Apache-2.0
 *
 * GET_BROKER_CONFIG and UPDATE_BROKER_CONFIG (AD-02, AD-03). On the worker pool: an update is
 * written into the configuration file before it is answered.
 */
#include "broker/proc/broker.h"
#include "broker/proc/handlers.h"
#include "broker/proc/registrar.h"

#include "common/sys/log.h"
#include "proto/header.pb-c.h"

#include <stdatomic.h>

void handle_get_broker_config(struct broker *broker, struct call *call)
{
    GetBrokerConfigResponseHeader header;
    struct buf text = BUF_EMPTY;
    get_broker_config_response_header__init(&header);
    header.version = arena_printf(call->arena, "{\"counter\":%lld,\"timestamp\":%lld}",
                                  (long long)atomic_load(&broker->conf_changes),
                                  (long long)atomic_load(&broker->conf_changed_ms));
    conf_list(&broker->conf_table, &text);
    struct response response = {
        .code = RESPONSE_SUCCESS, .header = &header.base, .body = buf_slice(&text)};
    net_reply(call_reply_to(call), &response);
    buf_release(&text);
}

void broker_set_retention(const struct broker_conf *conf, struct store_options *options)
{
    /* An update while running does not pass through the checks of the start. */
    int64_t used_percent = conf->diskMaxUsedSpaceRatio;
    used_percent = used_percent < 10 ? 10 : used_percent > 95 ? 95 : used_percent;
    options->file_reserved_hours = conf->fileReservedTime;
    options->delete_when = conf->deleteWhen;
    options->disk_max_used_percent = (int)used_percent;
    options->disk_warning_percent = (int)conf->diskSpaceWarningLevelRatio;
    options->disk_force_percent = (int)conf->diskSpaceCleanForciblyRatio;
    options->clean_forcibly = conf->cleanFileForciblyEnable;
    options->commit_log_bytes_max = conf->commitLogBytesMax;
    options->disk_free_bytes_min = conf->diskFreeBytesMin;
    options->delete_log_files_interval_ms = conf->deleteCommitLogFilesInterval;
    options->delete_queue_files_interval_ms = conf->deleteConsumeQueueFilesInterval;
    options->redelete_hanged_file_interval_ms = conf->redeleteHangedFileInterval;
    options->clean_interval_ms = conf->cleanResourceInterval;
}

void broker_set_pull_limits(const struct broker *broker, struct store_options *options)
{
    const struct broker_conf *conf = &broker->conf;
    options->memory_bytes_hot = broker_hot_bytes(broker);
    options->transfer_bytes_memory = (int32_t)conf->maxTransferBytesOnMessageInMemory;
    options->transfer_count_memory = (int32_t)conf->maxTransferCountOnMessageInMemory;
    options->transfer_bytes_disk = (int32_t)conf->maxTransferBytesOnMessageInDisk;
    options->transfer_count_disk = (int32_t)conf->maxTransferCountOnMessageInDisk;
}

void handle_update_broker_config(struct broker *broker, struct call *call)
{
    struct err err = {0};
    int64_t permission = broker->conf.brokerPermission;
    if (conf_update(&broker->conf_table, call->body, &err) != STATUS_OK) {
        call_fail(call, RESPONSE_SYSTEM_ERROR, "nothing was changed: %s", err.text);
        return;
    }
    struct store_options options = {0};
    broker_set_retention(&broker->conf, &options);
    broker_set_pull_limits(broker, &options);
    store_set_retention(broker->store, &options);
    store_set_pull_limits(broker->store, &options);
    atomic_fetch_add(&broker->conf_changes, 1);
    atomic_store(&broker->conf_changed_ms, clock_wall_ms(broker->clock));
    if (conf_rewrite_file(&broker->conf_table, broker->conf_path, &err) != STATUS_OK) {
        call_fail(call, RESPONSE_SYSTEM_ERROR,
                  "the change is in force, but lost at the next start: %s", err.text);
        return;
    }
    char peer[HOST_TEXT_BYTES];
    host_format(&call->peer, peer);
    log_info("conf", "configuration changed by an administrator", "by=%s file=%s", peer,
             broker->conf_path);
    if (permission != broker->conf.brokerPermission) {
        topics_touch_version(broker->topics); /* TP-11 */
        registrar_announce(broker->registrar);
    }
    call_succeed(call, NULL);
}
