"""A session: what is done with one camera from docking to undocking, in one thread of its own.

Look, copy, re-read where a copy needs it, wipe what may be wiped, read again what was confirmed before; then
wait until something changes. Whatever goes wrong with one recording stops that recording alone.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import structlog

from dockd.alerts import AlertBoard
from dockd.cameras.base import Camera
from dockd.direct_io import Buffer
from dockd.errors import (
    CameraGoneError,
    DeviceServiceError,
    DockdError,
    JournalBusyError,
    JournalDamagedError,
    NotDisjointError,
    NotSettledError,
    RecordingUnreadableError,
    SourceChangedError,
    SpoolCorruptError,
    SpoolFullError,
    StoppedError,
)
from dockd.identity import Seen, display_name
from dockd.journal import dockings, queries, recordings
from dockd.journal.dockings import Rules, SeenFile
from dockd.journal.rows import DockingRow, RecordingRow
from dockd.journal.transaction import Transaction
from dockd.runtime.workers import Worker
from dockd.stages.camera_clock import CameraTime
from dockd.stages.inventory import Inventory, tell_of_listing, without_writers
from dockd.stages.lane import StoreLane
from dockd.stages.mending import Mending
from dockd.stages.offload import OffloadParts, copy_recording, reread_recording
from dockd.stages.wiping import Wiping

log = structlog.get_logger()

NOTE_BATCH: Final = 200
SHORT_PAUSE_S: Final = 2.0
COALESCE_S: Final = 0.02
PROBLEM_PAUSE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """What the configuration says of sessions; times in seconds. `paused`: whether a bay begins nothing new."""

    dock_name: str
    settle_s: float
    rescan_s: float
    paused: Callable[[str], bool]


@dataclass(slots=True)
class Session:
    """One docked camera."""

    parts: OffloadParts
    camera: Camera
    worker: Worker
    lane: StoreLane
    alerts: AlertBoard
    settings: SessionSettings
    wiping: Wiping
    clock: CameraTime
    docking: DockingRow | None = None
    phase: str = "identifying"
    attention: str | None = None
    stalled: str | None = None
    refused: bool = False
    moving: set[bytes] = field(default_factory=set)
    ended: bool = False
    _inventory: Inventory = field(init=False)
    _mending: Mending = field(init=False)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _look_due: bool = True
    _last_look_s: float = 0.0
    _last_shape: object = None
    _no_room: dict[int, str] = field(default_factory=dict)
    _not_before_s: dict[int, float] = field(default_factory=dict)
    _buffer: Buffer | None = None

    def __post_init__(self) -> None:
        self._inventory = Inventory(self.settings.settle_s)
        self._mending = Mending(self.parts.journal, self.camera, self.worker)

    @property
    def name(self) -> str:
        """The camera's serial, for people."""
        return display_name(self.camera.identity.serial)

    @property
    def waiting_for(self) -> str | None:
        """What intake waits for: room in the spool for recordings that do not fit in now."""
        return next(iter(self._no_room.values()), None)

    @property
    def idle(self) -> bool:
        """Whether everything was gone through, and nothing has come up since."""
        return self.phase == "idle" and not self._wake.is_set()

    @property
    def subject(self) -> str:
        """The camera's subject in alerts."""
        return f"camera-{self.camera.identity.part}"

    def poke(self, *, look: bool) -> None:
        """Something may have changed; with `look`, on the camera itself."""
        self._look_due = self._look_due or look
        self._wake.set()

    def retry(self) -> None:
        """Try again now what waits for a later attempt, and ask the gate anew."""
        self._not_before_s.clear()
        self._mending.unreadable = dict.fromkeys(self._mending.unreadable, 0.0)
        self.wiping.forget_refusals()
        self.poke(look=True)

    async def run(self) -> None:
        """Serve the camera until it leaves or the daemon stops; ends without an exception then."""
        structlog.contextvars.bind_contextvars(camera=self.name, bay=self.camera.bay)
        why = dockings.DAEMON_STOPPED
        try:
            await self._dock()
            await self._serve()
        except CameraGoneError as error:
            why = error.message
        except StoppedError:
            pass
        except (DeviceServiceError, NotDisjointError) as error:
            why = self.attention = error.message
            # A device that cannot be looked at now is docked anew, soon; wrong paths stay wrong for a while.
            self.refused = isinstance(error, NotDisjointError)
            code = "camera_refused" if self.refused else "camera_not_mounted"
            self.alerts.put(code, self.subject, f"{error.message}. {error.hint}")
            log.error(code, error=error.message, hint=error.hint)
        finally:
            self.ended = True
        while True:
            try:
                await self.end(why)
                return
            except (SpoolFullError, JournalBusyError) as error:
                # What is claimed of a camera that left must not stay as it was.
                log.warning("end_of_docking_waits", error=error.message)
                if isinstance(self.worker.control.reason, StoppedError):
                    return
                await asyncio.sleep(SHORT_PAUSE_S)

    async def end(self, why: str) -> None:
        """Record that the docking is over; idempotent."""
        self.phase = "ended"
        if self.docking is not None:
            docking_id = self.docking.id
            uid = partial(self.parts.randomness.token, 8)
            files = [SeenFile(path, seen, uid()) for path, seen in self._inventory.unsettled().items()]
            rules = Rules(self.camera.stable_inodes, self.camera.local_times)
            await self.parts.journal.run(lambda tx: dockings.end_docking(tx, docking_id, why, files, rules))
            log.info("camera_left", why=why)
            self.lane.poke()

    async def _dock(self) -> None:
        self._buffer = await self.worker.run(Buffer)
        await self.worker.run(self.camera.attach)
        await self.clock.read()
        for code in ("camera_not_mounted", "camera_refused"):
            self.alerts.put(code, self.subject, None)
        identity, bay, block = self.camera.identity, self.camera.bay, self.camera.write_block
        _, docking = await self.parts.journal.run(
            lambda tx: dockings.begin_docking(
                tx, identity, bay=bay, write_block=block, dock_name=self.settings.dock_name
            )
        )
        self.docking = docking
        log.info("camera_docked", docking=docking.name)

    async def _serve(self) -> None:
        while True:
            self.worker.control.check()
            # Cleared before looking: whatever comes up from now on is looked at in the next round.
            self._wake.clear()
            try:
                if not await self._step():
                    await self._wait()
            except (CameraGoneError, DeviceServiceError, StoppedError, NotDisjointError, JournalDamagedError):
                raise
            except (SpoolFullError, JournalBusyError) as error:
                # Not even the journal has room: nothing can be claimed, so nothing is done for a while.
                self._no_room[0] = error.message
                await self._pause(SHORT_PAUSE_S)
            except (DockdError, OSError, ValueError, AssertionError, RuntimeError) as error:
                # A defect, or a condition nobody thought of: this bay pauses, the others go on.
                log.exception("internal_error", error=str(error))
                self.alerts.put("internal_error", self.subject, f"{self.name}: {error}")
                self._wake.clear()
                await self._pause(PROBLEM_PAUSE_S / 2)

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()

    async def _step(self) -> bool:
        """Do the next piece of work; False if there is none."""
        if self._time_to_look():
            await self._look()
        assert self.docking is not None
        await self._mending.settle_intents(self.docking)
        if self.settings.paused(self.camera.bay):
            return False
        await self._mending.retry_unreadable(self._now_s())
        docking_id = self.docking.id
        journal = self.parts.journal
        held_back = 64 + len(self._not_before_s)
        if await self._mending.take_again(docking_id, self._due, self._reread):
            return True
        waiting = await journal.run(lambda tx: queries.to_copy(tx, docking_id, held_back))
        self._no_room = {row.id: self._no_room[row.id] for row in waiting if row.id in self._no_room}
        if await self._copy_all(waiting):
            return True
        for row in await journal.run(lambda tx: queries.to_reread(tx, docking_id, held_back)):
            if self._due(row):
                await self._reread(row)
                return True
        if await self.wiping.step(self, docking_id):
            return True
        for row in await journal.run(lambda tx: queries.to_recheck(tx, docking_id, held_back)):
            if self._due(row):
                await self._reread(row)
                return True
        return False

    def _time_to_look(self) -> bool:
        return self._look_due or self._now_s() - self._last_look_s >= self.settings.rescan_s

    async def _copy_all(self, waiting: Sequence[RecordingRow]) -> bool:
        """Copy what is due, until it is time to look again; False if nothing was."""
        copied = False
        for row in waiting:
            if self._time_to_look():
                break
            if self._due(row):
                await self._copy(row)
                copied = True
        return copied

    def _due(self, row: RecordingRow) -> bool:
        return self._not_before_s.get(row.id, 0.0) <= self._now_s()

    async def _wait(self) -> None:
        """Until something changes, a file settles, a pause is over, or it is time to look again."""
        self.phase = "idle"
        times = [self._last_look_s + self.settings.rescan_s, *self._mending.unreadable.values()]
        times += [time_s for time_s in self._not_before_s.values() if time_s > self._now_s()]
        if self.moving:
            times.append(self._last_look_s + max(0.1, self.settings.settle_s / 2))
        if self.wiping.next_s is not None:
            times.append(self.wiping.next_s)
        await self._pause(max(0.05, min(times) - self._now_s()))

    async def _pause(self, pause_s: float) -> None:
        if self.worker.control.stopping:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._wake.wait()
                # Confirmations come in crowds; one round serves many.
                await asyncio.sleep(COALESCE_S)
        if self.moving:
            self._look_due = True

    # --- looking -------------------------------------------------------------------------------------

    async def _look(self) -> None:
        self._look_due = False
        (control := self.worker.control).check()
        listing = await self.worker.run(lambda: self.camera.list(control))
        self._last_look_s = self._now_s()
        await self.clock.tell(self.docking, listing)
        news, moving = self._inventory.sift(listing, self._last_look_s)
        whole, written = await self.worker.run(lambda: without_writers(self.camera, news, control))
        for path in written:
            self._inventory.forget(path)
        await self._take_note(list(whole.items()))
        self._inventory.noted.update(whole)
        self.moving = moving | written
        shape = (frozenset(listing.files), tuple(sorted(listing.left_alone.items())))
        if listing.complete and shape != self._last_shape:
            await self._compare(set(listing.files), dict(listing.left_alone))
            self._last_shape = shape
        tell_of_listing(self.alerts, self.subject, listing, written)

    async def _take_note(self, found: Sequence[tuple[bytes, Seen]]) -> None:
        assert self.docking is not None
        docking = self.docking
        rules = Rules(self.camera.stable_inodes, self.camera.local_times)
        token = self.parts.randomness.token
        files = [SeenFile(path, seen, token(8)) for path, seen in found]
        for start in range(0, len(files), NOTE_BATCH):
            batch = files[start : start + NOTE_BATCH]
            changed = await self.parts.journal.run(
                partial(dockings.take_note, docking=docking, files=batch, rules=rules)
            )
            for row in changed:
                self.say_changed(row, "another file took its place on the camera")

    def say_changed(self, row: RecordingRow, what: str) -> None:
        """Alert: a known file of this camera is another one by now."""
        log.warning("recording_changed", recording=row.uid, path=display_name(row.path), what=what)
        self.alerts.put("recording_changed", self.subject, f"{display_name(row.path)}: {what}")

    async def _compare(self, present: set[bytes], left_alone: dict[str, int]) -> None:
        assert self.docking is not None
        docking_id = self.docking.id

        def compare(tx: Transaction) -> DockingRow:
            dockings.listing_complete(tx, tx.docking(docking_id), present, left_alone)
            return tx.docking(docking_id)

        self.docking = await self.parts.journal.run(compare)

    # --- copying and re-reading ----------------------------------------------------------------------

    async def _copy(self, row: RecordingRow) -> None:
        self.phase = "offloading"
        assert self._buffer is not None
        buffer, control = self._buffer, self.worker.control
        try:
            digests = await self.worker.run(lambda: copy_recording(self.parts, self.camera, row.id, buffer, control))
        except (
            NotSettledError,
            SourceChangedError,
            RecordingUnreadableError,
            SpoolCorruptError,
            SpoolFullError,
        ) as error:
            await self._one_failed(row, error)
            return
        self._worked(row)
        log.info("recording_copied", recording=row.uid, path=display_name(row.path), size=digests.size_bytes)
        self.lane.poke()

    async def _reread(self, row: RecordingRow) -> None:
        self.phase = "confirming"
        assert self._buffer is not None and self.docking is not None
        buffer, control, docking_id = self._buffer, self.worker.control, self.docking.id
        try:
            equal = await self.worker.run(
                lambda: reread_recording(self.parts, self.camera, row, docking_id, buffer, control)
            )
        except (NotSettledError, SourceChangedError, RecordingUnreadableError) as error:
            await self._one_failed(row, error)
            return
        self._worked(row)
        if not equal:
            self.say_changed(row, "its bytes on the camera are not those that were copied before")
        self.lane.poke()

    def _worked(self, row: RecordingRow) -> None:
        self._not_before_s.pop(row.id, None)
        self._no_room.pop(row.id, None)
        self.alerts.put("internal_error", self.subject, None)
        self.alerts.put("recording_unreadable", row.uid, None)

    async def _one_failed(self, row: RecordingRow, error: DockdError) -> None:
        name = display_name(row.path)
        if row.id not in self._no_room:
            log.warning("recording_waits", recording=row.uid, path=name, error=error.message, hint=error.hint)
        self._no_room.pop(row.id, None)
        self._not_before_s[row.id] = self._now_s() + SHORT_PAUSE_S
        if isinstance(error, NotSettledError | SourceChangedError):
            self._inventory.forget(row.path)
            self._look_due = True
        elif isinstance(error, SpoolFullError):
            # Others may fit in; this one is tried again and again.
            self._no_room[row.id] = error.message
        elif isinstance(error, SpoolCorruptError):
            self.alerts.put("spool_corrupt", row.uid, f"{name}: {error.message}", about="dock")
        else:
            await self.parts.journal.run(
                lambda tx: recordings.problem(tx, row.id, "recording_unreadable", error.message)
            )
            what = f"{self.name}: {name}: {error.message}"
            self.alerts.put("recording_unreadable", row.uid, what, about=self.subject)
            self._mending.unreadable[row.id] = self._now_s() + PROBLEM_PAUSE_S

    def release(self) -> None:
        """Let go of the camera, once its thread has ended."""
        with contextlib.suppress(OSError):
            self.camera.close()
