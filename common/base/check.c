/* SPDX-License-Identifier: Apache-2.0
 *
 * What happens when an invariant is broken or memory is gone: one line on stderr, then abort.
 */
#include "common/base/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void check_failed(const char *condition, const char *file, int line)
{
    (void)fprintf(stderr, "%s:%d: invariant broken: %s\n", file, line, condition);
    abort();
}

static void *need(void *memory, unsigned long size)
{
    if (memory == NULL && size != 0) {
        (void)fprintf(stderr, "out of memory: %lu bytes could not be had\n", size);
        abort();
    }
    return memory;
}

void *xmalloc(unsigned long size)
{
    return need(malloc(size), size);
}

void *xcalloc(unsigned long count, unsigned long size)
{
    return need(calloc(count, size), count * size);
}

void *xrealloc(void *old, unsigned long size)
{
    return need(realloc(old, size), size);
}

char *xstrdup(const char *text)
{
    return need(strdup(text), strlen(text) + 1);
}
