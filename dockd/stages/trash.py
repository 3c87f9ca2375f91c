"""Spool files that nobody needs any more: forgotten by the journal first, removed afterwards."""

from __future__ import annotations

from collections.abc import Sequence

from dockd.journal.journal import Journal
from dockd.journal.transaction import Transaction
from dockd.spool.spool import Spool


def empty_trash(journal: Journal, spool: Spool, names: Sequence[str]) -> None:
    """Remove spool files that the journal has forgotten, then forget that they were to be removed."""
    for name in names:
        spool.remove(name)

    def forget(tx: Transaction) -> None:
        for name in names:
            tx.run("DELETE FROM spool_trash WHERE name = ?", name)

    # Nobody waits for this: should it be lost, the file is found in the trash at the next start.
    journal.submit(forget)
