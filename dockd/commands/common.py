"""What commands share: the configuration, the store, the journal read-only."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dockd.config import Config
from dockd.custody.witness import witnessed
from dockd.errors import StoreUnknownError
from dockd.identity import plain_text
from dockd.journal.database import open_for_reading, translate
from dockd.journal.transaction import Transaction
from dockd.parts import dock_name, make_store
from dockd.paths import StatePaths, is_running
from dockd.runtime.clock import SystemClock
from dockd.stores.base import EvidenceStore


@contextmanager
def journal_read_only(config: Config, *, may_lack: bool = False) -> Iterator[Transaction | None]:
    """The journal, without any way to write to it; None if there is none yet.

    Raises JournalDamagedError, also if there is none any more, unless it `may_lack`.
    """
    paths = StatePaths(config.dock.state_dir)
    running = is_running(paths)
    try:
        connection = open_for_reading(paths.journal, in_use=running)
    except FileNotFoundError:
        if not may_lack and not running:
            witnessed(paths.witness)
        yield None
        return
    try:
        tx = Transaction(connection, SystemClock(), dock_name(config))
        tx.load_head()
        yield tx
    except sqlite3.Error as error:
        raise translate(error) from error
    finally:
        connection.close()


def known_store(config: Config) -> EvidenceStore:
    """The configured store, if it is the one that this dock knows; raises StoreUnknownError."""
    store = make_store(config)
    with journal_read_only(config, may_lack=True) as tx:
        pinned = None if tx is None else tx.meta("store_id")
    found = store.identify()
    if pinned is not None and pinned != found:
        raise StoreUnknownError(f"{store.place} is another store ({found}) than this dock's ({pinned})")
    store.pin(found)
    return store


def acting_user() -> tuple[int, str | None]:
    """Who runs this command: the user's number and, through sudo, the name of who called it. Both are only claims."""
    name = os.environ.get("SUDO_USER")
    return os.getuid(), plain_text(name[:64]) if name else None


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    print(json.dumps(value, indent=1, ensure_ascii=False))
