"""How far a camera's clock is off: measured before any recording is read, and recorded once in a docking.

What is said depends on what can be shown. A time that the camera wrote after it was plugged in, or after it was last
seen not to be there, gives its clock's error, and how far that may be off. Any other time on the camera only shows
that its clock had come that far: a bound on one side, and recorded as one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from math import ceil

from dockd.cameras.base import Camera, Listing
from dockd.cameras.time_file import Said, said
from dockd.journal.camera_clock import last_camera_time, note_camera_clock
from dockd.journal.dockings import mtime_text
from dockd.journal.journal import Journal
from dockd.journal.rows import DockingRow
from dockd.journal.transaction import Transaction
from dockd.runtime.clock import Clock
from dockd.runtime.workers import Worker


@dataclass(frozen=True, slots=True)
class _Reading:
    """What the time file said, and when; `docked_for_s`: how long the camera was there by then, if it is known."""

    said: Said
    at: datetime
    docked_for_s: float | None
    dock_uncertainty_ms: int


@dataclass(slots=True)
class CameraTime:
    """Of one docked camera. `absent_s`: when it was last seen not to be there, by the monotonic clock; None: never."""

    journal: Journal
    camera: Camera
    worker: Worker
    clock: Clock
    absent_s: float | None = None
    _reading: _Reading | None = None
    _told: bool = False

    async def read(self) -> None:
        """Read the file into which the camera writes its time, if there is one; before anything else is read."""
        self._reading = await self.worker.run(self._read)

    def _read(self) -> _Reading | None:
        found = self.camera.read_time_file()
        if found is None:
            return None
        at, docked_for_s = self.clock.now(), self.camera.docked_for_s()
        if docked_for_s is None and self.absent_s is not None:
            docked_for_s = time.monotonic() - self.absent_s
        uncertainty_ms = self.clock.synchronised().uncertainty_ms or 0
        return _Reading(said(found, utc_times=self.camera.utc_times), at, docked_for_s, uncertainty_ms)

    async def tell(self, docking: DockingRow | None, listing: Listing) -> None:
        """Record what is known of the clock, with the first listing; nothing of a camera without any file."""
        if self._told:
            return
        assert docking is not None
        docking_id = docking.id
        times_ns = [seen.mtime_ns for files in (listing.files, listing.others) for seen in files.values()]
        listed = self.clock.now()
        await self.journal.run(lambda tx: self._note(tx, docking_id, times_ns, listed))
        self._told = True

    def _note(self, tx: Transaction, docking_id: int, times_ns: Sequence[int], listed: datetime) -> None:
        found = self._reading
        camera_time = None if found is None else mtime_text(found.said.time_ns)
        # The same words as in the docking before: it was not written in this one.
        if found is None or found.docked_for_s is None or camera_time == last_camera_time(tx, docking_id):
            if times_ns:
                note_camera_clock(
                    tx,
                    docking_id,
                    method="newest-mtime",
                    offset_ms=_offset_ms(max(times_ns), listed),
                    bound="lower",
                    camera_time=camera_time,
                    time_zone_known=self.camera.utc_times,
                )
            return
        note_camera_clock(
            tx,
            docking_id,
            method="time-file",
            offset_ms=_offset_ms(found.said.time_ns, found.at),
            uncertainty_ms=ceil(found.docked_for_s * 1000) + found.said.resolution_ms + found.dock_uncertainty_ms,
            camera_time=camera_time,
            time_source=found.said.source,
            time_zone_known=found.said.time_zone_known,
        )


def _offset_ms(camera_ns: int, at: datetime) -> int:
    """How far a time of the camera is ahead of the dock's, rounded down: a bound stays true by that."""
    return (camera_ns - round(at.timestamp() * 1_000_000) * 1000) // 1_000_000
