/* SPDX-License-Identifier: Apache-2.0
 *
 * A disk that stalls, for a broker that is started with LD_PRELOAD of this: while the file that
 * STALL_WRITES names exists, writes to the commit log do not come back, while STALL_SYNCS exists,
 * syncs of it do not, and while STALL_TABLES exists, writes to the tables in config/ do not. What
 * waits is let go when the file is removed.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static int lies_in(int fd, const char *folder)
{
    char link[64];
    char path[4096];
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0)
        return 0;
    path[size] = '\0';
    return strstr(path, folder) != NULL;
}

static void stall(const char *variable, int fd, const char *folder)
{
    const struct timespec pause = {0, 2000000};
    const char *file = getenv(variable);
    if (file == NULL || access(file, F_OK) != 0 || !lies_in(fd, folder))
        return;
    while (access(file, F_OK) == 0)
        (void)nanosleep(&pause, NULL);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    ssize_t (*real)(int, const struct iovec *, int, off_t);
    *(void **)&real = dlsym(RTLD_NEXT, "pwritev");
    stall("STALL_WRITES", fd, "/commitlog/");
    stall("STALL_TABLES", fd, "/config/");
    return real(fd, parts, count, offset);
}

int fdatasync(int fd)
{
    int (*real)(int);
    *(void **)&real = dlsym(RTLD_NEXT, "fdatasync");
    stall("STALL_SYNCS", fd, "/commitlog/");
    return real(fd);
}
