"""When a session's recordings go to the gate, and what is done with its answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Literal, Protocol

import structlog

from dockd.identity import display_name
from dockd.journal import queries, recordings, segments, wipes
from dockd.journal.journal import Journal
from dockd.journal.rows import RecordingRow
from dockd.journal.transaction import Transaction
from dockd.runtime.randomness import Randomness
from dockd.stages.lane import StoreLane
from dockd.wipe.execute import Outcome, Wipe
from dockd.wipe.gate import Refusal

log = structlog.get_logger()

ROUND_FILES: Final = 64
ROUND_BYTES: Final = 64 * 1024 * 1024
"""Leases on all files of a round are held while it lasts: many small files, or one large one."""

AGAIN_S: Final = 4.0
LONGEST_AGAIN_S: Final = 120.0
SOON_S: Final = 2.0
_ROUTINE = frozenset({"mode", "grace"})
_STALE = frozenset({"read-back-old", "store-changed", "store-missing"})
"""What another read-back from the store may put right."""


class Subject(Protocol):
    """What wiping needs of the session that it serves."""

    phase: str

    def say_changed(self, row: RecordingRow, what: str) -> None:
        """Alert that a known file is another one by now."""


@dataclass(slots=True)
class Wiping:
    """Takes one docking's confirmed recordings to the gate, again and again until all are gone or refused."""

    journal: Journal
    lane: StoreLane
    randomness: Randomness
    mode: Callable[[], Literal["on", "observe", "off"]]
    grace_left_s: Callable[[RecordingRow], float | None]
    wipe: Callable[[int], Wipe]
    alert: Callable[[str | None], None]
    whole: bool = False
    """Whether a round is all that is confirmed on the device, and none of it comes before all are due."""
    next_s: float | None = None
    waits: str | None = None
    """What confirmed recordings wait for, if it is a matter of time."""
    _again_s: dict[int, float] = field(default_factory=dict)
    _pauses_s: dict[int, float] = field(default_factory=dict)
    _refusals: dict[int, Refusal] = field(default_factory=dict)
    _engine: Wipe | None = None

    async def step(self, subject: Subject, docking_id: int) -> bool:
        """Take the next recordings to the gate; False if none is due."""
        self.next_s = self.waits = None
        mode = self.mode()
        if mode == "off":
            return False
        rows = await self._due(docking_id)
        if not rows:
            self._tell()
            return False
        subject.phase = "wiping"
        if self._engine is None:
            self._engine = self.wipe(docking_id)
        outcomes = await self._engine.round(rows, observe=mode == "observe")
        for outcome in outcomes:
            await self._settle(subject, outcome)
        return True

    async def _due(self, docking_id: int) -> list[RecordingRow]:
        """The next round: what is confirmed, on the camera, past its grace, and not refused just now."""
        now_s = asyncio.get_running_loop().time()
        chosen: list[RecordingRow] = []
        size_bytes = 0
        after = 0
        while self.whole or len(chosen) < ROUND_FILES:
            rows = await self.journal.run(partial(queries.to_wipe, docking_id=docking_id, after_id=after, limit=256))
            proven = await self.journal.run(partial(_in_custody, rows=rows))
            for row in rows:
                after = row.id
                if self._postponed(row, now_s) or self._unproven(row, proven[row.id], now_s):
                    if self.whole:
                        return []
                    continue
                if self.whole:
                    chosen.append(row)
                    continue
                if chosen and (size_bytes + row.size_bytes > ROUND_BYTES or len(chosen) >= ROUND_FILES):
                    return chosen
                chosen.append(row)
                size_bytes += row.size_bytes
            if len(rows) < 256:
                break
        return chosen

    def _postponed(self, row: RecordingRow, now_s: float) -> bool:
        again_s = self._again_s.get(row.id, 0.0)
        grace_s = self.grace_left_s(row)
        refused = self._refusals.get(row.id)
        if grace_s is not None and grace_s > 0:
            again_s = max(again_s, now_s + grace_s)
            self.waits = f"grace time: {grace_s:.0f} s left"
        elif refused is not None and not refused.lasting and again_s > now_s:
            self.waits = refused.detail
        if again_s <= now_s:
            return False
        self.next_s = again_s if self.next_s is None else min(self.next_s, again_s)
        return True

    def _unproven(self, row: RecordingRow, proven: bool | None, now_s: float) -> bool:
        """Whether the gate need not be asked yet: the record of a confirmation is still to be signed and stored."""
        if proven:
            return False
        self.waits = "its custody record is not signed and in the store yet"
        if proven is None and row.store_fault is None:
            # What a chain wipes it has confirmed itself: it is read back from the store once more, and not in a circle.
            self.lane.freshen(row.id, row.camera)
            self._again_s[row.id] = now_s + AGAIN_S
            self.next_s = now_s + AGAIN_S if self.next_s is None else min(self.next_s, now_s + AGAIN_S)
        return True

    async def _settle(self, subject: Subject, outcome: Outcome) -> None:
        row, refused = outcome.row, outcome.refusal
        now_s = asyncio.get_running_loop().time()
        if outcome.wiped:
            for known in (self._refusals, self._pauses_s, self._again_s):
                known.pop(row.id, None)
            log.info("recording_wiped", recording=row.uid, path=display_name(row.path))
            return
        if refused is None:
            # Observed: nothing more will come of it in this docking.
            self._again_s[row.id] = now_s + 24 * 3600
            return
        before = self._refusals.get(row.id)
        self._refusals[row.id] = refused
        if not refused.lasting:
            self._again_s[row.id] = now_s + SOON_S
        else:
            # A hold may be lifted any minute; asking again grows rarer while the answer stays the same.
            same = before is not None and before.reason == refused.reason
            pause_s = min(LONGEST_AGAIN_S, self._pauses_s.get(row.id, AGAIN_S / 2) * 2) if same else AGAIN_S
            self._pauses_s[row.id] = pause_s
            self._again_s[row.id] = now_s + pause_s
        if refused.reason in _STALE:
            self.lane.freshen(row.id, row.camera)
        if refused.reason == "device-differs":
            await self._differs(row)
            subject.say_changed(row, "its bytes on the camera are not the confirmed ones; it is kept")
            return
        await self.journal.run(
            lambda tx: wipes.wipe_refused(
                tx,
                row.id,
                refused.reason,
                refused.detail,
                record=refused.lasting and refused.reason not in _ROUTINE,
            )
        )

    async def _differs(self, row: RecordingRow) -> None:
        uid = self.randomness.token(8)
        detail = f"the file on the camera no longer has the confirmed BLAKE3 {row.blake3}"
        await self.journal.run(lambda tx: recordings.reread_differs(tx, row.id, uid, detail))

    def _tell(self) -> None:
        lasting = [refused for refused in self._refusals.values() if refused.lasting]
        if not lasting:
            self.alert(None)
            return
        reasons = sorted({f"{refused.reason}: {refused.detail}" for refused in lasting})
        self.alert(f"{len(lasting)} confirmed recordings stay on the camera ({reasons[0]})")

    def forget_refusals(self) -> None:
        """Something changed that the gate asks about: ask it again."""
        self._again_s.clear()
        self._refusals.clear()


def _in_custody(tx: Transaction, rows: Sequence[RecordingRow]) -> dict[int, bool | None]:
    """Whether the present chain's record that says so of each is in the store; None if it has no such record."""
    return {
        row.id: None
        if row.confirmed_chain != tx.chain
        else segments.holds_record(tx, row.confirmed_chain, row.confirmed_seq) is not None
        for row in rows
    }
