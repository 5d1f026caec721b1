# SPDX-License-Identifier: Apache-2.0
"""Real clients as members of a soak: Apache's Go client (test/interop/go, where it can be built).

Another client is a program that takes a role, the settings of members.py as JSON and the name server,
writes a history, and ends on SIGTERM. It does not tell its tenures and commits; the models for such
clients are the blind ones of checker.py. SOAK_REAL=0 leaves real clients out.
"""
import json
import os
import shutil
import subprocess

import servers

MODELS = {"go-shared": "shared-blind", "go-ordered": "ordered-blind"}
GO_LINES = [("go-sync", "soak-plain", None, 1), ("go-shared", "soak-plain", "soak-go-shared", 2),
            ("go-ordered", "soak-order", "soak-go-ordered", 2)]
BUILD_SECONDS = 300


class Clients:
    """`lines`: as in soak.py, of the clients that are there."""

    def __init__(self):
        self.lines = []
        self.go = os.path.join(servers.BUILD, "test", "interop", "go-client")
        if os.environ.get("SOAK_REAL") == "0":
            return
        if shutil.which("go") is None:
            print("soak: Go is missing, so its client takes no part", flush=True)
            return
        built = subprocess.run(["go", "build", "-o", self.go, "."], capture_output=True, text=True,
                               cwd=os.path.join(servers.ROOT, "test", "interop", "go"),
                               timeout=BUILD_SECONDS)
        if built.returncode == 0:
            self.lines = GO_LINES
        else:
            print("soak: the Go client takes no part, it could not be built: %s"
                  % built.stderr.strip()[-300:], flush=True)

    def command(self, role, settings, namesrv):
        """What to run for a role, or None when it is none of a real client."""
        if role in [line[0] for line in self.lines]:
            return [self.go, "member", role, json.dumps(settings), namesrv]
        return None
