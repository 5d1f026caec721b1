/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as config/consumerOrderInfo.json: loading it takes it or refuses it as damaged; what
 * can be no answer of a queue is left out. What is taken is saved, and loading and saving that
 * gives the same file; a queue of it can be popped, acknowledged and given once more.
 *
 * Input: the file.
 */
#include "broker/state/pop_orders.h"
#include "common/base/check.h"
#include "common/sys/log.h"
#include "test/unit/support/vfs_sim.h"

#define PATH "/config/consumerOrderInfo.json"
#define BACKUP_PATH PATH ".bak"
#define NOW_MS INT64_C(1700000000000)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The first queue of T@G, used as loops do. */
static void use(struct pop_orders *orders)
{
    static const int64_t offsets[] = {5, 6};
    const struct pop_order_queue queue = {SLICE_LITERAL("T"), SLICE_LITERAL("G"), 0};
    const struct pop_taken taken = {.start_offset = 5,
                                    .next_offset = 7,
                                    .pop_time_ms = NOW_MS,
                                    .invisible_ms = 1000,
                                    .count = 2,
                                    .offsets = offsets};
    struct buf counts = BUF_EMPTY;
    bool is_free;
    (void)pop_orders_held_until(orders, &queue, 5, SLICE_LITERAL("a"), NOW_MS);
    for (int64_t offset = 0; offset < 8; offset++)
        CHECK(pop_orders_ack(orders, &queue, offset, NOW_MS, NOW_MS, &is_free) != STATUS_BUSY);
    pop_orders_change(orders, &queue, 5, NOW_MS, NOW_MS + 5);
    CHECK(pop_orders_given(orders, &queue, SLICE_LITERAL("b"), &taken, &counts) == STATUS_OK);
    pop_orders_expire(orders, INT64_MAX);
    buf_release(&counts);
}

/* Load the file as a .bak, so that it is saved. False: it was refused. */
static bool load_and_save(struct slice file, bool used, struct buf *saved)
{
    struct sim *sim = sim_new();
    struct vfs *vfs = sim_vfs(sim);
    struct offsets *offsets;
    struct pop_orders *orders;
    struct err err = {.text = ""};
    size_t size;
    CHECK(vfs->ops->mkdirs(vfs, "/config") == STATUS_OK);
    sim_resize(sim, BACKUP_PATH, file.size);
    if (file.size > 0)
        memcpy(sim_bytes(sim, BACKUP_PATH, &size), file.data, file.size);
    CHECK(offsets_load("/config/consumerOffset.json", vfs, &offsets, &err) == STATUS_OK);
    enum status status = pop_orders_load(PATH, vfs, offsets, &orders, &err);
    CHECK(status == STATUS_OK || (status == STATUS_CORRUPT && err.text[0] != '\0'));
    if (status == STATUS_OK) {
        if (used)
            use(orders);
        CHECK(pop_orders_persist(orders, &err) == STATUS_OK);
        const uint8_t *bytes = sim_bytes(sim, PATH, &size);
        CHECK(bytes != NULL);
        buf_append(saved, bytes, size);
        pop_orders_free(orders);
    }
    offsets_free(offsets);
    sim_free(sim);
    return status == STATUS_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf first = BUF_EMPTY;
    struct buf second = BUF_EMPTY;
    struct buf used = BUF_EMPTY;
    log_set_level((enum log_level)(-1)); /* damaged files are what this is about */
    if (load_and_save(slice_of(data, size), false, &first)) {
        CHECK(load_and_save(buf_slice(&first), false, &second));
        CHECK(slice_equal(buf_slice(&first), buf_slice(&second)));
        CHECK(load_and_save(slice_of(data, size), true, &used));
    }
    buf_release(&first);
    buf_release(&second);
    buf_release(&used);
    return 0;
}
