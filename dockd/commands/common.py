"""What commands share: the configuration, the store, the journal read-only."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dockd.config import Config
from dockd.errors import StoreUnknownError
from dockd.journal.database import guarded, open_for_reading
from dockd.journal.transaction import Transaction
from dockd.parts import dock_name, make_store
from dockd.paths import StatePaths, is_running
from dockd.runtime.clock import SystemClock
from dockd.stores.filesystem import FilesystemStore


@contextmanager
def journal_read_only(config: Config) -> Iterator[Transaction | None]:
    """The journal, without any way to write to it; None if there is none yet."""
    paths = StatePaths(config.dock.state_dir)
    try:
        connection = open_for_reading(paths.journal, in_use=is_running(paths))
    except FileNotFoundError:
        yield None
        return
    try:
        tx = Transaction(connection, SystemClock(), dock_name(config))
        guarded(tx.load_head)
        yield tx
    finally:
        connection.close()


def known_store(config: Config) -> FilesystemStore:
    """The configured store, if it is the one that this dock knows; raises StoreUnknownError."""
    store = make_store(config)
    with journal_read_only(config) as tx:
        pinned = None if tx is None else tx.meta("store_id")
    found = store.identify()
    if pinned is not None and pinned != found:
        raise StoreUnknownError(f"{store.root} is another store ({found}) than this dock's ({pinned})")
    store.pin(found)
    return store


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    print(json.dumps(value, indent=1, ensure_ascii=False))
