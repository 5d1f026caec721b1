/* SPDX-License-Identifier: Apache-2.0
 *
 * Flags by getopt_long.
 */
#include "common/conf/conf_options.h"

#include <getopt.h>

enum { FLAG_CHECK = 256 };

static const struct option FLAGS[] = {
    {"configFile", required_argument, NULL, 'c'}, {"namesrvAddr", required_argument, NULL, 'n'},
    {"printConfigItem", no_argument, NULL, 'p'},  {"printImportantConfig", no_argument, NULL, 'm'},
    {"check", no_argument, NULL, FLAG_CHECK},     {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'v'},          {NULL, 0, NULL, 0},
};

static void print_help(const struct conf_program *program, FILE *out)
{
    fprintf(
        out,
        "usage: %s [-c FILE] [-n ADDRESSES] [-p | -m | --check | -h | -v]\n"
        "%s\n"
        "\n"
        "  -c, --configFile FILE         options, as Java properties or in libconfig's grammar\n"
        "  -n, --namesrvAddr ADDRESSES   %s\n"
        "  -p, --printConfigItem         print every option, its value and whence it came\n"
        "  -m, --printImportantConfig    the same for the important ones\n"
        "      --check                   check flags and options, start nothing\n"
        "  -h, --help                    this text\n"
        "  -v, --version                 the version\n"
        "\n"
        "%s"
        "docs/configuration.md explains every option.\n",
        program->name, program->what, program->namesrv_help,
        program->exit_help == NULL ? "" : program->exit_help);
}

/* getopt leaves in optopt the letter, or 0 for an unknown long flag, or the value of a known long
 * one that was used wrongly. */
static void complain(const struct conf_program *program, const char *word, int code, FILE *err)
{
    bool is_long = word[0] == '-' && word[1] == '-';
    if (code == ':')
        fprintf(err, "%s: %s needs a value", program->name, word);
    else if (is_long && optopt != 0)
        fprintf(err, "%s: %s takes no value", program->name, word);
    else if (is_long)
        fprintf(err, "%s: unknown flag %s", program->name, word);
    else
        fprintf(err, "%s: unknown flag -%c", program->name, optopt);
    fprintf(err, "; %s --help lists the flags\n", program->name);
}

bool conf_options_parse(const struct conf_program *program, int argc, char **argv, FILE *out,
                        FILE *err, struct conf_options *options, int *exit_code)
{
    *options = (struct conf_options){0};
    optind = 0; /* 0 makes glibc start anew */
    opterr = 0;
    for (;;) {
        const char *current = argv[optind > 0 ? optind : 1]; /* "-pxm" stays current for 3 turns */
        int code = getopt_long(argc, argv, ":c:n:pmhv", FLAGS, NULL);
        if (code == -1)
            break;
        *exit_code = 0;
        switch (code) {
        case 'c':
            options->config_file = optarg;
            break;
        case 'n':
            options->namesrv_addr = optarg;
            break;
        case 'p':
            options->print = true;
            break;
        case 'm':
            options->print_important = true;
            break;
        case FLAG_CHECK:
            options->check = true;
            break;
        case 'h':
            print_help(program, out);
            return false;
        case 'v':
            fprintf(out, "%s (CometMQ) %s, protocol of RocketMQ 4.9.2\n", program->name,
                    COMETMQ_VERSION);
            return false;
        default:
            *exit_code = CONF_EXIT_USAGE;
            complain(program, current, code, err);
            return false;
        }
    }
    for (int i = optind; i < argc; i++)
        fprintf(err, "%s: %s is not a flag and is ignored; options belong into the -c file\n",
                program->name, argv[i]);
    return true;
}

bool conf_options_run(const struct conf_program *program, const struct conf_options *options,
                      const struct conf *conf, FILE *out)
{
    if (options->print || options->print_important) {
        struct buf text = BUF_EMPTY;
        conf_print(conf, !options->print, &text);
        /* The name server has no option that -m shows: there may be no text at all. */
        if (text.size > 0)
            fwrite(text.data, 1, text.size, out);
        buf_release(&text);
        return false;
    }
    if (options->check) {
        const char *path = conf_file_path(conf);
        fprintf(out, "%s: %s: no errors\n", program->name, path == NULL ? "options" : path);
        return false;
    }
    return true;
}
