/* SPDX-License-Identifier: Apache-2.0
 *
 * Shows that the broker's table has every key of 4.9.2 with its default, that the sample files and
 * files of 4.9.2 load, and what is worked out or refused after loading. Source: behaviour rules
 * CF-04, CF-05, LC-01, LC-02, ST1-01 (docs/configuration.md); test/data/conf/defaults-4.9.2.tsv.
 */
#include "common/conf/broker_conf.h"

#include "common/conf/server_conf.h"
#include "common/sys/log.h"
#include "common/sys/vfs.h"
#include "test/unit/support/folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct fixture {
    struct broker_conf values;
    struct conf conf;
    char home[FOLDER_BYTES];
    struct buf warnings;
    struct err err;
};

static void take_warning(void *ctx, const char *text)
{
    struct fixture *f = ctx;
    buf_printf(&f->warnings, "%s\n", text);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    folder_make("t_broker_conf", f->home);
    assert_int_equal(setenv("HOME", f->home, 1), 0);
    static const char *const UNSET[] = {"ROCKETMQ_HOME", "NAMESRV_ADDR", "JAVA_OPT", "JAVA_OPT_EXT",
                                        "ROCKETMQ_SERIALIZE_TYPE"};
    for (size_t i = 0; i < sizeof UNSET / sizeof UNSET[0]; i++)
        assert_int_equal(unsetenv(UNSET[i]), 0);
    broker_conf_init(&f->values, &f->conf);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    folder_remove(f->home);
    conf_release(&f->conf);
    buf_release(&f->warnings);
    free(f);
    return 0;
}

static void set(struct fixture *f, const char *key, const char *text)
{
    assert_int_equal(conf_set(&f->conf, key, text, "test", &f->err), STATUS_OK);
}

static enum status finish(struct fixture *f)
{
    buf_clear(&f->warnings);
    enum status status = broker_conf_finish(&f->conf, take_warning, f, &f->err);
    buf_append_byte(&f->warnings, '\0');
    return status;
}

static void assert_warned(const struct fixture *f, const char *part)
{
    if (part == NULL)
        assert_string_equal((const char *)f->warnings.data, "");
    else
        assert_non_null(strstr((const char *)f->warnings.data, part));
}

static void assert_under_home(const struct fixture *f, const char *path, const char *rest)
{
    char expected[128];
    (void)snprintf(expected, sizeof expected, "%s/%s", f->home, rest);
    assert_string_equal(path, expected);
}

/* --- the table --- */

/* Defaults that differ from 4.9.2's classes on purpose. */
static const char *const OWN_DEFAULTS[] = {
    "listenPort",             /* the class says 8888, the broker 10911 */
    "serverSelectorThreads",  /* by the cores */
    "serverSocketSndBufSize", /* the class says 65535, the broker 131072 */
    "serverSocketRcvBufSize",
    "clientSocketSndBufSize",
    "clientSocketRcvBufSize",
    "clientCallbackExecutorThreads", /* pools that are sized by the cores */
    "sendMessageThreadPoolNums",
    "pullMessageThreadPoolNums",
    "processReplyMessageThreadPoolNums",
    "queryMessageThreadPoolNums",
    "heartbeatThreadPoolNums",
    "endTransactionThreadPoolNums",
};

static bool has_own_default(const char *key)
{
    for (size_t i = 0; i < sizeof OWN_DEFAULTS / sizeof OWN_DEFAULTS[0]; i++)
        if (strcmp(OWN_DEFAULTS[i], key) == 0)
            return true;
    return false;
}

static const struct conf_key *find_key(const struct conf *conf, const char *name)
{
    for (size_t i = 0; i < conf->key_count; i++)
        if (strcmp(conf->keys[i].name, name) == 0)
            return &conf->keys[i];
    return NULL;
}

