# SPDX-License-Identifier: Apache-2.0
"""What is made of measured figures: medians, spreads, ratios, the table. Pure: no file, no process.

A figure is a dict of what one run measured. Nothing here invents one: what was not measured is
None and is printed as "-".
"""
import statistics

# member, heading, format, whether its spread is shown
COLUMNS = [
    ("msgs_per_s", "msgs/s", "%.0f", True),
    ("server_cpu_s_per_million", "CPU-s/M", "%.2f", True),
    ("p50_us", "p50 us", "%.0f", False),
    ("p99_us", "p99 us", "%.0f", True),
    ("server_rss_anonymous_kb", "anon MB", "%.1f", False),
    ("client_cpu_pct", "client %", "%.0f", False),
]
SCALES = {"server_rss_anonymous_kb": 1 / 1024}
RATIOS = [("msgs_per_s", "x msgs/s"), ("server_cpu_s_per_million", "x CPU-s/M"),
          ("p99_us", "x p99")]


def values_of(figures, member):
    """The values of one member; runs that did not measure it are left out."""
    return [f[member] for f in figures if f.get(member) is not None]


def median(figures, member):
    values = values_of(figures, member)
    return statistics.median(values) if values else None


def spread(figures, member):
    """(max - min) / median. None with fewer than two values, or when the median is 0."""
    values = values_of(figures, member)
    if len(values) < 2 or statistics.median(values) == 0:
        return None
    return (max(values) - min(values)) / statistics.median(values)


def ratio(mine, theirs):
    """None when either is missing or the base is 0."""
    if mine is None or not theirs:
        return None
    return mine / theirs


def percent(value):
    return "" if value is None else " (%.0f%%)" % (100 * value)


def cell(figures, member, form, with_spread, scale=1):
    """A median and, in parentheses, its spread."""
    value = median(figures, member)
    if value is None:
        return "-"
    return form % (value * scale) + (percent(spread(figures, member)) if with_spread else "")


def times(value):
    return "-" if value is None else "%.3gx" % value


def rate_rows(results, cases):
    """Lines of the table of rates. results: {server: {case: [figure]}}, the base of the ratios
    last; cases: names in order. Cases that nobody ran have no line."""
    servers = list(results)
    base = results[servers[-1]] if len(servers) > 1 else None
    lines = ["%-16s %-7s" % ("case", "server") +
             "".join("%14s" % heading for _, heading, _, _ in COLUMNS) +
             ("".join("%12s" % heading for _, heading in RATIOS) if base is not None else "")]
    for case in cases:
        for server in servers:
            figures = results[server].get(case)
            if not figures or not values_of(figures, "msgs_per_s"):
                continue
            line = "%-16s %-7s" % (case, server)
            for member, _, form, with_spread in COLUMNS:
                line += "%14s" % cell(figures, member, form, with_spread, SCALES.get(member, 1))
            if base is not None and results[server] is not base:
                for member, _ in RATIOS:
                    line += "%12s" % times(ratio(median(figures, member),
                                                 median(base.get(case, []), member)))
            lines.append(line.rstrip())
    return lines if len(lines) > 1 else []


def value_rows(results, rows):
    """Lines for figures that are no rates. rows: (case, member, title, format, scale)."""
    servers = list(results)
    lines = []
    for case, member, title, form, scale in rows:
        if not any(results[server].get(case) for server in servers):
            continue
        line = "%-16s %-46s" % (case, title)
        for server in servers:
            line += "%20s" % ("%s %s" % (server, cell(results[server].get(case, []), member, form,
                                                      True, scale)))
        if len(servers) > 1:
            line += "%10s" % times(ratio(median(results[servers[0]].get(case, []), member),
                                         median(results[servers[-1]].get(case, []), member)))
        lines.append(line)
    return lines


def judge(goal, results):
    """(measured value or None, reached: True, False or None) of one goal.

    goal: (case, member, "ratio" or "value", ">=" or "<=", bound); a ratio is that of the medians,
    ours to Apache's."""
    case, member, kind, relation, bound = goal
    value = median(results.get("ours", {}).get(case, []), member)
    if kind == "ratio":
        value = ratio(value, median(results.get("apache", {}).get(case, []), member))
    if value is None:
        return None, None
    return value, value >= bound if relation == ">=" else value <= bound


def goal_rows(results, goals, chosen):
    lines = []
    for goal in goals:
        case, member, kind, relation, bound = goal
        if case not in chosen:
            continue
        value, reached = judge(goal, results)
        verdict = {True: "reached", False: "MISSED", None: "not measured"}[reached]
        lines.append("%-16s %-26s %s %-8s measured %-9s %s" % (
            case, member, relation, "%.3g%s" % (bound, "x" if kind == "ratio" else ""),
            "-" if value is None else "%.3g%s" % (value, "x" if kind == "ratio" else ""), verdict))
    return lines


# --- parsing --------------------------------------------------------------------------------------


def parse_status(text):
    """The members of /proc/PID/status that are sizes, in kB."""
    sizes = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if len(words) == 2 and words[1] == "kB" and words[0].isdigit():
            sizes[name] = int(words[0])
    return sizes


def parse_mappings(text, folder):
    """(start, length, path) of each mapping in /proc/PID/maps of a file below `folder`."""
    found = []
    for line in text.splitlines():
        fields = line.split(None, 5)
        if len(fields) == 6 and fields[5].startswith(folder + "/") and \
                not fields[5].endswith(" (deleted)"):
            start, end = (int(part, 16) for part in fields[0].split("-"))
            found.append((start, end - start, fields[5]))
    return found


def parse_cases(text, known, sets):
    """Names of cases and sets, separated by commas or blanks, in the order of `known`; "" is all.
    Raises ValueError with the names that do not exist."""
    words = text.replace(",", " ").split()
    wrong = [word for word in words if word not in known and word not in sets]
    if wrong:
        raise ValueError(", ".join(wrong))
    wanted = {case for word in words for case in sets.get(word, [word])}
    return [case for case in known if case in wanted or not words]


# --- sizes ----------------------------------------------------------------------------------------

QUEUE_ENTRY_BYTES = 20
INDEX_FILE_BYTES = 40 + 5_000_000 * 4 + 20_000_000 * 20
INDEX_FILE_KEYS = 20_000_000
SEGMENT_BYTES = 1 << 30


def disk_bytes(messages, record_bytes, keys):
    """What so many messages need on disk: records, queue entries, whole index files, and the
    segments that are made ahead."""
    files = -(-messages * keys // INDEX_FILE_KEYS)
    return (messages * (record_bytes + QUEUE_ENTRY_BYTES) + files * INDEX_FILE_BYTES +
            2 * SEGMENT_BYTES)


def messages_that_fit(free_bytes, record_bytes, keys):
    """The largest number of messages, in whole millions, for which disk_bytes is at most that."""
    millions = 0
    while disk_bytes((millions + 1) * 1_000_000, record_bytes, keys) <= free_bytes:
        millions += 1
    return millions * 1_000_000


def growth(samples):
    """By how much the second half's median is above the first half's: (absolute, relative)."""
    half = len(samples) // 2
    if half == 0:
        return None, None
    first, second = statistics.median(samples[:half]), statistics.median(samples[-half:])
    return second - first, (second - first) / first if first else None
