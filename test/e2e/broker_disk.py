# SPDX-License-Identifier: Apache-2.0
"""A disk that is really full: a small file system of its own, filled from outside and by messages.
Messages are refused with 4.9.2's code and words that a person can act on, reading goes on, what was
acknowledged is there, and messages are taken again soon after there is room.

Needs the right to mount; skipped without it. Source of the rules: docs/store.md, "Cleaning"; ST7-05
in DefaultMessageStore of 4.9.2.
"""

import errno
import os
import shutil
import subprocess
import tempfile
import unittest

import rocketmq
from broker import (Broker, PULL_NOT_FOUND, SUCCESS, SYSTEM_ERROR, UPDATE_CONFIG)
from rocketmq import wait_until

SERVICE_NOT_AVAILABLE = 14
DELETE_EXPIRED_COMMITLOG = 329
DISK_BYTES = 64 << 20
TOPIC = "T"
QUEUES = 4


class SmallDisk:
    """A mounted file system of DISK_BYTES."""

    def __init__(self, test):
        self.path = tempfile.mkdtemp(prefix="disk.")
        test.addCleanup(shutil.rmtree, self.path, True)
        mount = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs",
                                self.path], capture_output=True, text=True, check=False)
        if mount.returncode != 0:
            test.skipTest(f"cannot mount a file system: {mount.stderr.strip()}")
        test.addCleanup(subprocess.run, ["umount", "-l", self.path], check=False)

    def filler(self):
        return os.path.join(self.path, "filler")

    def fill(self, leave_bytes):
        """Take all but so many bytes."""
        at = os.statvfs(self.path)
        size = at.f_bavail * at.f_frsize - leave_bytes
        with open(self.filler(), "wb", buffering=0) as file:
            if leave_bytes > 0:
                os.posix_fallocate(file.fileno(), 0, size)
                return
            try:
                while True:
                    file.write(b"f" * 4096)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise

    def free(self):
        os.remove(self.filler())