static void check_key(const struct conf *conf, const char *name, const char *type,
                      const char *value)
{
    if (strcmp(name, "isEnableBatchPush") == 0)
        name = "enableBatchPush"; /* the field's name; the key is the setter's */
    const struct conf_key *key = find_key(conf, name);
    if (key == NULL)
        fail_msg("%s of 4.9.2 is missing", name);
    bool number = strcmp(type, "int") == 0 || strcmp(type, "long") == 0;
    bool boolean = strcmp(type, "boolean") == 0;
    assert_int_equal(number, key->type == CONF_INT);
    assert_int_equal(boolean, key->type == CONF_BOOL);
    bool varies = strcmp(value, "null") == 0 || strchr("<~$", value[0]) != NULL;
    if (has_own_default(name))
        return;
    if (strcmp(key->default_text, varies ? "" : value) != 0)
        fail_msg("%s: default %s, in 4.9.2 %s", name, key->default_text, value);
}

static void test_every_key_of_492_is_there(void **state)
{
    struct fixture *f = *state;
    FILE *file = fopen("test/data/conf/defaults-4.9.2.tsv", "r");
    assert_non_null(file);
    char line[512];
    int checked = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        char *rest = line;
        const char *class = strsep(&rest, "\t\n");
        const char *name = strsep(&rest, "\t\n");
        const char *type = strsep(&rest, "\t\n");
        const char *value = strsep(&rest, "\t\n");
        if (class[0] == '#' || strcmp(class, "NamesrvConfig") == 0)
            continue;
        check_key(&f->conf, name, type, value);
        checked++;
    }
    assert_int_equal(fclose(file), 0);
    assert_int_equal(checked, 169);
}

static void test_keys_are_unique_and_explained(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < f->conf.key_count; i++) {
        const struct conf_key *key = &f->conf.keys[i];
        assert_ptr_equal(find_key(&f->conf, key->name), key);
        assert_true(strlen(key->doc) > 3);
    }
}

static void test_enums_have_the_order_of_their_names(void **state)
{
    struct fixture *f = *state;
    set(f, "brokerRole", "SYNC_MASTER");
    assert_int_equal(f->values.brokerRole, BROKER_ROLE_SYNC_MASTER);
    set(f, "brokerRole", "SLAVE");
    assert_int_equal(f->values.brokerRole, BROKER_ROLE_SLAVE);
    assert_int_equal(f->values.flushDiskType, FLUSH_DISK_ASYNC);
    set(f, "flushDiskType", "SYNC_FLUSH");
    assert_int_equal(f->values.flushDiskType, FLUSH_DISK_SYNC);
    for (int i = 0; conf_log_level_names[i] != NULL; i++) {
        enum log_level level;
        assert_true(log_level_parse(conf_log_level_names[i], &level));
        assert_int_equal(level, i);
    }
}

/* --- files --- */

static void test_sample_files_load_without_warnings(void **state)
{
    struct fixture *f = *state;
    static const char *const SAMPLES[] = {
        "conf/broker.conf",
        "conf/2m-noslave/broker-a.properties",
        "conf/2m-noslave/broker-b.properties",
        "conf/2m-noslave/broker-trace.properties",
        "conf/2m-2s-async/broker-a.properties",
        "conf/2m-2s-async/broker-a-s.properties",
        "conf/2m-2s-async/broker-b.properties",
        "conf/2m-2s-async/broker-b-s.properties",
        "conf/2m-2s-sync/broker-a.properties",
        "conf/2m-2s-sync/broker-a-s.properties",
        "conf/2m-2s-sync/broker-b.properties",
        "conf/2m-2s-sync/broker-b-s.properties",
    };
    for (size_t i = 0; i < sizeof SAMPLES / sizeof SAMPLES[0]; i++) {
        struct broker_conf values;
        struct conf conf;
        broker_conf_init(&values, &conf);
        buf_clear(&f->warnings);
        assert_int_equal(conf_load_file(&conf, SAMPLES[i], take_warning, f, &f->err), STATUS_OK);
        buf_append_byte(&f->warnings, '\0');
        assert_warned(f, NULL);
        assert_int_equal(broker_conf_finish(&conf, NULL, NULL, &f->err), STATUS_OK);
        bool slave = strstr(SAMPLES[i], "-s.properties") != NULL;
        bool sync = strstr(SAMPLES[i], "2s-sync") != NULL;
        assert_int_equal(values.brokerId, slave ? 1 : 0);
        assert_int_equal(values.brokerRole, slave  ? BROKER_ROLE_SLAVE
                                            : sync ? BROKER_ROLE_SYNC_MASTER
                                                   : BROKER_ROLE_ASYNC_MASTER);
        assert_int_equal(values.flushDiskType, FLUSH_DISK_ASYNC);
        assert_string_equal(values.brokerClusterName, "DefaultCluster");
        assert_string_equal(values.deleteWhen, "04");
        assert_int_equal(values.fileReservedTime, 48);
        conf_release(&conf);
    }
}

