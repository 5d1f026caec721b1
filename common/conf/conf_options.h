/* SPDX-License-Identifier: Apache-2.0
 *
 * The command line of both daemons: Apache's flags (-c -n -p -m -h and their long names), and
 * --version and --check of our own.
 */
#ifndef COMMON_CONF_CONF_OPTIONS_H
#define COMMON_CONF_CONF_OPTIONS_H

#include "common/conf/conf.h"

#include <stdio.h>

struct conf_program {
    const char *name;         /* "mqbroker" */
    const char *what;         /* one line for --help */
    const char *namesrv_help; /* what -n does */
    const char *exit_help;    /* exit statuses, lines of the help text; NULL: nothing to say */
    /* Works out and checks what no single key can tell. */
    enum status (*finish)(struct conf *conf, conf_warn warn, void *warn_ctx, struct err *err);
    /* For --check: looks at the files that the start reads and `finish` does not; NULL: none. */
    enum status (*check)(const void *values, struct err *err);
};

struct conf_options {
    const char *config_file;  /* -c; NULL: none. Borrowed from argv */
    const char *namesrv_addr; /* -n; NULL: none */
    bool print;               /* -p */
    bool print_important;     /* -m */
    bool check;               /* --check */
};

/* Exit status for wrong flags and wrong options. */
#define CONF_EXIT_USAGE 2

/* Read the flags. Words that are no flags are ignored with a warning, because 4.9.2 does so and
 * many command lines in the wild end in `autoCreateTopicEnable=true`.
 * out, err  where help and complaints go
 * returns   true to go on; else *exit_code is the process's */
bool conf_options_parse(const struct conf_program *program, int argc, char **argv, FILE *out,
                        FILE *err, struct conf_options *options, int *exit_code);

/* Do what -p, -m and --check ask for, once all values are known.
 * returns  true when there is nothing of the kind and the daemon shall run */
bool conf_options_run(const struct conf_program *program, const struct conf_options *options,
                      const struct conf *conf, FILE *out);

#endif
