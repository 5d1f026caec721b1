/* SPDX-License-Identifier: Apache-2.0
 *
 * The commands of mqstore. Each reads the store that the options name, prints to stdout, complains
 * on stderr and returns the exit status.
 */
#ifndef TOOLS_MQSTORE_COMMANDS_H
#define TOOLS_MQSTORE_COMMANDS_H

#include "tools/mqstore/options.h"

int info_run(const struct options *options);
int verify_run(const struct options *options);
int dump_run(const struct options *options);
int timers_run(const struct options *options);
int get_run(const struct options *options);
int diff_run(const struct options *options);
int repair_run(const struct options *options);

/* Verify the store and print what is found, findings at stdout's side; for verify and for the end
 * of repair. */
int verify_files(const struct options *options, const struct store_files *files);

#endif
