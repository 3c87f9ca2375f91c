"""The events of the custody chain, said in order, each until the broker has taken it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from dockd.errors import CommandError, PublishRefusedError
from dockd.events import Head
from dockd.journal.journal import Journal
from dockd.journal.transaction import Transaction
from dockd.report import outbox
from dockd.report.link import Link, Message
from dockd.report.outbox import Cursor, Queued
from dockd.report.payloads import event_message

BATCH: Final = 256
WINDOW: Final = 16
"""So many events may be on their way unanswered; a broker takes 20 by default."""

SAVE_S: Final = 1.0
REFUSED_PAUSE_S: Final = 30.0
REPLAYS_LIMIT: Final = 16


class EventStream:
    """Says events from the cursor on; what is asked for again is said before what is new.

    `outcome` is told of each refusal of the topic, and of its end.
    """

    def __init__(self, root: str, boot: str, journal: Journal, outcome: Callable[[str, str | None], None]) -> None:
        self._topic = f"{root}/event"
        self._boot = boot
        self._journal = journal
        self._outcome = outcome
        self._cursor: Cursor | None = None
        self._saved: Cursor | None = None
        self._saved_s = 0.0
        self._replays: deque[tuple[Cursor, Cursor]] = deque()
        self._more = asyncio.Event()
        loop = asyncio.get_running_loop()
        journal.listen(lambda head: self._wake(loop, head))

    def _wake(self, loop: asyncio.AbstractEventLoop, _: Head) -> None:
        """Called in the journal's thread after each commit with records."""
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._more.set)

    async def depth(self) -> int:
        """How many events the broker has not taken yet."""
        cursor = await self._where()
        return await self._journal.run(lambda tx: outbox.depth(tx, cursor))

    async def replay(self, chain: str | None, from_seq: int, to_seq: int | None) -> dict[str, Any]:
        """Have events of a chain said again; what will be. Raises CommandError."""
        found = await self._journal.run(lambda tx: outbox.find_chain(tx, chain))
        if found is None:
            raise CommandError(f"this dock has no chain {chain!r}")
        if len(self._replays) >= REPLAYS_LIMIT:
            raise CommandError("too many replays wait already")
        cursor = await self._where()
        number, name, newest = found
        # What was not said yet comes by itself, in its turn.
        said = cursor.seq if number == cursor.chain else newest if number < cursor.chain else 0
        last = min(said, to_seq if to_seq is not None else said)
        count = max(0, last - from_seq + 1)
        if count:
            self._replays.append((Cursor(number, from_seq - 1), Cursor(number, last)))
            self._more.set()
        return {"chain": name, "from_seq": from_seq, "to_seq": max(last, from_seq - 1), "events": count}

    async def run(self, link: Link) -> None:
        """Say events until the link is lost (BrokerLostError)."""
        cursor = await self._where()
        while True:
            self._more.clear()
            try:
                while self._replays:
                    await self._replay(link, *self._replays[0])
                    self._replays.popleft()
                batch = await self._read(cursor)
                cursor = await self._say(link, batch, cursor)
            except PublishRefusedError as error:
                # In order means: none of the later ones before this one.
                self._outcome("event", error.message)
                await asyncio.sleep(REFUSED_PAUSE_S)
                cursor = await self._where()
                continue
            self._outcome("event", None)
            if not batch:
                await self._save(force=True)
                await self._more.wait()

    async def _replay(self, link: Link, cursor: Cursor, last: Cursor) -> None:
        while cursor < last:
            batch = [queued for queued in await self._read(cursor) if queued.cursor <= last]
            if not batch:
                return
            await self._send(link, batch)
            cursor = batch[-1].cursor

    async def _say(self, link: Link, batch: list[Queued], cursor: Cursor) -> Cursor:
        if batch:
            await self._send(link, batch, self._move_on)
            await self._save()
        return self._cursor or cursor

    def _move_on(self, queued: Queued) -> None:
        self._cursor = queued.cursor

    async def _send(self, link: Link, batch: list[Queued], taken: Callable[[Queued], None] | None = None) -> None:
        flying: deque[tuple[Queued, asyncio.Future[None]]] = deque()
        for queued in batch:
            payload = event_message(queued.record, queued.chain, self._boot).encode()
            flying.append((queued, link.send(Message(self._topic, payload))))
            if len(flying) >= WINDOW:
                await self._land(flying, taken)
        while flying:
            await self._land(flying, taken)

    @staticmethod
    async def _land(flying: deque[tuple[Queued, asyncio.Future[None]]], taken: Callable[[Queued], None] | None) -> None:
        queued, future = flying.popleft()
        await future
        if taken is not None:
            taken(queued)

    async def _read(self, cursor: Cursor) -> list[Queued]:
        return await self._journal.run(lambda tx: outbox.events_after(tx, cursor, BATCH))

    async def _where(self) -> Cursor:
        if self._cursor is None:
            self._cursor = self._saved = await self._journal.run(outbox.load_cursor)
        return self._cursor

    async def _save(self, *, force: bool = False) -> None:
        """Remember the cursor, but not with every event: some that are said twice cost less than a commit each."""
        now_s = asyncio.get_running_loop().time()
        cursor = self._cursor
        if cursor is None or cursor == self._saved or (now_s - self._saved_s < SAVE_S and not force):
            return
        self._saved, self._saved_s = cursor, now_s

        def save(tx: Transaction) -> None:
            outbox.save_cursor(tx, cursor)

        await self._journal.run(save)