static void test_a_file_of_492_loads_unchanged(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(conf_load_file(&f->conf, "test/data/conf/broker-4.9.2.properties",
                                    take_warning, f, &f->err),
                     STATUS_OK);
    buf_append_byte(&f->warnings, '\0');
    assert_null(strstr((const char *)f->warnings.data, "not a known key"));
    assert_null(strstr((const char *)f->warnings.data, "no effect"));
    assert_int_equal(f->values.mappedFileSizeCommitLog, 65536);
    assert_string_equal(f->values.brokerIP1, "127.0.0.1");
    assert_memory_equal(f->values.messageDelayLevel, "1s 2s 3s 30s", 12);
}

/* --- what is worked out --- */

static void test_what_depends_on_the_machine(void **state)
{
    struct fixture *f = *state;
    char host[256] = "";
    assert_int_equal(finish(f), STATUS_OK);
    assert_warned(f, NULL);
    assert_int_equal(gethostname(host, sizeof host - 1), 0);
    assert_string_equal(f->values.brokerName, host);
    assert_string_equal(f->values.brokerIP1, f->values.brokerIP2);
    assert_true(strlen(f->values.brokerIP1) >= 7);
    assert_under_home(f, f->values.storePathRootDir, "store");
    assert_under_home(f, f->values.storePathCommitLog, "store/commitlog");
    assert_under_home(f, f->values.logFile, "logs/rocketmqlogs/broker.log");
    assert_int_equal(f->values.serverSelectorThreads, conf_default_loops());
    assert_in_range(f->values.serverSelectorThreads, 1, 8);
    assert_int_equal(f->values.haListenPort, 10912);
    char *path = broker_conf_rewrite_path(&f->conf);
    assert_under_home(f, path, "store/config/broker.properties");
    free(path);
    assert_true(conf_is_default(&f->conf, "brokerIP1"));
}

static void test_what_is_set_stays(void **state)
{
    struct fixture *f = *state;
    set(f, "brokerName", "broker-x");
    set(f, "brokerIP1", "192.0.2.1");
    set(f, "storePathRootDir", "/data/mq");
    set(f, "storePathCommitLog", "/log");
    set(f, "serverSelectorThreads", "3");
    set(f, "logFile", "-");
    assert_int_equal(finish(f), STATUS_OK);
    assert_string_equal(f->values.brokerName, "broker-x");
    assert_string_equal(f->values.brokerIP1, "192.0.2.1");
    assert_string_not_equal(f->values.brokerIP2, "192.0.2.1");
    assert_string_equal(f->values.storePathRootDir, "/data/mq");
    assert_string_equal(f->values.storePathCommitLog, "/log");
    assert_int_equal(f->values.serverSelectorThreads, 3);
    assert_string_equal(f->values.logFile, "-");
}

