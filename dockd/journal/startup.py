"""What the journal is told when the daemon starts, before anything else happens."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dockd.custody.chain import line_digest
from dockd.events import DockStarted, Head
from dockd.journal import configuration, dockings, recordings
from dockd.journal.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Started:
    """What was found at start."""

    rolled_back: bool
    acknowledged: bool
    trash: tuple[str, ...]
    orphans: tuple[str, ...]
    released: int | None
    """How many recordings another configuration than the last run's releases for wiping; None if it is the same."""


def knows(tx: Transaction, head: Head) -> bool:
    """Whether a head that was once this dock's is a record of this journal."""
    row = tx.one(
        "SELECT line FROM record JOIN chain ON chain.id = record.chain WHERE chain.name = ? AND seq = ?",
        head.chain,
        head.seq,
    )
    return row is not None and line_digest(row[0]) == head.sha256


def start(
    tx: Transaction, event: DockStarted, witness: Head | None, spooled: Iterable[str], wipe_mode: str = "off"
) -> Started:
    """Begin a run: continue the chain, or begin a new one if this journal is not the newest of its dock.

    Dockings that a former run left open are over: that a folder camera stayed cannot be shown.
    """
    rolled_back = witness is not None and not knows(tx, witness)
    if rolled_back:
        first = event.model_copy(update={"predecessor": witness})
        tx.begin_chain(first, acknowledged=False)
    elif tx.head.seq == 0:
        tx.begin_chain(event.model_copy(update={"predecessor": "unknown"}), acknowledged=True)
    else:
        tx.append(event)
    released = configuration.at_start(tx, event, wipe_mode)
    dockings.end_all_dockings(tx, dockings.STARTED_ANEW)
    recordings.retry_storing(tx)
    trash = tuple(name for (name,) in tx.all("SELECT name FROM spool_trash"))
    known = set(trash)
    orphans = []
    for name in spooled:
        if name in known or tx.one("SELECT 1 FROM recording WHERE spool_name = ?", name) is not None:
            continue
        orphans.append(name)
    chain = tx.one("SELECT acknowledged FROM chain ORDER BY id DESC LIMIT 1")
    acknowledged = chain is not None and bool(chain[0])
    return Started(rolled_back, acknowledged, trash, tuple(orphans), released)
