# SPDX-License-Identifier: Apache-2.0
"""What the machine does while something is measured: the disk's queue, the page cache, memory.
Linux only; what a kernel does not offer is said, not guessed.
"""
import ctypes
import mmap
import os
import tempfile
import threading
import time

import figures

SETTLED_KB = 16 * 1024  # dirty pages that may remain
SETTLE_SECONDS = float(os.environ.get("SETTLE_SECONDS", "120"))  # 0: no waiting, for trials
MADV_PAGEOUT = 21
FILLED_PART = 4 << 20
SYS_PROCESS_MADVISE = 440
PAGE = mmap.PAGESIZE

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int,
                      ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]


class Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


def read_text(path):
    with open(path) as file:
        return file.read()


def memory_of(pid):
    """RssAnon, RssFile, VmRSS, VmHWM ... of a process, in kB."""
    return figures.parse_status(read_text("/proc/%d/status" % pid))


def waiting_kb():
    """Pages on their way to the disk."""
    sizes = figures.parse_status(read_text("/proc/meminfo"))
    return sizes["Dirty"] + sizes["Writeback"]


def settle():
    """Wait until the disk has nothing more to write: the kernel slows down whoever writes while
    another's pages are on their way. Others on this machine may keep it busy; then, after a while,
    measuring goes on all the same and the caller is told (False)."""
    if SETTLE_SECONDS <= 0:
        return True
    deadline = time.monotonic() + SETTLE_SECONDS
    os.sync()
    while waiting_kb() > SETTLED_KB:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


class FullMemory:
    """Memory as that of a server that has run for long: what is free is filled with the page cache
    of a file of nothing, from which the kernel takes pages for what is measured.

    A virtual machine may give free memory back to its host, and the first use of a page then costs
    it as much as the copy of 10 KB and more, which says nothing about who is measured. On any other
    machine this changes little and takes little."""

    def __init__(self, folder):
        self.file = tempfile.TemporaryFile(dir=folder)
        self.size = 0

    def fill(self):
        """What was freed since the last time, too. Takes up to 4 us per KB."""
        begin = self.size
        self.size += figures.parse_status(read_text("/proc/meminfo"))["MemFree"] * 1024
        part = bytearray(FILLED_PART)
        self.file.truncate(self.size)
        for at in range(begin, self.size, FILLED_PART):
            os.preadv(self.file.fileno(), [part], at)

    def close(self):
        self.file.close()


def on_memory_disk(folder):
    """Whether a folder lies on a file system without a disk."""
    best = ("", "")
    for line in read_text("/proc/mounts").splitlines():
        fields = line.split()
        where = fields[1].rstrip("/")
        if (os.path.realpath(folder) + "/").startswith(where + "/") and len(where) >= len(best[0]):
            best = (where, fields[2])
    return best[1] in ("tmpfs", "ramfs")


def free_bytes(folder):
    space = os.statvfs(folder)
    return space.f_bavail * space.f_frsize


def total_bytes(folder):
    """As servers count for their disk rules: without what is reserved for root."""
    space = os.statvfs(folder)
    return (space.f_blocks - space.f_bfree + space.f_bavail) * space.f_frsize


# --- the page cache -------------------------------------------------------------------------------


def resident_bytes(path):
    """How much of a file is in the page cache (mincore(2))."""
    size = os.path.getsize(path)
    if size == 0:
        return 0
    fd = os.open(path, os.O_RDWR)
    try:
        at = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, fd, 0)
        if at in (None, ctypes.c_void_p(-1).value):
            raise OSError(ctypes.get_errno(), "mmap of %s failed" % path)
        pages = -(-size // PAGE)
        flags = ctypes.create_string_buffer(pages)
        failed = libc.mincore(at, size, flags)
        libc.munmap(at, size)
        if failed:
            raise OSError(ctypes.get_errno(), "mincore of %s failed" % path)
    finally:
        os.close(fd)
    # Only the lowest bit of each byte is defined.
    return sum(flags.raw.count(value) for value in range(1, 256, 2)) * PAGE


def page_out(pid, folder, paths):
    """Take the pages of `paths` that a process has mapped out of its page tables and of the page
    cache. Without the right to (or before Linux 5.10) nothing happens."""
    wanted = set(paths)
    ranges = [(start, length) for start, length, path
              in figures.parse_mappings(read_text("/proc/%d/maps" % pid), folder) if path in wanted]
    if not ranges:
        return
    pidfd = os.pidfd_open(pid)
    try:
        for start, length in ranges:
            # The kernel may stop part of the way, and says how far it came.
            while length > 0:
                vector = Vector(start, length)
                done = libc.syscall(SYS_PROCESS_MADVISE, pidfd, ctypes.byref(vector),
                                    ctypes.c_size_t(1), MADV_PAGEOUT, ctypes.c_uint(0))
                if done <= 0:
                    break
                start += done
                length -= done
    finally:
        os.close(pidfd)


def drop_from_cache(pid, folder, paths):
    """Make files cold while the process that serves them goes on. Returns the bytes that stayed in
    the page cache all the same."""
    os.sync()
    page_out(pid, folder, paths)
    for path in paths:
        fd = os.open(path, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)
    return sum(resident_bytes(path) for path in paths)


# --- memory over time -----------------------------------------------------------------------------


class MemoryWatch(threading.Thread):
    """Samples a process's anonymous memory until told to stop."""

    PAUSE_SECONDS = 0.2

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid = pid
        self.peak_kb = 0
        self.ended = threading.Event()

    def run(self):
        while not self.ended.wait(self.PAUSE_SECONDS):
            try:
                self.peak_kb = max(self.peak_kb, memory_of(self.pid).get("RssAnon", 0))
            except OSError:
                return

    def stop(self):
        self.ended.set()
        self.join()
        return self.peak_kb
