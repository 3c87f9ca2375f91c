"""A witness of the chain's head outside of the journal.

If the journal alone is restored from a backup, the witness knows a record that the journal does not. It is
written after the commit it tells of, so it is never ahead of a journal that only lost its power.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from dockd.errors import JournalDamagedError
from dockd.events import Head

INTERVAL_S: Final = 0.5


class Witness:
    """The file that keeps the head."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last_s = 0.0
        self._pending: Head | None = None

    def read(self) -> Head | None:
        """The head that was last noted, or None; a file that cannot be read is no witness."""
        try:
            return Head.model_validate_json(self._path.read_bytes())
        except (OSError, ValidationError):
            return None

    def note(self, head: Head) -> None:
        """Keep a committed head; at most twice a second."""
        self._pending = head
        if time.monotonic() - self._last_s >= INTERVAL_S:
            self.flush()

    def flush(self) -> None:
        """Write what is pending; no fsync: an older witness is still a true one."""
        if self._pending is None:
            return
        fresh = self._path.with_suffix(".new")
        try:
            fresh.write_text(self._pending.model_dump_json() + "\n", encoding="ascii")
            os.replace(fresh, self._path)
        except OSError:
            # A full disk: the older witness stands, and is still true.
            return
        self._pending = None
        self._last_s = time.monotonic()


def witnessed(path: Path) -> None:
    """Raise JournalDamagedError if there is no journal although this dock once had one."""
    head = Witness(path).read()
    if head is not None:
        raise JournalDamagedError(
            f"the journal is gone; this dock had one, up to record {head.seq} of chain {head.chain}",
            "What it knew cannot be told now. Put journal.db back, or start dockd without it: footage "
            "still on cameras is taken in anew, spooled files are kept and reported, and nothing is wiped until "
            "somebody ran: dockd custody acknowledge",
        )
