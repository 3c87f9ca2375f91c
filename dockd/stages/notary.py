"""The notary: cuts the chain into segments, signs each, and brings it into the store, from where it is read back.

A segment is cut when confirmed recordings wait for it to be wiped, after each docking, when it is quiet, and at least
hourly. Its row is in the journal before anything of it is sent: a crash is made good with the same bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from dockd.alerts import AlertBoard
from dockd.custody.chain import Break, find_break, rfc3339
from dockd.custody.segments import LONGEST_RECORDS, DigestList, head_text, segment_name
from dockd.custody.sshsig import CUSTODY, BadSignatureError, verify
from dockd.direct_io import Buffer
from dockd.errors import JournalDamagedError, StoreConflictError, StoreUnknownError, TransientError
from dockd.events import Head
from dockd.identity import custody_prefix, plain_text
from dockd.journal import queries, segments
from dockd.journal.chain_break import note_break
from dockd.journal.journal import Journal
from dockd.journal.segments import SegmentRow
from dockd.journal.signing_key import in_this_chain
from dockd.journal.transaction import Transaction
from dockd.runtime.clock import Clock
from dockd.runtime.workers import Worker
from dockd.stages.heads import foreign_head
from dockd.stages.keyring import Keyring
from dockd.stores.base import EvidenceStore
from dockd.wipe.facts import CustodyState

log = structlog.get_logger()

LOOK_S: Final = 0.2
"""At most this often it is asked whether a segment is due."""

IDLE_LOOK_S: Final = 5.0
AT_LEAST_S: Final = 3600.0
WAITING_S: Final = 5.0
"""Confirmed recordings that wait to be wiped are not kept waiting longer by others that are still on their way."""

ENOUGH: Final = 64
"""So many of them do not wait at all: a round of wiping is of no more."""

QUIET_S: Final = 3.0
"""So long nothing was recorded, and whatever there is is signed: what a wipe has left, above all."""

FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0


@dataclass(slots=True)
class Notary:
    """Signs and stores; `wipe_on` tells whether anybody waits for it, `on_stored` hears of each stored segment."""

    journal: Journal
    store: EvidenceStore
    clock: Clock
    alerts: AlertBoard
    keyring: Keyring
    dock: str
    usable: Callable[[], bool]
    wipe_on: Callable[[], bool]
    begin_chain: Callable[[Transaction, Head], None]
    on_stored: Callable[[], None]
    worker: Worker = field(default_factory=lambda: Worker("custody"))
    broken: str | None = None
    """The record at which the present chain breaks, and how."""

    conflict: str | None = None
    heads_checked_s: float | None = None
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _wanted: int = 1
    _served: int = 0
    _last_seq: int = 0
    _last_s: float = 0.0
    _given_up: set[tuple[int, int]] = field(default_factory=set)
    _cut_s: float = 0.0
    _pause_s: float = 0.0
    _buffer: Buffer | None = None

    # --- what others ask -----------------------------------------------------------------------------

    def want(self) -> None:
        """A docking was published: sign what there is."""
        self._wanted += 1
        self._wake.set()

    def state(self) -> CustodyState:
        """For the gate."""
        problem = None
        if self.keyring.problem is not None:
            problem = ("signing-key", self.keyring.problem.message)
        elif self.broken is not None:
            problem = ("chain-broken", f"the custody chain is broken: {self.broken}")
        elif self.conflict is not None:
            problem = ("custody-conflict", self.conflict)
        checked_s = self.heads_checked_s
        fresh = checked_s is not None and self.clock.monotonic_s() - checked_s < 2 * AT_LEAST_S
        return CustodyState(problem, heads_checked=fresh)

    def payload(self, tx: Transaction) -> dict[str, Any]:
        """The custody log's part of the status: how far it is signed and stored, the key, and the signed head."""
        newest = segments.newest_segment(tx, tx.chain)
        key, head = self.keyring.key, tx.head
        problem = self.state().problem
        return {
            "signed_through": 0 if newest is None else newest.last,
            "stored_through": segments.stored_through(tx, tx.chain),
            "public_key": None if key is None else key.public.line,
            "fingerprint": None if key is None else key.public.fingerprint,
            "head_signature": None if key is None else key.sign(head_text(head.chain, head.seq, head.sha256)),
            "problem": None if problem is None else problem[1],
        }

    # --- at work -------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Work until cancelled."""
        loop = asyncio.get_running_loop()

        def wake(_: Head) -> None:
            loop.call_soon_threadsafe(self._wake.set)

        self.journal.listen(wake)
        self._cut_s = self.clock.monotonic_s()
        self._tell()
        while True:
            self._wake.clear()
            await self._try()
            await asyncio.sleep(max(LOOK_S, self._pause_s))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(IDLE_LOOK_S):
                    await self._wake.wait()

    async def _try(self) -> None:
        """One step; whatever goes wrong with it stops signing, and never the daemon."""
        try:
            await self._step()
        except StoreConflictError as error:
            await self._disputed(error)
        except (TransientError, StoreUnknownError) as error:
            self._pause_s = min(LONGEST_PAUSE_S, max(FIRST_PAUSE_S, self._pause_s * 2))
            log.warning("custody_waits", error=error.message, hint=error.hint)
        except JournalDamagedError:
            raise
        except Exception as error:
            self._pause_s = LONGEST_PAUSE_S
            log.exception("internal_error", error=str(error))
            self.alerts.put("internal_error", "custody", str(error), about="dock")
        else:
            self._pause_s = 0.0
            self.alerts.put("internal_error", "custody", None)

    async def finish(self) -> None:
        """At the daemon's end: sign what there is; the next run brings it into the store."""
        key = self.keyring.key
        if key is None or self.broken is not None:
            return
        # No more than the time for last words allows; the rest is signed by the next run.
        await self.journal.run(lambda tx: segments.sign_rest(tx, key, rfc3339(tx.clock.now()), at_most=4))

    async def _step(self) -> None:
        if self.usable() and (
            self.heads_checked_s is None or self.clock.monotonic_s() - self.heads_checked_s >= AT_LEAST_S
        ):
            await self._check_heads()
        while self.keyring.key is not None and self.broken is None and await self._due():
            if not await self._cut():
                break
        if not self.usable():
            return
        await self._store_all()
        if self.conflict is not None:
            log.info("custody_conflict_over")
            self.conflict = None
            self._tell()

    async def _check_heads(self) -> None:
        """Whether the store's newest record in this dock's name is on one of this journal's chains."""
        found = await self.worker.run(lambda: foreign_head(self.store, self.journal, custody_prefix(self.dock)))
        if found is not None:
            log.error("chain_not_ours", chain=found.chain, seq=found.seq)
            await self.journal.run(lambda tx: self.begin_chain(tx, found))
            self.broken = self.conflict = None
            self._tell()
            what = f"the store holds record {found.seq} of chain {plain_text(found.chain)}, not written by this dock"
            self.alerts.put("chain_not_acknowledged", "dock", what)
        self.heads_checked_s = self.clock.monotonic_s()

    async def _due(self) -> bool:
        now_s = self.clock.monotonic_s()
        waited_s, wipe_on, wanted = now_s - self._cut_s, self.wipe_on(), self._wanted
        if self.journal.head.seq != self._last_seq:
            self._last_seq, self._last_s = self.journal.head.seq, now_s
        asked_for = wanted > self._served or now_s - self._last_s >= QUIET_S

        def ask(tx: Transaction) -> bool | None:
            newest = segments.newest_segment(tx, tx.chain)
            done = 0 if newest is None else newest.last
            if tx.head.seq <= done:
                return None
            if asked_for or waited_s >= AT_LEAST_S or tx.head.seq - done >= LONGEST_RECORDS:
                return True
            return wipe_on and queries.waits_for_custody(tx, done, ENOUGH if waited_s < WAITING_S else 1)

        due = await self.journal.run(ask)
        if due is None:
            # Nothing is left; what was asked for meanwhile is still to be done.
            self._served = wanted
        return bool(due)

    async def _cut(self) -> bool:
        """Sign the next segment; False if it cannot be: the chain is broken there, or another one by now."""
        key = self.keyring.key
        assert key is not None
        rest = await self.journal.run(lambda tx: segments.next_uncut(tx, LONGEST_RECORDS))

        def sign() -> tuple[DigestList, str] | Break:
            broken = find_break(rest.lines, seq=rest.first, prev=rest.before_sha256)
            if broken is not None:
                return broken
            made = DigestList.of(rest.lines, rest.first - 1, rest.before_sha256)
            return made, key.sign(made.text())

        found = await self.worker.run(sign)
        if isinstance(found, Break):
            self.broken = f"record {found.seq}: {found.what}"
            log.error("chain_broken", record=found.seq, what=found.what)
            what = f"chain {self.journal.head.chain}: {self.broken}"
            await self.journal.run(lambda tx: note_break(tx, what))
            return False
        digests, signature = found

        def note(tx: Transaction) -> bool:
            if tx.chain != rest.chain or not in_this_chain(tx, key.public):
                return False
            segments.add_segment(tx, rest.chain, digests, key.public, signature, rfc3339(tx.clock.now()))
            return True

        self._cut_s = self.clock.monotonic_s()
        return await self.journal.run(note)

    async def _store_all(self) -> None:
        for segment in await self.journal.run(segments.unstored_segments):
            if (segment.chain, segment.first) not in self._given_up:
                await self._bring(segment)

    async def _bring(self, segment: SegmentRow) -> None:
        """Bring one segment into the store, and take down that it is there."""
        data = await self.journal.run(lambda tx: objects_of(tx, segment))
        try:
            await self.worker.run(lambda: self._store(segment, data))
        except BadSignatureError:
            await self._altered(segment)
            return
        except StoreConflictError as error:
            if segment.chain == await self.journal.run(lambda tx: tx.chain):
                raise
            # Of a chain that was left because another dock goes on with it.
            log.error("segment_not_stored", chain=segment.chain_name, first=segment.first, why=error.message)
            self._given_up.add((segment.chain, segment.first))
            return
        utc = rfc3339(self.clock.now())
        await self.journal.run(lambda tx: segments.segment_stored(tx, segment, utc))
        log.info("custody_stored", chain=segment.chain_name, first=segment.first, last=segment.last)
        self.on_stored()

    def _store(self, segment: SegmentRow, objects: dict[str, bytes]) -> None:
        """Put the three objects there and read each back, past every cache; BadSignatureError if they were altered."""
        # What was altered in the journal since it was signed must not become what the store keeps for ever.
        *_, digests, signature = objects.values()
        verify(signature.decode(), CUSTODY, digests)
        self._buffer = self._buffer or Buffer()
        folder = f"{custody_prefix(self.dock)}/{segment.chain_name}"
        for name, data in objects.items():
            key = f"{folder}/{name}"
            # What a crash left of an earlier attempt is known by the same name.
            upload_id = hashlib.sha256(key.encode()).hexdigest()[:32]
            self.store.put_small(key, data, upload_id)
            found = self.store.read_back(key, self._buffer, self.worker.control)
            if found is None or found.digests.sha256 != hashlib.sha256(data).hexdigest():
                raise StoreConflictError(f"the store does not give back what was put under {key}")

    # --- what is wrong -------------------------------------------------------------------------------

    async def _altered(self, segment: SegmentRow) -> None:
        """The journal's records are no longer the ones that were signed: that segment is not brought anywhere."""
        what = f"records {segment.first} to {segment.last} were altered after they were signed"
        log.error("chain_broken", chain=segment.chain_name, what=what)
        self._given_up.add((segment.chain, segment.first))
        if segment.chain == await self.journal.run(lambda tx: tx.chain):
            self.broken = what
            await self.journal.run(lambda tx: note_break(tx, f"chain {segment.chain_name}: {what}"))

    async def _disputed(self, error: StoreConflictError) -> None:
        """Something else lies where a segment belongs: somebody writes in this dock's name."""
        if self.conflict is None:
            log.error("custody_conflict", error=error.message, hint=error.hint)
        self.conflict = plain_text(error.message)
        self.heads_checked_s = None
        self._pause_s = LONGEST_PAUSE_S
        self._tell()

    def _tell(self) -> None:
        problem = self.keyring.problem
        if problem is not None:
            self.alerts.put("signing_key", "dock", problem.message, hint=problem.hint)
        self.alerts.put("custody_conflict", "dock", self.conflict)


def objects_of(tx: Transaction, segment: SegmentRow) -> dict[str, bytes]:
    """A segment's objects by name, the signature last: what has one is whole."""
    name = segment_name(segment.first, segment.last)
    lines = segments.lines_between(tx, segment.chain, segment.first, segment.last)
    return {
        f"{name}.jsonl": "".join(f"{line}\n" for line in lines).encode(),
        f"{name}.sha256": segments.digest_list(tx, segment).text(),
        f"{name}.sha256.sig": segment.signature.encode(),
    }
