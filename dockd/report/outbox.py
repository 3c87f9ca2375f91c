"""The event stream's place in the chain, and what the broker was told to keep.

There is no queue of its own: the custody chain is the queue, and the outbox is a cursor into it. The cursor
moves on once the broker has taken an event; after a crash some are said again (at least once).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from dockd.custody.chain import rfc3339
from dockd.journal.transaction import Transaction

_KEY: Final = "mqtt_cursor"
UNREADABLE: Final = "record_unreadable"
"""The event that is said in place of a record that was spoilt in the journal."""


@dataclass(frozen=True, slots=True, order=True)
class Cursor:
    """The last event that was said: the journal's number of its chain, and its `seq`."""

    chain: int = 0
    seq: int = 0


@dataclass(frozen=True, slots=True)
class Queued:
    """One record that is to be said."""

    cursor: Cursor
    chain: str
    record: dict[str, Any]


def load_cursor(tx: Transaction) -> Cursor:
    """Where the stream stands; at its very beginning, that of the present chain."""
    text = tx.meta(_KEY)
    if text is not None:
        chain, _, seq = text.partition(":")
        return Cursor(int(chain), int(seq))
    row = tx.one("SELECT max(id) FROM chain")
    return Cursor((row[0] if row is not None else None) or 0, 0)


def save_cursor(tx: Transaction, cursor: Cursor) -> None:
    """Remember how far the broker has taken events."""
    tx.set_meta(_KEY, f"{cursor.chain}:{cursor.seq}")


def events_after(tx: Transaction, cursor: Cursor, limit: int) -> list[Queued]:
    """The next events in order, over the borders of chains."""
    rows = tx.all(
        """SELECT record.chain, chain.name, seq, CAST(line AS BLOB) FROM record JOIN chain ON chain.id = record.chain
           WHERE (record.chain, seq) > (?, ?) ORDER BY record.chain, seq LIMIT ?""",
        cursor.chain,
        cursor.seq,
        limit,
    )
    return [Queued(Cursor(chain, seq), name, _record(tx, seq, line)) for chain, name, seq, line in rows]


def _record(tx: Transaction, seq: int, line: bytes) -> dict[str, Any]:
    """A record; of one that was spoilt there is nothing to say but that, and the stream goes on behind it."""
    try:
        found = json.loads(line)
        if isinstance(found, dict) and found.get("seq") == seq and "event" in found and "time" in found:
            return found
    except ValueError:
        pass
    return {"seq": seq, "event": UNREADABLE, "time": rfc3339(tx.clock.now())}


def depth(tx: Transaction, cursor: Cursor) -> int:
    """How many events the broker has not taken yet."""
    rows = tx.all(
        """SELECT id, (SELECT max(seq) FROM record WHERE record.chain = chain.id) FROM chain WHERE id >= ?""",
        cursor.chain,
    )
    return sum((newest or 0) - (cursor.seq if chain == cursor.chain else 0) for chain, newest in rows)


def find_chain(tx: Transaction, name: str | None) -> tuple[int, str, int] | None:
    """A chain by its name, or the present one: its number, name and newest `seq`."""
    row = tx.one(
        """SELECT id, name, (SELECT max(seq) FROM record WHERE record.chain = chain.id) FROM chain
           WHERE ?1 IS NULL OR name = ?1 ORDER BY id DESC LIMIT 1""",
        name,
    )
    return None if row is None else (int(row[0]), str(row[1]), int(row[2] or 0))


def kept_topics(tx: Transaction) -> set[str]:
    """Topics that were said to be retained and may have to be taken back, by this run or a former one."""
    return {topic for (topic,) in tx.all("SELECT topic FROM mqtt_kept")}


def keep_topics(tx: Transaction, topics: Iterable[str]) -> None:
    """Remember topics before they are first said."""
    tx.connection.executemany("INSERT OR IGNORE INTO mqtt_kept VALUES (?)", [(topic,) for topic in topics])


def forget_topic(tx: Transaction, topic: str) -> None:
    """The broker has taken it back."""
    tx.run("DELETE FROM mqtt_kept WHERE topic = ?", topic)
