#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Which interop cases a broker does not serve yet: unserved.py NAMESRV prints their names, with commas.

test/interop/unserved lists cases and the features that they need. A feature that can be asked for is:
when the broker serves it, its cases run although they are listed (take their lines out then; from
then on they fail when the feature does). Others count as not served.
"""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "lib"), os.path.join(HERE, "..", "e2e")]
import servers  # noqa: E402
import rocketmq  # noqa: E402

NOT_SUPPORTED = 3
END_TRANSACTION, PULL, SEND_REPLY = 37, 11, 325


def serves_code(client, code):
    return client.call(code).code != NOT_SUPPORTED


def serves_sql(client):
    answer = client.call(PULL, {
        "consumerGroup": "UNSERVED", "topic": "SELF_TEST_TOPIC", "queueId": 0, "queueOffset": 0,
        "maxMsgNums": 1, "sysFlag": 4, "commitOffset": 0, "suspendTimeoutMillis": 0, "subVersion": 1,
        "subscription": "a > 1", "expressionType": "SQL92"})
    return "does not support" not in (answer.remark or "")


PROBES = {
    "transactions": lambda client: serves_code(client, END_TRANSACTION),
    "reply": lambda client: serves_code(client, SEND_REPLY),
    "SQL92": serves_sql,
}


def main():
    host, port = servers.master_of(sys.argv[1]).rsplit(":", 1)
    names, served = [], {}
    with open(os.path.join(HERE, "unserved"), encoding="utf-8") as file:
        for line in file:
            words = line.split("#")[0].split()
            if len(words) < 2:
                continue
            feature = words[1]
            if feature not in served:
                with rocketmq.Connection(host, int(port)) as client:
                    served[feature] = feature in PROBES and PROBES[feature](client)
            if served[feature]:
                print("unserved: %s is served (%s): take its line out" % (words[0], feature),
                      file=sys.stderr)
            else:
                names.append(words[0])
    print(",".join(names))


if __name__ == "__main__":
    main()
