/* SPDX-License-Identifier: Apache-2.0
 *
 * The text of plain_acl.yml: read into rules, and changed as UPDATE_AND_CREATE_ACL_CONFIG,
 * DELETE_ACL_CONFIG and UPDATE_GLOBAL_WHITE_ADDRS_CONFIG ask for. Pure. docs/acl.md describes the
 * file.
 *
 * Errors name file, line, what is wrong and the mend; they never hold a secret key.
 */
#ifndef BROKER_ACCESS_ACL_FILE_H
#define BROKER_ACCESS_ACL_FILE_H

#include "broker/access/rules.h"
#include "common/base/buf.h"

/* name     of the file, for messages
 * out      with one reference, the caller's
 * returns  OK | MALFORMED | TOO_LARGE (ACL_FILE_BYTES_MAX, ACL_RANGES_MAX) */
MUST_CHECK enum status acl_file_read(struct slice text, const char *name, struct access_rules **out,
                                     struct err *err);

/* What the change writes as dataVersion. */
struct acl_version {
    int64_t counter;
    int64_t timestamp_ms;
};

/* What an account shall be. NULL: as it is, and nothing for a new one; `admin` always counts. */
struct acl_account {
    const char *access_key; /* never NULL */
    const char *secret_key; /* as 4.9.2 wants it: has to be given each time */
    const char *white_remote_address;
    bool admin;
    const char *default_topic_perm; /* "" is NULL, for this and the next one */
    const char *default_group_perm;
    const char *topic_perms; /* "topicA=PUB,topicB=PUB|SUB" */
    const char *group_perms;
};

/* Create the account, or change it; it is the last one afterwards, as in 4.9.2.
 * out      takes the new text; undefined unless OK
 * returns  OK | MALFORMED (the text) | INVALID (the change) | MISSING (no list of accounts) */
MUST_CHECK enum status acl_file_put_account(struct slice text, const char *name,
                                            const struct acl_account *account,
                                            struct acl_version version, struct buf *out,
                                            struct err *err);

/* returns  OK | MALFORMED | NOT_FOUND */
MUST_CHECK enum status acl_file_delete_account(struct slice text, const char *name,
                                               const char *access_key, struct acl_version version,
                                               struct buf *out, struct err *err);

/* addresses  separated by commas; one inside {} separates nothing
 * returns    OK | MALFORMED | INVALID (an address) | MISSING (no list of them) */
MUST_CHECK enum status acl_file_set_white(struct slice text, const char *name,
                                          const char *addresses, struct acl_version version,
                                          struct buf *out, struct err *err);

#endif
