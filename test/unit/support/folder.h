/* SPDX-License-Identifier: Apache-2.0
 *
 * A folder of its own for one test.
 */
#ifndef TEST_UNIT_SUPPORT_FOLDER_H
#define TEST_UNIT_SUPPORT_FOLDER_H

#define FOLDER_BYTES 64

/* Make a new, empty folder under /tmp whose name starts with `test`. Fails the running test when
 * that is not possible. */
void folder_make(const char *test, char path[FOLDER_BYTES]);

/* Remove a folder with all it holds, or a single file. */
void folder_remove(const char *path);

#endif
