#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The schema holds every command header of RocketMQ 4.9.2: each class of test/data/headers.tsv
(read out of the published jars by reflection) is a message of proto/header.proto, with the same
fields, types and required marks; and every code of proto/command.def names headers that exist."""

import os
import re
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TYPES = {"String": "string", "Integer": "int32", "int": "int32", "Long": "int64", "long": "int64",
         "Boolean": "bool", "boolean": "bool", "List": "string"}


def read(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as file:
        return file.read()


def wire_name(field):
    return re.sub("_(.)", lambda match: match.group(1).upper(), field)


def schema_messages():
    """name -> {wire name: (label, type)}"""
    messages = {}
    for name, body in re.findall(r"^message (\w+) \{(.*?)\}", read("proto", "header.proto"),
                                 re.MULTILINE | re.DOTALL):
        fields = re.findall(r"(required|optional|repeated) (\w+) (\w+) = (\d+);", body)
        messages[name] = {wire_name(field): (label, kind) for label, kind, field, _ in fields}
    return messages


def java_classes():
    """name -> {field: (type, marked required)}"""
    classes = {}
    for line in read("test", "data", "headers.tsv").splitlines()[1:]:
        version, name, field, kind, marked = line.split("\t")[:5]
        if version != "4.9.2":
            continue
        fields = classes.setdefault(name, {})
        if field != "-":
            fields[field] = (kind, marked == "required")
    return classes


class Schema(unittest.TestCase):
    def test_every_header_class_is_a_message(self):
        messages = schema_messages()
        classes = java_classes()
        self.assertEqual(len(classes), 79)
        for name, fields in classes.items():
            with self.subTest(name):
                self.assertIn(name, messages)
                self.assertEqual(set(messages[name]), set(fields))
                for field, (kind, required) in fields.items():
                    label, schema_kind = messages[name][field]
                    self.assertEqual(schema_kind, TYPES[kind], field)
                    if kind != "List":
                        self.assertEqual(label == "required", required, field)

    def test_the_letters_of_v2_have_the_numbers_of_v1(self):
        text = read("proto", "header.proto")
        def numbers(name):
            body = re.search(r"^message %s \{(.*?)\}" % name, text, re.M | re.S).group(1)
            return re.findall(r"(\w+) (\w+) = (\d+);(?:  // (\w+))?", body)
        v1 = {wire_name(field): number for _, field, number, _ in numbers("SendMessageRequestHeader")}
        for _, letter, number, meaning in numbers("SendMessageRequestHeaderV2"):
            self.assertEqual(v1[meaning], number, letter)

    def test_commands_name_headers_that_exist(self):
        messages = schema_messages()
        rows = re.findall(r"^X\((\d+), (\w+), (\w+), (\w+), (\w+), (\w+), (\w+)\)",
                          read("proto", "command.def"), re.MULTILINE)
        self.assertEqual(len(rows), 111)  # 94 of 4.9.2, 1 of 4.9.4, 15 of 5.3.3, 1 our own
        self.assertEqual(len({code for code, *_ in rows}), 111)
        for _, name, request, response, *_ in rows:
            for header in (request, response):
                if header != "None":
                    self.assertIn(header, messages, name)


if __name__ == "__main__":
    result = unittest.main(exit=False, verbosity=0).result
    failed = len(result.failures) + len(result.errors)
    print(f"schema: {max(result.testsRun - failed, 0)} passed, {failed} failed")
    raise SystemExit(failed != 0)
