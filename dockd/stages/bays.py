"""The bays: which cameras are there, and a session for each of them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import structlog

from dockd.alerts import AlertBoard
from dockd.cameras.base import Camera
from dockd.errors import CameraGoneError
from dockd.runtime.workers import Worker
from dockd.stages.session import Session
from dockd.stages.stalls import Stalls

log = structlog.get_logger()

RETRY_S: Final = 5.0
REFUSED_RETRY_S: Final = 300.0
JOIN_S: Final = 6.0


@dataclass(frozen=True, slots=True)
class Find:
    """What a finder found in one place.

    `ident`: another one, another docking. `subject`: the camera's in alerts, and the same wherever it is found.
    `clash`: why it is not wiped, because another one claims to be it; `waits`: why it is not served.
    `thing`: what sits there, whatever becomes of its media.
    """

    bay: str
    ident: Hashable
    subject: str
    open_camera: Callable[[], Camera] | None
    clash: str | None = None
    waits: str | None = None
    thing: Hashable = None


class Finder(Protocol):
    """Finds cameras of one kind. `bays` are those that are there also when nothing is in them."""

    bays: Sequence[str]
    gone: str
    rescan_s: float

    @property
    def restarts(self) -> int:
        """How often listening had to be begun anew."""

    def start(self, changed: Callable[[bytes | None], None]) -> None:
        """Begin to listen; `changed` gets the place in which something changed, or None for any."""

    async def look(self) -> Mapping[bytes, Find]:
        """What is there now, by place; raises OSError if that cannot be told."""

    def stop(self) -> None:
        """Listen no more."""


@dataclass(slots=True)
class Bay:
    """One place in which a camera is, and what serves it."""

    finder: Finder
    find: Find
    session: Session | None = None
    task: asyncio.Task[None] | None = None
    retry_at_s: float = 0.0
    refused: str | None = None


@dataclass(slots=True)
class Bays:
    """Sessions for whatever the finders find."""

    finders: Sequence[Finder]
    stalls: Stalls
    alerts: AlertBoard
    make_session: Callable[[Camera, Worker, Callable[[], bool]], Session]
    bays: dict[bytes, Bay] = field(default_factory=dict)
    _left_behind: dict[str, Session] = field(default_factory=dict)
    _wakes: dict[int, asyncio.Event] = field(default_factory=dict)
    _stopping: bool = False
    _came: dict[tuple[int, bytes], tuple[Hashable, float | None]] = field(default_factory=dict)
    """By finder and place: what sits there, and when it was last seen not to (seconds of the monotonic clock)."""
    _looked_s: dict[int, float] = field(default_factory=dict)
    _ending: set[asyncio.Task[None]] = field(default_factory=set)

    def sessions(self) -> list[Session]:
        """All sessions, the ones whose threads hang included."""
        return [bay.session for bay in self.bays.values() if bay.session is not None]

    def others(self) -> dict[str, str | None]:
        """The bays that no session serves: what keeps it from that, or None if the bay is empty."""
        found: dict[str, str | None] = {name: None for finder in self.finders for name in finder.bays}
        for bay in self.bays.values():
            if bay.session is None:
                found[bay.find.bay] = bay.refused or bay.find.waits
        for session in self.sessions():
            found.pop(session.camera.bay, None)
        return found

    def restarts(self) -> int:
        """How often listening for cameras had to be begun anew."""
        return sum(finder.restarts for finder in self.finders)

    def names(self) -> list[str]:
        """All bays by name."""
        return sorted({*(session.camera.bay for session in self.sessions()), *self.others()})

    # --- finding -------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve whatever is docked, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for number, finder in enumerate(self.finders):
                self._wakes[number] = asyncio.Event()
                group.create_task(self._find(number, finder), name=f"bays-{number}")

    async def _find(self, number: int, finder: Finder) -> None:
        loop = asyncio.get_running_loop()
        wake = self._wakes[number]
        finder.start(lambda place: _tell(loop, lambda: self._changed(number, place)))
        try:
            while True:
                wake.clear()
                began_s = time.monotonic()
                with contextlib.suppress(OSError):
                    # What cannot be listed just now says nothing about the cameras in it.
                    found = await finder.look()
                    self._note_comings(number, found, began_s)
                    self._reconcile(finder, found)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._pause_s(finder)):
                        await wake.wait()
        finally:
            finder.stop()

    def _note_comings(self, number: int, found: Mapping[bytes, Find], began_s: float) -> None:
        """What is new was not there when the last look began; of what the first one finds that cannot be said."""
        before_s = self._looked_s.get(number)
        known = {place: self._came.pop((number, place)) for finder, place in list(self._came) if finder == number}
        for place, find in found.items():
            came = known.get(place)
            self._came[number, place] = came if came and came[0] == find.thing else (find.thing, before_s)
        self._looked_s[number] = began_s

    def _pause_s(self, finder: Finder) -> float:
        """Until it is time to look again, or to try again with a camera whose session has ended."""
        now_s = asyncio.get_running_loop().time()
        ended = [bay for bay in self.bays.values() if bay.finder is finder and bay.session and bay.session.ended]
        return max(0.5, min([finder.rescan_s, *(bay.retry_at_s - now_s for bay in ended)]))

    def _changed(self, number: int, place: bytes | None) -> None:
        """Something was seen: on one camera, or in the place of all cameras."""
        bay = None if place is None else self.bays.get(place)
        if bay is not None and bay.session is not None:
            bay.session.poke(look=True)
        if place is None or bay is None:
            self._wakes[number].set()

    def _wake_all(self) -> None:
        for wake in self._wakes.values():
            wake.set()

    def poke_all(self, *, look: bool = False) -> None:
        """Something may have changed for every camera."""
        for session in self.sessions():
            session.poke(look=look)

    def rescan(self, bay: str | None) -> None:
        """Look anew: at one bay's camera, or at which cameras are there and at all of them."""
        for session in self.sessions():
            if bay in (None, session.camera.bay):
                session.poke(look=True)
        self._wake_all()

    def stored(self, camera_id: int) -> None:
        """A recording of this camera went a step further in the store; there may be more room in the spool."""
        for session in self.sessions():
            if session.waiting_for is not None or (session.docking is not None and session.docking.camera == camera_id):
                session.poke(look=False)

    def _reconcile(self, finder: Finder, found: Mapping[bytes, Find]) -> None:
        for place in [place for place, bay in self.bays.items() if bay.finder is finder]:
            find = found.get(place)
            if find is None or find.ident != self.bays[place].find.ident:
                self._leave(place)
        for place, find in found.items():
            bay = self.bays.get(place)
            now_s = asyncio.get_running_loop().time()
            if bay is None:
                self._arrive(finder, place, find)
            elif bay.session is None or bay.session.ended:
                if bay.task is not None and not bay.task.done():
                    continue
                if now_s >= bay.retry_at_s:
                    # Its alerts stand until the new session, or its end, takes them down.
                    self._arrive(finder, place, find)
            self.bays[place].find = find
        for bay in self.bays.values():
            if bay.finder is finder:
                self.alerts.put("identity_clash", bay.find.subject, bay.find.clash)

    def _arrive(self, finder: Finder, place: bytes, find: Find) -> None:
        bay = self.bays[place] = Bay(finder, find, retry_at_s=asyncio.get_running_loop().time() + RETRY_S)
        if find.open_camera is None:
            bay.retry_at_s = 0.0
            return
        left = self._left_behind.get(find.subject)
        if left is not None and not left.worker.ended:
            # Its thread may still come back and write; two must never work on one recording.
            bay.refused = "its last docking has not ended: a read hangs"
            bay.retry_at_s = 0.0
            if self.stalls.hangs(left.worker.control):
                self.alerts.put("camera_stalled", find.subject, bay.refused)
            return
        self._left_behind.pop(find.subject, None)
        camera = find.open_camera()
        worker = Worker(f"camera-{camera.identity.part[:40]}")
        bay.session = self.make_session(camera, worker, lambda: bay.find.clash is not None)
        bay.session.clock.absent_s = self._came[self.finders.index(finder), place][1]
        bay.task = asyncio.create_task(self._run_session(bay), name=worker.name)

    # --- leaving -------------------------------------------------------------------------------------

    async def _run_session(self, bay: Bay) -> None:
        session = bay.session
        assert session is not None
        try:
            await session.run()
        except Exception as error:
            # A journal that failed ends the daemon by itself; anything else is tried anew with the camera.
            log.exception("session_failed", camera=session.name, error=str(error))
        finally:
            pause_s = REFUSED_RETRY_S if session.refused else RETRY_S
            bay.retry_at_s = asyncio.get_running_loop().time() + pause_s
            session.worker.give_back(session.camera.leave)
            session.worker.close()
            # While stopping nobody waits any more: a thread that hangs would take the time that is left.
            if session.worker.ended if self._stopping else await session.worker.join(JOIN_S):
                session.release()
            self._wake_all()

    def _leave(self, place: bytes) -> None:
        bay = self.bays[place]
        if bay.session is not None and not bay.session.worker.ended:
            self._left_behind[bay.find.subject] = bay.session
        if bay.session is not None and not bay.session.ended:
            log.info("camera_leaves", camera=bay.session.name, bay=bay.find.bay)
            bay.session.worker.control.stop(CameraGoneError(bay.finder.gone))
            bay.session.poke(look=False)
            if self.stalls.hangs(bay.session.worker.control) and bay.task is not None:
                # Its thread hangs in the kernel and will not answer.
                bay.task.cancel()
                self._end_hung(bay.session)
        self._forget(place)

    def _forget(self, place: bytes) -> None:
        self.alerts.drop_subject(self.bays[place].find.subject)
        del self.bays[place]

    def watch_stalls(self) -> None:
        """Bays whose thread has made no progress for too long are named; the others go on."""
        for bay in self.bays.values():
            if bay.session is None:
                continue
            camera = bay.session.camera
            what = bay.session.stalled = self.stalls.what(bay.session.worker.control, bay=camera.bay)
            if what is not None or bay.refused is None:
                self.alerts.put("camera_stalled", bay.find.subject, what)
        for session in self._left_behind.values():
            # It left while its read hung for less than that: what is said of it must become true all the same.
            if self.stalls.hangs(session.worker.control) and session.phase != "ended":
                self._end_hung(session)

    def _end_hung(self, session: Session) -> None:
        """Record the end of a docking whose thread cannot."""
        session.phase = "ended"
        self._ending.add(asyncio.create_task(session.end("it was taken out; a read still hangs")))

    async def stop(self, timeout_s: float) -> bool:
        """Stop all sessions; False if a thread is stuck in the kernel and was left behind."""
        tasks = [bay.task for bay in self.bays.values() if bay.task is not None]
        for session in self.sessions():
            session.worker.control.stop()
            session.poke(look=False)
        if tasks:
            await asyncio.wait(tasks, timeout=timeout_s)
        self._stopping = True
        return all(task.done() for task in tasks) and all(session.worker.ended for session in self.sessions())


def _tell(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    """Call `function` on the loop, from another thread; too late if the loop is closed by now."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(function)
