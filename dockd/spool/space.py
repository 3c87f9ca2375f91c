"""The space budget: room is reserved before the first byte is taken in."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from dockd.errors import SpoolFullError


class SpaceBudget:
    """Reservations on the disk that holds the spool; thread-safe.

    `min_free_bytes` is never touched: the journal and the rest of the machine need it.
    """

    def __init__(self, directory: Path, min_free_bytes: int) -> None:
        self._directory = directory
        self._min_free_bytes = min_free_bytes
        self._reserved: dict[str, int] = {}
        self._lock = threading.Lock()

    def free_bytes(self) -> int:
        """Free space on the disk, for a process without privileges."""
        found = os.statvfs(self._directory)
        return found.f_bavail * found.f_frsize

    def reserve(self, name: str, size_bytes: int) -> None:
        """Set `size_bytes` aside for `name`; raises SpoolFullError when that would go below `min_free`."""
        with self._lock:
            others = sum(size for other, size in self._reserved.items() if other != name)
            left = self.free_bytes() - others - size_bytes
            if left < self._min_free_bytes:
                lacking = self._min_free_bytes - left
                raise SpoolFullError(f"the spool lacks {lacking} bytes for a recording of {size_bytes} bytes")
            self._reserved[name] = size_bytes

    def written(self, name: str, size_bytes: int) -> None:
        """`size_bytes` of a reservation are on the disk by now, and count as used there."""
        with self._lock:
            if name in self._reserved:
                self._reserved[name] = max(0, self._reserved[name] - size_bytes)

    def release(self, name: str) -> None:
        """Give back what is left of a reservation."""
        with self._lock:
            self._reserved.pop(name, None)
