/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/mqstore/options.h"

#include "common/base/check.h"
#include "common/base/number.h"
#include "common/conf/broker_conf.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum option_id {
    OPTION_STORE,
    OPTION_COMMIT_LOG,
    OPTION_CONFIG,
    OPTION_SEGMENT_BYTES,
    OPTION_QUEUE_FILE_BYTES,
    OPTION_INDEX_SLOTS,
    OPTION_INDEX_ENTRIES,
    OPTION_DELAY_LEVELS,
    OPTION_NO_INDEX,
    OPTION_JSON,
    OPTION_FROM,
    OPTION_TO,
    OPTION_COUNT,
    OPTION_TOPIC,
    OPTION_DUMP_QUEUE,
    OPTION_BODIES,
    OPTION_BODY,
    OPTION_OFFSET,
    OPTION_MESSAGE_ID,
    OPTION_KEY,
    OPTION_UNIQUE_KEY,
    OPTION_TIME,
    OPTION_QUEUE,
    OPTION_WRITE,
    OPTION_HELP,
};

struct option {
    enum option_id id;
    const char *name;
    const char *short_name; /* another name, NULL: none */
    unsigned commands;
    int value_count;
    const char *values;
    const char *help;
};

static const struct option OPTIONS[] = {
    {OPTION_OFFSET, "--offset", NULL, FOR_GET, 1, "POS", "the message at a position of the log"},
    {OPTION_MESSAGE_ID, "--msg-id", NULL, FOR_GET, 1, "ID",
     "by offset message id (32 or 56 digits)"},
    {OPTION_KEY, "--key", NULL, FOR_GET, 2, "TOPIC KEY", "by one word of KEYS, newest first"},
    {OPTION_UNIQUE_KEY, "--unique-key", "--uniq", FOR_GET, 2, "TOPIC ID",
     "by UNIQ_KEY, the id that a producer sees"},
    {OPTION_TIME, "--time", NULL, FOR_GET, 2, "TOPIC[:ID] WHEN",
     "the first message of each queue stored at or after WHEN"},
    {OPTION_QUEUE, "--queue", NULL, FOR_GET, 2, "TOPIC:ID OFFSET", "by queue and queue offset"},
    {OPTION_DUMP_QUEUE, "--queue", NULL, FOR_DUMP, 1, "TOPIC:ID",
     "a queue instead of the log; --from and --to are queue offsets then"},
    {OPTION_FROM, "--from", NULL, FOR_DUMP, 1, "POS", "begin at this position of the log"},
    {OPTION_TO, "--to", NULL, FOR_DUMP, 1, "POS", "end before this one"},
    {OPTION_COUNT, "--count", NULL, FOR_DUMP | FOR_GET | FOR_TIMERS, 1, "N", "at most N messages"},
    {OPTION_TOPIC, "--topic", NULL, FOR_DUMP | FOR_TIMERS, 1, "TOPIC",
     "only messages of that topic"},
    {OPTION_BODIES, "--bodies", NULL, FOR_DUMP, 0, "", "with their bodies"},
    {OPTION_BODY, "--body", NULL, FOR_GET, 0, "", "nothing but the bodies, as they are stored"},
    {OPTION_WRITE, "--write", NULL, FOR_REPAIR, 0, "", "do it; without it nothing is changed"},
    {OPTION_STORE, "--store", NULL, FOR_ALL, 1, "DIR", "the store: another way to say DIR"},
    {OPTION_COMMIT_LOG, "--commit-log", NULL, FOR_ALL & ~FOR_DIFF, 1, "DIR[,DIR]",
     "where the commit log lies (default: DIR/commitlog)"},
    {OPTION_CONFIG, "-c", "--config", FOR_ALL, 1, "FILE",
     "the broker's configuration: folders, sizes and delay levels are taken from it"},
    {OPTION_SEGMENT_BYTES, "--segment-bytes", NULL, FOR_ALL, 1, "N",
     "mappedFileSizeCommitLog (default: the size of the files)"},
    {OPTION_QUEUE_FILE_BYTES, "--queue-file-bytes", NULL, FOR_ALL, 1, "N",
     "mappedFileSizeConsumeQueue (default: the size of the files)"},
    {OPTION_INDEX_SLOTS, "--index-slots", NULL, FOR_ALL, 1, "N",
     "maxHashSlotNum (default 5000000, when the files have the size for it)"},
    {OPTION_INDEX_ENTRIES, "--index-entries", NULL, FOR_ALL, 1, "N",
     "maxIndexNum (default 20000000, likewise)"},
    {OPTION_DELAY_LEVELS, "--delay-levels", NULL, FOR_VERIFY | FOR_REPAIR, 1, "TEXT",
     "messageDelayLevel of the broker, \"1s 5s ...\""},
    {OPTION_NO_INDEX, "--no-index", NULL, FOR_VERIFY | FOR_REPAIR, 0, "", "leave out the index"},
    {OPTION_JSON, "--json", NULL, FOR_ALL, 0, "", "for programs: one JSON object a line"},
    {OPTION_HELP, "--help", "-h", FOR_ALL, 0, "", "this text"},
};
#define OPTION_COUNT_ALL (sizeof OPTIONS / sizeof OPTIONS[0])