static void test_the_replication_port(void **state)
{
    struct fixture *f = *state;
    set(f, "listenPort", "20000");
    assert_int_equal(finish(f), STATUS_OK);
    assert_int_equal(f->values.haListenPort, 20001);
    set(f, "haListenPort", "30000");
    assert_int_equal(finish(f), STATUS_OK);
    assert_int_equal(f->values.haListenPort, 30000);
    assert_warned(f, "haListenPort: is not listenPort + 1");
}

static void test_the_master_of_a_slave(void **state)
{
    struct fixture *f = *state;
    set(f, "brokerRole", "SLAVE");
    set(f, "brokerId", "1");
    assert_int_equal(finish(f), STATUS_OK);
    assert_warned(f, "so this broker follows nobody");
    set(f, "haMasterAddress", "master.example:10912");
    assert_int_equal(finish(f), STATUS_OK);
    set(f, "haMasterAddress", "master.example");
    assert_int_equal(finish(f), STATUS_INVALID);
    assert_non_null(strstr(f->err.text, "haMasterAddress = \"master.example\" is not host:port"));
}

static void test_the_first_and_the_last_port(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(conf_set(&f->conf, "listenPort", "2", "test", &f->err), STATUS_INVALID);
    assert_string_equal(f->err.text,
                        "test: listenPort = \"2\": expected a whole number from 3 to 65535");
    set(f, "listenPort", "65535");
    assert_int_equal(finish(f), STATUS_OK);
    assert_int_equal(f->values.haListenPort, 0);
}

static void test_roles_and_ids(void **state)
{
    struct fixture *f = *state;
    set(f, "brokerId", "3");
    assert_int_equal(finish(f), STATUS_OK);
    assert_int_equal(f->values.brokerId, 0);
    assert_warned(f, "brokerId: a master's is always 0");
    set(f, "brokerRole", "SLAVE");
    assert_int_equal(finish(f), STATUS_INVALID);
    assert_non_null(strstr(f->err.text, "brokerId = 0: a broker with brokerRole = SLAVE needs"));
    set(f, "brokerId", "-1");
    assert_int_equal(finish(f), STATUS_INVALID);
    set(f, "brokerId", "2");
    assert_int_equal(finish(f), STATUS_OK);
    assert_int_equal(f->values.brokerId, 2);
}

static void test_values_out_of_range_are_brought_in(void **state)
{
    struct fixture *f = *state;
    set(f, "registerNameServerPeriod", "1");
    set(f, "diskMaxUsedSpaceRatio", "99");
    assert_int_equal(finish(f), STATUS_OK);
    assert_int_equal(f->values.registerNameServerPeriod, 10000);
    assert_int_equal(f->values.diskMaxUsedSpaceRatio, 95);
    set(f, "registerNameServerPeriod", "100000");
    set(f, "diskMaxUsedSpaceRatio", "5");
    assert_int_equal(finish(f), STATUS_OK);
    assert_int_equal(f->values.registerNameServerPeriod, 60000);
    assert_int_equal(f->values.diskMaxUsedSpaceRatio, 10);
}

/* --- what is refused --- */

static void test_features_that_are_missing_are_refused(void **state)
{
    struct fixture *f = *state;
    set(f, "enableDLegerCommitLog", "true");
    assert_int_equal(finish(f), STATUS_INVALID);
    assert_non_null(strstr(f->err.text, "enableDLegerCommitLog"));
}

static void test_the_accounts_are_below_the_home(void **state)
{
    struct fixture *f = *state;
    set(f, "aclEnable", "true");
    assert_int_equal(finish(f), STATUS_INVALID); /* nobody says where they are */
    assert_non_null(strstr(f->err.text, "aclPlainFile"));
    set(f, "rocketmqHome", "/opt/mq");
    assert_int_equal(finish(f), STATUS_OK);
    assert_string_equal(f->values.aclPlainFile, "/opt/mq/conf/plain_acl.yml");
    set(f, "aclPlainFile", "conf/other.yml");
    assert_int_equal(finish(f), STATUS_OK);
    assert_string_equal(f->values.aclPlainFile, "/opt/mq/conf/other.yml");
    set(f, "aclPlainFile", "/etc/acl.yml");
    assert_int_equal(finish(f), STATUS_OK);
    assert_string_equal(f->values.aclPlainFile, "/etc/acl.yml");
}

