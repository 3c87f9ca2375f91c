"""The spool's file as a store opens it: its errors are not the store's."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from dockd.errors import SpoolCorruptError, TransientError

_TELLS_NOTHING: Final = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EACCES, errno.EPERM)
"""Errors of opening a file that say nothing of what is in it."""


@contextmanager
def reading_spool(source: Path) -> Iterator[int]:
    """Open a spooled file; raises SpoolCorruptError, or TransientError where that says nothing of the file."""
    try:
        fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        what = f"spool file {source.name} cannot be opened: {error.strerror}"
        if error.errno in _TELLS_NOTHING:
            raise TransientError(what) from error
        raise SpoolCorruptError(what) from error
    try:
        yield fd
    finally:
        os.close(fd)
