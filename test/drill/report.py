# SPDX-License-Identifier: Apache-2.0
"""What drills have shown, as Markdown and as JSON. A row is a dict of a fault: fault, rounds, acked (answers
SEND_OK), lost, complaints (texts), and the pauses in seconds that its rounds took: client, group,
consumer (checker.pauses).
"""
import json
import statistics

PAUSES = ("client", "group", "consumer")


def summary(values):
    if not values:
        return None
    return {"min": min(values), "median": statistics.median(values), "max": max(values),
            "all": values}


def cell(values):
    if not values:
        return "-"
    return "%.2f / %.2f / %.2f" % (min(values), statistics.median(values), max(values))


def markdown(rows, about):
    lines = ["%s: %s  " % item for item in about.items()]
    lines += ["", "Pauses in seconds: min / median / max of the rounds.", "",
              "| fault | rounds | SEND_OK | lost | client pause | pause of the group | consumer pause |",
              "| --- | --- | --- | --- | --- | --- | --- |"]
    lines += ["| %s | %d | %d | %d | %s |" % (
        row["fault"], row["rounds"], row["acked"], row["lost"],
        " | ".join(cell(row[name]) for name in PAUSES)) for row in rows]
    complaints = [(row["fault"], text) for row in rows for text in row["complaints"]]
    lines += [""] + (["Complaints:", ""] + ["- %s: %s" % one for one in complaints] if complaints
                     else ["No complaints."])
    return "\n".join(lines) + "\n"


def as_json(rows, about):
    drills = [dict(row, **{name: summary(row[name]) for name in PAUSES}) for row in rows]
    return json.dumps({"about": about, "drills": drills}, indent=1) + "\n"
