"""Aligned reads and writes past the page cache, with one reused page-aligned buffer per thread.

O_DIRECT is asked for first: it is fast, keeps memory flat and, on reading, is the only way to see what the
disk really holds. Where it is refused (tmpfs, some FUSE and network file systems) the fall-back goes through
the cache, and `past_cache` says so.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
from collections.abc import Iterator
from typing import Final

from dockd.durable import libc

UNIT_BYTES: Final = 1024 * 1024
"""Size of one read or write; 0.5 to 4 MiB measured best, more spills the processor's cache."""

ALIGNMENT_BYTES: Final = 4096
_SYNC_RANGE_WAIT_WRITE = 7
_REFUSED = (errno.EINVAL, errno.EOPNOTSUPP)


class Buffer:
    """A page-aligned buffer of one I/O unit, for use by one thread."""

    def __init__(self, size_bytes: int = UNIT_BYTES) -> None:
        self._map = mmap.mmap(-1, size_bytes)
        self.view = memoryview(self._map)

    def __len__(self) -> int:
        return len(self.view)


def clear_direct(fd: int) -> None:
    """Turn O_DIRECT off on an open file."""
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    fcntl.fcntl(fd, fcntl.F_SETFL, flags & ~os.O_DIRECT)


def set_direct(fd: int) -> bool:
    """Turn O_DIRECT on; False where the file system refuses."""
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    try:
        fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_DIRECT)
    except OSError as error:
        if error.errno in _REFUSED:
            return False
        raise
    return True


class Reader:
    """Reads a file from front to back through a buffer.

    `direct` asks for reads past the page cache; `past_cache` tells whether they are.
    """

    def __init__(self, fd: int, buffer: Buffer, *, direct: bool) -> None:
        self._fd = fd
        self._buffer = buffer
        self.past_cache = set_direct(fd) if direct else False
        if not self.past_cache:
            # On the device itself read-ahead overlaps with hashing; behind the reader nothing is kept.
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
            if direct:
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def chunks(self, start_bytes: int = 0, end_bytes: int | None = None) -> Iterator[memoryview]:
        """The bytes from `start_bytes` (a multiple of the alignment) to `end_bytes` or the end of the file.

        Each view is valid until the next step. Raises OSError as the kernel gives it.
        """
        offset = start_bytes
        unit = len(self._buffer)
        while end_bytes is None or offset < end_bytes:
            got = self._read(offset)
            if got == 0:
                return
            wanted = got if end_bytes is None else min(got, end_bytes - offset)
            yield self._buffer.view[:wanted]
            if not self.past_cache:
                os.posix_fadvise(self._fd, offset, got, os.POSIX_FADV_DONTNEED)
            offset += wanted
            if got < unit and got % ALIGNMENT_BYTES and self.past_cache:
                # An unaligned end: whatever was appended meanwhile is for a later look.
                return

    def _read(self, offset: int) -> int:
        try:
            return os.preadv(self._fd, [self._buffer.view], offset)
        except OSError as error:
            if not (self.past_cache and error.errno in _REFUSED):
                raise
        clear_direct(self._fd)
        self.past_cache = False
        return os.preadv(self._fd, [self._buffer.view], offset)


class Writer:
    """Writes a file from `offset_bytes` on, past the page cache where that is possible."""

    def __init__(self, fd: int, offset_bytes: int = 0) -> None:
        if offset_bytes % ALIGNMENT_BYTES:
            raise ValueError("a writer begins at an aligned offset")
        self._fd = fd
        self.offset_bytes = offset_bytes
        self._direct = set_direct(fd)

    def write(self, data: memoryview) -> None:
        """Write all of `data`, which begins page-aligned; only the last piece may have an odd length."""
        done = 0
        while done < len(data):
            if self._direct and (len(data) - done) % ALIGNMENT_BYTES:
                whole = (len(data) - done) // ALIGNMENT_BYTES * ALIGNMENT_BYTES
                if whole:
                    done += self._write(data[done : done + whole])
                    continue
                clear_direct(self._fd)
                self._direct = False
            done += self._write(data[done:])

    def _write(self, data: memoryview) -> int:
        try:
            count = os.pwrite(self._fd, data, self.offset_bytes)
        except OSError as error:
            if not (self._direct and error.errno in _REFUSED):
                raise
            clear_direct(self._fd)
            self._direct = False
            count = os.pwrite(self._fd, data, self.offset_bytes)
        if not self._direct:
            self._write_behind(count)
        self.offset_bytes += count
        if self._direct and self.offset_bytes % ALIGNMENT_BYTES:
            clear_direct(self._fd)
            self._direct = False
        return count

    def _write_behind(self, size_bytes: int) -> None:
        """Start writing out at once, so that memory stays flat and the last fsync is short."""
        libc().sync_file_range(
            self._fd, ctypes.c_int64(self.offset_bytes), ctypes.c_int64(size_bytes), _SYNC_RANGE_WAIT_WRITE
        )
        os.posix_fadvise(self._fd, self.offset_bytes, size_bytes, os.POSIX_FADV_DONTNEED)

    def flush(self) -> None:
        """Make the data durable (fdatasync)."""
        os.fdatasync(self._fd)
