/* SPDX-License-Identifier: Apache-2.0
 *
 * A folder of its own for one test.
 */
#ifndef TEST_UNIT_SUPPORT_FOLDER_H
#define TEST_UNIT_SUPPORT_FOLDER_H

#define FOLDER_BYTES 96

/* Make a new, empty folder in $TMPDIR, else in /tmp, whose name starts with `test`. Fails the
 * running test when that is not possible or the path does not fit. */
void folder_make(const char *test, char path[FOLDER_BYTES]);

/* Remove a folder with all it holds, or a single file. */
void folder_remove(const char *path);

#endif
