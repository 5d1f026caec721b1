/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading recorded sessions.
 */
#include "test/unit/support/ha_session.h"

#include "common/base/check.h"
#include "common/sys/vfs.h"

#include <stdio.h>
#include <stdlib.h>

#define EVENT_HEAD_BYTES 10

void ha_session_load(struct ha_session *session, const char *name)
{
    char path[256];
    (void)snprintf(path, sizeof path, "test/data/ha/%s", name);
    session->at = 0;
    CHECK(vfs_read_file(vfs_posix(), path, 1 << 20, &session->data, &session->size) == STATUS_OK);
}

void ha_session_release(struct ha_session *session)
{
    free(session->data);
}

bool ha_session_next(struct ha_session *session, struct ha_event *out)
{
    const uint8_t *p = (const uint8_t *)session->data + session->at;
    if (session->at == session->size)
        return false;
    CHECK(session->size - session->at >= EVENT_HEAD_BYTES);
    size_t size = get_u32(p + 6);
    CHECK(session->size - session->at - EVENT_HEAD_BYTES >= size);
    *out =
        (struct ha_event){(char)p[0], p[1], get_u32(p + 2), slice_of(p + EVENT_HEAD_BYTES, size)};
    session->at += EVENT_HEAD_BYTES + size;
    return true;
}
