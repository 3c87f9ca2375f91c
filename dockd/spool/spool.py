"""The spool's files: one per recording, under a random name, gone only after CONFIRMED."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dockd.direct_io import Buffer, Reader
from dockd.durable import fsync_dir
from dockd.errors import SpoolCorruptError, SpoolFullError

_NAME = re.compile(r"[0-9a-f]{32}\.part\Z")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def spool_errors() -> Iterator[None]:
    """Translate the operating system's errors on the spool."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise SpoolFullError(f"the disk that holds the spool is full: {error}") from error
        raise SpoolCorruptError(
            f"the spool cannot be used: {error}",
            "The camera keeps its footage. Check the disk that holds state_dir; dockd tries again by itself.",
        ) from error


class Spool:
    """The folder of spooled recordings."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @staticmethod
    def new_name(token: str) -> str:
        """The file name for a recording, from 32 random hex digits."""
        return f"{token}.part"

    def path(self, name: str) -> Path:
        """Where a spool file lies; raises ValueError for a name that is not the spool's."""
        if not _NAME.match(name):
            raise ValueError(f"{name!r} is no name of a spool file")
        return self.directory / name

    @contextmanager
    def writing(self, name: str) -> Iterator[int]:
        """Open a spool file for writing, making it if it is not there; its name is made durable."""
        path = self.path(name)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
        try:
            fsync_dir(self.directory)
            yield fd
        finally:
            os.close(fd)

    @contextmanager
    def reading(self, name: str, buffer: Buffer) -> Iterator[tuple[Reader, int]]:
        """Open a spool file for reading past the page cache; the reader, and the file's size in bytes."""
        fd = os.open(self.path(name), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            yield Reader(fd, buffer, direct=True), os.fstat(fd).st_size
        finally:
            os.close(fd)

    def truncate(self, name: str, size_bytes: int) -> None:
        """Cut a spool file down to what is vouched for, if it is there and longer."""
        path = self.path(name)
        if path.exists() and path.stat().st_size > size_bytes:
            os.truncate(path, size_bytes)

    def remove(self, name: str) -> None:
        """Remove a spool file that no row of the journal names any more; idempotent."""
        path = self.path(name)
        if path.exists():
            os.unlink(path)

    def names(self) -> Iterator[str]:
        """The names of all spool files, others' files left out."""
        with os.scandir(self.directory) as entries:
            for entry in entries:
                if _NAME.match(entry.name):
                    yield entry.name
