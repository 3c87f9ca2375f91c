"""The wipe of a block device: all of its recordings, or none.

On FAT, deleting one file may damage another whose clusters are crossed with it, so the device is opened for writing
only when *every* recording on it passes the gate. Order: standing facts of all → second read of all under leases,
while the device is closed for writing → gate → WIPE_INTENT for all → facts once more → unmount, writable, mount rw,
unlink, fsync directories, syncfs, unmount, read-only, a read that the device itself answers → fresh read-only mount
→ look, hash what survives → WIPED. An unlink that succeeded, or a file that is missing, proves nothing before that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import structlog

from dockd.cameras.base import Device, Listing
from dockd.digests import Digests, digest_of
from dockd.errors import CameraGoneError, DeviceServiceError, DockdError, StoppedError
from dockd.events import IntegrityFailure
from dockd.identity import display_name
from dockd.journal import queries, wipes
from dockd.journal.rows import RecordingRow
from dockd.journal.transaction import Transaction
from dockd.stages.offload import source_chunks
from dockd.wipe.execute import Examined, Outcome, Wipe
from dockd.wipe.gate import Refusal, refusal, standing_refusal

log = structlog.get_logger()

COMPANIONS = "companions"
"""Reason of those that could go, but for others on the same device."""


@dataclass(slots=True)
class _Opened:
    """What became of a device while it was open for writing, and what it shows afterwards."""

    listing: Listing | None = None
    trouble: DockdError | OSError | None = None
    survivors: dict[bytes, Digests | None] = field(default_factory=dict)


@dataclass(slots=True)
class DeviceWipe(Wipe):
    """Wipes a docked block device, whole or not at all; `tell` gets what became of files that were to stay."""

    device: Device = field(kw_only=True)
    tell: Callable[[str | None], None] = field(kw_only=True)

    async def round(self, rows: Sequence[RecordingRow], *, observe: bool) -> list[Outcome]:
        """Wipe all of `rows` if they are all that is on the device and all pass; with `observe` all but that."""
        outcomes = [Outcome(row) for row in rows]
        others = await self.journal.run(lambda tx: queries.companions(tx, self.docking_id))
        refused = await self.worker.run(self.camera.may_wipe)
        standings = await self.facts.look(rows, refused)
        for outcome, standing in zip(outcomes, standings, strict=True):
            outcome.refusal = standing_refusal(standing)
        if others is not None or any(outcome.refusal for outcome in outcomes):
            _hold_back(outcomes, others)
            return outcomes
        examined = [Examined(outcome) for outcome in outcomes]
        before = await self.worker.run(lambda: self._read_device(examined))
        for item, standing in zip(examined, standings, strict=True):
            if item.device is None:
                item.outcome.refusal = Refusal("device-unread", str(item.error), lasting=False)
            else:
                item.outcome.refusal = refusal(standing, item.device)
        if any(outcome.refusal for outcome in outcomes):
            _hold_back(outcomes, None)
        elif observe:
            await self._observed(examined)
        else:
            await self._wipe_device(examined, before)
        return outcomes

    def _read_device(self, examined: Sequence[Examined]) -> dict[bytes, Digests | None]:
        """Read all recordings, and what is to stay; the digests of the latter."""
        for item in examined:
            with ExitStack() as stack:
                # Closed at once: nobody can write to the device, and a card may hold more files than may be open.
                self._read_all([item], stack)
                item.opened = None
        return {path: self._digests(path) for path in self.device.list(self.worker.control).others}

    def _digests(self, path: bytes) -> Digests | None:
        """What a file holds that is to stay; None if it cannot be read."""
        control = self.worker.control
        try:
            control.begin("wiping", display_name(path))
            with self.device.open(path, lease=False) as opened:
                reader = opened.reader(self.buffer, direct=True)
                return digest_of(source_chunks(self.device, opened, reader), control)
        except (CameraGoneError, StoppedError):
            raise
        except DockdError:
            return None

    async def _wipe_device(self, examined: Sequence[Examined], before: dict[bytes, Digests | None]) -> None:
        going = await self._intend(examined)
        if len(going) == len(examined):
            going = await self._look_again(going)
        if len(going) < len(examined):
            _hold_back([item.outcome for item in examined], None)
            for item in going:
                if item.outcome.refusal is not None:
                    await self._abandon(item, item.outcome.refusal)
            return
        done = await self.worker.run(lambda: self._open_and_delete(going))
        if done.listing is None or not done.listing.complete:
            # What is on it cannot be told now: the intents stand, and the next look at the device settles them.
            raise done.trouble or DeviceServiceError("the device could not be looked at after the wipe")
        await self._settle(going, done, before)

    def _open_and_delete(self, going: Sequence[Examined]) -> _Opened:
        """Everything between WIPE_INTENT and the look afterwards, in the camera's thread."""
        done = _Opened()
        try:
            try:
                self.device.open_for_wipe()
                self._unlink(going, done)
            except (DeviceServiceError, OSError) as error:
                done.trouble = error
            finally:
                # Whatever happened, it is closed for writing again.
                self.device.close_after_wipe()
            done.listing = self.device.list(self.worker.control)
        except CameraGoneError:
            raise
        except (DeviceServiceError, OSError) as error:
            done.trouble = error
            return done
        paths = [*done.listing.others, *(p for item in going if (p := item.outcome.row.path) in done.listing.files)]
        done.survivors = {path: self._digests(path) for path in paths}
        return done

    def _unlink(self, going: Sequence[Examined], done: _Opened) -> None:
        deleted = []
        for item in going:
            row = item.outcome.row
            assert item.device is not None
            try:
                self.device.delete(row.path, item.device.seen)
            except CameraGoneError:
                raise
            except DockdError as error:
                item.error = error
                done.trouble = done.trouble or error
                # The file system is not what it was taken for: nothing more is changed on it.
                break
            deleted.append(row.path)
        self.device.settle_deletions(deleted)

    async def _settle(self, going: Sequence[Examined], done: _Opened, before: dict[bytes, Digests | None]) -> None:
        """WIPED for what a fresh look at the device does not show any more; the rest stays confirmed."""
        listing = done.listing
        assert listing is not None
        still = [item for item in going if item.outcome.row.path in listing.files]
        gone = [item for item in going if item not in still]
        ids = [item.outcome.row.id for item in gone]
        await self.journal.run(lambda tx: wipes.wiped(tx, ids))
        for item in gone:
            item.outcome.wiped = True
        for item in still:
            why = item.error or done.trouble or "it was unlinked, and is there again after a fresh mount"
            await self._abandon(item, Refusal("not-deleted", f"the card took no deletion: {why}"))
        await self._survived(still, done.survivors, before)

    async def _survived(
        self,
        still: Sequence[Examined],
        survivors: dict[bytes, Digests | None],
        before: dict[bytes, Digests | None],
    ) -> None:
        """Compare what is left with what it was before the device was opened."""
        wanted = dict(before)
        for item in still:
            row = item.outcome.row
            wanted[row.path] = Digests(row.size_bytes, row.blake3 or "", row.sha256 or "")
        damaged = [path for path, digests in wanted.items() if digests is not None and survivors.get(path) != digests]
        if not damaged:
            self.tell(None)
            return
        names = ", ".join(display_name(path) for path in damaged[:3])
        what = f"{len(damaged)} files that were to stay are not as they were before the wipe: {names}"
        log.error("survivors_damaged", what=what)

        def record(tx: Transaction) -> None:
            tx.append(IntegrityFailure(what="survivors-damaged", detail=what))

        await self.journal.run(record)
        self.tell(what)


def _hold_back(outcomes: Sequence[Outcome], others: queries.Companions | None) -> None:
    """Those against which nothing speaks wait for the others on their device."""
    refusals = [outcome.refusal for outcome in outcomes if outcome.refusal is not None]
    lasting = any(found.lasting for found in refusals) or (others is not None and others.lasting)
    reasons = sorted({found.reason for found in refusals})
    why = f"others on it may not be wiped ({', '.join(reasons)})"
    if others is not None:
        why = f"{others.count} others on it may not be wiped ({others.why})"
    for outcome in outcomes:
        if outcome.refusal is None:
            detail = f"a card is wiped only when all of its recordings may go, and {why}"
            outcome.refusal = Refusal(COMPANIONS, detail, lasting=lasting)
