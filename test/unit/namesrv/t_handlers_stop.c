/* SPDX-License-Identifier: Apache-2.0
 *
 * The end of the name server's worker: what waits for the disk is not written any more, so stopping
 * takes as long as one write, however many were asked for. Source of the rule: namesrv/handlers.h.
 */
#include "test/unit/net/net_test.h"

#include "namesrv/handlers.h"
#include "test/unit/support/folder.h"

#define PEERS 10
#define REQUESTS_EACH 30 /* fewer than pause a connection's reading */
#define SYNC_MS 200

static _Atomic int syncs;

/* A disk that takes its time. */
static enum status slow_fdatasync(struct vfs *vfs, int fd)
{
    syncs++;
    let_pass_ms(SYNC_MS);
    return vfs_posix()->ops->fdatasync(vfs, fd);
}

static void append_put(struct buf *out, int32_t opaque)
{
    struct ext_field fields[] = {
        {SLICE_LITERAL("namespace"), SLICE_LITERAL("N")},
        {SLICE_LITERAL("key"), SLICE_LITERAL("k")},
        {SLICE_LITERAL("value"), SLICE_LITERAL("v")},
    };
    struct command command = {
        .code = REQUEST_PUT_KV_CONFIG,
        .version = COMMAND_VERSION_4_9_2,
        .opaque = opaque,
        .ext = {.fields = fields, .count = 3, .present = true},
    };
    assert_int_equal(command_encode(CODEC_JSON, &command, 0, out), STATUS_OK);
}

static void stopping_does_not_wait_for_the_queue(void **state)
{
    (void)state;
    char folder[FOLDER_BYTES];
    char kv_path[FOLDER_BYTES + 16];
    folder_make("t_handlers_stop", folder);
    (void)snprintf(kv_path, sizeof kv_path, "%s/kv.json", folder);
    struct vfs_ops ops = *vfs_posix()->ops;
    ops.fdatasync = slow_fdatasync;
    struct vfs slow = {&ops};
    struct handlers_options options = {
        .clock = clock_real(), .vfs = &slow, .kv_path = kv_path, .config_path = kv_path};
    struct handlers *handlers;
    struct err err;
    assert_int_equal(handlers_new(&options, &handlers, &err), STATUS_OK);
    struct net_options net = net_options_default();
    struct fixture f;
    fixture_start_with(&f, 1, &net, handlers_service(handlers));
    struct wire wires[PEERS];
    struct buf frames = BUF_EMPTY;
    for (int i = 0; i < REQUESTS_EACH; i++)
        append_put(&frames, i);
    for (int i = 0; i < PEERS; i++) {
        wire_open(&wires[i], f.port);
        wire_send(&wires[i], frames.data, frames.size);
    }
    wait_until(server_stats(f.server).requests == PEERS * REQUESTS_EACH);
    loop_stop(f.loops[0]);
    /* All of them would take PEERS * REQUESTS_EACH * SYNC_MS = 60 s: time enough for the requests
     * to arrive on the busiest machine. */
    handlers_stop(handlers);
    assert_in_range(syncs, 1, PEERS * REQUESTS_EACH / 2);
    fixture_stop(&f);
    handlers_free(handlers);
    for (int i = 0; i < PEERS; i++)
        wire_close(&wires[i]);
    buf_release(&frames);
    folder_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stopping_does_not_wait_for_the_queue),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
