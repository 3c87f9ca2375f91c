"""What a session sets right before it goes on: wipes that were broken off, recordings that could not be read, and
those that the store lost.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

import structlog

from dockd.cameras.base import Camera
from dockd.identity import display_name
from dockd.journal import queries, recordings
from dockd.journal.journal import Journal
from dockd.journal.rows import DockingRow, RecordingRow
from dockd.runtime.workers import Worker
from dockd.wipe.execute import settle_intents

log = structlog.get_logger()


@dataclass(slots=True)
class Mending:
    """Of one docked camera."""

    journal: Journal
    camera: Camera
    worker: Worker
    unreadable: dict[int, float] = field(default_factory=dict)
    """When to try again what could not be read, in seconds of the loop's clock, by row."""
    _taken_again: set[int] = field(default_factory=set)
    """Once in a docking is enough: a store that loses the same object again needs a person."""

    async def settle_intents(self, docking: DockingRow) -> None:
        """Wipes that a crash, a pulled camera or a full disk interrupted: look, and correct the journal."""
        control = self.worker.control
        rows = await self.journal.run(lambda tx: queries.intents(tx, docking.camera))
        if rows:
            await self.worker.run(lambda: settle_intents(self.journal, self.camera, rows, docking.id, control))

    async def retry_unreadable(self, now_s: float) -> None:
        """Try again what could not be read, where it is time."""
        for recording_id in [key for key, at_s in self.unreadable.items() if at_s <= now_s]:
            del self.unreadable[recording_id]
            await self.journal.run(partial(recordings.problem_over, recording_id=recording_id))

    async def take_again(
        self,
        docking_id: int,
        due: Callable[[RecordingRow], bool],
        reread: Callable[[RecordingRow], Awaitable[None]],
    ) -> bool:
        """Have one recording that the store lost taken in anew, once its bytes were found to be the same.

        False if there is none.
        """
        for row in await self.journal.run(lambda tx: queries.lost_by_store(tx, docking_id)):
            if row.id in self._taken_again or not due(row):
                continue
            if row.reread_docking != docking_id:
                # Other bytes by that name are another recording, and this one stays lost.
                await reread(row)
                return True
            self._taken_again.add(row.id)
            await self.journal.run(partial(recordings.take_again, recording_id=row.id, docking_id=docking_id))
            log.warning(
                "recording_taken_in_again",
                recording=row.uid,
                path=display_name(row.path),
                key=row.store_key,
                hint="The store lost it, the camera still has it. Find out who took it out of the store.",
            )
            return True
        return False