/* --- help --- */

static int help(FILE *out, int code)
{
    fputs("mqstore looks into the store of a broker without a server.\n\n"
          "usage: mqstore COMMAND [OPTION...] DIR        DIR is what storePathRootDir names\n\n",
          out);
    for (const struct command *command = COMMANDS; command->name != NULL; command++)
        fprintf(out, "  %-8s %s\n", command->name, command->what);
    fputs("\n`mqstore COMMAND --help` tells all about one. Nothing is ever written, except by\n"
          "`repair --write`. Exit status: 0 good; 1 found something wrong, different, or not at\n"
          "all; 2 wrong usage; 3 cannot read; 4 a broker has the store (repair).\n",
          out);
    return code;
}

static void print_option(FILE *out, const struct option *option)
{
    char left[64];
    (void)snprintf(left, sizeof left, "%s%s%s %s", option->name,
                   option->short_name != NULL ? ", " : "",
                   option->short_name != NULL ? option->short_name : "", option->values);
    fprintf(out, "  %-32s %s\n", left, option->help);
}

static int command_help(FILE *out, const struct command *command, int code)
{
    fprintf(out, "usage: mqstore %s [OPTION...] %s\n\n%s.\n%s\n", command->name, command->arguments,
            command->what, command->more);
    for (size_t i = 0; i < OPTION_COUNT_ALL; i++) {
        if (OPTIONS[i].commands & command->bit)
            print_option(out, &OPTIONS[i]);
    }
    return code;
}

static int wrong(const struct options *options, const char *what, const char *which)
{
    fprintf(stderr, "mqstore: %s%s; see mqstore %s --help\n", which, what, options->command->name);
    return EXIT_USAGE;
}

/* --- values --- */

bool queue_name_parse(const char *text, struct slice *topic, int32_t *queue_id)
{
    const char *colon = strrchr(text, ':');
    if (colon == NULL || colon == text)
        return false;
    *topic = slice_of(text, (size_t)(colon - text));
    return parse_i32(slice_of_cstr(colon + 1), queue_id) && *queue_id >= 0;
}

bool when_parse(const char *text, int64_t *ms)
{
    if (parse_i64(slice_of_cstr(text), ms))
        return true;
    static const char *const formats[] = {"%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S",
                                          "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d"};
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        struct tm tm = {.tm_isdst = -1};
        const char *rest = strptime(text, formats[i], &tm);
        if (rest == NULL)
            continue;
        int64_t fraction_ms = 0;
        if (*rest == '.') {
            int digits = 0;
            for (rest++; *rest >= '0' && *rest <= '9' && digits < 3; rest++, digits++)
                fraction_ms = fraction_ms * 10 + (*rest - '0');
            for (; digits < 3; digits++)
                fraction_ms *= 10;
        }
        bool utc = *rest == 'Z';
        if (rest[utc] != '\0')
            continue;
        tm.tm_isdst = utc ? 0 : -1;
        time_t seconds = utc ? timegm(&tm) : mktime(&tm);
        *ms = (int64_t)seconds * 1000 + fraction_ms;
        return true;
    }
    return false;
}

static bool take_number(const char *text, int64_t min, int64_t max, int64_t *out)
{
    return parse_i64(slice_of_cstr(text), out) && *out >= min && *out <= max;
}

static bool take_get(struct options *options, enum get_by by, char **values)
{
    if (options->get_by != GET_BY_NOTHING)
        return false;
    options->get_by = by;
    options->get_values[0] = values[0];
    options->get_values[1] = values[1];
    return true;
}

