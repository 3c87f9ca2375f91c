"""The wipe itself: the only caller of `Camera.delete`.

Order: standing facts → second read of the device under leases → gate → WIPE_INTENT (holds checked in the
same transaction) → holds read once more from the store → unlink → made durable → seen gone → WIPED.
A hold that is in the store before the second look is obeyed; one that comes later finds WIPE_INTENT in the
journal and is told so. Several small files share one round.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Protocol

from dockd.cameras.base import Camera, OpenFile
from dockd.digests import digest_of
from dockd.direct_io import Buffer
from dockd.errors import CameraGoneError, DockdError, NotSettledError, SourceChangedError
from dockd.identity import display_name
from dockd.journal import queries, recordings, wipes
from dockd.journal.dockings import intent_resolved
from dockd.journal.journal import Journal
from dockd.journal.rows import RecordingRow
from dockd.journal.transaction import Transaction
from dockd.lifecycle import RecordingState
from dockd.runtime.workers import Control, Worker
from dockd.stages.offload import source_chunks
from dockd.wipe.gate import Device, Refusal, Standing, refusal, standing_refusal


@dataclass(slots=True)
class Outcome:
    """What became of one recording in a round."""

    row: RecordingRow
    refusal: Refusal | None = None
    would_wipe: bool = False
    wiped: bool = False


@dataclass(slots=True)
class Examined:
    """One recording at the gate, and what the second read of the device found."""

    outcome: Outcome
    opened: OpenFile | None = None
    device: Device | None = None
    error: DockdError | None = None


class StandingFacts(Protocol):
    """Looks up, anew for each round, what the gate asks of the site and the store."""

    async def look(self, rows: Sequence[RecordingRow], camera_refusal: str | None) -> list[Standing]:
        """The facts for each row; `camera_refusal` is what the camera itself has against it."""


@dataclass(slots=True)
class Wipe:
    """Wipes recordings of one docked camera, in rounds."""

    journal: Journal
    camera: Camera
    docking_id: int
    worker: Worker
    facts: StandingFacts
    buffer: Buffer = field(default_factory=Buffer)

    async def round(self, rows: Sequence[RecordingRow], *, observe: bool) -> list[Outcome]:
        """Wipe those of `rows` that pass the gate; with `observe` do everything but that.

        Raises CameraGoneError when the camera left; what was begun is then settled at its next docking.
        """
        outcomes = [Outcome(row) for row in rows]
        ready: list[tuple[Outcome, Standing]] = []
        refused = await self.worker.run(self.camera.may_wipe)
        for outcome, standing in zip(outcomes, await self.facts.look(rows, refused), strict=True):
            outcome.refusal = standing_refusal(standing)
            if outcome.refusal is None:
                ready.append((outcome, standing))
        if not ready:
            return outcomes
        stack = ExitStack()
        try:
            passed = await self._examine(ready, stack)
            if observe:
                await self._observed(passed)
            elif passed:
                await self._wipe(passed, stack)
        finally:
            await self.worker.run(stack.close)
        return outcomes

    async def _examine(self, ready: Sequence[tuple[Outcome, Standing]], stack: ExitStack) -> list[Examined]:
        examined = [Examined(outcome) for outcome, _ in ready]
        await self.worker.run(lambda: self._read_all(examined, stack))
        passed = []
        for item, (outcome, standing) in zip(examined, ready, strict=True):
            if item.device is None:
                reason = "in-use" if isinstance(item.error, NotSettledError) else "device-unread"
                outcome.refusal = Refusal(reason, str(item.error), lasting=False)
                continue
            outcome.refusal = refusal(standing, item.device)
            if outcome.refusal is None:
                passed.append(item)
        return passed

    def _read_all(self, examined: Sequence[Examined], stack: ExitStack) -> None:
        for item in examined:
            try:
                item.opened, item.device = self._read(item.outcome.row, stack, self.worker.control)
            except (NotSettledError, SourceChangedError) as error:
                item.error = error
            except CameraGoneError:
                raise
            except DockdError as error:
                self.worker.control.check()
                item.error = error

    def _read(self, row: RecordingRow, stack: ExitStack, control: Control) -> tuple[OpenFile, Device]:
        control.begin("wiping", display_name(row.path), row.size_bytes)
        opened = stack.enter_context(self.camera.open(row.path, lease=True))
        reader = opened.reader(self.buffer, direct=True)
        digests = digest_of(source_chunks(self.camera, opened, reader), control)
        past_cache = reader.past_cache and self.camera.past_cache
        return opened, Device(opened.look(), digests, past_cache, opened.lease_intact())

    async def _observed(self, passed: Sequence[Examined]) -> None:
        docking_id = self.docking_id

        def tell(tx: Transaction) -> None:
            for item in passed:
                recordings.reread_equal(tx, item.outcome.row.id, docking_id)
                detail = "wipe.mode is observe: everything was checked, and it would be deleted"
                wipes.wipe_refused(tx, item.outcome.row.id, "observe", detail)

        if passed:
            await self.journal.run(tell)
        for item in passed:
            item.outcome.would_wipe = True

    async def _wipe(self, passed: Sequence[Examined], stack: ExitStack) -> None:
        going = await self._intend(passed)
        going = await self._look_again(going)
        if not going:
            return
        deleted = await self.worker.run(lambda: self._delete(going))
        await self.worker.run(stack.close)
        gone = await self.worker.run(lambda: self._seen_gone(deleted))
        still = [item for item in going if item not in gone]
        gone_ids = [item.outcome.row.id for item in gone]
        if gone_ids:
            await self.journal.run(lambda tx: wipes.wiped(tx, gone_ids))
        for item in gone:
            item.outcome.wiped = True
        for item in still:
            why = str(item.error or "the file is still on the camera after it was unlinked")
            await self._abandon(item, Refusal("not-deleted", why, lasting=False))

    async def _intend(self, passed: Sequence[Examined]) -> list[Examined]:
        """WIPE_INTENT for those that no hold covers: looked at and written in one transaction."""

        def intend(tx: Transaction) -> list[list[str]]:
            held = [_forbids(tx, item.outcome.row) for item in passed]
            ids = [item.outcome.row.id for item, holds in zip(passed, held, strict=True) if not holds]
            wipes.wipe_intent(tx, ids)
            return held

        held = await self.journal.run(intend)
        for item, holds in zip(passed, held, strict=True):
            if holds:
                item.outcome.refusal = Refusal("hold", f"legal hold {', '.join(holds)}")
        return [item for item, holds in zip(passed, held, strict=True) if not holds]

    async def _look_again(self, going: Sequence[Examined]) -> list[Examined]:
        """Those against which nothing has come up while the device was read, and before the intent was written.

        Above all a hold: whoever brings one into force from now on is told that it comes too late.
        """
        if not going:
            return []
        refused = await self.worker.run(self.camera.may_wipe)
        free = []
        standings = await self.facts.look([item.outcome.row for item in going], refused)
        for item, standing in zip(going, standings, strict=True):
            found = standing_refusal(standing)
            if found is None:
                free.append(item)
            else:
                await self._abandon(item, found)
        return free

    async def _abandon(self, item: Examined, why: Refusal) -> None:
        row_id = item.outcome.row.id
        await self.journal.run(lambda tx: wipes.wipe_abandoned(tx, row_id, why.detail))
        item.outcome.refusal = why

    def _delete(self, going: Sequence[Examined]) -> list[Examined]:
        deleted = []
        for item in going:
            row = item.outcome.row
            assert item.opened is not None and item.device is not None
            try:
                if not item.opened.lease_intact():
                    raise NotSettledError("somebody opened the file for writing just before it was deleted")
                if item.opened.look() != item.device.seen:
                    raise SourceChangedError("the file changed just before it was deleted")
                self.camera.delete(row.path, item.device.seen)
            except CameraGoneError:
                raise
            except DockdError as error:
                item.error = error
            else:
                deleted.append(item)
        return deleted

    def _seen_gone(self, deleted: Sequence[Examined]) -> list[Examined]:
        if not deleted:
            return []
        self.camera.settle_deletions([item.outcome.row.path for item in deleted])
        return [item for item in deleted if self.camera.is_gone(item.outcome.row.path)]


def _forbids(tx: Transaction, row: RecordingRow) -> list[str]:
    """What came up since the gate was asked, looked at in the transaction that writes the intent."""
    now = tx.recording(row.id)
    if now.store_fault is not None:
        return [f"(its copy in the store is {now.store_fault})"]
    if now.state is not RecordingState.CONFIRMED or now.store_version != row.store_version:
        return ["(its state changed meanwhile)"]
    return queries.holds_over(tx, now)


def settle_intents(
    journal: Journal, camera: Camera, rows: Sequence[RecordingRow], docking_id: int, control: Control
) -> None:
    """Look at wipes that a crash or a pulled camera interrupted, and correct the journal from the device."""
    if not rows:
        return
    control.begin("identifying")
    gone = [camera.is_gone(row.path) for row in rows]
    parents = [row.path for row, is_gone in zip(rows, gone, strict=True) if is_gone]
    camera.settle_deletions(parents)

    def tell(tx: Transaction) -> None:
        docking = tx.docking(docking_id)
        for row, is_gone in zip(rows, gone, strict=True):
            intent_resolved(tx, docking, row.id, gone=is_gone, key=row.store_key or "")

    journal.run_in_thread(tell)
