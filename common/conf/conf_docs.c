/* SPDX-License-Identifier: Apache-2.0
 *
 * The page's fixed text, and one table per section of the .def files.
 */
#include "common/conf/conf_docs.h"

#include "common/conf/broker_conf.h"
#include "common/conf/namesrv_conf.h"

static const char INTRODUCTION[] =
    "# Configuration\n"
    "\n"
    "<!-- Written by `make docs` from common/conf/*.def. Edit there. -->\n"
    "\n"
    "Both servers are configured like those of RocketMQ 4.9.2: the same keys, defaults and files.\n"
    "\n"
    "```\n"
    "sh bin/mqnamesrv [-c FILE]\n"
    "sh bin/mqbroker  [-c FILE] [-n HOST:PORT;HOST:PORT]\n"
    "```\n"
    "\n"
    "| flag | meaning |\n"
    "|---|---|\n"
    "| `-c`, `--configFile FILE` | the option file |\n"
    "| `-n`, `--namesrvAddr LIST` | name servers; goes before the file (without effect at the name "
    "server) |\n"
    "| `-p`, `--printConfigItem` | print every option, its value and whence it came, and exit |\n"
    "| `-m`, `--printImportantConfig` | the same for the important options |\n"
    "| `--check` | check flags and options, and exit |\n"
    "| `-h`, `--help`; `-v`, `--version` | |\n"
    "\n"
    "Wrong flags and wrong options end the process with exit status 2 and a message that names "
    "file,"
    " line, key and what was expected.\n"
    "\n"
    "## Where a value comes from\n"
    "\n"
    "The later goes before the earlier: the default, the environment, the file, the flag.\n"
    "\n"
    "| environment | meaning |\n"
    "|---|---|\n"
    "| `ROCKETMQ_HOME` | rocketmqHome; the scripts in bin/ set it when it is missing |\n"
    "| `NAMESRV_ADDR` | namesrvAddr of the broker |\n"
    "| `JAVA_OPT`, `JAVA_OPT_EXT` | of these, `-Drocketmq.home.dir=` and "
    "`-Drocketmq.namesrv.addr=` count, before the two above, and "
    "`-Drocketmq.broker.diskSpaceWarningLevelRatio=` and "
    "`-Drocketmq.broker.diskSpaceCleanForciblyRatio=` as ratios (0.90), "
    "`-Drocketmq.acl.plain.file=` as aclPlainFile, always in rocketmqHome, and `-Dtls.*` "
    "([tls.md](tls.md)); the rest is ignored |\n"
    "| `ROCKETMQ_SERIALIZE_TYPE` | `JSON` or `ROCKETMQ`: headers of what a server sends of its own "
    "accord; answers are in the encoding of their request |\n"
    "\n"
    "## The file\n"
    "\n"
    "Two grammars are read. **Java properties**, as all files of RocketMQ are:\n"
    "\n"
    "```\n"
    "# a comment\n"
    "brokerRole = ASYNC_MASTER\n"
    "namesrvAddr = 192.0.2.1:9876;192.0.2.2:9876\n"
    "```\n"
    "\n"
    "and **libconfig**:\n"
    "\n"
    "```\n"
    "/* a comment */\n"
    "brokerRole = \"ASYNC_MASTER\";\n"
    "listenPort = 10911;\n"
    "@include \"common.cfg\"\n"
    "```\n"
    "\n"
    "Every line outside comments speaks for one of them or for neither:\n"
    "\n"
    "- for libconfig, when it starts with `@include`, a quote or a bracket, or when its value "
    "starts "
    "with a quote or a bracket, or is a number or a boolean with `;` or `,` behind it;\n"
    "- for properties, when its value is anything else that libconfig would refuse, such as bare "
    "text;\n"
    "- for neither, when it has no `=` or `:`, or its value is a bare number or boolean.\n"
    "\n"
    "The file is libconfig when more lines speak for that, else it is properties. In properties "
    "the "
    "last of several equal keys counts, and unlike in Java blanks at the end of a value are "
    "dropped "
    "(4.9.2 silently ignores a number with a blank behind it) and bytes above 127 are UTF-8. In "
    "libconfig the type must fit: texts in double quotes, numbers and booleans without, and "
    "`@include` is relative to the file's folder.\n"
    "\n"
    "Unknown keys give a warning with the nearest known key, and are listed with the others. Bad "
    "values are errors; 4.9.2 ignores them silently.\n"
    "\n"
    "## Changes while running\n"
    "\n"
    "`mqadmin updateBrokerConfig` and `updateNamesrvConfig` change options and write them into the "
    "`-c` file (its former content is kept as `.bak`); comments and order stay, only what was "
    "changed is replaced or added. Without `-c` the files are "
    "`$HOME/store/config/broker.properties` "
    "and `$HOME/namesrv/namesrv.properties`, as in 4.9.2. Options marked **live** take effect at "
    "once, the others at the next start. One bad value refuses the whole change.\n"
    "\n"
    "## Reading the tables\n"
    "\n"
    "An empty default means: none, or worked out as the text says. **live**: see above. **-m**: "
    "printed by `-m`. *not built yet*: known, without effect so far; *no effect*: means nothing in "
    "this server, whose I/O threads do what 4.9.2 spreads over pools. Either warns when it is set "
    "to "
    "anything but the default.\n";

