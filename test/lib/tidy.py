#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks of the tree that a compiler does not make. Prints FILE:LINE: what is wrong [rule].

rules
  include     a room includes only itself and the rooms behind LINK_<room> in the Makefile
  license     the first lines of a source file carry the SPDX identifier
  function    a C function is at most FUNCTION_LINES lines long
  file        a C file is at most FILE_LINES lines long
  column      a line of C is at most COLUMNS columns wide
  banned      calls that cannot be used safely, or not in this program
  wait        unit tests do not sleep() whole seconds: they poll a condition
  path        nothing in the tree names a folder of one person's machine, or leads out of the tree
  format      clang-format agrees (where it is installed)

test/tidy.allow lists exceptions, one per line: `RULE FILE NAME reason`, where NAME is the function,
call or `*`. An exception that is not needed any more is an error too, so the list only shrinks.
"""
import os
import re
import shutil
import subprocess
import sys

FUNCTION_LINES = 70
FILE_LINES = 800
COLUMNS = 100
ALLOW = "test/tidy.allow"
SKIPPED_FOLDERS = re.compile(r"^(build[^/]*|test/data|test/fuzz/corpus|test/interop/java/target|"
                             r"\.git)(/|$)")
LICENSED = (".c", ".h", ".sh", ".py", ".java", ".go", ".proto", ".def")
BANNED = ("strcpy", "strcat", "sprintf", "vsprintf", "gets", "atoi", "atol", "strtok", "system",
          "alloca")
# Somebody's home folder; $HOME and ~ are the ways to speak of one.
HOME_PATHS = re.compile(r"(?<![\w.$})/])/(?:home/\w|root/|Users/\w)")
UPWARDS = re.compile(r"(?<![\w./])(?:\.\./)+\w")


class Tidy:
    def __init__(self):
        self.problems = []
        self.allowed = {}
        self.used = set()
        self.files = sorted(list_files())
        self.read_allow()

    def read_allow(self):
        if not os.path.exists(ALLOW):
            return
        with open(ALLOW) as file:
            for number, line in enumerate(file, 1):
                if not line.strip() or line.startswith("#"):
                    continue
                parts = line.split(None, 3)
                if len(parts) < 4:
                    self.problems.append((ALLOW, number, "write: RULE FILE NAME reason", "allow"))
                    continue
                self.allowed[tuple(parts[:3])] = number

    def report(self, path, line, text, rule, name="*"):
        key = (rule, path, name)
        if key in self.allowed:
            self.used.add(key)
            return
        self.problems.append((path, line, text, rule))

    def run(self):
        rooms = read_rooms()
        for path in self.files:
            with open(path, "rb") as file:
                raw = file.read()
            if b"\0" in raw:
                continue
            text = raw.decode("utf-8", "replace")
            lines = text.split("\n")
            self.check_common(path, lines)
            if path.endswith((".c", ".h")):
                self.check_c(path, lines, rooms)
        self.check_format()
        for key in sorted(set(self.allowed) - self.used):
            self.problems.append((ALLOW, self.allowed[key],
                                  "the exception %s is not needed any more" % " ".join(key),
                                  "allow"))
        for path, line, text, rule in sorted(self.problems):
            print("%s:%d: %s [%s]" % (path, line, text, rule))
        checked = len(self.files)
        print("tidy: %d passed, %d failed" % (checked - len({p[0] for p in self.problems}),
                                             len({p[0] for p in self.problems})))
        return 1 if self.problems else 0

    def check_common(self, path, lines):
        first_lines = "\n".join(lines[:4])
        script = lines[0].startswith("#!")
        if (path.endswith(LICENSED) or script) and "SPDX-License-Identifier: Apache-2.0" \
                not in first_lines:
            self.report(path, 1, "the first line must be the SPDX licence identifier", "license")
        depth = path.count("/")
        for number, line in enumerate(lines, 1):
            if HOME_PATHS.search(line):
                self.report(path, number, "this names a path of one machine", "path")
            elif any(up.group().count("../") > depth for up in UPWARDS.finditer(line)):
                self.report(path, number, "this leads out of the tree", "path")

    def check_c(self, path, lines, rooms):
        code = strip_comments(lines)
        if len(lines) - 1 > FILE_LINES:
            self.report(path, FILE_LINES + 1, "%d lines; at most %d: split the module"
                        % (len(lines) - 1, FILE_LINES), "file")
        for number, line in enumerate(lines, 1):
            if len(line) > COLUMNS and not line.startswith(("X(", '    {"')):
                self.report(path, number, "%d columns; at most %d" % (len(line), COLUMNS), "column")
        self.check_includes(path, lines, rooms)
        for number, line in enumerate(code, 1):
            for call in re.findall(r"(?<![\w.>])(\w+)\s*\(", line):
                if call in BANNED:
                    self.report(path, number, "%s() is banned" % call, "banned", call)
                if call == "sleep" and path.startswith("test/unit/"):
                    self.report(path, number, "sleep() in a test: poll the condition instead",
                                "wait", call)
        for name, start, length in functions(code):
            if length > FUNCTION_LINES:
                self.report(path, start, "%s has %d lines; at most %d"
                            % (name, length, FUNCTION_LINES), "function", name)

    def check_includes(self, path, lines, rooms):
        own = room_of(path, rooms)
        if own is None:
            return
        allowed = rooms[own][1]
        for number, line in enumerate(lines, 1):
            found = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
            if found is None:
                continue
            other = room_of(found.group(1), rooms)
            if other is not None and other not in allowed:
                self.report(path, number, "%s (room %s) includes %s (room %s); LINK_%s in the "
                            "Makefile allows: %s" % (path, own, found.group(1), other, own,
                                                     " ".join(allowed)), "include", other)
            elif other is None and not os.path.exists(found.group(1)) \
                    and not found.group(1).endswith((".pb-c.h", ".def")):
                self.report(path, number, 'include "%s" by its path from the top' % found.group(1),
                            "include", found.group(1))

    def check_format(self):
        tool = shutil.which("clang-format")
        if tool is None:
            print("tidy: clang-format is not installed; layout was not checked")
            return
        sources = [p for p in self.files if p.endswith((".c", ".h"))]
        for start in range(0, len(sources), 40):
            result = subprocess.run([tool, "--dry-run", "-Werror"] + sources[start:start + 40],
                                    capture_output=True, text=True)
            seen = set()
            for found in re.finditer(r"^([^:\n]+):(\d+):\d+: error:", result.stderr, re.M):
                if found.group(1) not in seen:
                    seen.add(found.group(1))
                    self.report(found.group(1), int(found.group(2)),
                                "clang-format would change this; run make format", "format")


def list_files():
    if os.path.isdir(".git") and shutil.which("git"):
        listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard",
                                 "-z"], capture_output=True, text=True).stdout.split("\0")
    else:
        listed = [os.path.relpath(os.path.join(folder, name), ".")
                  for folder, _, names in os.walk(".") for name in names]
    return [p for p in set(listed)
            if p and not SKIPPED_FOLDERS.match(p) and os.path.isfile(p) and not os.path.islink(p)]


def read_rooms():
    """{room: (folder, [rooms it may use])} from the Makefile."""
    with open("Makefile") as file:
        text = file.read()
    folders = dict(re.findall(r"^DIR_(\w+)\s*:=\s*(\S+)", text, re.M))
    links = dict(re.findall(r"^LINK_(\w+)\s*:=\s*(.+)$", text, re.M))
    return {room: (folder, links.get(room, room).split()) for room, folder in folders.items()}


def room_of(path, rooms):
    """The room whose folder holds the path directly or below, or None (mains, tests)."""
    if path.endswith("/main.c"):
        return None
    best = None
    for room, (folder, _) in rooms.items():
        if path.startswith(folder + "/") and (best is None or len(folder) > len(rooms[best][0])):
            best = room
    return best


def strip_comments(lines):
    """The lines without comments, strings and character constants, so that braces count."""
    text = "\n".join(lines)
    pattern = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
    blank = pattern.sub(lambda m: re.sub(r"[^\n]", " ", m.group(0)), text)
    return blank.split("\n")


def functions(code):
    """(name, first line, lines) of every function body that opens with a brace in column 0."""
    found = []
    start = None
    for number, line in enumerate(code, 1):
        if line == "{" and start is None:
            start = number
        elif line.startswith("}") and start is not None:
            head = start - 1
            while head > 1 and code[head - 2].strip() and not code[head - 2].startswith(("}", "#")):
                head -= 1
            name = re.search(r"(\w+)\s*\(", " ".join(code[head - 1:start - 1]))
            found.append((name.group(1) if name else "?", head, number - head + 1))
            start = None
    return found


if __name__ == "__main__":
    sys.exit(Tidy().run())
