/* SPDX-License-Identifier: Apache-2.0
 *
 * What the machine allows this process. No state; any thread.
 */
#ifndef COMMON_SYS_PROCESS_H
#define COMMON_SYS_PROCESS_H

#include <stdint.h>

/* Raise the number of descriptors that may be open (ulimit -n) to what an ordinary user may raise
 * it to: shells and service managers start with a small number for the sake of old programs.
 * returns  the number that counts now */
int64_t process_raise_descriptors(void);

/* How many descriptors may be open (ulimit -n). */
int64_t process_descriptors_max(void);

/* How many mappings there may be (vm.max_map_count); Linux's default where it cannot be read. */
int64_t process_mappings_max(void);

#define MACHINE_BOOT_BYTES 64

/* What names this run of the machine: another text after it was started anew, and what was only in
 * memory is gone. Empty where the system does not tell. */
void process_machine_boot(char out[MACHINE_BOOT_BYTES]);

#endif
