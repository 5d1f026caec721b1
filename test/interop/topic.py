#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Create topics for clients that cannot: topic.py NAMESRV TOPIC [QUEUES], and wait for the route."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import servers  # noqa: E402

CREATE_TOPIC, ROUTE = 17, 105
WAIT_S = 150


def main():
    namesrv, topic, queues = sys.argv[1], sys.argv[2], (sys.argv[3:] or ["4"])[0]
    header, _ = servers.call(servers.master_of(namesrv), CREATE_TOPIC, {
        "topic": topic, "defaultTopic": "TBW102", "perm": "6", "topicFilterType": "SINGLE_TAG",
        "readQueueNums": queues, "writeQueueNums": queues, "topicSysFlag": "0", "order": "false"}, 10)
    if header["code"] != 0:
        sys.exit("topic: %s: %s" % (topic, header.get("remark")))
    end = time.monotonic() + WAIT_S
    while servers.call(namesrv, ROUTE, {"topic": topic})[0]["code"] != 0:
        if time.monotonic() > end:
            sys.exit("topic: the name server does not know %s" % topic)
        time.sleep(0.02)


if __name__ == "__main__":
    main()
