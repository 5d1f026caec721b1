/* SPDX-License-Identifier: Apache-2.0
 *
 * The command line of mqstore: one table of options, from which parsing and every --help come.
 */
#ifndef TOOLS_MQSTORE_OPTIONS_H
#define TOOLS_MQSTORE_OPTIONS_H

#include "broker/state/delay.h"
#include "broker/store/store_files.h"

#include <stdio.h>

/* Exit statuses. */
enum {
    EXIT_GOOD = 0,
    EXIT_FOUND = 1,  /* damage; a difference; get: no such message */
    EXIT_USAGE = 2,  /* wrong flags, or something must be said that the files do not tell */
    EXIT_READ = 3,   /* no store there, or it cannot be read or written */
    EXIT_IN_USE = 4, /* repair: a broker has the store */
};

enum get_by {
    GET_BY_NOTHING,
    GET_BY_OFFSET,
    GET_BY_MESSAGE_ID,
    GET_BY_KEY,
    GET_BY_UNIQUE_KEY,
    GET_BY_TIME,
    GET_BY_QUEUE,
};

struct options {
    const struct command *command;
    const char *roots[2]; /* of diff: both */
    int root_count;
    const char *commit_log; /* NULL: in the root */
    const char *config;     /* -c, NULL: none */
    int64_t segment_bytes;  /* 0: as the files are; so the next three */
    int64_t queue_file_bytes;
    int64_t index_slots;
    int64_t index_entries;
    const char *delay_text; /* --delay-levels, NULL: none */
    int64_t delay_levels_ms[DELAY_LEVELS_MAX];
    int delay_level_count; /* 0: not known */
    bool json;
    bool skip_index;
    bool write;
    bool bodies;
    bool raw_body;
    const char *topic; /* dump: only this one */
    int64_t from;      /* -1: the beginning */
    int64_t to;        /* -1: the end */
    int64_t count;     /* -1: all */
    enum get_by get_by;
    const char *get_values[2];
    char *owned_root; /* from -c */
    char *owned_commit_log;
};

struct command {
    const char *name;
    unsigned bit; /* in the options' table: who has them */
    const char *arguments;
    const char *what; /* one line */
    const char *more; /* the rest of its --help */
    int (*run)(const struct options *options);
};

/* Ends with an empty one. */
extern const struct command COMMANDS[];

enum {
    FOR_INFO = 1,
    FOR_VERIFY = 2,
    FOR_DUMP = 4,
    FOR_GET = 8,
    FOR_DIFF = 16,
    FOR_REPAIR = 32,
    FOR_TIMERS = 64,
    FOR_ALL = 127,
};

/* Read the command line, and the broker's configuration when there is one.
 * returns  true: run the command; else *exit_code is the process's */
bool options_parse(int argc, char **argv, struct options *options, int *exit_code);
void options_release(struct options *options);

/* TOPIC:ID; false when the text is not of that form. */
bool queue_name_parse(const char *text, struct slice *topic, int32_t *queue_id);

/* Milliseconds since 1970, or a date with a time: "2026-11-22 20:47:08.173", with a T instead of
 * the blank, without seconds or time, and with a Z at the end for UTC instead of local time. */
bool when_parse(const char *text, int64_t *ms);

/* Find the files of the i-th store; complains on stderr, and says so when a broker uses the store.
 * returns  an exit status; EXIT_GOOD: *out is to be freed */
int options_find_store(const struct options *options, int i, struct store_files **out);

#endif
