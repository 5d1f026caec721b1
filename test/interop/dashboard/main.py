#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Apache's dashboard (rocketmq-dashboard 1.0.0) on our servers and on Apache's own 4.9.2: every page
is asked for what it asks its back end, and has to get answers of the same form.

    sh test/interop/dashboard/run [-v]        -v: show what differs in full

The dashboard is given as a jar by `run`. The form of an answer is the set of its members with the
kinds of their values; names of hosts, brokers, topics and groups are the same on both sides. What is
asked changes things, too: topics and groups are made and deleted, offsets are reset, a message is
sent, another is consumed directly. What can be known of values is checked on each side by itself.
"""
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "lib"))
import servers  # noqa: E402

TOPIC, GROUP = "dashboard-topic", "dashboard-group"
MADE_TOPIC, MADE_GROUP = "dashboard-made", "dashboard-made-group"
PATIENCE_S = 300


class Dashboard:
    """A cluster, clients, and the dashboard beside it."""

    def __init__(self, apache, jar):
        self.name = "apache" if apache else "ours"
        self.cluster = servers.Servers(apache, {"traceTopicEnable": "true",
                                                "mappedFileSizeCommitLog": "16777216"})
        self.jar = jar
        self.processes = []

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self):
        self.cluster.start()
        self.folder = tempfile.mkdtemp(dir=self.cluster.folder)
        self.client = self._launch(
            ["java", "-Xmx128m", "-Duser.home=" + self.folder, "-Drocketmq.client.logUseSlf4j=true",
             "-cp", servers.apache_classpath(), os.path.join(HERE, "Client.java"),
             self.cluster.namesrv, TOPIC, GROUP], "client.log", stdin=subprocess.PIPE)
        self.port = servers.free_ports([0])
        self._launch(
            ["java", "-Xmx384m"] + servers.JAVA_OPENS +
            ["-Duser.home=" + self.folder, "-Djava.io.tmpdir=" + self.folder, "-jar", self.jar,
             "--server.address=127.0.0.1", "--server.port=%d" % self.port,
             "--rocketmq.config.namesrvAddr=" + self.cluster.namesrv,
             "--rocketmq.config.isVIPChannel=false", "--rocketmq.config.timeoutMillis=20000",
             "--rocketmq.config.dataPath=" + self.folder], "dashboard.log")
        self.msg_id = self._await(lambda: re.search(r"ready (\w+)", self.log("client.log")))[1]
        self._await(self._answers)

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.kill()
            process.wait()
        self.cluster.stop()

    def _launch(self, command, log, stdin=subprocess.DEVNULL):
        with open(os.path.join(self.folder, log), "wb") as out:
            process = subprocess.Popen(command, stdout=out, stderr=out, stdin=stdin,
                                       cwd=self.folder, env=dict(os.environ, HOME=self.folder))
        self.processes.append(process)
        return process

    def log(self, name):
        with open(os.path.join(self.folder, name), errors="replace") as file:
            return file.read()

    def _await(self, condition):
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            found = condition()
            if found:
                return found
            if any(process.poll() is not None for process in self.processes):
                break
            time.sleep(0.2)
        sys.exit("dashboard: %s did not start\n%s\n%s" % (
            self.name, self.log("client.log")[-2000:], self.log("dashboard.log")[-2000:]))

    def _answers(self):
        try:
            return self.ask("GET", "/cluster/list.query")["status"] == 0
        except OSError:
            return False

    def ask(self, method, path, body=None, **fields):
        """One question of a page. Returns the answer: status, data, errMsg."""
        url = "http://127.0.0.1:%d%s" % (self.port, path)
        if fields:
            url += "?" + urllib.parse.urlencode(fields)
        request = urllib.request.Request(
            url, method=method, data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                text = answer.read().decode()
        except urllib.error.HTTPError as error:
            return {"status": error.code, "errMsg": error.read().decode(errors="replace")[:300]}
        try:
            return json.loads(text)
        except ValueError:
            return {"data": text}


# --- what is asked --------------------------------------------------------------------------------


def asked(dashboard):
    """(name, answer, fault) of every question; fault: None, or what is wrong with the values."""
    ask = dashboard.ask
    broker = dashboard.cluster.broker
    now_ms = int(time.time() * 1000)
    span = {"begin": now_ms - 3600000, "end": now_ms + 3600000}
    today = time.strftime("%Y-%m-%d")

    def get(path, check=None, method="GET", body=None, until=False, **fields):
        """until: asked again until the check passes."""
        deadline = time.monotonic() + (PATIENCE_S if until else 0)
        while True:
            answer = ask(method, path, body, **fields)
            fault = None
            if answer.get("status", 0) != 0:
                fault = "status %s: %s" % (answer["status"], answer.get("errMsg"))
            elif check is not None:
                try:
                    if not check(answer.get("data", answer)):
                        fault = "not what was expected: %s" % json.dumps(answer)[:600]
                except (KeyError, IndexError, TypeError) as error:
                    fault = "%r in %s" % (error, json.dumps(answer)[:600])
            if fault is None or time.monotonic() > deadline:
                return path, answer, fault
            time.sleep(0.5)

    def post(path, body=None, check=None, until=False, **fields):
        return get(path, check, "POST", body, until, **fields)

    yield get("/ops/homePage.query", lambda d: dashboard.cluster.namesrv in d["namesvrAddrList"])
    yield get("/ops/rocketMqStatus.query")
    yield get("/rocketmq/nsaddr")
    yield get("/cluster/list.query", lambda d: list(d["brokerServer"]) == ["broker-a"])
    yield get("/cluster/brokerConfig.query", lambda d: d["brokerName"] == "broker-a",
              brokerAddr=broker)

    made = {"clusterNameList": ["DefaultCluster"], "brokerNameList": ["broker-a"],
            "topicName": MADE_TOPIC, "writeQueueNums": 3, "readQueueNums": 3, "perm": 6,
            "order": False}
    yield post("/topic/createOrUpdate.do", made)
    yield get("/topic/list.query", lambda d: {TOPIC, MADE_TOPIC} <= set(d["topicList"]),
              until=True)
    yield get("/topic/list.query", lambda d: TOPIC in d["topicList"], skipSysProcess="true",
              skipRetryAndDlq="true")
    yield get("/topic/route.query", lambda d: d["queueDatas"][0]["writeQueueNums"] == 3,
              topic=MADE_TOPIC)
    yield get("/topic/stats.query",
              lambda d: sum(q["maxOffset"] for q in d["offsetTable"].values()) == 40, topic=TOPIC)
    yield get("/topic/examineTopicConfig.query", lambda d: d[0]["readQueueNums"] == 3,
              topic=MADE_TOPIC)
    sent = post("/topic/sendTopicMessage.do",
                {"topic": TOPIC, "key": "by-page", "tag": "TagP", "messageBody": "sent-by-page"},
                lambda d: d["sendStatus"] == "SEND_OK")
    yield sent
    yield get("/topic/queryConsumerByTopic.query", lambda d: GROUP in d, topic=TOPIC, until=True)
    yield get("/topic/queryTopicConsumerInfo.query", lambda d: GROUP in d["queryConsumerInfo"]
              if "queryConsumerInfo" in d else True, topic=TOPIC)

    group = {"clusterNameList": ["DefaultCluster"], "brokerNameList": ["broker-a"],
             "subscriptionGroupConfig": {
                 "groupName": MADE_GROUP, "consumeEnable": True, "consumeFromMinEnable": True,
                 "consumeBroadcastEnable": True, "retryQueueNums": 2, "retryMaxTimes": 16,
                 "brokerId": 0, "whichBrokerWhenConsumeSlowly": 1}}
    yield post("/consumer/createOrUpdate.do", group)
    yield get("/consumer/groupList.query",
              lambda d: {GROUP, MADE_GROUP} <= {g["group"] for g in d}, until=True)
    yield get("/consumer/group.query", lambda d: d["count"] == 1, consumerGroup=GROUP, until=True)
    yield get("/consumer/examineSubscriptionGroupConfig.query",
              lambda d: d[0]["subscriptionGroupConfig"]["retryQueueNums"] == 2,
              consumerGroup=MADE_GROUP)
    yield get("/consumer/fetchBrokerNameList.query", lambda d: d == ["broker-a"],
              consumerGroup=GROUP)
    yield get("/consumer/queryTopicByConsumer.query", lambda d: d[0]["diffTotal"] >= 0,
              consumerGroup=GROUP, until=True)
    connection = get("/consumer/consumerConnection.query",
                     lambda d: len(d["connectionSet"]) == 1, consumerGroup=GROUP)
    yield connection
    client_id = (connection[1].get("data") or {"connectionSet": [{}]})["connectionSet"][0].get(
        "clientId", "none")
    for stacks in ("false", "true"):
        yield get("/consumer/consumerRunningInfo.query",
                  lambda d: d["properties"]["PROP_NAMESERVER_ADDR"] != "", consumerGroup=GROUP,
                  clientId=client_id, jstack=stacks)
    yield get("/producer/producerConnection.query", lambda d: len(d["connectionSet"]) == 1,
              producerGroup="dashboard-producer", topic=TOPIC)

    yield get("/message/viewMessage.query",
              lambda d: d["messageView"]["messageBody"] == "body-39" and
              any(t["consumerGroup"] == GROUP and t["trackType"] == "CONSUMED"
                  for t in d["messageTrackList"]),
              until=True, topic=TOPIC, msgId=dashboard.msg_id)
    yield get("/message/queryMessageByTopicAndKey.query", lambda d: d[0]["messageBody"] is None or
              d[0]["msgId"] != "", until=True, topic=TOPIC, key="key-7")
    yield get("/message/queryMessageByTopic.query", lambda d: len(d) == 41, topic=TOPIC, until=True,
              **span)
    page = dict(span, topic=TOPIC, pageNum=1, pageSize=20, taskId="")
    yield post("/message/queryMessagePageByTopic.query", page,
               lambda d: d["page"]["totalElements"] == 41 and len(d["page"]["content"]) == 20)
    yield post("/message/queryMessagePageByTopic.query", dict(page, pageNum=3),
               lambda d: len(d["page"]["content"]) == 1)
    yield post("/message/consumeMessageDirectly.do", None,
               lambda d: d["consumeResult"] == "CR_SUCCESS", topic=TOPIC, consumerGroup=GROUP,
               msgId=dashboard.msg_id, clientId=client_id)
    yield get("/messageTrace/viewMessage.query", topic=TOPIC, msgId=dashboard.msg_id)
    yield get("/messageTrace/viewMessageTraceDetail.query", lambda d: len(d) >= 2, until=True,
              msgId=dashboard.msg_id)
    yield get("/messageTrace/viewMessageTraceGraph.query",
              lambda d: d["producerNode"]["groupName"] == "dashboard-producer", until=True,
              msgId=dashboard.msg_id)

    reset = {"consumerGroupList": [GROUP], "topicList": [TOPIC], "resetTime": now_ms - 3600000,
             "force": True}
    yield post("/consumer/resetOffset.do", reset)
    yield post("/consumer/skipAccumulate.do", dict(reset, resetTime=-1))

    yield get("/dashboard/topicCurrent", until=True)
    yield get("/dashboard/broker.query", date=today)
    yield get("/dashboard/topic.query", date=today, topicName=TOPIC)
    yield post("/monitor/createOrUpdateConsumerMonitor.do", None, consumeGroupName=GROUP,
               minCount=1, maxDiffTotal=100)
    yield get("/monitor/consumerMonitorConfig.query")
    yield get("/monitor/consumerMonitorConfigByGroupName.query", consumeGroupName=GROUP)
    yield post("/monitor/deleteConsumerMonitor.do", None, consumeGroupName=GROUP)

    yield post("/consumer/deleteSubGroup.do",
               {"groupName": MADE_GROUP, "brokerNameList": ["broker-a"]}, lambda d: d is True)
    yield post("/topic/deleteTopicByBroker.do", None, lambda d: d is True, brokerName="broker-a",
               topic=MADE_TOPIC)
    yield post("/topic/createOrUpdate.do", made)
    yield post("/topic/deleteTopic.do", None, lambda d: d is True, topic=MADE_TOPIC,
               clusterName="DefaultCluster")
    yield get("/topic/list.query", lambda d: MADE_TOPIC not in d["topicList"], until=True)


# --- forms of answers -----------------------------------------------------------------------------

# Members that differ from run to run, not from server to server.
VARYING = [
    (re.compile(r"127\.0\.0\.1:\d+|\d+\.\d+\.\d+\.\d+@[\w#.-]+|\d+@[\w.#-]+"), "ADDRESS"),
    (re.compile(r"queueId=\d+"), "queueId=N"),
]
# Tables whose members depend on the server's kind and build, or on the moment.
OPEN_TABLES = re.compile(r"brokerConfig\.query:data|rocketMqStatus\.query:data"
                         r"|consumerRunningInfo\.query:data/(properties|mqTable|statusTable)"
                         r"|cluster/list\.query:data/brokerServer/[^/]*/[^/]*$"
                         r"|dashboard/.*:data")


def form(path, value, out):
    name = path
    for pattern, word in VARYING:
        name = pattern.sub(word, name)
    if OPEN_TABLES.search(name) or value is None:
        return
    if isinstance(value, dict):
        for member, part in value.items():
            form("%s/%s" % (path, member), part, out)
    elif isinstance(value, list):
        for part in value:
            form(path + "[]", part, out)
    else:
        out.add((name, "number" if isinstance(value, (int, float)) and
                 not isinstance(value, bool) else type(value).__name__))


def forms(answers):
    out = set()
    for path, answer, _ in answers:
        form(path + ":data", answer.get("data", answer), out)
    return out


def main():
    jar = sys.argv[1]
    verbose = "-v" in sys.argv[2:]
    found = {}
    failures = []
    passed = 0
    for apache in (False, True):
        with Dashboard(apache, jar) as dashboard:
            found[apache] = []
            for answer in asked(dashboard):
                found[apache].append(answer)
                if answer[2] is None:
                    passed += not apache
                else:
                    failures += [(dashboard.name, answer[0], answer[2])] if not apache else []
                    print("%s %s: %s" % (dashboard.name, answer[0], answer[2]), flush=True)
    ours, theirs = forms(found[False]), forms(found[True])
    for title, names in (("only Apache's answers have", theirs - ours),
                         ("only ours have", ours - theirs)):
        names = sorted("%s (%s)" % name for name in names)
        if names:
            failures.append(("forms", title, "%d members" % len(names)))
            print("%s:" % title)
            for name in names if verbose else names[:40]:
                print("  %s" % name)
    passed += ours == theirs
    print("dashboard: %d passed, %d failed" % (passed, len(failures)))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
