/* SPDX-License-Identifier: Apache-2.0
 *
 * Stands in for libFuzzer where there is none: runs a fuzz target once on each file given. Finding
 * something means to abort, as under libFuzzer; the file's name has been printed before.
 */
#include "common/base/check.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The input lies in memory of exactly its size, so that sanitizers see every step over its end. */
static void replay(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        exit(2);
    }
    CHECK(fseek(file, 0, SEEK_END) == 0);
    long size = ftell(file);
    CHECK(size >= 0);
    rewind(file);
    uint8_t *data = xmalloc((size_t)size);
    CHECK(fread(data, 1, (size_t)size, file) == (size_t)size);
    (void)fclose(file);
    printf("%s\n", path);
    (void)fflush(stdout);
    (void)LLVMFuzzerTestOneInput(data, (size_t)size);
    free(data);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        replay(argv[i]);
    return 0;
}
