/* SPDX-License-Identifier: Apache-2.0
 *
 * mqstore: looks into a store without a server. docs/mqstore.md is its manual.
 */
#include "tools/mqstore/commands.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

const struct command COMMANDS[] = {
    {"info", FOR_INFO, "DIR", "what is in the store: sizes, segments, queues, times, marks",
     "\nReads names, sizes, headers and the ends of files; takes no time, whatever the size.\n",
     info_run},
    {"verify", FOR_VERIFY, "DIR", "check every record, queue entry and index entry",
     "\n"
     "Each finding is a line: `damage` is wrong, `note` is worth knowing, or mended by the next\n"
     "start. Exit status 1 when there is damage. Of a store that a broker uses what is behind its\n"
     "checkpoint may not be in the queues yet: that is noted, not damage. Times of delivery in\n"
     "SCHEDULE_TOPIC_XXXX are checked exactly with -c or --delay-levels, else for plausibility.\n",
     verify_run},
    {"dump", FOR_DUMP, "DIR", "list messages of the log or of a queue, one line each",
     "\nWhat is no message is named on stderr and passed over; exit status 1 then.\n", dump_run},
    {"timers", FOR_TIMERS, "DIR", "list pending timers in the order of their times",
     "\n"
     "Cancels that have not come to their second are listed, too, as such. Of a store that a\n"
     "broker uses some that were delivered in the last seconds may still be shown.\n",
     timers_run},
    {"get", FOR_GET, "DIR", "show one message, or those with a key",
     "\n"
     "WHEN is in milliseconds since 1970, or a date like \"2026-11-22 20:47:08.173\": local time,\n"
     "or UTC with a Z behind it. Exit status 1 when there is no such message.\n",
     get_run},
    {"diff", FOR_DIFF, "DIR-A DIR-B", "compare two stores: messages, topics, offsets",
     "\n"
     "Messages are compared by topic, queue and queue offset; that one lies elsewhere in the log "
     "is\n"
     "no difference. Exit status 1 when there are differences.\n",
     diff_run},
    {"repair", FOR_REPAIR, "DIR", "build consume queues, index and checkpoint again from the log",
     "\n"
     "Without --write it says what it would do. With it, consumequeue, index and checkpoint are\n"
     "moved to DIR/repair-TIME, which nothing reads, and built again by what a broker does when "
     "it\n"
     "starts; then the store is verified. The commit log is only touched behind its end. The "
     "delay\n"
     "levels are those of -c or --delay-levels, else of the old queues, else 4.9.2's. Stop the\n"
     "broker first: exit status 4 when it runs.\n",
     repair_run},
    {NULL, 0, NULL, NULL, NULL, NULL},
};

/* A page of a mapped file could not be read from the disk, or the file became shorter. */
static void on_bus_error(int number)
{
    static const char text[] =
        "mqstore: a mapped file cannot be read: an error of the disk (see dmesg), or a file that "
        "became shorter\n";
    (void)number;
    ssize_t ignored = write(STDERR_FILENO, text, sizeof text - 1);
    (void)ignored;
    _exit(EXIT_READ);
}

int main(int argc, char **argv)
{
    struct options options;
    int exit_code;
    struct sigaction action = {.sa_handler = on_bus_error};
    (void)sigaction(SIGBUS, &action, NULL);
    if (!options_parse(argc, argv, &options, &exit_code))
        return exit_code;
    exit_code = options.command->run(&options);
    options_release(&options);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fputs("mqstore: the output cannot be written\n", stderr);
        return EXIT_READ;
    }
    return exit_code;
}
