"""The lane to the store: a few threads that upload and read back, whatever camera the recordings are from.

Sole copies go first. A store that is down is asked again with growing pauses; what is wrong with a single
recording stops that recording alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

import structlog

from dockd.alerts import AlertBoard
from dockd.direct_io import Buffer
from dockd.errors import (
    DockdError,
    JournalBusyError,
    JournalDamagedError,
    SpoolCorruptError,
    SpoolFullError,
    StoppedError,
    StoreConflictError,
    StoreFullError,
    StoreUnavailableError,
    StoreUnknownError,
)
from dockd.identity import display_name
from dockd.journal import queries
from dockd.lifecycle import RecordingState
from dockd.runtime.workers import Control, Worker
from dockd.stages.trash import abandon_uploads
from dockd.stages.upload import StoreParts, spool_copy_lost, upload_recording
from dockd.stages.verify import confirm_again, confirm_recording

T = TypeVar("T")
log = structlog.get_logger()

LANES: Final = 2
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0
FAILED_PAUSE_S: Final = 5.0
IDLE_LOOK_S: Final = 30.0
"""Nothing should wait for this: work is announced. It is the net below that."""

STORE_TROUBLE = (StoreUnavailableError, StoreFullError, StoreUnknownError)


@dataclass(slots=True)
class StoreLane:
    """Uploads and confirms; `seen_s` tells the monotonic seconds that the daemon saw pass in all its runs."""

    parts: StoreParts
    alerts: AlertBoard
    seen_s: Callable[[], float]
    on_progress: Callable[[int], None]
    workers: list[Worker] = field(default_factory=list)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _pokes: int = 0
    _resume: asyncio.Event = field(default_factory=asyncio.Event)
    _in_hand: dict[int, tuple[int, str | None]] = field(default_factory=dict)
    _serving: dict[int, Worker] = field(default_factory=dict)
    _again: dict[int, int] = field(default_factory=dict)
    _behind: set[int] = field(default_factory=set)
    """What the store was in trouble with: one object that cannot be read must not keep all others waiting."""
    _pause_s: float = 0.0
    _tidy_again_s: float = 0.0
    trouble: str | None = None

    def poke(self) -> None:
        """There may be work."""
        self._pokes += 1
        self._wake.set()
        self._wake = asyncio.Event()

    def busy_with(self, camera_id: int) -> bool:
        """Whether a recording of this camera is being uploaded or read back."""
        return any(camera_id == camera for camera, _ in self._in_hand.values()) or camera_id in self._again.values()

    def controls_of(self, camera_id: int) -> list[Control]:
        """The progress of what is being uploaded or read back of this camera."""
        hands = self._in_hand.items()
        return [
            self._serving[key].control for key, (camera, _) in hands if camera == camera_id and key in self._serving
        ]

    def freshen(self, recording_id: int, camera_id: int) -> None:
        """Read a confirmed recording back once more: its last read-back is too old to wipe on."""
        self._again[recording_id] = camera_id
        self.poke()

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for number in range(LANES):
                worker = Worker(f"store-{number}")
                self.workers.append(worker)
                group.create_task(self._serve(worker), name=worker.name)

    async def _serve(self, worker: Worker) -> None:
        buffer = await worker.run(Buffer)
        while not worker.control.stopping:
            seen = self._pokes
            work = await self._next()
            if work is None:
                await self._tidy(worker)
                await self._sleep(seen)
                continue
            recording_id, content, again = work
            self._in_hand[recording_id] = content
            self._serving[recording_id] = worker
            try:
                await self._work(worker, recording_id, buffer, again=again)
            finally:
                self._in_hand.pop(recording_id, None)
                self._serving.pop(recording_id, None)

    async def _tidy(self, worker: Worker) -> None:
        """Nothing else is to be done: take away what was begun in the store and is of no use any more."""
        now_s = asyncio.get_running_loop().time()
        if worker is not self.workers[0] or now_s < self._tidy_again_s:
            return
        try:
            await worker.run(lambda: abandon_uploads(self.parts.journal, self.parts.store))
        except StoppedError:
            return
        except STORE_TROUBLE as error:
            # It costs room in the store and nothing else; whoever has a recording to send tells of the trouble.
            self._tidy_again_s = now_s + LONGEST_PAUSE_S
            log.info("begun_uploads_stay", why=error.message)
        except JournalDamagedError:
            raise
        except (DockdError, OSError, ValueError, AssertionError, RuntimeError) as error:
            self._tidy_again_s = now_s + LONGEST_PAUSE_S
            await self._failed_otherwise(error)

    async def _sleep(self, seen: int) -> None:
        """Until there was a poke since `seen`: one that came while this lane was looking counts too."""
        if self._pokes == seen:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(IDLE_LOOK_S):
                    await self._wake.wait()

    async def _next(self) -> tuple[int, tuple[int, str | None], bool] | None:
        """The next recording: uploads and confirmations first, then read-backs that the gate waits for.

        The same content of the same camera is never in hand twice: it is stored once.
        """
        waiting = await self.parts.journal.run(queries.to_store)
        for row in sorted(waiting, key=lambda row: row.id in self._behind):
            if row.id not in self._in_hand and (row.camera, row.blake3) not in self._in_hand.values():
                return row.id, (row.camera, row.blake3), False
        for recording_id in list(self._again):
            if recording_id not in self._in_hand:
                camera_id = self._again.pop(recording_id)
                return recording_id, (camera_id, None), True
        return None

    async def _work(self, worker: Worker, recording_id: int, buffer: Buffer, *, again: bool) -> None:
        try:
            if again:
                await worker.run(lambda: confirm_again(self.parts, recording_id, buffer, worker.control))
            else:
                await worker.run(lambda: self._upload_and_confirm(worker, recording_id, buffer))
        except StoppedError:
            return
        except STORE_TROUBLE as error:
            self._behind.add(recording_id)
            await self._wait_out(error)
            if again:
                self._again[recording_id] = self._in_hand[recording_id][0]
            return
        except (StoreConflictError, SpoolCorruptError) as error:
            await self._one_failed(worker, recording_id, error)
            return
        except JournalDamagedError:
            raise
        except (DockdError, OSError, ValueError, AssertionError, RuntimeError) as error:
            await self._failed_otherwise(error)
            return
        self._clear_trouble()
        self._behind.discard(recording_id)
        row = await self.parts.journal.run(lambda tx: tx.recording(recording_id))
        fault = None if row.store_fault is None else f"{row.store_key} is {row.store_fault}"
        self.alerts.put("store_fault", row.uid, fault, about="dock")
        for code in ("store_conflict", "spool_corrupt"):
            self.alerts.put(code, row.uid, None)
        self.on_progress(row.camera)

    def _upload_and_confirm(self, worker: Worker, recording_id: int, buffer: Buffer) -> None:
        row = self.parts.journal.run_in_thread(lambda tx: tx.recording(recording_id))
        if row.state is RecordingState.SPOOLED:
            row = upload_recording(self.parts, recording_id, buffer, worker.control)
        if row.state is RecordingState.UPLOADED and row.read_whole:
            confirm_recording(self.parts, recording_id, self.seen_s(), buffer, worker.control)

    async def _one_failed(self, worker: Worker, recording_id: int, error: DockdError) -> None:
        row = await self.parts.journal.run(lambda tx: tx.recording(recording_id))
        name = display_name(row.path)
        log.error("recording_not_stored", recording=row.uid, path=name, error=error.message, hint=error.hint)
        if isinstance(error, StoreConflictError):
            self.alerts.put("store_conflict", row.uid, f"{name}: {error.message}", about="dock")
        elif isinstance(error, SpoolCorruptError):
            self.alerts.put("spool_corrupt", row.uid, f"{name}: {error.message}", about="dock")
            if await worker.run(lambda: spool_copy_lost(self.parts, recording_id, error)):
                self.on_progress(row.camera)

    async def _failed_otherwise(self, error: Exception) -> None:
        """No room for the journal, or a defect: nothing was claimed; pause, and try again."""
        if not isinstance(error, SpoolFullError | JournalBusyError):
            log.error("internal_error", error=str(error), exc_info=error)
            self.alerts.put("internal_error", "store", str(error), about="dock")
        await asyncio.sleep(FAILED_PAUSE_S)

    async def _wait_out(self, error: DockdError) -> None:
        """A store in trouble: raise the alert that names it, and pause."""
        if self.trouble is None:
            log.error("store_trouble", error=error.message, hint=error.hint)
        self.trouble = error.message
        codes = {
            StoreFullError: "store_full",
            StoreUnknownError: "store_not_initialised",
            SpoolFullError: "spool_full",
        }
        code = codes.get(type(error), "store_unavailable")
        for other in {"store_full", "store_not_initialised", "store_unavailable"} - {code}:
            self.alerts.put(other, "dock", None)
        self.alerts.put(code, "dock", error.message, hint=error.hint)
        self._pause_s = min(LONGEST_PAUSE_S, max(FIRST_PAUSE_S, self._pause_s * 2))
        self._resume.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._pause_s * random.uniform(0.5, 1.0)):  # noqa: S311 - jitter
                await self._resume.wait()

    def end_pause(self) -> None:
        """The store was seen to work again."""
        self._resume.set()

    def _clear_trouble(self) -> None:
        self.alerts.put("internal_error", "store", None)
        self._pause_s = 0.0
        if self.trouble is not None:
            log.info("store_works_again")
            self.trouble = None
        for code in ("store_full", "store_not_initialised", "store_unavailable"):
            self.alerts.put(code, "dock", None)
