/* SPDX-License-Identifier: Apache-2.0
 *
 * Parts of replication: a slave whose resolver does not answer can be stopped; what is no news.
 */
#include "broker/repl/ha_wire.h"
#include "broker/repl/replication_internal.h"

#include <netdb.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static void pause_ms(long ms)
{
    const struct timespec pause = {ms / 1000, ms % 1000 * 1000000};
    (void)nanosleep(&pause, NULL);
}

static atomic_bool asked;
static atomic_bool answers;
static atomic_bool answered;

/* In place of the C library's. Numbers need no resolver. */
int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                struct addrinfo **out)
{
    (void)host;
    (void)service;
    (void)out;
    if ((hints->ai_flags & AI_NUMERICHOST) != 0)
        return EAI_NONAME;
    atomic_store(&asked, true);
    while (!atomic_load(&answers))
        pause_ms(1);
    atomic_store(&answered, true);
    return EAI_AGAIN;
}

static void *wake_when_asked(void *arg)
{
    while (!atomic_load(&asked))
        pause_ms(1);
    ha_wake(*(int *)arg);
    return NULL;
}

static void a_name_that_is_not_found_out_is_not_waited_for(void **state)
{
    (void)state;
    struct err err = {.text = ""};
    pthread_t thread;
    int fd;
    int wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    assert_int_not_equal(wake_fd, -1);
    assert_int_equal(pthread_create(&thread, NULL, wake_when_asked, &wake_fd), 0);
    assert_int_equal(ha_wire_connect("master.example:10912", 5000, wake_fd, &fd, &err),
                     STATUS_CLOSED);
    assert_false(atomic_load(&answered));
    assert_int_equal(pthread_join(thread, NULL), 0);
    atomic_store(&answers, true); /* it lets go of what it had, too */
    while (!atomic_load(&answered))
        pause_ms(1);
    ha_wake_wait(wake_fd, 0);
    assert_int_equal(ha_wire_connect("master.example:10912", 5000, wake_fd, &fd, &err),
                     STATUS_INVALID);
    assert_non_null(strstr(err.text, "the address of master.example:10912 can not be found: "));
    (void)close(wake_fd);
}

/* What is logged once. */
static void words_are_the_same_but_for_numbers(void **state)
{
    (void)state;
    assert_true(ha_same_words("ends at 99, behind 5", "ends at 1000, behind 7"));
    assert_true(ha_same_words("", ""));
    assert_false(ha_same_words("ends at 99", "ends at 99, behind 5"));
    assert_false(ha_same_words("ends at ", "ends at 99"));
    assert_false(ha_same_words("is \"broker-1\", at 5", "is \"broker-2\", at 5"));
    assert_true(ha_same_words("is \"broker-1\", at 5", "is \"broker-1\", at 6"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_that_is_not_found_out_is_not_waited_for),
        cmocka_unit_test(words_are_the_same_but_for_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
