"""What the journal is told when the daemon starts, before anything else happens."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dockd.custody.chain import line_digest, rfc3339
from dockd.errors import JournalDamagedError
from dockd.events import DockStarted, Head, IntegrityFailure
from dockd.journal import configuration, dockings, recordings
from dockd.journal.chain_break import note_break, noted_break
from dockd.journal.database import LINE_BYTES, check_recent_chain
from dockd.journal.segments import sign_rest
from dockd.journal.signing_key import register_key
from dockd.journal.transaction import Transaction

if TYPE_CHECKING:
    from dockd.custody.keys import SigningKey


@dataclass(frozen=True, slots=True)
class Started:
    """What was found at start."""

    rolled_back: bool
    acknowledged: bool
    broken: str | None
    """At which record the chain of the former run was found broken just now, and how."""
    trash: tuple[str, ...]
    orphans: tuple[str, ...]
    released: int | None
    """How many recordings another configuration than the last run's releases for wiping; None if it is the same."""


def knows(tx: Transaction, head: Head) -> bool:
    """Whether a head that was once this dock's is a record of this journal."""
    row = tx.one(
        f"SELECT {LINE_BYTES} FROM record JOIN chain ON chain.id = record.chain WHERE chain.name = ? AND seq = ?",  # noqa: S608
        head.chain,
        head.seq,
    )
    return row is not None and line_digest(row[0].decode("utf-8", "replace")) == head.sha256


def start(
    tx: Transaction, event: DockStarted, witness: Head | None, spooled: Iterable[str], wipe_mode: str = "off"
) -> Started:
    """Begin a run: continue the chain, or begin a new one if this journal is not the newest of its dock.

    Dockings that a former run left open are over: that a folder camera stayed cannot be shown.
    """
    rolled_back = witness is not None and not knows(tx, witness)
    broken = _recent_break(tx) or _noted_here(tx)
    if broken is not None:
        # Footage is taken in all the same; what is recorded of it goes into a chain that is whole.
        tx.begin_chain(event.model_copy(update={"predecessor": witness or "unknown"}), acknowledged=False)
        tx.append(IntegrityFailure(what="chain-broken", detail=broken))
        note_break(tx, broken)
    elif rolled_back:
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
    return Started(rolled_back, acknowledged, broken, trash, tuple(orphans), released)


def _recent_break(tx: Transaction) -> str | None:
    try:
        check_recent_chain(tx.connection)
    except JournalDamagedError as error:
        return error.message
    return None


def _noted_here(tx: Transaction) -> str | None:
    """A break of the present chain that was found while the daemon ran, or by an audit."""
    noted = noted_break(tx)
    return noted if noted is not None and noted.startswith(f"chain {tx.head.chain}: ") else None


def begin_after(tx: Transaction, event: DockStarted, predecessor: Head, key: SigningKey | None) -> None:
    """Begin a chain behind one that this journal does not have; nothing is wiped until that is acknowledged.

    What the one before still has to be signed is signed, and the new one says which key signs it, all at once.
    """
    if key is not None:
        with suppress(JournalDamagedError):
            sign_rest(tx, key, rfc3339(tx.clock.now()))
    tx.begin_chain(event.model_copy(update={"predecessor": predecessor}), acknowledged=False)
    if key is not None:
        register_key(tx, key.public)
    tx.insert("foreign_head", chain=predecessor.chain, seq=predecessor.seq, sha256=predecessor.sha256)
