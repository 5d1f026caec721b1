# SPDX-License-Identifier: Apache-2.0
"""Real clients as members of a soak: none yet."""
import json
RETRYING = ()
MODELS = {}
def lines():
    return []
def command(role, settings, namesrv):
    return None
def pack(settings):
    return json.dumps(settings)
