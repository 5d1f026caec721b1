/* SPDX-License-Identifier: Apache-2.0
 *
 * Offset message ids and host texts are those of Apache's 4.9.2: every id of the golden records
 * (test/data/messages.tsv) is written and read back.
 */
#include "proto/message_id.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "test/unit/support/random.h"
#include "test/unit/support/tsv.h"

static const struct host v4 = {.ip = {127, 0, 0, 1}, .ip_bytes = 4, .port = 10911};
static const struct host v6 = {.ip = {[15] = 1}, .ip_bytes = 16, .port = 10911};

static void golden_ids(void **state)
{
    (void)state;
    struct tsv tsv;
    tsv_load(&tsv, "test/data/messages.tsv");
    size_t ids = 0;
    for (size_t row = 0; row < tsv.row_count; row++) {
        struct slice id = tsv_cell(&tsv, row, "offsetMsgId");
        struct host host;
        int64_t offset;
        char text[HOST_TEXT_BYTES];
        char again[MESSAGE_ID_TEXT_BYTES];
        if (id.size == 0)
            continue;
        assert_true(message_id_parse(id, &host, &offset));
        assert_int_equal(offset, tsv_number(&tsv, row, "commitLogOffset"));
        host_format(&host, text);
        assert_true(slice_is(tsv_cell(&tsv, row, "storeHost"), text));
        assert_int_equal(message_id_format(&host, offset, again), id.size);
        assert_memory_equal(again, id.data, id.size);
        ids++;
    }
    assert_int_equal(ids, 56);
    tsv_release(&tsv);
}

static void lengths_and_case(void **state)
{
    (void)state;
    char text[MESSAGE_ID_TEXT_BYTES];
    assert_int_equal(message_id_format(&v4, 0x1ABCDEF, text), 32);
    assert_memory_equal(text, "7F00000100002A9F0000000001ABCDEF", 32);
    assert_int_equal(message_id_format(&v6, -1, text), 56);
    assert_memory_equal(text, "0000000000000000000000000000000100002A9FFFFFFFFFFFFFFFFF", 56);
    struct host host;
    int64_t offset;
    assert_true(
        message_id_parse(SLICE_LITERAL("7f00000100002a9f0000000001abcdef"), &host, &offset));
    assert_int_equal(offset, 0x1ABCDEF);
    assert_int_equal(host.port, 10911);
}

static void what_is_no_id(void **state)
{
    (void)state;
    struct host host = {.port = 7};
    int64_t offset = 7;
    static const char good[] = "7F00000100002A9F0000000001ABCDEF";
    char bad[sizeof good];
    for (size_t i = 0; i < sizeof good - 1; i++) {
        assert_false(message_id_parse(slice_of(good, i), &host, &offset));
        memcpy(bad, good, sizeof good);
        bad[i] = "G/:@`g\x80"[i % 7];
        assert_false(message_id_parse(slice_of(bad, sizeof good - 1), &host, &offset));
    }
    assert_false(message_id_parse(SLICE_EMPTY, &host, &offset));
    assert_int_equal(host.port, 7);
    assert_int_equal(offset, 7);
}

static void host_texts(void **state)
{
    (void)state;
    char text[HOST_TEXT_BYTES];
    host_format(&v4, text);
    assert_string_equal(text, "127.0.0.1:10911");
    host_format(&v6, text);
    assert_string_equal(text, "[0:0:0:0:0:0:0:1]:10911");
    struct host longest = {.ip_bytes = 16, .port = INT32_MIN};
    memset(longest.ip, 0xFE, sizeof longest.ip);
    host_format(&longest, text);
    assert_string_equal(text, "[fefe:fefe:fefe:fefe:fefe:fefe:fefe:fefe]:-2147483648");
}

static void hosts_from_text(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "localhost", "1.2.3", "1.2.3.4:5", "[::1]", "256.1.1.1"};
    struct host host;
    assert_true(host_parse("127.0.0.1", 10911, &host));
    assert_memory_equal(&host.ip, v4.ip, 16);
    assert_int_equal(host.ip_bytes, 4);
    assert_int_equal(host.port, 10911);
    assert_true(host_parse("::1", 1, &host));
    assert_memory_equal(&host.ip, v6.ip, 16);
    assert_int_equal(host.ip_bytes, 16);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(host_parse(bad[i], 7, &host));
    assert_int_equal(host.port, 1);
}

static void any_host_and_offset_come_back(void **state)
{
    (void)state;
    struct random random;
    random_init(&random, "any_host_and_offset_come_back");
    for (int i = 0; i < 10000; i++) {
        struct host host = {.ip_bytes = random_below(&random, 2) == 0 ? 4 : 16,
                            .port = (int32_t)random_u64(&random)};
        struct host again;
        int64_t offset = (int64_t)random_u64(&random);
        int64_t offset_again;
        char text[MESSAGE_ID_TEXT_BYTES];
        for (size_t b = 0; b < host.ip_bytes; b++)
            host.ip[b] = (uint8_t)random_u64(&random);
        size_t size = message_id_format(&host, offset, text);
        assert_true(message_id_parse(slice_of(text, size), &again, &offset_again));
        assert_int_equal(again.ip_bytes, host.ip_bytes);
        assert_memory_equal(again.ip, host.ip, sizeof host.ip);
        assert_int_equal(again.port, host.port);
        assert_int_equal(offset_again, offset);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_ids),      cmocka_unit_test(lengths_and_case),
        cmocka_unit_test(what_is_no_id),   cmocka_unit_test(host_texts),
        cmocka_unit_test(hosts_from_text), cmocka_unit_test(any_host_and_offset_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
