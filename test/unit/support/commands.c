/* SPDX-License-Identifier: Apache-2.0
 *
 * Comparing commands in tests.
 */
#include "test/unit/support/commands.h"

bool command_same(const struct command *a, const struct command *b)
{
    if (a->code != b->code || a->language != b->language || a->version != b->version ||
        a->opaque != b->opaque || a->flag != b->flag || a->has_remark != b->has_remark ||
        a->ext.present != b->ext.present || a->ext.count != b->ext.count)
        return false;
    if (a->has_remark && !slice_equal(a->remark, b->remark))
        return false;
    for (uint32_t i = 0; i < a->ext.count; i++)
        if (!slice_equal(a->ext.fields[i].name, b->ext.fields[i].name) ||
            !slice_equal(a->ext.fields[i].value, b->ext.fields[i].value))
            return false;
    return true;
}

struct command command_carried(const struct command *command, enum codec codec)
{
    struct command carried = *command;
    if (carried.language > LANGUAGE_NODE_JS)
        carried.language = LANGUAGE_OTHER;
    if (codec == CODEC_ROCKETMQ && carried.remark.size == 0)
        carried.has_remark = false;
    carried.ext.present = carried.ext.count > 0 || (codec == CODEC_JSON && carried.ext.present);
    return carried;
}

static void append_quoted(struct buf *out, struct slice s)
{
    buf_append_byte(out, '\'');
    for (size_t i = 0; i < s.size; i++) {
        if (s.data[i] < 0x20 || s.data[i] > 0x7E)
            buf_printf(out, "\\x%02X", s.data[i]);
        else
            buf_append_byte(out, s.data[i]);
    }
    buf_append_byte(out, '\'');
}

static void append_number(struct buf *out, const char *name, int32_t value)
{
    if (value != 0)
        buf_printf(out, " %s=%d", name, value);
}

char *command_text(const struct command *command, struct arena *arena)
{
    struct buf text = BUF_EMPTY;
    append_number(&text, "code", command->code);
    if (command->language == LANGUAGE_UNKNOWN)
        buf_append_cstr(&text, " language=UNKNOWN");
    else if (command->language != LANGUAGE_JAVA)
        buf_printf(&text, " language=%s", language_name(command->language));
    append_number(&text, "version", command->version);
    append_number(&text, "opaque", command->opaque);
    append_number(&text, "flag", command->flag);
    if (command->has_remark) {
        buf_append_cstr(&text, " remark=");
        append_quoted(&text, command->remark);
    }
    if (command->ext.present) {
        buf_append_cstr(&text, " ext={");
        for (uint32_t i = 0; i < command->ext.count; i++) {
            buf_printf(&text, "%s%.*s=", i == 0 ? "" : " ",
                       SLICE_ARGS(command->ext.fields[i].name));
            append_quoted(&text, command->ext.fields[i].value);
        }
        buf_append_byte(&text, '}');
    }
    struct slice all = buf_slice(&text);
    char *copy = arena_cstr(arena, all.size > 0 ? slice_from(all, 1) : all);
    buf_release(&text);
    return copy;
}
