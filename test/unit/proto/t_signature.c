/* SPDX-License-Identifier: Apache-2.0
 *
 * Signatures of requests: fixed ones, made by another implementation of HMAC; what is signed, in
 * which order, and what is not.
 * Source of the rules: RMQ 4.9.2 acl/.../AclClientRPCHook.java, AclUtils.java, AclSigner.java;
 * RFC 2202, test case 2.
 */
#include "proto/signature.h"

#include "common/base/limits.h"

#include <stdio.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define FIELD(name, value)                        \
    {                                             \
        SLICE_LITERAL(name), SLICE_LITERAL(value) \
    }

static struct ext_map map_of(struct ext_field *fields, size_t count)
{
    return (struct ext_map){.fields = fields, .count = (uint32_t)count, .present = true};
}

static void assert_signs(const char *secret, const struct ext_map *ext, struct slice body,
                         const char *expected)
{
    char out[SIGNATURE_TEXT_BYTES];
    struct signer *signer = signer_new();
    assert_non_null(signer);
    for (int i = 0; i < 2; i++) { /* again with the same signer */
        signer_sign(signer, slice_of_cstr(secret), ext, body, out);
        assert_memory_equal(out, expected, sizeof out);
        assert_true(
            signer_accepts(signer, slice_of_cstr(secret), ext, body, slice_of_cstr(expected)));
        signer_sign(signer, SLICE_LITERAL("another secret"), ext, body, out);
        assert_memory_not_equal(out, expected, sizeof out);
    }
    signer_free(signer);
}

static void known_signatures(void **state)
{
    (void)state;
    struct ext_map none = {0};
    struct ext_field key[] = {FIELD("AccessKey", "RocketMQ")};
    struct ext_map one = map_of(key, 1);
    assert_signs("Jefe", &none, SLICE_LITERAL("what do ya want for nothing?"),
                 "7/zfauXrL6LSdBbV8YTfnCWafHk=");
    assert_signs("12345678", &one, SLICE_EMPTY, "IUc8rrO/0gDch8CjObLQsW2rsiA=");
    assert_signs("12345678", &none, SLICE_LITERAL("RocketMQ"), "IUc8rrO/0gDch8CjObLQsW2rsiA=");
}

/* AccessKey, SecurityToken, topic, topicX and the body, whatever their order in the header. */
static void the_order_is_that_of_the_names(void **state)
{
    (void)state;
    struct ext_field fields[] = {
        FIELD("topicX", "1"),
        FIELD("Signature", "not signed"),
        FIELD("AccessKey", "an earlier one"),
        FIELD("topic", "TopicTest"),
        FIELD("_UNIQUE_KEY_QUERY", "true"),
        FIELD("SecurityToken", "token"),
        FIELD("AccessKey", "RocketMQ"), /* the last of two counts */
        FIELD("empty", ""),
    };
    struct ext_map ext = map_of(fields, sizeof fields / sizeof fields[0]);
    assert_signs("12345678", &ext,
                 SLICE_LITERAL("\x00\xff"
                               "body"),
                 "86iR4zGjhRNt4yiqhGsON0KQadM=");
}

static void only_the_whole_signature_will_do(void **state)
{
    (void)state;
    struct ext_field key[] = {FIELD("AccessKey", "RocketMQ")};
    struct ext_map ext = map_of(key, 1);
    static const char *const wrong[] = {
        "", "IUc8rrO/0gDch8CjObLQsW2rsiA", "IUc8rrO/0gDch8CjObLQsW2rsiA==",
        "iUc8rrO/0gDch8CjObLQsW2rsiA=", "IUc8rrO/0gDch8CjObLQsW2rsiB="};
    struct signer *signer = signer_new();
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_false(signer_accepts(signer, SLICE_LITERAL("12345678"), &ext, SLICE_EMPTY,
                                    slice_of_cstr(wrong[i])));
    signer_free(signer);
    signer_free(NULL);
}

static void as_many_fields_as_a_header_may_have(void **state)
{
    (void)state;
    static char names[EXT_FIELDS_MAX][8];
    struct ext_field fields[EXT_FIELDS_MAX];
    char content[EXT_FIELDS_MAX * 4];
    char sorted[SIGNATURE_TEXT_BYTES];
    char plain[SIGNATURE_TEXT_BYTES];
    size_t size = 0;
    for (int i = 0; i < EXT_FIELDS_MAX; i++) {
        int number = (i * 37) % EXT_FIELDS_MAX; /* in no order */
        (void)snprintf(names[i], sizeof names[i], "f%03d", number);
        fields[i] = (struct ext_field){slice_of(names[i], 4), slice_of(names[i] + 1, 3)};
    }
    for (int i = 0; i < EXT_FIELDS_MAX; i++)
        size += (size_t)snprintf(content + size, sizeof content - size, "%03d", i);
    struct signer *signer = signer_new();
    struct ext_map ext = map_of(fields, EXT_FIELDS_MAX);
    struct ext_map none = {0};
    signer_sign(signer, SLICE_LITERAL("12345678"), &ext, SLICE_EMPTY, sorted);
    signer_sign(signer, SLICE_LITERAL("12345678"), &none, slice_of(content, size), plain);
    assert_memory_equal(sorted, plain, sizeof sorted);
    signer_free(signer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_signatures),
        cmocka_unit_test(the_order_is_that_of_the_names),
        cmocka_unit_test(only_the_whole_signature_will_do),
        cmocka_unit_test(as_many_fields_as_a_header_may_have),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
