/* SPDX-License-Identifier: Apache-2.0
 *
 * Access control of the broker: the rules that count now, the file that they are from, and what a
 * loop needs to ask them.
 *
 * Rules are replaced as a whole. A loop has a view, which holds the rules that it has seen last; a
 * look whether there are newer ones is one atomic read, so that a check never waits. What reads or
 * writes the file may wait on disk, and is for other threads.
 */
#ifndef BROKER_ACCESS_ACCESS_CONTROL_H
#define BROKER_ACCESS_ACCESS_CONTROL_H

#include "broker/access/acl_file.h"
#include "common/sys/clock.h"
#include "common/sys/vfs.h"
#include "proto/signature.h"

struct access_control;

/* Read the file. A start without rules is refused: nobody runs open, or closed, by mistake.
 * path     copied
 * returns  OK | NOT_FOUND | IO | MALFORMED | TOO_LARGE | UNSUPPORTED (OpenSSL has no HMAC-SHA1) */
MUST_CHECK enum status access_control_open(const char *path, struct vfs *vfs,
                                           const struct clock *clock, struct access_control **out,
                                           struct err *err);
void access_control_free(struct access_control *control); /* after all views; NULL is fine */

/* Would it open? For a look, without taking anything over.
 * returns  as access_control_open */
MUST_CHECK enum status access_control_check(const char *path, struct vfs *vfs, struct err *err);

const char *access_control_path(const struct access_control *control);

/* --- asking --- */

/* One loop's. Zeroed at first. */
struct access_view {
    struct access_rules *rules;
    uint64_t version;
    struct signer *signer;
};

/* The newest rules, valid until the next call with this view. `view->signer` is there, too. */
const struct access_rules *access_view_rules(struct access_view *view,
                                             struct access_control *control);
void access_view_release(struct access_view *view);

/* The newest rules, for any thread; the caller releases them. */
struct access_rules *access_control_rules(struct access_control *control);

/* --- the file; threads that may wait --- */

/* Look whether the file has changed, and take its rules over. One that cannot be read, or is not
 * right, changes nothing and is logged once; one that was written a moment ago is left for the next
 * look. */
void access_control_reload(struct access_control *control);

/* Change the file and take it over at once. The file's former content stays as path.bak.
 * returns  OK | what acl_file_put_account and the others return | IO | FULL, with words in err */
MUST_CHECK enum status access_control_put_account(struct access_control *control,
                                                  const struct acl_account *account,
                                                  struct err *err);
MUST_CHECK enum status access_control_delete_account(struct access_control *control,
                                                     const char *access_key, struct err *err);
MUST_CHECK enum status access_control_set_white(struct access_control *control,
                                                const char *addresses, struct err *err);

#endif