static void test_name_server_lists(void **state)
{
    struct fixture *f = *state;
    static const char *const GOOD[] = {"",        "a:9876", "a:9876;b:9876",
                                       "a:9876;", ";a:1",   "[::1]:9876"};
    static const char *const BAD[] = {
        "a", "a:", ":9876", "a:0", "a:65536", "a:9876,b:9876", "a:1;b", "a:1 ;b:2"};
    for (size_t i = 0; i < sizeof GOOD / sizeof GOOD[0]; i++) {
        set(f, "namesrvAddr", GOOD[i]);
        assert_int_equal(finish(f), STATUS_OK);
    }
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        set(f, "namesrvAddr", BAD[i]);
        assert_int_equal(finish(f), STATUS_INVALID);
        assert_non_null(strstr(f->err.text, "is not host:port"));
    }
}

static void test_hours_of_deletion(void **state)
{
    struct fixture *f = *state;
    static const char *const BAD[] = {"24", "-1", "4am", "04,05"};
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        set(f, "deleteWhen", BAD[i]);
        assert_int_equal(finish(f), STATUS_INVALID);
    }
    set(f, "deleteWhen", "00;4;23");
    assert_int_equal(finish(f), STATUS_OK);
}

/* Both names become topics, and thus folders of the store. */
static void test_names_that_cannot_name_a_topic_are_refused(void **state)
{
    struct fixture *f = *state;
    static const char *const KEYS_OF_NAMES[] = {"brokerName", "brokerClusterName"};
    char longest[128 + 1];
    memset(longest, 'n', 128);
    longest[128] = '\0';
    const char *const bad[] = {"a/b", "../x", ".", "..", "a b", "caf\xC3\xA9", longest};
    for (size_t k = 0; k < 2; k++) {
        for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
            assert_int_equal(conf_set(&f->conf, KEYS_OF_NAMES[k], bad[i], "test", &f->err),
                             STATUS_INVALID);
            char line[256];
            (void)snprintf(line, sizeof line, "%s=%s\n", KEYS_OF_NAMES[k], bad[i]);
            assert_int_equal(conf_update(&f->conf, slice_of_cstr(line), &f->err), STATUS_INVALID);
        }
        set(f, KEYS_OF_NAMES[k], longest + 1);
        set(f, KEYS_OF_NAMES[k], "%a|B_c-9.example.org");
        assert_int_equal(finish(f), STATUS_OK);
    }
    set(f, "brokerName", "");
    assert_int_equal(conf_set(&f->conf, "brokerClusterName", "", "test", &f->err), STATUS_INVALID);
    /* File, line, what was expected. */
    char path[FOLDER_BYTES + 16];
    (void)snprintf(path, sizeof path, "%s/b.conf", f->home);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs("# a broker\nbrokerName = a/b\n", file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(conf_load_file(&f->conf, path, take_warning, f, &f->err), STATUS_INVALID);
    assert_non_null(strstr(f->err.text,
                           "b.conf:2: brokerName = \"a/b\": expected at most 127 letters, digits "
                           "and any of %|_-. since it names a topic"));
}

/* --- the commit log's place --- */

static void make_file(const struct fixture *f, const char *folder, const char *name)
{
    char path[256];
    (void)snprintf(path, sizeof path, "%s/%s", f->home, folder);
    assert_int_equal(vfs_posix()->ops->mkdirs(vfs_posix(), path), STATUS_OK);
    (void)snprintf(path, sizeof path, "%s/%s/%s", f->home, folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fclose(file), 0);
}

