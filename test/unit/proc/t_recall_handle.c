/* SPDX-License-Identifier: Apache-2.0
 *
 * Recall handles: made as 5.3.3 makes them, read as leniently, and nothing else is taken for one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "broker/proc/recall_handle.h"

/* As Java's Base64.getUrlEncoder writes it. */
#define GOOD "djEgVG9waWNBIGJyb2tlci1hIDE3MDAwMDAwMDAxMjMgN0YwMDAwMDEwMDAx"
#define PADDED "djEgVCBiIDEga2V5Pz__-3M="

static void comes_back(void **state)
{
    (void)state;
    struct buf text = BUF_EMPTY;
    struct buf scratch = BUF_EMPTY;
    struct recall_handle out;
    const struct recall_handle handle = {SLICE_LITERAL("TopicA"), SLICE_LITERAL("broker-a"),
                                         SLICE_LITERAL("1700000000123"),
                                         SLICE_LITERAL("7F0000010001")};
    recall_handle_encode(&handle, &text);
    assert_true(slice_is(buf_slice(&text), GOOD));
    assert_int_equal(recall_handle_decode(buf_slice(&text), &scratch, &out), STATUS_OK);
    assert_true(slice_is(out.topic, "TopicA"));
    assert_true(slice_is(out.broker_name, "broker-a"));
    assert_true(slice_is(out.time_text, "1700000000123"));
    assert_true(slice_is(out.unique_key, "7F0000010001"));
    buf_release(&text);
    buf_release(&scratch);
}

static void padding_may_be_missing(void **state)
{
    (void)state;
    struct buf scratch = BUF_EMPTY;
    struct recall_handle out;
    struct slice text = SLICE_LITERAL(PADDED);
    assert_int_equal(recall_handle_decode(text, &scratch, &out), STATUS_OK);
    assert_true(slice_is(out.unique_key, "key??\377\373s"));
    text.size--;
    assert_int_equal(recall_handle_decode(text, &scratch, &out), STATUS_OK);
    assert_true(slice_is(out.unique_key, "key??\377\373s"));
    buf_release(&scratch);
}

static void others_are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"",
                                        "=",
                                        "==",
                                        "djE=",
                                        "dj",
                                        "%%%%",
                                        "djEgVCBiIDE=" /* no key */,
                                        "djIgVCBiIDEga2V5" /* v2 */,
                                        "djEgIGIgMSBrZXk=" /* no topic */,
                                        "djEgVCBiIDEga2V5Z="};
    struct buf scratch = BUF_EMPTY;
    struct recall_handle out;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (recall_handle_decode(slice_of_cstr(texts[i]), &scratch, &out) != STATUS_MALFORMED)
            fail_msg("%s was taken", texts[i]);
    buf_release(&scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comes_back),
        cmocka_unit_test(padding_may_be_missing),
        cmocka_unit_test(others_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
