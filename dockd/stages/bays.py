"""The bays: which cameras are there, and a session for each of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import structlog

from dockd.alerts import AlertBoard
from dockd.cameras.folder import FolderCamera
from dockd.errors import CameraGoneError
from dockd.identity import display_name, encode_part
from dockd.runtime.workers import Worker
from dockd.stages.detect import FolderWatch, camera_folders
from dockd.stages.session import Session
from dockd.stages.stalls import Stalls

log = structlog.get_logger()

RETRY_S: Final = 5.0
REFUSED_RETRY_S: Final = 300.0
JOIN_S: Final = 6.0


@dataclass(slots=True)
class Bay:
    """One place in which a camera is, and what serves it."""

    ident: tuple[int, int]
    session: Session | None
    task: asyncio.Task[None] | None
    retry_at_s: float = 0.0
    refused: str | None = None


@dataclass(slots=True)
class FolderBays:
    """Sessions for the sub-folders of the camera folder."""

    root: bytes
    rescan_s: float
    stalls: Stalls
    alerts: AlertBoard
    open_camera: Callable[[bytes], FolderCamera]
    make_session: Callable[[FolderCamera, Worker, Callable[[], bool]], Session]
    bays: dict[bytes, Bay] = field(default_factory=dict)
    _left_behind: dict[bytes, Session] = field(default_factory=dict)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _stopping: bool = False
    _ending: set[asyncio.Task[None]] = field(default_factory=set)
    _clashing: set[bytes] = field(default_factory=set)
    _looker: Worker = field(default_factory=lambda: Worker("detect"))

    def sessions(self) -> list[Session]:
        """All sessions, the ones whose threads hang included."""
        return [bay.session for bay in self.bays.values() if bay.session is not None]

    async def run(self) -> None:
        """Serve whatever is docked, until cancelled."""
        loop = asyncio.get_running_loop()
        watch = FolderWatch(self.root, lambda name: _tell(loop, self._changed, name))
        try:
            while True:
                self._wake.clear()
                with contextlib.suppress(OSError):
                    # A folder that cannot be listed just now says nothing about the cameras in it.
                    await self._looker.run(watch.ensure)
                    self._reconcile(await self._looker.run(lambda: camera_folders(self.root)))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self.rescan_s):
                        await self._wake.wait()
        finally:
            self._looker.control.stop()
            self._looker.close()
            watch.stop()

    def _changed(self, name: bytes | None) -> None:
        """Watchdog saw something: on one camera, or in the folder of all cameras."""
        bay = None if name is None else self.bays.get(os.path.join(self.root, name))
        if bay is not None and bay.session is not None:
            bay.session.poke(look=True)
        if name is None or bay is None:
            self._wake.set()

    def poke_all(self, *, look: bool = False) -> None:
        """Something may have changed for every camera."""
        for session in self.sessions():
            session.poke(look=look)

    def rescan(self, bay: str | None) -> None:
        """Look anew: at one bay's camera, or at which cameras are there and at all of them."""
        for session in self.sessions():
            if bay in (None, session.camera.bay):
                session.poke(look=True)
        self._wake.set()

    def stored(self, camera_id: int) -> None:
        """A recording of this camera went a step further in the store; there may be more room in the spool."""
        for session in self.sessions():
            if session.waiting_for is not None or (session.docking is not None and session.docking.camera == camera_id):
                session.poke(look=False)

    def _reconcile(self, found: dict[bytes, tuple[int, int]]) -> None:
        idents = list(found.values())
        self._clashing = {path for path, ident in found.items() if idents.count(ident) > 1}
        for path in list(self.bays):
            if found.get(path) != self.bays[path].ident:
                self._leave(path)
        for path, ident in found.items():
            bay = self.bays.get(path)
            now_s = asyncio.get_running_loop().time()
            if bay is None:
                self._arrive(path, ident)
            elif bay.session is None or bay.session.ended:
                if bay.task is not None and not bay.task.done():
                    continue
                if now_s >= bay.retry_at_s:
                    self._forget(path)
                    self._arrive(path, ident)
        for path in self.bays:
            what = "two folders are one and the same, or two cameras claim one serial"
            self.alerts.put("identity_clash", self._subject(path), what if path in self._clashing else None)

    @staticmethod
    def _subject(path: bytes) -> str:
        return f"camera-{encode_part(path.rsplit(b'/', 1)[-1])}"

    def _arrive(self, path: bytes, ident: tuple[int, int]) -> None:
        retry_at_s = asyncio.get_running_loop().time() + RETRY_S
        bay = Bay(ident, None, None, retry_at_s)
        self.bays[path] = bay
        left = self._left_behind.get(path)
        if left is not None and not left.worker.ended:
            # Its thread may still come back and write; two must never work on one recording.
            bay.refused = "its last docking has not ended: a read hangs"
            if self.stalls.hangs(left.worker.control):
                self.alerts.put("camera_stalled", self._subject(path), bay.refused)
            return
        self._left_behind.pop(path, None)
        camera = self.open_camera(path)
        worker = Worker(f"camera-{encode_part(camera.identity.serial)[:40]}")
        bay.session = self.make_session(camera, worker, lambda: path in self._clashing)
        bay.task = asyncio.create_task(self._run_session(bay), name=worker.name)

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
            session.worker.close()
            # While stopping nobody waits any more: a thread that hangs would take the time that is left.
            if session.worker.ended if self._stopping else await session.worker.join(JOIN_S):
                session.release()
            self._wake.set()

    def _leave(self, path: bytes) -> None:
        bay = self.bays[path]
        if bay.session is not None and not bay.session.ended:
            log.info("camera_leaves", camera=display_name(path.rsplit(b"/", 1)[-1]))
            bay.session.worker.control.stop(CameraGoneError("the folder is gone"))
            bay.session.poke(look=False)
            if self.stalls.hangs(bay.session.worker.control) and bay.task is not None:
                # Its thread hangs in the kernel and will not answer.
                bay.task.cancel()
                self._end_hung(bay.session)
            self._left_behind[path] = bay.session
        self._forget(path)

    def _forget(self, path: bytes) -> None:
        self.alerts.drop_subject(self._subject(path))
        del self.bays[path]

    def watch_stalls(self) -> None:
        """Bays whose thread has made no progress for too long are named; the others go on."""
        for path, bay in self.bays.items():
            if bay.session is None:
                continue
            camera = bay.session.camera
            what = bay.session.stalled = self.stalls.what(bay.session.worker.control, bay=camera.bay)
            if what is not None or bay.refused is None:
                self.alerts.put("camera_stalled", self._subject(path), what)
        for session in self._left_behind.values():
            # It left while its read hung for less than that: what is said of it must become true all the same.
            if self.stalls.hangs(session.worker.control) and session.phase != "ended":
                self._end_hung(session)

    def _end_hung(self, session: Session) -> None:
        """Record the end of a docking whose thread cannot."""
        session.phase = "ended"
        self._ending.add(asyncio.create_task(session.end("the folder is gone; a read still hangs")))

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


def _tell(loop: asyncio.AbstractEventLoop, function: Callable[[bytes | None], None], name: bytes | None) -> None:
    """Call `function` on the loop, from watchdog's thread; too late if the loop is closed by now."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(function, name)
