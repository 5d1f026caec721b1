/* SPDX-License-Identifier: Apache-2.0
 *
 * The hand-written reader of the send header against the generic one (proto/ext_bind): from the
 * same ext fields both must read the same values and miss the same fields. The input is a ROCKETMQ
 * header, so that the corpus of that codec serves here too; its first byte chooses the form.
 */
#include "broker/proc/send_header.h"

#include "common/base/check.h"
#include "proto/ext_bind.h"
#include "proto/header.pb-c.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same_text(struct slice by_hand, const char *generic)
{
    /* The generic reader's strings end at an inner NUL. */
    size_t size = generic == NULL ? 0 : strlen(generic);
    CHECK(size <= by_hand.size);
    CHECK(size == 0 || memcmp(by_hand.data, generic, size) == 0);
    CHECK(size == by_hand.size || by_hand.data[size] == '\0');
}

static void compare_long(const struct ext_map *ext, struct arena *arena)
{
    struct send_header by_hand;
    const char *missing = NULL;
    const char *bad_field = NULL;
    SendMessageRequestHeader generic;
    send_message_request_header__init(&generic);
    enum status by_hand_status = send_header_read(ext, false, &by_hand, &missing);
    enum status generic_status = ext_to_message(ext, arena, &generic.base, &bad_field);
    /* The long form may do without some that the generic reader asks for. */
    CHECK(by_hand_status == STATUS_OK || generic_status != STATUS_OK);
    if (by_hand_status == STATUS_OK && generic_status != STATUS_OK) {
        CHECK(strcmp(bad_field, "producerGroup") == 0 || strcmp(bad_field, "defaultTopic") == 0 ||
              strcmp(bad_field, "defaultTopicQueueNums") == 0);
        return;
    }
    if (by_hand_status != STATUS_OK)
        return;
    same_text(by_hand.topic, generic.topic);
    same_text(by_hand.producer_group, generic.producer_group);
    same_text(by_hand.default_topic, generic.default_topic);
    same_text(by_hand.properties, generic.properties);
    CHECK(by_hand.default_topic_queues == generic.default_topic_queue_nums);
    CHECK(by_hand.queue_id == generic.queue_id && by_hand.sys_flag == generic.sys_flag);
    CHECK(by_hand.born_timestamp_ms == generic.born_timestamp && by_hand.flag == generic.flag);
    CHECK(by_hand.reconsume_times == generic.reconsume_times);
    CHECK(by_hand.unit_mode == (generic.unit_mode != 0) && by_hand.batch == (generic.batch != 0));
    CHECK(by_hand.has_max_reconsume_times == (generic.has_max_reconsume_times != 0));
}

static void compare_short(const struct ext_map *ext, struct arena *arena)
{
    struct send_header by_hand;
    const char *missing = NULL;
    const char *bad_field = NULL;
    SendMessageRequestHeaderV2 generic;
    send_message_request_header_v2__init(&generic);
    enum status by_hand_status = send_header_read(ext, true, &by_hand, &missing);
    enum status generic_status = ext_to_message(ext, arena, &generic.base, &bad_field);
    CHECK(by_hand_status == generic_status);
    if (by_hand_status != STATUS_OK) {
        CHECK(strcmp(missing, bad_field) == 0);
        return;
    }
    same_text(by_hand.topic, generic.b);
    same_text(by_hand.properties, generic.i);
    CHECK(by_hand.queue_id == generic.e && by_hand.born_timestamp_ms == generic.g);
    CHECK(by_hand.reconsume_times == generic.j);
    CHECK(by_hand.batch == (generic.m != 0));
    CHECK(by_hand.has_max_reconsume_times == (generic.has_l != 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct command command;
    if (size == 0)
        return 0;
    arena_init(&arena, 4096);
    if (command_decode(CODEC_ROCKETMQ, slice_of(data + 1, size - 1), &arena, &command) ==
        STATUS_OK) {
        if ((data[0] & 1) != 0)
            compare_short(&command.ext, &arena);
        else
            compare_long(&command.ext, &arena);
    }
    arena_release(&arena);
    return 0;
}