static void set_root(struct fixture *f)
{
    char root[128];
    (void)snprintf(root, sizeof root, "%s/data", f->home);
    set(f, "storePathRootDir", root);
}

static void test_the_log_follows_the_root(void **state)
{
    struct fixture *f = *state;
    set_root(f);
    make_file(f, "store/commitlog", "00000000000000000000"); /* another broker's */
    assert_int_equal(finish(f), STATUS_OK);
    assert_under_home(f, f->values.storePathCommitLog, "data/commitlog");
    assert_warned(f, NULL);
}

static void test_a_store_of_492_keeps_its_log(void **state)
{
    struct fixture *f = *state;
    set_root(f);
    make_file(f, "store/commitlog", "00000000000000000000");
    make_file(f, "data", "checkpoint");
    assert_int_equal(finish(f), STATUS_OK);
    assert_under_home(f, f->values.storePathCommitLog, "store/commitlog");
    assert_warned(f, "storePathCommitLog is not set and");
}

static void test_a_log_in_the_root_goes_before(void **state)
{
    struct fixture *f = *state;
    set_root(f);
    make_file(f, "store/commitlog", "00000000000000000000");
    make_file(f, "data", "checkpoint");
    make_file(f, "data/commitlog", "00000000000000000000");
    assert_int_equal(finish(f), STATUS_OK);
    assert_under_home(f, f->values.storePathCommitLog, "data/commitlog");
    assert_warned(f, NULL);
}

/* --- environment --- */

static void test_environment(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(setenv("ROCKETMQ_HOME", "/opt/mq", 1), 0);
    assert_int_equal(setenv("NAMESRV_ADDR", "e:9876", 1), 0);
    assert_int_equal(conf_apply_environment(&f->conf, take_warning, f, &f->err), STATUS_OK);
    assert_string_equal(f->values.rocketmqHome, "/opt/mq");
    assert_string_equal(f->values.namesrvAddr, "e:9876");
    assert_string_equal(conf_serialize_type(), "JSON");
    assert_int_equal(f->warnings.size, 0);
    assert_int_equal(setenv("ROCKETMQ_SERIALIZE_TYPE", "ROCKETMQ", 1), 0);
    assert_string_equal(conf_serialize_type(), "ROCKETMQ");
    assert_int_equal(setenv("ROCKETMQ_SERIALIZE_TYPE", "XML", 1), 0);
    assert_string_equal(conf_serialize_type(), "JSON");
    assert_int_equal(conf_apply_environment(&f->conf, take_warning, f, &f->err), STATUS_OK);
    assert_true(f->warnings.size > 0);
}

static void test_java_options(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(setenv("NAMESRV_ADDR", "e:9876", 1), 0);
    assert_int_equal(setenv("JAVA_OPT",
                            "-server -Xmx8g -Drocketmq.namesrv.addrs=no:1 "
                            "-Drocketmq.namesrv.addr=j:9876",
                            1),
                     0);
    assert_int_equal(setenv("JAVA_OPT_EXT", "-Drocketmq.home.dir=/j \"-Dx=1\"", 1), 0);
    assert_int_equal(conf_apply_environment(&f->conf, NULL, NULL, &f->err), STATUS_OK);
    assert_string_equal(f->values.namesrvAddr, "j:9876");
    assert_string_equal(f->values.rocketmqHome, "/j");
    /* Also with a slash in front it is below the home, as in 4.9.2. */
    assert_int_equal(setenv("JAVA_OPT", "-Drocketmq.acl.plain.file=/conf/a.yml", 1), 0);
    assert_int_equal(conf_apply_environment(&f->conf, NULL, NULL, &f->err), STATUS_OK);
    assert_string_equal(f->values.aclPlainFile, "conf/a.yml");
}

