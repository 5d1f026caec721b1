# SPDX-License-Identifier: Apache-2.0
"""Real clients as members of a soak: Apache's Go client (test/interop/go) and Apache's Java client of
4.9.2 (test/interop/java), where they can be built.

Another client is a program that takes a role, the settings of members.py as JSON and the name server,
writes a history, and ends on SIGTERM. It does not tell its tenures and commits; the models for such
clients are the blind ones of checker.py. SOAK_REAL=0 leaves real clients out, SOAK_JAVA=0 the Java ones,
which take a second of both processors each time one comes.
"""
import json
import os
import shutil
import subprocess

import servers

MODELS = {"go-shared": "shared-blind", "go-ordered": "ordered-blind",
          "java-ordered": "ordered-blind"}
GO_LINES = [("go-sync", "soak-plain", None, 1), ("go-shared", "soak-plain", "soak-go-shared", 2),
            ("go-ordered", "soak-order", "soak-go-ordered", 2)]
JAVA_LINES = [("java-ordered", "soak-order", "soak-java-ordered", 2),
              ("java-transactional", "soak-half", None, 1)]
BUILD_SECONDS = 600
JAVA = os.path.join(servers.ROOT, "test", "interop", "java")


class Clients:
    """`lines`: as in soak.py, of the clients that are there."""

    def __init__(self):
        self.lines = []
        self.go = os.path.join(servers.BUILD, "test", "interop", "go-client")
        if os.environ.get("SOAK_REAL") == "0":
            return
        if self.builds("Go", "go", ["go", "build", "-o", self.go, "."],
                       os.path.join(servers.ROOT, "test", "interop", "go")):
            self.lines += GO_LINES
        if os.environ.get("SOAK_JAVA") != "0" and self.builds(
                "Java", "mvn", ["sh", os.path.join(JAVA, "build")], JAVA):
            self.lines += JAVA_LINES

    @staticmethod
    def builds(name, tool, command, folder):
        if shutil.which(tool) is None:
            print("soak: %s is missing, so the %s client takes no part" % (tool, name), flush=True)
            return False
        built = subprocess.run(command, capture_output=True, text=True, cwd=folder,
                               timeout=BUILD_SECONDS)
        if built.returncode != 0:
            print("soak: the %s client takes no part, it could not be built: %s"
                  % (name, (built.stderr + built.stdout).strip()[-300:]), flush=True)
        return built.returncode == 0

    def command(self, role, settings, namesrv):
        """What to run for a role, or None when it is none of a real client."""
        if role in [line[0] for line in GO_LINES]:
            return [self.go, "member", role, json.dumps(settings), namesrv]
        if role in [line[0] for line in JAVA_LINES]:
            folder = os.path.dirname(settings["history"])
            return ["java", "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
                    "-Duser.home=" + folder, "-Drocketmq.client.logUseSlf4j=true", "-cp",
                    "%s/target/interop.jar:%s/target/lib/*" % (JAVA, JAVA),
                    "org.cometmq.soak.Member", role, json.dumps(settings), namesrv]
        return None