/* False: the value is not possible. */
static bool take_search(struct options *options, enum option_id id, char **values)
{
    int64_t number;
    struct slice topic;
    int32_t queue_id;
    switch (id) {
    case OPTION_OFFSET:
        return take_number(values[0], 0, INT64_MAX, &number) &&
               take_get(options, GET_BY_OFFSET, values);
    case OPTION_MESSAGE_ID:
        return take_get(options, GET_BY_MESSAGE_ID, values);
    case OPTION_KEY:
        return take_get(options, GET_BY_KEY, values);
    case OPTION_UNIQUE_KEY:
        return take_get(options, GET_BY_UNIQUE_KEY, values);
    case OPTION_TIME:
        return when_parse(values[1], &number) && take_get(options, GET_BY_TIME, values);
    case OPTION_QUEUE:
        return queue_name_parse(values[0], &topic, &queue_id) &&
               take_number(values[1], 0, INT64_MAX, &number) &&
               take_get(options, GET_BY_QUEUE, values);
    case OPTION_DUMP_QUEUE:
        return queue_name_parse(values[0], &topic, &queue_id) &&
               take_get(options, GET_BY_QUEUE, values);
    default:
        return false;
    }
}

static bool take_root(struct options *options, const char *root)
{
    int most = options->command->bit == FOR_DIFF ? 2 : 1;
    if (options->root_count == most || *root == '\0')
        return false;
    options->roots[options->root_count++] = root;
    return true;
}

static bool take(struct options *options, enum option_id id, char **values)
{
    switch (id) {
    case OPTION_STORE:
        return take_root(options, values[0]);
    case OPTION_COMMIT_LOG:
        options->commit_log = values[0];
        return true;
    case OPTION_CONFIG:
        options->config = values[0];
        return true;
    case OPTION_SEGMENT_BYTES:
        return take_number(values[0], 4096, INT32_MAX, &options->segment_bytes);
    case OPTION_QUEUE_FILE_BYTES:
        return take_number(values[0], 20, INT32_MAX, &options->queue_file_bytes);
    case OPTION_INDEX_SLOTS:
        return take_number(values[0], 1, INT32_MAX, &options->index_slots);
    case OPTION_INDEX_ENTRIES:
        return take_number(values[0], 2, INT32_MAX, &options->index_entries);
    case OPTION_DELAY_LEVELS:
        options->delay_text = values[0];
        return true;
    case OPTION_NO_INDEX:
        return options->skip_index = true;
    case OPTION_JSON:
        return options->json = true;
    case OPTION_FROM:
        return take_number(values[0], 0, INT64_MAX, &options->from);
    case OPTION_TO:
        return take_number(values[0], 0, INT64_MAX, &options->to);
    case OPTION_COUNT:
        return take_number(values[0], 0, INT64_MAX, &options->count);
    case OPTION_TOPIC:
        options->topic = values[0];
        return true;
    case OPTION_BODIES:
        return options->bodies = true;
    case OPTION_BODY:
        return options->raw_body = true;
    case OPTION_WRITE:
        return options->write = true;
    default:
        return take_search(options, id, values);
    }
}

static const struct option *find_option(const char *name, unsigned bit)
{
    for (size_t i = 0; i < OPTION_COUNT_ALL; i++) {
        const struct option *option = &OPTIONS[i];
        if ((option->commands & bit) &&
            (strcmp(name, option->name) == 0 ||
             (option->short_name != NULL && strcmp(name, option->short_name) == 0)))
            return option;
    }
    return NULL;
}

/* --- the broker's configuration --- */

static void say_warning(void *ctx, const char *text)
{
    fprintf(stderr, "mqstore: %s: %s\n", (const char *)ctx, text);
}

static enum status take_config(struct options *options, struct err *err)
{
    struct broker_conf values;
    struct conf conf;
    broker_conf_init(&values, &conf);
    char *file = xstrdup(options->config);
    enum status status = conf_load_file(&conf, file, say_warning, file, err);
    free(file);
    if (status == STATUS_OK) {
        if (options->root_count == 0 && values.storePathRootDir[0] != '\0') {
            options->owned_root = xstrdup(values.storePathRootDir);
            options->roots[options->root_count++] = options->owned_root;
        }
        if (options->commit_log == NULL && values.storePathCommitLog[0] != '\0' &&
            options->command->bit != FOR_DIFF)
            options->commit_log = options->owned_commit_log = xstrdup(values.storePathCommitLog);
        if (options->segment_bytes == 0)
            options->segment_bytes = values.mappedFileSizeCommitLog;
        if (options->queue_file_bytes == 0)
            options->queue_file_bytes = values.mappedFileSizeConsumeQueue;
        if (options->index_slots == 0)
            options->index_slots = values.maxHashSlotNum;
        if (options->index_entries == 0)
            options->index_entries = values.maxIndexNum;
        int64_t rest = options->queue_file_bytes % 20; /* as the store rounds it */
        options->queue_file_bytes += rest == 0 ? 0 : 20 - rest;
        if (options->delay_text == NULL)
            status = delay_levels_parse(values.messageDelayLevel, options->delay_levels_ms,
                                        &options->delay_level_count, err);
    }
    conf_release(&conf);
    return status;
}

