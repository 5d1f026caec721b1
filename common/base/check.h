/* SPDX-License-Identifier: Apache-2.0
 *
 * Assertions about our own logic. Never use them on bytes that came from outside.
 *
 * CHECK stays on in every build: it guards data, and a broker that has lost its invariants must
 * stop before it acknowledges anything more. DCHECK is compiled in with -DDEBUG only.
 */
#ifndef COMMON_BASE_CHECK_H
#define COMMON_BASE_CHECK_H

/* Print the failed condition with its place to stderr and abort. */
_Noreturn void check_failed(const char *condition, const char *file, int line);

#define CHECK(condition)                                  \
    do {                                                  \
        if (__builtin_expect(!(condition), 0))            \
            check_failed(#condition, __FILE__, __LINE__); \
    } while (0)

#ifdef DEBUG
#define DCHECK(condition) CHECK(condition)
#else
#define DCHECK(condition) ((void)sizeof(condition))
#endif

/* malloc, calloc and realloc that abort with a message when memory runs out. For sizes that our
 * own code decides; sizes decided by a peer are bounded by a limit first. */
void *xmalloc(unsigned long size);
void *xcalloc(unsigned long count, unsigned long size);
void *xrealloc(void *old, unsigned long size);
char *xstrdup(const char *text);

#endif
