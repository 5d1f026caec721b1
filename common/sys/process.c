/* SPDX-License-Identifier: Apache-2.0 */
#include "common/sys/process.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#define DESCRIPTORS_DEFAULT 1024
#define MAPPINGS_DEFAULT 65530 /* Linux: DEFAULT_MAX_MAP_COUNT */

static int64_t number_of(rlim_t limit)
{
    return limit == RLIM_INFINITY || limit > INT32_MAX ? INT32_MAX : (int64_t)limit;
}

int64_t process_descriptors_max(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return DESCRIPTORS_DEFAULT;
    return number_of(limit.rlim_cur);
}

int64_t process_raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit); /* what counts is looked at below */
    }
    return process_descriptors_max();
}

int64_t process_mappings_max(void)
{
    long long number = MAPPINGS_DEFAULT;
    FILE *file = fopen("/proc/sys/vm/max_map_count", "re");
    if (file == NULL)
        return number;
    if (fscanf(file, "%lld", &number) != 1 || number < 1)
        number = MAPPINGS_DEFAULT;
    (void)fclose(file);
    return number;
}

void process_machine_boot(char out[MACHINE_BOOT_BYTES])
{
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
    out[0] = '\0';
    if (file == NULL)
        return;
    if (fgets(out, MACHINE_BOOT_BYTES, file) == NULL)
        out[0] = '\0';
    out[strcspn(out, "\n")] = '\0';
    (void)fclose(file);
}