class Disk(unittest.TestCase):
    def broker(self, **options):
        broker = Broker(mappedFileSizeCommitLog=4 << 20, mappedFileSizeConsumeQueue=6000000,
                        **options)
        self.addCleanup(broker.remove)
        broker.start()
        self.connect(broker)
        self.assertEqual(self.client.create_topic(TOPIC, QUEUES).code, SUCCESS)
        self.acknowledged = {}
        return broker

    def connect(self, broker):
        self.client = broker.client()
        self.addCleanup(self.client.close)

    def put(self, body, queue_id=0):
        answer = self.client.produce(TOPIC, body, queue_id)
        if answer.code == SUCCESS:
            place = queue_id, int(answer.ext["queueOffset"])
            self.assertNotIn(place, self.acknowledged)
            self.acknowledged[place] = body
        return answer

    def put_some(self, count, size=100):
        for i in range(count):
            self.assertEqual(self.put(b"%d-" % i + os.urandom(size), i % QUEUES).code, SUCCESS)

    def refused(self):
        answer = self.put(b"x")
        return answer if answer.code == SERVICE_NOT_AVAILABLE else None

    def all_is_there(self):
        """Every acknowledged message at its place, and nothing but what was sent beside them."""
        for queue_id in range(QUEUES):
            wanted = {offset: body for (queue, offset), body in self.acknowledged.items()
                      if queue == queue_id}
            if wanted:
                wait_until(lambda: self.client.max_offset(TOPIC, queue_id) > max(wanted),
                           "all is readable")
            records = {record.queue_offset: record.body
                       for record in self.client.read_queue(TOPIC, queue_id)}
            self.assertEqual({offset: records.get(offset) for offset in wanted}, wanted)

    def resumes(self):
        wait_until(lambda: self.put(b"again").code == SUCCESS, "messages are taken again")

    def survives(self, broker):
        """A clean stop and a start, then kill -9 and a start: everything is there."""
        self.assertEqual(broker.stop(), 0)
        broker.start()
        self.connect(broker)
        self.all_is_there()
        self.put_some(20)
        broker.kill()
        broker.start()
        self.connect(broker)
        self.all_is_there()

    def check_words(self, answer, *words):
        """words   regular expressions"""
        self.assertEqual(answer.code, SERVICE_NOT_AVAILABLE)
        for word in ("service not available now", "CL: ") + words:
            self.assertRegex(answer.remark, word)

    def test_filled_from_outside(self):
        """Above diskSpaceWarningLevelRatio, long before a write fails."""
        disk = SmallDisk(self)
        broker = self.broker(storePathRootDir=os.path.join(disk.path, "store"))
        self.put_some(200)
        held = broker.client()
        self.addCleanup(held.close)
        disk.fill(DISK_BYTES // 20)
        answer = wait_until(self.refused, "messages are refused")
        self.check_words(answer, f"the disk of {disk.path}/store(/commitlog)? is 9[56] % full",
                         r"\([23] MiB are free\)", "above 90 %", "free disk space")
        self.all_is_there()
        self.assertEqual(self.client.pull(TOPIC, 0, self.client.max_offset(TOPIC)).code,
                         PULL_NOT_FOUND)
        self.assertEqual(self.refused().code, SERVICE_NOT_AVAILABLE)
        disk.free()
        self.resumes()
        # The limit may be moved while the broker runs, also by bytes.
        self.client.call(UPDATE_CONFIG, body=b"diskFreeBytesMin=%d" % DISK_BYTES)
        self.check_words(wait_until(self.refused, "messages are refused"), "64 MiB",
                         "diskFreeBytesMin")
        self.client.call(UPDATE_CONFIG, body=b"diskFreeBytesMin=0")
        self.resumes()
        self.survives(broker)

    def test_filled_by_messages(self):
        """With the ratio out of the way the log itself finds no space."""
        disk = SmallDisk(self)
        broker = self.broker(storePathRootDir=os.path.join(disk.path, "store"),
                             diskSpaceWarningLevelRatio=100, cleanFileForciblyEnable="false")
        disk.fill(DISK_BYTES // 2)
        answer = self.put(b"first")
        while answer.code == SUCCESS:
            answer = self.put(os.urandom(60000), len(self.acknowledged) % QUEUES)
            self.assertLess(len(self.acknowledged) * 60000, DISK_BYTES)
        # The message that met it learns that there is no file, those behind it why.
        self.assertIn(answer.code, (SYSTEM_ERROR, SERVICE_NOT_AVAILABLE))
        answer = wait_until(self.refused, "messages are refused")
        self.check_words(answer, os.path.join(disk.path, "store", "commitlog"))
        self.all_is_there()
        disk.free()
        self.resumes()
        self.all_is_there()
        self.survives(broker)

    def test_full_disk_of_the_queues(self):
        """Log and queues on two disks; that of the queues has not a byte left."""
        disk = SmallDisk(self)
        logs = tempfile.mkdtemp(prefix="logs.")
        self.addCleanup(shutil.rmtree, logs, True)
        broker = self.broker(storePathRootDir=os.path.join(disk.path, "store"),
                             storePathCommitLog=logs, diskSpaceWarningLevelRatio=100)
        self.put_some(100)
        self.all_is_there()
        before = dict(self.acknowledged)
        disk.fill(0)
        answer = None
        while answer is None:
            answer = self.refused()
            self.assertLess(len(self.acknowledged), 100000)
        self.check_words(answer, "consume queues", os.path.join(disk.path, "store"),
                         "free disk space")
        for queue_id in range(QUEUES):
            bodies = [record.body for record in self.client.read_queue(TOPIC, queue_id)]
            for offset in range(25):
                self.assertEqual(bodies[offset], before[queue_id, offset])
        disk.free()
        self.resumes()
        self.all_is_there()
        self.survives(broker)

    def test_the_ratio_names_the_right_disk(self):
        """That of the queues is too full, that of the log is not."""
        disk = SmallDisk(self)
        logs = tempfile.mkdtemp(prefix="logs.")
        self.addCleanup(shutil.rmtree, logs, True)
        root = os.path.join(disk.path, "store")
        broker = self.broker(storePathRootDir=root, storePathCommitLog=logs,
                             diskSpaceWarningLevelRatio=98)
        disk.fill(DISK_BYTES // 100)
        answer = wait_until(self.refused, "messages are refused")
        self.check_words(answer, f"the disk of {root} is (99|100) % full", "above 98 %")
        self.assertNotIn(logs, answer.remark)
        disk.free()
        self.resumes()
        self.assertEqual(self.client.call(DELETE_EXPIRED_COMMITLOG).code, SUCCESS)
        self.all_is_there()
        self.assertEqual(broker.stop(), 0)


if __name__ == "__main__":
    rocketmq.main("broker_disk")