static void apply_ratio(struct fixture *f, const char *text, enum status status)
{
    char option[128];
    (void)snprintf(option, sizeof option, "-Xmx8g -Drocketmq.broker.diskSpaceWarningLevelRatio=%s",
                   text);
    assert_int_equal(setenv("JAVA_OPT", option, 1), 0);
    assert_int_equal(conf_apply_environment(&f->conf, NULL, NULL, &f->err), status);
}

/* 4.9.2 has these two as ratios in the virtual machine's options only. */
static void test_disk_ratios(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(setenv("JAVA_OPT_EXT", "-Drocketmq.broker.diskSpaceCleanForciblyRatio=.8", 1),
                     0);
    static const struct {
        const char *text;
        int percent;
    } GOOD[] = {{"0.95", 95}, {"0.9", 90}, {"1", 100},    {"1.000", 100},
                {".5", 50},   {"0.01", 1}, {"0.855", 86}, {"0.85499", 85}};
    for (size_t i = 0; i < sizeof GOOD / sizeof GOOD[0]; i++) {
        apply_ratio(f, GOOD[i].text, STATUS_OK);
        assert_int_equal(f->values.diskSpaceWarningLevelRatio, GOOD[i].percent);
    }
    assert_int_equal(f->values.diskSpaceCleanForciblyRatio, 80);
    static const char *const BAD[] = {"90", "0", "0.001", "1.01", "x", "0.9.1", ".", "-0.5"};
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        apply_ratio(f, BAD[i], STATUS_INVALID);
        assert_non_null(strstr(f->err.text, "diskSpaceWarningLevelRatio"));
    }
    assert_int_equal(f->values.diskSpaceWarningLevelRatio, 85);
}

static void test_boot(void **state)
{
    struct fixture *f = *state;
    struct broker_conf values;
    struct conf conf;
    int exit_code = -1;
    char word[] = "mqbroker", c[] = "-c", file[] = "conf/broker.conf", n[] = "-n", addr[] = "h:1";
    char absent[] = "conf/absent.conf";
    char *good[] = {word, c, file, n, addr, NULL};
    char *bad[] = {word, c, absent, NULL};
    assert_int_equal(setenv("NAMESRV_ADDR", "e:9876", 1), 0);
    assert_true(broker_conf_boot(5, good, &values, &conf, NULL, &exit_code));
    assert_string_equal(values.namesrvAddr, "h:1");
    assert_string_equal(values.brokerName, "broker-a");
    char *path = broker_conf_rewrite_path(&conf);
    assert_string_equal(path + strlen(path) - strlen("/conf/broker.conf"), "/conf/broker.conf");
    assert_int_equal(path[0], '/');
    free(path);
    conf_release(&conf);
    assert_false(broker_conf_boot(3, bad, &values, &conf, NULL, &exit_code));
    assert_int_equal(exit_code, 2);
    (void)f;
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_every_key_of_492_is_there),
        TEST(test_keys_are_unique_and_explained),
        TEST(test_enums_have_the_order_of_their_names),
        TEST(test_sample_files_load_without_warnings),
        TEST(test_a_file_of_492_loads_unchanged),
        TEST(test_what_depends_on_the_machine),
        TEST(test_what_is_set_stays),
        TEST(test_the_replication_port),
        TEST(test_the_master_of_a_slave),
        TEST(test_the_first_and_the_last_port),
        TEST(test_roles_and_ids),
        TEST(test_values_out_of_range_are_brought_in),
        TEST(test_features_that_are_missing_are_refused),
        TEST(test_the_accounts_are_below_the_home),
        TEST(test_name_server_lists),
        TEST(test_hours_of_deletion),
        TEST(test_names_that_cannot_name_a_topic_are_refused),
        TEST(test_the_log_follows_the_root),
        TEST(test_a_store_of_492_keeps_its_log),
        TEST(test_a_log_in_the_root_goes_before),
        TEST(test_environment),
        TEST(test_java_options),
        TEST(test_disk_ratios),
        TEST(test_boot),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
