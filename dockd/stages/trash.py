"""Spool files and begun uploads that nobody needs any more: forgotten by their rows first, removed afterwards."""

from __future__ import annotations

from collections.abc import Sequence

from dockd.journal import queries
from dockd.journal.journal import Journal
from dockd.journal.transaction import Transaction
from dockd.spool.spool import Spool
from dockd.stores.base import EvidenceStore


def empty_trash(journal: Journal, spool: Spool, names: Sequence[str]) -> None:
    """Remove spool files that the journal has forgotten, then forget that they were to be removed."""
    for name in names:
        spool.remove(name)

    def forget(tx: Transaction) -> None:
        for name in names:
            tx.run("DELETE FROM spool_trash WHERE name = ?", name)

    # Nobody waits for this: should it be lost, the file is found in the trash at the next start.
    journal.submit(forget)


def abandon_uploads(journal: Journal, store: EvidenceStore) -> int:
    """Take out of the store what is left of uploads that are never gone on with; how many those were.

    Raises what the store raises; the rest stays known, and is taken away another time.
    """
    trash = journal.run_in_thread(queries.upload_trash)
    for key, upload_id in trash:
        store.abandon(key, upload_id)

    def forget(tx: Transaction) -> None:
        for each in trash:
            tx.run("DELETE FROM upload_trash WHERE store_key = ? AND upload_id = ?", *each)

    if trash:
        journal.run_in_thread(forget)
    return len(trash)
