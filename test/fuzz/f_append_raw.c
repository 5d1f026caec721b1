/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as a master's log: a slave takes what is whole and nothing else. Its log ends behind a
 * record whatever came, everything in it can be dispatched, and a killed process finds the same end
 * again.
 *
 * Input: one byte (1: checksums are not looked at), then pieces: two bytes of length and the piece.
 * A piece of no bytes is a lost connection. Segments of 4096 bytes.
 */
#include "broker/store/store_internal.h"
#include "common/base/check.h"
#include "common/sys/log.h"
#include "test/unit/support/vfs_sim.h"

#include <string.h>

#define SEGMENT_BYTES 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int64_t still_wall_ms(void *ctx)
{
    (void)ctx;
    return INT64_C(1700000000000);
}

static int64_t still_monotonic_ns(void *ctx)
{
    (void)ctx;
    return 1000000000;
}

static const struct clock still_clock = {still_wall_ms, still_monotonic_ns, NULL};

static const int64_t levels_ms[] = {1000};

static struct store *open_slave(struct sim *sim, bool check_crc)
{
    struct store_options options = {
        .root = "/store",
        .commit_log = "/store/commitlog",
        .segment_bytes = SEGMENT_BYTES,
        .queue_file_bytes = 600,
        .index_slots = 16,
        .index_entries = 64,
        .index_enable = true,
        .record_bytes_max = 4096,
        .check_crc_on_recover = check_crc,
        .role = STORE_ROLE_SLAVE,
        .flush = STORE_FLUSH_ASYNC,
        .delete_when = "",
        .delay_levels_ms = levels_ms,
        .delay_level_count = 1,
    };
    struct store *store;
    struct err err;
    CHECK(store_open(&options, sim_vfs(sim), &still_clock, &store, &err) == STATUS_OK);
    return store;
}

/* The next piece. False: there is no more. */
static bool next_piece(struct slice *rest, struct slice *piece)
{
    if (rest->size < 2)
        return false;
    size_t size = get_u16(rest->data);
    *rest = slice_from(*rest, 2);
    if (size > rest->size)
        size = rest->size;
    *piece = slice_of(rest->data, size);
    *rest = slice_from(*rest, size);
    return true;
}

static void append(struct store *store, struct slice piece)
{
    struct err err = {.text = ""};
    int64_t pos = store_received_pos(store);
    int64_t end = store_appended_pos(store);
    if (piece.size == 0)
        pos = end;
    enum status status = store_append_raw(store, pos, piece, &err);
    int64_t received = store_received_pos(store);
    CHECK(store_appended_pos(store) >= end);
    CHECK(received - store_appended_pos(store) <= SEGMENT_BYTES);
    if (status == STATUS_OK)
        CHECK(received == pos + (int64_t)piece.size);
    else
        CHECK(status == STATUS_CORRUPT && received == store_appended_pos(store) &&
              err.text[0] != '\0');
}

static void dispatch(struct store *store)
{
    enum status status;
    do
        status = dispatcher_round(&store->dispatcher);
    while (status == STATUS_OK);
    CHECK(status == STATUS_NOT_FOUND);
    CHECK(store_dispatched_pos(store) == store_appended_pos(store));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    log_set_level(LOG_ERROR);
    struct slice rest = slice_of(data + 1, size - 1);
    struct slice piece;
    bool check_crc = (data[0] & 1) == 0;
    struct sim *sim = sim_new();
    sim_used_percent(sim, 50);
    struct store *store = open_slave(sim, check_crc);
    while (next_piece(&rest, &piece))
        append(store, piece);
    dispatch(store);
    int64_t end = store_appended_pos(store);
    struct log_name name;
    CHECK(store_name_end(store, &name) == STATUS_OK && name.end_pos <= end);
    CHECK(name.pos == -1 || store_has_record(store, &name) == STATUS_OK);

    /* A kill. A last record that ends with zeros is doubted, and so are properties of zeros. */
    struct sim *left = sim_clone(sim);
    struct store *again = open_slave(left, check_crc);
    CHECK(store_appended_pos(again) <= end);
    store_close(again);
    sim_free(left);
    store_close(store);
    sim_free(sim);
    return 0;
}
