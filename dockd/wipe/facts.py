"""What the gate is told of the site and the store, looked up anew for each round.

Calls to the store are made in a thread of their own with a time limit: a store that hangs makes the answer
"cannot tell", and no camera waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import structlog

from dockd.cameras.base import Camera
from dockd.custody.segments import segment_name
from dockd.errors import DockdError, StoreUnavailableError
from dockd.identity import custody_prefix
from dockd.journal import queries, segments
from dockd.journal.chain_break import noted_break
from dockd.journal.journal import Journal
from dockd.journal.rows import RecordingRow
from dockd.journal.transaction import Transaction
from dockd.runtime.clock import Clock
from dockd.runtime.workers import Worker
from dockd.stores.base import EvidenceStore
from dockd.wipe.gate import Standing

T = TypeVar("T")
log = structlog.get_logger()

CALL_LIMIT_S: Final = 30.0


class StoreCalls:
    """Short calls to the store, one after the other, none of which anybody waits for longer than the limit."""

    def __init__(self, store: EvidenceStore) -> None:
        self.store = store
        self.worker = Worker("store-calls")

    async def run(self, function: Callable[[], T]) -> T:
        """Make a call; raises StoreUnavailableError when it takes too long, and what the store raises."""
        if self.worker.control.still_s() > CALL_LIMIT_S:
            raise StoreUnavailableError("calls to the store hang")
        try:
            async with asyncio.timeout(CALL_LIMIT_S):
                return await asyncio.shield(self.worker.run(function))
        except TimeoutError as error:
            raise StoreUnavailableError(f"the store did not answer within {CALL_LIMIT_S:.0f} s") from error


@dataclass(frozen=True, slots=True)
class CustodyState:
    """What speaks against a wipe on the side of the custody log: why, and in words; and whether the store was asked."""

    problem: tuple[str, str] | None
    heads_checked: bool


@dataclass(frozen=True, slots=True)
class _StoreFacts:
    weaknesses: Sequence[str]
    versions: Sequence[str | None]
    same_file: Sequence[bool | None]
    signatures: frozenset[str]


@dataclass(frozen=True, slots=True)
class _JournalFacts:
    holds: Sequence[Sequence[str]]
    acknowledged: bool
    broken: str | None
    signatures: Sequence[str | None]
    """Under which key the signature lies over the record that says that a recording is confirmed."""


@dataclass(slots=True)
class SiteFacts:
    """See `dockd.wipe.execute.StandingFacts`."""

    journal: Journal
    calls: StoreCalls
    clock: Clock
    renew_holds: Callable[[], Awaitable[bool]]
    """Reads the holds from the store into the journal; False if they cannot be read."""
    spool: Path
    accepted: frozenset[str]
    camera: Camera
    wipe_on: Callable[[], bool]
    grace_left_s: Callable[[RecordingRow], float | None]
    clash: Callable[[], bool]
    custody: Callable[[], CustodyState]

    async def look(self, rows: Sequence[RecordingRow], camera_refusal: str | None) -> list[Standing]:
        """The facts for each row, all looked up now."""
        readable = await self.renew_holds()

        def ask(tx: Transaction) -> _JournalFacts:
            chain = tx.one("SELECT acknowledged FROM chain ORDER BY id DESC LIMIT 1")
            return _JournalFacts(
                [queries.holds_over(tx, row) for row in rows],
                chain is not None and bool(chain[0]),
                noted_break(tx),
                [_signature_key(tx, row) for row in rows],
            )

        known = await self.journal.run(ask)
        store = await self._store_facts(rows, {key for key in known.signatures if key is not None})
        custody = self.custody()
        broken = None if known.broken is None else ("chain-broken", f"the custody log is broken: {known.broken}")
        return [
            Standing(
                row=row,
                wipe_on=self.wipe_on(),
                grace_left_s=self.grace_left_s(row),
                chain_acknowledged=known.acknowledged,
                custody_problem=custody.problem or broken,
                heads_checked=custody.heads_checked,
                record_in_store=None if store is None else known.signatures[index] in store.signatures,
                identity_clash=self.clash(),
                camera_refusal=camera_refusal,
                camera_past_cache=self.camera.past_cache or "cached-readback" in self.accepted,
                unaccepted_weaknesses=None if store is None else store.weaknesses,
                holds=known.holds[index] if readable else None,
                store_version=None if store is None else store.versions[index],
                same_file=None if store is None else store.same_file[index],
                read_back_age_s=self._read_back_age_s(row),
            )
            for index, row in enumerate(rows)
        ]

    async def _store_facts(self, rows: Sequence[RecordingRow], signatures: set[str]) -> _StoreFacts | None:
        store = self.calls.store

        def look() -> _StoreFacts:
            status = store.status(self.spool)
            versions = [store.version(row.store_key) if row.store_key else None for row in rows]
            same = [
                None if version is None else store.is_same_file(row.store_key or "", row.device, row.inode)
                for row, version in zip(rows, versions, strict=True)
            ]
            there = frozenset(key for key in signatures if _is_whole(store, key))
            return _StoreFacts([weak for weak in status.weaknesses if weak not in self.accepted], versions, same, there)

        try:
            return await self.calls.run(look)
        except DockdError as error:
            log.warning("store_not_examined", error=error.message, hint=error.hint)
            return None

    def _read_back_age_s(self, row: RecordingRow) -> float | None:
        """Age by a clock that nobody can set; None if the machine was started anew since."""
        if row.readback_boot_id != self.clock.boot_id or row.readback_boottime_s is None:
            return None
        return self.clock.boottime_s() - row.readback_boottime_s


def _is_whole(store: EvidenceStore, signature: str) -> bool:
    """Whether a segment's three objects are there; what they hold was read back, and is looked at by audits."""
    listed = signature.removesuffix(".sig")
    objects = (signature, listed, f"{listed.removesuffix('.sha256')}.jsonl")
    return all(store.version(key) is not None for key in objects)


def _signature_key(tx: Transaction, row: RecordingRow) -> str | None:
    segment = segments.holds_record(tx, row.confirmed_chain, row.confirmed_seq)
    if segment is None or segment.chain != tx.chain:
        return None
    return f"{custody_prefix(tx.dock)}/{segment.chain_name}/{segment_name(segment.first, segment.last)}.sha256.sig"
