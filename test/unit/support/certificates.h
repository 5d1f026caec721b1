/* SPDX-License-Identifier: Apache-2.0
 *
 * Certificates for tests: authorities, and what they sign, as files in PEM form.
 */
#ifndef TEST_UNIT_SUPPORT_CERTIFICATES_H
#define TEST_UNIT_SUPPORT_CERTIFICATES_H

enum key_kind {
    KEY_P256,
    KEY_RSA_2048,
};

/* Write folder/NAME.cert and folder/NAME.key, replacing what is there.
 * authority  the name of the one that signs; NULL: an authority of its own
 * password   of the key (PKCS#8); NULL: none
 * Fails the running test when that is not possible. */
void certificate_make(const char *folder, const char *name, const char *authority,
                      enum key_kind kind, const char *password);

#endif