static void add_section(struct buf *out, const char *title)
{
    buf_printf(out, "\n### %s\n\n| key | default | values | |\n|---|---|---|---|\n", title);
}

static void add_values(struct buf *out, const struct conf_key *key)
{
    switch (key->type) {
    case CONF_BOOL:
        buf_append_cstr(out, "true, false");
        break;
    case CONF_INT:
        if (key->min <= INT32_MIN)
            buf_append_cstr(out, "a whole number");
        else if (key->max == INT64_MAX || key->max == INT32_MAX)
            buf_printf(out, "%lld and up", (long long)key->min);
        else
            buf_printf(out, "%lld..%lld", (long long)key->min, (long long)key->max);
        break;
    case CONF_ENUM:
        for (size_t i = 0; key->names[i] != NULL; i++)
            buf_printf(out, "%s%s", i == 0 ? "" : ", ", key->names[i]);
        break;
    case CONF_STRING:
        buf_append_cstr(out, "text");
        break;
    case CONF_FOREIGN:
        break;
    }
}

static void add_row(struct buf *out, const struct conf *conf, const char *name)
{
    size_t index = 0;
    while (strcmp(conf->keys[index].name, name) != 0)
        index++;
    const struct conf_key *key = &conf->keys[index];
    buf_printf(out, "| `%s` | ", key->name);
    if (key->default_text[0] != '\0')
        buf_printf(out, "`%s` ", key->default_text);
    buf_append_cstr(out, "| ");
    add_values(out, key);
    buf_printf(out, " | %s", key->doc);
    if (key->flags & CONF_LIVE)
        buf_append_cstr(out, " **live**");
    if (key->flags & CONF_IMPORTANT)
        buf_append_cstr(out, " **-m**");
    if (key->use == CONF_LATER)
        buf_append_cstr(out, " *not built yet*");
    if (key->use == CONF_NO_EFFECT && key->type != CONF_FOREIGN)
        buf_append_cstr(out, " *no effect*");
    buf_append_cstr(out, " |\n");
}

static void add_broker(struct buf *out)
{
    struct broker_conf values;
    struct conf conf;
    broker_conf_init(&values, &conf);
    buf_append_cstr(out, "\n## mqbroker\n");
#define CONF_SECTION(title) add_section(out, title);
#define CONF_BOOL(name, ...) add_row(out, &conf, #name);
#define CONF_INT(name, ...) add_row(out, &conf, #name);
#define CONF_STRING(name, ...) add_row(out, &conf, #name);
#define CONF_ENUM(name, ...) add_row(out, &conf, #name);
#define CONF_OTHER_VERSION(name, doc) add_row(out, &conf, #name);
#include "common/conf/broker_conf.def"
    conf_release(&conf);
}

static void add_namesrv(struct buf *out)
{
    struct namesrv_conf values;
    struct conf conf;
    namesrv_conf_init(&values, &conf);
    buf_append_cstr(out, "\n## mqnamesrv\n");
#define CONF_SECTION(title) add_section(out, title);
#define CONF_BOOL(name, ...) add_row(out, &conf, #name);
#define CONF_INT(name, ...) add_row(out, &conf, #name);
#define CONF_STRING(name, ...) add_row(out, &conf, #name);
#define CONF_ENUM(name, ...) add_row(out, &conf, #name);
#define CONF_OTHER_VERSION(name, doc) add_row(out, &conf, #name);
#include "common/conf/namesrv_conf.def"
    conf_release(&conf);
}

void conf_docs_append(struct buf *out)
{
    buf_append_cstr(out, INTRODUCTION);
    add_broker(out);
    add_namesrv(out);
}