/* --- all of it --- */

static bool parse_flags(int argc, char **argv, struct options *options, int *exit_code)
{
    for (int i = 2; i < argc; i++) {
        if (argv[i][0] != '-' || argv[i][1] == '\0') {
            if (!take_root(options, argv[i])) {
                *exit_code = wrong(options, " is one argument too many", argv[i]);
                return false;
            }
            continue;
        }
        const struct option *option = find_option(argv[i], options->command->bit);
        if (option == NULL) {
            *exit_code = wrong(options, " is not an option of this command", argv[i]);
            return false;
        }
        if (option->id == OPTION_HELP) {
            *exit_code = command_help(stdout, options->command, EXIT_GOOD);
            return false;
        }
        if (i + option->value_count >= argc) {
            *exit_code = wrong(options, " needs more behind it", argv[i]);
            return false;
        }
        char *values[2] = {option->value_count > 0 ? argv[i + 1] : NULL,
                           option->value_count > 1 ? argv[i + 2] : NULL};
        if (!take(options, option->id, values)) {
            *exit_code = wrong(options, " cannot have that value, or not twice", argv[i]);
            return false;
        }
        i += option->value_count;
    }
    return true;
}

/* What the flags must have said together. */
static bool check_flags(struct options *options, int *exit_code)
{
    struct err err;
    enum status status = STATUS_OK;
    if (options->config != NULL)
        status = take_config(options, &err);
    if (status == STATUS_OK && options->delay_text != NULL)
        status = delay_levels_parse(options->delay_text, options->delay_levels_ms,
                                    &options->delay_level_count, &err);
    if (status != STATUS_OK) {
        fprintf(stderr, "mqstore: %s\n", err.text);
        *exit_code = status == STATUS_IO || status == STATUS_NOT_FOUND ? EXIT_READ : EXIT_USAGE;
        return false;
    }
    int wanted = options->command->bit == FOR_DIFF ? 2 : 1;
    if (options->root_count < wanted)
        *exit_code = wrong(options, wanted == 2 ? "name two stores" : "name a store", "");
    else if (options->command->bit == FOR_GET && options->get_by == GET_BY_NOTHING)
        *exit_code = wrong(options, "say which message", "");
    else
        return true;
    return false;
}

bool options_parse(int argc, char **argv, struct options *options, int *exit_code)
{
    *options = (struct options){.from = -1, .to = -1, .count = -1};
    if (argc < 2) {
        *exit_code = help(stderr, EXIT_USAGE);
        return false;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        *exit_code = help(stdout, EXIT_GOOD);
        return false;
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-v") == 0) {
        printf("mqstore %s\n", COMETMQ_VERSION);
        *exit_code = EXIT_GOOD;
        return false;
    }
    for (const struct command *command = COMMANDS; command->name != NULL; command++) {
        if (strcmp(argv[1], command->name) == 0)
            options->command = command;
    }
    if (options->command == NULL) {
        fprintf(stderr, "mqstore: there is no command %s\n\n", argv[1]);
        *exit_code = help(stderr, EXIT_USAGE);
        return false;
    }
    if (parse_flags(argc, argv, options, exit_code) && check_flags(options, exit_code))
        return true;
    options_release(options);
    return false;
}

void options_release(struct options *options)
{
    free(options->owned_root);
    free(options->owned_commit_log);
}

int options_find_store(const struct options *options, int i, struct store_files **out)
{
    struct store_files_options find = {
        .root = options->roots[i],
        .commit_log = options->commit_log,
        .segment_bytes = options->segment_bytes,
        .queue_file_bytes = options->queue_file_bytes,
        .index_slots = (int32_t)options->index_slots,
        .index_entries = (int32_t)options->index_entries,
    };
    struct err err;
    if (store_files_find(&find, vfs_posix(), out, &err) != STATUS_OK) {
        fprintf(stderr, "mqstore: %s\n", err.text);
        return EXIT_READ;
    }
    if ((*out)->in_use)
        fprintf(stderr,
                "mqstore: a broker is using %s right now: what is shown is of one moment, and more "
                "may be there by now\n",
                (*out)->root);
    return EXIT_GOOD;
}
